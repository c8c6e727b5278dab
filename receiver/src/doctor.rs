//! One request of ours is awaited, to see what the proxies make of it.
//!
//! An operator has it awaited and gets a nonce, good for a minute and one request. The request that
//! carries it is judged like any other, noted, and not stored. Nobody else can tell that anything is
//! awaited: without the nonce a request is what it always is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use creel_common::log::wire::{DOCTOR_HEADER, SeenView, VisitView};
use http::HeaderMap;
use parking_lot::Mutex;

use crate::tag::Tag;

/// How long a request is awaited, and what was seen of it is kept.
const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits at most one request.
#[derive(Debug, Default)]
pub struct Doctor {
    /// So that nearly every request is asked nothing.
    awaits: AtomicBool,
    visit: Mutex<Option<Visit>>,
}

#[derive(Debug)]
struct Visit {
    digest: Tag,
    until: Duration,
    seen: Option<SeenView>,
}

impl Doctor {
    /// Awaits a request from now on (monotonic time), instead of any that was awaited before.
    pub fn expect(&self, now: Duration) -> VisitView {
        let nonce = hex::encode(rand::random::<[u8; 32]>());
        *self.visit.lock() = Some(Visit {
            digest: Tag::sha256(nonce.as_bytes()),
            until: now + PATIENCE,
            seen: None,
        });
        self.awaits.store(true, Ordering::Release);
        VisitView {
            nonce,
            expires_in_ms: u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Whether this is the request that is awaited; it is not any more, then.
    pub fn meets(&self, headers: &HeaderMap, now: Duration) -> bool {
        if !self.awaits.load(Ordering::Acquire) {
            return false;
        }
        let Some(nonce) = headers.get(DOCTOR_HEADER) else {
            return false;
        };
        let visit = self.visit.lock();
        let met = visit.as_ref().is_some_and(|visit| {
            visit.seen.is_none() && now < visit.until && visit.digest.is_of(nonce.as_bytes())
        });
        if met {
            self.awaits.store(false, Ordering::Release);
        }
        met
    }

    /// Notes what the awaited request looked like.
    pub fn note(&self, seen: SeenView) {
        if let Some(visit) = &mut *self.visit.lock() {
            visit.seen = Some(seen);
        }
    }

    /// What was seen within the time.
    pub fn seen(&self, now: Duration) -> Option<SeenView> {
        let visit = self.visit.lock();
        let visit = visit
            .as_ref()
            .filter(|visit| now < visit.until + PATIENCE)?;
        visit.seen.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(nonce: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(DOCTOR_HEADER, nonce.parse().unwrap());
        headers
    }

    #[test]
    fn only_the_nonce_is_met_once_and_in_time() {
        let doctor = Doctor::default();
        assert!(!doctor.meets(&with("x"), Duration::ZERO));
        let first = doctor.expect(Duration::ZERO).nonce;
        let nonce = doctor.expect(Duration::ZERO).nonce;
        for (headers, at) in [
            (HeaderMap::new(), Duration::ZERO),
            (with("x"), Duration::ZERO),
            (with(&first), Duration::ZERO),
            (with(&nonce), PATIENCE),
        ] {
            assert!(!doctor.meets(&headers, at));
        }
        assert!(doctor.meets(&with(&nonce), Duration::ZERO));
        assert!(!doctor.meets(&with(&nonce), Duration::ZERO));
        assert!(doctor.seen(Duration::ZERO).is_none());
    }
}
