//! Connecting that never ends, ended by `timeout::Connector`.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tower::Service;
use tower_keep::error::find_rejection;
use tower_keep::timeout::{Connector, Handle, Policy, TimeoutLayer};
use tower_keep::{RejectionKind, Setup};
use tower_keep_services::{now, serve};

pub(crate) const LIMIT: Duration = Duration::from_millis(300);

/// A listener that accepts nothing, and whose backlog is full: a further
/// connection attempt gets no answer.
pub(crate) struct Silent {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _backlog: Vec<TcpStream>,
}

impl Silent {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut backlog = Vec::new();
        loop {
            let attempt = tokio::time::timeout(LIMIT, TcpStream::connect(address));
            match attempt.await {
                Ok(stream) => backlog.push(stream.unwrap()),
                Err(_) => break,
            }
            assert!(backlog.len() < 1_000, "the backlog has no end here");
        }
        Self {
            address,
            _listener: listener,
            _backlog: backlog,
        }
    }
}

pub(crate) fn limit() -> (TimeoutLayer, Handle) {
    let policy = Policy::attempt(LIMIT).unwrap();
    let layer = TimeoutLayer::with(policy, Setup::named("connect"));
    let handle = layer.handle();
    (layer, handle)
}

fn request(address: SocketAddr) -> Request<Body> {
    Request::get(format!("http://{address}/"))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_client_gives_up_connecting_and_can_tell_why() {
    let silent = Silent::new().await;
    let (layer, handle) = limit();
    let connector = Connector::new(&layer, HttpConnector::new());
    let client = Client::builder(TokioExecutor::new()).build(connector);

    let start = now();
    let error = client.request(request(silent.address)).await.unwrap_err();
    let took = now().saturating_since(start);
    assert!(took >= LIMIT && took < 20 * LIMIT, "{took:?}");
    assert!(error.is_connect());
    let rejection = find_rejection(&error).unwrap();
    assert_eq!(rejection.kind(), RejectionKind::ConnectTimeout);
    assert!(!rejection.reached_inner(), "no request was sent");
    assert_eq!(rejection.layer(), handle.id());
    assert_eq!(handle.snapshot().timed_out, 1);

    // The same client, to a server that does accept.
    let address = serve(Router::new().route("/", get(|| async { "hello" }))).await;
    assert!(
        client
            .request(request(address))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    // What cannot be reached at all is no matter of time.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = gone.local_addr().unwrap();
    drop(gone);
    let error = client.request(request(nowhere)).await.unwrap_err();
    assert!(error.is_connect() && find_rejection(&error).is_none());
    let end = handle.snapshot();
    assert_eq!((end.timed_out, end.finished, end.in_flight), (1, 2, 0));
}

#[tokio::test]
async fn a_connector_is_a_service_like_any_other() {
    let silent = Silent::new().await;
    let (layer, _handle) = limit();
    let mut connector = Connector::new(&layer, HttpConnector::new());
    std::future::poll_fn(|cx| Service::<http::Uri>::poll_ready(&mut connector, cx))
        .await
        .unwrap();
    let uri = format!("http://{}/", silent.address).parse().unwrap();
    let error = Service::<http::Uri>::call(&mut connector, uri)
        .await
        .unwrap_err();
    assert!(find_rejection(&error).is_some());
}

#[tokio::test]
async fn a_tonic_channel_takes_the_connector() {
    use tonic::transport::Endpoint;

    let silent = Silent::new().await;
    let (layer, handle) = limit();
    let connector = Connector::new(&layer, HttpConnector::new());
    let endpoint = Endpoint::from_shared(format!("http://{}", silent.address)).unwrap();
    let error = endpoint
        .connect_with_connector(connector)
        .await
        .unwrap_err();
    assert_eq!(find_rejection(&error).unwrap().layer(), handle.id());
}

#[tokio::test]
async fn a_reqwest_client_takes_the_timeout_as_a_connector_layer() {
    let silent = Silent::new().await;
    let (layer, handle) = limit();
    let client = reqwest::Client::builder()
        .no_proxy()
        .connector_layer(layer.connecting())
        .build()
        .unwrap();
    let error = client
        .get(format!("http://{}/", silent.address))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_connect());
    let rejection = find_rejection(&error).unwrap();
    assert_eq!(rejection.layer(), handle.id());
    assert_eq!(rejection.kind(), RejectionKind::ConnectTimeout);
    assert!(!rejection.reached_inner(), "no request was sent");
    let address = serve(Router::new().route("/", get(|| async { "hello" }))).await;
    let answer = client
        .get(format!("http://{address}/"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello");
}
