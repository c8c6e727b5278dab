//! `creel demo` and `creel bench`: what they claim, they measured.

use std::time::Duration;

use serde_json::Value;

use crate::faults::alone;
use crate::harness::{Process, Site};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_adds_up_and_leaves_nothing_behind() {
    let _alone = alone().await;
    let site = Site::new("", "");
    let mut command = site.creel(&["demo", "--deliveries", "600", "--json"]);
    command.env("TMPDIR", site.root());
    let exit = Process::run("creel demo", command, Duration::from_secs(120)).await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    let closed: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(
        (&closed["adds_up"], &closed["lost"]),
        (&true.into(), &0.into())
    );
    let sum = |rows: &str, column: &str| -> u64 {
        let rows = closed[rows].as_array().unwrap();
        rows.iter().map(|row| row[column].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("sources", "acknowledged"), 600);
    assert_eq!(sum("sources", "in_log"), 600);
    assert_eq!(sum("routes", "delivered"), 1200);
    for (rows, column) in [
        ("sources", "duplicates"),
        ("sources", "refused"),
        ("routes", "dead"),
        ("routes", "reprocessed"),
    ] {
        assert!(sum(rows, column) > 0, "no {column}");
    }
    let left: Vec<_> = std::fs::read_dir(site.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("creel-demo-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bench_measures_every_system_and_compares_them() {
    let _alone = alone().await;
    let site = Site::new("", "");
    let command = site.creel(&[
        "bench",
        "--seconds",
        "1",
        "--connections",
        "8",
        "--workers",
        "1",
        "--json",
    ]);
    let exit = Process::run("creel bench", command, Duration::from_secs(120)).await;
    assert_eq!(exit.code(), Some(0), "{}", exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let systems: Vec<&str> = rows
        .iter()
        .map(|row| row["system"].as_str().unwrap())
        .collect();
    assert_eq!(
        systems,
        ["bare", "no_log", "file", "creel", "creel_workers"]
    );
    for row in rows {
        assert!(row["acks_per_second"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["refused"], 0, "{row}");
    }
    assert!(rows[4]["drained_per_second"].as_f64().unwrap() > 0.0);
    assert!(report["ratios"][0]["acks_of_file"].as_f64().unwrap() > 0.0);
}
