//! Health endpoints in axum servers, and the probes that ask them.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_keep::clock::Clock;
use tower_keep::health::{Check, Group, Health};
use tower_keep::probe::{End, Http, Observation, Probe, Status, Tcp, ask};
use tower_keep_services::{Peer, eventually, serve};

async fn asked(probe: impl Probe) -> Observation {
    ask(&probe, Duration::from_secs(10), &Clock::default()).await
}

async fn http(address: SocketAddr, path: &str) -> Status {
    let probe = Http::new(&format!("http://{address}{path}")).unwrap();
    asked(probe).await.finding.status()
}

#[tokio::test]
async fn they_fit_into_a_router() {
    let alive = Check::new("self", || async {}).groups([Group::Liveness, Group::Readiness]);
    let health = Health::builder().check(alive).start().unwrap();
    eventually("the first answer", || health.status() == Status::Pass).await;
    let from_loopback = |head: &Parts| {
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>();
        peer.is_some_and(|peer| peer.0.ip().is_loopback())
    };
    let address = serve(
        Router::new()
            .route("/", get(|| async { "hello" }))
            .nest_service("/inside", health.endpoints().details_for(from_loopback))
            .fallback_service(health.endpoints()),
    )
    .await;
    let mut peer = Peer::connect(address).await;
    assert_eq!(peer.get("/").await.text(), "hello");
    let answer = peer.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/health+json");
    assert_eq!(answer.text(), r#"{"status":"pass"}"#);
    let lines = peer.get("/inside/readyz?verbose").await;
    assert_eq!(lines.text(), "[+]self ok\nreadyz check passed\n");
    assert_eq!(peer.get("/other").await.status, StatusCode::NOT_FOUND);

    assert_eq!(http(address, "/readyz").await, Status::Pass);
    assert_eq!(http(address, "/inside/livez/self").await, Status::Pass);
    health.withdraw("draining");
    assert_eq!(http(address, "/readyz").await, Status::Fail);
    assert_eq!(http(address, "/livez").await, Status::Pass);
}

#[tokio::test]
async fn an_http_probe_judges_by_the_status_alone() {
    let status = |Path(code): Path<u16>| async move { StatusCode::from_u16(code).unwrap() };
    let key = |headers: HeaderMap| async move {
        let is_ours = |name: &str, value: &str| headers.get(name).is_some_and(|v| v == value);
        let known = is_ours("x-probe", "1") && is_ours("user-agent", "mine");
        if known {
            StatusCode::OK
        } else {
            StatusCode::FORBIDDEN
        }
    };
    let router = Router::new()
        .route("/status/{code}", get(status))
        .route("/key", get(key));
    let address = serve(router).await;
    for (code, status) in [
        (200, Status::Pass),
        (204, Status::Pass),
        (301, Status::Pass),
        (399, Status::Pass),
        (400, Status::Fail),
        (404, Status::Fail),
        (503, Status::Fail),
    ] {
        assert_eq!(
            http(address, &format!("/status/{code}")).await,
            status,
            "{code}"
        );
    }
    let strict = Http::new(&format!("http://{address}/status/204")).unwrap();
    let seen = asked(strict.statuses(200..=200)).await;
    assert_eq!(
        (seen.finding.output(), seen.end),
        ("status 204", End::Answered)
    );
    assert_eq!(http(address, "/key").await, Status::Fail);
    let keyed = Http::new(&format!("http://{address}/key")).unwrap();
    let keyed = keyed.header(
        HeaderName::from_static("x-probe"),
        HeaderValue::from_static("1"),
    );
    let agent = HeaderName::from_static("user-agent");
    let keyed = keyed.header(agent, HeaderValue::from_static("mine"));
    assert_eq!(asked(keyed).await.finding.status(), Status::Pass);
}

#[tokio::test]
async fn what_does_not_answer_has_failed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // It accepts, and says nothing; or nonsense.
    assert_eq!(
        asked(Tcp::new(address).unwrap()).await.finding.status(),
        Status::Pass
    );
    let silent = Http::new(&format!("http://{address}/")).unwrap();
    let seen = ask(&silent, Duration::from_millis(50), &Clock::default()).await;
    assert_eq!(seen.end, End::TimedOut);
    let nonsense = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0\r\n\r\n").await;
        }
    });
    let seen = asked(Http::new(&format!("http://{address}/")).unwrap()).await;
    assert_eq!(
        (seen.finding.status(), seen.end),
        (Status::Fail, End::Answered)
    );
    nonsense.abort();
    let _ = nonsense.await;
    let seen = asked(Tcp::new(address).unwrap()).await;
    assert!(seen.finding.output().contains("refused"), "{seen:?}");
}
