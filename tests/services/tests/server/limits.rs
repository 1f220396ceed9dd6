//! One layer is one limit, whatever the number of routes and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::respond;
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep_services::{Peer, eventually, now, serve};

const ROUTES: u32 = 50;
const PEERS: u32 = 100;

/// What the handlers see, and the gate that they wait at.
struct Seen {
    inside: AtomicU32,
    most: AtomicU32,
    gate: Semaphore,
}

impl Seen {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            inside: AtomicU32::new(0),
            most: AtomicU32::new(0),
            gate: Semaphore::new(0),
        })
    }
}

async fn handler(State(seen): State<Arc<Seen>>) -> &'static str {
    let inside = seen.inside.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(inside, Ordering::SeqCst);
    let _opened = seen.gate.acquire().await;
    seen.inside.fetch_sub(1, Ordering::SeqCst);
    "done"
}

fn routes(seen: Arc<Seen>) -> Router {
    (0..ROUTES)
        .fold(Router::new(), |router, n| {
            router.route(&format!("/r{n}"), get(handler))
        })
        .with_state(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_routes_and_a_hundred_connections_share_one_bulkhead() {
    const LIMIT: u32 = 7;
    let seen = Seen::new();
    let bulkhead = BulkheadLayer::new(bulkhead::Policy::max_concurrent(LIMIT).unwrap());
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new().layer(bulkhead);
    let address = serve(routes(Arc::clone(&seen)).layer(respond(stack))).await;

    let mut peers = Vec::new();
    for n in 0..PEERS {
        let mut peer = Peer::connect(address).await;
        peers.push(tokio::spawn(async move {
            peer.get(&format!("/r{}", n % ROUTES)).await.status
        }));
    }
    let refused = u64::from(PEERS - LIMIT);
    eventually("all others are refused", || {
        handle.snapshot().rejected == refused
    })
    .await;
    seen.gate.close();

    let mut served = 0;
    for peer in peers {
        match peer.await.unwrap() {
            StatusCode::OK => served += 1,
            status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    assert_eq!(served, LIMIT);
    assert_eq!(seen.most.load(Ordering::SeqCst), LIMIT);
    let end = handle.snapshot();
    assert_eq!((end.in_flight, end.succeeded), (0, u64::from(LIMIT)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_admits_all_of_them_a_few_at_a_time() {
    const LIMIT: u32 = 5;
    let seen = Seen::new();
    let policy = bulkhead::Policy::builder()
        .max_concurrent(LIMIT)
        .queue_length(PEERS)
        .max_wait(Duration::from_secs(60))
        .build()
        .unwrap();
    let bulkhead = BulkheadLayer::new(policy).queued();
    let handle = bulkhead.handle();
    let stack = ServiceBuilder::new().layer(bulkhead);
    let address = serve(routes(Arc::clone(&seen)).layer(respond(stack))).await;

    let mut peers = Vec::new();
    for n in 0..PEERS {
        let mut peer = Peer::connect(address).await;
        peers.push(tokio::spawn(async move {
            peer.get(&format!("/r{}", n % ROUTES)).await.status
        }));
    }
    let waiting = PEERS - LIMIT;
    eventually("all others wait", || handle.snapshot().waiting == waiting).await;
    seen.gate.close();
    for peer in peers {
        assert_eq!(peer.await.unwrap(), StatusCode::OK);
    }
    assert!(seen.most.load(Ordering::SeqCst) <= LIMIT);
    assert_eq!(handle.snapshot().waited, u64::from(waiting));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_routes_and_a_hundred_connections_share_one_bucket() {
    const RATE: u32 = 100;
    const BURST: u32 = 20;
    let seen = Seen::new();
    seen.gate.close();
    let policy = throttle::Policy::builder()
        .rate(RATE, Duration::from_secs(1))
        .burst(BURST)
        .build()
        .unwrap();
    let throttle = ThrottleLayer::new(policy);
    let handle = throttle.handle();
    let stack = ServiceBuilder::new().layer(throttle);
    let address = serve(routes(seen).layer(respond(stack))).await;

    let mut connected = Vec::new();
    for _ in 0..PEERS {
        connected.push(Peer::connect(address).await);
    }
    let start = now();
    let end = start.saturating_add(Duration::from_millis(700));
    let mut peers = Vec::new();
    for (n, mut peer) in (0u32..).zip(connected) {
        peers.push(tokio::spawn(async move {
            let mut admitted = 0u32;
            for round in 0.. {
                if now() >= end {
                    break;
                }
                let path = format!("/r{}", (n + round) % ROUTES);
                match peer.get(&path).await.status {
                    StatusCode::OK => admitted += 1,
                    status => assert_eq!(status, StatusCode::TOO_MANY_REQUESTS),
                }
            }
            admitted
        }));
    }
    let mut admitted = 0;
    for peer in peers {
        admitted += peer.await.unwrap();
    }
    let time = now().saturating_since(start).as_secs_f64();
    let most = f64::from(BURST) + f64::from(RATE) * time;
    assert!(f64::from(admitted) <= most, "{admitted} in {time} s");
    assert!(admitted > BURST, "{admitted} in {time} s");
    assert_eq!(handle.snapshot().admitted, u64::from(admitted));
    assert!(handle.snapshot().rejected > 0);
}
