//! Adyen's standard notifications: each item of the batch is signed by itself, over eight of its fields.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Item;
use crate::verify::json::{self, Pointer};
use crate::verify::reason::Reason;

/// Adyen sends one item where the format is JSON, six at most where it is not.
const ITEMS_MAX: usize = 1000;

/// Neither escaped nor trimmed; what is not there is empty.
const FIELDS: [&str; 8] = [
    "/pspReference",
    "/originalReference",
    "/merchantAccountCode",
    "/merchantReference",
    "/amount/value",
    "/amount/currency",
    "/eventCode",
    "/success",
];

pub(super) fn items(body: &[u8]) -> Result<Vec<Item>, Reason> {
    let batch = pointer("/notificationItems")?;
    let entry = pointer("/NotificationRequestItem")?;
    let found = json::items(body, &batch, ITEMS_MAX + 1).ok_or(Reason::MissingSignature)?;
    match found.len() {
        0 => return Err(Reason::MissingSignature),
        1..=ITEMS_MAX => {}
        _ => return Err(Reason::BadBody),
    }
    found
        .into_iter()
        .map(|item| read(json::raw(item.as_bytes(), &entry).ok_or(Reason::MissingSignature)?))
        .collect()
}

fn read(item: &str) -> Result<Item, Reason> {
    let text = |at: &str| -> Result<Option<Cow<'_, [u8]>>, Reason> {
        Ok(json::scalar(item.as_bytes(), &pointer(at)?))
    };
    let signature = text("/additionalData/hmacSignature")?.ok_or(Reason::MissingSignature)?;
    let mut message = Vec::new();
    for (number, field) in FIELDS.iter().enumerate() {
        if number > 0 {
            message.push(b':');
        }
        message.extend_from_slice(&text(field)?.unwrap_or_default());
    }
    Ok(Item {
        message,
        signature: STANDARD.decode(&*signature).ok(),
    })
}

fn pointer(text: &str) -> Result<Pointer, Reason> {
    Pointer::parse(text).map_err(|_| Reason::BadBody)
}
