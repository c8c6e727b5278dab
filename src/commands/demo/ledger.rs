//! The books of the demo: what senders were told, what the log holds, what destinations got.
//!
//! Pure: three lists go in, rows and a list of what does not add up come out.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// A body's SHA-256.
pub type Digest = [u8; 32];

/// What came to a destination on one route: by delivery id, one digest for each time.
pub type Arrivals = HashMap<String, Vec<Digest>>;

/// Most faults that are listed.
const FAULTS_MAX: usize = 20;

/// The digest of a body.
pub fn digest(body: &[u8]) -> Digest {
    Sha256::digest(body).into()
}

/// One event as its sender knows it.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its source.
    pub source: String,
    /// The sender's name for it.
    pub event: String,
    /// Its body.
    pub digest: Digest,
    /// How often it was answered with 2xx.
    pub acks: u32,
    /// How often the answer said that it was there already.
    pub duplicates: u32,
    /// The id the answers gave, where they give one.
    pub id: Option<String>,
    /// Two answers gave different ids.
    pub two_ids: bool,
}

/// One delivery in the log.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its id.
    pub id: String,
    /// Its source.
    pub source: String,
    /// The sender's name for it.
    pub event: Option<String>,
    /// Its body.
    pub digest: Digest,
}

/// Forged requests of one source.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forged {
    /// Refused.
    pub refused: u64,
    /// Answered with 2xx.
    pub accepted: u64,
}

/// One route as the demo saw it.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// Its source.
    pub source: String,
    /// What its destination got.
    pub arrivals: Arrivals,
    /// Dead letters before they were reprocessed.
    pub dead: u64,
    /// Dead letters that were expected: what the picky sink rejects.
    pub dead_expected: u64,
    /// Dead letters that were reprocessed.
    pub reprocessed: u64,
    /// Not delivered when all was over: pending, open, waiting or dead.
    pub undelivered: u64,
}

/// Everything that is known when all is over.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Genuine events.
    pub sent: Vec<Sent>,
    /// Forged requests by source.
    pub forged: BTreeMap<String, Forged>,
    /// All of the log.
    pub log: Vec<Logged>,
    /// All routes.
    pub routes: Vec<Route>,
}

/// A sender and the log, side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceRow {
    /// The source.
    pub source: String,
    /// Events that were answered with 2xx.
    pub acknowledged: u64,
    /// Further answers for an event that was acknowledged before.
    pub duplicates: u64,
    /// Forged requests that were refused.
    pub refused: u64,
    /// Deliveries in the log.
    pub in_log: u64,
    /// Acknowledged, but not in the log as sent.
    pub lost: u64,
}

/// A route and its destination, side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RouteRow {
    /// The route.
    pub route: String,
    /// Acknowledged events of its source.
    pub acknowledged: u64,
    /// Of those, at the destination with the very same body.
    pub delivered: u64,
    /// Arrivals beyond the first of a delivery.
    pub again: u64,
    /// Died on the way.
    pub dead: u64,
    /// Of those, given fresh attempts.
    pub reprocessed: u64,
    /// Acknowledged, but not at the destination.
    pub lost: u64,
}

/// The books, closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Closed {
    /// Everything adds up.
    pub adds_up: bool,
    /// Acknowledged and lost, over sources and routes.
    pub lost: u64,
    /// One row per source.
    pub sources: Vec<SourceRow>,
    /// One row per route.
    pub routes: Vec<RouteRow>,
    /// What does not add up, the first of it.
    pub faults: Vec<String>,
}

/// Reconciles the books.
pub fn close(ledger: &Ledger) -> Closed {
    let mut faults = Faults::default();
    let log = by_event(ledger, &mut faults);
    let mut ids: HashMap<&str, Vec<(&str, Digest)>> = HashMap::new();
    let mut sources: BTreeMap<&str, SourceRow> = BTreeMap::new();
    for sent in &ledger.sent {
        let row = row(&mut sources, &sent.source);
        if sent.acks == 0 {
            faults.add(format!(
                "{}: {} was never acknowledged",
                sent.source, sent.event
            ));
            continue;
        }
        row.acknowledged += 1;
        row.duplicates += u64::from(sent.acks - 1);
        match found(sent, &log) {
            Ok(id) => ids.entry(&sent.source).or_default().push((id, sent.digest)),
            Err(fault) => {
                row.lost += 1;
                faults.add(format!("{}: {} {fault}", sent.source, sent.event));
            }
        }
    }
    for logged in &ledger.log {
        row(&mut sources, &logged.source).in_log += 1;
    }
    for (source, forged) in &ledger.forged {
        row(&mut sources, source).refused = forged.refused;
        if forged.accepted > 0 {
            faults.add(format!(
                "{source}: {} forged were accepted",
                forged.accepted
            ));
        }
    }
    let none = Vec::new();
    let routes: Vec<RouteRow> = ledger
        .routes
        .iter()
        .map(|route| {
            let wanted = ids.get(route.source.as_str()).unwrap_or(&none);
            route_row(route, wanted, &mut faults)
        })
        .collect();
    let sources: Vec<SourceRow> = sources.into_values().collect();
    let lost = sources.iter().map(|row| row.lost).sum::<u64>()
        + routes.iter().map(|row| row.lost).sum::<u64>();
    Closed {
        adds_up: faults.count == 0 && lost == 0,
        lost,
        sources,
        routes,
        faults: faults.first,
    }
}

fn row<'a, 'b>(rows: &'b mut BTreeMap<&'a str, SourceRow>, source: &'a str) -> &'b mut SourceRow {
    rows.entry(source).or_insert_with(|| SourceRow {
        source: source.to_owned(),
        ..SourceRow::default()
    })
}

type ByEvent<'a> = HashMap<(&'a str, &'a str), &'a Logged>;

/// The log by event; anything that is there twice, or that nobody sent, is a fault.
fn by_event<'a>(ledger: &'a Ledger, faults: &mut Faults) -> ByEvent<'a> {
    let sent: HashMap<(&str, &str), ()> = ledger
        .sent
        .iter()
        .map(|sent| ((sent.source.as_str(), sent.event.as_str()), ()))
        .collect();
    let mut log = ByEvent::new();
    for logged in &ledger.log {
        let key = (
            logged.source.as_str(),
            logged.event.as_deref().unwrap_or(""),
        );
        if !sent.contains_key(&key) {
            faults.add(format!("{} in the log was sent by nobody", logged.id));
        }
        if let Some(first) = log.insert(key, logged) {
            faults.add(format!("{} and {} are the same event", first.id, logged.id));
        }
    }
    log
}

fn found<'a>(sent: &Sent, log: &ByEvent<'a>) -> Result<&'a str, &'static str> {
    let logged = log
        .get(&(sent.source.as_str(), sent.event.as_str()))
        .ok_or("is not in the log")?;
    if logged.digest != sent.digest {
        return Err("has another body in the log");
    }
    if sent.two_ids || sent.id.as_ref().is_some_and(|id| *id != logged.id) {
        return Err("was acknowledged under another id");
    }
    Ok(&logged.id)
}

fn route_row(route: &Route, wanted: &[(&str, Digest)], faults: &mut Faults) -> RouteRow {
    let name = &route.name;
    let mut row = RouteRow {
        route: name.clone(),
        acknowledged: wanted.len() as u64,
        dead: route.dead,
        reprocessed: route.reprocessed,
        ..RouteRow::default()
    };
    let mut known = 0;
    for (id, digest) in wanted {
        let Some(arrived) = route.arrivals.get(*id) else {
            row.lost += 1;
            faults.add(format!("{name}: {id} did not arrive"));
            continue;
        };
        known += 1;
        row.again += arrived.len() as u64 - 1;
        if arrived.iter().all(|other| other == digest) {
            row.delivered += 1;
        } else {
            row.lost += 1;
            faults.add(format!("{name}: {id} arrived with another body"));
        }
    }
    if route.arrivals.len() != known {
        let strangers = route.arrivals.len() - known;
        faults.add(format!(
            "{name}: {strangers} arrived that were not acknowledged"
        ));
    }
    if route.dead != route.dead_expected {
        let (dead, expected) = (route.dead, route.dead_expected);
        faults.add(format!("{name}: {dead} died where {expected} should have"));
    }
    if route.reprocessed != route.dead {
        let (done, dead) = (route.reprocessed, route.dead);
        faults.add(format!(
            "{name}: {done} of {dead} dead letters were reprocessed"
        ));
    }
    if route.undelivered > 0 {
        faults.add(format!(
            "{name}: {} are left undelivered",
            route.undelivered
        ));
    }
    row
}

#[derive(Default)]
struct Faults {
    count: u64,
    first: Vec<String>,
}

impl Faults {
    fn add(&mut self, fault: String) {
        self.count += 1;
        if self.first.len() < FAULTS_MAX {
            self.first.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(event: &str, acks: u32) -> Sent {
        Sent {
            source: "s".into(),
            event: event.into(),
            digest: digest(event.as_bytes()),
            acks,
            duplicates: acks.saturating_sub(1),
            id: Some(format!("id-{event}")),
            two_ids: false,
        }
    }

    fn logged(event: &str) -> Logged {
        Logged {
            id: format!("id-{event}"),
            source: "s".into(),
            event: Some(event.into()),
            digest: digest(event.as_bytes()),
        }
    }

    fn arrivals(events: &[(&str, usize)]) -> Arrivals {
        events
            .iter()
            .map(|(event, times)| {
                (
                    format!("id-{event}"),
                    vec![digest(event.as_bytes()); *times],
                )
            })
            .collect()
    }

    fn sound() -> Ledger {
        Ledger {
            sent: vec![sent("a", 1), sent("b", 2)],
            forged: [(
                "s".to_owned(),
                Forged {
                    refused: 3,
                    accepted: 0,
                },
            )]
            .into(),
            log: vec![logged("a"), logged("b")],
            routes: vec![Route {
                name: "s-d".into(),
                source: "s".into(),
                arrivals: arrivals(&[("a", 1), ("b", 2)]),
                dead: 1,
                dead_expected: 1,
                reprocessed: 1,
                undelivered: 0,
            }],
        }
    }

    #[test]
    fn sound_books_add_up() {
        let closed = close(&sound());
        assert!(closed.adds_up, "{:?}", closed.faults);
        let source = &closed.sources[0];
        assert_eq!((source.acknowledged, source.duplicates), (2, 1));
        assert_eq!((source.refused, source.in_log, source.lost), (3, 2, 0));
        let route = &closed.routes[0];
        assert_eq!((route.delivered, route.again, route.lost), (2, 1, 0));
    }

    #[test]
    fn every_way_of_not_adding_up_is_seen() {
        type Change = fn(&mut Ledger);
        let cases: [(&str, Change); 12] = [
            ("lost in the log", |l| l.log.truncate(1)),
            ("another body in the log", |l| l.log[0].digest[0] ^= 1),
            ("twice in the log", |l| {
                l.log.push(Logged {
                    id: "x".into(),
                    ..logged("a")
                })
            }),
            ("forged in the log", |l| l.log.push(logged("z"))),
            ("never acknowledged", |l| l.sent[0].acks = 0),
            ("another id", |l| l.sent[0].id = Some("y".into())),
            ("forged accepted", |l| {
                l.forged.insert(
                    "s".into(),
                    Forged {
                        refused: 1,
                        accepted: 1,
                    },
                );
            }),
            ("did not arrive", |l| {
                l.routes[0].arrivals.remove("id-a");
            }),
            ("changed on the way", |l| {
                l.routes[0].arrivals.insert("id-a".into(), vec![[0; 32]]);
            }),
            ("a stranger arrived", |l| {
                l.routes[0].arrivals.insert("id-z".into(), vec![[0; 32]]);
            }),
            ("died unexpectedly", |l| l.routes[0].dead_expected = 0),
            ("left over", |l| l.routes[0].undelivered = 1),
        ];
        for (what, change) in cases {
            let mut ledger = sound();
            change(&mut ledger);
            let closed = close(&ledger);
            assert!(!closed.adds_up && !closed.faults.is_empty(), "{what}");
        }
    }
}
