//! `creel undelivered`: is anything not where it should be?

use creel_common::log::remote::RemoteLog;
use creel_common::log::{Find, Operate, PAGE_MAX, RouteStatus};
use creel_common::time::Timestamp;
use serde::Serialize;

use crate::commands::connect::Connect;
use crate::commands::{block_on, deliveries::now};
use crate::failure::said;
use crate::output::{Output, Sheet, Tone, count, length, toned};
use crate::settings::Global;

/// Show what has not been delivered, per route
///
/// Pending is not looked at yet, open is with a worker now, waiting will be tried again, dead
/// will not unless you say so (`creel dead reprocess`). Exits with 1 when anything is
/// undelivered and with 0 when nothing is, so that scripts can ask.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Deliveries of a source without a route that are counted one by one.
const UNROUTED_MAX: u64 = 100_000;

#[derive(Debug, Serialize)]
struct Undelivered {
    undelivered: u64,
    routes: Vec<Row>,
    unrouted: Vec<Unrouted>,
}

/// A source that no route takes: its deliveries are kept until one does.
#[derive(Debug, Serialize)]
struct Unrouted {
    source: String,
    deliveries: u64,
    /// There are more than were counted.
    more: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    route: String,
    source: String,
    destination: Option<String>,
    paused: bool,
    breaker: String,
    pending: u64,
    open: u64,
    waiting: u64,
    dead: u64,
    oldest: Option<Timestamp>,
}

impl From<RouteStatus> for Row {
    fn from(route: RouteStatus) -> Self {
        Self {
            route: route.name,
            source: route.source,
            destination: route.destination,
            paused: route.paused,
            breaker: route.breaker,
            pending: route.pending,
            open: route.open,
            waiting: route.waiting,
            dead: route.dead,
            oldest: route.oldest,
        }
    }
}

impl Row {
    fn total(&self) -> u64 {
        self.pending + self.open + self.waiting + self.dead
    }
}

/// Counts and prints; exit code 1 when anything is undelivered.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    let (routes, unrouted) = block_on(async {
        let routes = log.routes().await?;
        let unrouted = unrouted(&log, &routes).await?;
        Ok((routes, unrouted))
    })?;
    let routes: Vec<Row> = routes.into_iter().map(Row::from).collect();
    let found = Undelivered {
        undelivered: routes.iter().map(Row::total).sum::<u64>()
            + unrouted.iter().map(|source| source.deliveries).sum::<u64>(),
        routes,
        unrouted,
    };
    args.output.print(&found, |found| table(found, now()))?;
    if found.undelivered > 0 {
        return Err(said());
    }
    Ok(())
}

async fn unrouted(log: &RemoteLog, routes: &[RouteStatus]) -> anyhow::Result<Vec<Unrouted>> {
    let mut all = Vec::new();
    // of the log, not of the configuration, which a source may have left
    for source in log.facts().await?.sources {
        if routes.iter().any(|route| route.source == source) {
            continue;
        }
        let (deliveries, more) = deliveries_of(log, &source).await?;
        if deliveries > 0 {
            all.push(Unrouted {
                source,
                deliveries,
                more,
            });
        }
    }
    Ok(all)
}

async fn deliveries_of(log: &RemoteLog, source: &str) -> anyhow::Result<(u64, bool)> {
    let mut found = 0;
    let mut from = None;
    loop {
        let page = log
            .find(Find {
                source: Some(source.to_owned()),
                from,
                limit: PAGE_MAX,
                ..Find::default()
            })
            .await?;
        found += page.items.len() as u64;
        from = page.next;
        if from.is_none() || found >= UNROUTED_MAX {
            return Ok((found, from.is_some()));
        }
    }
}

fn table(found: &Undelivered, now: Timestamp) -> String {
    let mut sheet = Sheet::new(&[
        "route", "pending>", "open>", "waiting>", "dead>", "oldest>", "state",
    ]);
    for row in &found.routes {
        sheet.row([
            toned(&row.route, Tone::Plain),
            toned(count(row.pending), Tone::Plain),
            toned(count(row.open), Tone::Plain),
            toned(count(row.waiting), tone(row.waiting, Tone::Warn)),
            toned(count(row.dead), tone(row.dead, Tone::Bad)),
            toned(
                row.oldest.map_or(String::new(), |at| length(now.since(at))),
                Tone::Plain,
            ),
            toned(state(row), Tone::Plain),
        ]);
    }
    let mut text = sheet.text();
    for source in &found.unrouted {
        let number = count(source.deliveries);
        let number = if source.more {
            format!("{number} or more")
        } else {
            number
        };
        text += &format!(
            "\n{}: {number} unrouted, kept until a route takes them",
            source.source
        );
    }
    match found.undelivered {
        0 => format!("{text}\n\neverything is delivered"),
        n => format!("{text}\n\n{} undelivered", count(n)),
    }
}

fn tone(number: u64, tone: Tone) -> Tone {
    if number == 0 { Tone::Plain } else { tone }
}

fn state(row: &Row) -> &str {
    match (row.destination.is_none(), row.paused, row.breaker.as_str()) {
        (true, ..) => "not configured",
        (_, true, _) => "paused",
        (.., "closed") => "running",
        (.., "open") => "breaker open",
        (.., other) => other,
    }
}
