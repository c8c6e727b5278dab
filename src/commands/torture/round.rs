//! One log through the faults of a shuffled deck, reconciled after each.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use creel_common::ids::{DeliveryId, Offset};
use creel_common::log::Operate;
use creel_common::log::wire::{LogView, VolumeView};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::fault::Fault;
use super::report::Report;
use super::senders::{Books, Senders};
use super::stand::{Ground, SOURCE, Stand};
use crate::commands::demo::ledger::{self, Arrivals, Ledger, Logged, Route, Sent};
use crate::commands::demo::read_log;

/// Longest wait until all that was acknowledged is delivered.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
/// How often a fault is in the deck.
const EACH: usize = 2;
/// How long senders send before the first fault.
const WARM_UP: u64 = 50;

/// A log, its senders, and the faults it goes through.
pub struct Round {
    stand: Stand,
    senders: Senders,
}

impl Round {
    /// Starts everything in `dir`; `believe` says whether syncs on the layer do anything.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn begin(
        dir: &Path,
        ground: Ground,
        believe: bool,
        dice: &mut StdRng,
    ) -> anyhow::Result<Self> {
        let stand = Stand::set(dir, ground, believe).await?;
        let senders = Senders::start(stand.public(), stand.secret(), dice.random())?;
        Ok(Self { stand, senders })
    }

    /// Plays a deck of these faults, or until it is time and each was played once.
    ///
    /// # Errors
    /// When creel does not do what it has to, or does not come back.
    pub async fn play(
        &mut self,
        faults: &[Fault],
        until: Instant,
        report: &mut Report,
        dice: &mut StdRng,
        told: &dyn Fn(&Report, &str),
    ) -> anyhow::Result<()> {
        self.senders.go();
        self.senders.until_one_more_than(WARM_UP).await?;
        for fault in deck(faults, self.stand.ground(), dice) {
            if Instant::now() >= until && report.has_all(faults, self.stand.ground()) {
                break;
            }
            told(report, &fault.word());
            self.senders.go();
            let recovered = fault.play(&mut self.stand, &self.senders, dice).await;
            let recovered = recovered.with_context(|| fault.word())?;
            report.note(fault, recovered);
            self.reconcile(report).await.with_context(|| fault.word())?;
        }
        self.senders.pause().await?;
        self.stand.stop_receiver()?;
        self.stand.verify()
    }

    /// Adds up what this round was, ends its senders, and gives back where it was played.
    pub fn close(mut self, report: &mut Report) -> Stand {
        self.senders.end();
        report.close_round(&self.senders.books(), self.stand.slowest_start);
        let arrivals = self.stand.sink.taken(&Stand::route());
        report.duplicates += arrivals
            .values()
            .map(|times| times.len() as u64 - 1)
            .sum::<u64>();
        self.stand
    }

    /// Waits until all is acknowledged and delivered, and compares the books.
    async fn reconcile(&self, report: &mut Report) -> anyhow::Result<()> {
        self.senders.pause().await?;
        let log = self.stand.log()?;
        let undelivered = until_delivered(&log).await?;
        let held = read_log(&log).await?;
        // after reading: what went meanwhile is known to have gone
        let facts = log.facts().await?;
        let arrivals = self.stand.sink.taken(&Stand::route());
        let books = self.senders.books();
        let found = compare(&books, held, &facts, arrivals, undelivered);
        report.lost += found.lost;
        report.acked_in_round(&books);
        if !found.problems.is_empty() {
            bail!("{}", found.problems.join("; "));
        }
        Ok(())
    }
}

fn deck(faults: &[Fault], ground: Ground, dice: &mut StdRng) -> Vec<Fault> {
    let playable = faults.iter().filter(|fault| fault.is_for(ground));
    let mut once: Vec<Fault> = playable.copied().collect();
    let mut deck = Vec::new();
    for _ in 0..EACH {
        once.shuffle(dice);
        deck.extend(&once);
    }
    deck
}

/// Answers how many are still not delivered: those that died.
async fn until_delivered(log: &dyn Operate) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        let routes = log.routes().await?;
        let left: u64 = routes.iter().map(|r| r.pending + r.open + r.waiting).sum();
        if left == 0 {
            return Ok(routes.iter().map(|route| route.dead).sum());
        }
        ensure!(
            began.elapsed() < DELIVERED_WITHIN,
            "{left} are not delivered in time"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What comparing the books found.
struct Found {
    lost: u64,
    problems: Vec<String>,
}

/// Compares what senders were told with the log and the destination.
fn compare(
    books: &Books,
    held: Vec<Logged>,
    facts: &LogView,
    mut arrivals: Arrivals,
    dead: u64,
) -> Found {
    let mut problems = books.senseless.clone();
    for gap in facts.gaps.iter().filter(|gap| gap.known_lost) {
        problems.push(format!("{} to {} are reported lost", gap.first, gap.last));
    }
    let sent = books.sent.values().cloned();
    let ids: HashSet<String> = held.iter().map(|logged| logged.id.clone()).collect();
    let away = |id: &str| is_away(id, facts, &ids);
    let (gone, there): (Vec<Sent>, Vec<Sent>) =
        sent.partition(|sent| sent.id.as_deref().is_some_and(away));
    let mut lost = 0;
    for sent in gone {
        let id = sent.id.unwrap_or_default();
        let arrived = arrivals.remove(&id).unwrap_or_default();
        if arrived.is_empty() || arrived.iter().any(|digest| *digest != sent.digest) {
            lost += 1;
            problems.push(format!(
                "{id} has gone from the log and did not arrive as sent"
            ));
        }
    }
    let there_still = |logged: &Logged| !away(&logged.id);
    let closed = ledger::close(&Ledger {
        sent: there,
        forged: [(SOURCE.to_owned(), books.forged)].into(),
        log: held.into_iter().filter(there_still).collect(),
        routes: vec![Route {
            name: Stand::route(),
            source: SOURCE.to_owned(),
            arrivals,
            undelivered: dead,
            ..Route::default()
        }],
    });
    problems.extend(closed.faults);
    Found {
        lost: lost + closed.lost,
        problems,
    }
}

/// Whether retention has removed it, of a volume that was carried over what was settled. What is lost
/// is not: that is missing from a volume that is whole, or reported.
fn is_away(id: &str, facts: &LogView, held: &HashSet<String>) -> bool {
    let Ok(DeliveryId { offset, .. }) = id.parse() else {
        return false;
    };
    let within = |first: Offset, end: Offset| (first..end).contains(&offset);
    let in_use = facts.volumes.last().map_or(0, |volume| volume.first);
    let is_lost = facts.gaps.iter().any(|gap| within(gap.first, gap.last + 1));
    let holds =
        |v: &VolumeView| !v.going && within(v.first, v.end) && (!v.rest || held.contains(id));
    let is_held = facts.volumes.iter().any(holds);
    offset < in_use && !is_held && !is_lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::demo::ledger::{Forged, digest};
    use creel_common::ids::LogId;
    use creel_common::log::losses::Loss;

    fn id(offset: Offset) -> String {
        let log: LogId = "00000000000000aa".parse().expect("an id");
        DeliveryId { log, offset }.to_string()
    }

    fn name(offset: Offset) -> String {
        format!("event-{offset}")
    }

    fn sent(offset: Offset) -> Sent {
        Sent {
            source: SOURCE.into(),
            event: name(offset),
            digest: digest(name(offset).as_bytes()),
            acks: 1,
            duplicates: 0,
            id: Some(id(offset)),
            two_ids: false,
        }
    }

    fn logged(offset: Offset) -> Logged {
        Logged {
            id: id(offset),
            source: SOURCE.into(),
            event: Some(name(offset)),
            digest: digest(name(offset).as_bytes()),
        }
    }

    /// Three volumes, of which the first has gone; four deliveries in each.
    struct Case {
        books: Books,
        held: Vec<Logged>,
        facts: LogView,
        arrivals: Arrivals,
        dead: u64,
    }

    fn sound() -> Case {
        let volume = |number: u64, sealed| VolumeView {
            number,
            first: number * 4 - 3,
            end: number * 4 + 1,
            bytes: 1,
            sealed,
            rest: false,
            going: false,
            kept: Vec::new(),
        };
        Case {
            books: Books {
                sent: (1..13).map(|offset| (offset, sent(offset))).collect(),
                forged: Forged {
                    refused: 2,
                    accepted: 0,
                },
                senseless: Vec::new(),
            },
            held: (5..13).map(logged).collect(),
            facts: LogView {
                log: "00000000000000aa".parse().expect("an id"),
                first: 5,
                next: 13,
                deliveries: 8,
                keys: 0,
                refuses: None,
                dedupe: None,
                bounds_reached: Vec::new(),
                kept: Vec::new(),
                used_bytes: None,
                parts: Vec::new(),
                free_bytes: None,
                volumes: vec![volume(2, true), volume(3, false)],
                sources: Vec::new(),
                gaps: Vec::new(),
            },
            arrivals: (1..13).map(|at| (id(at), vec![sent(at).digest])).collect(),
            dead: 0,
        }
    }

    fn found(case: Case) -> Found {
        compare(
            &case.books,
            case.held,
            &case.facts,
            case.arrivals,
            case.dead,
        )
    }

    #[test]
    fn sound_books_have_no_problem() {
        let found = found(sound());
        assert!(found.problems.is_empty(), "{:?}", found.problems);
        assert_eq!(found.lost, 0);
    }

    #[test]
    fn every_hole_and_every_wrong_byte_is_seen() {
        type Change = fn(&mut Case);
        let cases: [(&str, u64, Change); 9] = [
            ("missing in a sealed volume", 1, |c| drop(c.held.remove(1))),
            ("missing at the end", 1, |c| drop(c.held.pop())),
            ("another body in the log", 1, |c| c.held[2].digest[0] ^= 1),
            ("not arrived", 1, |c| drop(c.arrivals.remove(&id(7)))),
            ("removed and not arrived", 1, |c| {
                c.arrivals.remove(&id(2));
            }),
            ("removed and arrived otherwise", 1, |c| {
                c.arrivals.insert(id(2), vec![[0; 32]]);
            }),
            ("reported lost", 4, |c| {
                c.facts.gaps.push(Loss {
                    first: 1,
                    last: 4,
                    known_lost: true,
                    sources: Vec::new(),
                    received_from: None,
                    received_until: None,
                    exact: false,
                    found_at: None,
                });
            }),
            ("a forgery was taken", 0, |c| c.books.forged.accepted = 1),
            ("an answer without sense", 0, |c| {
                c.books.senseless.push("400".into());
            }),
        ];
        for (what, lost, change) in cases {
            let mut case = sound();
            change(&mut case);
            let found = found(case);
            assert!(!found.problems.is_empty(), "{what}");
            assert_eq!(found.lost, lost, "{what}: {:?}", found.problems);
        }
    }

    #[test]
    fn of_a_volume_that_was_carried_over_only_what_arrived_may_be_gone() {
        let mut case = sound();
        case.facts.volumes[0].rest = true;
        // 5 and 6 are left, 7 and 8 are settled
        case.held
            .retain(|logged| ![id(7), id(8)].contains(&logged.id));
        let sound = found(case);
        assert_eq!((sound.lost, sound.problems), (0, Vec::new()));
    }

    #[test]
    fn of_a_volume_that_is_being_removed_all_may_be_gone_that_arrived() {
        let mut case = sound();
        case.held.retain(|logged| {
            let of_the_first = (5..9).map(id).any(|id| id == logged.id);
            !of_the_first
        });
        case.facts.volumes[0].going = true;
        case.arrivals.remove(&id(6));
        assert_eq!(found(case).lost, 1);
    }

    #[test]
    fn the_last_volume_loses_nothing_to_retention() {
        let mut case = sound();
        // as if the end of the log were gone, and the volume in use ended earlier
        case.held.truncate(6);
        case.facts.volumes[1].end = 11;
        assert_eq!(found(case).lost, 2);
    }
}
