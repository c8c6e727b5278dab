//! Whether the log grows: room and stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::engine::{Engine, VolumeInfo};
use crate::ids::Offset;
use crate::log::account::{Account, BySource};
use crate::log::bounds::{Bound, Bounds, Reached};
use crate::log::{AppendError, OperateError};

/// Free space is looked at again after this many bytes at most, besides every second.
const LOOK_AGAIN_BYTES: u64 = 32 << 20;
/// And after this part of the reserve, so that a small one is not passed unseen.
const LOOK_AGAIN_OF_RESERVE: u64 = 32;
/// And after this part of `max_bytes`.
const LOOK_AGAIN_OF_MAX: u64 = 64;

/// Closed while a bound is reached, and for good once the log has stopped.
pub struct Gate {
    engine: Arc<dyn Engine>,
    bounds: Bounds,
    account: Arc<Account>,
    look_again_bytes: u64,
    /// Bounds of the log that are reached.
    reached: RwLock<Vec<Reached>>,
    quotas: RwLock<Quotas>,
    /// Held from a look at the room to what follows from it: whoever looked last decides last.
    looking: Mutex<()>,
    /// The same for quotas.
    judging: Mutex<()>,
    stopped: AtomicBool,
    since_look: AtomicU64,
    /// How many bytes are missing until history need not give way: for the disk, for `max_bytes`, and
    /// whether any are for a quota.
    short_of_disk: AtomicU64,
    short_of_max: AtomicU64,
    short_of_quota: AtomicBool,
}

type Quotas = HashMap<Arc<str>, Quota>;

struct Quota {
    limit_bytes: u64,
    is_reached: AtomicBool,
}

impl Quota {
    fn new(limit_bytes: u64, is_reached: bool) -> Self {
        Self {
            limit_bytes,
            is_reached: AtomicBool::new(is_reached),
        }
    }
}

impl Gate {
    /// A gate that keeps the log on an engine within bounds.
    pub fn new(engine: Arc<dyn Engine>, mut bounds: Bounds, account: Arc<Account>) -> Self {
        let of_reserve = match bounds.reserve_bytes {
            0 => LOOK_AGAIN_BYTES,
            reserve => reserve / LOOK_AGAIN_OF_RESERVE,
        };
        let of_max = bounds.max_bytes.map(|max| max / LOOK_AGAIN_OF_MAX);
        let quotas = std::mem::take(&mut bounds.quotas).into_iter();
        let quotas = quotas.map(|(source, limit)| (source, Quota::new(limit, false)));
        let gate = Self {
            engine,
            account,
            look_again_bytes: LOOK_AGAIN_BYTES
                .min(of_reserve)
                .min(of_max.unwrap_or(u64::MAX)),
            reached: RwLock::default(),
            quotas: RwLock::new(quotas.collect()),
            bounds,
            looking: Mutex::new(()),
            judging: Mutex::new(()),
            stopped: AtomicBool::new(false),
            since_look: AtomicU64::new(0),
            short_of_disk: AtomicU64::new(0),
            short_of_max: AtomicU64::new(0),
            short_of_quota: AtomicBool::new(false),
        };
        gate.look();
        gate
    }

    /// Why nothing is taken, if so.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn pass(&self) -> Result<(), AppendError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(AppendError::Stopped);
        }
        let reached = self.reached.read();
        match reached.iter().find(|r| r.bound.stops_intake()) {
            Some(reached) => Err(AppendError::Full(reached.clone())),
            None => Ok(()),
        }
    }

    /// Why nothing of a source is taken, if so.
    ///
    /// # Errors
    /// [`AppendError`].
    pub fn pass_source(&self, source: &str) -> Result<(), AppendError> {
        self.pass()?;
        match self.quota_reached(source) {
            Some(reached) => Err(AppendError::Full(reached)),
            None => Ok(()),
        }
    }

    fn quota_reached(&self, source: &str) -> Option<Reached> {
        let quotas = self.quotas.read();
        self.quota_of(&quotas, source)
    }

    fn quota_of(&self, quotas: &Quotas, source: &str) -> Option<Reached> {
        let (source, quota) = quotas.get_key_value(source)?;
        if !quota.is_reached.load(Ordering::Acquire) {
            return None;
        }
        let kept = self.account.source(source).bytes;
        Bounds::quota_reached(source, quota.limit_bytes, kept)
    }

    /// Why operators may not make the state grow, if so. Settling, extending, discarding, forgetting
    /// and resuming ask nobody: they are what makes room.
    ///
    /// # Errors
    /// [`OperateError::Unavailable`].
    pub fn pass_operator(&self) -> Result<(), OperateError> {
        let reached = self.reached.read();
        let second = reached.iter().find(|r| r.bound == Bound::ReserveOperate);
        match second {
            Some(reached) => Err(OperateError::Unavailable(reached.to_string())),
            None => Ok(()),
        }
    }

    /// All bounds that are reached, those of sources too.
    pub fn reached(&self) -> Vec<Reached> {
        let mut all = self.reached.read().clone();
        let quotas = self.quotas.read();
        let mut reached: Vec<Reached> = quotas
            .keys()
            .filter_map(|source| self.quota_of(&quotas, source))
            .collect();
        reached.sort_unstable_by(|a, b| a.bound.source().cmp(&b.bound.source()));
        all.extend(reached);
        all
    }

    /// All bounds that are set.
    pub fn bounds(&self) -> Vec<(Bound, u64)> {
        let mut all = self.bounds.all();
        let quotas = self.quotas.read();
        let mut of_sources: Vec<(Bound, u64)> = quotas
            .iter()
            .map(|(source, quota)| (Bound::Quota(source.clone()), quota.limit_bytes))
            .collect();
        of_sources.sort_unstable_by(|(a, _), (b, _)| a.source().cmp(&b.source()));
        all.extend(of_sources);
        all
    }

    /// Keeps sources within these quotas from now on, and within no others.
    pub fn set_quotas(&self, quotas: Vec<(Arc<str>, u64)>) {
        {
            let mut known = self.quotas.write();
            let was_reached = |source: &str| {
                let known: Option<&Quota> = known.get(source);
                known.is_some_and(|quota| quota.is_reached.load(Ordering::Acquire))
            };
            let new = quotas.into_iter().map(|(source, limit)| {
                let quota = Quota::new(limit, was_reached(&source));
                (source, quota)
            });
            let new = new.collect();
            *known = new;
        }
        self.judge_quotas();
    }

    /// What is kept of each source.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Whether settled history has to give way.
    pub fn is_short(&self) -> bool {
        self.short_of_disk.load(Ordering::Acquire) > 0
            || self.short_of_max.load(Ordering::Acquire) > 0
            || self.short_of_quota.load(Ordering::Acquire)
    }

    /// What settled history has to give back, so that intake does not have to stop.
    pub fn shortage(&self) -> Shortage {
        let short = |(source, quota): (&Arc<str>, &Quota)| {
            let kept = self.account.source(source).bytes;
            let bytes = self.bounds.short_of_quota(quota.limit_bytes, kept);
            (bytes > 0).then(|| (source.clone(), bytes))
        };
        Shortage {
            of_disk: self.short_of_disk.load(Ordering::Acquire),
            of_max: self.short_of_max.load(Ordering::Acquire),
            of_quotas: self.quotas.read().iter().filter_map(short).collect(),
            account: self.account.clone(),
        }
    }

    /// Whether nothing is taken any more, for good.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Nothing is taken any more.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Blocks were committed: the first offset of each with what is in it. They take `bytes`.
    pub fn wrote(&self, blocks: Vec<(Offset, BySource)>, bytes: usize) {
        let mut is_time = false;
        for (first, block) in blocks {
            let sources: Vec<Arc<str>> = block.iter().map(|(source, _)| source.clone()).collect();
            is_time |= self.account.committed(first, block);
            let known = self.quotas.read();
            let quotas = sources
                .iter()
                .filter_map(|source| known.get_key_value(source));
            for (source, quota) in quotas {
                if self.judge(source, quota) {
                    self.short_of_quota.store(true, Ordering::Release);
                }
            }
        }
        let since = self.since_look.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if is_time || since > self.look_again_bytes {
            self.look();
        }
    }

    /// Looks at the room there is. What was closed for want of it opens by itself.
    pub fn look(&self) {
        self.since_look.store(0, Ordering::Relaxed);
        self.account.reconcile(&*self.engine);
        self.judge_quotas();
        let _looking = self.looking.lock();
        let Some(space) = self.engine.space() else {
            return;
        };
        let (of_disk, of_max) = self.bounds.short_bytes(space);
        self.short_of_disk.store(of_disk, Ordering::Release);
        self.short_of_max.store(of_max, Ordering::Release);
        let before = self.reached.read().clone();
        let reached = self.bounds.reached(space, &before);
        for new in reached.iter().filter(|r| !holds(&before, &r.bound)) {
            tell_reached(new);
        }
        for old in before.iter().filter(|r| !holds(&reached, &r.bound)) {
            tell_left(&old.bound);
        }
        *self.reached.write() = reached;
    }

    fn judge_quotas(&self) {
        let mut any_short = false;
        for (source, quota) in self.quotas.read().iter() {
            any_short |= self.judge(source, quota);
        }
        self.short_of_quota.store(any_short, Ordering::Release);
    }

    /// Decides whether a quota is reached. Answers whether history should give way for it.
    fn judge(&self, source: &Arc<str>, quota: &Quota) -> bool {
        let _judging = self.judging.lock();
        let kept = self.account.source(source).bytes;
        let reached = Bounds::quota_reached(source, quota.limit_bytes, kept);
        let was = quota.is_reached.swap(reached.is_some(), Ordering::AcqRel);
        match &reached {
            Some(reached) if !was => tell_reached(reached),
            None if was => tell_left(&Bound::Quota(source.clone())),
            _ => {}
        }
        self.bounds.short_of_quota(quota.limit_bytes, kept) > 0
    }
}

fn holds(reached: &[Reached], bound: &Bound) -> bool {
    reached.iter().any(|r| r.bound == *bound)
}

/// One line for a bound that was not reached before.
fn tell_reached(reached: &Reached) {
    let bound = reached.bound.to_string();
    match &reached.bound {
        Bound::Quota(source) => {
            tracing::error!(bound, %source, why = %reached, "a quota is used up: deliveries of this source are refused");
        }
        Bound::ReserveOperate => {
            tracing::error!(bound, why = %reached, "the log is full: operators' changes are refused, too");
        }
        Bound::Reserve | Bound::MaxBytes => {
            tracing::error!(bound, why = %reached, "the log is full: deliveries are refused");
        }
    }
}

/// And one when that is over.
fn tell_left(bound: &Bound) {
    tracing::info!(%bound, "there is room again: nothing is refused for this any more");
}

/// What settled history has to give back.
#[derive(Debug)]
pub struct Shortage {
    of_disk: u64,
    of_max: u64,
    of_quotas: Vec<(Arc<str>, u64)>,
    account: Arc<Account>,
}

impl Shortage {
    /// There is room enough.
    pub fn is_none(&self) -> bool {
        self.of_disk == 0 && self.of_max == 0 && self.of_quotas.is_empty()
    }

    /// The bound that would be kept by giving up a volume, if any would.
    pub fn asks_for(&self, volume: &VolumeInfo) -> Option<Bound> {
        if self.of_disk > 0 {
            return Some(Bound::Reserve);
        }
        if self.of_max > 0 {
            return Some(Bound::MaxBytes);
        }
        let mut short = self.of_quotas.iter();
        let source =
            short.find(|(source, _)| self.account.in_volume(volume.number, source).bytes > 0);
        source.map(|(source, _)| Bound::Quota(source.clone()))
    }

    /// A volume is given up.
    pub fn given(&mut self, volume: &VolumeInfo) {
        self.of_disk = self.of_disk.saturating_sub(volume.bytes);
        self.of_max = self.of_max.saturating_sub(volume.bytes);
        for (source, bytes) in &mut self.of_quotas {
            let given = self.account.in_volume(volume.number, source).bytes;
            *bytes = bytes.saturating_sub(given);
        }
        self.of_quotas.retain(|(_, bytes)| *bytes > 0);
    }
}
