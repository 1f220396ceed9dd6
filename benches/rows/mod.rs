//! What the benches measure: one row per path through a layer, the same in all
//! of them.

mod breaker;
#[allow(dead_code)] // as below
pub(crate) mod busy;
pub(crate) mod driver;
mod health;
mod idempotent;
#[allow(dead_code)] // only one of the benches measures two threads
pub(crate) mod measure;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tower_keep::adaptive::{self, AdaptiveLayer};
use tower_keep::balance::{self, Balance, Endpoint, LeastRequest, PeakEwma, Picker, Prequal};
use tower_keep::bulkhead::{self, Bulkhead, BulkheadLayer};
use tower_keep::chaos::{self, ChaosLayer};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::clock::Clock;
use tower_keep::fallback::{self, Failed, FallbackLayer};
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::key;
use tower_keep::retry::{self, Idempotent, RetryLayer};
use tower_keep::throttle::{self, Headers, Kind, Limit, Throttle, ThrottleLayer};
use tower_keep::timeout::{self, Timeout, TimeoutLayer};
use tower_keep::watchdog::{self, WatchdogLayer};
use tower_keep::{Error, Override, Setup};
use tower_layer::Layer;
use tower_service::Service;

use breaker::{breaking, crowded, once, probed, ratio, slow, tripped};
pub(crate) use driver::inside_runtime;
use driver::{Inner, Maker, Once, Waking, of, pending, ready};

/// One path through a layer.
pub(crate) struct Row {
    /// Layer and path.
    pub name: &'static str,
    /// A new layer with this path.
    pub make: fn() -> Maker,
    /// Whether two threads on it say something.
    #[allow(dead_code)] // only one of the benches asks
    pub shared: bool,
}

/// The row that the others stand on: the loop and the inner service alone.
pub(crate) const BARE: &str = "bare";

/// Keys of the keyed rows.
pub(crate) const KEYS: u64 = 10_000;

const LONG: Duration = Duration::from_secs(30);

const fn row(name: &'static str, shared: bool, make: fn() -> Maker) -> Row {
    Row { name, make, shared }
}

/// All rows, in the order of the tables.
pub(crate) const ROWS: &[Row] = &[
    row(BARE, true, || of(Inner, ready)),
    row("bare, pending once", true, || {
        of(Once, pending(Waking::Noop))
    }),
    row("bulkhead, admit", true, || {
        of(limited().layer(Inner), ready)
    }),
    row("bulkhead, refuse", false, full),
    row("bulkhead, queue, admit", false, || {
        of(limited().queued().layer(Inner), ready)
    }),
    row("bulkhead, pending once", false, || {
        of(limited().layer(Once), pending(Waking::Noop))
    }),
    row("adaptive, admit", true, || {
        of(finding(Clock::default()).layer(Inner), ready)
    }),
    row("adaptive, admit, tsc", false, || {
        of(finding(Clock::tsc()).layer(Inner), ready)
    }),
    row("adaptive, refuse", false, || {
        let layer = finding(Clock::default());
        layer.handle().set_override(Override::Close);
        of(layer.layer(Inner), ready)
    }),
    row("timeout, ready", true, || of(timed().layer(Inner), ready)),
    row("timeout, deadline, ready", false, || {
        let policy = timeout::Policy::deadline(LONG).expect("a policy");
        of(TimeoutLayer::new(policy).layer(Inner), ready)
    }),
    row("timeout, pending once", true, || {
        of(timed().layer(Once), pending(Waking::Noop))
    }),
    row("timeout, pending once, counted waker", true, || {
        of(timed().layer(Once), pending(Waking::Counted))
    }),
    row("throttle, admit", true, || {
        of(throttled(Clock::default()).layer(Inner), ready)
    }),
    row("throttle, admit, tsc", true, || {
        of(throttled(Clock::tsc()).layer(Inner), ready)
    }),
    row("throttle, leased, admit", true, || {
        let policy = boundless().mode(throttle::Mode::Leased);
        let layer = ThrottleLayer::new(policy.build().expect("a policy"));
        of(layer.layer(Inner), ready)
    }),
    row("throttle, wait, admit", false, || {
        of(throttled(Clock::default()).waiting().layer(Inner), ready)
    }),
    row("throttle, quota headers, admit", false, || {
        let policy = boundless().headers(Headers::Always);
        let layer = ThrottleLayer::new(policy.build().expect("a policy"));
        of(layer.layer(Inner), ready)
    }),
    row("throttle, two limits", true, || {
        several(|it| it.also(Limit::new(PERMITS, DAY).kind(Kind::FixedWindow)))
    }),
    row("throttle, fixed window", false, || {
        several(|it| it.rate(PERMITS, DAY).kind(Kind::FixedWindow))
    }),
    // In a long run these two refuse: they cannot count so far.
    row("throttle, sliding window", false, || {
        several(|it| it.rate(4_000_000, DAY).kind(Kind::SlidingWindow))
    }),
    row("throttle, sliding log", false, || {
        several(|it| it.rate(65_535, DAY).kind(Kind::SlidingLog))
    }),
    row("throttle, warm-up", false, || {
        several(|it| it.kind(Kind::WarmUp).warm_up(LONG))
    }),
    row("throttle, giving back", false, || {
        of(throttled(Clock::default()).refunding().layer(Inner), ready)
    }),
    row("throttle, 10^4 keys, two limits", false, || {
        keyed_by(
            boundless().also(Limit::new(PERMITS, DAY).kind(Kind::FixedWindow)),
            KEYS,
        )
    }),
    row("throttle, refuse", false, spent),
    row("throttle, 10^4 keys", true, || keyed(KEYS)),
    row("throttle, hot key", true, || keyed(1)),
    row("fallback, ready", true, || {
        of(FallbackLayer::new(fallback::by(zero)).layer(Inner), ready)
    }),
    row("hedge, ready", true, || of(hedged().layer(Inner), ready)),
    row("hedge, pending once", false, || {
        of(hedged().layer(Once), pending(Waking::Noop))
    }),
    row("retry, ready", true, || of(retried().layer(Inner), ready)),
    row("retry, pending once", false, || {
        of(retried().layer(Once), pending(Waking::Noop))
    }),
    row("watchdog, ready", true, || {
        of(
            WatchdogLayer::new(watchdog::Policy::default()).layer(Inner),
            ready,
        )
    }),
    row("watchdog, pending once", false, || {
        of(
            WatchdogLayer::new(watchdog::Policy::default()).layer(Once),
            pending(Waking::Noop),
        )
    }),
    row("retry over a timeout, ready", false, || {
        of(retried().layer(timed().layer(Inner)), ready)
    }),
    row("chaos, off", true, || of(calm().layer(Inner), ready)),
    row("chaos, running, no fault", false, || {
        let layer = calm();
        layer.handle().start();
        of(layer.layer(Inner), ready)
    }),
    row("breaker, closed, consecutive", true, || {
        let policy = circuit_breaker::Policy::consecutive(5).expect("a policy");
        of(CircuitBreakerLayer::new(policy).layer(Inner), ready)
    }),
    row("breaker, closed, count", true, || breaking(ratio())),
    row("breaker, closed, count, pending once", false, || {
        let policy = ratio().build().expect("a policy");
        let service = CircuitBreakerLayer::new(policy).layer(Once);
        of(service, pending(Waking::Noop))
    }),
    row("breaker, closed, time and slow", true, || breaking(slow())),
    row("breaker, closed, time and slow, tsc", false, || {
        let setup = Setup::new().with_clock(Clock::tsc());
        let policy = slow().build().expect("a policy");
        of(CircuitBreakerLayer::with(policy, setup).layer(Inner), ready)
    }),
    row("breaker, closed, time and slow, crowded", false, crowded),
    row("breaker, open", false, || tripped(Clock::default(), once())),
    row("breaker, open, tsc", false, || {
        tripped(Clock::tsc(), once())
    }),
    row("breaker, open, time and slow", false, || {
        tripped(Clock::default(), slow().minimum_calls(1))
    }),
    row("breaker, half-open, full", false, probed),
    row("breaker, isolated", false, || {
        let layer = CircuitBreakerLayer::new(ratio().build().expect("a policy"));
        layer.handle().set_override(Override::Close);
        of(layer.layer(Inner), ready)
    }),
    row("breaker, 10^4 keys", true, || {
        let policy = ratio().max_keys(20_000).build().expect("a policy");
        let by = move |call: &u64| Some(call.wrapping_mul(7_919) % KEYS);
        of(
            CircuitBreakerLayer::keyed(policy, key::value(by)).layer(Inner),
            ready,
        )
    }),
    row("health, status, 5 checks", false, health::status),
    row("health, answer, 5 checks", false, health::answer),
    row(
        "health, answer with details, 5 checks",
        false,
        health::details,
    ),
    row("balance, least request, 100", true, || {
        balanced(100, LeastRequest::default())
    }),
    row("balance, least request, 10^4", false, || {
        balanced(10_000, LeastRequest::default())
    }),
    row("balance, Peak EWMA, 100", true, || {
        balanced(100, PeakEwma::default())
    }),
    row("balance, Peak EWMA, 10^4", false, || {
        balanced(10_000, PeakEwma::default())
    }),
    row("balance, Prequal, 100", false, || {
        balanced(100, Prequal::default())
    }),
    row("idempotency, no key", true, idempotent::unkeyed),
    row("idempotency, store, 10^3 keys", true, || {
        idempotent::stored(1_000)
    }),
    row("idempotency, store, 10^4 keys", false, || {
        idempotent::stored(KEYS)
    }),
    row("idempotency, new key", false, idempotent::begun),
    row("idempotency, replay of 1 KiB", false, idempotent::replayed),
    row("stack, admit", true, || of(stacked(Inner), ready)),
    row("stack, refuse", false, closed),
    row("stack, pending once", true, || {
        of(stacked(Once), pending(Waking::Noop))
    }),
    row("stack, pending once, counted waker", true, || {
        of(stacked(Once), pending(Waking::Counted))
    }),
];

fn limited() -> BulkheadLayer {
    BulkheadLayer::new(bulkhead::Policy::max_concurrent(100).expect("a policy"))
}

fn full() -> Maker {
    let layer = BulkheadLayer::new(bulkhead::Policy::max_concurrent(1).expect("a policy"));
    let permit = layer.handle().admit().expect("a permit");
    held(layer.layer(Inner), permit)
}

/// A service that stays full while somebody measures.
fn held<S, P>(service: S, permit: P) -> Maker
where
    S: Service<u64> + Clone + Send + Sync + 'static,
    P: Send + Sync + 'static,
{
    let permit = Arc::new(permit);
    Box::new(move |thread| {
        let (held, mut runner) = (Arc::clone(&permit), ready(service.clone(), thread));
        Box::new(move |calls| {
            let _held = &held;
            runner(calls);
        })
    })
}

/// As fast as it can be set: no call is refused.
fn boundless() -> throttle::PolicyBuilder {
    throttle::Policy::builder()
        .rate(1_000_000_000, Duration::from_secs(1))
        .max_keys(20_000)
}

fn throttled(clock: Clock) -> ThrottleLayer {
    let setup = Setup::new().with_clock(clock);
    ThrottleLayer::with(boundless().build().expect("a policy"), setup)
}

const DAY: Duration = Duration::from_secs(86_400);
const PERMITS: u32 = u32::MAX;

/// A throttle that is not a plain bucket, or not only one.
fn several(change: impl Fn(throttle::PolicyBuilder) -> throttle::PolicyBuilder) -> Maker {
    let policy = change(boundless());
    let layer = ThrottleLayer::new(policy.build().expect("a policy"));
    of(layer.layer(Inner), ready)
}

fn spent() -> Maker {
    let policy = throttle::Policy::builder().rate(1, LONG * 100).burst(2);
    let layer = ThrottleLayer::new(policy.build().expect("a policy"));
    while layer.handle().admit(1).is_ok() {}
    of(layer.layer(Inner), ready)
}

fn finding(clock: Clock) -> AdaptiveLayer {
    let policy = adaptive::Policy::builder().min_limit(16).initial_limit(16);
    let setup = Setup::new().with_clock(clock);
    AdaptiveLayer::with(policy.build().expect("a policy"), setup)
}

fn timed() -> TimeoutLayer {
    TimeoutLayer::new(timeout::Policy::attempt(LONG).expect("a policy"))
}

fn zero(_: Failed<'_, u64, Error<Infallible>>) -> Option<u64> {
    Some(0)
}

/// After a time that nobody waits for.
fn hedged() -> HedgeLayer<hedge::Every> {
    HedgeLayer::new(
        hedge::Policy::after(LONG).expect("a policy"),
        hedge::every(),
    )
}

/// With the default budget. A clone of the inner service is free, since there is
/// nothing in it; over a timeout it is not: what that row has above this one and the
/// timeout's own is the clone.
fn retried() -> RetryLayer<Idempotent> {
    RetryLayer::new(retry::Policy::default(), Idempotent::new())
}

fn calm() -> ChaosLayer {
    ChaosLayer::new(chaos::Policy::default())
}

/// Throttle, timeout, bulkhead, in this order.
fn stacked<S>(inner: S) -> Throttle<Timeout<Bulkhead<S>>> {
    throttled(Clock::default()).layer(timed().layer(limited().layer(inner)))
}

/// The innermost layer of the stack refuses.
fn closed() -> Maker {
    let layer = limited();
    layer.handle().set_override(Override::Close);
    let service = throttled(Clock::default()).layer(timed().layer(layer.layer(Inner)));
    of(service, ready)
}

fn keyed(keys: u64) -> Maker {
    keyed_by(boundless(), keys)
}

fn keyed_by(policy: throttle::PolicyBuilder, keys: u64) -> Maker {
    let policy = policy.build().expect("a policy");
    // Every key once in as many calls, in an order of no meaning.
    let by = move |call: &u64| Some(call.wrapping_mul(7_919) % keys);
    of(
        ThrottleLayer::keyed(policy, key::value(by)).layer(Inner),
        ready,
    )
}

fn balanced(endpoints: u32, picker: impl Picker) -> Maker {
    let policy = balance::Policy::builder().picker(picker);
    let policy = policy.build().expect("a policy");
    let endpoints: Vec<_> = (0..endpoints)
        .map(|number| Endpoint::new(number.to_string()))
        .collect();
    let service = Balance::new(policy, endpoints, balance::by(|_| Inner));
    of(service, ready)
}
