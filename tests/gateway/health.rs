//! Health on a port of its own, and what becomes of it when the gateway ends.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::support::{Gateway, Peer, Upstream};

const HI: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A gateway with health, and where that is.
fn start(upstream: SocketAddr, more: &[&str]) -> (Gateway, SocketAddr) {
    let mut arguments = vec![
        format!("--upstream=/api=http://{upstream}"),
        "--health-listen=127.0.0.1:0".to_owned(),
    ];
    arguments.extend(more.iter().map(|&flag| flag.to_owned()));
    let mut gateway = Gateway::start(&arguments);
    let address = gateway.says("  health on http://");
    let address = address.strip_suffix("/readyz").unwrap().parse().unwrap();
    (gateway, address)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut peer = Peer(TcpStream::connect(address).await.expect("connect"));
    peer.send(&format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ))
    .await;
    let answer = peer.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.expect("a status"), body.to_owned())
}

/// Asks again until the answer holds this.
async fn until(address: SocketAddr, path: &str, code: u16, text: &str) -> String {
    let mut last = (0, String::new());
    for _ in 0..2_000 {
        last = get(address, path).await;
        if last.0 == code && last.1.contains(text) {
            return last.1;
        }
        tokio::task::yield_now().await;
    }
    panic!("{path}: {last:?}, and never {code} with {text}")
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_warning_with_its_name() {
    let upstream = Upstream::bind().await;
    let (_gateway, health) = start(upstream.address, &[]);
    until(health, "/readyz", 200, "\"status\":\"pass\"").await;
    drop(upstream);
    let nobody = Upstream::bind().await;
    let closed = nobody.address;
    drop(nobody);
    let (_gateway, health) = start(closed, &[]);
    let told = until(health, "/readyz", 200, "refused").await;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["status"], "warn", "{told}");
    let upstream = &told["checks"]["upstream-1:responseTime"][0];
    assert_eq!(upstream["affectedEndpoints"][0], "/api", "{told}");
    assert_eq!(get(health, "/livez").await.0, 200);
    assert_eq!(get(health, "/api").await.0, 404, "no traffic here");
}

#[cfg(unix)]
#[tokio::test]
async fn readiness_fails_first_and_traffic_later() {
    let upstream = Upstream::bind().await;
    let (mut gateway, health) = start(upstream.address, &["--drain-delay=2s"]);
    until(health, "/readyz", 200, "\"status\":\"pass\"").await;
    gateway.signal();
    gateway.says("not ready any more");
    until(health, "/readyz", 503, "draining").await;
    assert_eq!(get(health, "/livez").await.0, 200);
    // Whoever has not noticed yet is served.
    let mut client = gateway.connect().await;
    client.send("GET /api HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // Among the probes, which connect and close.
    let mut served = upstream.accept().await;
    while served.0.peek(&mut [0]).await.unwrap() == 0 {
        served = upstream.accept().await;
    }
    served.head().await;
    served.send(HI).await;
    client.until("hi").await;
    gateway.says("draining");
    drop(client);
    let address = gateway.address;
    let (code, text) = gateway.end().await;
    assert_eq!(code, Some(0), "{text}");
    assert!(TcpStream::connect(address).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let upstream = Upstream::bind().await;
    let (mut gateway, _) = start(upstream.address, &["--drain-delay=1h"]);
    gateway.signal();
    gateway.says("not ready any more");
    gateway.signal();
    let (code, _) = gateway.end().await;
    assert_eq!(code, Some(130));
}
