//! What the state store holds: its keys and records.
//!
//! ```text
//! r route                 RouteRecord
//! c route                 counts and cursor
//! w route 0 due offset    WaitingRecord         in order of due time
//! o route 0 offset        due                   to find a waiting entry by its offset
//! d route 0 offset        DeadRecord
//! k source 0 secret       SecretUse             how often it verified, and when last
//! s source                below this offset the source is not unrouted
//! m                       there since the log was made
//! n                       Renaming              while a route is being renamed
//! a number, counting down  Audit
//! ```

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineError, StateBatch};
use crate::ids::Offset;
use crate::log::codec;
use crate::log::cursor::Cursor;
use crate::time::Timestamp;

/// There from the log's first start on: a store without it has been lost.
pub const MARK: &[u8] = b"m";

/// The rename that is under way.
pub const RENAMING: &[u8] = b"n";

/// Longest reason that is kept with a dead letter.
pub const REASON_BYTES_MAX: usize = 512;

/// A route that has a cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// Its source.
    pub source: String,
    /// No new leases.
    pub paused: bool,
    /// How often it was rewound.
    pub epoch: u32,
}

/// A delivery to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingRecord {
    /// Tries used up.
    pub attempts: u32,
    /// Of these, lost.
    pub lost: u32,
    /// How often it was reprocessed.
    pub generation: u32,
    /// When it was received.
    pub received_at: Timestamp,
}

/// A dead letter; its body stays in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRecord {
    /// When it died.
    pub died_at: Timestamp,
    /// Tries used up.
    pub attempts: u32,
    /// Why, at most [`REASON_BYTES_MAX`].
    pub reason: String,
    /// The last status.
    pub status: Option<u16>,
    /// Its source.
    pub source: String,
    /// Its event type.
    pub event_type: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
    /// How often it was reprocessed.
    pub generation: u32,
}

/// How often a secret of a source has verified a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseRecord {
    /// How often.
    pub count: u64,
    /// When last.
    pub last: Option<Timestamp>,
    /// It is counted since.
    pub since: Timestamp,
}

/// A rename of a route, from its first step to its last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renaming {
    /// The name it had.
    pub from: String,
    /// The name it gets.
    pub to: String,
}

/// How far a route is, with what it left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Waiting entries.
    pub waiting: u64,
    /// Dead letters.
    pub dead: u64,
    /// The cursor.
    pub cursor: Cursor,
}

impl Place {
    /// The record that is kept.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.waiting.to_le_bytes());
        out.extend_from_slice(&self.dead.to_le_bytes());
        out.extend_from_slice(&self.cursor.encode());
        out
    }

    /// Reads a record back; `None` when it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (waiting, rest) = bytes.split_first_chunk::<8>()?;
        let (dead, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            waiting: u64::from_le_bytes(*waiting),
            dead: u64::from_le_bytes(*dead),
            cursor: Cursor::decode(rest)?,
        })
    }
}

fn key(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 20);
    key.push(kind);
    key.extend_from_slice(name.as_bytes());
    key
}

fn placed(kind: u8, name: &str, numbers: &[u64]) -> Vec<u8> {
    let mut key = key(kind, name);
    key.push(0);
    for number in numbers {
        key.extend_from_slice(&number.to_be_bytes());
    }
    key
}

/// Key of a [`RouteRecord`].
pub fn route_key(route: &str) -> Vec<u8> {
    key(b'r', route)
}

/// Key of a [`Place`].
pub fn place_key(route: &str) -> Vec<u8> {
    key(b'c', route)
}

/// Key of a [`WaitingRecord`].
pub fn waiting_key(route: &str, due: Timestamp, offset: Offset) -> Vec<u8> {
    placed(b'w', route, &[due.millis(), offset])
}

/// Key under which a waiting entry's due time is found by its offset.
pub fn due_key(route: &str, offset: Offset) -> Vec<u8> {
    placed(b'o', route, &[offset])
}

/// Key of a [`DeadRecord`].
pub fn dead_key(route: &str, offset: Offset) -> Vec<u8> {
    placed(b'd', route, &[offset])
}

/// The offset of a delivery that is waiting or dead, by the key of its entry.
pub fn offset_left(key: &[u8]) -> Option<Offset> {
    matches!(key.first(), Some(b'o' | b'd')).then(|| last_number(key))
}

/// Key of a source's routed floor.
pub fn source_key(source: &str) -> Vec<u8> {
    key(b's', source)
}

/// Key of a [`UseRecord`].
pub fn use_key(source: &str, secret: &str) -> Vec<u8> {
    let mut key = placed(b'k', source, &[]);
    key.extend_from_slice(secret.as_bytes());
    key
}

/// How often the secrets of sources have verified, by source and secret.
///
/// # Errors
/// The engine's.
pub fn uses(engine: &dyn Engine) -> Result<Vec<(String, String, UseRecord)>, EngineError> {
    let entries = engine.scan(b"k", &end_of(b'k'), usize::MAX)?;
    // nothing depends on a count: one that cannot be read begins anew
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let text = String::from_utf8_lossy(&key[1..]).into_owned();
        let (source, secret) = text.split_once('\0')?;
        let record = codec::from_slice(&value).ok()?;
        Some((source.to_owned(), secret.to_owned(), record))
    };
    Ok(entries.into_iter().filter_map(read).collect())
}

/// Key of an audit record: numbers grow, keys shrink, so that the newest is found first.
pub fn audit_key(number: u64) -> Vec<u8> {
    let mut key = vec![b'a'];
    key.extend_from_slice(&(u64::MAX - number).to_be_bytes());
    key
}

/// The number in an audit key.
pub fn audit_number(key: &[u8]) -> u64 {
    u64::MAX - last_number(key)
}

/// One past the last key of a kind.
pub fn end_of(kind: u8) -> Vec<u8> {
    vec![kind + 1]
}

/// One past the last key of a kind and route.
fn end_of_route(kind: u8, route: &str) -> Vec<u8> {
    let mut key = key(kind, route);
    key.push(1);
    key
}

fn last_number(key: &[u8]) -> u64 {
    key.last_chunk::<8>()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn decoded<T: serde::de::DeserializeOwned>(value: &[u8], what: &str) -> Result<T, EngineError> {
    codec::from_slice(value).map_err(|e| EngineError::Damaged(format!("{what}: {e}")))
}

/// Encodes a record of the state store.
pub fn encoded<T: Serialize>(record: &T) -> Vec<u8> {
    codec::to_bytes(record).expect("state records are bounded far below the codec's limit")
}

/// The rename that is under way.
///
/// # Errors
/// The engine's; a damaged record.
pub fn renaming(engine: &dyn Engine) -> Result<Option<Renaming>, EngineError> {
    let value = engine.get(RENAMING)?;
    value
        .map(|value| decoded(&value, "record of a rename"))
        .transpose()
}

/// All routes that have a cursor.
///
/// # Errors
/// The engine's; damaged records.
pub fn routes(engine: &dyn Engine) -> Result<Vec<(String, RouteRecord, Place)>, EngineError> {
    let mut found = Vec::new();
    for (key, value) in engine.scan(b"r", &end_of(b'r'), usize::MAX)? {
        let name = String::from_utf8_lossy(&key[1..]).into_owned();
        let record: RouteRecord = decoded(&value, "route record")?;
        let place = engine
            .get(&place_key(&name))?
            .and_then(|bytes| Place::decode(&bytes));
        let place = place.ok_or_else(|| EngineError::Damaged(format!("cursor of route {name}")))?;
        found.push((name, record, place));
    }
    Ok(found)
}

/// The waiting entries of a route that are due first.
///
/// # Errors
/// The engine's; damaged records.
pub fn waiting(
    engine: &dyn Engine,
    route: &str,
    limit: usize,
) -> Result<Vec<(Timestamp, Offset, WaitingRecord)>, EngineError> {
    let entries = engine.scan(&placed(b'w', route, &[]), &end_of_route(b'w', route), limit)?;
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        let due = last_number(&key[..key.len() - 8]);
        Ok((
            Timestamp(due),
            last_number(&key),
            decoded(&value, "waiting record")?,
        ))
    };
    entries.into_iter().map(read).collect()
}

/// When the waiting entry at an offset is due, and the entry.
///
/// # Errors
/// The engine's; damaged records.
pub fn waiting_at(
    engine: &dyn Engine,
    route: &str,
    offset: Offset,
) -> Result<Option<(Timestamp, WaitingRecord)>, EngineError> {
    let Some(due) = engine.get(&due_key(route, offset))? else {
        return Ok(None);
    };
    let due = Timestamp(decoded(&due, "due time")?);
    let value = engine.get(&waiting_key(route, due, offset))?;
    value
        .map(|value| Ok((due, decoded(&value, "waiting record")?)))
        .transpose()
}

/// Offsets of waiting entries of a route at or after `from` and below `to`, in order.
///
/// # Errors
/// The engine's; damaged records.
pub fn waiting_offsets(
    engine: &dyn Engine,
    route: &str,
    (from, to): (Offset, Offset),
    limit: usize,
) -> Result<Vec<(Offset, Timestamp)>, EngineError> {
    let entries = engine.scan(&due_key(route, from), &due_key(route, to), limit)?;
    let read = |(key, value): (Vec<u8>, Vec<u8>)| {
        Ok((last_number(&key), Timestamp(decoded(&value, "due time")?)))
    };
    entries.into_iter().map(read).collect()
}

/// Dead letters of a route at or after `from` and below `to`, in order of offset.
///
/// # Errors
/// The engine's; damaged records.
pub fn dead(
    engine: &dyn Engine,
    route: &str,
    (from, to): (Offset, Offset),
    limit: usize,
) -> Result<Vec<(Offset, DeadRecord)>, EngineError> {
    let entries = engine.scan(&dead_key(route, from), &dead_key(route, to), limit)?;
    let read =
        |(key, value): (Vec<u8>, Vec<u8>)| Ok((last_number(&key), decoded(&value, "dead letter")?));
    entries.into_iter().map(read).collect()
}

/// The dead letter at an offset.
///
/// # Errors
/// The engine's; damaged records.
pub fn dead_at(
    engine: &dyn Engine,
    route: &str,
    offset: Offset,
) -> Result<Option<DeadRecord>, EngineError> {
    let value = engine.get(&dead_key(route, offset))?;
    value
        .map(|value| decoded(&value, "dead letter"))
        .transpose()
}

/// Adds a waiting entry to a batch.
pub fn put_waiting(
    batch: &mut StateBatch,
    route: &str,
    (due, offset): (Timestamp, Offset),
    record: &WaitingRecord,
) {
    batch.put(waiting_key(route, due, offset), encoded(record));
    batch.put(due_key(route, offset), encoded(&due.millis()));
}

/// Removes a waiting entry in a batch.
pub fn remove_waiting(batch: &mut StateBatch, route: &str, (due, offset): (Timestamp, Offset)) {
    batch.remove(waiting_key(route, due, offset));
    batch.remove(due_key(route, offset));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_keys_sort_by_due_time_then_offset() {
        let keys = [
            waiting_key("a", Timestamp(1), 900),
            waiting_key("a", Timestamp(2), 5),
            waiting_key("a", Timestamp(2), 6),
            waiting_key("a", Timestamp(300), 1),
        ];
        assert!(keys.is_sorted());
        assert!(keys.iter().all(|key| *key < end_of_route(b'w', "a")));
    }

    #[test]
    fn one_routes_keys_are_not_among_anothers() {
        let other = waiting_key("a-b", Timestamp(1), 1);
        assert!(!(placed(b'w', "a", &[])..end_of_route(b'w', "a")).contains(&other));
        assert!(!(placed(b'w', "a.b", &[])..end_of_route(b'w', "a.b")).contains(&other));
    }

    #[test]
    fn uses_of_secrets_read_back_by_source_and_secret() {
        let settings = crate::engine::memory::MemorySettings::default();
        let engine = crate::engine::memory::MemoryEngine::new(settings, 1);
        let record = UseRecord {
            count: 3,
            last: Some(Timestamp(9)),
            since: Timestamp(1),
        };
        let mut batch = StateBatch::default();
        batch.put(use_key("gh", "a/b c"), encoded(&record));
        engine.commit(&batch).unwrap();
        let found = uses(&engine).unwrap();
        assert_eq!(found, [("gh".to_owned(), "a/b c".to_owned(), record)]);
    }

    #[test]
    fn a_place_reads_back() {
        let place = Place {
            waiting: 3,
            dead: 4,
            cursor: Cursor::at(77),
        };
        assert_eq!(Place::decode(&place.encode()), Some(place));
        assert_eq!(Place::decode(b"short"), None);
    }
}
