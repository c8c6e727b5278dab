//! The faults: what each does to a stand, and when it is over.

use std::time::Duration;

use anyhow::{Context, ensure};
use creel_common::ids::Offset;
use creel_common::layer::Step;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use serde::Serialize;

use super::senders::Senders;
use super::stand::{DISK_FAILED, Ground, LEASE, LOOK_EVERY, Stand};

/// One in so many kills comes right after a start.
const SOON_ONE_IN: u32 = 3;
/// So soon.
const SOON: Duration = Duration::from_millis(50);
/// Otherwise at most so long after the last fault was over.
const LATER: Duration = Duration::from_millis(800);
/// Frozen for longer than a lease lasts.
const FROZEN: Duration = Duration::from_millis(LEASE.as_millis() as u64 * 3 / 2);
/// A process whose sync or write failed ends within this, and a disk is full within this.
const SEEN_WITHIN: Duration = Duration::from_secs(15);
/// Power is cut before one of so many steps of the disk, if they come.
const STEPS_MAX: u64 = 400;
const CUT_WITHIN: Duration = Duration::from_secs(3);
/// A sync within so many fails.
const SYNCS_MAX: u64 = 40;
/// What the wall clock is set to, in the words of libfaketime.
const CLOCKS: [&str; 4] = ["+1h", "-1h", "+1d", "-1d"];
/// For longer than it takes until it is looked what retention may remove.
const CLOCK_SET_FOR: Duration = Duration::from_secs(6);

/// What is done to creel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The receiver is killed with -9, at times right after a start
    KillReceiver,
    /// A worker is killed with -9, at times right after a start
    KillWorker,
    /// The receiver or a worker is stopped for longer than a lease lasts, and goes on
    Freeze,
    /// The disk is full, or fuller than log.reserve allows, and has room again
    FullDisk,
    /// The wall clock is set by an hour or a day, and set right again
    SetClock,
    /// A sync fails: nothing more may be acknowledged, and the receiver has to end with 74
    FailedSync,
    /// Power is cut: of what was not synced an arbitrary part is gone
    PowerCut,
}

impl Fault {
    /// Its name on the command line and in reports.
    pub fn word(self) -> String {
        let named = clap::ValueEnum::to_possible_value(&self);
        named.map_or_else(String::new, |named| named.get_name().to_owned())
    }

    /// Whether it can be played there.
    pub fn is_for(self, ground: Ground) -> bool {
        ground == Ground::Layer || !self.needs_layer()
    }

    /// Whether it takes a disk of ours.
    pub fn needs_layer(self) -> bool {
        matches!(self, Self::FailedSync | Self::PowerCut)
    }

    /// Whether it takes a wall clock of ours.
    pub fn needs_wall(self) -> bool {
        self == Self::SetClock
    }

    /// Does it, and answers how long it took until all was well again: a further delivery was
    /// acknowledged, and one arrived.
    ///
    /// # Errors
    /// When creel did not do what it has to, or did not come back.
    pub async fn play(
        self,
        stand: &mut Stand,
        senders: &Senders,
        dice: &mut StdRng,
    ) -> anyhow::Result<Duration> {
        let later = LATER.mul_f64(dice.random());
        tokio::time::sleep(later).await;
        let over = match self {
            Self::KillReceiver => kill_receiver(stand, dice).await?,
            Self::KillWorker => kill_worker(stand, dice).await?,
            Self::Freeze => freeze(stand, dice).await?,
            Self::FullDisk => full_disk(stand, senders, dice).await?,
            Self::SetClock => set_clock(stand, senders, dice).await?,
            Self::FailedSync => failed_sync(stand, dice).await?,
            Self::PowerCut => power_cut(stand, dice).await?,
        };
        // what was answered in between says nothing of now
        senders.until_one_more_than(senders.acked()).await?;
        stand.until_one_more_arrives().await?;
        Ok(over.elapsed())
    }
}

/// When a fault was over, and creel could begin to recover.
type Over = std::time::Instant;

async fn kill_receiver(stand: &mut Stand, dice: &mut StdRng) -> anyhow::Result<Over> {
    stand.kill_receiver()?;
    if dice.random_ratio(1, SOON_ONE_IN) {
        stand.start_receiver()?;
        tokio::time::sleep(SOON.mul_f64(dice.random())).await;
        stand.kill_receiver()?;
    }
    start(stand).await
}

/// Starts the receiver; what it takes to be ready is measured by the stand.
async fn start(stand: &mut Stand) -> anyhow::Result<Over> {
    let over = Over::now();
    stand.start_receiver()?;
    stand.until_ready().await?;
    Ok(over)
}

async fn kill_worker(stand: &mut Stand, dice: &mut StdRng) -> anyhow::Result<Over> {
    let which = dice.random_range(0..stand.workers());
    stand.restart_worker(which)?;
    if dice.random_ratio(1, SOON_ONE_IN) {
        tokio::time::sleep(SOON.mul_f64(dice.random())).await;
        stand.restart_worker(which)?;
    }
    Ok(Over::now())
}

async fn freeze(stand: &mut Stand, dice: &mut StdRng) -> anyhow::Result<Over> {
    let which = dice.random_range(0..=stand.workers());
    stand.signal(which, Signal::STOP);
    tokio::time::sleep(FROZEN).await;
    stand.signal(which, Signal::CONT);
    Ok(Over::now())
}

/// Below the reserve settled history gives way, then intake stops, and comes back by itself; without any
/// room a write fails.
async fn full_disk(
    stand: &mut Stand,
    senders: &Senders,
    dice: &mut StdRng,
) -> anyhow::Result<Over> {
    if stand.ground() == Ground::Disk {
        return reserve_above_what_is_free(stand, senders).await;
    }
    if dice.random() {
        stand.fill(0)?;
        if stand.until_receiver_ends(SEEN_WITHIN).await.is_err() {
            // all that it had to write found room in what the log has already
            senders.until_one_more_refused(SEEN_WITHIN).await?;
            stand.empty()?;
            return Ok(Over::now());
        }
        return ends_with_74(stand, "a full disk").await;
    }
    let (first, refused) = (first_offset(stand).await?, senders.refused());
    stand.fill(Stand::RESERVE_BYTES / 2)?;
    let began = Over::now();
    while senders.refused() == refused && first_offset(stand).await? == first {
        ensure!(
            began.elapsed() < SEEN_WITHIN,
            "below log.reserve neither settled history gives way nor is anything refused"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    stand.empty()?;
    Ok(Over::now())
}

/// Of what the log still has.
async fn first_offset(stand: &Stand) -> anyhow::Result<Offset> {
    Ok(stand.log()?.facts().await?.first)
}

/// Nobody's disk is filled up: the reserve is set above what is free.
async fn reserve_above_what_is_free(stand: &mut Stand, senders: &Senders) -> anyhow::Result<Over> {
    stand.stop_receiver()?;
    stand.configure(stand.free_bytes()? + (1 << 30))?;
    stand.start_receiver()?;
    senders.until_one_more_refused(SEEN_WITHIN).await?;
    stand.stop_receiver()?;
    stand.configure(Stand::RESERVE_BYTES)?;
    start(stand).await
}

/// Deliveries go on, and none is removed for its age: retention is an hour, and none has passed.
async fn set_clock(
    stand: &mut Stand,
    senders: &Senders,
    dice: &mut StdRng,
) -> anyhow::Result<Over> {
    stand.restart_under(Some(stand.new_wall()?)).await?;
    let first = first_offset(stand).await?;
    let clock = CLOCKS[dice.random_range(0..CLOCKS.len())];
    for to in [clock, "+0"] {
        stand.wall()?.set(to)?;
        tokio::time::sleep(CLOCK_SET_FOR).await;
        senders.until_one_more_than(senders.acked()).await?;
        stand.until_one_more_arrives().await?;
    }
    let now = first_offset(stand).await?;
    ensure!(
        now == first,
        "the clock was set by {clock}, and deliveries {first} to {} were removed",
        now - 1
    );
    let over = Over::now();
    stand.restart_under(None).await?;
    Ok(over)
}

async fn failed_sync(stand: &mut Stand, dice: &mut StdRng) -> anyhow::Result<Over> {
    stand.layer()?.fail_sync(dice.random_range(1..=SYNCS_MAX));
    ends_with_74(stand, "a failed sync").await
}

/// The receiver has to end. Then the disk is as good as new, and has only what it synced.
async fn ends_with_74(stand: &mut Stand, why: &str) -> anyhow::Result<Over> {
    let status = stand.until_receiver_ends(SEEN_WITHIN).await;
    let status = status.with_context(|| format!("after {why}"))?;
    ensure!(
        status.code() == Some(DISK_FAILED),
        "after {why} the receiver ended with {status}, not with exit code {DISK_FAILED}"
    );
    let left = stand.layer()?.cut_strictly();
    stand.serve(left.disk)?;
    start(stand).await
}

async fn power_cut(stand: &mut Stand, dice: &mut StdRng) -> anyhow::Result<Over> {
    let during_a_start = dice.random_ratio(1, SOON_ONE_IN);
    if during_a_start {
        stand.kill_receiver()?;
    }
    let (nth, seed) = (dice.random_range(1..=STEPS_MAX), dice.random());
    stand.layer()?.cut_before(Step::Any, nth, seed);
    if during_a_start {
        stand.start_receiver()?;
    }
    let left = stand.until_cut(CUT_WITHIN, seed).await?;
    stand.kill_receiver()?;
    stand.serve(left.disk)?;
    start(stand).await
}
