//! Where scenarios play: a directory, signed requests, progress, patience.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::super::interrupt::Interrupt;
use super::super::load::{self, Acked, Answers, Batch, Load};
use super::super::report::per_second;
use super::super::request::{Requests, SignedBody};
use super::super::subject::{self, Bench, Subject};
use super::super::{WARM_UP, signed_bodies};
use super::Common;
use crate::output::progress;

/// When nothing goes on for so long, nothing will.
const STALLED: Duration = Duration::from_secs(120);
/// How often progress is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// What a scenario works with.
pub struct Stage {
    /// Where subjects live.
    pub bench: Bench,
    /// Requests by number; every one is an event of its own.
    pub requests: Arc<Requests>,
    bodies: Vec<SignedBody>,
    connections: usize,
    interrupt: Interrupt,
    // last, so that it goes when nobody uses it any more
    _dir: TempDir,
}

impl Stage {
    /// Makes a directory and signs the bodies.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn set(common: &Common) -> anyhow::Result<Self> {
        Self::set_with(common, |requests, _, _| requests)
    }

    /// The same with other requests among them: `more` gets the run and the signed bodies.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn set_with(
        common: &Common,
        more: impl FnOnce(Requests, u64, &[SignedBody]) -> Requests,
    ) -> anyhow::Result<Self> {
        let parent = common.dir.as_deref().unwrap_or(Path::new("."));
        let dir = tempfile::Builder::new()
            .prefix("creel-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        let run = rand::random();
        let bench = Bench::prepare(dir.path(), 1)?;
        let bodies = signed_bodies(&bench, common.size as usize, run)?;
        Ok(Self {
            requests: Arc::new(more(
                Requests::new(subject::PATH, run, &bodies),
                run,
                &bodies,
            )),
            bench,
            bodies,
            connections: common.connections.into(),
            interrupt: Interrupt::listen()?,
            _dir: dir,
        })
    }

    /// Has all requests of these numbers acknowledged.
    ///
    /// # Errors
    /// When one is refused, or the receiver fails.
    pub fn send(
        &self,
        subject: &Subject,
        numbers: std::ops::Range<u64>,
        acked: Option<Acked>,
    ) -> anyhow::Result<Answers> {
        self.send_over(self.connections, subject, numbers, acked)
    }

    /// The same over another number of connections.
    ///
    /// # Errors
    /// When one is refused, or the receiver fails.
    pub fn send_over(
        &self,
        connections: usize,
        subject: &Subject,
        numbers: std::ops::Range<u64>,
        acked: Option<Acked>,
    ) -> anyhow::Result<Answers> {
        let bar = progress(numbers.end - numbers.start, "sending");
        let batch = Batch {
            address: subject.address(),
            connections,
            numbers,
        };
        let sent = load::send(&batch, &self.requests, acked, &self.interrupt, |sent| {
            bar.set_position(sent);
        });
        bar.finish_and_clear();
        let answers = sent.map_err(|error| subject.explain(error))?;
        ensure!(
            answers.refused == 0,
            "{} deliveries were refused",
            answers.refused
        );
        Ok(answers)
    }

    /// Sends for so long, after a second to warm up; every request is an event of its own. Answers
    /// how many were acknowledged per second.
    ///
    /// # Errors
    /// When one is refused, or the receiver fails.
    pub fn load(&self, subject: &Subject, measured: Duration) -> anyhow::Result<f64> {
        let load = Load {
            address: subject.address(),
            connections: self.connections,
            warm_up: WARM_UP,
            measured,
        };
        let requests = Requests::new(subject::PATH, rand::random(), &self.bodies);
        let answers = load::run(load, requests, &self.interrupt, || (), || ())?;
        ensure!(
            answers.refused == 0,
            "{} deliveries were refused",
            answers.refused
        );
        Ok(per_second(answers.latencies.total(), answers.took))
    }

    /// Waits until `look` has come to `goal`; answers how long it took.
    ///
    /// # Errors
    /// When `look` fails, or nothing goes on any more.
    pub fn until(
        &self,
        what: &'static str,
        goal: u64,
        mut look: impl FnMut() -> anyhow::Result<u64>,
    ) -> anyhow::Result<Duration> {
        let bar = progress(goal, what);
        let began = Instant::now();
        let mut last = (0, began);
        loop {
            let come_to = look()?;
            bar.set_position(come_to.min(goal));
            if come_to >= goal {
                bar.finish_and_clear();
                return Ok(began.elapsed());
            }
            if come_to != last.0 {
                last = (come_to, Instant::now());
            }
            ensure!(
                last.1.elapsed() < STALLED,
                "{what}: nothing goes on at {come_to} of {goal}"
            );
            self.interrupt.sleep(LOOK)?;
        }
    }

    /// Sleeps, unless it is told to stop.
    ///
    /// # Errors
    /// When it was.
    pub fn sleep(&self, time: Duration) -> anyhow::Result<()> {
        self.interrupt.sleep(time)
    }
}

/// The middle one; the lower of the two where there is none.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len().saturating_sub(1) / 2;
    numbers.get(middle).copied().unwrap_or(f64::NAN)
}

/// A count as a number to reckon with.
#[allow(clippy::cast_precision_loss)]
pub fn number(count: u64) -> f64 {
    count as f64
}

/// Bytes of a part of the log's directory: `name`, and `name.1`, … that took its place.
pub fn part_bytes(data: &Path, name: &str) -> u64 {
    let is_part = |path: &Path| path.file_stem().is_some_and(|stem| stem == name);
    let Ok(entries) = data.read_dir() else {
        return 0;
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .filter(|path| is_part(path))
        .map(|path| disk_bytes(&path))
        .sum()
}

/// Bytes of all files below a directory; one that goes meanwhile counts for nothing.
pub fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = dir.read_dir() else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(facts) if facts.is_dir() => disk_bytes(&entry.path()),
            Ok(facts) => std::os::unix::fs::MetadataExt::blocks(&facts) * 512,
            Err(_) => 0,
        })
        .sum()
}
