//! What is the matter with a request that was refused: told apart as far as its bytes allow.
//!
//! For people, off the way of every answer, and it accepts nothing: each guess is a check of its own
//! (another secret of ours, another URL, another spelling of the body), and the first that fits is
//! named with what to do. How many are tried is bounded.

use super::check;
use super::named::Named;
use super::pipeline::{Locator, Pipeline};
use super::reason::Reason;
use super::request::{Request, View};
use super::respell;
use super::url;
use super::verifier::{Verdict, Verifier};

/// What a request is looked at against.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// The name of its source.
    pub source: &'a str,
    /// The other sources: one of them may have the secret.
    pub others: &'a [(&'a str, &'a Verifier)],
    /// When it arrived.
    pub arrived_unix_ms: i64,
}

/// What it looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// A closed list: `genuine`, `other_secret`, `wrong_url`, `body_changed`, `clock`,
    /// `missing_header`, `wrong_secret`, `no_source`, `other`.
    pub word: &'static str,
    /// What that means, and what to do.
    pub hint: String,
}

impl Diagnosis {
    fn new(word: &'static str, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        Self { word, hint }
    }

    /// Of a request whose source left the configuration.
    pub fn no_source(source: &str) -> Self {
        let hint = format!("source `{source}` is no longer configured, so nothing can judge it");
        Self::new("no_source", hint)
    }
}

/// Finds out what is the matter. Bounded, and reads no clock.
pub fn diagnose(verifier: &Verifier, request: &Request<'_>, around: &Around<'_>) -> Diagnosis {
    let reason = match verifier.check(request, around.arrived_unix_ms) {
        Verdict::Verified(_) => {
            let hint = "it is genuine with the configuration of now";
            return Diagnosis::new("genuine", hint);
        }
        Verdict::Handshake(_) => {
            let hint =
                "a registration handshake, which would be answered now; have the sender repeat it";
            return Diagnosis::new("other", hint);
        }
        Verdict::Refused(reason) => reason,
    };
    let guess = Guess {
        verifier,
        request,
        around,
        view: View::new(request),
    };
    match reason {
        Reason::Stale | Reason::Future => guess.clock(),
        Reason::NoMatch => guess.no_match(),
        Reason::BodyHash => guess.body("another body than the one whose hash was signed"),
        Reason::MissingSignature
        | Reason::MissingTimestamp
        | Reason::MissingId
        | Reason::MissingValue
        | Reason::BodyHashMissing => guess.missing(reason),
        _ => Diagnosis::new("other", format!("{reason}: {}", meaning(reason))),
    }
}

struct Guess<'g> {
    verifier: &'g Verifier,
    request: &'g Request<'g>,
    around: &'g Around<'g>,
    view: View<'g>,
}

impl Guess<'_> {
    /// Whether the signature fits, whatever the clock says.
    fn fits(&self, verifier: &Verifier, view: &View<'_>, url: Option<&str>) -> bool {
        let judged = check::verify_as(verifier, view, self.around.arrived_unix_ms, url);
        // the time is judged after the signature
        matches!(judged, Ok(_) | Err(Reason::Stale | Reason::Future))
    }

    fn no_match(&self) -> Diagnosis {
        self.other_secret()
            .or_else(|| self.wrong_url())
            .or_else(|| self.body_changed())
            .unwrap_or_else(|| self.wrong_secret())
    }

    fn other_secret(&self) -> Option<Diagnosis> {
        let provider = self.verifier.pack().name();
        let alike = self.around.others.iter();
        let mut alike = alike.filter(|(_, other)| other.pack().name() == provider);
        let (name, _) = alike.find(|(_, other)| self.fits(other, &self.view, None))?;
        let source = self.around.source;
        Some(Diagnosis::new(
            "other_secret",
            format!(
                "signed with a secret of source `{name}`: the sender uses the wrong URL \
                 (`/in/{source}` instead of `/in/{name}`) or the wrong secret; if it is meant for \
                 `{source}`, add that secret to `sources.{source}.secrets`"
            ),
        ))
    }

    fn wrong_url(&self) -> Option<Diagnosis> {
        let blocks = self.verifier.scheme.blocks.iter();
        let mut templates = blocks.flat_map(|block| block.templates());
        if !templates.any(super::template::Template::uses_url) {
            return None;
        }
        let public = self.verifier.public_url.as_ref();
        let judged = url::of(self.request, public);
        let mut guesses = url::guesses(self.request, public).into_iter();
        let fitting = guesses.find(|guess| self.fits(self.verifier, &self.view, Some(guess)))?;
        let (signed, judged) = (without_query(&fitting), without_query(&judged));
        let origin = origin(signed);
        Some(Diagnosis::new(
            "wrong_url",
            format!(
                "signed for {signed}, but judged as {judged}: a proxy changed scheme, host, port or \
                 path, or the sender has another URL; set `public_url` of this source (or \
                 `receiver.public_url`) to \"{origin}\", or name the proxy in \
                 `receiver.trusted_proxies` if it sends X-Forwarded-Proto and X-Forwarded-Host"
            ),
        ))
    }

    fn body_changed(&self) -> Option<Diagnosis> {
        let mut spellings = respell::spellings(self.request.body).into_iter();
        let (what, _) = spellings.find(|(_, body)| {
            let other = Request {
                body,
                ..*self.request
            };
            self.fits(self.verifier, &View::new(&other), None)
        })?;
        Some(self.body(&format!("its body {what}")))
    }

    fn body(&self, signed: &str) -> Diagnosis {
        let hint = format!(
            "the signature is that of {signed}: something between the sender and here parses the body \
             and writes it anew; have it pass the body on as it is. `creel quarantine promote` takes \
             this one in unverified"
        );
        Diagnosis::new("body_changed", hint)
    }

    fn clock(&self) -> Diagnosis {
        let signed_ms = check::signed_time(self.verifier, &self.view);
        let off_ms = self.around.arrived_unix_ms - signed_ms.unwrap_or(self.around.arrived_unix_ms);
        let (seconds, way) = (
            off_ms.unsigned_abs() / 1000,
            if off_ms > 0 { "before" } else { "after" },
        );
        Diagnosis::new(
            "clock",
            format!(
                "the signature fits, but it was made {seconds} seconds {way} the request arrived: set \
                 the clock of this machine, or the sender queued it or somebody repeats an old one; \
                 `sources.{}.tolerance` says how far off it may be",
                self.around.source
            ),
        )
    }

    fn missing(&self, reason: Reason) -> Diagnosis {
        let names = self.expected(reason);
        let what = match names.is_empty() {
            true => "something that its provider signs".to_owned(),
            false => names.join(" or "),
        };
        Diagnosis::new(
            "missing_header",
            format!(
                "{reason}: {what} is not there; a proxy takes it away, the sender has no secret to \
                 sign with, or source `{}` is not really of provider `{}` with these options",
                self.around.source,
                self.verifier.pack().name()
            ),
        )
    }

    /// Where the pack looks for what is missing.
    fn expected(&self, reason: Reason) -> Vec<String> {
        let mut names = Vec::new();
        for block in &self.verifier.scheme.blocks {
            let places: Vec<&Pipeline> = match reason {
                Reason::MissingTimestamp => block.time.iter().collect(),
                Reason::MissingId => block.id.iter().collect(),
                Reason::BodyHashMissing => block.body_hash.iter().map(|hash| &hash.from).collect(),
                Reason::MissingSignature => block
                    .signatures
                    .iter()
                    .chain(&block.signatures_any)
                    .collect(),
                _ => Vec::new(),
            };
            for place in places {
                let name = match &place.locator {
                    Locator::Header(name) => format!("header `{name}`"),
                    Locator::Basic => "header `authorization` (Basic)".to_owned(),
                    Locator::Query(name) => format!("query parameter `{name}`"),
                    Locator::Form(name) => format!("form field `{name}`"),
                    Locator::Json(_) => "a field of the body".to_owned(),
                    Locator::Const(_) => continue,
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The secret that alone may have signed, because the request names it.
    fn named(&self) -> Option<String> {
        let ids = self.verifier.key_ids();
        let mut blocks = self.verifier.scheme.blocks.iter();
        blocks.find_map(|block| Named::of(&block.key_name, &self.view, ids).ok()?.name)
    }

    fn wrong_secret(&self) -> Diagnosis {
        let source = self.around.source;
        if let Some(name) = self.named() {
            return Diagnosis::new(
                "wrong_secret",
                format!(
                    "the request names `{name}`, so only the secret of `{source}` with that id may have \
                     signed it, and it did not: what stands under that id is not what the sender has \
                     for `{name}`, or another account speaks for it; mend that secret, then `creel \
                     quarantine reverify {source}`"
                ),
            );
        }
        let keys = self.verifier.key_ids().len();
        Diagnosis::new(
            "wrong_secret",
            format!(
                "none of the {keys} secrets of `{source}` made this signature, nor does another secret, \
                 URL or spelling of the body that is known here fit: the secret at the sender is not \
                 one of `sources.{source}.secrets`, or it is forged; add the right secret, then \
                 `creel quarantine reverify {source}`"
            ),
        )
    }
}

/// A query may hold a token: it is not shown in a sentence.
fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn origin(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..]
        .find('/')
        .map_or(url.len(), |at| authority + at);
    &url[..end]
}

/// What a reason means, where nothing can be tried.
fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::BadEncoding => "there is a signature, but not as this provider writes it",
        Reason::TooManySignatures | Reason::TooLong => "more than any sender sends",
        Reason::DuplicateHeader => "a header that decides is there twice with different values",
        Reason::BadTimestamp => "its time is not written as this provider writes it",
        Reason::UnknownAlgorithm => "it names an algorithm that this provider does not use",
        Reason::BadBody => "the body is not what this provider sends",
        Reason::Condition => {
            "a header or field does not have the value that this provider requires"
        }
        Reason::HandshakeToken => "a registration handshake with a wrong token",
        Reason::UnknownKey => {
            "it names a key that the sender does not publish, or that is not in the set that is configured"
        }
        Reason::KeyPending => {
            "the sender's key could not be fetched yet; the receiver's log says why"
        }
        Reason::KeyNotValid => {
            "the sender's certificate is not valid at the time of the request, or is somebody else's"
        }
        Reason::UntrustedUrl => "it names a URL that is none of the provider's",
        Reason::MissingClaim => "its token does not say all that this provider's tokens say",
        Reason::Claim => {
            "its token is for somebody else: issuer, audience or account is not what the options say"
        }
        Reason::SecretKnown => {
            "it wants to set the secret of a source that has one; a new secret goes into the \
             configuration, or the learned one is forgotten first"
        }
        Reason::Method | Reason::NoScheme => "this source takes no such requests",
        _ => "it cannot be judged",
    }
}
