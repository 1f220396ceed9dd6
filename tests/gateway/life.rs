//! Failing upstreams, and the end of the gateway.

use crate::support::{Gateway, Upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const HI: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_dead_upstream_is_a_bad_gateway() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    drop(upstream);
    let mut client = gateway.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(
        answer.contains("content-type: application/problem+json"),
        "{answer}"
    );
    assert!(
        answer.contains("proxy-status: gateway; error=connection_refused"),
        "{answer}"
    );
    assert!(answer.contains("\"cause\":\"connect\""), "{answer}");
    assert!(answer.contains("x-request-id: "), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_dies_in_the_middle_is_a_bad_gateway() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = upstream.accept().await;
    server.head().await;
    drop(server);
    assert!(
        client
            .head()
            .await
            .first_line()
            .starts_with("HTTP/1.1 502 ")
    );
}

#[tokio::test]
async fn a_connection_that_went_stale_is_replaced() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::before(&upstream);
    for _ in 0..3 {
        let mut client = gateway.connect().await;
        client.send(GET).await;
        let mut server = upstream.accept().await;
        server.head().await;
        server.send(HI).await;
        client.until("hi").await;
        // Kept alive, and then closed without a word; the gateway has a moment to notice.
        drop(server);
        assert!(client.is_silent().await);
    }
}

#[tokio::test]
async fn an_upstream_that_says_nothing_is_a_gateway_timeout() {
    let upstream = Upstream::bind().await;
    let gateway = Gateway::configured("silent", "response_timeout = \"100ms\"", &upstream);
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let _server = upstream.accept().await;
    assert!(
        client
            .head()
            .await
            .first_line()
            .starts_with("HTTP/1.1 504 ")
    );
}

#[cfg(unix)]
#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let upstream = Upstream::bind().await;
    let mut gateway = Gateway::before(&upstream);
    let mut idle = gateway.connect().await;
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = upstream.accept().await;
    server.head().await;
    gateway.terminate();
    assert_eq!(idle.rest().await, "", "an idle connection is closed");
    server.send(HI).await;
    let answer = client.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("hi"), "{answer}");
    let address = gateway.address;
    let (code, text) = gateway.end().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("drained"), "{text}");
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_drain_gives_up_in_the_end() {
    let upstream = Upstream::bind().await;
    let mut gateway = Gateway::start(&[
        format!("--upstream=http://{}", upstream.address),
        "--drain-timeout=200ms".to_owned(),
    ]);
    let mut client = gateway.connect().await;
    client.send(GET).await;
    let mut server = upstream.accept().await;
    server.head().await;
    gateway.terminate();
    let (code, _) = gateway.end().await;
    assert_eq!(code, Some(1));
}
