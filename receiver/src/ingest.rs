//! The public listener: reads, verifies, appends, and only then answers.
//!
//! The hot path of creel. There is no router: a path is `/in/<source>` or it is
//! nothing. Nothing between verification and the answer is spawned or answered
//! before `append` returns. A sender that goes away meanwhile drops the request
//! here; what the log has begun it finishes or never began.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use creel_common::delivery::{Delivery, Envelope, Head, Header, IdempotencyKey};
use creel_common::heavy::heavy;
use creel_common::ids::QuarantineId;
use creel_common::log::{AppendError, Appended, Intake};
use creel_common::time::{Clock, Timestamp};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::body::{self, BodyLimits};
use crate::current::Current;
use crate::doctor::Doctor;
use crate::forwarded::Origin;
use crate::keys::Keys;
use crate::limits::{Addresses, Budget, Over, Share};
use crate::metrics::Metrics;
use crate::quarantine::{Item, ItemHead, Quarantine};
use crate::quiet::{Quiet, Tell};
use crate::reply::{self, Refused, Reply};
use crate::server::{Handler, Peer};
use crate::sources::{BODY_BYTES_MAX, Source, Sources, Twin};
use crate::verify::{self, Accepted, Reason, Verdict};
use crate::visit;

/// What metrics and the log say instead of a source that is not configured.
pub const NO_SOURCE: &str = "-";

/// Everything a request meets.
pub struct Ingest {
    /// The configured sources. Each request is judged by those that were there when it came.
    pub sources: Current<Sources>,
    /// Where deliveries go.
    pub log: Arc<dyn Intake>,
    /// Wall clock for stamps and replay windows.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Bytes of bodies in memory.
    pub bodies: Budget,
    /// Deliveries that wait for the disk.
    pub waiting: Budget,
    /// How much of its rate each address has used up.
    pub addresses: Addresses,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// A body must have come within.
    pub body_timeout: Duration,
    /// Keeps refusals from flooding the log.
    pub quiet: Quiet,
    /// Awaits a request of ours now and then.
    pub doctor: Doctor,
    /// Keys that are fetched, secrets that are learned.
    pub keys: Arc<Keys>,
    /// Where requests that fail verification go, if anywhere.
    pub quarantine: Option<Arc<Quarantine>>,
}

/// The public service; cloning shares it.
#[derive(Clone)]
pub struct Public(pub Arc<Ingest>);

impl Handler for Public {
    type Body = http_body_util::Full<bytes::Bytes>;

    async fn handle(self, request: Request<Incoming>, peer: Peer) -> Reply {
        self.0.answer(request, &peer).await
    }
}

/// A request that was not taken, and what its answer needs.
pub(crate) struct Refusal<'s> {
    source: Option<&'s Arc<Source>>,
    /// Methods that would have been allowed.
    allow: Option<&'s HeaderValue>,
    why: Refused,
    body_read: bool,
}

/// A request whose head may stay.
struct LetIn<'s, 'r> {
    source: Option<&'s Arc<Source>>,
    /// What stands in where there is no source.
    twin: Option<&'s Twin>,
    /// Whose limits hold: the source's, or those of the one that its twin looks like.
    like: Option<&'s Arc<Source>>,
    origin: Origin<'r>,
}

impl Ingest {
    async fn answer(&self, request: Request<Incoming>, peer: &Peer) -> Reply {
        let started = self.clock.mono();
        let (parts, body) = request.into_parts();
        let sources = self.sources.now();
        match self.take(&sources, &parts, body, peer, started).await {
            Ok((source, reply)) => {
                source.metrics.acked.inc();
                let took = self.clock.mono().saturating_sub(started);
                source.metrics.ack_seconds.observe(took.as_secs_f64());
                reply
            }
            Err(Stop::Handshake(reply)) => *reply,
            Err(Stop::Refused(refusal)) => self.refuse(&refusal, &parts, peer),
        }
    }

    async fn take<'s>(
        &self,
        sources: &'s Sources,
        parts: &Parts,
        body: Incoming,
        peer: &Peer,
        came_at: Duration,
    ) -> Result<(&'s Arc<Source>, Reply), Stop<'s>> {
        let has_body = !http_body::Body::is_end_stream(&body);
        let let_in = self.let_in(sources, parts, has_body, peer, came_at)?;
        let LetIn { source, origin, .. } = let_in;
        // what comes for names that do not exist takes nothing away from a source
        let account = source.map_or(&sources.strangers, |source| &source.account);
        let mut share = Share::of(&self.bodies, &account.bodies);
        let body = self.read(body, &let_in, peer, &mut share).await?;
        let at = (origin.remote, self.clock.wall());
        let request = verify::Request {
            method: &parts.method,
            scheme: origin.scheme,
            host: origin.host,
            target: target(parts),
            headers: &parts.headers,
            body: &body,
        };
        let Some(source) = source else {
            if let Some(twin) = let_in.twin {
                // takes its time; whatever it says, the answer is no
                let _ = judge(&twin.verifier, &request, at.1);
            }
            return Err(Stop::refused(None, Refused::NoSource, true));
        };
        if self.doctor.meets(&parts.headers, self.clock.mono()) {
            let seen = visit::seen(self, source, &request, (peer.address.ip(), origin.remote));
            self.doctor.note(seen);
            return Err(Stop::Handshake(Box::new(reply::visited())));
        }
        let arrivals = self.keys.ring.arrivals();
        let judged = self.accept(source, &request, at.1).await;
        let accepted = judged.inspect_err(|stop| {
            self.quarantine(stop, source, parts, &body, peer, at);
            if stop.not_verified() == Some(Reason::KeyPending) {
                // one that came meanwhile was announced before this was there to be looked at
                self.keys.ring.announce_after(arrivals);
            }
        })?;
        let kept = self.keep(sources, source, &request, at, accepted, body.clone());
        let reply = kept
            .await
            .map_err(|why| Stop::refused(Some(source), why, true))?;
        Ok((source, reply))
    }

    /// Everything that is decided by the head alone.
    fn let_in<'s, 'r>(
        &self,
        sources: &'s Sources,
        parts: &'r Parts,
        has_body: bool,
        peer: &Peer,
        came_at: Duration,
    ) -> Result<LetIn<'s, 'r>, Stop<'s>> {
        let early = |source, why| Stop::refused(source, why, !has_body);
        if peer.sent_doubtful_head() {
            return Err(Stop::refused(None, Refused::Malformed, false));
        }
        let Some(name) = parts.uri.path().strip_prefix("/in/") else {
            let known = matches!(parts.method, Method::GET | Method::HEAD | Method::POST);
            let why = if known {
                Refused::NoPath
            } else {
                Refused::Method
            };
            return Err(early(None, why));
        };
        let source = sources.get(name);
        let twin = source.is_none().then(|| sources.twin(name));
        let like = source.or_else(|| twin.and_then(|twin| twin.of.as_ref()));
        if let Some(source) = source {
            source.metrics.received.inc();
        }
        let origin = self.origin(parts, peer);
        let terms = like.map_or(&sources.terms, |like| &like.terms);
        terms
            .allow(origin.remote)
            .map_err(|why| early(source, why))?;
        if !allows(like, &parts.method) {
            return Err(early(source, Refused::Method).allowing(like));
        }
        terms
            .admit(&origin, &self.addresses, came_at)
            .map_err(|why| early(source, why))?;
        if has_body && like.is_some_and(|source| !source.takes(&parts.headers)) {
            return Err(early(source, Refused::MediaType));
        }
        Ok(LetIn {
            source,
            twin,
            like,
            origin,
        })
    }

    async fn read<'s>(
        &self,
        body: Incoming,
        let_in: &LetIn<'s, '_>,
        peer: &Peer,
        share: &mut Share<'_>,
    ) -> Result<Bytes, Stop<'s>> {
        let limits = BodyLimits {
            bytes_max: let_in
                .like
                .map_or(BODY_BYTES_MAX, |source| source.body_bytes_max),
            timeout: self.body_timeout,
        };
        let _awaited = peer.awaits_body();
        let read = body::read(body, limits, share).await;
        read.map_err(|why| Stop::refused(let_in.source, why, false))
    }

    /// Has what was verified kept, and answers when it is.
    async fn keep(
        &self,
        sources: &Sources,
        source: &Source,
        request: &verify::Request<'_>,
        (remote, received_at): (IpAddr, Timestamp),
        mut accepted: Accepted,
        body: Bytes,
    ) -> Result<Reply, Refused> {
        let signed_by = source.verifier.key_id(accepted.key_index).unwrap_or("-");
        let ack_headers = std::mem::take(&mut accepted.ack_headers);
        let delivery = delivery(source, request, remote, received_at, accepted, body);
        let admitted = sources.schemas().admit(&delivery).await;
        admitted.map_err(Refused::Schema)?;
        let appended = self.append(source, delivery).await?;
        tracing::debug!(source = %source.name, delivery = %appended.id, duplicate = appended.duplicate, signed_by, "taken");
        Ok(reply::taken(appended, source.ack.as_ref(), ack_headers))
    }

    /// Hands it to the log, unless its source has too much there or is over its rate.
    async fn append(&self, source: &Source, delivery: Delivery) -> Result<Appended, Refused> {
        let mut place = Share::of(&self.waiting, &source.account.waiting);
        place.grow(1).map_err(|over| match over {
            Over::All => AppendError::Busy("too many deliveries wait for the disk".into()).into(),
            Over::Part => Refused::OverShare,
        })?;
        source.terms.take(|| self.clock.mono())?;
        Ok(self.log.append(delivery).await?)
    }

    fn origin<'r>(&self, parts: &'r Parts, peer: &Peer) -> Origin<'r> {
        let authority = parts.uri.authority().map(http::uri::Authority::as_str);
        let (address, secure) = (peer.address.ip(), peer.secure);
        Origin::of(
            address,
            secure,
            &parts.headers,
            authority,
            &self.trusted_proxies,
        )
    }

    /// Offers what failed verification to the quarantine, with all that judging it again takes.
    fn quarantine(
        &self,
        stop: &Stop<'_>,
        source: &Source,
        parts: &Parts,
        body: &Bytes,
        peer: &Peer,
        (remote, received_at): (IpAddr, Timestamp),
    ) {
        let (Some(quarantine), Some(reason)) = (&self.quarantine, stop.not_verified()) else {
            return;
        };
        quarantine.offer(&source.name, reason, remote, self.clock.mono(), || Item {
            id: QuarantineId::default(),
            received_at,
            reason,
            secure: peer.secure,
            head: ItemHead {
                source: source.name.clone(),
                peer: peer.address.ip(),
                remote,
                authority: parts.uri.authority().map(ToString::to_string),
                method: parts.method.as_str().to_owned(),
                target: target(parts).to_owned(),
                headers: stored(&parts.headers, &[]),
            },
            body: body.clone(),
        });
    }

    fn refuse(&self, refusal: &Refusal<'_>, parts: &Parts, peer: &Peer) -> Reply {
        let Refusal {
            source,
            allow,
            why,
            body_read,
        } = refusal;
        let name = source.map_or(NO_SOURCE, |source| source.name.as_str());
        self.metrics.refused(name, why.word());
        let number = source.map_or(usize::MAX, |source| source.number);
        if let Tell::Yes { left_out } = self.quiet.ask(number, why.word(), self.clock.mono()) {
            self.tell(name, why, left_out, parts, peer);
        }
        if !body_read {
            peer.leaves_body_unread();
        }
        why.reply(*allow, !body_read)
    }

    fn tell(&self, source: &str, why: &Refused, left_out: u64, parts: &Parts, peer: &Peer) {
        let origin = self.origin(parts, peer);
        let path = shown(parts.uri.path());
        let (remote, method) = (origin.remote, shown(parts.method.as_str()));
        let reason = why.word();
        if why.is_ours() {
            tracing::warn!(source, %remote, method, path, reason, left_out, "not taken: {why}");
        } else {
            tracing::info!(source, %remote, method, path, reason, left_out, "refused: {why}");
        }
    }
}

/// Why `take` ended without a delivery.
pub(crate) enum Stop<'s> {
    Handshake(Box<Reply>),
    Refused(Refusal<'s>),
}

impl<'s> Stop<'s> {
    pub(crate) fn refused(source: Option<&'s Arc<Source>>, why: Refused, body_read: bool) -> Self {
        Self::Refused(Refusal {
            source,
            allow: source.map(|source| &source.allow),
            why,
            body_read,
        })
    }

    /// The scheme's reason, if it was the scheme that said no.
    fn not_verified(&self) -> Option<Reason> {
        let Self::Refused(Refusal { why, .. }) = self else {
            return None;
        };
        match why {
            Refused::NotVerified { reason, .. } => Some(*reason),
            Refused::KeyPending => Some(Reason::KeyPending),
            _ => None,
        }
    }

    /// A 405 that lists the methods of this source.
    fn allowing(mut self, like: Option<&'s Arc<Source>>) -> Self {
        if let Self::Refused(refusal) = &mut self {
            refusal.allow = like.map(|source| &source.allow);
        }
        self
    }
}

/// Path and query as they came.
fn target(parts: &Parts) -> &str {
    let target = parts.uri.path_and_query();
    target.map_or("/", |target| target.as_str())
}

fn allows(source: Option<&Arc<Source>>, method: &Method) -> bool {
    match source {
        Some(source) => source.verifier.methods().contains(method),
        None => method == Method::POST,
    }
}

/// Judges a request as of `now`.
pub fn judge(
    verifier: &verify::Verifier,
    request: &verify::Request<'_>,
    now: Timestamp,
) -> Verdict {
    let millis = i64::try_from(now.millis()).unwrap_or(i64::MAX);
    heavy(request.body.len(), || verifier.check(request, millis))
}

/// What a request of `source` becomes in the log.
pub fn delivery(
    source: &Source,
    request: &verify::Request<'_>,
    remote: IpAddr,
    received_at: Timestamp,
    accepted: Accepted,
    body: Bytes,
) -> Delivery {
    let head = Head {
        method: request.method.as_str().to_owned(),
        target: source.verifier.masked(request.target),
        headers: stored(request.headers, &source.credentials),
        remote: Some(remote),
        event_id: accepted.event_id,
        key: accepted
            .idempotency
            .filter(|_| source.dedupes)
            .map(|repeat| key(repeat.key)),
        body_authenticated: accepted.body_authenticated,
    };
    Delivery {
        envelope: Envelope {
            source: source.name.clone(),
            event_type: accepted.event_type,
            received_at,
        },
        head,
        body,
    }
}

/// Header lines as they are kept: in order, repeats kept, credentials as digests.
pub fn stored(headers: &HeaderMap, credentials: &[HeaderName]) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| {
            if credentials.contains(name) {
                return Header::new(name.as_str(), verify::digest(value.as_bytes()));
            }
            Header::new(name.as_str(), value.as_bytes())
        })
        .collect()
}

fn key(key: verify::IdempotencyKey) -> IdempotencyKey {
    IdempotencyKey(match key {
        verify::IdempotencyKey::Id(id) => id,
        verify::IdempotencyKey::ItemIds(hash) => format!("items:{}", hex::encode(hash)),
        verify::IdempotencyKey::Signed(hash) => format!("signed:{}", hex::encode(hash)),
    })
}

/// A stranger's text in our log: short, and nothing that a terminal would act on.
fn shown(text: &str) -> String {
    text.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_kept_as_digests_and_everything_else_in_order() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-b", "1"),
            ("authorization", "Bearer canary"),
            ("x-a", "2"),
            ("x-b", "3"),
        ] {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        let kept = stored(&headers, &[http::header::AUTHORIZATION]);
        let names: Vec<&str> = kept.iter().map(|header| header.name.as_str()).collect();
        assert_eq!(names, ["x-b", "x-b", "authorization", "x-a"]);
        let digest = String::from_utf8(kept[2].value.clone()).unwrap();
        assert!(digest.starts_with("sha256:") && !digest.contains("canary"));
        assert_eq!(
            (&kept[0].value[..], &kept[1].value[..]),
            (&b"1"[..], &b"3"[..])
        );
    }

    #[test]
    fn what_a_stranger_wrote_cannot_act_on_a_terminal() {
        assert_eq!(shown("/in/a\u{1b}[2J\n"), "/in/a\\u{1b}[2J\\n");
        assert!(shown(&"x".repeat(10_000)).len() <= 64);
    }
}
