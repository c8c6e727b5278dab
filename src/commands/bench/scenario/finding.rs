//! What a scenario found: numbers, some of them with a bound.

use serde::Serialize;

use super::Common;
use crate::failure::said;
use crate::output::{Sheet, Tone, bytes, count, toned};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Seconds,
    Millis,
    Micros,
    PerSecond,
    Count,
    /// A share of, or how many times, another number.
    Ratio,
}

impl Unit {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn text(self, value: f64) -> String {
        let whole = |value: f64| value.round().max(0.0) as u64;
        match self {
            Self::Bytes if value < 0.0 => format!("-{}", bytes(whole(-value))),
            Self::Bytes => bytes(whole(value)),
            Self::Seconds => format!("{value:.2} s"),
            Self::Micros => format!("{value:.2} µs"),
            Self::Millis => format!("{value:.2} ms"),
            Self::PerSecond => format!("{}/s", count(whole(value))),
            Self::Count => count(whole(value)),
            Self::Ratio => format!("{value:.3}"),
        }
    }
}

/// One number.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Its name in JSON and tests.
    pub name: &'static str,
    /// What it is, for people.
    pub what: String,
    /// The number.
    pub value: f64,
    /// What it counts.
    pub unit: Unit,
    /// It must not be larger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// It must not be smaller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

impl Finding {
    fn holds(&self) -> bool {
        // a number that is none holds nothing
        self.at_most.is_none_or(|most| self.value <= most)
            && self.at_least.is_none_or(|least| self.value >= least)
    }

    fn bound(&self) -> String {
        match (self.at_most, self.at_least) {
            (Some(most), _) => format!("≤ {}", self.unit.text(most)),
            (None, Some(least)) => format!("≥ {}", self.unit.text(least)),
            (None, None) => String::new(),
        }
    }
}

/// All that a scenario found.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds a number without a bound.
    pub fn note(&mut self, name: &'static str, what: impl Into<String>, value: f64, unit: Unit) {
        self.0.push(Finding {
            name,
            what: what.into(),
            value,
            unit,
            at_most: None,
            at_least: None,
        });
    }

    /// The number that was just added must not be larger.
    pub fn at_most(&mut self, most: f64) {
        if let Some(last) = self.0.last_mut() {
            last.at_most = Some(most);
        }
    }

    /// The number that was just added must not be smaller.
    pub fn at_least(&mut self, least: f64) {
        if let Some(last) = self.0.last_mut() {
            last.at_least = Some(least);
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    scenario: &'a str,
    body_bytes: u32,
    connections: u16,
    cores: usize,
    findings: &'a [Finding],
    holds: bool,
}

/// Prints what was found.
///
/// # Errors
/// With `--check`, when a bound is missed.
pub fn print(common: &Common, scenario: &str, findings: &Findings) -> anyhow::Result<()> {
    let report = Report {
        scenario,
        body_bytes: common.size,
        connections: common.connections,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        findings: &findings.0,
        holds: findings.0.iter().all(Finding::holds),
    };
    common.output.print(&report, text)?;
    ending(common.check, report.holds)
}

fn ending(check: bool, holds: bool) -> anyhow::Result<()> {
    match check && !holds {
        true => Err(said()),
        false => Ok(()),
    }
}

fn text(report: &Report<'_>) -> String {
    let mut sheet = Sheet::new(&[report.scenario, "measured>", "bound>", ""]);
    for finding in report.findings {
        let bound = finding.bound();
        let holds = match (bound.is_empty(), finding.holds()) {
            (true, _) => toned("", Tone::Plain),
            (false, true) => toned("holds", Tone::Good),
            (false, false) => toned("missed", Tone::Bad),
        };
        sheet.row([
            finding.what.clone().into(),
            finding.unit.text(finding.value).into(),
            bound.into(),
            holds,
        ]);
    }
    format!(
        "{} byte bodies, {} connections, {} cores\n\n{}",
        report.body_bytes,
        report.connections,
        report.cores,
        sheet.text()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_kept_at_the_bound_and_missed_beyond_it_or_without_a_number() {
        let holds = |value| {
            let mut findings = Findings::default();
            findings.note("rss", "memory", value, Unit::Bytes);
            findings.at_most(10.0);
            let upper = findings.0[0].holds();
            findings.note("rate", "rate", value, Unit::PerSecond);
            findings.at_least(10.0);
            (upper, findings.0[1].holds())
        };
        assert_eq!(holds(10.0), (true, true));
        assert_eq!(holds(11.0), (false, true));
        assert_eq!(holds(9.0), (true, false));
        assert_eq!(holds(f64::NAN), (false, false));
    }

    #[test]
    fn a_missed_bound_is_an_exit_code_only_when_asked_for() {
        assert!(ending(false, false).is_ok());
        assert!(ending(true, true).is_ok());
        let error = ending(true, false).expect_err("it is checked and missed");
        assert_eq!(crate::failure::code(&error), 1);
    }
}
