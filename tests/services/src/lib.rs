//! What the tests of this package share: servers and clients on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower_keep::clock::{Clock, Tick};

/// Real time, as the layers read it.
#[must_use]
pub fn now() -> Tick {
    Clock::default().now()
}

/// Lets real time pass.
pub async fn pause(time: Duration) {
    let clock = Clock::default();
    let due = clock.now().saturating_add(time);
    clock.sleep_until(due).await.unwrap();
}

/// Waits until something is true that other tasks bring about.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        pause(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Serves a router on loopback as long as the runtime lives.
pub async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// One connection of its own.
#[derive(Debug)]
pub struct Peer {
    sender: SendRequest<Full<Bytes>>,
}

/// A response that has arrived.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, up to its end or its error.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Peer {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends a request and waits for the head of its response.
    pub async fn send(&mut self, request: Request<&str>) -> Response<hyper::body::Incoming> {
        self.sender.ready().await.unwrap();
        let request = request.map(|body| Full::new(Bytes::from(body.to_owned())));
        self.sender.send_request(request).await.unwrap()
    }

    /// Sends a request and reads the whole response.
    pub async fn ask(&mut self, request: Request<&str>) -> Answer {
        let (head, body) = self.send(request).await.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    /// As [`ask`](Self::ask), for a `GET`.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path)).await
    }
}

/// A `GET` request.
#[must_use]
pub fn get(path: &str) -> Request<&'static str> {
    let request = Request::get(path).header("host", "localhost");
    request.body("").unwrap()
}

/// As [`get`], with one more header.
#[must_use]
pub fn get_with(path: &str, name: &'static str, value: &str) -> Request<&'static str> {
    let mut request = get(path);
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}
