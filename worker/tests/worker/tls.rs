//! Who an https destination must be able to prove to be.
//!
//! `tls/` holds a self-signed certificate for localhost and its key, made for this test alone.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use creel_common::outcome::Outcome;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::sample::{item, opened};

const CERTIFICATE: &[u8] = include_bytes!("tls/cert.der");
const KEY: &[u8] = include_bytes!("tls/key.der");
/// The certificate again, as files of trusted ones have it.
const PEM: &str = include_str!("tls/cert.pem");

fn serve() -> (u16, Arc<AtomicUsize>) {
    serve_at("127.0.0.1")
}

/// An https server on loopback; counts the requests that it got to see.
fn serve_at(address: &str) -> (u16, Arc<AtomicUsize>) {
    creel_common::tls::install_provider();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivateKeyDer::try_from(KEY).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            if stream.read(&mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let (port, requests) = serve();
    let url = format!("https://localhost:{port}/");
    let settings = format!("url = {url:?}\nallow = [\"127.0.0.0/8\", \"::1\"]");
    let destination = opened("http", &settings, Path::new("")).unwrap();
    let result = destination.deliver(&[item(1, "{}")]).await.remove(0);
    assert_eq!(result.outcome, Outcome::Retry { after: None });
    let error = result.report.error.unwrap();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 0);

    // the same server is fine for who knows its certificate
    let known = reqwest::Certificate::from_der(CERTIFICATE).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([known]);
    let response = client.build().unwrap().get(&url).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// Whom a process trusts it is told by its environment, so this has one of its own.
#[test]
fn a_certificate_of_another_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let trusted = dir.path().join("trusted.pem");
    std::fs::write(&trusted, PEM).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "--ignored", "tls::child_trusts_the_certificate"]);
    let output = child.env("SSL_CERT_FILE", &trusted).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("1 passed"), "{told}");
}

#[tokio::test]
#[ignore = "run by a_certificate_of_another_name_is_refused"]
async fn child_trusts_the_certificate() {
    for (host, address, is_its_name) in [
        ("localhost", "127.0.0.1", true),
        ("127.0.0.2", "127.0.0.2", false),
    ] {
        let (port, requests) = serve_at(address);
        let settings =
            format!("url = \"https://{host}:{port}/\"\nallow = [\"127.0.0.0/8\", \"::1\"]");
        let destination = opened("http", &settings, Path::new("")).unwrap();
        let result = destination.deliver(&[item(1, "{}")]).await.remove(0);
        let error = result.report.error.unwrap_or_default();
        assert_eq!(
            error.contains("certificate"),
            !is_its_name,
            "{host}: {error}"
        );
        let seen = requests.load(Ordering::SeqCst);
        assert_eq!(seen, usize::from(is_its_name), "{host}");
    }
}
