//! A destination that remembers what came and answers as a test wants.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A request that reached the sink.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub at: Instant,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Arrival {
    /// The header `creel-delivery-id`.
    pub fn delivery(&self) -> Option<&str> {
        self.header("creel-delivery-id")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What the sink does with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    Body(u16, String),
    /// The status after a while.
    Late(Duration, u16),
    /// No answer, and the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Drop,
}

type Rule = dyn Fn(&Arrival) -> Answer + Send + Sync;

/// An HTTP server on a port of its own; stops when dropped.
pub struct Sink {
    address: SocketAddr,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    _stop: DropGuard,
}

impl Sink {
    /// Starts one that decides about each request by `rule`.
    pub async fn start(rule: impl Fn(&Arrival) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        let state = State {
            arrivals: Arc::default(),
            rule: Arc::new(rule),
        };
        let arrivals = Arc::clone(&state.arrivals);
        tokio::spawn(serve(listener, state, stop.clone()));
        Self {
            address,
            arrivals,
            _stop: stop.drop_guard(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What makes it the destination `sink` in a config.
    pub fn destination(&self) -> String {
        format!(
            "[destinations.sink]\ntype = \"http\"\nurl = \"http://{}/\"\n\
             allow = [\"127.0.0.0/8\"]\n\n",
            self.address
        )
    }

    /// Everything that came, in order.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals
            .lock()
            .expect("no rule panics under the lock")
            .clone()
    }

    /// How much came.
    pub fn count(&self) -> usize {
        self.arrivals
            .lock()
            .expect("no rule panics under the lock")
            .len()
    }

    /// How often each delivery came.
    pub fn times(&self) -> HashMap<String, usize> {
        let mut times = HashMap::new();
        for arrival in self
            .arrivals
            .lock()
            .expect("no rule panics under the lock")
            .iter()
        {
            let id = arrival.delivery().unwrap_or_default().to_owned();
            *times.entry(id).or_default() += 1;
        }
        times
    }

    /// What came of one delivery.
    pub fn arrivals_of(&self, id: &str) -> Vec<Arrival> {
        self.arrivals()
            .into_iter()
            .filter(|arrival| arrival.delivery() == Some(id))
            .collect()
    }
}

#[derive(Clone)]
struct State {
    arrivals: Arc<Mutex<Vec<Arrival>>>,
    rule: Arc<Rule>,
}

async fn serve(listener: TcpListener, state: State, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        tokio::spawn(connection(stream, state.clone(), stop.clone()));
    }
}

async fn connection(stream: TcpStream, state: State, stop: CancellationToken) {
    let service = service_fn(move |request| answer(request, state.clone()));
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        _ = serving => {}
    }
}

async fn answer(request: Request<Incoming>, state: State) -> io::Result<Response<Full<Bytes>>> {
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let arrival = Arrival {
        at,
        path: parts.uri.to_string(),
        headers: parts.headers,
        body,
    };
    let decided = (state.rule)(&arrival);
    state
        .arrivals
        .lock()
        .expect("no rule panics under the lock")
        .push(arrival);
    match decided {
        Answer::Status(status) => Ok(response(status, String::new())),
        Answer::Body(status, body) => Ok(response(status, body)),
        Answer::Late(after, status) => {
            tokio::time::sleep(after).await;
            Ok(response(status, String::new()))
        }
        Answer::Hang => {
            std::future::pending::<Infallible>().await;
            Err(dropped())
        }
        Answer::Drop => Err(dropped()),
    }
}

/// What makes hyper close the connection without an answer.
fn dropped() -> io::Error {
    io::Error::other("dropped on purpose")
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::new(body.into()))
        .expect("a valid status")
}
