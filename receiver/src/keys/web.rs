//! One request for a key, guarded: https only, no redirect, no proxy, no private address that is not
//! allowed, and bounds on size and time.

use std::sync::Arc;
use std::time::Duration;

use creel_common::web::{Guard, GuardedResolver, SystemLookup, describe};
use ipnet::IpNet;
use parking_lot::Mutex;
use reqwest::header::CACHE_CONTROL;
use reqwest::{Certificate, Client, Response, StatusCode};
use url::{Host, Url};

/// A certificate takes 2 KiB, a set of keys 3 KiB.
const BYTES_MAX: usize = 256 << 10;
/// All of it, from the name to the last byte.
const WITHIN: Duration = Duration::from_secs(10);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a key is good for where its host does not say, and within which bounds it may.
const GOOD_FOR: Duration = Duration::from_secs(3600);
const GOOD_FOR_BOUNDS: (Duration, Duration) =
    (Duration::from_secs(300), Duration::from_secs(24 * 3600));

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The host knows no such thing.
    #[error("the answer is {0}")]
    Absent(StatusCode),
    /// Something is in the way.
    #[error("{0}")]
    Failed(String),
}

/// What came.
#[derive(Debug)]
pub struct Document {
    pub bytes: Vec<u8>,
    /// After this long it should be fetched again.
    pub good_for: Duration,
}

/// Fetches from other people's hosts.
#[derive(Debug, Default)]
pub struct Web {
    guard: Guard,
    /// Trusted instead of the machine's, in tests.
    roots: Option<Vec<Certificate>>,
    client: Mutex<Option<Client>>,
}

impl Web {
    /// One that also goes to these private networks.
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self {
            guard: Guard::new(allow),
            ..Self::default()
        }
    }

    /// Trusts these certificates and no others.
    pub fn trusting(self, roots: Vec<Certificate>) -> Self {
        Self {
            roots: Some(roots),
            ..self
        }
    }

    /// Made when it is needed first: a machine that fetches no keys may have no root certificates.
    fn client(&self) -> Result<Client, WebError> {
        let mut slot = self.client.lock();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        creel_common::tls::install_provider();
        let resolver = GuardedResolver::new(self.guard.clone(), SystemLookup);
        let mut builder = Client::builder()
            .dns_resolver(Arc::new(resolver))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .https_only(true)
            .http1_only()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(WITHIN)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("creel/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = &self.roots {
            builder = builder.tls_certs_only(roots.clone());
        }
        let client = builder
            .build()
            .map_err(|error| WebError::Failed(describe(error)))?;
        Ok(slot.insert(client).clone())
    }

    /// Fetches a document.
    ///
    /// # Errors
    /// [`WebError::Absent`] for an answer that will not change by itself.
    pub async fn get(&self, url: &str) -> Result<Document, WebError> {
        let failed = |text: String| WebError::Failed(text);
        let url = Url::parse(url).map_err(|error| failed(error.to_string()))?;
        // a name is checked when it is looked up; an address is not looked up
        let refused = match url.host() {
            Some(Host::Ipv4(ip)) => self.guard.check(ip.into()).err(),
            Some(Host::Ipv6(ip)) => self.guard.check(ip.into()).err(),
            _ => None,
        };
        if let Some(refused) = refused {
            return Err(failed(refused.to_string()));
        }
        let sent = self.client()?.get(url).send().await;
        let answer = sent.map_err(|error| failed(describe(error)))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let later = [
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
            ];
            return Err(match status.is_client_error() && !later.contains(&status) {
                true => WebError::Absent(status),
                false => failed(format!("the answer is {status}")),
            });
        }
        let good_for = good_for(&answer);
        let bytes = body(answer).await?;
        Ok(Document { bytes, good_for })
    }
}

async fn body(mut answer: Response) -> Result<Vec<u8>, WebError> {
    let mut bytes = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= BYTES_MAX => {
                bytes.extend_from_slice(&chunk);
            }
            Ok(Some(_)) => {
                let text = format!("the answer is larger than {BYTES_MAX} bytes");
                return Err(WebError::Failed(text));
            }
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(WebError::Failed(describe(error))),
        }
    }
}

/// Four fifths of what its host says: it is fetched again before that is over.
fn good_for(answer: &Response) -> Duration {
    let said = answer.headers().get(CACHE_CONTROL);
    let said = said.and_then(|value| value.to_str().ok());
    let seconds = said.and_then(|value| {
        let parts = value.split(',').map(str::trim);
        parts
            .filter_map(|part| part.strip_prefix("max-age="))
            .find_map(|seconds| seconds.parse().ok())
    });
    let good_for = seconds.map_or(GOOD_FOR, Duration::from_secs);
    good_for.clamp(GOOD_FOR_BOUNDS.0, GOOD_FOR_BOUNDS.1) * 4 / 5
}
