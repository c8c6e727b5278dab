//! A run of creel, recorded so that it can be cut off from power at any moment.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::faults::audit::{Audit, audit};
use crate::faults::scale;
use crate::harness::{
    Load, Process, Receiver, Role, Site, StartFailed, Strace, eventually, json_lines,
};
use crate::trace::{Acked, Cut, Disk, History, Snapshot, Tick, Trust, differences};

/// Every so many cuts a receiver is started on what is left and takes more.
const RESTART_EVERY: usize = 5;

/// A run of creel that is over, and what its senders and its destination saw.
pub struct Recording {
    site: Site,
    history: History,
    load: Load,
    /// Acknowledged before the recording began.
    before: Vec<Acked>,
    /// Acknowledged in it, by id.
    acked: BTreeMap<String, Acked>,
    /// What reached the destination: may be gone from the log.
    settled: HashSet<String>,
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

/// A receiver that is recorded, and where to.
async fn traced(site: &Site) -> (Receiver, PathBuf) {
    let trace = site.config().with_extension("trace");
    let receiver = Receiver::start_under(site, &Strace::Record(trace.clone())).await;
    (receiver, trace)
}

async fn stop(process: &mut Process) {
    let exit = process.terminate(Duration::from_secs(30)).await;
    assert_eq!(exit.code(), Some(0), "a clean stop: {}", exit.stderr);
}

fn by_id(acked: Vec<Acked>) -> BTreeMap<String, Acked> {
    acked.into_iter().map(|one| (one.id.clone(), one)).collect()
}

impl Recording {
    /// Runs a receiver on an empty disk until `deliveries` are acknowledged.
    pub async fn of_load(load: Load, deliveries: u64) -> Self {
        let site = Site::new("", "");
        let (mut receiver, trace) = traced(&site).await;
        let acked = load.push(receiver.public, deliveries).await;
        stop(&mut receiver).await;
        Self::read(
            site,
            &[trace],
            Snapshot::empty(),
            load,
            (Vec::new(), acked),
            HashSet::new(),
        )
    }

    /// The same with small volumes and a worker, until some of them have gone.
    pub async fn of_churn(load: Load, deliveries: u64) -> Self {
        let site = Site::new("volume = \"4MiB\"\nretention = \"0s\"", ARCHIVE);
        let (mut receiver, trace) = traced(&site).await;
        let mut worker = Process::worker(&site, &receiver, "archivist").await;
        let mut acked = load.push(receiver.public, deliveries).await;
        all_settled(&site, acked.len()).await;
        a_volume_is_gone(&receiver, &site).await;
        acked.extend(load.push(receiver.public, deliveries / 4).await);
        let settled = all_settled(&site, acked.len()).await;
        stop(&mut worker).await;
        stop(&mut receiver).await;
        Self::read(
            site,
            &[trace],
            Snapshot::empty(),
            load,
            (Vec::new(), acked),
            settled,
        )
    }

    /// Starts one receiver after another on one disk, each killed with SIGKILL as it
    /// comes to its sync with the number in `kills`; then one takes `deliveries`. All
    /// of it is one history: what a killed one left unsynced is for the next to make
    /// sure.
    pub async fn of_killed_starts(load: Load, kills: &[u32], deliveries: u64) -> Self {
        let site = Site::new("", "");
        let mut traces = Vec::new();
        for (nth, kill) in kills.iter().enumerate() {
            let into = site.path(&format!("start-{nth}.trace"));
            let what = format!("fsync,fdatasync:signal=SIGKILL:when={kill}");
            traces.push(into.clone());
            let strace = Strace::Inject { what, into };
            let killed = Receiver::bind(&site, Some(&strace)).await;
            let Err(StartFailed(exit)) = killed else {
                panic!("a start needs fewer than {kill} syncs");
            };
            assert_eq!(
                exit.status.signal(),
                Some(9),
                "killed by strace: {}",
                exit.stderr
            );
        }
        let (mut receiver, trace) = traced(&site).await;
        let acked = load.push(receiver.public, deliveries).await;
        receiver.kill().await;
        traces.push(trace);
        let told = (Vec::new(), acked);
        Self::read(site, &traces, Snapshot::empty(), load, told, HashSet::new())
    }

    /// Cuts at `at`, and records a receiver that starts on what is left and takes
    /// `deliveries` more.
    pub async fn of_recovery(&self, nth: usize, at: Tick, seed: u64, deliveries: u64) -> Self {
        let disk = Disk::new(&self.history, Trust::AllSyncs);
        let (site, _) = self.cut(&disk, &format!("recovery-{nth}"), at, Some(seed));
        let left = Snapshot::of(site.disk()).unwrap();
        let (mut receiver, trace) = traced(&site).await;
        let acked = self.load.push(receiver.public, deliveries).await;
        stop(&mut receiver).await;
        let told = (self.acked_by(at), acked);
        Self::read(
            site,
            &[trace],
            left,
            self.load.clone(),
            told,
            self.settled.clone(),
        )
    }

    /// What there is to cut, for people.
    pub fn summary(&self) -> String {
        format!(
            "{} acked, {} settled, {} syncs, {} bytes written",
            self.acked.len(),
            self.settled.len(),
            self.history.syncs(),
            self.history.written_bytes()
        )
    }

    fn read(
        site: Site,
        traces: &[PathBuf],
        disk: Snapshot,
        load: Load,
        (before, acked): (Vec<Acked>, Vec<Acked>),
        settled: HashSet<String>,
    ) -> Self {
        let files: Vec<&Path> = traces.iter().map(PathBuf::as_path).collect();
        let history = History::of_files(&files, site.disk(), site.root(), disk).unwrap();
        for file in files {
            fs::remove_file(file).unwrap();
        }
        let recording = Self {
            site,
            history,
            load,
            before,
            acked: by_id(acked),
            settled,
        };
        recording.assert_whole();
        recording
    }
    /// What the trace says is on the disk is what is on the disk.
    fn assert_whole(&self) {
        let rebuilt = self.site.path("rebuilt");
        let disk = Disk::new(&self.history, Trust::AllSyncs);
        disk.uncut(self.history.end(), &rebuilt).unwrap();
        assert_eq!(differences(&rebuilt, self.site.disk()), [""; 0]);
        fs::remove_dir_all(rebuilt).unwrap();
    }

    /// Where to cut: just after an answer, during the first start, or anywhere.
    pub fn moment(&self, nth: usize, rng: &mut StdRng) -> Tick {
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
        let sent = sent.filter_map(|(_, id)| self.acked.get(id).cloned());
        self.before.iter().cloned().chain(sent).collect()
    }

    /// Cuts at `at`, and fails the test if anything promised is missing.
    pub async fn survive(&self, nth: usize, at: Tick, seed: Option<u64>) -> Cut {
        let disk = Disk::new(&self.history, Trust::AllSyncs);
        let (site, cut) = self.cut(&disk, &format!("cut-{nth}"), at, seed);
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

    fn cut(&self, disk: &Disk, name: &str, at: Tick, seed: Option<u64>) -> (Site, Cut) {
        let mut name = name.to_owned();
        if !self.before.is_empty() {
            name.push_str("-again");
        }
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
    pub async fn control(&self, rng: &mut StdRng) -> usize {
        let disk = Disk::new(&self.history, Trust::DirectoriesOnly);
        let acks: Vec<Tick> = self.history.acks().map(|(at, _)| at).collect();
        let mut lost = 0;
        for nth in 0..scale(2, 10) {
            let at = acks[rng.random_range(acks.len() / 2..acks.len())];
            let (site, _) = self.cut(&disk, &format!("control-{nth}"), at, None);
            let acked = self.acked_by(at);
            let audit = audit(&site, &self.load, &acked, &HashSet::new()).await;
            lost += usize::from(!audit.is_clean());
            fs::remove_dir_all(site.disk()).unwrap();
        }
        lost
    }
}
