//! This crate.

use std::time::Duration;

use tower_keep::balance::{self, Balance, Endpoint};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::Clock;
use tower_keep::key;
use tower_keep::retry::{self, Idempotent, RetryLayer};
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{self, TimeoutLayer};
use tower_keep::{Ratio, Setup};
use tower_layer::Layer;

use crate::driver::{Inner, Maker, Once, Waking, of, pending, ready};
use crate::{KEYS, OURS, Row};

/// The clock that governor reads by default, too.
const TSC: &str = "tower-keep, time stamp counter";
/// Threads hold slices of the bucket.
const LEASED: &str = "tower-keep, leased";
/// Every call a measure of time, none of them refused.
const LONG: Duration = Duration::from_secs(30);

const fn row(path: &'static str, who: &'static str, make: fn() -> Maker) -> Row {
    Row {
        path,
        who,
        make,
        shared: true,
    }
}

pub(crate) const ROWS: &[Row] = &[
    row("bare", "none", || of(Inner, ready)),
    row("bare", "none, pending once", || {
        of(Once, pending(Waking::Noop))
    }),
    row("timeout, ready", OURS, || of(timed().layer(Inner), ready)),
    row("timeout, pending once", OURS, || {
        of(timed().layer(Once), pending(Waking::Noop))
    }),
    row("timeout, pending once, counted waker", OURS, || {
        of(timed().layer(Once), pending(Waking::Counted))
    }),
    row("retry, ready", OURS, || {
        let policy = retry::Policy::default();
        of(
            RetryLayer::new(policy, Idempotent::new()).layer(Inner),
            ready,
        )
    }),
    row("balance, least request, 100", OURS, || {
        let all: Vec<_> = (0..100).map(|n| Endpoint::new(n.to_string())).collect();
        let policy = balance::Policy::default();
        of(Balance::new(policy, all, balance::by(|_| Inner)), ready)
    }),
    row("bulkhead, admit", OURS, || {
        of(limited().layer(Inner), ready)
    }),
    row("bulkhead, refuse", OURS, full),
    row("throttle, admit", OURS, || {
        of(throttled(Clock::default()).layer(Inner), ready)
    }),
    row("throttle, admit", LEASED, || {
        let policy = throttled(Clock::default()).handle().policy().to_builder();
        let policy = policy.mode(throttle::Mode::Leased).build();
        of(
            ThrottleLayer::new(policy.expect("a policy")).layer(Inner),
            ready,
        )
    }),
    row("throttle, admit", TSC, || {
        of(throttled(Clock::tsc()).layer(Inner), ready)
    }),
    row("throttle, refuse", OURS, || spent(Clock::default())),
    row("throttle, refuse", TSC, || spent(Clock::tsc())),
    row("throttle, 10^4 keys", OURS, || {
        keyed(KEYS, Clock::default())
    }),
    row("throttle, 10^4 keys", TSC, || keyed(KEYS, Clock::tsc())),
    row("throttle, hot key", OURS, || keyed(1, Clock::default())),
    row("throttle, hot key", TSC, || keyed(1, Clock::tsc())),
    row("breaker, closed, consecutive", OURS, || {
        of(breaking(breaker().consecutive(5)).layer(Inner), ready)
    }),
    row("breaker, closed, count", OURS, || {
        of(breaking(breaker().count_window(100)).layer(Inner), ready)
    }),
    row("breaker, closed, time and slow", OURS, || {
        of(breaking(slow()).layer(Inner), ready)
    }),
    row("breaker, closed, time and slow", TSC, || {
        let policy = slow().build().expect("a policy");
        let setup = Setup::new().with_clock(Clock::tsc());
        of(CircuitBreakerLayer::with(policy, setup).layer(Inner), ready)
    }),
    row("breaker, open", OURS, || open(Clock::default())),
    row("breaker, open", TSC, || open(Clock::tsc())),
    row("stack of three, ready", OURS, || {
        let inner = timed().layer(limited().layer(Inner));
        of(throttled(Clock::default()).layer(inner), ready)
    }),
    row("stack of three, pending once", OURS, || {
        let inner = timed().layer(limited().layer(Once));
        let service = throttled(Clock::default()).layer(inner);
        of(service, pending(Waking::Noop))
    }),
];

fn breaker() -> circuit_breaker::PolicyBuilder {
    circuit_breaker::Policy::builder()
}

fn slow() -> circuit_breaker::PolicyBuilder {
    let half = Ratio::percent(50);
    breaker()
        .failure_ratio(half)
        .slow_ratio(half)
        .time_window(LONG)
}

fn breaking(policy: circuit_breaker::PolicyBuilder) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(policy.build().expect("a policy"))
}

/// Open, and for longer than anybody measures.
fn open(clock: Clock) -> Maker {
    let policy = breaker().consecutive(1).open_wait(LONG * 1_000);
    let policy = policy.build().expect("a policy");
    let layer = CircuitBreakerLayer::with(policy, Setup::new().with_clock(clock));
    let permit = layer.handle().admit().expect("a permit");
    permit.finish(Outcome::Failure(Failure::Transient));
    of(layer.layer(Inner), ready)
}

fn timed() -> TimeoutLayer {
    TimeoutLayer::new(timeout::Policy::attempt(LONG).expect("a policy"))
}

fn limited() -> BulkheadLayer {
    BulkheadLayer::new(bulkhead::Policy::max_concurrent(100).expect("a policy"))
}

fn full() -> Maker {
    let layer = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).expect("a policy"));
    let permit = layer.handle().admit().expect("a permit");
    let service = layer.layer(Inner);
    Box::new(move |thread| {
        let _held = &permit;
        ready(service.clone(), thread)
    })
}

fn boundless() -> throttle::Policy {
    throttle::Policy::builder()
        .rate(1_000_000_000, Duration::from_secs(1))
        .max_keys(20_000)
        .build()
        .expect("a policy")
}

fn throttled(clock: Clock) -> ThrottleLayer {
    ThrottleLayer::with(boundless(), Setup::new().with_clock(clock))
}

fn spent(clock: Clock) -> Maker {
    let policy = throttle::Policy::builder().rate(1, LONG * 100).burst(2);
    let policy = policy.build().expect("a policy");
    let layer = ThrottleLayer::with(policy, Setup::new().with_clock(clock));
    while layer.handle().admit(1).is_ok() {}
    of(layer.layer(Inner), ready)
}

fn keyed(keys: u64, clock: Clock) -> Maker {
    let by = move |call: &u64| Some(call.wrapping_mul(7_919) % keys);
    let setup = Setup::new().with_clock(clock);
    let layer = ThrottleLayer::keyed_with(boundless(), key::value(by), setup);
    of(layer.layer(Inner), ready)
}
