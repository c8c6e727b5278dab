//! What a verified request says about its event: id, type, items, and the key
//! by which a repetition is recognised.

use sha2::{Digest, Sha256};

use super::check::Proof;
use super::pipeline::Pipeline;
use super::reason::Reason;
use super::request::View;
use super::scheme::Event;
use creel_common::json;

/// Longer ids and types are taken for none.
const TEXT_BYTES_MAX: usize = 1024;
const ITEMS_MAX: usize = 10_000;

/// By what a delivery is recognised when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    pub key: IdempotencyKey,
    /// Part of the key: some senders use one id for events of several types.
    pub event_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// The sender's own id, which the pack declares unique per event.
    Id(String),
    /// SHA-256 over the ids of all items of a batch, each followed by a line break.
    ItemIds([u8; 32]),
    /// SHA-256 of the signed string, which covers a time or a nonce.
    Signed([u8; 32]),
}

/// One event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub id: Option<String>,
    pub event_type: Option<String>,
}

/// The first text that is there. Refuses conflicting headers.
pub(crate) fn text(pipelines: &[Pipeline], view: &View<'_>) -> Result<Option<String>, Reason> {
    for pipeline in pipelines {
        let values = pipeline.texts(view)?.unwrap_or_default();
        let text = values.into_iter().next().and_then(|value| {
            let usable = !value.is_empty() && value.len() <= TEXT_BYTES_MAX;
            usable.then(|| String::from_utf8(value.into_owned()).ok())?
        });
        if text.is_some() {
            return Ok(text);
        }
    }
    Ok(None)
}

pub(crate) fn id(event: &Event, view: &View<'_>) -> Result<Option<String>, Reason> {
    match text(&event.id, view) {
        // An id that is too long or one of too many is no reason to lose the event.
        Err(Reason::DuplicateHeader) => Err(Reason::DuplicateHeader),
        other => Ok(other.ok().flatten()),
    }
}

pub(crate) fn kind(event: &Event, view: &View<'_>) -> Option<String> {
    if let Ok(Some(kind)) = text(&event.kind, view) {
        return Some(kind);
    }
    event.item_kind.as_ref()?;
    first_items(event, view.request.body, 1)
        .into_iter()
        .next()
        .and_then(|item| item.event_type)
}

pub(crate) fn items(event: &Event, body: &[u8]) -> Vec<Item> {
    first_items(event, body, ITEMS_MAX)
}

fn first_items(event: &Event, body: &[u8], max: usize) -> Vec<Item> {
    let Some(batch) = &event.batch else {
        return Vec::new();
    };
    let field = |item: &str, pointer: &Option<json::Pointer>| {
        json::text(item, pointer.as_ref()?, TEXT_BYTES_MAX)
    };
    json::items(body, batch, max)
        .unwrap_or_default()
        .into_iter()
        .map(|item| Item {
            id: field(item, &event.item_id),
            event_type: field(item, &event.item_kind),
        })
        .collect()
}

pub(crate) fn idempotency(
    event: &Event,
    view: &View<'_>,
    id: &Option<String>,
    kind: &Option<String>,
    proof: &Proof<'_>,
) -> Option<Idempotency> {
    let key = match id {
        Some(id) if event.id_unique => IdempotencyKey::Id(id.clone()),
        _ => match of_items(event, view.request.body) {
            Some(hash) => IdempotencyKey::ItemIds(hash),
            None => IdempotencyKey::Signed(proof.hash_of_signed(view)?),
        },
    };
    Some(Idempotency {
        key,
        event_type: kind.clone(),
    })
}

/// Only if every item of the batch has an id, and ids are unique.
fn of_items(event: &Event, body: &[u8]) -> Option<[u8; 32]> {
    if !event.id_unique || event.item_id.is_none() {
        return None;
    }
    let items = first_items(event, body, ITEMS_MAX + 1);
    if items.is_empty() || items.len() > ITEMS_MAX {
        return None;
    }
    let mut hash = Sha256::new();
    for item in &items {
        hash.update(item.id.as_ref()?.as_bytes());
        hash.update(b"\n");
    }
    Some(hash.finalize().into())
}
