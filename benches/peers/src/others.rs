//! Everybody else, each at its leanest.

use std::future::Ready;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use failsafe::Config;
use failsafe::backoff::constant;
use failsafe::failure_policy::{consecutive_failures, success_rate_over_time_window};
use failsafe::futures::CircuitBreaker;
use governor::clock::{Clock, DefaultClock, MonotonicClock};
use governor::{Quota, RateLimiter};
use recloser::{AsyncRecloser, Recloser};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::limit::{ConcurrencyLimit, RateLimit, rate::Rate};
use tower::load::{CompleteOnResponse, PendingRequests};
use tower::load_shed::LoadShed;
use tower::retry::Retry;
use tower::retry::budget::TpsBudget;
use tower::timeout::Timeout;
use tower_layer::Layer;
use tower_resilience_bulkhead::BulkheadLayer;
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerLayer, SlidingWindowType,
};
use tower_resilience_ratelimiter::RateLimiterLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;
use tower_service::Service;

use crate::driver::{Inner, Maker, Once, Waking, of, pending, ready};
use crate::wrappers::{Direct, Governed, PerKey, Pingora, Retrying};
use crate::{KEYS, Row};

const TOWER: &str = "tower";
const RESILIENCE: &str = "tower-resilience";
const FAILSAFE: &str = "failsafe";
const FAILSAFE_RATE: &str = "failsafe, success rate";
const RECLOSER: &str = "recloser";
const GOVERNOR: &str = "governor";
const GOVERNOR_TSC: &str = "governor, time stamp counter";
const PINGORA: &str = "pingora-timeout";
const ASSEMBLED: &str = "governor + tower + tower";

const LONG: Duration = Duration::from_secs(30);

const fn row(path: &'static str, who: &'static str, make: fn() -> Maker) -> Row {
    Row {
        path,
        who,
        make,
        shared: true,
    }
}

/// A row of tower-resilience's breaker: with a second thread it waits for a lock
/// by a timer, and so is not ready.
const fn alone(path: &'static str, make: fn() -> Maker) -> Row {
    Row {
        shared: false,
        ..row(path, RESILIENCE, make)
    }
}

pub(crate) const ROWS: &[Row] = &[
    // Not clonable: two threads would need a `Buffer` and its task between.
    Row {
        shared: false,
        ..row("balance, least request, 100", TOWER, || {
            Box::new(|thread| {
                let one = |_| PendingRequests::new(Inner, CompleteOnResponse::default());
                ready(Balance::new(ServiceList::new((0..100).map(one))), thread)
            })
        })
    },
    row("timeout, ready", TOWER, || {
        of(Timeout::new(Inner, LONG), ready)
    }),
    row("timeout, ready", PINGORA, || {
        of(Pingora(Inner, LONG), ready)
    }),
    row("timeout, ready", RESILIENCE, || {
        of(timed().layer(Inner), ready)
    }),
    row("timeout, pending once", TOWER, || {
        of(Timeout::new(Once, LONG), pending(Waking::Noop))
    }),
    row("timeout, pending once", PINGORA, || {
        of(Pingora(Once, LONG), pending(Waking::Noop))
    }),
    row("timeout, pending once", RESILIENCE, || {
        of(timed().layer(Once), pending(Waking::Noop))
    }),
    row("timeout, pending once, counted waker", TOWER, || {
        of(Timeout::new(Once, LONG), pending(Waking::Counted))
    }),
    row("timeout, pending once, counted waker", PINGORA, || {
        of(Pingora(Once, LONG), pending(Waking::Counted))
    }),
    row("retry, ready", TOWER, || {
        let budget = Arc::new(TpsBudget::default());
        of(Retry::new(Retrying(budget), Inner), ready)
    }),
    row("bulkhead, admit", TOWER, || {
        of(ConcurrencyLimit::new(Inner, 100), ready)
    }),
    row("bulkhead, admit", RESILIENCE, || {
        of(limited(100).layer(Inner), ready)
    }),
    row("bulkhead, refuse", "tower, load shed", || {
        of(LoadShed::new(full(ConcurrencyLimit::new(Inner, 1))), ready)
    }),
    // tower-resilience's refusal is a timer of length zero: it is pending until
    // the time driver runs, and so not to be compared.
    Row {
        shared: false,
        // It is not `Clone`: each runner has one of its own.
        ..row("throttle, admit", TOWER, || {
            let rate = || Rate::new(1_000_000_000, Duration::from_secs(1));
            Box::new(move |thread| ready(RateLimit::new(Inner, rate()), thread))
        })
    },
    row("throttle, admit", GOVERNOR, || {
        of(governed(Inner, MonotonicClock), ready)
    }),
    row("throttle, admit", GOVERNOR_TSC, || {
        of(governed(Inner, DefaultClock::default()), ready)
    }),
    row("throttle, admit", RESILIENCE, || {
        of(throttled(100_000_000).layer(Inner), ready)
    }),
    row("throttle, refuse", GOVERNOR, || spent(MonotonicClock)),
    row("throttle, refuse", GOVERNOR_TSC, || {
        spent(DefaultClock::default())
    }),
    row("throttle, refuse", RESILIENCE, || {
        of(throttled(1).layer(Inner), ready)
    }),
    row("throttle, 10^4 keys", GOVERNOR, || {
        keyed(KEYS, MonotonicClock)
    }),
    row("throttle, 10^4 keys", GOVERNOR_TSC, || {
        keyed(KEYS, DefaultClock::default())
    }),
    row("throttle, hot key", GOVERNOR, || keyed(1, MonotonicClock)),
    row("throttle, hot key", GOVERNOR_TSC, || {
        keyed(1, DefaultClock::default())
    }),
    row("breaker, closed, consecutive", FAILSAFE, || {
        failsafe(5, false)
    }),
    alone("breaker, closed, consecutive", || {
        broken_by(CircuitBreakerLayer::builder().consecutive_failures(5))
    }),
    row("breaker, closed, count", RECLOSER, || reclosing(100, false)),
    alone("breaker, closed, count", || {
        broken_by(CircuitBreakerLayer::builder().sliding_window_size(100))
    }),
    row(
        "breaker, closed, time and slow",
        FAILSAFE_RATE,
        success_rate,
    ),
    alone("breaker, closed, time and slow", || {
        let layer = CircuitBreakerLayer::builder()
            .sliding_window_type(SlidingWindowType::TimeBased)
            // It looks at every call in the window: a short one, to be fair.
            .sliding_window_duration(Duration::from_millis(1))
            .slow_call_duration_threshold(LONG)
            .slow_call_rate_threshold(0.5);
        broken_by(layer)
    }),
    row("breaker, open", FAILSAFE, || failsafe(1, true)),
    row("breaker, open", RECLOSER, || reclosing(1, true)),
    row("stack of three, ready", ASSEMBLED, || {
        of(assembled(Inner), ready)
    }),
    row("stack of three, ready", RESILIENCE, || {
        let inner = timed().layer(limited(100).layer(Inner));
        of(throttled(100_000_000).layer(inner), ready)
    }),
    row("stack of three, pending once", ASSEMBLED, || {
        of(assembled(Once), pending(Waking::Noop))
    }),
    row("stack of three, pending once", RESILIENCE, || {
        let inner = timed().layer(limited(100).layer(Once));
        of(throttled(100_000_000).layer(inner), pending(Waking::Noop))
    }),
];

fn broken_by(builder: CircuitBreakerConfigBuilder) -> Maker {
    of(builder.build().expect("a layer").layer(Inner), ready)
}

fn trip() -> Ready<Result<u64, ()>> {
    std::future::ready(Err(()))
}

/// Polls it once: these futures are ready.
fn now<F: Future>(future: F) {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(std::pin::pin!(future).poll(&mut cx).is_ready());
}

fn reclosing(calls: usize, open: bool) -> Maker {
    let recloser = Recloser::custom().error_rate(0.5).closed_len(calls);
    let breaker = AsyncRecloser::from(recloser.open_wait(LONG * 1_000).build());
    if open {
        (0..=calls).for_each(|_| now(breaker.call(trip())));
    }
    let service = tower::service_fn(move |n| breaker.call(Inner.call(n)));
    of(service, ready)
}

fn failsafe(failures: u32, open: bool) -> Maker {
    let policy = consecutive_failures(failures, constant(LONG * 1_000));
    let breaker = Config::new().failure_policy(policy).build();
    if open {
        now(breaker.call(trip()));
    }
    let service = tower::service_fn(move |n| breaker.call(Inner.call(n)));
    of(service, ready)
}

/// Its time window is a moving average, and knows nothing of slow calls.
fn success_rate() -> Maker {
    let policy = success_rate_over_time_window(0.5, 20, LONG, constant(LONG));
    let breaker = Config::new().failure_policy(policy).build();
    let service = tower::service_fn(move |n| breaker.call(Inner.call(n)));
    of(service, ready)
}

/// The only permit is with a clone that nobody calls.
fn full<S: Service<u64> + Clone>(service: ConcurrencyLimit<S>) -> ConcurrencyLimit<S> {
    let mut idle = service.clone();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(idle.poll_ready(&mut cx).is_ready());
    Box::leak(Box::new(idle));
    service
}

fn timed() -> TimeLimiterLayer {
    TimeLimiterLayer::builder().timeout_duration(LONG).build()
}

fn limited(calls: usize) -> BulkheadLayer {
    BulkheadLayer::builder()
        .max_concurrent_calls(calls)
        .reject_when_full()
        .build()
        .expect("a layer")
}

fn throttled(calls: usize) -> RateLimiterLayer {
    RateLimiterLayer::builder()
        .limit_for_period(calls)
        .refresh_period(if calls == 1 {
            LONG
        } else {
            Duration::from_secs(1)
        })
        .timeout_duration(Duration::ZERO)
        .build()
        .expect("a layer")
}

fn boundless() -> Quota {
    Quota::per_second(NonZeroU32::new(1_000_000_000).expect("above 0"))
}

fn governed<S, C: Clock>(inner: S, clock: C) -> Governed<S, Direct<C>> {
    Governed::new(inner, RateLimiter::direct_with_clock(boundless(), clock))
}

fn spent<C: Clock + Send + Sync + 'static>(clock: C) -> Maker
where
    C::Instant: Send + Sync,
{
    let quota = Quota::with_period(LONG * 100).expect("above 0");
    let limiter = RateLimiter::direct_with_clock(quota, clock);
    while limiter.check().is_ok() {}
    of(Governed::new(Inner, limiter), ready)
}

fn keyed<C: Clock + Send + Sync + 'static>(keys: u64, clock: C) -> Maker
where
    C::Instant: Send + Sync,
{
    let limiter = RateLimiter::dashmap_with_clock(boundless(), clock);
    of(Governed::new(Inner, PerKey { limiter, keys }), ready)
}

/// The best stack of three that one can put together without this crate.
fn assembled<S: Service<u64> + Clone>(
    inner: S,
) -> Governed<Timeout<ConcurrencyLimit<S>>, Direct<MonotonicClock>> {
    let inner = Timeout::new(ConcurrencyLimit::new(inner, 100), LONG);
    governed(inner, MonotonicClock)
}
