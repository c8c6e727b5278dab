//! `creel bench keys`: how many idempotency keys cost what.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use creel_common::log::keys::{KeyMark, KeyTable, Runs, Verdict};
use creel_common::time::{Clock, SystemClock, Timestamp};

use super::super::latency::Latencies;
use super::super::report::{System, per_second};
use super::super::subject::{Layout, Memory, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::stage::{Stage, disk_bytes, median, number};
use crate::output::progress;

/// Build an index of idempotency keys, look keys up, and take deliveries in over it
///
/// The index is written and merged by the code that a receiver uses, then measured: its size, its
/// memory, how long it takes to open, look-ups of keys that are there and that are not, with the
/// page cache warm, and intake by a receiver that has it against one that has none, in turns.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many keys, such as 10M
    #[arg(long, value_name = "N", default_value = "10M", value_parser = many)]
    keys: u64,
    /// How many of them are looked up, and as many that are not there
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1000..))]
    lookups: u64,
    /// Turns of intake with the index, and as many without
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    turns: u8,
    /// Seconds of each
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=99))]
    seconds: u8,
    #[command(flatten)]
    common: Common,
}

/// Bytes of memory that an index may take: a fixed part, and per key.
const MEMORY_BYTES_MAX: (f64, f64) = (45e6, 5.55);
/// Longest mean and 99th percentile of a look-up.
const LOOKUP_MICROS_MAX: f64 = 20.0;
/// Longest time to open an index.
const OPEN_SECS_MAX: f64 = 10.0;
/// Least share of intake that an index leaves.
const INTAKE_SHARE_MIN: f64 = 0.9;
/// Offsets of all keys lie below the log's first, so that it does not go on above them.
const END: u64 = 1;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let mut findings = Findings::default();
    let dir = stage.bench.dir().join("keys");
    build(args, &stage, &dir, &mut findings)?;
    look_up(args, &dir, &mut findings)?;
    take_in(args, &stage, &dir, &mut findings)?;
    print(&args.common, "keys", &findings)
}

/// `10M` and the like.
fn many(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'M', 'G']) {
        Some(digits) if text.ends_with('k') => (digits, 1_000),
        Some(digits) if text.ends_with('M') => (digits, 1_000_000),
        Some(digits) => (digits, 1_000_000_000),
        None => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok().and_then(|n: u64| n.checked_mul(factor));
    let number = number.filter(|n| (1000..=10_000_000_000).contains(n));
    number.ok_or_else(|| "expected 1000 to 10G, such as 10M".to_owned())
}

/// The `n`th key: as even as a hash is.
fn mark(n: u64) -> KeyMark {
    // splitmix64, as in java.util.SplittableRandom
    let mix = |n: u64| {
        let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let (high, low) = (mix(n.wrapping_mul(step)), mix((!n).wrapping_mul(step)));
    KeyMark {
        key: u128::from(high) << 64 | u128::from(low),
        digest: n,
    }
}

fn open(dir: &Path, keys: u64) -> anyhow::Result<Runs> {
    // room for all of them: what is measured is not what goes above the bound
    Ok(Runs::open(
        dir,
        &dir.with_extension("damaged"),
        keys * 2,
        &[],
    )?)
}

fn build(args: &Args, stage: &Stage, dir: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let runs = open(dir, args.keys)?;
    let clock = SystemClock::default();
    let bar = progress(args.keys, "building the index");
    let before = Memory::of(std::process::id())?.now;
    let (mut peak, mut longest) = (0, Duration::ZERO);
    let began = Instant::now();
    let mut table = KeyTable::default();
    for n in 0..args.keys {
        table.note(mark(n), Verdict::New, 0, clock.wall());
        let is_last = n + 1 == args.keys;
        if let Some(frozen) = table.freeze(END, is_last) {
            runs.write(&frozen)?;
            drop(frozen);
            table = KeyTable::default();
            while merge(&runs, &mut peak, &mut longest)? {}
            bar.set_position(n);
            stage.sleep(Duration::ZERO)?;
        }
    }
    let took = began.elapsed();
    bar.finish_and_clear();
    let bytes = number(disk_bytes(dir));
    findings.note("disk_bytes", "index on disk", bytes, Unit::Bytes);
    let per_key = bytes / number(args.keys);
    findings.note("key_bytes", "bytes of disk per key", per_key, Unit::Count);
    let amplification = number(runs.written_bytes()) / bytes;
    findings.note(
        "write_amplification",
        "times that a key is written",
        amplification,
        Unit::Ratio,
    );
    findings.note("runs", "runs", number(runs.count() as u64), Unit::Count);
    let rate = per_second(args.keys, took);
    findings.note(
        "built_per_second",
        "built per second",
        rate,
        Unit::PerSecond,
    );
    let longest = longest.as_secs_f64();
    findings.note("merge_seconds", "longest merge", longest, Unit::Seconds);
    let more = number(peak.saturating_sub(before));
    findings.note(
        "memory_build_bytes",
        "memory at its peak while building",
        more,
        Unit::Bytes,
    );
    findings.at_most(memory_max(args.keys));
    Ok(())
}

fn memory_max(keys: u64) -> f64 {
    MEMORY_BYTES_MAX.0 + number(keys) * MEMORY_BYTES_MAX.1
}

/// Merges once, and looks meanwhile how much memory that takes.
fn merge(runs: &Runs, peak: &mut u64, longest: &mut Duration) -> anyhow::Result<bool> {
    let over = AtomicBool::new(false);
    let most = AtomicU64::new(0);
    let began = Instant::now();
    let merged = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(memory) = Memory::of(std::process::id()) {
                    most.fetch_max(memory.now, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let merged = runs.merge_next(Timestamp(0), |_| true);
        over.store(true, Ordering::Relaxed);
        merged
    })?;
    *peak = (*peak).max(most.into_inner());
    *longest = (*longest).max(began.elapsed());
    Ok(merged)
}

fn look_up(args: &Args, dir: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let began = Instant::now();
    let runs = open(dir, args.keys)?;
    let took = began.elapsed().as_secs_f64();
    findings.note("open_seconds", "opening the index", took, Unit::Seconds);
    findings.at_most(OPEN_SECS_MAX);
    ensure!(
        runs.stock().keys == args.keys,
        "{} keys of {} are there",
        runs.stock().keys,
        args.keys
    );
    warm(dir)?;
    let step = (args.keys / args.lookups).max(1);
    let there = (0..args.lookups).map(|n| (n * step) % args.keys);
    let wanted = |_| Verdict::Repeat(0);
    timed(
        &runs,
        there,
        wanted,
        ["hit_mean_us", "hit_p99_us"],
        "a key that is there",
        findings,
    )?;
    let absent = (0..args.lookups).map(|n| args.keys + n);
    let wanted = |_| Verdict::New;
    timed(
        &runs,
        absent,
        wanted,
        ["miss_mean_us", "miss_p99_us"],
        "a key that is not",
        findings,
    )
}

/// Reads all files once, so that look-ups measure neither the disk nor its absence by halves.
fn warm(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let mut file = fs::File::open(entry?.path())?;
        std::io::copy(&mut file, &mut std::io::sink())?;
    }
    Ok(())
}

fn timed(
    runs: &Runs,
    keys: impl Iterator<Item = u64>,
    wanted: impl Fn(u64) -> Verdict,
    names: [&'static str; 2],
    what: &str,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut latencies = Latencies::default();
    let mut sum = Duration::ZERO;
    for n in keys {
        let mark = mark(n);
        let began = Instant::now();
        let verdict = runs.judge(mark, Timestamp(0));
        let took = began.elapsed();
        ensure!(verdict == wanted(n), "key {n}: {verdict:?}");
        latencies.add(took);
        sum += took;
    }
    let mean = sum.as_secs_f64() * 1e6 / number(latencies.total());
    findings.note(names[0], format!("looking up {what}"), mean, Unit::Micros);
    findings.at_most(LOOKUP_MICROS_MAX);
    let p99 = latencies.quantile(0.99).as_secs_f64() * 1e6;
    findings.note(names[1], format!("p99 of {what}"), p99, Unit::Micros);
    findings.at_most(LOOKUP_MICROS_MAX);
    Ok(())
}

/// Two receivers, one of them with the index; while one is loaded, the other is frozen.
fn take_in(args: &Args, stage: &Stage, dir: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let layout = |name| Layout {
        name,
        // not a route: nothing is delivered, nothing is removed
        log: format!("[dedupe]\nkeys_max = {}\n", (args.keys * 2).max(1_000_000)),
        routes: String::new(),
    };
    let mut empty = Subject::with(&stage.bench, System::Creel, &layout("empty"))?;
    empty.crash()?;
    let mut full = Subject::with(&stage.bench, System::Creel, &layout("full"))?;
    link(dir, &full.dir().join("data/files/keys"))?;
    let ready = full.crash()?.as_secs_f64();
    let known = full.facts()?.keys;
    ensure!(known == args.keys, "the receiver knows {known} keys");
    let more = full.memory()?.peak.saturating_sub(empty.memory()?.peak);
    findings.note(
        "ready_seconds",
        "a receiver with it is ready in",
        ready,
        Unit::Seconds,
    );
    findings.at_most(OPEN_SECS_MAX);
    let more = number(more);
    findings.note(
        "memory_receiver_bytes",
        "more memory that it takes",
        more,
        Unit::Bytes,
    );
    findings.at_most(memory_max(args.keys));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..args.turns {
        without.push(turn(args, stage, &empty, &full)?);
        with.push(turn(args, stage, &full, &empty)?);
    }
    let ratios = with
        .iter()
        .zip(&without)
        .map(|(with, without)| with / without);
    let share = median(ratios.collect());
    findings.note(
        "without_per_second",
        "intake without",
        median(without),
        Unit::PerSecond,
    );
    findings.note(
        "with_per_second",
        "intake with it",
        median(with),
        Unit::PerSecond,
    );
    findings.note(
        "intake_share",
        "of intake is left (median of turns)",
        share,
        Unit::Ratio,
    );
    findings.at_least(INTAKE_SHARE_MIN);
    full.stop()?;
    empty.stop()
}

fn turn(args: &Args, stage: &Stage, of: &Subject, frozen: &Subject) -> anyhow::Result<f64> {
    frozen.freeze(true);
    let rate = stage.load(of, Duration::from_secs(args.seconds.into()));
    frozen.freeze(false);
    rate.map_err(|error| of.explain(error))
}

/// Gives the receiver's directory the same files, without writing them once more.
fn link(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        fs::hard_link(entry.path(), &target)
            .with_context(|| format!("cannot link {}", target.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_written_short() {
        assert_eq!(many("10M"), Ok(10_000_000));
        assert_eq!(many("5k"), Ok(5_000));
        assert_eq!(many("1234"), Ok(1234));
        for wrong in ["", "M", "999", "11G", "1.5M", "-1", "99999999999999999999"] {
            assert!(many(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_even_and_their_halves_have_nothing_to_do_with_each_other() {
        let (mut high, mut both) = (0, 0);
        for n in 0..10_000 {
            let key = mark(n).key;
            high += u32::from(key >> 127 == 1);
            both += u32::from(key >> 127 == 1 && key >> 63 & 1 == 1);
        }
        assert!((4_800..5_200).contains(&high), "{high}");
        assert!((2_300..2_700).contains(&both), "{both}");
    }
}
