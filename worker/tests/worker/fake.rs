//! A log that does what it is told: loses replies, is away, forgets leases.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use creel_common::ids::LogId;
use creel_common::log::{Lease, LeaseRequest, Leased, Settled, Want, Work, WorkError, codec};
use creel_common::outcome::Outcome;
use tokio::sync::watch;

use crate::sample::{LOG, delivery};

/// What goes wrong next, and how often.
#[derive(Debug, Default, Clone, Copy)]
pub struct Faults {
    /// Replies to leases that are lost after the lease was made.
    pub lose_leases: usize,
    /// Replies to settles that are lost after the settle was done.
    pub lose_settles: usize,
    /// Lease requests that find nobody.
    pub away_leases: usize,
    /// Settles that find nobody.
    pub away_settles: usize,
    /// Every lease has ended.
    pub stale: bool,
}

#[derive(Default)]
struct State {
    waiting: HashMap<String, VecDeque<Leased>>,
    leases: BTreeMap<u64, Lease>,
    requests: HashMap<String, Vec<Lease>>,
    last_lease: u64,
    faults: Faults,
    counts: Counts,
    settled: Vec<(String, Settled)>,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    pub lease_requests: usize,
    pub settle_requests: usize,
    pub extends: usize,
    pub most_wants: usize,
}

pub struct FakeWork {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    expires_in: Duration,
}

impl FakeWork {
    pub fn new(routes: &[&str], expires_in: Duration) -> Arc<Self> {
        let state = State {
            waiting: routes
                .iter()
                .map(|r| ((*r).to_owned(), VecDeque::new()))
                .collect(),
            ..State::default()
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            expires_in,
        })
    }

    /// `count` deliveries for a route; offsets go on from the last.
    pub fn add(&self, route: &str, from: u64, count: u64) {
        for offset in from..from + count {
            let body = format!("{{\"n\":{offset}}}");
            self.add_record(
                route,
                offset,
                codec::encode(&delivery(body)).unwrap().into(),
            );
        }
    }

    pub fn add_record(&self, route: &str, offset: u64, record: Bytes) {
        self.change(|state| {
            state.waiting.get_mut(route).unwrap().push_back(Leased {
                offset,
                attempt: 1,
                generation: 0,
                record,
            });
        });
    }

    pub fn set(&self, faults: Faults) {
        self.change(|state| state.faults = faults);
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().unwrap().counts
    }

    /// Everything that was settled and still stands, in order.
    pub fn settled(&self) -> Vec<(String, Settled)> {
        self.state.lock().unwrap().settled.clone()
    }

    pub fn offsets(&self, outcome: &Outcome) -> Vec<u64> {
        let mut offsets: Vec<u64> = self
            .settled()
            .into_iter()
            .filter(|(_, settled)| settled.outcome == *outcome)
            .map(|(_, settled)| settled.offset)
            .collect();
        offsets.sort_unstable();
        offsets
    }

    /// Deliveries that are lent and not settled.
    pub fn open(&self) -> usize {
        let state = self.state.lock().unwrap();
        state.leases.values().map(|lease| lease.items.len()).sum()
    }

    /// Waits until `wanted` holds of this log.
    pub async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            while !wanted(self) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("it never came to that");
    }

    fn change<T>(&self, how: impl FnOnce(&mut State) -> T) -> T {
        let result = how(&mut self.state.lock().unwrap());
        self.changed.send_replace(());
        result
    }
}

impl State {
    /// `None` while there is nothing to lend.
    fn answer(
        &mut self,
        request: &LeaseRequest,
        expires_in: Duration,
    ) -> Option<Result<Vec<Lease>, WorkError>> {
        let unknown = |want: &&Want| !self.waiting.contains_key(&want.route);
        if let Some(want) = request.wants.iter().find(unknown) {
            return Some(Err(WorkError::NoRoute(want.route.clone())));
        }
        if strikes(&mut self.faults.away_leases) {
            return Some(Err(away()));
        }
        if let Some(again) = self.requests.get(&request.request) {
            return Some(Ok(again.clone()));
        }
        let leases = self.lend(request, expires_in);
        if leases.is_empty() {
            return None;
        }
        if strikes(&mut self.faults.lose_leases) {
            return Some(Err(away()));
        }
        Some(Ok(leases))
    }

    fn lend(&mut self, request: &LeaseRequest, expires_in: Duration) -> Vec<Lease> {
        let mut leases = Vec::new();
        for want in &request.wants {
            let queue = self.waiting.get_mut(&want.route).unwrap();
            let (mut items, mut bytes) = (Vec::new(), 0);
            while let Some(next) = queue.front() {
                bytes += next.record.len() as u64;
                let full = items.len() >= want.max_items as usize || bytes > want.max_bytes;
                if full && !items.is_empty() {
                    break;
                }
                items.push(queue.pop_front().unwrap());
            }
            if items.is_empty() {
                continue;
            }
            self.last_lease += 1;
            let lease = Lease {
                id: self.last_lease,
                route: want.route.clone(),
                expires_in,
                items,
            };
            self.leases.insert(lease.id, lease.clone());
            leases.push(lease);
        }
        if !leases.is_empty() {
            self.requests
                .insert(request.request.clone(), leases.clone());
        }
        leases
    }

    fn settle(&mut self, id: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        if self.faults.stale {
            return Err(WorkError::Stale(id));
        }
        // a settle that is repeated after its lease has ended with it is fine for its holder
        if id > self.last_lease {
            return Err(WorkError::Stale(id));
        }
        let Some(lease) = self.leases.get_mut(&id) else {
            return Ok(());
        };
        for one in settled {
            if let Some(at) = lease
                .items
                .iter()
                .position(|item| item.offset == one.offset)
            {
                lease.items.remove(at);
                self.settled.push((lease.route.clone(), one));
            }
        }
        if lease.items.is_empty() {
            self.leases.remove(&id);
        }
        Ok(())
    }
}

fn away() -> WorkError {
    WorkError::Unavailable("nobody there".into())
}

/// Counts a fault down; true while there is one left.
fn strikes(fault: &mut usize) -> bool {
    let strikes = *fault > 0;
    *fault = fault.saturating_sub(1);
    strikes
}

#[async_trait]
impl Work for FakeWork {
    async fn log_id(&self) -> Result<LogId, WorkError> {
        Ok(LogId::from_bits(LOG))
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError> {
        let mut changes = self.changed.subscribe();
        let lending = async {
            self.change(|state| {
                state.counts.lease_requests += 1;
                state.counts.most_wants = state.counts.most_wants.max(request.wants.len());
            });
            loop {
                changes.mark_unchanged();
                let answer = self.state.lock().unwrap().answer(&request, self.expires_in);
                if let Some(answer) = answer {
                    self.changed.send_replace(());
                    return answer;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(request.wait, lending)
            .await
            .unwrap_or(Ok(Vec::new()))
    }

    async fn extend(&self, lease: u64) -> Result<Duration, WorkError> {
        self.change(|state| {
            state.counts.extends += 1;
            if state.faults.stale || !state.leases.contains_key(&lease) {
                return Err(WorkError::Stale(lease));
            }
            Ok(self.expires_in)
        })
    }

    async fn settle(&self, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        self.change(|state| {
            state.counts.settle_requests += 1;
            if strikes(&mut state.faults.away_settles) {
                return Err(away());
            }
            state.settle(lease, settled)?;
            if strikes(&mut state.faults.lose_settles) {
                return Err(away());
            }
            Ok(())
        })
    }
}
