//! How long what the first attempt came to waits for the others.

use http::{Request, Response};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_keep::Setup;
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Http;
use tower_keep::clock::Clock;
use tower_keep::deadline::Deadline;
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::test_util::{Call, Hand, ManualClock, Ready};

use super::{Res, answer, layer, policy};
use crate::support::{BROKEN, Fail, inner, ms, request};

fn broken(after: u64) -> Call<Res, Fail> {
    Call::error(BROKEN).after(ms(after))
}

/// After how many milliseconds a call ends whose second attempt is due after 100,
/// if it does within 10 s.
fn ends(
    first: Call<Res, Fail>,
    ready: Ready<Fail>,
    second: Call<Res, Fail>,
    left: Option<u64>,
) -> Option<u64> {
    let time = ManualClock::new();
    let (probe, script, watch) = inner(&time);
    let layer = layer(&time, 1);
    script.then_call(first);
    script.then_call(second);
    let far = left.map_or(std::time::Duration::MAX, ms);
    let deadline = Deadline::after(&time.clock(), far);
    let future = deadline.scope(|| layer.layer(probe).call(request("a")));
    let mut hand = Hand::new(Box::pin(deadline.wrap(future)));
    assert!(hand.poll().is_pending());
    script.then_ready(ready);
    for step in 1..=100 {
        time.advance(ms(100));
        if hand.poll().is_ready() {
            assert_eq!(layer.handle().snapshot().hedges, 1);
            watch.assert_quiet();
            assert_eq!(time.armed(), 0);
            return Some(step * 100);
        }
    }
    None
}

#[test]
fn not_for_one_that_was_never_called() {
    for left in [None, Some(1_000)] {
        let never = || Call::never();
        let took = ends(broken(200), Ready::Never, never(), left);
        assert_eq!(took, Some(200), "{left:?}");
        let time = ManualClock::new();
        let took = ends(answer(&time, 502, 200), Ready::Never, never(), left);
        assert_eq!(took, Some(200), "{left:?}");
    }
}

#[test]
fn for_one_that_was_called_until_the_deadline() {
    let time = ManualClock::new();
    let good = answer(&time, 200, 4_900);
    assert_eq!(ends(broken(200), Ready::Now, good, None), Some(5_000));
    let took = ends(broken(200), Ready::Now, Call::never(), Some(1_000));
    assert_eq!(took, Some(1_000));
}

/// What the other waits for may be held by the response.
#[test]
fn a_response_for_as_long_as_it_took() {
    let time = ManualClock::new();
    let bad = || answer(&time, 502, 300);
    for (second, took) in [
        (Call::never(), 600),
        (answer(&time, 200, 400), 500),
        (answer(&time, 200, 4_900), 600),
    ] {
        assert_eq!(ends(bad(), Ready::Now, second, None), Some(took));
    }
    assert_eq!(
        ends(bad(), Ready::Now, Call::never(), Some(400)),
        Some(400),
        "a deadline that is nearer"
    );
}

#[test]
fn fault_067_an_attempt_whose_service_is_ready_past_the_deadline_is_not_begun() {
    for (late, begun) in [(800, 2), (900, 1), (2_000, 1)] {
        let time = ManualClock::new();
        let (probe, script, watch) = inner(&time);
        (0..2).for_each(|_| script.then_call(Call::never()));
        let mut service = layer(&time, 1).layer(probe);
        let deadline = Deadline::after(&time.clock(), ms(1_000));
        let future = deadline.scope(|| service.call(request("a")));
        let mut hand = Hand::new(Box::pin(deadline.wrap(future)));
        assert!(hand.poll().is_pending());
        script.then_ready(Ready::Pend(1));
        time.advance(ms(100));
        assert!(hand.poll().is_pending());
        time.advance(ms(late));
        assert!(hand.poll().is_pending());
        let counts = watch.counts();
        assert_eq!(counts.in_flight, begun, "{late}");
    }
}

/// The only place, which the response's body keeps until its end.
#[tokio::test(start_paused = true)]
#[allow(
    clippy::disallowed_methods,
    reason = "the handler and the test are tokio's"
)]
async fn a_hedge_that_waits_in_a_queue_for_its_own_response() {
    let setup = || Setup::new().with_clock(Clock::tokio());
    let bulkhead = bulkhead::Policy::builder()
        .max_concurrent(1)
        .queue_length(10);
    let bulkhead = BulkheadLayer::with(bulkhead.build().unwrap(), setup());
    let handler = |_: Request<()>| async {
        tokio::time::sleep(ms(200)).await;
        let body = http_body_util::Full::<bytes::Bytes>::from("bad gateway");
        let response = Response::builder().status(502).body(body);
        Ok::<_, Fail>(response.unwrap())
    };
    let service = ServiceBuilder::new()
        .layer(HedgeLayer::with(policy(1), hedge::every(), setup()).classify(Http))
        .layer(bulkhead.queued().until_body_end())
        .service_fn(handler);
    let start = tokio::time::Instant::now();
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(start.elapsed() <= ms(401), "{:?}", start.elapsed());
}
