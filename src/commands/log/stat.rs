//! `creel log stat`: where the log's bytes are, and what keeps them there.

use creel_common::log::wire::{KeptView, LogView, PartView, VolumeView};
use creel_common::log::{Operate, RouteStatus};
use creel_common::time::Timestamp;
use serde::Serialize;

use crate::commands::connect::Connect;
use crate::commands::{block_on, deliveries::now};
use crate::output::{Output, Sheet, Tone, bytes, count, length, toned};
use crate::settings::Global;

/// Show where the log's bytes are: by part, source, route and reason
///
/// Asks the running receiver. What a route holds is the number of its deliveries times the mean size
/// of its source's, so it is about right. A delivery that several routes hold counts with each.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Volume by volume as well
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Serialize)]
struct Stat {
    used_bytes: Option<u64>,
    free_bytes: Option<u64>,
    parts: Vec<PartView>,
    sources: Vec<KeptView>,
    held: Vec<Held>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<VolumeView>,
}

/// What keeps deliveries in the log.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Held {
    source: String,
    /// `None` for a source that has no route.
    route: Option<String>,
    reason: Reason,
    deliveries: u64,
    /// About.
    bytes: u64,
    oldest: Option<Timestamp>,
}

/// Why a delivery may not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// Not looked at, or with a worker.
    Pending,
    /// The same, and its route is paused.
    Paused,
    /// To be tried again.
    Waiting,
    /// A dead letter.
    Dead,
    /// No route takes it.
    Unrouted,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paused => "pending, paused",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Pending => Tone::Plain,
            Self::Paused | Self::Waiting => Tone::Warn,
            Self::Dead | Self::Unrouted => Tone::Bad,
        }
    }
}

/// Asks and prints.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let (facts, routes) = block_on(async { Ok((log.facts().await?, log.routes().await?)) })?;
    let stat = stat(facts, &routes, args.volumes);
    args.output.print(&stat, |stat| text(stat, now()))
}

fn stat(facts: LogView, routes: &[RouteStatus], with_volumes: bool) -> Stat {
    let mut held: Vec<Held> = routes
        .iter()
        .flat_map(|route| held_by(route, &facts.kept))
        .collect();
    let unrouted = facts.kept.iter();
    let unrouted = unrouted.filter(|kept| !routes.iter().any(|route| route.source == kept.source));
    held.extend(unrouted.map(|kept| Held {
        source: kept.source.clone(),
        route: None,
        reason: Reason::Unrouted,
        deliveries: kept.deliveries,
        bytes: kept.bytes,
        oldest: None,
    }));
    Stat {
        used_bytes: facts.used_bytes,
        free_bytes: facts.free_bytes,
        parts: facts.parts,
        sources: facts.kept,
        held,
        volumes: if with_volumes {
            facts.volumes
        } else {
            Vec::new()
        },
    }
}

/// What a route holds, by reason.
fn held_by(route: &RouteStatus, kept: &[KeptView]) -> impl Iterator<Item = Held> {
    let kept = kept.iter().find(|kept| kept.source == route.source);
    let (in_all, bytes) = kept.map_or((0, 0), |kept| (kept.deliveries, kept.bytes));
    let pending = if route.paused {
        Reason::Paused
    } else {
        Reason::Pending
    };
    let reasons = [
        // what is pending is counted coarsely, and may be of other sources
        (pending, (route.pending + route.open).min(in_all)),
        (Reason::Waiting, route.waiting),
        (Reason::Dead, route.dead),
    ];
    let (source, name, oldest) = (route.source.clone(), route.name.clone(), route.oldest);
    let there = reasons
        .into_iter()
        .filter(|(_, deliveries)| *deliveries > 0);
    there.map(move |(reason, deliveries)| Held {
        source: source.clone(),
        route: Some(name.clone()),
        reason,
        deliveries,
        bytes: share(bytes, deliveries, in_all),
        oldest: oldest.filter(|_| reason != Reason::Dead),
    })
}

/// `part` of `of` equal parts of `bytes`.
fn share(bytes: u64, part: u64, of: u64) -> u64 {
    let share = u128::from(bytes) * u128::from(part) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

fn text(stat: &Stat, now: Timestamp) -> String {
    let mut text = parts(stat);
    text += &format!("\n\n{}", sources(&stat.sources));
    if !stat.held.is_empty() {
        text += &format!("\n\n{}", held(&stat.held, now));
    }
    if !stat.volumes.is_empty() {
        text += &format!("\n\n{}", volumes(&stat.volumes));
    }
    text
}

fn parts(stat: &Stat) -> String {
    let mut sheet = Sheet::new(&["part", "bytes>"]);
    for part in &stat.parts {
        sheet.row([
            toned(&part.part, Tone::Plain),
            toned(bytes(part.bytes), Tone::Plain),
        ]);
    }
    for (what, value) in [("in all", stat.used_bytes), ("free", stat.free_bytes)] {
        if let Some(value) = value {
            sheet.row([toned(what, Tone::Plain), toned(bytes(value), Tone::Plain)]);
        }
    }
    sheet.text()
}

fn sources(kept: &[KeptView]) -> String {
    let mut sheet = Sheet::new(&["source", "deliveries>", "bytes>"]);
    for kept in kept {
        sheet.row([
            toned(&kept.source, Tone::Plain),
            toned(count(kept.deliveries), Tone::Plain),
            toned(bytes(kept.bytes), Tone::Plain),
        ]);
    }
    sheet.text()
}

fn held(held: &[Held], now: Timestamp) -> String {
    let mut sheet = Sheet::new(&[
        "held by",
        "source",
        "because",
        "deliveries>",
        "about>",
        "oldest>",
    ]);
    for held in held {
        let oldest = held
            .oldest
            .map_or(String::new(), |at| length(now.since(at)));
        sheet.row([
            toned(held.route.as_deref().unwrap_or("no route"), Tone::Plain),
            toned(&held.source, Tone::Plain),
            toned(held.reason.text(), held.reason.tone()),
            toned(count(held.deliveries), Tone::Plain),
            toned(bytes(held.bytes), Tone::Plain),
            toned(oldest, Tone::Plain),
        ]);
    }
    sheet.text()
}

fn volumes(volumes: &[VolumeView]) -> String {
    let mut sheet = Sheet::new(&[
        "volume>",
        "first>",
        "end>",
        "deliveries>",
        "bytes>",
        "state",
    ]);
    for volume in volumes {
        let deliveries = volume.kept.iter().map(|kept| kept.deliveries).sum();
        let state = match (volume.sealed, volume.rest, volume.going) {
            (false, _, _) => "being written",
            (true, _, true) => "being removed",
            (true, false, _) => "sealed",
            (true, true, _) => "carried over",
        };
        sheet.row([
            toned(count(volume.number), Tone::Plain),
            toned(count(volume.first), Tone::Plain),
            toned(count(volume.end), Tone::Plain),
            toned(count(deliveries), Tone::Plain),
            toned(bytes(volume.bytes), Tone::Plain),
            toned(state, Tone::Plain),
        ]);
    }
    sheet.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, paused: bool, counts: [u64; 3]) -> RouteStatus {
        RouteStatus {
            name: name.to_owned(),
            source: "github".to_owned(),
            destination: Some("d".to_owned()),
            paused,
            floor: 1,
            pending: counts[0],
            open: 0,
            waiting: counts[1],
            dead: counts[2],
            oldest: Some(Timestamp(5)),
            breaker: "closed".to_owned(),
            delivered: 0,
            unmatched: 0,
            epoch: 0,
        }
    }

    fn kept(source: &str, deliveries: u64, bytes: u64) -> KeptView {
        KeptView {
            source: source.to_owned(),
            deliveries,
            bytes,
            estimated_bytes: 0,
        }
    }

    #[test]
    fn what_a_route_holds_is_told_by_reason_and_about_how_much_it_is() {
        let all = [kept("github", 100, 10_000)];
        let held: Vec<Held> = held_by(&route("r", false, [40, 0, 3]), &all).collect();
        let found: Vec<_> = held
            .iter()
            .map(|h| (h.reason, h.deliveries, h.bytes, h.oldest))
            .collect();
        assert_eq!(
            found,
            [
                (Reason::Pending, 40, 4000, Some(Timestamp(5))),
                (Reason::Dead, 3, 300, None)
            ]
        );
        // counted coarsely: never more than there is
        let held: Vec<Held> = held_by(&route("r", true, [256, 1, 0]), &all).collect();
        let found: Vec<_> = held.iter().map(|h| (h.reason, h.deliveries)).collect();
        assert_eq!(found, [(Reason::Paused, 100), (Reason::Waiting, 1)]);
    }
}
