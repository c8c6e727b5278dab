//! TLS of a listener: certificates from PEM files, and the handshake.
//!
//! Whoever is connected keeps the configuration of its handshake; a reload replaces that of the next
//! ones. TLS 1.2 and 1.3 and the ciphers that ring and rustls take for safe; nothing lower is built in.

use std::path::Path;
use std::sync::Arc;

use creel_common::config::{self, Config, Problems};
use creel_common::tls::install_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use crate::current::Current;

/// What senders may speak, the better one first.
pub const PUBLIC_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
/// What workers and operators speak.
pub const PRIVATE_ALPN: &[&[u8]] = &[b"http/1.1"];

/// The configuration of the next handshake; `None` where the listener speaks in clear.
pub type CurrentTls = Current<Option<Arc<ServerConfig>>>;

/// TLS of both listeners, as made of one configuration.
#[derive(Debug, Default)]
pub struct MadeTls {
    /// For senders.
    pub public: Option<Arc<ServerConfig>>,
    /// For workers and operators.
    pub private: Option<Arc<ServerConfig>>,
    /// Such as keys that others on the machine can read.
    pub warnings: Problems,
}

impl MadeTls {
    /// Reads all files.
    ///
    /// # Errors
    /// Every file that cannot be used, with the line that names it.
    pub fn of(config: &Config) -> Result<Self, Problems> {
        let mut making = Making {
            config,
            problems: Problems::default(),
        };
        let receiver = &config.receiver;
        let made = Self {
            public: making.listener("receiver.tls", receiver.tls.as_ref(), PUBLIC_ALPN),
            private: making.listener(
                "receiver.private_tls",
                receiver.private_tls.as_ref(),
                PRIVATE_ALPN,
            ),
            warnings: Problems::default(),
        };
        match making.problems.has_errors() {
            true => Err(making.problems),
            false => Ok(Self {
                warnings: making.problems,
                ..made
            }),
        }
    }
}

struct Making<'c> {
    config: &'c Config,
    problems: Problems,
}

impl Making<'_> {
    fn listener(
        &mut self,
        section: &str,
        tls: Option<&config::Tls>,
        alpn: &[&[u8]],
    ) -> Option<Arc<ServerConfig>> {
        let tls = tls?;
        let origin = &self.config.origin;
        if let Some(message) = config::open_to_others(&tls.key) {
            let warning = origin.warning(format!("{section}.key"), message);
            self.problems.merge(warning);
        }
        let made = server(tls, alpn);
        let made = made
            .map_err(|Unusable { key, message }| origin.error(format!("{section}.{key}"), message));
        match made {
            Ok(made) => Some(Arc::new(made)),
            Err(problems) => {
                self.problems.merge(problems);
                None
            }
        }
    }
}

/// A file that cannot be used: the setting that names it, and why.
struct Unusable {
    key: &'static str,
    message: String,
}

fn unusable(key: &'static str, path: &Path, why: impl std::fmt::Display) -> Unusable {
    let path = path.display();
    Unusable {
        key,
        message: format!("cannot use {path}: {why}"),
    }
}

fn server(tls: &config::Tls, alpn: &[&[u8]]) -> Result<ServerConfig, Unusable> {
    install_provider();
    let chain = certificates("cert", &tls.cert)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|error| unusable("key", &tls.key, explain(&error, "private key")))?;
    let builder = ServerConfig::builder_with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(authorities(path)?));
            let verifier = verifier.build();
            let verifier = verifier.map_err(|error| unusable("client_ca", path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut made = builder
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let why = format!("it is not the key of {}", tls.cert.display());
                unusable("key", &tls.key, why)
            }
            error => unusable("cert", &tls.cert, error),
        })?;
    made.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(made)
}

fn authorities(path: &Path) -> Result<RootCertStore, Unusable> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("client_ca", path)? {
        store
            .add(certificate)
            .map_err(|error| unusable("client_ca", path, error))?;
    }
    Ok(store)
}

/// All certificates of a PEM file; at least one.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let read: Vec<_> = read.map_err(|error| unusable(key, path, explain(&error, "certificate")))?;
    match read.is_empty() {
        true => Err(unusable(key, path, "it has no certificate in PEM form")),
        false => Ok(read),
    }
}

/// In the words of who made the file.
fn explain(error: &PemError, what: &str) -> String {
    match error {
        PemError::NoItemsFound => format!("it has no {what} in PEM form"),
        PemError::Io(error) => error.to_string(),
        // what is wrong in it is not shown: it may be a key
        _ => format!("it is no {what} in PEM form"),
    }
}
