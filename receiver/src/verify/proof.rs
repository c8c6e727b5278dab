//! How well it is known that a pack does what its sender does.

use serde::Serialize;

use super::document::unknown;

/// What stands behind a pack's verification, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It agrees with requests that the vendor published.
    VendorVectors,
    /// It agrees with what the vendor's own library, or one that is widely used, makes and accepts.
    VendorSdk,
    /// It was written after documentation; no request or library of the vendor was at hand.
    Documentation,
}

impl Proof {
    pub const ALL: &[Proof] = &[Proof::VendorVectors, Proof::VendorSdk, Proof::Documentation];

    /// As written in a pack.
    pub fn name(self) -> &'static str {
        match self {
            Proof::VendorVectors => "vendor-vectors",
            Proof::VendorSdk => "vendor-sdk",
            Proof::Documentation => "documentation",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = Self::ALL.iter().map(|proof| proof.name());
        let found = Self::ALL.iter().find(|proof| proof.name() == text);
        found.copied().ok_or_else(|| unknown("proof", text, names))
    }
}

/// Parts of a pack that may be known less well than its verification.
const PARTS: &[&str] = &[
    "scheme",
    "id",
    "type",
    "ack",
    "deadline",
    "retry",
    "size",
    "handshake",
];

/// A part of a pack that was not confirmed.
pub(crate) fn part(text: &str) -> Result<String, String> {
    match PARTS.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(unknown("part", text, PARTS.iter().copied())),
    }
}
