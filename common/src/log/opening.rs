//! What a start finds and makes good: block indexes, keys, cursors, new routes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::engine::{Change, Engine, EngineError, StateBatch};
use crate::ids::Offset;
use crate::log::account::{Account, Kept};
use crate::log::block::Index;
use crate::log::cursor::Cursor;
use crate::log::keys::{KeyMark, KeyTable, RunError, Runs};
use crate::log::lane::Lane;
use crate::log::shelf::Shelf;
use crate::log::spans::{Span, Spans, coarse};
use crate::log::state::{self, Place, RouteRecord};
use crate::log::{codec, operate};
use crate::time::Timestamp;

/// The highest offset that anything but the log itself remembers, and one more: below it no offset
/// is used again, even if the log has lost its tail. What waits or is dead is below its cursor.
///
/// # Errors
/// The engine's; damaged records.
pub fn remembered(engine: &dyn Engine, runs: Option<&Runs>) -> Result<Offset, EngineError> {
    let cursors = state::routes(engine)?
        .into_iter()
        .map(|(_, _, place)| place.cursor.next());
    let floors = routed_floors(engine)?.into_values();
    Ok(cursors
        .chain(floors)
        .chain(runs.map(Runs::end))
        .max()
        .unwrap_or(0))
}

/// The keys on disk, where the engine has one.
///
/// # Errors
/// The disk's.
pub fn open_runs(engine: &dyn Engine, keys_max: u64) -> Result<Option<Runs>, EngineError> {
    let Some(files) = engine.files() else {
        return Ok(None);
    };
    let (keys, aside) = (files.join("keys"), files.with_file_name("damaged"));
    let runs = Runs::open(&keys, &aside, keys_max, &engine.gaps()).map_err(keys_failed)?;
    Ok(Some(runs))
}

#[allow(clippy::needless_pass_by_value)]
fn keys_failed(error: RunError) -> EngineError {
    EngineError::Failed(error.to_string())
}

/// What the block indexes say.
pub struct Recovered {
    /// What is where.
    pub spans: Spans,
    /// Every source that is there.
    pub sources: BTreeSet<Arc<str>>,
    /// Keys that no run covers.
    pub keys: KeyTable,
    /// What each source has in each volume.
    pub account: Account,
}

/// Reads all block indexes: what is where, and the keys that no run covers yet. A volume whose
/// index cannot be read or found again is passed over: what it held is lost, the rest goes on.
///
/// # Errors
/// The engine's, but for damage.
pub fn recover(engine: &dyn Engine, runs: Option<&Runs>) -> Result<Recovered, EngineError> {
    let (mut spans, mut sources) = (Spans::default(), BTreeSet::new());
    let mut keys = Restoring::new(runs);
    let account = Account::default();
    // the index of a block may be there though the block is not: what it held may be sent again
    let gaps = engine.gaps();
    let is_lost = |at: Offset| gaps.iter().any(|gap| gap.first <= at && at <= gap.last);
    for volume in engine.volumes() {
        let entries = match engine.index(volume.number) {
            Err(EngineError::Damaged(why)) => {
                tracing::error!(
                    volume = volume.number,
                    why,
                    "its index is lost; passed over"
                );
                continue;
            }
            entries => entries?,
        };
        let mut left = Vec::new();
        let mut here: HashMap<String, Kept> = HashMap::new();
        for entry in entries {
            let Ok(index) = Index::decode(&entry.bytes) else {
                tracing::error!(first = entry.first, "index of a block is lost; passed over");
                continue;
            };
            if volume.rest {
                left.push(Span::of(&index));
            } else {
                spans.push(Span::of(&index));
            }
            for (source, kept) in index.kept(&entry) {
                match here.get_mut(source) {
                    Some(all) => *all += kept,
                    None => drop(here.insert(source.to_owned(), kept)),
                }
            }
            for source in &index.sources {
                if !sources.contains(source.as_str()) {
                    sources.insert(Arc::from(source.as_str()));
                }
            }
            for (offset, mark) in index.keys.iter().filter(|(offset, _)| !is_lost(*offset)) {
                keys.restore(*mark, *offset, index.received_max)?;
            }
        }
        spans.push_rest(coarse(left));
        for (source, kept) in here {
            account.add(volume.number, &source, kept);
        }
    }
    Ok(Recovered {
        spans,
        sources,
        keys: keys.finish()?,
        account,
    })
}

/// Keys on their way from the block indexes back into memory, or into runs where they are many.
struct Restoring<'a> {
    runs: Option<&'a Runs>,
    /// All keys from here on are in no run.
    covered: Offset,
    /// Of these.
    newest: KeyTable,
    /// What a run below was found not to hold: first and end.
    missing: Vec<(Offset, Offset)>,
    /// Of the stretch among these that ends here.
    refill: (KeyTable, Offset),
}

impl<'a> Restoring<'a> {
    fn new(runs: Option<&'a Runs>) -> Self {
        Self {
            runs,
            covered: runs.map_or(0, Runs::end),
            newest: KeyTable::default(),
            missing: runs.map_or(Vec::new(), |runs| runs.missing().to_vec()),
            refill: (KeyTable::default(), 0),
        }
    }

    fn restore(
        &mut self,
        mark: KeyMark,
        at: Offset,
        received: Timestamp,
    ) -> Result<(), EngineError> {
        let runs = self.runs;
        let in_runs = |key| runs.and_then(|runs| runs.get(key));
        if at >= self.covered {
            self.newest.restore(mark, at, received, in_runs);
            return write_full(runs, &mut self.newest, at + 1);
        }
        let stretch = self
            .missing
            .iter()
            .find(|(from, to)| *from <= at && at < *to);
        let Some(&(_, end)) = stretch else {
            return Ok(());
        };
        if end != self.refill.1 {
            self.end_refill()?;
            self.refill.1 = end;
        }
        let (table, _) = &mut self.refill;
        table.restore(mark, at, received, in_runs);
        write_full(runs, table, at + 1)
    }

    fn end_refill(&mut self) -> Result<(), EngineError> {
        let (table, end) = &mut self.refill;
        write_table(self.runs, table, *end, true)
    }

    fn finish(mut self) -> Result<KeyTable, EngineError> {
        self.end_refill()?;
        Ok(self.newest)
    }
}

fn write_full(runs: Option<&Runs>, table: &mut KeyTable, end: Offset) -> Result<(), EngineError> {
    write_table(runs, table, end, false)
}

/// Writes a table that is full, or any, as a run that covers all below `end`.
fn write_table(
    runs: Option<&Runs>,
    table: &mut KeyTable,
    end: Offset,
    any: bool,
) -> Result<(), EngineError> {
    let Some(runs) = runs else { return Ok(()) };
    if let Some(frozen) = table.freeze(end, any) {
        runs.write(&frozen).map_err(keys_failed)?;
        table.drop_covered(Offset::MAX);
    }
    Ok(())
}

/// Up to where sources without a route had one that was forgotten.
///
/// # Errors
/// The engine's; damaged records.
pub fn routed_floors(engine: &dyn Engine) -> Result<HashMap<String, Offset>, EngineError> {
    let mut floors = HashMap::new();
    for (key, value) in engine.scan(b"s", &state::end_of(b's'), usize::MAX)? {
        let floor = codec::from_slice(&value).map_err(|e| EngineError::Damaged(e.to_string()))?;
        floors.insert(String::from_utf8_lossy(&key[1..]).into_owned(), floor);
    }
    Ok(floors)
}

/// The number of the next record of an act.
///
/// # Errors
/// The engine's.
pub fn next_audit(engine: &dyn Engine) -> Result<u64, EngineError> {
    // audit numbers begin at the top and count down in keys, so that the newest is found first
    let first = engine.scan(b"a", &state::end_of(b'a'), 1)?;
    Ok(first
        .first()
        .map_or(0, |(key, _)| state::audit_number(key) + 1))
}

/// All routes: those that have a cursor, and the configured ones that get theirs now.
///
/// # Errors
/// The engine's; damaged records; a route that has changed its source.
pub fn open_lanes(
    engine: &dyn Engine,
    shelf: &Shelf,
    config: &Config,
    now: Duration,
) -> Result<Vec<Lane>, EngineError> {
    let mut configured: BTreeMap<&str, &config::Route> = config
        .routes
        .iter()
        .map(|route| (route.name.as_str(), route))
        .collect();
    let lost_max = config.log.lost_max;
    let state_lost = state_was_lost(engine, shelf)?;
    operate::finish_rename(engine)?;
    let known = state::routes(engine)?;
    let mut sources: BTreeSet<String> = known
        .iter()
        .map(|(_, record, _)| record.source.clone())
        .collect();
    let mut lanes = Vec::new();
    for (name, record, mut place) in known {
        operate::finish_rewind(engine, &name, &mut place)?;
        let route = configured.remove(name.as_str());
        if let Some(moved) = route.and_then(|route| moved(&record, route)) {
            return Err(EngineError::Unusable(moved));
        }
        if route.is_none() {
            tell_left(&name);
        }
        lanes.push(Lane::new(
            &name,
            record,
            place,
            route.cloned(),
            lost_max,
            now,
        ));
    }
    for route in config
        .routes
        .iter()
        .filter(|route| configured.contains_key(route.name.as_str()))
    {
        let first_of_source = sources.insert(route.source.clone()) || state_lost;
        lanes.push(begin_lane(
            engine,
            shelf,
            route,
            first_of_source,
            lost_max,
            now,
        )?);
    }
    Ok(lanes)
}

/// Why a route cannot be that of a record, if its source is another one.
pub fn moved(record: &RouteRecord, route: &config::Route) -> Option<String> {
    let (name, was, is) = (&route.name, &record.source, &route.source);
    (was != is).then(|| {
        format!(
            "route `{name}` was of source `{was}` and is now of `{is}`: a route's name is its identity; give it another name"
        )
    })
}

/// Says that a route has left the configuration.
pub fn tell_left(route: &str) {
    tracing::warn!(
        route,
        "this route is not configured any more; its cursor is kept until it is forgotten or renamed"
    );
}

/// Whether the log holds deliveries but the state store has forgotten that it ever was one. Then no
/// route can know what it had delivered, and starting anew "now" would pass over what it had not.
fn state_was_lost(engine: &dyn Engine, shelf: &Shelf) -> Result<bool, EngineError> {
    let known = engine.get(state::MARK)?.is_some();
    let lost = !known && !engine.opened().created && shelf.spans().first().is_some();
    if lost {
        tracing::error!(
            "the state store was lost: every route starts at the beginning again, \
             and delivers again what it had delivered"
        );
    }
    if !known {
        let mark = Change::Put(state::MARK.to_vec(), Vec::new());
        engine.commit(&StateBatch(vec![mark]))?;
    }
    Ok(lost)
}

/// A lane for a route that has no cursor yet: it gets one, durably.
///
/// # Errors
/// The engine's.
pub fn begin_lane(
    engine: &dyn Engine,
    shelf: &Shelf,
    route: &config::Route,
    first_of_source: bool,
    lost_max: u32,
    now: Duration,
) -> Result<Lane, EngineError> {
    let beginning = match route.start {
        Some(start) => start == config::Start::Beginning,
        None => first_of_source,
    };
    let next = if beginning { 0 } else { shelf.height() };
    let record = RouteRecord {
        source: route.source.clone(),
        paused: false,
        epoch: 0,
    };
    let place = Place {
        waiting: 0,
        dead: 0,
        cursor: Cursor::at(next),
    };
    operate::clear(engine, &route.name)?;
    let batch = StateBatch(vec![
        Change::Put(state::route_key(&route.name), state::encoded(&record)),
        Change::Put(state::place_key(&route.name), place.encode()),
    ]);
    engine.commit(&batch)?;
    tracing::info!(route = route.name, from = next, "a new route begins");
    Ok(Lane::new(
        &route.name,
        record,
        place,
        Some(route.clone()),
        lost_max,
        now,
    ))
}
