//! Keys of several runs, in one order.

use crate::log::keys::page::{Key, Page, Pages};
use crate::time::Timestamp;

/// Merges runs in order of key; of equal keys the last run's stays. Keys received before `expired`
/// are left out. Holds a page of each run.
pub struct Merge<'a> {
    heads: Vec<Head<'a>>,
    expired: Timestamp,
    lost_pages: u64,
}

struct Head<'a> {
    pages: &'a Pages,
    page: Option<Page>,
    place: usize,
    next_page: u64,
    head: Option<Key>,
}

impl Head<'_> {
    /// Answers how many pages could not be read on the way.
    fn advance(&mut self) -> u64 {
        let mut lost = 0;
        loop {
            self.head = self.page.as_ref().and_then(|page| page.get(self.place));
            self.place += 1;
            if self.head.is_some() || self.next_page >= self.pages.count() {
                return lost;
            }
            // a damaged page loses its keys and nothing else
            self.page = self.pages.read(self.next_page).ok();
            lost += u64::from(self.page.is_none());
            self.place = 0;
            self.next_page += 1;
        }
    }
}

impl<'a> Merge<'a> {
    /// Of runs, oldest first.
    pub fn of(runs: impl Iterator<Item = &'a Pages>, expired: Timestamp) -> Self {
        let head = |pages| Head {
            pages,
            page: None,
            place: 0,
            next_page: 0,
            head: None,
        };
        let mut merge = Self {
            heads: runs.map(head).collect(),
            expired,
            lost_pages: 0,
        };
        merge.lost_pages = merge.heads.iter_mut().map(Head::advance).sum();
        merge
    }

    /// How many pages could not be read so far.
    pub fn lost_pages(&self) -> u64 {
        self.lost_pages
    }

    fn next_key(&mut self) -> Option<Key> {
        let heads = self.heads.iter().filter_map(|h| h.head);
        let smallest = heads.map(|(key, _)| key).min()?;
        let mut newest = None;
        for head in &mut self.heads {
            if head.head.is_some_and(|(key, _)| key == smallest) {
                newest = head.head;
                self.lost_pages += head.advance();
            }
        }
        newest
    }
}

impl Iterator for Merge<'_> {
    type Item = Key;
    fn next(&mut self) -> Option<Key> {
        loop {
            let key = self.next_key()?;
            if key.1.at >= self.expired {
                return Some(key);
            }
        }
    }
}
