//! `http`: one request per delivery, to a fixed URL.
//!
//! The status decides: see `status`. Redirects are not followed, proxies are
//! not asked, and an address is checked when it is connected to: see `creel_common::web`.
//! The body of the answer is for people only; 4 KiB of it are read and nothing
//! depends on them.

mod headers;
mod options;
mod sign;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use creel_common::attempt::{RESPONSE_BYTES_MAX, Report};
use creel_common::outcome::Outcome;
use creel_common::web::{Guard, GuardedResolver, describe};
pub use creel_common::web::{Lookup, Resolved, SystemLookup};
use http::{HeaderMap, Method};
use reqwest::{Client, Response};
use toml::Table;
use url::Url;

use self::options::{Options, Verb};
use self::sign::Signer;
use self::status::Statuses;
use super::{Attempted, Destination, Item, OpenError, Opening, Problem};

/// How long the rest of an answer is waited for once its status has decided the outcome.
///
/// No decision depends on it. Without it a server that trickles its answer would turn a 200 into a
/// timeout, and the delivery would come again.
const RESPONSE_WAIT: Duration = Duration::from_secs(2);

/// An idle connection is kept for this long: shorter than the 60 s after which many servers and
/// load balancers close it.
const IDLE_KEPT: Duration = Duration::from_secs(50);

/// All problems of the settings.
pub(super) fn check(settings: &Table) -> Vec<Problem> {
    options::read(settings).err().unwrap_or_default()
}

/// Opens it with the system's resolver.
pub(super) fn open(opening: &Opening<'_>) -> Result<Arc<dyn Destination>, OpenError> {
    open_with(opening, SystemLookup)
}

/// Opens it with another resolver.
///
/// # Errors
/// [`OpenError`]: settings, a secret, or no root certificates on this machine.
pub fn open_with(
    opening: &Opening<'_>,
    lookup: impl Lookup,
) -> Result<Arc<dyn Destination>, OpenError> {
    let options = options::read(opening.settings).map_err(OpenError::Settings)?;
    let fixed = options.resolve_headers(opening.base)?;
    let signer = options.resolve_signer(opening.base)?;
    Ok(Arc::new(Http {
        client: client(&options, lookup)?,
        url: options.url,
        verb: options.verb,
        fixed,
        signer,
        statuses: options.statuses,
        parallel: options.concurrency,
    }))
}

fn client(options: &Options, lookup: impl Lookup) -> Result<Client, OpenError> {
    creel_common::tls::install_provider();
    let guard = Guard::new(options.allow.clone());
    let mut builder = Client::builder();
    if options.url.scheme() == "http" {
        // the machine's certificates are not needed; there may be none
        builder = builder.tls_certs_only([]);
    }
    builder
        .dns_resolver(Arc::new(GuardedResolver::new(guard, lookup)))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE_KEPT)
        .pool_max_idle_per_host(options.concurrency)
        .user_agent(concat!("creel/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| OpenError::Other(describe(error)))
}

/// Requests to one URL.
struct Http {
    client: Client,
    url: Url,
    verb: Verb,
    fixed: HeaderMap,
    signer: Option<Signer>,
    statuses: Statuses,
    parallel: usize,
}

#[async_trait]
impl Destination for Http {
    async fn deliver(&self, batch: &[Item]) -> Vec<Attempted> {
        let mut results = Vec::with_capacity(batch.len());
        for item in batch {
            results.push(self.deliver_one(item).await);
        }
        results
    }

    fn batch_max(&self) -> usize {
        1
    }

    fn parallel(&self) -> usize {
        self.parallel
    }
}

impl Http {
    async fn deliver_one(&self, item: &Item) -> Attempted {
        let (method, headers) = match self.request(item) {
            Ok(parts) => parts,
            Err(reason) => return Attempted::reject(reason),
        };
        let sent = self
            .client
            .request(method, self.url.clone())
            .headers(headers)
            .body(item.delivery.body.clone())
            .send()
            .await;
        match sent {
            Ok(response) => self.classify(response, item).await,
            Err(error) => Attempted::retry(describe(error)),
        }
    }

    fn request(&self, item: &Item) -> Result<(Method, HeaderMap), String> {
        let method = match &self.verb {
            Verb::Fixed(method) => method.clone(),
            Verb::Original => Method::from_bytes(item.delivery.head.method.as_bytes())
                .map_err(|_| "its method cannot be sent".to_owned())?,
        };
        let mut headers = headers::forwarded(&item.delivery.head.headers, self.signer.is_some())?;
        for (name, value) in &self.fixed {
            headers.insert(name, value.clone());
        }
        headers::add_own(&mut headers, item)?;
        if let Some(signer) = &self.signer {
            signer.sign(&mut headers, item)?;
        }
        Ok((method, headers))
    }

    async fn classify(&self, response: Response, item: &Item) -> Attempted {
        let status = response.status().as_u16();
        let after = status::retry_after(response.headers(), item.started_at);
        let outcome = self.statuses.outcome(status, after);
        let error = (outcome != Outcome::Delivered).then(|| status::reason(status));
        Attempted {
            outcome,
            report: Report {
                status: Some(status),
                error,
                response: start_of(response).await,
                ..Report::default()
            },
        }
    }
}

/// At most the first [`RESPONSE_BYTES_MAX`] bytes of the body. What is larger, slow or breaks off
/// is cut there; an answer that was read to its end leaves the connection for the next request.
async fn start_of(mut response: Response) -> Vec<u8> {
    let mut start = Vec::new();
    let reading = async {
        while start.len() <= RESPONSE_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    let room = (RESPONSE_BYTES_MAX + 1).saturating_sub(start.len());
                    start.extend_from_slice(&chunk[..chunk.len().min(room)]);
                }
                Ok(None) | Err(_) => break,
            }
        }
    };
    // an answer that does not come to its end in time is cut where it is
    let _ = tokio::time::timeout(RESPONSE_WAIT, reading).await;
    start.truncate(RESPONSE_BYTES_MAX);
    start
}
