//! What the bench found: rows, ratios, a table.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::latency::Latencies;
use crate::output::{BOLD, Sheet, count, paint};

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Appends and syncs, no HTTP.
    Bare,
    /// The receiver's HTTP server and verification, no log.
    NoLog,
    /// The same over a bare synced file: the limit.
    File,
    /// creel's receiver.
    Creel,
    /// creel's receiver, with workers draining to files.
    CreelWorkers,
}

impl System {
    /// As a person reads it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare append + fdatasync",
            Self::NoLog => "server, no log",
            Self::File => "server + bare synced file",
            Self::Creel => "creel",
            Self::CreelWorkers => "creel + workers",
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What.
    pub system: System,
    /// With how many connections (for `bare`: writers).
    pub connections: usize,
    /// Acknowledged per second.
    pub acks_per_second: f64,
    /// Half of all took at most this long.
    pub p50_ms: f64,
    /// 99 of 100 took at most this long.
    pub p99_ms: f64,
    /// Answers that were no 200.
    pub refused: u64,
    /// Processor time of the server per acknowledged request.
    pub server_cpu_us: Option<f64>,
    /// Delivered per second by workers meanwhile.
    pub drained_per_second: Option<f64>,
}

impl Row {
    /// A row from what was counted.
    pub fn new(system: System, connections: usize, latencies: &Latencies, took: Duration) -> Self {
        let ms = |share| latencies.quantile(share).as_secs_f64() * 1000.0;
        Self {
            system,
            connections,
            acks_per_second: per_second(latencies.total(), took),
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            refused: 0,
            server_cpu_us: None,
            drained_per_second: None,
        }
    }
}

/// A rate.
#[allow(clippy::cast_precision_loss)]
pub fn per_second(number: u64, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// Creel against the limit at one number of connections.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// With how many connections.
    pub connections: usize,
    /// creel's acks/s, as a share of the server's over a bare synced file.
    pub acks_of_file: Option<f64>,
    /// creel's p50, as a multiple of that.
    pub p50_of_file: Option<f64>,
    /// Intake with workers draining, as a share of intake alone.
    pub intake_with_workers: Option<f64>,
    /// Drained as a share of that intake.
    pub drained_of_intake: Option<f64>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Body size.
    pub body_bytes: usize,
    /// Seconds measured per row.
    pub seconds: f64,
    /// How often each row was measured; it is the median of them.
    pub rounds: u16,
    /// Processors of this machine.
    pub cores: usize,
    /// Where the files were.
    pub dir: String,
    /// Measurements.
    pub rows: Vec<Row>,
    /// Comparisons.
    pub ratios: Vec<Ratio>,
}

/// Of all rows of one system at one number of connections the one with the median of acks/s, in
/// the order in which they came first.
pub fn medians(rows: Vec<Row>) -> Vec<Row> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let same = |group: &&mut Vec<Row>| {
            group[0].system == row.system && group[0].connections == row.connections
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    let median = |mut group: Vec<Row>| {
        group.sort_by(|a, b| a.acks_per_second.total_cmp(&b.acks_per_second));
        group.swap_remove(group.len() / 2)
    };
    groups.into_iter().map(median).collect()
}

/// Compares the rows of each number of connections.
pub fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let mut all: Vec<Ratio> = Vec::new();
    for row in rows {
        if all.iter().any(|ratio| ratio.connections == row.connections) {
            continue;
        }
        let of = |system| {
            rows.iter()
                .find(|other| other.system == system && other.connections == row.connections)
        };
        let (file, creel) = (of(System::File), of(System::Creel));
        let workers = of(System::CreelWorkers);
        let both = |a: Option<&Row>, b: Option<&Row>, value: fn(&Row) -> f64| {
            a.zip(b).map(|(a, b)| value(a) / value(b))
        };
        all.push(Ratio {
            connections: row.connections,
            acks_of_file: both(creel, file, |row| row.acks_per_second),
            p50_of_file: both(creel, file, |row| row.p50_ms),
            intake_with_workers: both(workers, creel, |row| row.acks_per_second),
            drained_of_intake: workers
                .and_then(|row| row.drained_per_second.map(|d| d / row.acks_per_second)),
        });
    }
    all
}

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut sheet = Sheet::new(&[
        "",
        "connections>",
        "acks/s>",
        "p50 ms>",
        "p99 ms>",
        "server µs/ack>",
        "drained/s>",
    ]);
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{value:.digits$}"))
    };
    for row in &report.rows {
        sheet.row([
            row.system.title().to_owned(),
            row.connections.to_string(),
            whole(row.acks_per_second),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p99_ms),
            optional(row.server_cpu_us, 1),
            row.drained_per_second.map_or(String::new(), whole),
        ]);
    }
    let mut text = format!(
        "{} byte bodies, {:.0} s each{}, {} cores, in {}\n\n{}\n\n{}\n",
        report.body_bytes,
        report.seconds,
        match report.rounds {
            1 => String::new(),
            n => format!(" (median of {n})"),
        },
        report.cores,
        report.dir,
        sheet.text(),
        paint(
            BOLD,
            "creel against the same server over a bare synced file"
        ),
    );
    for ratio in &report.ratios {
        let mut parts = Vec::new();
        let mut add = |what: &str, value: Option<f64>| {
            if let Some(value) = value {
                parts.push(format!("{what} {value:.2}"));
            }
        };
        add("acks/s ×", ratio.acks_of_file);
        add("p50 ×", ratio.p50_of_file);
        add("intake with workers ×", ratio.intake_with_workers);
        add("drained of intake ×", ratio.drained_of_intake);
        text += &format!("  {:>5}  {}\n", ratio.connections, parts.join("   "));
    }
    for row in report.rows.iter().filter(|row| row.refused > 0) {
        text += &format!(
            "\n{} at {} connections: {} answers were no 200",
            row.system.title(),
            row.connections,
            count(row.refused)
        );
    }
    text
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(number: f64) -> String {
    count(number.round().max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(system: System, acks: f64, p50: f64) -> Row {
        Row {
            system,
            connections: 64,
            acks_per_second: acks,
            p50_ms: p50,
            p99_ms: p50,
            refused: 0,
            server_cpu_us: None,
            drained_per_second: None,
        }
    }

    #[test]
    fn a_row_of_several_rounds_is_their_median() {
        let rows = [
            row(System::File, 10.0, 1.0),
            row(System::Creel, 3.0, 1.0),
            row(System::File, 30.0, 1.0),
            row(System::Creel, 1.0, 1.0),
            row(System::File, 20.0, 1.0),
            row(System::Creel, 2.0, 1.0),
        ];
        let medians = medians(rows.to_vec());
        let found: Vec<_> = medians
            .iter()
            .map(|r| (r.system, r.acks_per_second))
            .collect();
        assert_eq!(found, [(System::File, 20.0), (System::Creel, 2.0)]);
    }

    #[test]
    fn ratios_compare_rows_of_the_same_number_of_connections() {
        let rows = [row(System::File, 100.0, 1.0), row(System::Creel, 80.0, 1.2)];
        let ratios = ratios(&rows);
        assert_eq!(ratios.len(), 1);
        assert_eq!(ratios[0].acks_of_file, Some(0.8));
        assert_eq!(ratios[0].p50_of_file, Some(1.2));
        assert_eq!(ratios[0].intake_with_workers, None);
    }
}
