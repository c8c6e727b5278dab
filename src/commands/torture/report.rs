//! How a torture went, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::fault::Fault;
use super::machine::Machine;
use super::means::Means;
use super::senders::Books;
use super::stand::Ground;
use crate::commands::receiver::VERSION;
use crate::output::{BAD, GOOD, Sheet, count, length, paint, plain};

/// How often a fault was played, and how long creel needed afterwards.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Which.
    pub fault: Fault,
    /// How often.
    pub played: u64,
    /// The longest until all was well again.
    pub recovery_ms_max: Option<u64>,
    /// Why it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Nothing was lost, and everything did what it has to.
    pub pass: bool,
    /// Version of creel.
    pub creel: &'static str,
    /// What decided which faults came when.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Logs that were begun.
    pub rounds: u64,
    /// Deliveries that were acknowledged.
    pub acked: u64,
    /// Acknowledged, and not in the log as sent, or not at the destination.
    pub lost: u64,
    /// Arrivals beyond the first of a delivery.
    pub duplicates: u64,
    /// Forgeries that were refused.
    pub refused: u64,
    /// The longest from a start of a receiver until it was ready.
    pub slowest_start_ms: u64,
    /// One for each fault that was asked for.
    pub faults: Vec<Row>,
    /// What was wrong.
    pub problems: Vec<String>,
    /// What was tortured.
    pub machine: Machine,
    /// Acknowledged in rounds that are over.
    #[serde(skip)]
    acked_before: u64,
}

impl Report {
    /// Nothing played yet.
    pub fn new(seed: u64, machine: Machine, faults: &[Fault], means: &Means) -> Self {
        let row = |&fault: &Fault| Row {
            fault,
            played: 0,
            recovery_ms_max: None,
            left_out: means.lacks(fault).map(str::to_owned),
        };
        Self {
            pass: false,
            creel: VERSION,
            seed,
            seconds: 0.0,
            rounds: 0,
            acked: 0,
            lost: 0,
            duplicates: 0,
            refused: 0,
            slowest_start_ms: 0,
            faults: faults.iter().map(row).collect(),
            problems: Vec::new(),
            machine,
            acked_before: 0,
        }
    }

    /// How many faults were played.
    pub fn played(&self) -> u64 {
        self.faults.iter().map(|row| row.played).sum()
    }

    /// Whether each fault that can be played there was.
    pub fn has_all(&self, faults: &[Fault], ground: Ground) -> bool {
        let mut rows = self.faults.iter();
        rows.all(|row| row.played > 0 || !faults.contains(&row.fault) || !row.fault.is_for(ground))
    }

    /// A fault was played.
    pub fn note(&mut self, fault: Fault, recovered: Duration) {
        if let Some(row) = self.faults.iter_mut().find(|row| row.fault == fault) {
            row.played += 1;
            row.recovery_ms_max = row.recovery_ms_max.max(Some(millis(recovered)));
        }
    }

    /// What senders of this round know by now.
    pub fn acked_in_round(&mut self, books: &Books) {
        self.acked = self.acked_before + books.sent.len() as u64;
    }

    /// A round is over.
    pub fn close_round(&mut self, books: &Books, slowest_start: Duration) {
        self.acked_in_round(books);
        self.acked_before = self.acked;
        self.rounds += 1;
        self.refused += books.forged.refused;
        self.slowest_start_ms = self.slowest_start_ms.max(millis(slowest_start));
    }

    /// All rounds are over.
    pub fn finish(&mut self, took: Duration) {
        self.seconds = took.as_secs_f64();
        // a torture without a fault, or without a delivery, has shown nothing
        let has_shown = self.played() > 0 && self.acked > 0;
        self.pass = self.lost == 0 && self.problems.is_empty() && has_shown;
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The report as text.
pub fn text(report: &Report) -> String {
    let Machine {
        processors,
        kernel,
        file_system,
        device,
    } = &report.machine;
    let mut text = format!(
        "creel {}, seed {}, {} in {} rounds\n{processors} processors, {kernel}, {} on {}\n\n{}\n\n{}\n",
        report.creel,
        report.seed,
        length(Duration::from_secs_f64(report.seconds)),
        report.rounds,
        plain(file_system),
        plain(device),
        faults(report),
        totals(report),
    );
    for problem in &report.problems {
        text += &format!("\n{} {}", paint(BAD, "✗"), plain(problem));
    }
    let verdict = match report.pass {
        true => paint(GOOD, "PASS"),
        false => paint(BAD, "FAIL"),
    };
    format!("{text}\n{verdict}: {} lost", count(report.lost))
}

fn faults(report: &Report) -> String {
    let mut sheet = Sheet::new(&["fault!", "played>", "recovered within>", ""]);
    for row in &report.faults {
        let recovery = row.recovery_ms_max.map(Duration::from_millis);
        let note = row.left_out.as_ref().map(|why| format!("left out: {why}"));
        sheet.row([
            row.fault.word(),
            count(row.played),
            recovery.map_or_else(String::new, length),
            note.unwrap_or_default(),
        ]);
    }
    sheet.text()
}

fn totals(report: &Report) -> String {
    let mut sheet = Sheet::bare(2);
    for (what, number) in [
        ("acknowledged", count(report.acked)),
        ("lost", count(report.lost)),
        ("delivered again", count(report.duplicates)),
        ("forgeries refused", count(report.refused)),
        (
            "slowest start",
            length(Duration::from_millis(report.slowest_start_ms)),
        ),
    ] {
        sheet.row([what.to_owned(), number]);
    }
    sheet.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let machine = Machine::of(std::path::Path::new("/"));
        let faults = [Fault::KillReceiver, Fault::PowerCut, Fault::SetClock];
        let means = Means {
            no_layer: Some("no FUSE".into()),
            no_wall: Some("no clock".into()),
        };
        let mut report = Report::new(1, machine, &faults, &means);
        report.acked = 10;
        report
    }

    #[test]
    fn only_a_torture_that_lost_nothing_and_showed_something_passes() {
        let verdict = |change: fn(&mut Report)| {
            let mut report = report();
            report.note(Fault::KillReceiver, Duration::from_millis(7));
            change(&mut report);
            report.finish(Duration::from_secs(1));
            assert_eq!(text(&report).contains("PASS"), report.pass);
            report.pass
        };
        assert!(verdict(|_| ()));
        assert!(!verdict(|report| report.lost = 1));
        assert!(!verdict(|report| report.problems.push("x".into())));
        assert!(!verdict(|report| report.acked = 0));
        assert!(!verdict(|report| report.faults[0].played = 0));
    }

    #[test]
    fn what_was_left_out_says_why() {
        let report = report();
        assert!(report.faults[0].left_out.is_none());
        assert!(text(&report).contains("left out: no FUSE"));
        assert!(text(&report).contains("left out: no clock"));
    }
}
