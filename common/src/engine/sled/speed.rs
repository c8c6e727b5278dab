//! Measures appends against a bare synced file. Run it by hand, on a quiet machine:
//! `cargo test --release -p creel-common --lib engine::sled::speed -- --ignored --nocapture`.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;

const DELIVERY_BYTES: usize = 1024;

fn lasting() -> Duration {
    let seconds = std::env::var("CREEL_SPEED_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|s| s.parse().ok()).unwrap_or(3))
}

fn waiters() -> Vec<usize> {
    let given = std::env::var("CREEL_SPEED_WAITERS").unwrap_or("1,64,256".into());
    given.split(',').map(|w| w.parse().unwrap()).collect()
}

/// Calls `commit` for a while; prints deliveries a second and the commits' median and 99th.
fn measure(name: &str, deliveries: usize, mut commit: impl FnMut()) -> u64 {
    let (begun, lasting) = (Instant::now(), lasting());
    let mut times = Vec::new();
    while begun.elapsed() < lasting {
        let one = Instant::now();
        commit();
        times.push(one.elapsed());
    }
    let total = begun.elapsed();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{name:28} {deliveries:4} waiters {:8.0} deliveries/s  p50 {:.3} ms  p99 {:.3} ms",
        (times.len() * deliveries) as f64 / total.as_secs_f64(),
        at(50),
        at(99)
    );
    times.len() as u64
}

/// Blocks as a committer would fill them.
fn blocks(first: Offset, deliveries: usize, per_block: usize, content: &Bytes) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut next = first;
    let mut left = deliveries;
    while left > 0 {
        let count = left.min(per_block);
        blocks.push(Block {
            first: next,
            count: count as u32,
            index_bytes: (count * 12) as u32,
            bytes: content.slice(..count * DELIVERY_BYTES),
        });
        next += count as Offset;
        left -= count;
    }
    blocks
}

fn noise(bytes: usize) -> Bytes {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

fn bare_file(dir: &Path, deliveries: usize, content: &Bytes) {
    let mut file = File::create(dir.join(format!("bare-{deliveries}"))).unwrap();
    measure("bare file + fdatasync", deliveries, || {
        for _ in 0..deliveries.div_ceil(28) {
            let bytes = DELIVERY_BYTES * deliveries / deliveries.div_ceil(28);
            file.write_all(&content[..bytes]).unwrap();
        }
        file.sync_data().unwrap();
    });
}

fn sled_engine(dir: &Path, deliveries: usize, content: &Bytes) {
    let path = dir.join(format!("sled-{deliveries}"));
    let engine = SledEngine::open(SledSettings::new(&path), 1).unwrap();
    let per_block = engine.block_bytes_best() / DELIVERY_BYTES;
    let before = (written_bytes(), durable::syncs());
    let mut next = 1;
    let commits = measure("sled engine", deliveries, || {
        let batch = blocks(next, deliveries, per_block, content);
        next += deliveries as Offset;
        engine.append(&batch).unwrap();
    });
    let payload = commits * (deliveries * DELIVERY_BYTES) as u64;
    let syncs = durable::syncs();
    let space = engine.space().unwrap();
    println!(
        "{:28} disk {:.2} x, written {:.2} x the payload; {:.3} range syncs, {:.3} syncs per append",
        "",
        space.used as f64 / payload as f64,
        (written_bytes() - before.0) as f64 / payload as f64,
        (syncs.0 - before.1.0) as f64 / commits as f64,
        (syncs.1 - before.1.1) as f64 / commits as f64,
    );
}

#[test]
#[ignore = "a measurement"]
fn appends_against_a_bare_file() {
    let dir = tempfile::tempdir().unwrap();
    let content = noise(64 * 1024);
    for deliveries in waiters() {
        bare_file(dir.path(), deliveries, &content);
        sled_engine(dir.path(), deliveries, &content);
    }
}

/// What committing state at the same time costs the appends.
#[test]
#[ignore = "a measurement"]
fn appends_beside_state_commits() {
    let dir = tempfile::tempdir().unwrap();
    let content = noise(64 * 1024);
    let engine = SledEngine::open(SledSettings::new(dir.path().join("log")), 1).unwrap();
    let per_block = engine.block_bytes_best() / DELIVERY_BYTES;
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut round = 0u64;
            while !done.load(Ordering::Relaxed) {
                let mut batch = StateBatch::default();
                for i in 0..20u64 {
                    batch.put((round + i).to_be_bytes(), vec![round as u8; 200]);
                }
                engine.commit(&batch).unwrap();
                round += 1;
            }
            println!("{round} state commits");
        });
        let mut next = 1;
        measure("beside state commits", 64, || {
            let batch = blocks(next, 64, per_block, &content);
            next += 64;
            engine.append(&batch).unwrap();
        });
        done.store(true, Ordering::Relaxed);
    });
}

fn resident(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = |name: &str| {
        let found = status.lines().find(|l| l.starts_with(name)).unwrap();
        found
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            / 1024
    };
    println!(
        "{when:32} {} MB resident, {} MB at most, {}",
        line("VmRSS"),
        line("VmHWM"),
        status.lines().find(|l| l.starts_with("Threads")).unwrap()
    );
}

/// How long a backlog takes to open and to read from its start, and what memory it takes.
#[test]
#[ignore = "a measurement"]
fn opening_a_backlog() {
    let count = std::env::var("CREEL_SPEED_BACKLOG").ok();
    let count: Offset = count.and_then(|c| c.parse().ok()).unwrap_or(2_000_000);
    let dir = tempfile::tempdir().unwrap();
    let content = noise(64 * 1024);
    let path = dir.path().join("log");
    let engine = SledEngine::open(SledSettings::new(&path), 1).unwrap();
    resident("opened");
    let per_block = engine.block_bytes_best() / DELIVERY_BYTES;
    let mut next = 1;
    while next < count {
        let batch = blocks(next, 256, per_block, &content);
        next += 256;
        engine.append(&batch).unwrap();
        if next % (256 * 1024) == 1 {
            resident(&format!("{next} appended"));
        }
    }
    drop(engine);
    resident("dropped");
    let begun = Instant::now();
    let engine = SledEngine::open(SledSettings::new(&path), 1).unwrap();
    println!(
        "{count} x 1 KiB in {} volumes opened in {:?}",
        engine.volumes().len(),
        begun.elapsed()
    );
    resident("opened again");
    let begun = Instant::now();
    let mut from = 1;
    let mut shown = 0;
    while let Some(last) = engine.read(from, 1 << 20).unwrap().last() {
        from = last.end();
        if from / 250_000 > shown {
            shown = from / 250_000;
            resident(&format!("{from} read"));
        }
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("read back at {rate:.0} deliveries/s");
}
