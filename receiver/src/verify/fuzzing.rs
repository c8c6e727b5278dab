//! The readers of bodies, for the doors of `crate::fuzzing`.

use std::borrow::Cow;

use http::HeaderMap;

use super::{form, json};

type Field<'r> = (Cow<'r, [u8]>, Cow<'r, [u8]>);

fn field(pair: form::Pair<'_>) -> Field<'_> {
    (pair.name, pair.value)
}

pub(crate) fn form_fields<'r>(headers: &HeaderMap, body: &'r [u8]) -> Option<Vec<Field<'r>>> {
    let pairs = form::parse(headers, body)?;
    Some(pairs.into_iter().map(field).collect())
}

pub(crate) fn form_sorted(headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
    form::parse(headers, body).map(|pairs| form::sorted(&pairs))
}

pub(crate) fn urlencoded(text: &[u8]) -> impl Iterator<Item = Field<'_>> {
    form::urlencoded(text).map(field)
}

/// A place in a JSON text.
pub(crate) struct Pointer(json::Pointer);

impl Pointer {
    pub fn parse(text: &str) -> Result<Self, String> {
        json::Pointer::parse(text).map(Self)
    }

    pub fn scalar<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, [u8]>> {
        json::scalar(text, &self.0)
    }

    pub fn comparable(&self, text: &[u8]) -> Option<Vec<u8>> {
        json::comparable(text, &self.0)
    }

    pub fn items<'t>(&self, text: &'t [u8], max: usize) -> Option<Vec<&'t str>> {
        json::items(text, &self.0, max)
    }
}
