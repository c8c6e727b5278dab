//! `creel bench age`: a log that has taken very much holds on to what is left of it, and to no more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::report::{System, per_second};
use super::super::subject::{self, Layout, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::sink::{Answer, Rule, Sinks};
use super::stage::{Stage, disk_bytes, median, number, part_bytes};
use crate::output::count;

/// Take very many deliveries of which a few stay dead and a few wait for days
///
/// All but those few are delivered to files and are retained for a second. Volumes of which only
/// they are left are emptied by carrying them over, so that the disk holds about what is left, the
/// receiver's memory does not grow, and it takes the last deliveries as fast as the first. A million
/// idempotency keys are kept, so that it is not their number that grows: `bench keys` is about that.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many deliveries
    #[arg(long, value_name = "N", default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(10_000..=1_000_000_000))]
    deliveries: u64,
    /// Looked at so many times on the way
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(4..=1000))]
    parts: u64,
    /// Size of a volume in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(4..=65_536))]
    volume: u64,
    /// One in so many dies, and one in so many waits
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    one_in: u64,
    #[command(flatten)]
    common: Common,
}

/// Disk that may be taken, in what is left …
const TIMES_LEFT_MAX: f64 = 3.0;
/// … and volumes besides.
const VOLUMES_MAX: f64 = 3.0;
/// Least share of the first part's speed.
const SHARE_MIN: f64 = 0.9;
/// Idempotency keys that are kept, about as many as the first part of the default brings.
const KEYS_MAX: u64 = 1_000_000;
/// Most memory that comes on top from the first quarter of the parts to the last.
const MEMORY_BYTES_MAX: f64 = 50e6;
/// Housekeeping that takes longer does not come.
const HOUSEKEEPING_MAX: Duration = Duration::from_secs(180);
/// Files of the destination that are older go, so that they do not fill the disk.
const FILES_KEPT: Duration = Duration::from_secs(10);

/// How it went up to one moment.
struct Part {
    rate: f64,
    memory: f64,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let half = args.one_in / 2;
    let stage = Stage::set_with(&args.common, |requests, run, bodies| {
        let to = (subject::PATH, run);
        requests
            .with_rare(to, bodies, "issues", (args.one_in, 0))
            .with_rare(to, bodies, "release", (args.one_in, half))
    })?;
    let sinks = Sinks::start()?;
    let rule: Rule = Arc::new(|_| Answer::Failed);
    let layout = Layout {
        log: format!(
            "volume = \"{}MiB\"\nretention = \"1s\"\nattempts = \"16MiB\"\n",
            args.volume
        ),
        routes: routes(sinks.open(rule)?),
        ..Layout::default()
    };
    let mut subject = Subject::with(&stage.bench, System::Creel, &layout)?;
    subject.start_worker()?;
    let mut parts = Vec::new();
    let mut per_delivery = 0.0;
    for part in 0..args.parts {
        parts.push(send(args, &stage, &subject, part)?);
        if per_delivery == 0.0 {
            per_delivery = bytes_per_delivery(&subject)?;
        }
    }
    drain(args, &stage, &subject)?;
    let waited = housekeeping(args, &stage, &subject, per_delivery)?;
    let mut findings = Findings::default();
    report(args, &subject, &parts, per_delivery, &mut findings)?;
    findings.note(
        "waited_seconds",
        "waited for housekeeping in the end",
        waited.as_secs_f64(),
        Unit::Seconds,
    );
    subject.stop()?;
    print(&args.common, "age", &findings)
}

fn routes(failing: std::net::SocketAddr) -> String {
    format!(
        "[dedupe]\nkeys_max = {KEYS_MAX}\n\n\
         [destinations.out]\ntype = \"file\"\npath = \"out\"\n\n\
         [destinations.sink]\ntype = \"http\"\nurl = \"http://{failing}/\"\n\
         allow = [\"127.0.0.0/8\"]\n\n\
         [[routes]]\nsource = \"bench\"\ndestination = \"out\"\nmatch = {{ event = [\"push\"] }}\n\n\
         [[routes]]\nname = \"dies\"\nsource = \"bench\"\ndestination = \"sink\"\nstart = \"beginning\"\n\
         match = {{ event = [\"issues\"] }}\nretry = {{ max_attempts = 1 }}\n\
         breaker = {{ failures = 0 }}\n\n\
         [[routes]]\nname = \"waits\"\nsource = \"bench\"\ndestination = \"sink\"\nstart = \"beginning\"\n\
         match = {{ event = [\"release\"] }}\n\
         retry = {{ max_attempts = 100, initial = \"3d\", max = \"3d\" }}\n\
         breaker = {{ failures = 0 }}\n"
    )
}

fn send(args: &Args, stage: &Stage, subject: &Subject, part: u64) -> anyhow::Result<Part> {
    let at = |part| args.deliveries * part / args.parts;
    let (first, end) = (at(part), at(part + 1));
    let answers = stage.send(subject, first..end, None)?;
    forget_files(subject);
    let part = Part {
        rate: per_second(end - first, answers.took),
        memory: number(subject.memory()?.now),
    };
    tracing::debug!(sent = %count(end), rate = part.rate, memory = part.memory, "a part");
    Ok(part)
}

/// Deletes what the file destination has finished a while ago.
fn forget_files(subject: &Subject) {
    let Ok(entries) = subject.dir().join("out").read_dir() else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let written = entry.metadata().and_then(|facts| facts.modified());
        let is_old = written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > FILES_KEPT));
        if is_old {
            // one that cannot go only takes space
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// What a delivery takes in a volume that nothing was taken out of.
fn bytes_per_delivery(subject: &Subject) -> anyhow::Result<f64> {
    let volumes = subject.facts()?.volumes;
    let mut whole = volumes
        .iter()
        .filter(|volume| !volume.rest && volume.end > volume.first);
    Ok(whole.next().map_or(0.0, |volume| {
        number(volume.bytes) / number(volume.end - volume.first)
    }))
}

fn drain(args: &Args, stage: &Stage, subject: &Subject) -> anyhow::Result<()> {
    let settled = || {
        forget_files(subject);
        let routes = subject.routes()?;
        let settled = routes.iter().map(|r| r.delivered + r.waiting + r.dead);
        Ok(settled.sum())
    };
    stage
        .until("draining", args.deliveries, settled)
        .map(drop)
        .map_err(|error| subject.explain(error))
}

/// Bytes that are left: what is dead or waits.
fn left(subject: &Subject, per_delivery: f64) -> anyhow::Result<(u64, f64)> {
    let left = subject.routes()?.iter().map(|r| r.waiting + r.dead).sum();
    Ok((left, number(left) * per_delivery))
}

fn bound(args: &Args, left: f64) -> f64 {
    left * TIMES_LEFT_MAX + number(args.volume << 20) * VOLUMES_MAX
}

fn volume_bytes(subject: &Subject) -> anyhow::Result<f64> {
    Ok(number(
        subject.facts()?.volumes.iter().map(|v| v.bytes).sum(),
    ))
}

/// Waits until the volumes are within the bound, or for as long as can be expected.
fn housekeeping(
    args: &Args,
    stage: &Stage,
    subject: &Subject,
    per_delivery: f64,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let bound = bound(args, left(subject, per_delivery)?.1);
    while volume_bytes(subject)? > bound && began.elapsed() < HOUSEKEEPING_MAX {
        stage.sleep(Duration::from_millis(200))?;
    }
    Ok(began.elapsed())
}

fn report(
    args: &Args,
    subject: &Subject,
    parts: &[Part],
    per_delivery: f64,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let (count, bytes) = left(subject, per_delivery)?;
    findings.note("left", "left: dead or waiting", number(count), Unit::Count);
    findings.at_least(number(args.deliveries / args.one_in) * 1.9);
    findings.note("left_bytes", "bytes they took at first", bytes, Unit::Bytes);
    let volumes = subject.facts()?.volumes;
    findings.note(
        "volumes",
        "volumes",
        number(volumes.len() as u64),
        Unit::Count,
    );
    findings.note(
        "volume_bytes",
        "bytes in them",
        volume_bytes(subject)?,
        Unit::Bytes,
    );
    findings.at_most(bound(args, bytes));
    let data = subject.dir().join("data");
    let all = number(disk_bytes(&data));
    findings.note("disk_bytes", "the whole log on disk", all, Unit::Bytes);
    for (name, what, directory) in [
        (
            "state_bytes",
            "of it cursors, what waits and is dead",
            "state",
        ),
        (
            "keys_bytes",
            "of it idempotency keys, for their window",
            "files",
        ),
    ] {
        let bytes = number(part_bytes(&data, directory));
        findings.note(name, what, bytes, Unit::Bytes);
    }
    speed(parts, findings);
    memory(parts, findings);
    findings.note(
        "memory_peak_bytes",
        "at its peak, while a volume is emptied",
        number(subject.memory()?.peak),
        Unit::Bytes,
    );
    findings.note(
        "lost",
        "lost",
        number(subject.facts()?.gaps.len() as u64),
        Unit::Count,
    );
    findings.at_most(0.0);
    Ok(())
}

/// What is typical of the first and of the last quarter of the parts: single ones vary with whatever
/// else the machine and the receiver do.
fn quarters(parts: &[Part], of: impl Fn(&Part) -> f64) -> (f64, f64) {
    let quarter = (parts.len() / 4).max(1);
    let typical = |parts: &[Part]| median(parts.iter().map(&of).collect());
    let last = &parts[parts.len() - quarter..];
    (typical(&parts[..quarter]), typical(last))
}

fn speed(parts: &[Part], findings: &mut Findings) {
    let (first, last) = quarters(parts, |part| part.rate);
    findings.note(
        "first_per_second",
        "acknowledged per second, first quarter of the parts",
        first,
        Unit::PerSecond,
    );
    findings.note("last_per_second", "last quarter", last, Unit::PerSecond);
    findings.note("share", "of the speed is left", last / first, Unit::Ratio);
    findings.at_least(SHARE_MIN);
}

fn memory(parts: &[Part], findings: &mut Findings) {
    let (first, last) = quarters(parts, |part| part.memory);
    findings.note(
        "memory_first_bytes",
        "receiver's memory, first quarter of the parts",
        first,
        Unit::Bytes,
    );
    findings.note("memory_last_bytes", "last quarter", last, Unit::Bytes);
    findings.note("memory_more_bytes", "more", last - first, Unit::Bytes);
    findings.at_most(MEMORY_BYTES_MAX);
}
