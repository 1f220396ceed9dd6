//! Messages in motion: streaming, HTTP/2, upgrades, expectations and lengths.

use crate::support::{Gateway, Upstream, soon};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::net::TcpStream;

#[tokio::test]
async fn streams_both_ways() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.all("transfer-encoding"), ["chunked"]);
    // The first chunk is here before the client has sent the last.
    server.until("one\r\n").await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    server.until("two\r\n").await;
    server.until("0\r\n\r\n").await;

    server
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n")
        .await;
    let answer = client.head().await;
    assert_eq!(answer.all("transfer-encoding"), ["chunked"]);
    client.until("three\r\n").await;
    server.send("4\r\nfour\r\n0\r\n\r\n").await;
    client.until("four\r\n").await;
    client.until("0\r\n\r\n").await;
}

#[tokio::test]
async fn passes_trailers() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
             2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.get("trailer"), Some("x-sum"));
    let body = client.until("\r\n\r\n").await;
    assert!(body.contains("x-sum: 7"), "{body}");
}

async fn http2(
    address: std::net::SocketAddr,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn speaks_http2_to_clients() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut sender = http2(gateway.address).await;
    let request = Request::get("http://example.org/two")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .body(Empty::new())
        .unwrap();
    let answer = tokio::spawn(async move { sender.send_request(request).await });
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.first_line(), "GET /two HTTP/1.1");
    assert_eq!(seen.all("cookie"), ["a=1; b=2"]);
    assert_eq!(seen.get("x-forwarded-host"), Some("example.org"));
    assert!(seen.get("via").unwrap().starts_with("2 gateway-"));
    server
        .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    let answer = soon("the answer", answer).await.unwrap().unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert!(answer.headers().get("connection").is_none());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "hi");
}

#[tokio::test]
async fn speaks_http2_to_upstreams() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::start(&[format!("--upstream=h2://{}", upstream.address)]);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let server = upstream.accept().await;
    let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
        assert_eq!(request.version(), Version::HTTP_2);
        let via = request.headers()["via"].clone();
        let mut response = Response::new(Full::new(Bytes::from_static(b"hi")));
        response.headers_mut().insert("x-via", via);
        Ok::<_, Infallible>(response)
    });
    tokio::spawn(
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(server.0), service),
    );
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("x-via: 1.1 gateway-"), "{answer}");
    assert!(answer.contains("via: 2 gateway-"), "{answer}");
    assert!(answer.contains("hi"), "{answer}");
}

#[tokio::test]
async fn tunnels_an_upgrade() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.get("upgrade"), Some("echo"));
    assert_eq!(seen.get("connection"), Some("upgrade"));
    server
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(answer.first_line().starts_with("HTTP/1.1 101 "));
    assert_eq!(answer.all("upgrade"), ["echo"]);
    assert_eq!(answer.all("connection"), ["upgrade"]);
    assert_eq!(answer.get("content-length"), None);
    assert_eq!(answer.get("transfer-encoding"), None);
    client.send("ping!").await;
    assert_eq!(server.until("ping!").await, "ping!");
    server.send("pong!").await;
    assert_eq!(client.until("pong!").await, "pong!");
    drop(server);
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_refused_upgrade_is_an_answer() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = client.head().await;
    assert!(answer.first_line().starts_with("HTTP/1.1 403 "));
    assert_eq!(client.until("no").await, "no");
}

const EXPECTING: &str =
    "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn the_upstream_decides_whether_to_continue() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send(EXPECTING).await;
    let mut server = upstream.accept().await;
    assert_eq!(server.head().await.get("expect"), Some("100-continue"));
    assert!(client.is_silent().await, "continued before the upstream");
    server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await.first_line(), "HTTP/1.1 100 Continue");
    client.send("12345").await;
    assert_eq!(server.until("12345").await, "12345");
    server
        .send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.first_line(), "HTTP/1.1 201 Created");
}

#[tokio::test]
async fn the_upstream_may_refuse_before_the_body() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send(EXPECTING).await;
    let mut server = upstream.accept().await;
    server.head().await;
    server
        .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        .await;
    let answer = client.head().await;
    assert!(
        answer.first_line().starts_with("HTTP/1.1 413 "),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_upstream_that_never_says_continue_gets_the_body() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send(EXPECTING).await;
    let mut server = upstream.accept().await;
    server.head().await;
    assert_eq!(client.head().await.first_line(), "HTTP/1.1 100 Continue");
    client.send("12345").await;
    assert_eq!(server.until("12345").await, "12345");
}

#[tokio::test]
async fn says_nothing_wrong_about_lengths() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    for (method, answer, length) in [
        ("HEAD", "200 OK\r\nContent-Length: 77\r\n", Some("77")),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n", None),
        ("GET", "304 Not Modified\r\nETag: \"a\"\r\n", None),
        ("GET", "204 No Content\r\n", None),
        ("GET", "200 OK\r\nContent-Length: 0\r\n", Some("0")),
    ] {
        let mut client = gateway.connect().await;
        client
            .send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        let mut server = upstream.accept().await;
        server.head().await;
        server
            .send(&format!("HTTP/1.1 {answer}Connection: close\r\n\r\n"))
            .await;
        drop(server);
        let seen = client.head().await;
        assert_eq!(
            seen.get("content-length"),
            length,
            "{method} {answer}: {seen:?}"
        );
    }
}

#[tokio::test]
async fn a_long_upload_is_no_timeout() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::configured("upload", "response_timeout = \"250ms\"", &upstream);
    let mut client = gateway.connect().await;
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await;
    let mut server = upstream.accept().await;
    server.head().await;
    for _ in 0..8 {
        assert!(
            client.is_silent().await,
            "answered in the middle of the upload"
        );
        client.send("x").await;
        server.until("x").await;
    }
    server
        .send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.head().await.first_line(), "HTTP/1.1 201 Created");
}

#[tokio::test]
async fn a_length_beside_chunks_does_not_cross() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
    let mut server = upstream.accept().await;
    let seen = server.head().await;
    assert_eq!(seen.get("content-length"), None, "{seen:?}");
    assert_eq!(seen.all("transfer-encoding"), ["chunked"]);
    server.until("hello\r\n").await;
    server
        .send(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
    let answer = client.head().await;
    assert_eq!(answer.get("content-length"), None, "{answer:?}");
    client.until("hello\r\n").await;
}
