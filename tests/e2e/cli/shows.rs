//! `creel demo`, `creel bench` and `creel torture`: what they claim, they measured.

use std::time::Duration;

use serde_json::Value;

use creel_common::layer::Layer;
use creel_common::wall::Wall;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_torture_plays_every_fault_and_loses_nothing() {
    let _alone = alone().await;
    let site = Site::new("", "");
    let disk = site.disk().to_str().expect("UTF-8");
    let command = site.creel(&[
        "torture",
        "--seconds",
        "20",
        "--seed",
        "1",
        "--dir",
        disk,
        "--json",
    ]);
    let exit = Process::run("creel torture", command, Duration::from_secs(180)).await;
    assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    let number = |name: &str| report[name].as_u64().unwrap();
    assert_eq!((&report["pass"], number("lost")), (&true.into(), 0));
    assert_eq!(number("seed"), 1);
    assert!(number("acked") > 200, "hardly any load: {report}");
    assert!(number("refused") > 0 && number("slowest_start_ms") > 0);
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 7, "{report}");
    let (no_layer, no_wall) = (Layer::probe().is_err(), Wall::library().is_none());
    for fault in faults {
        let (name, played) = (fault["fault"].as_str(), fault["played"].as_u64());
        let left_out = fault["left_out"].is_string();
        let expected = match name {
            Some("power-cut" | "failed-sync") => no_layer,
            Some("set-clock") => no_wall,
            _ => false,
        };
        assert_eq!(left_out, expected, "{fault}");
        assert_eq!(played == Some(0), left_out, "{fault}");
        assert_eq!(fault["recovery_ms_max"].is_u64(), !left_out, "{fault}");
    }
    println!("torture: {} acked, {faults:?}", number("acked"));
    let left = std::fs::read_dir(disk).unwrap().count();
    assert_eq!(left, 0, "it leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_torture_fails_where_syncs_do_nothing() {
    if let Err(why) = Layer::probe() {
        println!("left out: the control of the torture: {why}");
        return;
    }
    let _alone = alone().await;
    let site = Site::new("", "");
    let mut command = site.creel(&["torture", "--seconds", "10", "--control", "--json"]);
    command
        .args(["--only", "power-cut"])
        .arg("--dir")
        .arg(site.disk());
    let exit = Process::run("creel torture", command, Duration::from_secs(180)).await;
    assert_eq!(exit.code(), Some(1), "{}{}", exit.stdout, exit.stderr);
    let report: Value = serde_json::from_str(&exit.stdout).unwrap();
    assert_eq!(report["pass"], false, "{report}");
    assert_ne!(report["problems"].as_array().unwrap().len(), 0, "{report}");
}

#[tokio::test]
async fn a_fault_that_does_not_exist_is_refused() {
    let site = Site::new("", "");
    let command = site.creel(&["torture", "--only", "fire"]);
    let exit = Process::run("creel torture", command, Duration::from_secs(20)).await;
    assert_eq!(exit.code(), Some(2), "{}", exit.stderr);
    assert!(exit.stderr.contains("power-cut"), "{}", exit.stderr);
}
