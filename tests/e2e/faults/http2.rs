//! Floods of HTTP/2 frames that cost who sends them nothing, beside honest senders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use creel_common::testkit::certificates::connect;

use super::{alone, scale};
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, Frames, GOAWAY, HEADERS, RESET, frame, post,
};
use crate::harness::{Certified, Honest, Receiver};

/// Reset because it is not wanted any more.
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Frames of one flood at most; all of them end earlier.
const FRAMES_MAX: u32 = 200_000;
const RSS_BYTES_MAX: u64 = 512 << 20;

/// What is sent, a piece at a time.
type Flood = fn(u32) -> Vec<u8>;

/// Requests that are taken back at once, so that they never count as open (CVE-2023-44487).
fn rapid_reset(turn: u32) -> Vec<u8> {
    let stream = 2 * turn + 1;
    let mut frames = frame(HEADERS, END_HEADERS, stream, &post());
    frames.extend(frame(RESET, 0, stream, &CANCEL));
    frames
}

/// A head that never ends (CVE-2024-27316).
fn continuations(turn: u32) -> Vec<u8> {
    match turn {
        0 => frame(HEADERS, 0, 1, &post()),
        // a field of its own each, not kept in the table
        _ => frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x01b"),
    }
}

/// The same with nothing in it.
fn empty_continuations(turn: u32) -> Vec<u8> {
    match turn {
        0 => frame(HEADERS, 0, 1, &post()),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }
}

/// A body in pieces of nothing (CVE-2019-9518).
fn empty_data(turn: u32) -> Vec<u8> {
    match turn {
        0 => frame(HEADERS, END_HEADERS, 1, &post()),
        _ => frame(DATA, 0, 1, &[]),
    }
}

/// Sends a flood until the server has had enough; how many pieces that took, and whether it said so.
async fn flood(certified: &Certified, receiver: &Receiver, what: Flood) -> (u32, bool) {
    let stream = connect(receiver.public, &certified.authority, &["h2"], None).await;
    let mut frames = Frames::begin(stream.unwrap()).await.unwrap();
    let mut sent = 0;
    while sent < FRAMES_MAX {
        let pieces: Vec<u8> = (sent..sent + 50).flat_map(what).collect();
        if frames.send(&pieces).await.is_err() {
            break;
        }
        sent += 50;
    }
    (sent, frames.heard().await.contains(&GOAWAY))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_frames_end_and_honest_senders_are_all_answered() {
    let _alone = alone().await;
    let certified = Arc::new(Certified::public(""));
    let receiver = Arc::new(Receiver::start(&certified.site).await);
    let floods: [(&str, Flood); 4] = [
        ("rapid reset", rapid_reset),
        ("continuation", continuations),
        ("empty continuation", empty_continuations),
        ("empty data", empty_data),
    ];
    let over = Arc::new(AtomicBool::new(false));
    let mut running = tokio::task::JoinSet::new();
    for (name, what) in floods {
        let (certified, receiver, over) = (certified.clone(), receiver.clone(), over.clone());
        running.spawn(async move {
            let (mut connections, mut most, mut told) = (0u32, 0, 0u32);
            while !over.load(Ordering::Relaxed) || connections == 0 {
                let (sent, goaway) = flood(&certified, &receiver, what).await;
                connections += 1;
                most = most.max(sent);
                told += u32::from(goaway);
            }
            (name, connections, most, told)
        });
    }
    let honest = Honest {
        to: receiver.public,
        certified: Some(certified.clone()),
        every: Duration::ZERO,
    };
    let fared = honest.send(scale(300, 20_000)).await;
    over.store(true, Ordering::Relaxed);
    while let Some(flooded) = running.join_next().await {
        let (name, connections, most, told) = flooded.unwrap();
        println!(
            "{name}: {connections} connections, ended after {most} pieces at most, {told} told"
        );
        assert!(most < FRAMES_MAX, "{name} went on");
    }
    let (p50, p99) = (fared.percentile(50), fared.percentile(99));
    let rss = receiver.rss_bytes();
    println!(
        "floods: {} honest answered, {} not; p50 {p50:.1?}, p99 {p99:.1?}; {} MiB resident",
        fared.took.len(),
        fared.failed.len(),
        rss >> 20
    );
    assert!(fared.failed.is_empty(), "{:?}", fared.failed.first());
    assert!(rss < RSS_BYTES_MAX, "{rss} bytes");
    println!("floods: PASS");
}
