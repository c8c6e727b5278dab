//! Looking at the log: deliveries and dead letters, a bounded page at a time.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::delivery::Delivery;
use crate::engine::{Engine, EngineError};
use crate::ids::{DeliveryId, LogId, Offset};
use crate::log::codec;
use crate::log::shelf::Shelf;
use crate::log::spans::source_bit;
use crate::log::state::{self, DeadRecord};
use crate::log::{CHANGE_MAX, DeadLetter, Find, PAGE_DEFAULT, PAGE_MAX, Page, Selection};

/// Most deliveries looked at for one page; then the page ends early and says where to go on.
const LOOK_MAX: usize = 100_000;
/// Dead letters read from the state store at once.
const DEAD_READ: usize = 1000;

/// A page of records that match, as offsets and records.
///
/// # Errors
/// The engine's.
pub fn records(shelf: &Shelf, find: &Find) -> Result<Page<(Offset, Bytes)>, EngineError> {
    if find.newest {
        backward(shelf, find)
    } else {
        forward(shelf, find)
    }
}

fn limit(find: &Find) -> usize {
    match find.limit {
        0 => PAGE_DEFAULT as usize,
        limit => limit.min(PAGE_MAX) as usize,
    }
}

fn mask(find: &Find) -> u64 {
    find.source.as_deref().map_or(u64::MAX, source_bit)
}

fn wanted(find: &Find, record: &[u8]) -> bool {
    let Ok(envelope) = codec::envelope(record) else {
        return false;
    };
    find.source
        .as_deref()
        .is_none_or(|source| source == envelope.source)
        && find
            .event
            .as_deref()
            .is_none_or(|event| envelope.event_type == Some(event))
        && find.since.is_none_or(|since| envelope.received_at >= since)
        && find.until.is_none_or(|until| envelope.received_at < until)
}

fn forward(shelf: &Shelf, find: &Find) -> Result<Page<(Offset, Bytes)>, EngineError> {
    let from = match (find.from, find.since) {
        (Some(from), _) => from,
        (None, Some(since)) => shelf.spans().first_since(since).unwrap_or(shelf.height()),
        (None, None) => 0,
    };
    let (limit, mut looked_at, mut items) = (limit(find), 0, Vec::new());
    let scanned = shelf.scan(from, mask(find), &mut |offset, block| {
        looked_at += 1;
        if let Some(record) = block.record(offset).filter(|record| wanted(find, record)) {
            items.push((offset, record));
        }
        let full = items.len() >= limit || looked_at >= LOOK_MAX;
        if full {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    let next = (scanned.next < shelf.height()).then_some(scanned.next);
    Ok(Page { items, next })
}

/// Newest first: `find.from` is one past the offset to begin with.
fn backward(shelf: &Shelf, find: &Find) -> Result<Page<(Offset, Bytes)>, EngineError> {
    let (limit, mut looked_at, mut items) = (limit(find), 0, Vec::new());
    let mut below = find.from.unwrap_or(Offset::MAX).min(shelf.height());
    while items.len() < limit && looked_at < LOOK_MAX {
        let Some(span) = shelf.spans().last_below(below) else {
            return Ok(Page { items, next: None });
        };
        let mut found = Vec::new();
        if span.sources & mask(find) != 0 {
            shelf.scan(span.first, u64::MAX, &mut |offset, block| {
                if offset >= span.end {
                    return ControlFlow::Break(());
                }
                looked_at += 1;
                found.extend(
                    block
                        .record(offset)
                        .filter(|r| wanted(find, r))
                        .map(|r| (offset, r)),
                );
                ControlFlow::Continue(())
            })?;
        }
        found.reverse();
        let room = limit - items.len();
        below = if found.len() > room {
            found[room - 1].0
        } else {
            span.first
        };
        items.extend(found.into_iter().take(room));
    }
    Ok(Page {
        items,
        next: Some(below),
    })
}

/// Decodes a record for people; the body is left out unless wanted.
///
/// # Errors
/// When it is no record.
pub fn delivery(record: &Bytes, with_body: bool) -> Result<(Delivery, u64), EngineError> {
    let mut delivery = codec::decode(record).map_err(|e| EngineError::Damaged(e.to_string()))?;
    let body_bytes = delivery.body.len() as u64;
    if !with_body {
        delivery.body = Bytes::new();
    }
    Ok((delivery, body_bytes))
}

/// A page of dead letters of some routes, by offset.
///
/// # Errors
/// The engine's.
pub fn dead(
    engine: &dyn Engine,
    log: LogId,
    routes: &[String],
    find: &Find,
) -> Result<Page<DeadLetter>, EngineError> {
    let limit = limit(find);
    let mut letters: Vec<(Offset, DeadLetter)> = Vec::new();
    for route in routes {
        let mut from = find.from.unwrap_or(0);
        let mut found = 0;
        while found <= limit {
            let page = state::dead(engine, route, (from, Offset::MAX), DEAD_READ)?;
            let Some((last, _)) = page.last() else { break };
            from = last + 1;
            let matching = page
                .into_iter()
                .filter(|(_, letter)| dead_wanted(find, letter));
            for (offset, record) in matching {
                letters.push((offset, letter(log, route, offset, record)));
                found += 1;
            }
        }
    }
    letters.sort_by_key(|(offset, _)| *offset);
    let next = page_end(&letters, limit);
    let within = |offset: &Offset| next.is_none_or(|next| *offset < next);
    let items = letters
        .into_iter()
        .filter(|(offset, _)| within(offset))
        .map(|(_, letter)| letter)
        .collect();
    Ok(Page { items, next })
}

/// Where the page after `limit` letters begins; letters of one offset stay together.
fn page_end(letters: &[(Offset, DeadLetter)], limit: usize) -> Option<Offset> {
    let over = letters.get(limit)?.0;
    let first = letters.first()?.0;
    // more letters at one offset than fit on a page: they are one page all the same
    Some(if over == first { over + 1 } else { over })
}

fn dead_wanted(find: &Find, letter: &DeadRecord) -> bool {
    find.source
        .as_ref()
        .is_none_or(|source| *source == letter.source)
        && (find.event.is_none() || find.event == letter.event_type)
        && find.since.is_none_or(|since| letter.died_at >= since)
        && find.until.is_none_or(|until| letter.died_at < until)
}

fn letter(log: LogId, route: &str, offset: Offset, record: DeadRecord) -> DeadLetter {
    DeadLetter {
        id: DeliveryId { log, offset },
        route: route.to_owned(),
        source: record.source,
        event_type: record.event_type,
        received_at: record.received_at,
        died_at: record.died_at,
        attempts: record.attempts,
        reason: record.reason,
        status: record.status,
    }
}

/// Dead letters that a selection means, at most its limit, and whether there are more.
///
/// # Errors
/// The engine's.
pub fn select(
    engine: &dyn Engine,
    routes: &[String],
    which: &Selection,
) -> Result<(Vec<(String, Offset)>, bool), EngineError> {
    let limit = match which.limit {
        _ if which.dry_run => usize::MAX,
        0 => CHANGE_MAX as usize,
        limit => limit.min(CHANGE_MAX) as usize,
    };
    let mut chosen = Vec::new();
    for route in routes
        .iter()
        .filter(|route| which.route.as_ref().is_none_or(|only| only == *route))
    {
        let mut from = 0;
        loop {
            let page = candidates(engine, route, from, which)?;
            let Some((last, _)) = page.last() else { break };
            from = last + 1;
            for (offset, letter) in page {
                if !selected(which, &letter) {
                    continue;
                }
                if chosen.len() == limit {
                    return Ok((chosen, true));
                }
                chosen.push((route.clone(), offset));
            }
        }
    }
    Ok((chosen, false))
}

fn candidates(
    engine: &dyn Engine,
    route: &str,
    from: Offset,
    which: &Selection,
) -> Result<Vec<(Offset, DeadRecord)>, EngineError> {
    if which.ids.is_empty() {
        return state::dead(engine, route, (from, Offset::MAX), DEAD_READ);
    }
    let mut offsets: Vec<Offset> = which
        .ids
        .iter()
        .map(|id| id.offset)
        .filter(|o| *o >= from)
        .collect();
    offsets.sort_unstable();
    offsets.dedup();
    let mut found = Vec::new();
    for offset in offsets {
        found.extend(state::dead_at(engine, route, offset)?.map(|letter| (offset, letter)));
    }
    Ok(found)
}

fn selected(which: &Selection, letter: &DeadRecord) -> bool {
    which
        .source
        .as_ref()
        .is_none_or(|source| *source == letter.source)
        && (which.event.is_none() || which.event == letter.event_type)
        && which.since.is_none_or(|since| letter.died_at >= since)
        && which.until.is_none_or(|until| letter.died_at < until)
        && which
            .status
            .is_none_or(|status| letter.status == Some(status))
        && which
            .reason
            .as_ref()
            .is_none_or(|part| letter.reason.contains(part))
}
