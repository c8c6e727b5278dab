//! Power cuts: real runs recorded, cut at hundreds of moments, opened again.
//!
//! A receiver runs under strace while senders push. The recording says what the
//! disk had promised at every moment; a cut puts onto the real disk what may be
//! left at one of them, and creel has to read it back: everything acknowledged
//! by then, byte for byte, and no offset to be given twice. The control believes
//! no sync of a file and has to lose.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::audit::{Audit, audit};
use super::{alone, scale};
use crate::harness::{
    Load, Process, Receiver, Role, Seed, Site, Sizes, Strace, eventually, json_lines,
    strace_or_left_out,
};
use crate::trace::{Acked, Cut, Disk, History, Snapshot, Tick, Trust, differences};

/// Every so many cuts a receiver is started on what is left and takes more.
const RESTART_EVERY: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_one_at_a_time() {
    let load = Load::new(1, Sizes::Between(100, 300));
    cut_workload("one at a time", "", load, scale(200, 1000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_to_64_senders() {
    let load = Load::new(64, Sizes::Fixed(1024));
    cut_workload("64 senders", "", load, scale(3000, 20_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_of_large_bodies() {
    let load = Load::new(8, Sizes::Between(50_000, 1_000_000));
    cut_workload("large bodies", "", load, scale(24, 40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_while_volumes_come_and_go() {
    let load = Load::new(16, Sizes::Between(2000, 16_000));
    let log = "volume = \"4MiB\"\nretention = \"0s\"";
    cut_workload("churn", log, load, scale(1200, 6000)).await;
}

/// A run of creel that is over, and what its senders and its destination saw.
struct Recording {
    site: Site,
    history: History,
    load: Load,
    /// By id.
    acked: BTreeMap<String, Acked>,
    /// What reached the destination: may be gone from the log.
    settled: HashSet<String>,
}

async fn cut_workload(name: &str, log: &str, load: Load, deliveries: u64) {
    if !strace_or_left_out(&format!("power cuts, {name}")) {
        return;
    }
    let _alone = alone().await;
    let seed = Seed::of(&format!("power cuts, {name}"));
    let mut rng = seed.rng();
    let recording = record(log, load, deliveries).await;
    println!(
        "power cuts, {name}: {} acked, {} settled, {} syncs, {} bytes written",
        recording.acked.len(),
        recording.settled.len(),
        recording.history.syncs(),
        recording.history.written_bytes()
    );
    let points = scale(25, 250);
    let mut cuts = Cut::default();
    for nth in 0..points {
        let at = recording.moment(nth, &mut rng);
        let seed = (nth % 4 != 0).then(|| rng.random());
        cuts += recording.survive(nth, at, seed).await;
    }
    let lost = recording.control(&mut rng).await;
    println!("power cuts, {name}: {points} cuts, {cuts}, 0 lost; the control lost {lost} times");
    assert!(
        lost > 0,
        "the control lost nothing: this test proves nothing"
    );
    println!("power cuts, {name}: PASS");
}

/// Runs a receiver, and a worker if volumes are to go, until all is done.
async fn record(log: &str, load: Load, deliveries: u64) -> Recording {
    let churns = !log.is_empty();
    let site = Site::new(log, if churns { ARCHIVE } else { "" });
    let trace = site.path("trace");
    let mut receiver = Receiver::start_under(&site, &Strace::Record(trace.clone())).await;
    let worker = if churns {
        Some(Process::worker(&site, &receiver, "archivist").await)
    } else {
        None
    };
    let mut acked = load.push(receiver.public, deliveries).await;
    let mut settled = HashSet::new();
    if let Some(mut worker) = worker {
        all_settled(&site, acked.len()).await;
        a_volume_is_gone(&receiver, &site).await;
        acked.extend(load.push(receiver.public, deliveries / 4).await);
        settled = all_settled(&site, acked.len()).await;
        let exit = worker.terminate(Duration::from_secs(30)).await;
        assert_eq!(exit.code(), Some(0), "the worker stops cleanly");
    }
    let exit = receiver.terminate(Duration::from_secs(30)).await;
    assert_eq!(exit.code(), Some(0), "a clean stop");
    let history = History::of_file(&trace, site.disk(), site.root(), Snapshot::empty()).unwrap();
    fs::remove_file(trace).unwrap();
    let recording = Recording {
        site,
        history,
        load,
        acked: by_id(acked),
        settled,
    };
    recording.assert_whole();
    recording
}

/// A destination that keeps everything, and a route to it.
const ARCHIVE: &str = "[destinations.archive]\ntype = \"file\"\npath = \"out\"\n\n\
    [[routes]]\nsource = \"github\"\ndestination = \"archive\"\n";

async fn all_settled(site: &Site, count: usize) -> HashSet<String> {
    let id = |value: &serde_json::Value| value["id"].as_str().expect("an id").to_owned();
    eventually(
        "everything at the destination",
        Duration::from_secs(120),
        async || {
            let lines = json_lines(&site.path("out"));
            let ids: HashSet<String> = lines.iter().map(|line| id(&line.value)).collect();
            (ids.len() >= count).then_some(ids)
        },
    )
    .await
}

/// Waits until the oldest deliveries were removed.
async fn a_volume_is_gone(receiver: &Receiver, site: &Site) {
    let api = receiver.api(site, Role::Read);
    eventually(
        "a volume that is gone",
        Duration::from_secs(60),
        async || {
            let log = api.get("/v1/log").await.json();
            let first = log["volumes"].as_array()?.first()?["first"].as_u64()?;
            (first > 1).then_some(())
        },
    )
    .await;
}

fn by_id(acked: Vec<Acked>) -> BTreeMap<String, Acked> {
    acked.into_iter().map(|one| (one.id.clone(), one)).collect()
}

impl Recording {
    /// What the trace says is on the disk is what is on the disk.
    fn assert_whole(&self) {
        let rebuilt = self.site.path("rebuilt");
        let disk = Disk::new(&self.history, Trust::AllSyncs);
        disk.uncut(self.history.end(), &rebuilt).unwrap();
        assert_eq!(differences(&rebuilt, self.site.disk()), [""; 0]);
        fs::remove_dir_all(rebuilt).unwrap();
    }

    /// Where to cut: just after an answer, during the first start, or anywhere.
    fn moment(&self, nth: usize, rng: &mut StdRng) -> Tick {
        let moments = self.history.moments();
        let acks: Vec<Tick> = self.history.acks().map(|(at, _)| at).collect();
        let first = moments.partition_point(|&moment| moment < acks[0]);
        match nth % 5 {
            0 => moments[rng.random_range(0..first)],
            1 | 2 => acks[rng.random_range(0..acks.len())],
            _ => moments[rng.random_range(0..moments.len())],
        }
    }

    fn acked_by(&self, at: Tick) -> Vec<Acked> {
        let sent = self.history.acks().filter(|(sent, _)| *sent <= at);
        sent.filter_map(|(_, id)| self.acked.get(id).cloned())
            .collect()
    }

    /// Cuts at `at`, and fails the test if anything promised is missing.
    async fn survive(&self, nth: usize, at: Tick, seed: Option<u64>) -> Cut {
        let disk = Disk::new(&self.history, Trust::AllSyncs);
        let (site, cut) = self.cut(&disk, nth, at, seed);
        let mut acked = self.acked_by(at);
        let told = format!(
            "cut {nth} at {at} of {}, seed {seed:?}, {cut}",
            self.history.end()
        );
        if !acked.is_empty() {
            let audit = self.audit(&site, &acked).await;
            self.judge(&audit, &told);
        }
        if acked.is_empty() || nth.is_multiple_of(RESTART_EVERY) {
            acked.extend(self.go_on(&site).await);
            let audit = self.audit(&site, &acked).await;
            self.judge(&audit, &format!("{told}, after going on"));
        }
        fs::remove_dir_all(site.disk()).unwrap();
        cut
    }

    fn cut(&self, disk: &Disk, nth: usize, at: Tick, seed: Option<u64>) -> (Site, Cut) {
        let name = format!("cut-{nth}");
        let dir = self.site.path(&name);
        let cut = match seed {
            Some(seed) => disk.cut(at, seed, &dir).unwrap(),
            None => disk.cut_strict(at, &dir).unwrap(),
        };
        (self.site.with_disk(&name, &dir), cut)
    }

    /// A receiver on what is left takes deliveries again.
    async fn go_on(&self, site: &Site) -> Vec<Acked> {
        let mut receiver = Receiver::start(site).await;
        let more = self.load.push(receiver.public, 5).await;
        let exit = receiver.terminate(Duration::from_secs(20)).await;
        assert_eq!(exit.code(), Some(0), "a clean stop after a power cut");
        more
    }

    async fn audit(&self, site: &Site, acked: &[Acked]) -> Audit {
        audit(site, &self.load, acked, &self.settled).await
    }

    fn judge(&self, audit: &Audit, told: &str) {
        if !audit.is_clean() {
            self.site.keep();
            panic!("{told}: {audit}; kept in {}", self.site.root().display());
        }
    }

    /// How often the same run loses when no sync of a file is believed.
    async fn control(&self, rng: &mut StdRng) -> usize {
        let disk = Disk::new(&self.history, Trust::DirectoriesOnly);
        let acks: Vec<Tick> = self.history.acks().map(|(at, _)| at).collect();
        let mut lost = 0;
        for nth in 0..scale(2, 10) {
            let at = acks[rng.random_range(acks.len() / 2..acks.len())];
            let (site, _) = self.cut(&disk, 1_000_000 + nth, at, None);
            let acked = self.acked_by(at);
            let audit = audit(&site, &self.load, &acked, &HashSet::new()).await;
            lost += usize::from(!audit.is_clean());
            fs::remove_dir_all(site.disk()).unwrap();
        }
        lost
    }
}
