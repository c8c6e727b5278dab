//! `creel tail`: deliveries and what becomes of them, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use creel_common::ids::Offset;
use creel_common::log::{Find, Found, Operate, OperateError, Page, Standing};
use creel_common::time::Timestamp;
use serde::Serialize;

use crate::commands::deliveries::{Filter, Word, now};
use crate::commands::{block_on, connect::Connect};
use crate::output::{BAD, DIM, GOOD, Output, WARN, bytes, paint, plain, relative, short};
use crate::settings::Global;

/// Follow new deliveries and their outcomes
///
/// Prints a line for each delivery that comes in, and one for each change of where it stands on a
/// route, until interrupted. With --json, one object per line. It looks once in a while
/// (--every), so a state that lasts shorter may be skipped; nothing is skipped for good.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Show the last N deliveries first
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    last: u32,
    /// Milliseconds between looks
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    every: u64,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    connect: Connect,
}

/// Deliveries whose outcome is still awaited; older ones are no longer watched.
const WATCHED_MAX: usize = 500;

/// Follows until interrupted.
pub fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let log = args.connect.open(global)?;
    block_on(async {
        tokio::select! {
            ended = follow(&log, args) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Delivery {
        id: String,
        source: String,
        event_type: Option<String>,
        received_at: Timestamp,
        body_bytes: u64,
        routes: Vec<String>,
    },
    Standing {
        id: String,
        route: String,
        standing: Standing,
    },
}

/// What was last said of the deliveries that are watched.
struct Watch {
    seen: BTreeMap<Offset, Vec<(String, Standing)>>,
    next: Offset,
}

async fn follow(log: &dyn Operate, args: &Args) -> anyhow::Result<()> {
    let mut watch = begin(log, args).await?;
    let mut complained = false;
    loop {
        match look(log, args, &mut watch).await {
            Ok(()) => complained = false,
            Err(error) if out_of_reach(&error) => {
                if !complained {
                    tracing::warn!(%error, "the receiver does not answer; trying on");
                }
                complained = true;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(args.every)).await;
    }
}

fn out_of_reach(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<OperateError>(),
        Some(OperateError::Unavailable(_))
    )
}

/// Prints the last few, oldest of them first, and finds where to go on.
async fn begin(log: &dyn Operate, args: &Args) -> anyhow::Result<Watch> {
    let find = Find {
        newest: true,
        limit: args.last.max(1),
        ..args.filter.find(now())
    };
    let page = log.find(find).await?;
    let mut watch = Watch {
        seen: BTreeMap::new(),
        next: page.items.first().map_or(1, |found| found.id.offset + 1),
    };
    let last = usize::try_from(args.last).unwrap_or(usize::MAX);
    for found in page.items.into_iter().take(last).rev() {
        tell(args, &mut watch, found)?;
    }
    Ok(watch)
}

async fn look(log: &dyn Operate, args: &Args, watch: &mut Watch) -> anyhow::Result<()> {
    for offset in unsettled(watch) {
        let find = Find {
            from: Some(offset),
            limit: 1,
            ..Find::default()
        };
        let page = log.find(find).await?;
        match page
            .items
            .into_iter()
            .next()
            .filter(|f| f.id.offset == offset)
        {
            Some(found) => tell_standings(args, watch, &found)?,
            None => {
                watch.seen.remove(&offset);
            }
        }
    }
    loop {
        let Page { items, next } = log
            .find(Find {
                from: Some(watch.next),
                limit: 200,
                ..args.filter.find(now())
            })
            .await?;
        for found in items {
            watch.next = watch.next.max(found.id.offset + 1);
            tell(args, watch, found)?;
        }
        match next {
            Some(next) => watch.next = watch.next.max(next),
            None => return Ok(()),
        }
    }
}

fn unsettled(watch: &Watch) -> Vec<Offset> {
    watch.seen.keys().copied().collect()
}

fn over(standing: &Standing) -> bool {
    matches!(standing, Standing::Settled | Standing::Dead { .. })
}

fn tell(args: &Args, watch: &mut Watch, found: Found) -> anyhow::Result<()> {
    let envelope = &found.delivery.envelope;
    let line = Line::Delivery {
        id: found.id.to_string(),
        source: envelope.source.clone(),
        event_type: envelope.event_type.clone(),
        received_at: envelope.received_at,
        body_bytes: found.body_bytes,
        routes: found
            .standings
            .iter()
            .map(|(route, _)| route.clone())
            .collect(),
    };
    args.output.stream(&line, text)?;
    watch.seen.insert(found.id.offset, Vec::new());
    tell_standings(args, watch, &found)?;
    while watch.seen.len() > WATCHED_MAX {
        watch.seen.pop_first();
    }
    Ok(())
}

fn tell_standings(args: &Args, watch: &mut Watch, found: &Found) -> anyhow::Result<()> {
    let said = watch.seen.remove(&found.id.offset).unwrap_or_default();
    for (route, standing) in &found.standings {
        let news = !said.iter().any(|(r, s)| r == route && s == standing);
        if news && *standing != Standing::Pending {
            let line = Line::Standing {
                id: found.id.to_string(),
                route: route.clone(),
                standing: standing.clone(),
            };
            args.output.stream(&line, text)?;
        }
    }
    if !found.standings.iter().all(|(_, standing)| over(standing)) {
        watch.seen.insert(found.id.offset, found.standings.clone());
    }
    Ok(())
}

fn text(line: &Line) -> String {
    match line {
        Line::Delivery {
            id,
            source,
            event_type,
            received_at,
            body_bytes,
            ..
        } => format!(
            "{received_at}  {id}  {}  {}  {}",
            plain(source),
            short(event_type.as_deref().unwrap_or("-"), 40),
            paint(DIM, &bytes(*body_bytes)),
        ),
        Line::Standing {
            id,
            route,
            standing,
        } => standing_text(id, route, standing, now()),
    }
}

fn standing_text(id: &str, route: &str, standing: &Standing, now: Timestamp) -> String {
    let (colour, note) = match standing {
        Standing::Settled => (GOOD, String::new()),
        Standing::Dead { reason, .. } => (BAD, format!(": {}", short(reason, 100))),
        Standing::Waiting { due, attempts } => (
            WARN,
            format!(" after {attempts} failed, again {}", relative(*due, now)),
        ),
        Standing::Open { .. } | Standing::Pending => (DIM, String::new()),
    };
    let word = paint(colour, standing.word());
    format!("{now}  {id}  {} {word}{note}", plain(route))
}
