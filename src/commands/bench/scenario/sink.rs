//! A destination in this process: takes, fails as scripted, or never answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::super::request;

/// What comes of a request, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Taken,
    /// 500.
    Failed,
    /// None, ever; the connection stays open.
    Never,
}

/// Decides about each request by its number.
pub type Rule = Arc<dyn Fn(u64) -> Answer + Send + Sync>;

/// Destinations on ports of their own; they end when this is dropped.
pub struct Sinks {
    runtime: Runtime,
}

impl Sinks {
    /// Starts the thread they share.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sinks")
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self { runtime })
    }

    /// Opens one.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn open(&self, rule: Rule) -> anyhow::Result<SocketAddr> {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        self.runtime.spawn(serve(listener, rule));
        Ok(address)
    }
}

/// A port that refuses connections: bound once, so that nobody else has it, and closed again.
///
/// # Errors
/// When no port can be had.
pub fn refusing() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?)
}

async fn serve(listener: TcpListener, rule: Rule) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let rule = rule.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(rule.clone(), request));
            // a worker that ends breaks its connections
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    rule: Rule,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let name = request.headers().get(request::NAME);
    let number = name.and_then(|name| request::number(name.to_str().ok()?));
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let status = match number.map(|number| rule(number)) {
        Some(Answer::Taken) => StatusCode::OK,
        Some(Answer::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
        Some(Answer::Never) => std::future::pending().await,
        None => StatusCode::BAD_REQUEST,
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    Ok(response)
}
