//! The scenarios of `creel bench` in their short forms: memory, order, completeness. Speed is not
//! judged here; the full forms are run by hand, on a machine that does nothing else.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Process, Site};

const WITHIN: Duration = Duration::from_secs(240);

/// What a scenario found.
struct Found(Value);

impl Found {
    async fn of(arguments: &[&str]) -> Self {
        let site = Site::new("", "");
        let command = site.creel(&[&["bench"], arguments, &["--json"]].concat());
        let exit = Process::run("creel bench", command, WITHIN).await;
        assert_eq!(exit.code(), Some(0), "{}{}", exit.stdout, exit.stderr);
        Self(serde_json::from_str(&exit.stdout).unwrap())
    }

    fn finding(&self, name: &str) -> &Value {
        let findings = self.0["findings"].as_array().unwrap();
        findings
            .iter()
            .find(|finding| finding["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    fn value(&self, name: &str) -> f64 {
        self.finding(name)["value"].as_f64().unwrap()
    }

    /// The number is within the bound that the scenario states itself.
    fn holds(&self, names: &[&str]) {
        for name in names {
            let (finding, value) = (self.finding(name), self.value(name));
            let (most, least) = (finding["at_most"].as_f64(), finding["at_least"].as_f64());
            assert!(most.or(least).is_some(), "{name} has no bound");
            assert!(
                most.is_none_or(|most| value <= most) && least.is_none_or(|least| value >= least),
                "{finding}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_survives_a_crash_in_little_memory_and_drains_from_its_oldest_on() {
    let found = Found::of(&["backlog", "--deliveries", "20000"]).await;
    assert!(found.value("acknowledged") >= 20_000.0);
    assert!(found.value("drained") >= 20_000.0);
    found.holds(&[
        "memory_peak_bytes",
        "memory_ready_bytes",
        "memory_drain_bytes",
        "ready_seconds",
        "lost",
        "drained",
        "ahead_max",
    ]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_wait_take_little_memory_and_healthy_ones_still_arrive() {
    let found = Found::of(&[
        "retries",
        "--waiting",
        "5000",
        "--deliveries",
        "1000",
        "--turns",
        "1",
    ])
    .await;
    found.holds(&["waiting", "memory_more_bytes", "memory_more_end_bytes"]);
    assert!(found.value("many_per_second") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_destinations_get_everything_beside_a_dead_tenth() {
    for dead in ["hangs", "refuses"] {
        let found = Found::of(&[
            "dead-destination",
            "--deliveries",
            "1000",
            "--runs",
            "1",
            "--dead",
            dead,
        ])
        .await;
        found.holds(&["missing"]);
        assert!(found.value("with_per_second") > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_keys_takes_little_memory_and_every_key_is_found() {
    let found = Found::of(&[
        "keys",
        "--keys",
        "600k",
        "--lookups",
        "2000",
        "--turns",
        "1",
        "--seconds",
        "1",
    ])
    .await;
    found.holds(&[
        "memory_build_bytes",
        "memory_receiver_bytes",
        "open_seconds",
        "ready_seconds",
    ]);
    assert!(found.value("with_per_second") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_comes_back_once_all_is_delivered_and_old() {
    let found = Found::of(&["retention", "--deliveries", "20000", "--volume", "4"]).await;
    assert!(found.value("volumes_full") > 3.0, "it never grew");
    found.holds(&["volumes_in_the_end"]);
}
