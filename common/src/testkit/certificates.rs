//! Certificates that are made when a test begins, and last for it; and a client that believes them.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The name that certificates of these tests are for, and that clients ask for.
pub const HOST: &str = "hooks.example.com";

/// A connection of a client.
pub type Secured = tokio_rustls::client::TlsStream<TcpStream>;

/// An authority of a test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// PEM files of one certificate.
#[derive(Debug, Clone)]
pub struct Files {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key, for its owner alone.
    pub key: PathBuf,
}

impl Authority {
    /// One that nobody else knows.
    ///
    /// # Panics
    /// When ring makes no key.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        Self {
            pem: own.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes its own certificate.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).expect("a file of the test");
    }

    /// Writes a certificate for `names` (host names and addresses) into `NAME.pem` and `NAME.key` of a
    /// directory, over what may be there.
    ///
    /// # Panics
    /// When a file cannot be written.
    pub fn issue(&self, directory: &Path, name: &str, names: &[&str]) -> Files {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let files = Files {
            cert: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        };
        std::fs::write(&files.cert, made.pem()).expect("a file of the test");
        std::fs::write(&files.key, key.serialize_pem()).expect("a file of the test");
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&files.key, owner).expect("our own file");
        files
    }
}

/// Connects as a client that believes `authority` alone, speaks one of `alpn`, and shows `identity`.
///
/// # Errors
/// What the handshake ends with. Under TLS 1.3 a server that asks for a certificate refuses only
/// after it.
pub async fn connect(
    address: SocketAddr,
    authority: &Authority,
    alpn: &[&str],
    identity: Option<&Files>,
) -> io::Result<Secured> {
    crate::tls::install_provider();
    let mut roots = RootCertStore::empty();
    let own = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("our own PEM");
    roots.add(own).expect("our own certificate");
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.cert).expect("our own file");
            let chain: Result<_, _> = chain.collect();
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("our own key");
            let chain = chain.expect("our own certificate");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(HOST).expect("a host name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
