//! "Overloaded, do not retry", and who hears it.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_keep::attempt::{self, ReadLayer, Wire, WriteLayer};
use tower_keep::retry::{self, Again, Idempotent, RetryLayer, when};
use tower_keep::test_util::{ManualClock, finish_on};
use tower_keep::{Override, Setup};

use super::{steady, without_end};
use crate::support::{BROKEN, Fail};

fn tier<Y>(rules: Y, setup: &Setup) -> RetryLayer<Y> {
    RetryLayer::with_budget(steady(), rules, without_end(setup.clone()), setup.clone())
}

/// Attempts of three tiers, whose middle one makes one of each request.
fn through(bypass: bool, answer: Again) -> u64 {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    let inner = tower::service_fn(move |()| {
        seen.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), Fail>(BROKEN) }
    });
    let rules = when(move |_: Result<&(), &Fail>| answer);
    let middle = tier(rules, &setup);
    if bypass {
        middle.handle().set_override(Override::Bypass);
    }
    let service = ServiceBuilder::new()
        .layer(tier(Idempotent::new(), &setup))
        .layer(middle)
        .layer(tier(Idempotent::new(), &setup))
        .service(inner);
    assert!(finish_on(&time, service.oneshot(())).unwrap().is_err());
    calls.load(Ordering::SeqCst)
}

#[test]
fn a_mark_passes_a_tier_that_does_not_try_again() {
    assert_eq!(through(false, Again::No), 4);
    assert_eq!(through(true, Again::Yes), 4);
    assert_eq!(through(true, Again::Never), 4);
}

fn bad(marks: bool) -> impl Fn(Request<()>) -> Ready<Result<Response<()>, Fail>> + Clone {
    move |_| {
        let mut response = Response::builder().status(500);
        if marks {
            response = response.header("grpc-retry-pushback-ms", "-1");
        }
        ready(Ok(response.body(()).unwrap()))
    }
}

#[test]
fn a_pushback_passes_a_gateway_whatever_the_status_is() {
    for marks in [false, true] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let gateway = ServiceBuilder::new()
            .layer(ReadLayer::new(Wire::Http))
            .layer(tier(retry::Grpc::new(), &setup))
            .layer(WriteLayer::new(Wire::Grpc))
            .service_fn(bad(marks));
        let end = finish_on(&time, gateway.oneshot(Request::new(())));
        let response = end.unwrap().unwrap();
        let sign = response.headers().get("x-should-retry");
        assert_eq!(
            sign.map(http::HeaderValue::as_bytes),
            marks.then_some(&b"false"[..])
        );
    }
}

#[test]
fn a_mark_does_not_pass_a_tier_that_succeeds() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let fallen_back = tower::service_fn(|()| async {
        attempt::mark();
        Ok::<_, Fail>(())
    });
    let service = ServiceBuilder::new()
        .layer(tier(Idempotent::new(), &setup))
        .service(fallen_back);
    let mut attempt = attempt::Attempt::first();
    let mut hand = tower_keep::test_util::Hand::new(service.oneshot(()));
    assert!(attempt.scope(|| hand.poll()).is_ready());
    assert!(!attempt.is_marked());
}
