//! Circuit breakers in the states that the rows want.

use tower_keep::circuit_breaker::{self, CircuitBreakerLayer};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::Clock;
use tower_keep::{Ratio, Setup};
use tower_layer::Layer;

use super::driver::{Inner, Maker, of, ready};
use super::{LONG, held};

pub(super) fn ratio() -> circuit_breaker::PolicyBuilder {
    circuit_breaker::Policy::builder()
        .failure_ratio(Ratio::percent(50))
        .count_window(100)
}

pub(super) fn slow() -> circuit_breaker::PolicyBuilder {
    circuit_breaker::Policy::builder()
        .failure_ratio(Ratio::percent(50))
        .slow_ratio(Ratio::percent(50))
        .time_window(LONG)
}

pub(super) fn breaking(policy: circuit_breaker::PolicyBuilder) -> Maker {
    let policy = policy.build().expect("a policy");
    of(CircuitBreakerLayer::new(policy).layer(Inner), ready)
}

/// Open, and for longer than anybody measures.
pub(super) fn tripped(clock: Clock, policy: circuit_breaker::PolicyBuilder) -> Maker {
    let policy = policy.open_wait(LONG * 1_000).build().expect("a policy");
    let layer = CircuitBreakerLayer::with(policy, Setup::new().with_clock(clock));
    fail(&layer.handle());
    of(layer.layer(Inner), ready)
}

pub(super) fn fail(handle: &circuit_breaker::Handle) {
    let permit = handle.admit().expect("a permit");
    permit.finish(Outcome::Failure(Failure::Transient));
}

pub(super) fn once() -> circuit_breaker::PolicyBuilder {
    circuit_breaker::Policy::builder().consecutive(1)
}

/// Half-open, with a probe that does not end.
pub(super) fn probed() -> Maker {
    let policy = once().probes(1).probe_timeout(LONG * 1_000);
    let policy = policy.open_wait(LONG / 600).build().expect("a policy");
    let layer = CircuitBreakerLayer::new(policy);
    let handle = layer.handle();
    fail(&handle);
    let probe = std::iter::repeat_with(|| handle.admit()).find_map(Result::ok);
    held(layer.layer(Inner), probe)
}

/// Its windows have seen many calls, and failures among them.
pub(super) fn crowded() -> Maker {
    let policy = slow().minimum_calls(20).build().expect("a policy");
    let layer = CircuitBreakerLayer::new(policy);
    for call in 0..300_000 {
        let permit = layer.handle().admit().expect("a permit");
        permit.finish(match call % 10 {
            0 => Outcome::Failure(Failure::Transient),
            _ => Outcome::Success,
        });
    }
    of(layer.layer(Inner), ready)
}
