//! Who an https destination must be able to prove to be.
//!
//! `tls/` holds a self-signed certificate for localhost and its key, made for this test alone.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use creel_common::outcome::Outcome;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::sample::{item, opened};

const CERTIFICATE: &[u8] = include_bytes!("tls/cert.der");
const KEY: &[u8] = include_bytes!("tls/key.der");

/// An https server on loopback; counts the requests that it got to see.
fn serve() -> (u16, Arc<AtomicUsize>) {
    creel_common::tls::install_provider();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(CERTIFICATE)],
            PrivateKeyDer::try_from(KEY).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
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
