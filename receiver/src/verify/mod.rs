//! Is this request from whom it says, and what event does it carry?
//!
//! What a provider signs, and how, is data: a pack, one TOML file under
//! `receiver/providers/`. [`Registry`] holds the packs, [`Pack::prepare`] joins
//! one with the secrets of a source, [`Verifier::check`] judges a request.
//! A pack is compiled once; judging parses only what the scheme needs.
//!
//! Rules that hold for every pack: bytes are judged as they came; any secret of
//! the source may match any signature of the request; tags are compared whole
//! and in constant time; a deciding header that occurs twice with different
//! values is refused; a signed time is checked after the signature.

mod algorithm;
mod certificate;
mod check;
mod clock;
mod compile;
mod condition;
mod der;
mod diagnose;
mod document;
mod event;
mod form;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod handshake;
mod hooks;
mod jwks;
mod jwt;
mod key;
mod keyring;
mod mask;
mod named;
mod own;
mod pack;
mod pin;
mod pipeline;
pub mod policy;
mod proof;
mod reason;
mod reference;
mod registration;
mod registry;
mod request;
mod respell;
mod sample;
mod scheme;
mod sign;
mod summary;
mod template;
mod url;
pub mod vectors;
mod verifier;

use creel_common::json;

pub use diagnose::{Around, Diagnosis, diagnose};
pub use document::Problem;
pub use event::{Idempotency, IdempotencyKey, Item};
pub use handshake::{Effect, Reply};
pub use key::{SecretError, SourceKey};
pub use keyring::{Fetched, KeyKind, Keyring, Wanted};
pub use mask::digest;
pub use own::{OwnPacksError, PackFile};
pub use pack::{Ack, Batches, Facts, OptionError, OptionSpec, Pack, PackError, Repeats, Retry};
pub use proof::Proof;
pub use reason::Reason;
pub use reference::reference;
pub use registration::{Registration, Sending};
pub use registry::Registry;
pub use request::Request;
pub use sample::SampleRequest;
pub use sign::{SignError, Signed, Unsigned};
pub use summary::Check;
pub use verifier::{Accepted, PrepareError, SourceKeys, Verdict, Verifier};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
