//! Power cuts under the running process, on a disk that keeps no more than it promised.
//!
//! The receiver's directory is on a file system of ours (`creel_common::layer`) that loses what
//! was not synced. Senders push; before a step of the disk that the seed decides, the power goes.
//! The process is killed, what survived is mounted, and a receiver has to start on it without a
//! complaint; everything acknowledged has to be there byte for byte, and no offset used twice.
//! Each log begins with a cut during its very first start. The control believes no sync of some
//! deliveries and has to lose them.

mod rig;

use creel_common::layer::{Layer, Left, Step};
use rand::RngExt;
use rand::rngs::StdRng;

use self::rig::{Rig, Told};
use super::{alone, scale};
use crate::harness::{Seed, Sizes};

/// One kind of work to be cut off in.
pub struct Workload {
    name: &'static str,
    /// Settings of `[log]`.
    log: &'static str,
    senders: usize,
    sizes: Sizes,
    /// The destination, where there is a worker.
    destination: Option<Destination>,
    /// What is counted to find the moment, and up to which number.
    step: Step,
    steps_max: u64,
}

/// What the destination answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    Takes,
    /// One in three attempts fails: much to wait for.
    FailsOften,
    /// One delivery in ten always fails: little is left of each volume.
    NeverTakesSome,
}

impl Workload {
    /// Whether volumes go as soon as all in them was delivered.
    fn removes(&self) -> bool {
        self.log.contains("retention")
    }

    /// Whether what is left of volumes is carried over.
    fn carries(&self) -> bool {
        self.destination == Some(Destination::NeverTakesSome)
    }
}

const WORKLOADS: [Workload; 5] = [
    Workload {
        name: "small deliveries",
        log: "",
        senders: 16,
        sizes: Sizes::Between(100, 4000),
        destination: None,
        step: Step::Any,
        steps_max: 3000,
    },
    Workload {
        name: "volumes roll over",
        log: "volume = \"4MiB\"",
        senders: 4,
        sizes: Sizes::Between(40_000, 120_000),
        destination: None,
        step: Step::Name,
        steps_max: 60,
    },
    Workload {
        name: "volumes go",
        log: "volume = \"4MiB\"\nretention = \"0s\"\nreserve = \"32MiB\"",
        senders: 4,
        sizes: Sizes::Between(40_000, 120_000),
        destination: Some(Destination::Takes),
        step: Step::Name,
        steps_max: 90,
    },
    Workload {
        name: "what is left is carried over",
        log: "volume = \"4MiB\"\nretention = \"0s\"\nreserve = \"32MiB\"",
        senders: 4,
        sizes: Sizes::Between(40_000, 120_000),
        destination: Some(Destination::NeverTakesSome),
        step: Step::Any,
        steps_max: 300,
    },
    Workload {
        name: "state commits",
        log: "",
        senders: 4,
        sizes: Sizes::Between(100, 500),
        destination: Some(Destination::FailsOften),
        step: Step::Any,
        steps_max: 3000,
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_keeps_only_what_was_synced_loses_nothing_that_was_acknowledged() {
    if !layer_or_left_out("power cuts on the layer") {
        return;
    }
    let _alone = alone().await;
    let mut rng = Seed::of("power cuts on the layer").rng();
    let first_start = Rig::new(&WORKLOADS[0]).await.steps_of_a_start().await;
    let (logs, cuts_each) = scale((WORKLOADS.len(), 3), (50, 4));
    let (mut left, mut acked, mut removing, mut carrying) = (Left::default(), 0, 0, 0);
    for nth in 0..logs {
        let workload = &WORKLOADS[nth % WORKLOADS.len()];
        let mut rig = Rig::new(workload).await;
        left += rig
            .cut_start(rng.random_range(1..=first_start), rng.random())
            .await;
        for _ in 1..cuts_each {
            left += one_cut(&mut rig, first_start, &mut rng).await;
        }
        let told = rig.finish().await;
        println!(
            "power cuts on the layer: {}, {cuts_each} cuts: {told}",
            workload.name
        );
        acked += told.acked;
        match workload.carries() {
            true => carrying += rig.volumes_go,
            false => removing += rig.volumes_go,
        }
    }
    let cuts = logs * cuts_each;
    println!(
        "power cuts on the layer: {cuts} cuts, {logs} of them in a first start, {removing} while \
         volumes were removed, {carrying} while what is left was carried over, {acked} acked, 0 lost, 0 unopenable; {left}"
    );
    assert!(removing > 0, "no volume ever went");
    assert!(carrying > 0, "nothing was ever carried over");
    assert!(acked > scale(500, 20_000), "hardly any load: {acked} acked");
    let gone = left.writes_dropped + left.writes_torn + left.names_dropped;
    assert!(gone > 0, "nothing was ever gone: {left}");
    println!("power cuts on the layer: PASS");
}

/// Most while it works, some while it recovers from the cut before.
async fn one_cut(rig: &mut Rig, start: u64, rng: &mut StdRng) -> Left {
    // of the volumes that go there are few enough
    let left = match !rig.workload.removes() && rng.random_ratio(1, 4) {
        true => {
            rig.cut_start(rng.random_range(1..=start), rng.random())
                .await
        }
        false => {
            let nth = rng.random_range(1..=rig.workload.steps_max);
            rig.cut_work(nth, rng.random()).await
        }
    };
    if rng.random() {
        // what is there is looked at before any receiver has mended it
        rig.look().await;
    }
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layer_notices_syncs_that_did_nothing() {
    if !layer_or_left_out("power cuts on the layer, control") {
        return;
    }
    let _alone = alone().await;
    let mut lost = 0;
    for _ in 0..scale(1, 5) {
        let mut rig = Rig::new(&WORKLOADS[0]).await;
        let Told { acked, audit } = rig.lie(50).await;
        println!("power cuts on the layer, control: {audit}");
        assert_eq!(acked, 100);
        assert!(audit.lost.len() <= 50, "what was synced is there: {audit}");
        lost += audit.lost.len();
    }
    assert!(
        lost > 0,
        "the control lost nothing: this test proves nothing"
    );
    println!("power cuts on the layer, control: PASS");
}

/// Whether a layer can be mounted; if not, says aloud that `test` is left out.
fn layer_or_left_out(test: &str) -> bool {
    let Err(why) = Layer::probe() else {
        return true;
    };
    println!("left out: {test}: {why}");
    eprintln!("left out: {test}: {why}");
    false
}
