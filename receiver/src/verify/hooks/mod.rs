//! What is signed where no template can say it: one small file each.
//!
//! A pack names one as `code`, in the place of `signed`. Everything else (where the signature stands,
//! algorithm, key, time) it says as ever.

mod adyen_items;
mod contentful;
mod plivo_v3;
mod sorted_sha1;

use super::reason::Reason;
use super::template::{Context, Sink};

/// Makes the string that is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    pub render: fn(&Context<'_, '_>, Sink<'_>) -> Result<(), Reason>,
    pub covers_body: bool,
    /// Whether the time of the block is part of it.
    pub uses_time: bool,
    /// Whether the id of the block, mostly a nonce, is part of it.
    pub uses_id: bool,
    /// Whether two events can hardly give the same string.
    pub covers_time_or_id: bool,
    pub uses_url: bool,
}

/// One item of a body that carries a signature for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// What is signed.
    pub message: Vec<u8>,
    /// As it stands in the item, decoded; `None` if it cannot be.
    pub signature: Option<Vec<u8>>,
}

/// Finds the items of a body.
pub(crate) type Items = fn(&[u8]) -> Result<Vec<Item>, Reason>;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Hook {
    /// Another string to sign.
    Message(Message),
    /// The items of the body, each signed; all have to be genuine.
    Items(Items),
}

/// The only list of them.
pub(crate) const HOOKS: &[(&str, Hook)] = &[
    ("adyen-items", Hook::Items(adyen_items::items)),
    ("contentful", Hook::Message(contentful::MESSAGE)),
    ("plivo-v3", Hook::Message(plivo_v3::MESSAGE)),
    ("sorted-sha1", Hook::Message(sorted_sha1::MESSAGE)),
];
