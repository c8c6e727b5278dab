//! `creel bench retention`: disk comes back once all is delivered and old enough.

use std::time::{Duration, Instant};

use super::super::report::System;
use super::super::subject::{Layout, Subject};
use super::Common;
use super::finding::{Findings, Unit, print};
use super::stage::{Stage, disk_bytes, number, part_bytes};

/// Fill many small volumes, deliver everything, and wait for the disk to come back
///
/// Volumes are small and nothing is retained once it is settled. In the end three volumes at most
/// may be left: one that is written, one made ahead, one on its way out.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many deliveries
    #[arg(long, value_name = "N", default_value_t = 500_000, value_parser = clap::value_parser!(u64).range(1000..=100_000_000))]
    deliveries: u64,
    /// Size of a volume in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..=65_536))]
    volume: u64,
    #[command(flatten)]
    common: Common,
}

/// Most volumes left.
const VOLUMES_MAX: u64 = 3;
/// Housekeeping that takes longer does not come.
const HOUSEKEEPING_MAX: Duration = Duration::from_secs(60);

pub fn run(args: &Args) -> anyhow::Result<()> {
    let stage = Stage::set(&args.common)?;
    let layout = Layout {
        log: format!(
            "volume = \"{}MiB\"\nretention = \"1s\"\nattempts = \"1MiB\"\n",
            args.volume
        ),
        ..Layout::default()
    };
    let mut subject = Subject::with(&stage.bench, System::Creel, &layout)?;
    let mut findings = Findings::default();
    stage.send(&subject, 0..args.deliveries, None)?;
    look(
        &subject,
        &mut findings,
        [
            ("volumes_full", "volumes when all was acknowledged"),
            ("volume_bytes_full", "bytes in them"),
            ("disk_bytes_full", "the whole log on disk"),
        ],
    )?;
    subject.start_worker()?;
    stage
        .until("draining", args.deliveries, || {
            let routes = subject.routes()?;
            Ok(routes.iter().map(|route| route.delivered).sum())
        })
        .map_err(|error| subject.explain(error))?;
    let waited = housekeeping(&stage, &subject)?.as_secs_f64();
    look(
        &subject,
        &mut findings,
        [
            ("volumes_left", "volumes when all was delivered and old"),
            ("volume_bytes_left", "bytes in them"),
            ("disk_bytes_left", "the whole log on disk"),
        ],
    )?;
    let left = number(subject.facts()?.volumes.len() as u64);
    findings.note(
        "volumes_in_the_end",
        "volumes in the end",
        left,
        Unit::Count,
    );
    findings.at_most(number(VOLUMES_MAX));
    let disk = number(disk_bytes(&subject.dir().join("data")));
    findings.note(
        "disk_in_volumes",
        "the log on disk, in volumes",
        disk / number(args.volume << 20),
        Unit::Ratio,
    );
    findings.at_most(number(VOLUMES_MAX));
    parts(&subject, &mut findings);
    findings.note(
        "waited_seconds",
        "waited after the last delivery",
        waited,
        Unit::Seconds,
    );
    subject.stop()?;
    print(&args.common, "retention", &findings)
}

/// What the rest of the directory is: it does not go with the volumes.
fn parts(subject: &Subject, findings: &mut Findings) {
    let data = subject.dir().join("data");
    for (name, what, directory) in [
        ("attempts_bytes_left", "of it kept attempts", "attempts"),
        ("state_bytes_left", "of it cursors and what waits", "state"),
        (
            "keys_bytes_left",
            "of it idempotency keys, for their window",
            "files",
        ),
    ] {
        let bytes = number(part_bytes(&data, directory));
        findings.note(name, what, bytes, Unit::Bytes);
    }
}

/// Waits until no more than the volumes that may be left are, or for as long as can be expected.
fn housekeeping(stage: &Stage, subject: &Subject) -> anyhow::Result<Duration> {
    let began = Instant::now();
    while subject.facts()?.volumes.len() as u64 > VOLUMES_MAX && began.elapsed() < HOUSEKEEPING_MAX
    {
        stage.sleep(Duration::from_millis(200))?;
    }
    Ok(began.elapsed())
}

fn look(
    subject: &Subject,
    findings: &mut Findings,
    [volumes, bytes, disk]: [(&'static str, &str); 3],
) -> anyhow::Result<()> {
    let facts = subject.facts()?;
    let count = number(facts.volumes.len() as u64);
    findings.note(volumes.0, volumes.1, count, Unit::Count);
    let sum = number(facts.volumes.iter().map(|volume| volume.bytes).sum());
    findings.note(bytes.0, bytes.1, sum, Unit::Bytes);
    let all = number(disk_bytes(&subject.dir().join("data")));
    findings.note(disk.0, disk.1, all, Unit::Bytes);
    Ok(())
}
