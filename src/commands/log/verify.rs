//! `creel log verify`: does everything read back as it was written?

use creel_common::config::Config;
use creel_common::engine::Gap;
use creel_common::ids::{LogId, Offset};
use serde::Serialize;

use super::open_existing;
use super::read::{Piece, Range, read};
use crate::failure::said;
use crate::output::{BAD, GOOD, Output, count, paint, progress};
use crate::settings::Global;

/// Read the whole log back and report what is missing or damaged
///
/// Reads every block and every delivery in it and checks them against their checksums. Damage is
/// reported as ranges of offsets. Exits with 1 when anything is damaged or known to be lost.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: Output,
}

/// What reading it back found.
#[derive(Debug, Serialize)]
pub struct Verified {
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
    /// Nothing is damaged or known to be lost.
    pub fn sound(&self) -> bool {
        self.damaged.is_empty() && self.gaps.iter().all(|gap| !gap.known_lost)
    }

    /// Deliveries that read back.
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }
}

/// Reads everything and reports.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let verified = verified(&global.load()?)?;
    args.output.print(&verified, verified_text)?;
    if verified.sound() {
        Ok(())
    } else {
        Err(said())
    }
}

/// Opens the log and reads everything.
///
/// # Errors
/// When it cannot be opened, or fails altogether.
pub fn verified(config: &Config) -> anyhow::Result<Verified> {
    let engine = open_existing(config)?;
    let opened = engine.opened().clone();
    let volumes = engine.volumes();
    let total = volumes.iter().map(|v| v.end.saturating_sub(v.first)).sum();
    let bar = progress(total, "reading the log");
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
                bar.inc(1);
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
        .map_err(|error| crate::engine::explain(config, error))?;
    Ok(verified)
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
