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

/// A range of offsets, both ends in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Range {
    first: Offset,
    last: Offset,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Verified {
    log_id: LogId,
    deliveries: u64,
    first: Option<Offset>,
    next: Offset,
    bytes: u64,
    volumes: usize,
    clean_shutdown: bool,
    gaps: Vec<Range>,
    lost: Vec<Gap>,
    damaged: Vec<Range>,
}

impl Verified {
    fn sound(&self) -> bool {
        self.damaged.is_empty() && self.lost.iter().all(|gap| !gap.known_lost)
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
        first: None,
        next: opened.next,
        bytes: 0,
        volumes: engine.volumes().len(),
        clean_shutdown: opened.clean,
        gaps: Vec::new(),
        lost: opened.lost,
        damaged: Vec::new(),
    };
    let mut end = None;
    read(&*engine, 1, &mut |piece| {
        match piece {
            Piece::Delivery(offset, delivery) => {
                verified.first.get_or_insert(offset);
                verified.deliveries += 1;
                verified.bytes += delivery.body.len() as u64;
                note_gap(&mut verified.gaps, &mut end, offset, offset);
                bar.set_position(offset);
            }
            Piece::Damage(range) => {
                note_gap(&mut verified.gaps, &mut end, range.first, range.last);
                verified.damaged.push(range);
            }
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    engine
        .close()
        .map_err(|error| crate::engine::explain(&config, error))?;
    args.output.print(&verified, verified_text)?;
    if verified.sound() { Ok(()) } else { Err(said()) }
}

/// Notes that nothing is between the last thing seen and this one.
fn note_gap(gaps: &mut Vec<Range>, end: &mut Option<Offset>, first: Offset, last: Offset) {
    if let Some(end) = *end
        && first > end
    {
        gaps.push(Range {
            first: end,
            last: first - 1,
            reason: None,
        });
    }
    *end = Some(last + 1);
}

fn verified_text(verified: &Verified) -> String {
    let mut lines = vec![
        format!("log         {}", verified.log_id),
        format!("deliveries  {}", count(verified.deliveries)),
        match verified.first {
            Some(first) => format!("offsets     {first} to {}", verified.next - 1),
            None => "offsets     none".into(),
        },
        format!("bodies      {}", crate::output::bytes(verified.bytes)),
        format!("volumes     {}", verified.volumes),
    ];
    let range = |range: &Range| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{} to {}", range.first, range.last),
    };
    for gap in &verified.gaps {
        lines.push(format!("not used    {}", range(gap)));
    }
    for gap in verified.lost.iter().filter(|gap| gap.known_lost) {
        let text = format!("lost        {} to {}", gap.first, gap.last);
        lines.push(paint(BAD, &text));
    }
    for damage in &verified.damaged {
        let reason = damage.reason.as_deref().unwrap_or("");
        lines.push(paint(BAD, &format!("damaged     {}: {reason}", range(damage))));
    }
    lines.push(match verified.sound() {
        true => paint(GOOD, "everything that is there reads back as it was written"),
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
                let reason = range.reason.as_deref().unwrap_or("");
                tracing::error!(first = range.first, last = range.last, reason, "damaged");
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
        reason: Some(reason),
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
            Ok(entries) => entries.iter().map(|e| e.first).find(|&first| first > offset),
            Err(_) => (volume.first > offset).then_some(volume.first),
        })
}
