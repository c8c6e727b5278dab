//! HTTP servers to deliver to: one that remembers, and one that says what it is told, byte by byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What arrived at a destination, of whatever kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub id: String,
    pub attempt: String,
    pub generation: String,
    pub source: String,
    pub received_at: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Arrived {
    /// All values of a header, in order.
    pub fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }

    pub fn text(&self, name: &str) -> String {
        let values = self.values(name);
        assert_eq!(values.len(), 1, "{name}");
        String::from_utf8(values[0].to_vec()).unwrap()
    }
}

/// A request as the sink remembers it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub arrived: Arrived,
}

/// A server that remembers what it got and answers with one status.
#[derive(Clone)]
pub struct Sink {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    seen: Vec<Seen>,
}

impl Sink {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sink = Self {
            address: listener.local_addr().unwrap(),
            inner: Arc::new(Mutex::new(Inner {
                status: 200,
                headers: Vec::new(),
                body: b"thanks".to_vec(),
                seen: Vec::new(),
            })),
        };
        let app = Router::new().fallback(remember).with_state(sink.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        sink
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks?key=1", self.address)
    }

    pub fn answer(&self, status: u16, headers: &[(&'static str, &str)], body: &[u8]) {
        let mut inner = self.inner.lock().unwrap();
        inner.status = status;
        inner.headers = headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        inner.body = body.to_vec();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.lock().unwrap().seen.clone()
    }
}

async fn remember(State(sink): State<Sink>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let text = |name: &str| {
        let value = parts.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default().to_owned()
    };
    let headers = parts.headers.iter();
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        arrived: Arrived {
            id: text("creel-delivery-id"),
            attempt: text("creel-attempt"),
            generation: text("creel-generation"),
            source: text("creel-source"),
            received_at: text("creel-received-at"),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect(),
            body: body.to_vec(),
        },
    };
    let mut inner = sink.inner.lock().unwrap();
    inner.seen.push(seen);
    let mut response = Response::builder().status(inner.status);
    for (name, value) in &inner.headers {
        response = response.header(*name, value);
    }
    response.body(Body::from(inner.body.clone())).unwrap()
}

/// A server that reads one request's head and then does what `answer` does with the connection.
pub async fn raw<F, A>(answer: F) -> String
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if connection.read_buf(&mut head).await.unwrap() == 0 {
                    break;
                }
            }
            tokio::spawn(answer(connection));
        }
    });
    url
}

/// Writes as much as the other side takes.
pub async fn write(connection: &mut TcpStream, bytes: &[u8]) -> bool {
    connection.write_all(bytes).await.is_ok()
}
