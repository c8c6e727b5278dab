//! Power cuts: real runs recorded, cut at hundreds of moments, opened again.
//!
//! A receiver runs under strace while senders push. The recording says what the
//! disk had promised at every moment; a cut puts onto the real disk what may be
//! left at one of them, and creel has to read it back: everything acknowledged
//! by then, byte for byte, and no offset to be given twice. The control believes
//! no sync of a file and has to lose.

mod recording;

use rand::RngExt;
use rand::rngs::StdRng;

use self::recording::Recording;
use super::{alone, scale};
use crate::harness::{Load, Seed, Sizes, strace_or_left_out};
use crate::trace::Cut;

/// A first start makes at least so many syncs on its main thread.
const SYNCS_OF_A_START: u32 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_one_at_a_time() {
    let load = Load::new(1, Sizes::Between(100, 300));
    let run = async || Recording::of_load(load, scale(200, 1000)).await;
    cut_workload("one at a time", run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_to_64_senders() {
    let load = Load::new(64, Sizes::Fixed(1024));
    let run = async || Recording::of_load(load, scale(3000, 6000)).await;
    cut_workload("64 senders", run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_that_was_acknowledged_of_large_bodies() {
    let load = Load::new(8, Sizes::Between(50_000, 1_000_000));
    let run = async || Recording::of_load(load, scale(24, 40)).await;
    cut_workload("large bodies", run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_loses_nothing_while_volumes_come_and_go() {
    let load = Load::new(16, Sizes::Between(2000, 16_000));
    let run = async || Recording::of_churn(load, scale(1200, 2400)).await;
    cut_workload("churn", run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_after_starts_that_were_killed_loses_nothing() {
    if !strace_or_left_out("power cuts, killed starts") {
        return;
    }
    let _alone = alone().await;
    let mut rng = Seed::of("power cuts, killed starts").rng();
    let (runs, points) = scale((5, 4), (SYNCS_OF_A_START, 8));
    let mut cuts = Cut::default();
    for run in 1..=runs {
        let first = scale(rng.random_range(1..=SYNCS_OF_A_START), run);
        let kills = [first, rng.random_range(1..=SYNCS_OF_A_START)];
        let load = Load::new(4, Sizes::Fixed(500));
        let recording = Recording::of_killed_starts(load, &kills, 20).await;
        println!(
            "power cuts, killed starts at sync {kills:?}: {}",
            recording.summary()
        );
        cuts += cut_often(&recording, points, &mut rng).await;
    }
    println!("power cuts, killed starts: {runs} runs, {points} cuts in each, {cuts}, 0 lost");
    println!("power cuts, killed starts: PASS");
}

async fn cut_workload(name: &str, run: impl AsyncFnOnce() -> Recording) {
    if !strace_or_left_out(&format!("power cuts, {name}")) {
        return;
    }
    let _alone = alone().await;
    let mut rng = Seed::of(&format!("power cuts, {name}")).rng();
    let recording = run().await;
    println!("power cuts, {name}: {}", recording.summary());
    let points = scale(25, 250);
    let cuts = cut_often(&recording, points, &mut rng).await;
    let lost = recording.control(&mut rng).await;
    println!("power cuts, {name}: {points} cuts, {cuts}, 0 lost; the control lost {lost} times");
    assert!(
        lost > 0,
        "the control lost nothing: this test proves nothing"
    );
    println!("power cuts, {name}: PASS");
}

async fn cut_often(recording: &Recording, points: usize, rng: &mut StdRng) -> Cut {
    let mut cuts = Cut::default();
    for nth in 0..points {
        let at = recording.moment(nth, rng);
        let seed = (nth % 4 != 0).then(|| rng.random());
        cuts += recording.survive(nth, at, seed).await;
    }
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_while_recovering_from_a_power_cut_loses_nothing() {
    if !strace_or_left_out("power cuts, twice") {
        return;
    }
    let _alone = alone().await;
    let mut rng = Seed::of("power cuts, twice").rng();
    let first = Recording::of_churn(Load::new(16, Sizes::Between(500, 8000)), 1500).await;
    println!("power cuts, twice: {}", first.summary());
    let (recoveries, points) = scale((3, 5), (20, 20));
    let mut cuts = Cut::default();
    for nth in 0..recoveries {
        let at = first.moment(1, &mut rng);
        let second = first.of_recovery(nth, at, rng.random(), 20).await;
        cuts += cut_often(&second, points, &mut rng).await;
    }
    println!("power cuts, twice: {recoveries} recoveries, {points} cuts in each, {cuts}, 0 lost");
    println!("power cuts, twice: PASS");
}
