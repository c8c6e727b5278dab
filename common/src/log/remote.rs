//! The log seen over HTTP: what a worker or an operator's command holds.
//!
//! Leases and settlements travel in [`frames`], everything else as the JSON of
//! [`wire`](super::wire). Connections are kept and reused. Nothing is retried here but what
//! never left this machine: a caller that gets `Unavailable` repeats the call,
//! which is safe, because a lease request carries its own name and a settlement
//! may be repeated by its holder.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::wire::{
    ActCall, AttemptView, BackupOrderCall, ChosenCall, CountReply, DeadCall, DeadPage, ExtendReply,
    FRAMED, FoundPage, FoundView, LeaseCall, LogView, PROTOCOL, PROTOCOL_HEADER, PromoteCall,
    Promoted, QuarantineFind, QuarantinePage, QuarantineView, Refusal, RefusalKind, ReloadView,
    RenameCall, Reverified, ReverifyCall, RewindCall, SeenView, SourceView, VisitView, WireError,
    find_pairs,
};
use super::{
    Actor, Audit, BackupOrder, BackupStatus, Changed, DeadLetter, Find, Found, Lease, LeaseRequest,
    Operate, OperateError, Page, RewindTo, RouteStatus, Selection, Settled, Work, WorkError,
    frames,
};
use crate::attempt::Attempt;
use crate::config::ClientTls;
use crate::ids::{DeliveryId, LogId, QuarantineId};
use crate::secret::Secret;

/// A connection must be there within.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A reply must be there within, beyond what the request itself waits.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest reply that is read: several leases of large bodies.
pub const REPLY_BYTES_MAX: usize = 512 << 20;
/// Largest text of an error that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

/// Why a receiver cannot be addressed at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Not `http://host:port` or `https://host:port`. The text is not shown: it may hold a password.
    #[error("a receiver's address is http://host:port or https://host:port, without user or query")]
    BadUrl,
    /// The token has bytes that no header may carry.
    #[error("the token is not one line of printable characters")]
    BadToken,
    /// A certificate, an authority or a key cannot be used.
    #[error("cannot use {path}: {why}", path = .0.display(), why = .1)]
    Certificate(PathBuf, String),
    /// The HTTP client could not be made (no certificates on this machine, most likely).
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
}

/// A receiver's log, over HTTP. Cloning shares its connections.
#[derive(Debug, Clone)]
pub struct RemoteLog {
    client: Client,
    base: Url,
}

/// How a call failed, before it is known which verbs it belongs to.
type Failed = Refusal;

impl RemoteLog {
    /// A log behind `base_url`, the private listener of a receiver. Does not connect yet.
    ///
    /// # Errors
    /// [`RemoteError`] when the address or the token cannot be used.
    pub fn new(base_url: &str, token: Secret) -> Result<Self, RemoteError> {
        Self::with_tls(base_url, token, &ClientTls::default())
    }

    /// The same, with certificates for a receiver that speaks TLS. They are read now.
    ///
    /// # Errors
    /// [`RemoteError`] when the address, the token or a file cannot be used.
    pub fn with_tls(base_url: &str, token: Secret, tls: &ClientTls) -> Result<Self, RemoteError> {
        let base = parse_base(base_url)?;
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose().trim()))
            .map_err(|_| RemoteError::BadToken)?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(PROTOCOL_HEADER, HeaderValue::from(PROTOCOL));
        crate::tls::install_provider();
        let mut builder = Client::builder()
            .default_headers(headers)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .tcp_nodelay(true);
        if base.scheme() == "http" {
            // do not load the machine's certificates for nothing
            builder = builder.tls_certs_only([]);
        } else {
            builder = certified(builder, tls)?;
        }
        let client = builder
            .build()
            .map_err(|error| RemoteError::Client(error.to_string()))?;
        Ok(Self { client, base })
    }

    /// Where this log is.
    pub fn address(&self) -> &Url {
        &self.base
    }

    /// The log as a whole: its name, next offset, volumes, gaps, space.
    ///
    /// # Errors
    /// [`OperateError::Unavailable`] when the receiver is out of reach.
    pub async fn facts(&self) -> Result<LogView, OperateError> {
        Ok(self.get("v1/log", &[]).await?)
    }

    /// The configured sources.
    ///
    /// # Errors
    /// [`OperateError::Unavailable`] when the receiver is out of reach.
    pub async fn sources(&self) -> Result<Vec<SourceView>, OperateError> {
        Ok(self.get("v1/sources", &[]).await?)
    }

    /// A page of requests in quarantine.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn quarantine(&self, find: &QuarantineFind) -> Result<QuarantinePage, OperateError> {
        Ok(self.get("v1/quarantine", &find.pairs()).await?)
    }

    /// One request in quarantine, with its headers and its body.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn quarantined(&self, id: QuarantineId) -> Result<QuarantineView, OperateError> {
        Ok(self.get(&format!("v1/quarantine/{id}"), &[]).await?)
    }

    /// Judges requests in quarantine again and takes in what is genuine, a step at a time.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn reverify(&self, call: &ReverifyCall) -> Result<Reverified, OperateError> {
        Ok(self.post("v1/quarantine/reverify", call).await?)
    }

    /// Takes one in unverified.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn promote(
        &self,
        id: QuarantineId,
        call: &PromoteCall,
    ) -> Result<Promoted, OperateError> {
        let path = format!("v1/quarantine/{id}/promote");
        Ok(self.post(&path, call).await?)
    }

    /// Drops requests in quarantine.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn discard_quarantined(&self, call: &ChosenCall) -> Result<u64, OperateError> {
        let reply: CountReply = self.post("v1/quarantine/discard", call).await?;
        Ok(reply.count)
    }

    /// Has the receiver await one request of ours.
    ///
    /// # Errors
    /// What the receiver says, or that it is out of reach.
    pub async fn expect_visit(&self) -> Result<VisitView, OperateError> {
        Ok(self.post("v1/doctor", &serde_json::json!({})).await?)
    }

    /// What the receiver saw of it.
    ///
    /// # Errors
    /// [`OperateError::NotFound`] when it did not arrive, or that the receiver is out of reach.
    pub async fn seen(&self) -> Result<SeenView, OperateError> {
        Ok(self.get("v1/doctor", &[]).await?)
    }

    /// Has the receiver read its configuration and secrets again.
    ///
    /// # Errors
    /// [`OperateError::Invalid`] says everything that is wrong with it; the receiver goes on as before.
    pub async fn reload(&self, actor: Actor) -> Result<ReloadView, OperateError> {
        Ok(self.post("v1/reload", &ActCall::from(actor)).await?)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        self.client.request(method, url).timeout(REQUEST_TIMEOUT)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        pairs: &[(&'static str, String)],
    ) -> Result<T, Failed> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        if !pairs.is_empty() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        let request = self.client.get(url).timeout(REQUEST_TIMEOUT);
        parse(send(request).await?).await
    }

    async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, Failed> {
        parse(send(self.request(Method::POST, path).json(body)).await?).await
    }

    async fn act<B: Serialize>(&self, route: &str, verb: &str, body: &B) -> Result<(), Failed> {
        let path = format!("v1/routes/{}/{verb}", segment(route));
        send(self.request(Method::POST, &path).json(body)).await?;
        Ok(())
    }
}

#[async_trait]
impl Work for RemoteLog {
    async fn log_id(&self) -> Result<LogId, WorkError> {
        let view: LogView = self.get("v1/log", &[]).await?;
        Ok(view.log)
    }

    async fn lease(&self, request: LeaseRequest) -> Result<Vec<Lease>, WorkError> {
        let timeout = REQUEST_TIMEOUT + request.wait;
        let call = self
            .request(Method::POST, "v1/lease")
            .header(ACCEPT, FRAMED)
            .timeout(timeout)
            .json(&LeaseCall::from(request));
        let message = read(send(call).await?, REPLY_BYTES_MAX).await?;
        frames::decode_leases(message).map_err(|error| WorkError::Unavailable(error.to_string()))
    }

    async fn extend(&self, lease: u64) -> Result<Duration, WorkError> {
        let path = format!("v1/leases/{lease}/extend");
        let reply: ExtendReply = parse(send(self.request(Method::POST, &path)).await?).await?;
        Ok(Duration::from_millis(reply.expires_in_ms))
    }

    async fn settle(&self, lease: u64, settled: Vec<Settled>) -> Result<(), WorkError> {
        let message = frames::encode_settled(&settled)
            .map_err(|error| WorkError::Invalid(error.to_string()))?;
        let call = self
            .request(Method::POST, &format!("v1/leases/{lease}/settle"))
            .header(CONTENT_TYPE, FRAMED)
            .body(message);
        send(call).await?;
        Ok(())
    }
}

#[async_trait]
impl Operate for RemoteLog {
    async fn find(&self, find: Find) -> Result<Page<Found>, OperateError> {
        let page: FoundPage = self.get("v1/deliveries", &find_pairs(&find)).await?;
        Ok(Page {
            items: convert(page.items)?,
            next: page.next,
        })
    }

    async fn show(&self, id: DeliveryId) -> Result<Found, OperateError> {
        let view: FoundView = self.get(&format!("v1/deliveries/{id}"), &[]).await?;
        view.try_into().map_err(unreadable)
    }

    async fn attempts(&self, id: DeliveryId) -> Result<Vec<Attempt>, OperateError> {
        let path = format!("v1/deliveries/{id}/attempts");
        let views: Vec<AttemptView> = self.get(&path, &[]).await?;
        convert(views)
    }

    async fn dead(&self, find: Find) -> Result<Page<DeadLetter>, OperateError> {
        let page: DeadPage = self.get("v1/dead", &find_pairs(&find)).await?;
        Ok(Page {
            items: page.items,
            next: page.next,
        })
    }

    async fn reprocess(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        let act = actor.into();
        Ok(self
            .post("v1/dead/reprocess", &DeadCall { which, act })
            .await?)
    }

    async fn discard(&self, which: Selection, actor: Actor) -> Result<Changed, OperateError> {
        let act = actor.into();
        Ok(self
            .post("v1/dead/discard", &DeadCall { which, act })
            .await?)
    }

    async fn routes(&self) -> Result<Vec<RouteStatus>, OperateError> {
        Ok(self.get("v1/routes", &[]).await?)
    }

    async fn pause(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        Ok(self.act(route, "pause", &ActCall::from(actor)).await?)
    }

    async fn resume(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        Ok(self.act(route, "resume", &ActCall::from(actor)).await?)
    }

    async fn rewind(&self, route: &str, to: RewindTo, actor: Actor) -> Result<u64, OperateError> {
        let path = format!("v1/routes/{}/rewind", segment(route));
        let act = actor.into();
        let reply: CountReply = self.post(&path, &RewindCall { to, act }).await?;
        Ok(reply.count)
    }

    async fn rename(&self, from: &str, to: &str, actor: Actor) -> Result<(), OperateError> {
        let to = to.to_owned();
        let act = actor.into();
        Ok(self.act(from, "rename", &RenameCall { to, act }).await?)
    }

    async fn forget(&self, route: &str, actor: Actor) -> Result<(), OperateError> {
        Ok(self.act(route, "forget", &ActCall::from(actor)).await?)
    }

    async fn audit(&self, limit: u32) -> Result<Vec<Audit>, OperateError> {
        let pairs = [("limit", limit.to_string())];
        Ok(self.get("v1/audit", &pairs).await?)
    }

    async fn backup(&self, order: BackupOrder, actor: Actor) -> Result<BackupStatus, OperateError> {
        let call = BackupOrderCall {
            dir: order.dir,
            verify: order.verify,
            act: actor.into(),
        };
        Ok(self.post("v1/backup", &call).await?)
    }

    async fn backup_status(&self) -> Result<BackupStatus, OperateError> {
        Ok(self.get("v1/backup", &[]).await?)
    }
}

/// A client that believes the given authorities alone, and shows the given certificate.
fn certified(mut builder: ClientBuilder, tls: &ClientTls) -> Result<ClientBuilder, RemoteError> {
    let read = |path: &PathBuf| {
        std::fs::read(path)
            .map_err(|error| RemoteError::Certificate(path.clone(), error.to_string()))
    };
    if let Some(path) = &tls.ca {
        let unfit =
            |_| RemoteError::Certificate(path.clone(), "it has no certificates in PEM form".into());
        let authorities = Certificate::from_pem_bundle(&read(path)?).map_err(unfit)?;
        if authorities.is_empty() {
            let why = "it has no certificates in PEM form";
            return Err(RemoteError::Certificate(path.clone(), why.to_owned()));
        }
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(cert), Some(key)) = (&tls.cert, &tls.key) {
        let pair = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
        let identity = Identity::from_pem(&pair).map_err(|_| {
            let why = format!(
                "with {} it is no certificate and key in PEM form",
                key.display()
            );
            RemoteError::Certificate(cert.clone(), why)
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}

fn parse_base(text: &str) -> Result<Url, RemoteError> {
    let mut url = Url::parse(text).map_err(|_| RemoteError::BadUrl)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(RemoteError::BadUrl);
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    // a plus means a space in forms, but itself in paths
    encoded.replace('+', "%20")
}

async fn send(request: RequestBuilder) -> Result<Response, Failed> {
    let response = request.send().await.map_err(out_of_reach)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let body = read(response, REFUSAL_BYTES_MAX).await.unwrap_or_default();
    Err(serde_json::from_slice(&body).unwrap_or_else(|_| unexplained(status)))
}

/// What a status means when its body is not ours (a proxy's, say).
fn unexplained(status: u16) -> Failed {
    let kind = match status {
        400 | 409 | 413 | 415 | 422 => RefusalKind::Invalid,
        401 => RefusalKind::Unauthorized,
        403 => RefusalKind::Forbidden,
        404 => RefusalKind::NotFound,
        _ => RefusalKind::Unavailable,
    };
    Refusal::new(kind, format!("the receiver answered {status}"))
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, Failed> {
    let too_large = || Refusal::new(RefusalKind::Unavailable, "the reply is too large");
    let declared = response.content_length().unwrap_or(0);
    if declared > limit as u64 {
        return Err(too_large());
    }
    let Some(first) = response.chunk().await.map_err(out_of_reach)? else {
        return Ok(Bytes::new());
    };
    if first.len() as u64 == declared {
        return Ok(first);
    }
    let mut body = BytesMut::with_capacity(usize::try_from(declared).unwrap_or(0));
    body.extend_from_slice(&first);
    while let Some(chunk) = response.chunk().await.map_err(out_of_reach)? {
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn parse<T: DeserializeOwned>(response: Response) -> Result<T, Failed> {
    let body = read(response, REPLY_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let what = format!("the receiver's reply cannot be read: {error}");
        Refusal::new(RefusalKind::Unavailable, what)
    })
}

fn out_of_reach(error: reqwest::Error) -> Failed {
    let what = if error.is_timeout() {
        "the receiver did not answer in time".to_owned()
    } else if error.is_connect() {
        format!("the receiver is out of reach: {}", innermost(&error))
    } else {
        format!("the connection broke: {}", innermost(&error))
    };
    Refusal::new(RefusalKind::Unavailable, what)
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn convert<V, T: TryFrom<V, Error = WireError>>(views: Vec<V>) -> Result<Vec<T>, OperateError> {
    let all: Result<Vec<T>, WireError> = views.into_iter().map(T::try_from).collect();
    all.map_err(unreadable)
}

fn unreadable(error: WireError) -> OperateError {
    OperateError::Unavailable(format!("the receiver's reply cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_a_query_or_another_scheme_is_refused() {
        for bad in [
            "http://u:p@host:1",
            "http://host?token=1",
            "ftp://host",
            "host:1",
            "",
        ] {
            assert_eq!(parse_base(bad), Err(RemoteError::BadUrl), "{bad}");
        }
        let with_path = parse_base("https://host/creel").unwrap();
        assert_eq!(with_path.as_str(), "https://host/creel/");
    }

    #[test]
    fn a_route_name_stays_one_segment() {
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
    }

    #[tokio::test]
    async fn a_receiver_that_is_not_there_is_unavailable() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let log = RemoteLog::new(&address, Secret::new("t")).unwrap();
        assert!(matches!(log.log_id().await, Err(WorkError::Unavailable(_))));
        assert!(matches!(
            log.routes().await,
            Err(OperateError::Unavailable(_))
        ));
    }

    #[test]
    fn the_token_is_not_in_what_is_shown() {
        let log = RemoteLog::new("http://127.0.0.1:1", Secret::new("canary-token")).unwrap();
        assert!(!format!("{log:?}").contains("canary"));
    }
}
