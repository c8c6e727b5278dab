//! Destinations the demo plays itself: one that fails for a while, one that rejects some.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::ledger::{Arrivals, Digest, digest};

/// Largest body a sink takes; the demo's own are far smaller.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What ails a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ailment {
    /// Answers 500 to all.
    Down,
    /// Answers 422 to about one body in twenty, always the same ones.
    Picky,
}

/// A destination that notes what it took.
pub struct Sink {
    name: &'static str,
    ailment: Ailment,
    ill: AtomicBool,
    failed: AtomicU64,
    arrivals: AtomicU64,
    /// By route, then by delivery: the digests of the bodies that came.
    taken: Mutex<HashMap<String, Arrivals>>,
}

impl Sink {
    /// Starts a sink on a free port of this machine.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(
        name: &'static str,
        ailment: Ailment,
    ) -> anyhow::Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let sink = Arc::new(Self {
            name,
            ailment,
            ill: AtomicBool::new(true),
            failed: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            taken: Mutex::default(),
        });
        tokio::spawn(serve(sink.clone(), listener));
        Ok((sink, address))
    }

    /// Nothing ails it any more.
    pub fn cure(&self) {
        self.ill.store(false, Ordering::Relaxed);
    }

    /// How many requests it answered with an error.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// What it took on a route.
    pub fn taken(&self, route: &str) -> Arrivals {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(route).cloned().unwrap_or_default()
    }

    /// How often anything was taken.
    #[cfg(feature = "torture")]
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Whether a picky sink rejects this body while it is ill.
    pub fn picks(digest: &Digest) -> bool {
        digest[0].is_multiple_of(20)
    }

    fn take(&self, route: &str, id: &str, body: &[u8]) -> StatusCode {
        let digest = digest(body);
        let refusal = match (self.ill.load(Ordering::Relaxed), self.ailment) {
            (true, Ailment::Down) => Some(StatusCode::INTERNAL_SERVER_ERROR),
            (true, Ailment::Picky) if Self::picks(&digest) => {
                Some(StatusCode::UNPROCESSABLE_ENTITY)
            }
            _ => None,
        };
        if let Some(status) = refusal {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return status;
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken
            .entry(route.to_owned())
            .or_default()
            .entry(id.to_owned())
            .or_default()
            .push(digest);
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        StatusCode::OK
    }
}

async fn serve(sink: Arc<Sink>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let sink = sink.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(sink.clone(), request));
            // a worker that was killed breaks its connections
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    sink: Arc<Sink>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |name: &str| {
        let value = request.headers().get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let id = text("creel-delivery-id");
    let route = format!("{}-{}", text("creel-source"), sink.name);
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX)
        .collect()
        .await;
    let status = match body {
        Ok(body) => sink.take(&route, &id, &body.to_bytes()),
        Err(_) => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    Ok(response)
}
