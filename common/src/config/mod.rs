//! Configuration, checked: what every role may rely on.
//!
//! What was typed is read (`read`) along the one table of settings (`settings`), what no
//! single value can show is found after that (`check`), and every problem is reported at
//! once, each with its line. Only what passed is turned into the types that stand here.

mod body_schema;
mod build;
mod check;
mod excerpts;
mod fixed;
mod json_schema;
mod keys;
mod known;
mod load;
mod mask;
mod places;
mod problems;
mod public;
mod rates;
mod raw;
mod read;
mod reply;
mod scalar;
mod schema;
mod secrets;
mod settings;
mod split;
mod suggest;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::retry::RetryPolicy;
use crate::secret::{SecretRef, Window};

pub use body_schema::{BodySchema, OnMismatch};
pub use json_schema::schema;
pub use known::{DestinationKinds, ItemFacts, Known, OptionFacts, ProviderFacts};
pub use load::{FILE_BYTES_MAX, load, parse, providers_directory};
pub(crate) use places::join;
pub use problems::{Origin, Problem, Problems, Severity};
pub use reply::Reply;
pub use secrets::{DestinationSecrets, Resolved, ResolvedToken, open_to_others};
pub use split::{Otherwise, Split};
pub use suggest::hint;
pub use units::{parse_duration, parse_size, show_duration, show_size};

/// A whole configuration file that passed all checks.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from; relative paths in it are already resolved against its directory.
    pub path: PathBuf,
    /// The receiver's listeners and limits.
    pub receiver: Receiver,
    /// The log.
    pub log: Log,
    /// How many idempotency keys are kept.
    pub dedupe: Dedupe,
    /// Where requests that failed verification are kept.
    pub quarantine: Quarantine,
    /// The workers.
    pub worker: Worker,
    /// Sources by name.
    pub sources: BTreeMap<String, Source>,
    /// Destinations by name.
    pub destinations: BTreeMap<String, Destination>,
    /// Routes in order of the file; names are unique.
    pub routes: Vec<Route>,
    /// What a running receiver cannot take over: see [`Config::needs_restart`].
    fixed: fixed::Fixed,
    /// Where each setting stands in the file, for what is found wrong later.
    pub origin: Origin,
    /// What should be known and prevents nothing.
    pub warnings: Problems,
}

/// `[receiver]`
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Where senders connect. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Where workers, operators and metrics connect; without `private_tls` loopback only. Default
    /// `127.0.0.1:8081`.
    pub private: SocketAddr,
    /// The URL under which senders reach `listen`, without a trailing slash.
    pub public_url: Option<String>,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// TLS on `listen`.
    pub tls: Option<Tls>,
    /// TLS on `private`; has a `client_ca`.
    pub private_tls: Option<Tls>,
    /// Most open connections of senders. Default 10,000.
    pub connections_max: usize,
    /// Most open connections of one address that is no trusted proxy. Default 5,000.
    pub connections_per_address_max: usize,
    /// Most bytes of bodies in memory at once. Default 256 MiB.
    pub bodies_bytes_max: u64,
    /// Most deliveries that wait for the disk at once. Default 65,536.
    pub waiting_max: u64,
    /// How much of what other sources leave one source may take. Default a half.
    pub source_share: f64,
    /// Most requests that one address may make to all sources together.
    pub rate_per_address: Option<Rate>,
    /// A new connection's first request must have begun within. Default 10 s.
    pub first_byte_timeout: Duration,
    /// A request's headers, and a TLS handshake, must have come within. Default 10 s.
    pub header_timeout: Duration,
    /// A request's body must have come within. Default 30 s.
    pub body_timeout: Duration,
    /// A connection may be idle for. Default 75 s.
    pub idle_timeout: Duration,
    /// How long a stop waits for requests in flight. Default 10 s.
    pub drain_timeout: Duration,
    /// Tokens of the private listener.
    pub tokens: Vec<Token>,
    /// The directory of own provider packs.
    pub providers: Option<PathBuf>,
    /// Where keys that were fetched and secrets that senders named are. Default `keys` beside the log's.
    pub keys: PathBuf,
    /// Private networks that keys may be fetched from.
    pub keys_allow: Vec<IpNet>,
}

/// How many may come in a second, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// In the long run.
    pub per_second: f64,
    /// At once; at least 1.
    pub burst: u32,
}

/// The certificate of a listener: PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Its certificate, and those that lead to its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of certificates that whoever connects must have.
    pub client_ca: Option<PathBuf>,
}

/// How to connect to receivers that speak TLS: PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Authorities of their certificates; without, those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl Receiver {
    /// The URL of the private listener, where it is bound to `address`.
    pub fn private_url(&self, address: SocketAddr) -> String {
        url(self.private_tls.is_some(), address)
    }

    /// The URL of the public listener, where it is bound to `address`.
    pub fn local_url(&self, address: SocketAddr) -> String {
        url(self.tls.is_some(), address)
    }
}

fn url(tls: bool, address: SocketAddr) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", reached(address))
}

/// Where a program on this machine reaches what is bound to `address`.
pub fn reached(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// One token of the private listener.
#[derive(Debug, Clone)]
pub struct Token {
    /// What it may do.
    pub role: Role,
    /// Where it is.
    pub secret: SecretRef,
    /// Who holds it, for the audit; default the role's name.
    pub name: String,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Lease and settle.
    Worker,
    /// Look at everything.
    Read,
    /// Look at and change everything but lease.
    Operate,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// Which engine.
    pub engine: EngineKind,
    /// The directory. Default `data`.
    pub path: PathBuf,
    /// How long settled deliveries are kept. Default 7 days.
    pub retention: Duration,
    /// A volume is closed at this size. Default 1 GiB, at least 4 MiB.
    pub volume_bytes: u64,
    /// Intake stops below this much free space. Default 1 GiB.
    pub reserve_bytes: u64,
    /// Operators' changes that make state grow stop below this much. Default a quarter of the reserve.
    pub reserve_operate_bytes: u64,
    /// Most bytes that the log takes.
    pub max_bytes: Option<u64>,
    /// Room taken to be given away when the disk is full. Default 64 MiB, at most a quarter of the reserve.
    pub ballast_bytes: u64,
    /// Most bytes of kept attempts. Default 512 MiB.
    pub attempts_bytes: u64,
    /// Most bytes of recent blocks kept in memory. Default 64 MiB.
    pub cache_bytes: u64,
    /// A lease holds for. Default 60 s.
    pub lease: Duration,
    /// This many expired leases of one delivery make a dead letter. Default 3.
    pub lost_max: u32,
}

/// `[dedupe]`
#[derive(Debug, Clone)]
pub struct Dedupe {
    /// Most idempotency keys kept. Default 50 million.
    pub keys_max: u64,
}

/// `[quarantine]`
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// Its directory. Default `quarantine` beside the log's.
    pub path: PathBuf,
    /// Most bytes that it takes; 0 keeps nothing. Default 2 GiB.
    pub max_bytes: u64,
    /// Most requests in it. Default 2 million.
    pub max_count: u64,
    /// How long a request is kept. Default 7 days.
    pub max_age: Duration,
    /// Most requests per second that are kept of one address. Default 500.
    pub per_address: f64,
}

/// Which engine keeps the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// In memory; for tests. Nothing survives.
    Memory,
    /// sled, with a real sync.
    Sled,
}

/// `[worker]`
#[derive(Debug, Clone)]
pub struct Worker {
    /// Receivers to lease from. Default: the `private` address.
    pub receivers: Vec<String>,
    /// Certificates for `https` receivers.
    pub tls: ClientTls,
    /// The worker's token.
    pub token: Option<SecretRef>,
    /// Most deliveries under way at once, over all routes. Default 256.
    pub concurrency: usize,
    /// How long a stop waits for deliveries under way before they are released. Default 20 s.
    pub drain_timeout: Duration,
    /// How many workers `creel up` runs. Default 2.
    pub processes: usize,
}

/// `[sources.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Its name: the last part of its path.
    pub name: String,
    /// The provider pack.
    pub provider: String,
    /// Any that is valid when a request arrives may have signed it.
    pub secrets: Vec<SourceSecret>,
    /// Settings of the pack (`param:` in its pipelines).
    pub options: BTreeMap<String, String>,
    /// Overrides the receiver's `public_url` for this source: the whole URL up to the path.
    pub public_url: Option<String>,
    /// Overrides the pack's tolerance of clocks.
    pub tolerance: Option<Duration>,
    /// Overrides the pack's largest body.
    pub body_max: Option<u64>,
    /// Media types of bodies that are taken, in lower case; empty means any.
    pub content_types: Vec<String>,
    /// Networks that its requests may come from; empty means any.
    pub allow: Vec<IpNet>,
    /// Most of its deliveries that are taken.
    pub rate: Option<Rate>,
    /// Most requests to it that one address may make; `None`: the receiver's.
    pub rate_per_address: Option<Rate>,
    /// What its sender is answered instead of the pack's reply.
    pub reply: Option<Reply>,
    /// Most bytes of its deliveries that are kept.
    pub quota_bytes: Option<u64>,
    /// For how long repeats are recognised. Default 72 h; zero switches it off.
    pub dedupe_window: Duration,
    /// A pipeline that names the idempotency key, where the pack has none.
    pub idempotency_key: Option<String>,
    /// JSON Schemas that its bodies must match.
    pub schema: Option<BodySchema>,
}

/// One of a source's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSecret {
    /// Its name for people; unique among those of its source.
    pub id: String,
    /// Where it is.
    pub from: SecretRef,
    /// When it is valid.
    pub window: Window,
}

/// `[destinations.NAME]`
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// Its kind (`type` in the file).
    pub kind: String,
    /// The kind's own settings, as typed, without `type`; checked by the kind.
    pub settings: toml::Table,
}

/// `[[routes]]`
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its identity: cursor, pause and leases refer to it. Default `<source>-<destination>`.
    pub name: String,
    /// From where.
    pub source: String,
    /// To where.
    pub destination: String,
    /// Only these event types; empty means all. With `split`, items are chosen instead of deliveries.
    pub events: Vec<String>,
    /// How it retries.
    pub retry: RetryPolicy,
    /// Most deliveries leased at once. Default 1,024.
    pub open_max: u32,
    /// Most deliveries started per second.
    pub rate: Option<f64>,
    /// The breaker.
    pub breaker: Breaker,
    /// Where a new route starts; `None`: at the beginning for the source's first route, else now.
    pub start: Option<Start>,
    /// One try may take this long. Default 30 s.
    pub timeout: Duration,
    /// A delivery that carries several items is sent item by item.
    pub split: Option<Split>,
}

/// Where a new route starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest that is retained.
    Beginning,
    /// With what comes from now on.
    Now,
}

/// When a route stops trying for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// Opens after this many failures in a row; 0 switches it off. Default 10.
    pub failures: u32,
    /// First pause before a probe. Default 5 s; doubles with every failed probe.
    pub pause: Duration,
    /// Longest pause before a probe. Default 5 min.
    pub pause_max: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 10,
            pause: Duration::from_secs(5),
            pause_max: Duration::from_secs(300),
        }
    }
}
