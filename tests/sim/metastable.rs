//! An outage of ten seconds, and what comes after it.
//!
//! The scenario of Bronson, Aghayev, Charapko and Zhu, "Metastable Failures in
//! Distributed Systems", `HotOS` 2021: a database that does 300 requests a second
//! is asked 280 a second, by clients that wait for a second and try once more.
//! For ten seconds nothing gets through; what was sent arrives at its end.
//!
//! Which part does what, in seconds from the end of the outage to all requests being
//! answered in time again:
//!
//! | client | endless queue | kept server |
//! |---|---|---|
//! | naive | never | 1 |
//! | kept, without breaker | never | 1 |
//! | kept, with breaker | 7 | 7 |
//!
//! So either the server's short queue or the client's breaker ends the overload; the
//! budget of retries alone bounds what is added and does not. In the first ten
//! seconds after the outage the kept server gets 8,100 attempts from the naive
//! client, 6,000 without breaker and 1,300 with: the breaker spares it and costs six
//! seconds of answers, while it waits and then probes.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::sync::{Semaphore, oneshot};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::deadline::{ReadLayer, Wire, WriteLayer};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Error, LiftLayer, Ratio, classify, respond};

use crate::world::{Curve, World, run};

/// Thirty at a time, a tenth of a second each.
const PLACES: u32 = 30;
const WORK: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(1);
const OUTAGE: std::ops::Range<u64> = 60..70;
const END: usize = 130;

type Res = Response<Body>;

/// What a run has shown.
struct Seen {
    /// Requests that were answered well, while somebody waited for it.
    good: Curve,
    /// Attempts that reached the server.
    load: Curve,
}

impl Seen {
    /// Seconds after the outage until ten good seconds in a row begin.
    fn recovery(&self, rate: u32) -> Option<usize> {
        let end = usize::try_from(OUTAGE.end).unwrap();
        let good = |second| self.good.at(second) + rate / 100 + 1 >= rate;
        (end..END - 10)
            .find(|second| (*second..second + 10).all(good))
            .map(|second| second - end)
    }

    fn print(&self, what: &str) {
        println!("{what}, means of 5 s from 0 to {END} s");
        self.good.print("answered in time", 5);
        self.load.print("attempts at the server", 5);
    }
}

type Server = BoxCloneService<Request<()>, Res, Infallible>;
type Way = BoxCloneService<Request<()>, Res, std::io::Error>;

/// The way to the server: what is sent goes on when its sender has given up, and
/// what is sent during the outage arrives at its end.
fn network(world: &World, load: &Curve, server: Server) -> Way {
    let (world, load) = (world.clone(), load.clone());
    BoxCloneService::new(tower::service_fn(move |request: Request<()>| {
        let (world, load, server) = (world.clone(), load.clone(), server.clone());
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            if OUTAGE.contains(&world.time().as_secs()) {
                world.until(Duration::from_secs(OUTAGE.end)).await;
            }
            load.add();
            let Ok(response) = server.oneshot(request).await;
            let _ = answer.send(response);
        });
        async { answered.await.map_err(std::io::Error::other) }
    }))
}

async fn work(world: World) -> Result<Res, Infallible> {
    world.pass(WORK).await;
    Ok(Response::new(Body::empty()))
}

/// First come, first served, without end.
fn endless_server(world: &World) -> Server {
    let places = Arc::new(Semaphore::new(PLACES as usize));
    let world = world.clone();
    BoxCloneService::new(tower::service_fn(move |_| {
        let (places, world) = (Arc::clone(&places), world.clone());
        async move {
            let _place = places.acquire().await;
            work(world).await
        }
    }))
}

/// The same work behind what this crate puts before it.
fn kept_server(world: &World) -> Server {
    let policy = bulkhead::Policy::builder()
        .max_concurrent(PLACES)
        // Shorter than what is done within a client's patience.
        .queue_length(150);
    let stack = ServiceBuilder::new()
        .layer(ReadLayer::new(Wire::Grpc))
        .layer(BulkheadLayer::new(policy.build().unwrap()).queued())
        .layer(TimeoutLayer::new(
            timeout::Policy::builder().build().unwrap(),
        ));
    let world = world.clone();
    let handler = tower::service_fn(move |_: Request<()>| work(world.clone()));
    BoxCloneService::new(respond(stack).layer(handler))
}

/// Each attempt has a second; one that fails is repeated once, and at once.
async fn call_naively(mut server: Way) -> bool {
    for _ in 0..2 {
        let call = server.call(Request::new(()));
        if let Ok(Ok(response)) = tokio::time::timeout(PATIENCE, call).await {
            return response.status().is_success();
        }
    }
    false
}

/// The default client: deadline, retries with budget and backoff, a timeout for
/// each attempt. A breaker beside, or not.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Breaker {
    With,
    Without,
}

fn client(way: Way, breaker: Breaker) -> BoxCloneService<Request<()>, Res, Error<std::io::Error>> {
    let overall = timeout::Policy::deadline(PATIENCE * 2).unwrap();
    let attempt = timeout::Policy::attempt(PATIENCE).unwrap();
    let retry = retry::Policy::builder().max_attempts(2).build().unwrap();
    let ratio = circuit_breaker::Policy::failure_ratio(Ratio::percent(50)).unwrap();
    let breaker = (breaker == Breaker::With)
        .then(|| CircuitBreakerLayer::new(ratio).classify(classify::Http));
    BoxCloneService::new(
        ServiceBuilder::new()
            .layer(TimeoutLayer::new(overall))
            .layer(RetryLayer::new(retry, retry::Http::new()))
            .option_layer(breaker)
            .layer(TimeoutLayer::new(attempt))
            .layer(WriteLayer::new(Wire::Grpc))
            .layer(LiftLayer::new())
            .service(way),
    )
}

async fn call_well<S>(client: S) -> bool
where
    S: Service<Request<()>, Response = Res>,
{
    let result = client.oneshot(Request::new(())).await;
    result.is_ok_and(|response| response.status().is_success())
}

/// Runs the load against a server, through clients that `call` makes of the way
/// there.
fn scenario<C, F>(rate: u32, server: fn(&World) -> Server, call: impl FnOnce(Way) -> C) -> Seen
where
    C: Fn() -> F,
    F: Future<Output = bool> + Send + 'static,
{
    run(async || {
        let world = World::new();
        let seen = Seen {
            good: Curve::new(&world),
            load: Curve::new(&world),
        };
        let call = call(network(&world, &seen.load, server(&world)));
        let send = || {
            let (call, good) = (call(), seen.good.clone());
            async move {
                if call.await {
                    good.add();
                }
            }
        };
        world
            .load(rate, Duration::from_secs(END as u64), send)
            .await;
        seen
    })
}

fn naive(rate: u32, server: fn(&World) -> Server) -> Seen {
    scenario(rate, server, |way| move || call_naively(way.clone()))
}

fn kept(rate: u32, server: fn(&World) -> Server, breaker: Breaker) -> Seen {
    scenario(rate, server, |way| {
        let client = client(way, breaker);
        move || call_well(client.clone())
    })
}

/// Before the outage, all is well whoever calls.
#[track_caller]
fn assert_well_before(seen: &Seen, rate: u32) {
    let good = seen.good.sum(10..60);
    assert!(good >= 50 * rate - 50 && good <= 50 * rate + 50, "{good}");
}

#[test]
fn fault_062_the_naive_client_never_recovers() {
    let seen = naive(280, endless_server);
    seen.print("naive client, endless queue, 280/s");
    assert_well_before(&seen, 280);
    assert_eq!(seen.recovery(280), None);
    // Nothing but late answers, and each request twice: it feeds itself.
    assert_eq!(seen.good.sum(100..END), 0);
    assert!(seen.load.sum(100..END) > 2 * 270 * u32::try_from(END - 100).unwrap());
}

#[test]
fn fault_062_the_kept_client_and_server_recover() {
    for breaker in [Breaker::With, Breaker::Without] {
        let seen = kept(280, kept_server, breaker);
        seen.print(&format!(
            "kept client ({breaker:?} breaker), kept server, 280/s"
        ));
        assert_well_before(&seen, 280);
        let recovery = seen.recovery(280);
        println!("recovered after {recovery:?} s");
        assert!(recovery.is_some_and(|seconds| seconds < 15), "{recovery:?}");
    }
}

/// What a budget adds is bounded, but where the service is this close to its
/// capacity, what has piled up keeps every answer late all the same.
#[test]
fn fault_062_a_budget_alone_does_not_recover() {
    let seen = kept(280, endless_server, Breaker::Without);
    seen.print("kept client (Without breaker), endless queue, 280/s");
    assert_well_before(&seen, 280);
    assert_eq!(seen.recovery(280), None);
    let attempts = f64::from(seen.load.sum(100..END)) / (END - 100) as f64;
    assert!(attempts <= 280.0 * 1.1 + 2.0, "{attempts}");
}

#[test]
fn fault_062_at_seven_tenths_of_the_capacity_it_recovers_within_five_seconds() {
    let seen = kept(210, kept_server, Breaker::Without);
    seen.print("kept client (Without breaker), kept server, 210/s");
    assert_well_before(&seen, 210);
    let recovery = seen.recovery(210);
    assert!(recovery.is_some_and(|seconds| seconds <= 5), "{recovery:?}");
}

/// What the server contributes: it ends the overload whoever calls. It need not be
/// told a deadline for that: its queue is short.
#[test]
fn fault_062_the_kept_server_recovers_before_the_naive_client() {
    let seen = naive(280, kept_server);
    seen.print("naive client, kept server, 280/s");
    assert_well_before(&seen, 280);
    let recovery = seen.recovery(280);
    assert!(recovery.is_some_and(|seconds| seconds <= 5), "{recovery:?}");
    // What the client contributes to this server: what it is spared meanwhile.
    let after = |seen: &Seen| seen.load.sum(70..80);
    let spared = [Breaker::Without, Breaker::With]
        .map(|breaker| kept(280, kept_server, breaker))
        .map(|kept| f64::from(after(&kept)) / f64::from(after(&seen)));
    println!("without and with breaker, of the naive client's load: {spared:.2?}");
    assert!(spared[0] < 0.8 && spared[1] < 0.2, "{spared:?}");
}

/// What the client contributes: its breaker ends the overload before a server that
/// keeps nothing. It pauses, so that takes longer than a server's queue does.
#[test]
fn fault_062_the_kept_client_recovers_before_the_endless_server() {
    let seen = kept(280, endless_server, Breaker::With);
    seen.print("kept client (With breaker), endless queue, 280/s");
    assert_well_before(&seen, 280);
    let recovery = seen.recovery(280);
    println!("recovered after {recovery:?} s");
    assert!(recovery.is_some_and(|seconds| seconds < 15), "{recovery:?}");
}
