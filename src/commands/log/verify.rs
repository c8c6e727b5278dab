//! `creel log verify`: does everything read back as it was written?

use creel_common::config::Config;
use creel_common::engine::Gap;
use creel_common::ids::{LogId, Offset};
use creel_common::log::losses::{Loss, Losses};
use creel_common::time::{Clock, SystemClock, Timestamp};
use serde::Serialize;

use super::open_existing;
use super::read::{Piece, Range, read};
use crate::failure::said;
use crate::output::{BAD, GOOD, Output, count, paint, progress};
use crate::settings::Global;

/// Read the whole log back and report what is missing or damaged
///
/// Reads every block and every delivery in it and checks them against their checksums. Damage is
/// reported as ranges of offsets, with the sources and times of what was there as far as they are
/// known. Exits with 1 when anything is damaged, or was found to be lost within the last week.
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
    /// Offsets that are not there: lost, or never used. What retention removed is not among them.
    gaps: Vec<Loss>,
    /// What of it opening and reading the log just now found.
    lost: Vec<Loss>,
    damaged: Vec<Range>,
    #[serde(skip)]
    now: Timestamp,
}

impl Verified {
    /// Nothing is damaged or was lost lately.
    pub fn sound(&self) -> bool {
        self.damaged.is_empty() && !self.gaps.iter().any(|loss| loss.is_news(self.now))
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
        lost: Vec::new(),
        damaged: Vec::new(),
        now: SystemClock::default().wall(),
    };
    let mut present = Present::default();
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
    let losses = Losses::open(&*engine).look(&*engine, verified.now);
    let found_now = |loss: &&Loss| loss.found_at == Some(verified.now);
    verified.lost = losses.iter().filter(found_now).cloned().collect();
    verified.gaps = present.gaps(opened.next, losses);
    bar.finish_and_clear();
    engine
        .close()
        .map_err(|error| crate::engine::explain(config, error))?;
    Ok(verified)
}

/// Which offsets are there, as they come in order; what is missing between them.
#[derive(Default)]
struct Present {
    first: Option<Offset>,
    end: Offset,
    holes: Vec<(Offset, Offset)>,
}

impl Present {
    fn add(&mut self, first: Offset, last: Offset) {
        match self.first {
            None => self.first = Some(first),
            Some(_) if first > self.end => self.holes.push((self.end, first - 1)),
            Some(_) => {}
        }
        self.end = last + 1;
    }

    /// What is missing below `next`: what is recorded as lost, and holes that nobody has recorded.
    fn gaps(mut self, next: Offset, losses: Vec<Loss>) -> Vec<Loss> {
        if self.first.is_some() && self.end < next {
            self.holes.push((self.end, next - 1));
        }
        let mut gaps = Vec::new();
        for (first, last) in self.holes {
            let mut from = first;
            for loss in losses.iter().filter(|l| l.first <= last && first <= l.last) {
                gaps.extend(unrecorded(from, loss.first));
                from = from.max(loss.last + 1);
            }
            gaps.extend(unrecorded(from, last + 1));
        }
        gaps.extend(losses);
        gaps.sort_by_key(|gap| gap.first);
        gaps
    }
}

/// `first .. end`, if that is anything.
fn unrecorded(first: Offset, end: Offset) -> Option<Loss> {
    (first < end).then(|| {
        Loss::of(Gap {
            first,
            last: end - 1,
            known_lost: false,
        })
    })
}

/// Of whom, and from when.
fn whose(loss: &Loss) -> String {
    let mut text = format!("of {}", loss.sources_text());
    for (word, time) in [("from", loss.received_from), ("until", loss.received_until)] {
        if let Some(time) = time {
            text += &format!(", {word} {time}");
        }
    }
    text
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
            true => paint(BAD, &format!("lost        {offsets}, {}", whose(gap))),
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

    fn loss(first: Offset, last: Offset, known_lost: bool) -> Loss {
        Loss::of(Gap {
            first,
            last,
            known_lost,
        })
    }

    #[test]
    fn what_is_missing_between_and_after_is_a_gap_and_what_retention_took_is_none() {
        let mut present = Present::default();
        for (first, last) in [(5, 7), (8, 8), (11, 20)] {
            present.add(first, last);
        }
        assert_eq!(present.first, Some(5));
        let gaps = present.gaps(101, Vec::new());
        assert_eq!(gaps, [loss(9, 10, false), loss(21, 100, false)]);
    }

    #[test]
    fn what_is_recorded_is_reported_as_it_is_recorded_and_once() {
        let mut present = Present::default();
        present.add(1, 3);
        let recorded = vec![loss(4, 9, true), loss(20, 29, false)];
        assert_eq!(
            present.gaps(101, recorded),
            [
                loss(4, 9, true),
                loss(10, 19, false),
                loss(20, 29, false),
                loss(30, 100, false)
            ]
        );
        let nothing_left = Present::default();
        assert_eq!(
            nothing_left.gaps(101, vec![loss(1, 9, true)]),
            [loss(1, 9, true)]
        );
    }
}
