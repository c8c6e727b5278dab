//! The thread that writes: off the way of every answer, a tenth of a second behind it at most.
//!
//! What was refused at the same time is put in order of arrival before it gets its ids: each turn
//! writes all of the last turn's, and of this turn's those that came no later. Synced once a second.
//! Whatever goes wrong with the disk is told and counted, and ends nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use creel_common::engine::sled::Disk;
use creel_common::time::{Clock, Timestamp};

use super::item::Item;
use super::store::Left;
use super::{DROPPED_DISK, Shared};

/// One turn.
const TURN: Duration = Duration::from_millis(100);
/// Turns between two syncs, looks at the disk, and removals by age.
const TURNS: u32 = 10;
/// Refused bytes that begin a turn early.
const EARLY_BYTES: usize = 4 << 20;

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Inbox {
    /// In the order in which they were refused, nearly.
    pub items: Vec<Item>,
    /// What they weigh, with those that the thread has taken and not yet written.
    pub bytes: usize,
    /// Nothing more comes.
    pub closed: bool,
}

/// The thread's own.
pub struct Writer {
    /// What it shares with those who refuse and who look.
    pub shared: Arc<Shared>,
    /// Where it writes.
    pub dir: PathBuf,
    /// It writes nothing while less is free.
    pub keep_free_bytes: u64,
    /// For ages.
    pub clock: Arc<dyn Clock>,
    /// Held while it writes: no two receivers share a quarantine.
    pub lock: Option<File>,
}

impl Writer {
    /// Reads what is there, and then writes until the inbox is closed.
    pub fn run(mut self) {
        if self.dir.is_dir() {
            self.is_ours();
        }
        self.shared.scanned.send_replace(true);
        let began = (self.clock.wall(), self.clock.mono());
        let mut older: Vec<Item> = Vec::new();
        let mut has_room = true;
        let mut turn = 0;
        loop {
            if turn % TURNS == 0 {
                has_room = self.upkeep(began, has_room);
            }
            turn += 1;
            let (items, closed) = self.next();
            older = self.write(older, items, has_room, closed);
            self.shared.turns.send_modify(|turns| *turns += 1);
            if closed {
                self.sync();
                return;
            }
        }
    }

    /// What came within one turn.
    fn next(&self) -> (Vec<Item>, bool) {
        let mut inbox = self.shared.inbox.lock();
        let weight = |items: &[Item]| items.iter().map(Item::weight).sum::<usize>();
        if !inbox.closed && weight(&inbox.items) < EARLY_BYTES {
            self.shared.bell.wait_for(&mut inbox, TURN);
        }
        (std::mem::take(&mut inbox.items), inbox.closed)
    }

    /// Whether this process may write, and has read what was there: nothing is made before the first
    /// request is to be kept.
    fn is_ours(&mut self) -> bool {
        if self.lock.is_none() {
            match lock(&self.dir) {
                Ok(lock) => {
                    self.lock = Some(lock);
                    // read aside: whoever counts what is there does not wait for gigabytes
                    let mut found = self.shared.store.lock().unread();
                    found.scan();
                    *self.shared.store.lock() = found;
                }
                Err(error) => {
                    let path = self.dir.display();
                    tracing::warn!(%path, %error, "the quarantine cannot be used");
                }
            }
        }
        self.lock.is_some()
    }

    /// Writes what is in order for sure. Answers what is not.
    fn write(&mut self, older: Vec<Item>, newer: Vec<Item>, room: bool, last: bool) -> Vec<Item> {
        let ripe = older.iter().map(|item| item.received_at).max();
        let mut items = older;
        items.extend(newer);
        // of one moment, those that were refused first come first
        items.sort_by_key(|item| item.received_at);
        let is_ripe = |item: &Item| last || Some(item.received_at) <= ripe;
        let rest = items.split_off(items.partition_point(is_ripe));
        if items.is_empty() {
            return rest;
        }
        let weight: usize = items.iter().map(Item::weight).sum();
        if room && self.is_ours() {
            let left = self.shared.store.lock().append(items);
            self.tell(&left);
        } else {
            for item in &items {
                self.shared.dropped(&item.head.source, DROPPED_DISK, 1);
            }
        }
        self.shared.inbox.lock().bytes -= weight;
        rest
    }

    /// Syncs, lets go what is too old, and says whether there is room to write.
    fn upkeep(&self, began: (Timestamp, Duration), had_room: bool) -> bool {
        self.sync();
        // a wall clock that is set makes nothing old
        let passed = self.clock.mono().saturating_sub(began.1);
        let now = self.clock.wall().min(began.0.plus(passed));
        let left = self.shared.store.lock().expire(now);
        self.tell(&left);
        let free = Disk::of(&self.dir).map_or(u64::MAX, |disk| disk.free);
        let has_room = free >= self.keep_free_bytes;
        if had_room && !has_room {
            tracing::warn!(
                free,
                needed = self.keep_free_bytes,
                "the disk is short: refused requests are no longer quarantined"
            );
        }
        has_room
    }

    fn sync(&self) {
        if let Err(error) = self.shared.store.lock().sync() {
            tracing::warn!(%error, "the quarantine cannot be synced");
        }
    }

    fn tell(&self, left: &[Left]) {
        for Left { source, why, count } in left {
            self.shared.dropped(source, why, *count);
        }
    }
}

/// Makes the directory if need be, and takes it for this process.
fn lock(dir: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(dir.join("lock"))?;
    file.try_lock()
        .map_err(|_| io::Error::other("another receiver uses it, see `quarantine.path`"))?;
    Ok(file)
}
