//! A request in quarantine as people see it: credentials as digests, and what it looks like.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use creel_common::delivery::Delivery;
use creel_common::log::wire::{HeaderView, QuarantineView};
use http::{HeaderMap, Method};

use super::item::Item;
use crate::forwarded::Origin;
use crate::ingest::{self, Ingest, judge};
use crate::sources::{Source, Sources};
use crate::verify::{self, Diagnosis, Effect, Reply, Verdict};

/// Bodies up to this size are looked into in lists.
const LOOKED_INTO_BYTES: usize = 1 << 20;

/// A request as it is judged now: with the sources, secrets and proxies of this configuration, at the
/// time of its arrival.
pub struct Judged<'i> {
    ingest: &'i Ingest,
    /// The sources of one moment, whatever is reloaded meanwhile.
    sources: Arc<Sources>,
    item: &'i Item,
    headers: HeaderMap,
    method: Option<Method>,
}

/// What it is now.
pub enum Now {
    /// Its scheme vouches for it.
    Genuine(Box<Delivery>),
    /// It is no delivery, but its scheme vouches for its wish that this URL be called.
    Call(String),
    /// Still refused; the word for why.
    Refused(&'static str),
}

impl<'i> Judged<'i> {
    /// Looks at a request.
    pub fn new(ingest: &'i Ingest, item: &'i Item) -> Self {
        Self {
            ingest,
            sources: ingest.sources.now(),
            item,
            headers: item.header_map(),
            method: item.head.method.parse().ok(),
        }
    }

    fn source(&self) -> Option<&Source> {
        self.sources.get(&self.item.head.source).map(|s| &**s)
    }

    fn origin(&self) -> Origin<'_> {
        Origin::of(
            self.item.head.peer,
            self.item.secure,
            &self.headers,
            self.item.head.authority.as_deref(),
            &self.ingest.trusted_proxies,
        )
    }

    fn request<'r>(&'r self, method: &'r Method, origin: &Origin<'r>) -> verify::Request<'r> {
        verify::Request {
            method,
            scheme: origin.scheme,
            host: origin.host,
            target: &self.item.head.target,
            headers: &self.headers,
            body: &self.item.body,
        }
    }

    /// Judges it.
    pub fn now(&self) -> Now {
        let Some(source) = self.source() else {
            return Now::Refused("no_source");
        };
        let Some(method) = &self.method else {
            return Now::Refused(verify::Reason::Method.name());
        };
        let origin = self.origin();
        let request = self.request(method, &origin);
        match judge(&source.verifier, &request, self.item.received_at) {
            Verdict::Verified(accepted) => Now::Genuine(Box::new(ingest::delivery(
                source,
                &request,
                origin.remote,
                self.item.received_at,
                accepted,
                self.item.body.clone(),
            ))),
            Verdict::Handshake(Reply {
                verified: true,
                effect: Some(Effect::Fetch(url)),
                ..
            }) => Now::Call(url),
            // nobody waits for its answer any more
            Verdict::Handshake(_) => Now::Refused("handshake"),
            Verdict::Refused(reason) => Now::Refused(reason.name()),
        }
    }

    /// As a delivery that nothing vouches for: no key of it may make a genuine one a repeat.
    pub fn unverified(&self) -> Option<Delivery> {
        let (source, method) = (self.source()?, self.method.as_ref()?);
        let origin = self.origin();
        let request = self.request(method, &origin);
        let accepted = source.verifier.unverified(&request);
        let (at, body) = (self.item.received_at, self.item.body.clone());
        Some(ingest::delivery(
            source,
            &request,
            origin.remote,
            at,
            accepted,
            body,
        ))
    }

    /// What is the matter with it.
    pub fn diagnosis(&self) -> Diagnosis {
        let (Some(source), Some(method)) = (self.source(), &self.method) else {
            return Diagnosis::no_source(&self.item.head.source);
        };
        let origin = self.origin();
        let request = self.request(method, &origin);
        self.sources
            .diagnose(source, &request, self.item.received_at)
    }

    /// In a list.
    pub fn in_list(&self) -> QuarantineView {
        let small = self.item.body.len() <= LOOKED_INTO_BYTES;
        self.view(small.then(|| self.diagnosis()))
    }

    /// Alone, with headers and body.
    pub fn whole(&self) -> QuarantineView {
        let credentials = match self.source() {
            Some(source) => source.credentials.clone(),
            // nobody knows any more where this source had its credentials
            None => self.headers.keys().cloned().collect(),
        };
        let headers = ingest::stored(&self.headers, &credentials);
        QuarantineView {
            headers: headers.iter().map(HeaderView::from).collect(),
            body_base64: Some(STANDARD.encode(&self.item.body)),
            ..self.view(Some(self.diagnosis()))
        }
    }

    /// Without credentials.
    fn target(&self) -> String {
        let target = &self.item.head.target;
        match (self.source(), target.split_once('?')) {
            (Some(source), _) => source.verifier.masked(target),
            // nobody knows any more whether there are any
            (None, Some((path, _))) => format!("{path}?…"),
            (None, None) => target.clone(),
        }
    }

    fn view(&self, diagnosis: Option<Diagnosis>) -> QuarantineView {
        let head = &self.item.head;
        let (word, hint) = diagnosis.map(|d| (d.word.to_owned(), d.hint)).unzip();
        QuarantineView {
            id: self.item.id,
            source: head.source.clone(),
            received_at: self.item.received_at,
            reason: self.item.reason.name().to_owned(),
            diagnosis: word,
            hint,
            method: head.method.clone(),
            target: self.target(),
            remote: head.remote,
            peer: head.peer,
            headers: Vec::new(),
            body_bytes: self.item.body.len() as u64,
            body_base64: None,
        }
    }
}
