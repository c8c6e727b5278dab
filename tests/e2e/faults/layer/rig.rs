//! A site whose disk is the layer, through one cut after another.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use creel_common::layer::{Cut, Disk, Layer, Left, Step};
use tokio_util::sync::CancellationToken;

use super::{Destination, Workload};
use crate::faults::audit::{Audit, audit};
use crate::harness::{
    Answer, Arrival, Load, Marker, Process, Receiver, Role, Sink, Site, StartFailed, eventually,
};
use crate::trace::Acked;

/// Far longer than a load needs to come to its cut.
const CUT_WITHIN: Duration = Duration::from_secs(120);

/// `log.reserve` where volumes go; they do below one and a half of it.
const RESERVE_BYTES: u64 = 32 << 20;

/// One log, on a disk that is cut off again and again.
pub struct Rig {
    pub workload: &'static Workload,
    // before the site: what is mounted in it must go first
    layer: Option<Layer>,
    site: Site,
    load: Load,
    sink: Sink,
    acked: Vec<Acked>,
    /// Cuts that came while retention was removing volumes.
    pub volumes_go: usize,
}

/// What reading a log back found.
pub struct Told {
    pub acked: usize,
    pub audit: Audit,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.audit.fmt(f)
    }
}

impl Rig {
    pub async fn new(workload: &'static Workload) -> Self {
        let sink = Sink::start(rule(workload.destination)).await;
        let rest = format!(
            "{}[[routes]]\nsource = \"github\"\ndestination = \"sink\"\nbreaker = {{ failures = 0 }}\n\
             retry = {{ max_attempts = 1000, initial = \"50ms\", max = \"200ms\" }}\n",
            sink.destination()
        );
        let site = Site::new(workload.log, &rest);
        let layer = Layer::mount(site.disk(), Disk::empty()).expect("it was probed");
        Self {
            workload,
            layer: Some(layer),
            site,
            load: Load::new(workload.senders, workload.sizes),
            sink,
            acked: Vec::new(),
            volumes_go: 0,
        }
    }

    fn layer(&self) -> &Layer {
        self.layer.as_ref().expect("mounted but for a moment")
    }

    /// How many steps a first start takes until it is ready.
    pub async fn steps_of_a_start(&mut self) -> u64 {
        let mut receiver = Receiver::start(&self.site).await;
        let steps = self.layer().counts().steps();
        self.end(&mut receiver).await;
        steps
    }

    /// Cuts before the `nth` step after the start of a receiver.
    pub async fn cut_start(&mut self, nth: u64, seed: u64) -> Left {
        self.layer().cut_before(Step::Any, nth, seed);
        match Receiver::bind(&self.site, None).await {
            Err(StartFailed(exit)) => {
                assert!(self.layer().is_cut(), "a start failed: {exit:?}");
            }
            Ok(receiver) => self.work_until_cut(receiver, None).await,
        }
        self.serve_what_is_left()
    }

    /// Cuts before the `nth` step after a receiver was ready.
    pub async fn cut_work(&mut self, nth: u64, seed: u64) -> Left {
        let receiver = Receiver::start(&self.site).await;
        assert_no_complaint(&receiver);
        self.work_until_cut(receiver, Some((nth, seed))).await;
        self.serve_what_is_left()
    }

    /// Senders, and a worker where there is to be one, until the power goes: as was planned, or
    /// before the `nth` step from where it matters.
    async fn work_until_cut(&mut self, mut receiver: Receiver, plan: Option<(u64, u64)>) {
        receiver.allow_errors("");
        let stop = CancellationToken::new();
        let senders = tokio::spawn({
            let (load, stop, to) = (self.load.clone(), stop.clone(), receiver.public);
            async move { load.run(to, None, &stop).await }
        });
        let mut worker = self.worker(&receiver).await;
        if let Some((nth, seed)) = plan {
            if self.workload.removes() {
                self.press();
                self.volumes_go += match self.workload.carries() {
                    true => a_volume_is_carried_over(&receiver, &self.site).await,
                    false => a_volume_goes(&receiver, &self.site).await,
                };
            }
            self.layer().cut_before(self.workload.step, nth, seed);
        }
        let cut = async || (self.layer().is_cut() || receiver.has_ended()).then_some(());
        eventually("the cut", CUT_WITHIN, cut).await;
        assert!(self.layer().is_cut(), "the receiver ended before the cut");
        receiver.kill().await;
        stop.cancel();
        if let Some(worker) = &mut worker {
            worker.kill().await;
        }
        let tally = senders.await.expect("senders do not panic");
        let only_ours = tally.refused.keys().all(|&status| status == 503);
        assert!(only_ours, "refused: {:?}", tally.refused);
        self.acked.extend(tally.acked);
    }

    /// Leaves so little room that volumes go at once and intake stays open for a while.
    fn press(&self) {
        let layer = self.layer();
        layer.set_size(layer.used_bytes() + RESERVE_BYTES * 5 / 4);
    }

    async fn worker(&self, receiver: &Receiver) -> Option<Process> {
        self.workload.destination?;
        let mut worker = Process::worker(&self.site, receiver, "worker").await;
        // its receiver goes away
        worker.allow_errors("");
        Some(worker)
    }

    fn serve_what_is_left(&mut self) -> Left {
        let Cut { disk, left } = self.layer().taken().expect("cut just now");
        self.serve(disk);
        left
    }

    fn serve(&mut self, disk: Disk) {
        // unmounts the old one
        self.layer = None;
        let layer = Layer::mount(self.site.disk(), disk);
        self.layer = Some(layer.expect("it was mounted before"));
    }

    /// Reads the log back, and fails the test if anything promised is missing.
    pub async fn look(&self) -> Told {
        let told = Told {
            acked: self.acked.len(),
            audit: self.audit().await,
        };
        if !told.audit.is_clean() {
            self.site.keep();
            panic!(
                "{}: {told}; {}",
                self.workload.name,
                self.site.root().display()
            );
        }
        told
    }

    async fn audit(&self) -> Audit {
        if self.acked.is_empty() {
            // perhaps there is no log yet
            return Audit::default();
        }
        self.assert_no_offset_twice();
        audit(&self.site, &self.load, &self.acked, &self.removable()).await
    }

    fn assert_no_offset_twice(&self) {
        let mut given = BTreeMap::<&str, Marker>::new();
        for one in &self.acked {
            let before = given.insert(&one.id, one.marker);
            let again = before.is_some_and(|marker| marker != one.marker);
            assert!(!again, "{}: {} was given twice", self.workload.name, one.id);
        }
    }

    /// What may have gone by retention: it was delivered.
    fn removable(&self) -> HashSet<String> {
        if !self.workload.removes() {
            return HashSet::new();
        }
        let carries = self.workload.carries();
        let taken = move |id: &&str| !(carries && is_never_taken(id));
        let id = |arrival: Arrival| arrival.delivery().filter(taken).map(str::to_owned);
        self.sink.arrivals().into_iter().filter_map(id).collect()
    }

    /// A receiver on what is left takes deliveries, delivers all, and stops cleanly.
    pub async fn finish(&mut self) -> Told {
        let mut receiver = Receiver::start(&self.site).await;
        self.acked.extend(self.load.push(receiver.public, 20).await);
        self.end(&mut receiver).await;
        self.look().await
    }

    async fn end(&self, receiver: &mut Receiver) {
        let exit = receiver.terminate(Duration::from_secs(30)).await;
        assert_eq!(exit.code(), Some(0), "a clean stop: {}", exit.stderr);
    }

    /// Takes `count` deliveries, then `count` more while syncs do nothing, and is cut off.
    pub async fn lie(&mut self, count: u64) -> Told {
        let mut receiver = Receiver::start(&self.site).await;
        receiver.allow_errors("");
        self.acked = self.load.push(receiver.public, count).await;
        self.layer().believe_syncs(false);
        self.acked
            .extend(self.load.push(receiver.public, count).await);
        let cut = self.layer().cut_strictly();
        receiver.kill().await;
        self.serve(cut.disk);
        Told {
            acked: self.acked.len(),
            audit: self.audit().await,
        }
    }
}

/// Waits until another volume has gone than those that had when it was first asked; 1.
async fn a_volume_goes(receiver: &Receiver, site: &Site) -> usize {
    let api = receiver.api(site, Role::Read);
    let oldest = async || {
        let log = api.get("/v1/log").await.json();
        log["volumes"].as_array()?.first()?["first"].as_u64()
    };
    let before = eventually("a volume", CUT_WITHIN, oldest).await;
    let gone = async || (oldest().await? > before).then_some(1);
    eventually("a volume that goes", CUT_WITHIN, gone).await
}

/// Waits until what is left of another volume than before was carried over; 1.
async fn a_volume_is_carried_over(receiver: &Receiver, site: &Site) -> usize {
    let api = receiver.api(site, Role::Read);
    let newest = async || {
        let log = api.get("/v1/log").await.json();
        let volumes = log["volumes"].as_array()?.iter();
        let rests = volumes.filter(|volume| volume["rest"] == true);
        Some(
            rests
                .filter_map(|volume| volume["end"].as_u64())
                .max()
                .unwrap_or(0),
        )
    };
    let before = eventually("the volumes", CUT_WITHIN, newest).await;
    let carried = async || (newest().await? > before).then_some(1);
    eventually("a volume that is carried over", CUT_WITHIN, carried).await
}

/// One in ten.
fn is_never_taken(id: &str) -> bool {
    id.ends_with('7')
}

/// A power cut damages nothing, so a start has nothing to complain of.
fn assert_no_complaint(receiver: &Receiver) {
    let log = receiver.log();
    assert!(!log.contains("ERROR"), "a start on what was left: {log}");
}

fn rule(destination: Option<Destination>) -> impl Fn(&Arrival) -> Answer + Send + Sync {
    let attempts = AtomicU64::new(0);
    move |arrival| {
        let nth = attempts.fetch_add(1, Ordering::Relaxed);
        match destination {
            Some(Destination::NeverTakesSome) if arrival.delivery().is_some_and(is_never_taken) => {
                Answer::Status(500)
            }
            Some(Destination::FailsOften) if nth.is_multiple_of(3) => Answer::Status(500),
            _ => Answer::Status(200),
        }
    }
}
