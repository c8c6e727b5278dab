//! What is to be done at the sender: where the URL is entered, what it needs, which events to choose.

use std::collections::BTreeMap;

use http::Method;
use serde::Serialize;

use super::algorithm::Algorithm;
use super::document::Fields;
use super::pack::{OptionError, Pack};
use super::pipeline::Locator;
use super::scheme::{Block, Choice, Scheme};
use super::verifier;

/// What a pack says about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Registration {
    /// Where at the sender the URL is entered.
    pub places: Vec<String>,
    /// Where at the sender the secret is found or made.
    pub secret_place: Option<String>,
    /// Which events to choose.
    pub events: Option<String>,
    /// Settings that the sender reads behind the `#` of the URL. It never sends them.
    pub url_fragment: Option<String>,
    /// What they do, and where they do not belong.
    pub url_fragment_why: Option<String>,
    /// What else to know, a sentence each.
    pub notes: Vec<String>,
}

impl Registration {
    pub(crate) fn read(fields: Fields<'_>) -> Self {
        let text = |key| fields.text(key).map(str::to_owned);
        let each = |key| fields.each(key, |text| Ok(text.to_owned()));
        let registration = Self {
            places: each("places"),
            secret_place: text("secret_place"),
            events: text("events"),
            url_fragment: fields.one("url_fragment", fragment),
            url_fragment_why: text("url_fragment_why"),
            notes: each("notes"),
        };
        if registration.url_fragment.is_some() != registration.url_fragment_why.is_some() {
            let message = "`url_fragment` and `url_fragment_why` go together";
            fields.problem(&fields.span, "url_fragment", message);
        }
        fields.finish();
        registration
    }
}

/// What may stand behind the `#` of a URL (RFC 3986, section 3.5).
fn fragment(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    match !text.is_empty() && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("expected what stands behind the `#` of a URL".into()),
    }
}

/// What the requests of a source look like, as far as its sender has to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The methods that the sender uses, handshakes included.
    pub methods: Vec<Method>,
    /// The parameter of the URL that carries the secret, if the sender has no other place for one.
    pub secret_parameter: Option<String>,
    /// Whether the secret is a user and a password.
    pub basic: bool,
    /// Whether anybody but the sender can sign for it.
    pub signable: bool,
    /// Whether it signs a time, so that it must be sent soon.
    pub signs_time: bool,
}

impl Pack {
    /// How a source with these options is sent to.
    ///
    /// # Errors
    /// [`OptionError`]: the options do not fit the pack.
    pub fn sending(&self, options: &BTreeMap<String, String>) -> Result<Sending, OptionError> {
        let scheme = self.scheme_with(options)?;
        let first = scheme.blocks.first().and_then(secret_place);
        Ok(Sending {
            methods: verifier::methods(&scheme),
            secret_parameter: match first {
                Some(Locator::Query(name)) => Some(name.clone()),
                _ => None,
            },
            basic: matches!(first, Some(Locator::Basic)),
            signable: signable(&scheme),
            signs_time: scheme.blocks.iter().any(|block| !block.time.is_empty()),
        })
    }
}

/// Not so with a private key, which only the sender has.
fn signable(scheme: &Scheme) -> bool {
    let algorithms = scheme.blocks.iter().flat_map(|block| block.algorithm.all());
    let mut algorithms = algorithms.filter(|algorithm| *algorithm != Algorithm::None);
    !scheme.blocks.is_empty() && !algorithms.any(Algorithm::is_asymmetric)
}

/// Where the secret itself is sent along, if it is.
fn secret_place(block: &Block) -> Option<&Locator> {
    let itself = matches!(block.algorithm, Choice::Fixed(Algorithm::Equal));
    let first = block.signatures.first().filter(|_| itself);
    first.map(|pipeline| &pipeline.locator)
}
