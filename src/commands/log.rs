//! `creel log`: the log itself, looked at while no receiver runs.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::delivery::Delivery;
use creel_common::engine::{Engine, EngineError, Gap};
use creel_common::ids::{DeliveryId, LogId, Offset};
use creel_common::log::block::Block;
use creel_common::log::codec;
use creel_common::time::Timestamp;
use serde::Serialize;

use crate::failure::said;
use crate::output::{BAD, GOOD, Output, count, paint, progress};
use crate::settings::Global;

/// Verify or export the log while no receiver runs
///
/// A log belongs to one process at a time, so these refuse to start while a receiver runs on it.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Verify(VerifyArgs),
    Export(ExportArgs),
}

/// Read the whole log back and report what is missing or damaged
///
/// Reads every block and every delivery in it and checks them against their checksums. Damage is
/// reported as ranges of offsets. Exits with 1 when anything is damaged or known to be lost.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    output: Output,
}

/// Write every delivery as one line of JSON, in the order of the log
///
/// {"id","source","event_type","received_at","headers":[[name,value],…],"body_base64"}; times are
/// milliseconds since 1970, header values that are no UTF-8 are read as Latin-1. Damaged places
/// are skipped and named on stderr; the exit code is 1 then.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Begin with this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 1)]
    from: Offset,
}

/// Bytes read from the log at once.
const READ_BYTES: usize = 8 << 20;

/// Runs the subcommand.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Verify(args) => verify(global, args),
        Command::Export(args) => export(global, args),
    }
}

/// Damaged offsets, both ends in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Range {
    first: Offset,
    last: Offset,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Verified {
    log_id: LogId,
    deliveries: u64,
    /// The oldest offset that is there; `next` when nothing is.
    first: Offset,
    next: Offset,
    bytes: u64,
    volumes: usize,
    clean_shutdown: bool,
    /// Offsets above `first` that are not there: lost, or never used.
    gaps: Vec<Gap>,
    /// What opening the log just now found missing.
    lost: Vec<Gap>,
    damaged: Vec<Range>,
}

impl Verified {
    fn sound(&self) -> bool {
        self.damaged.is_empty() && self.gaps.iter().all(|gap| !gap.known_lost)
    }
}

fn verify(global: &Global, args: &VerifyArgs) -> anyhow::Result<()> {
    let config = global.load()?;
    let engine = open_existing(&config)?;
    let opened = engine.opened().clone();
    let bar = progress(opened.next.saturating_sub(1), "reading the log");
    let mut verified = Verified {
        log_id: opened.log,
        deliveries: 0,
        first: opened.next,
        next: opened.next,
        bytes: 0,
        volumes: engine.volumes().len(),
        clean_shutdown: opened.clean,
        gaps: Vec::new(),
        lost: opened.lost.clone(),
        damaged: Vec::new(),
    };
    let mut present = Present::new(opened.lost);
    read(&*engine, 1, &mut |piece| {
        match piece {
            Piece::Delivery(offset, delivery) => {
                verified.deliveries += 1;
                verified.bytes += delivery.body.len() as u64;
                present.add(offset, offset);
                bar.set_position(offset);
            }
            Piece::Damage(range) => {
                present.add(range.first, range.last);
                verified.damaged.push(range);
            }
        }
        Ok(())
    })?;
    verified.first = present.first.unwrap_or(opened.next);
    verified.gaps = present.gaps(opened.next);
    bar.finish_and_clear();
    engine
        .close()
        .map_err(|error| crate::engine::explain(&config, error))?;
    args.output.print(&verified, verified_text)?;
    if verified.sound() {
        Ok(())
    } else {
        Err(said())
    }
}

/// Which offsets are there, as they come in order; what is missing between them.
struct Present {
    first: Option<Offset>,
    end: Offset,
    holes: Vec<(Offset, Offset)>,
    lost: Vec<Gap>,
}

impl Present {
    /// `lost` is what opening found missing.
    fn new(lost: Vec<Gap>) -> Self {
        Self {
            first: None,
            end: 0,
            holes: Vec::new(),
            lost,
        }
    }

    fn add(&mut self, first: Offset, last: Offset) {
        match self.first {
            None => self.first = Some(first),
            Some(_) if first > self.end => self.holes.push((self.end, first - 1)),
            Some(_) => {}
        }
        self.end = last + 1;
    }

    /// What is missing below `next`. A hole counts as lost when opening says so of any part of it.
    fn gaps(mut self, next: Offset) -> Vec<Gap> {
        if self.first.is_some() && self.end < next {
            self.holes.push((self.end, next - 1));
        }
        let overlaps =
            |gap: &Gap, hole: &(Offset, Offset)| gap.first <= hole.1 && hole.0 <= gap.last;
        let mut gaps: Vec<Gap> = self
            .holes
            .iter()
            .map(|hole| Gap {
                first: hole.0,
                last: hole.1,
                known_lost: self
                    .lost
                    .iter()
                    .any(|gap| gap.known_lost && overlaps(gap, hole)),
            })
            .collect();
        let outside = |gap: &&Gap| !self.holes.iter().any(|hole| overlaps(gap, hole));
        gaps.extend(self.lost.iter().filter(outside));
        gaps.sort_by_key(|gap| gap.first);
        gaps
    }
}

fn verified_text(verified: &Verified) -> String {
    let mut lines = vec![
        format!("log         {}", verified.log_id),
        format!("deliveries  {}", count(verified.deliveries)),
        match verified.deliveries {
            0 => "offsets     none".into(),
            _ => format!("offsets     {} to {}", verified.first, verified.next - 1),
        },
        format!("bodies      {}", crate::output::bytes(verified.bytes)),
        format!("volumes     {}", verified.volumes),
    ];
    let range = |first: Offset, last: Offset| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    for gap in &verified.gaps {
        let offsets = range(gap.first, gap.last);
        lines.push(match gap.known_lost {
            true => paint(BAD, &format!("lost        {offsets}")),
            false => format!("not there   {offsets}, lost or never used"),
        });
    }
    for damage in &verified.damaged {
        let offsets = range(damage.first, damage.last);
        let text = format!("damaged     {offsets}: {}", damage.reason);
        lines.push(paint(BAD, &text));
    }
    lines.push(match verified.sound() {
        true => paint(
            GOOD,
            "everything that is there reads back as it was written",
        ),
        false => paint(BAD, "something is missing"),
    });
    lines.join("\n")
}

#[derive(Debug, Serialize)]
struct Line {
    id: String,
    source: String,
    event_type: Option<String>,
    received_at: Timestamp,
    headers: Vec<(String, String)>,
    body_base64: String,
}

fn export(global: &Global, args: &ExportArgs) -> anyhow::Result<()> {
    let config = global.load()?;
    let engine = open_existing(&config)?;
    let log = engine.opened().log;
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    let mut damaged = 0;
    let written = read(&*engine, args.from, &mut |piece| {
        match piece {
            Piece::Delivery(offset, delivery) => {
                serde_json::to_writer(&mut out, &line(log, offset, &delivery))?;
                out.write_all(b"\n")?;
            }
            Piece::Damage(range) => {
                damaged += 1;
                let Range {
                    first,
                    last,
                    reason,
                } = range;
                tracing::error!(first, last, reason, "damaged");
            }
        }
        Ok(())
    });
    let written = written.and_then(|()| Ok(out.flush()?));
    engine
        .close()
        .map_err(|error| crate::engine::explain(&config, error))?;
    written?;
    if damaged > 0 { Err(said()) } else { Ok(()) }
}

fn line(log: LogId, offset: Offset, delivery: &Delivery) -> Line {
    let text = |value: &[u8]| match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // Latin-1 has a character for every byte
        Err(_) => value.iter().map(|&byte| char::from(byte)).collect(),
    };
    let headers = delivery.head.headers.iter();
    Line {
        id: DeliveryId { log, offset }.to_string(),
        source: delivery.envelope.source.clone(),
        event_type: delivery.envelope.event_type.clone(),
        received_at: delivery.envelope.received_at,
        headers: headers.map(|h| (h.name.clone(), text(&h.value))).collect(),
        body_base64: STANDARD.encode(&delivery.body),
    }
}

/// Opens a log that is there: to look at one that is not would make it.
fn open_existing(
    config: &creel_common::config::Config,
) -> anyhow::Result<std::sync::Arc<dyn Engine>> {
    let path = &config.log.path;
    anyhow::ensure!(path.is_dir(), "there is no log in {}", path.display());
    crate::engine::open(config)
}

enum Piece {
    Delivery(Offset, Delivery),
    Damage(Range),
}

/// Visits everything from `from` on, in order.
///
/// # Errors
/// What `visit` answers, or an engine that fails altogether.
fn read(
    engine: &dyn Engine,
    mut from: Offset,
    visit: &mut dyn FnMut(Piece) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let next = engine.opened().next;
    while from < next {
        let blocks = match engine.read(from, READ_BYTES) {
            Ok(blocks) => blocks,
            Err(EngineError::Damaged(reason)) => {
                let after = block_after(engine, from).unwrap_or(next);
                visit(damage(from, after, reason))?;
                from = after;
                continue;
            }
            Err(error) => return Err(anyhow::anyhow!("the log cannot be read: {error}")),
        };
        if blocks.is_empty() {
            return Ok(());
        }
        for stored in &blocks {
            let end = stored.first + Offset::from(stored.count);
            match Block::open(stored) {
                Ok(block) => visit_block(&block, from, visit)?,
                Err(error) => visit(damage(stored.first.max(from), end, error.to_string()))?,
            }
            from = from.max(end);
        }
    }
    Ok(())
}

fn damage(first: Offset, end: Offset, reason: String) -> Piece {
    Piece::Damage(Range {
        first,
        last: end - 1,
        reason,
    })
}

fn visit_block(
    block: &Block,
    from: Offset,
    visit: &mut dyn FnMut(Piece) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for offset in block.first().max(from)..block.end() {
        let delivery = block
            .record(offset)
            .ok_or_else(|| "the block has no such record".to_owned())
            .and_then(|record| codec::decode(&record).map_err(|error| error.to_string()));
        visit(match delivery {
            Ok(delivery) => Piece::Delivery(offset, delivery),
            Err(reason) => damage(offset, offset + 1, reason),
        })?;
    }
    Ok(())
}

/// Where the first block after `offset` begins, as far as the indexes can be read.
fn block_after(engine: &dyn Engine, offset: Offset) -> Option<Offset> {
    engine
        .volumes()
        .iter()
        .filter(|volume| volume.end > offset)
        .find_map(|volume| match engine.index(volume.number) {
            Ok(entries) => entries
                .iter()
                .map(|e| e.first)
                .find(|&first| first > offset),
            Err(_) => (volume.first > offset).then_some(volume.first),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(first: Offset, last: Offset, known_lost: bool) -> Gap {
        Gap {
            first,
            last,
            known_lost,
        }
    }

    #[test]
    fn what_is_missing_between_and_after_is_a_gap_and_what_retention_took_is_none() {
        let mut present = Present::new(Vec::new());
        for (first, last) in [(5, 7), (8, 8), (11, 20)] {
            present.add(first, last);
        }
        assert_eq!(present.first, Some(5));
        assert_eq!(present.gaps(101), [gap(9, 10, false), gap(21, 100, false)]);
    }

    #[test]
    fn a_hole_that_opening_knows_to_be_lost_is_reported_as_lost_once() {
        let mut present = Present::new(vec![gap(4, 9, true)]);
        present.add(1, 3);
        assert_eq!(present.gaps(101), [gap(4, 100, true)]);
        let nothing_left = Present::new(vec![gap(1, 9, true)]);
        assert_eq!(nothing_left.gaps(101), [gap(1, 9, true)]);
    }
}
