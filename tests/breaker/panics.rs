//! A classifier that panics: the call says nothing, whatever state it was admitted in.

use std::cell::Cell;
use std::rc::Rc;

use tower::Layer;
use tower_keep::Setup;
use tower_keep::circuit_breaker::{
    CircuitBreakerLayer, CircuitState, Handle, Kind, Mode, PolicyBuilder,
};
use tower_keep::classify::{Classify, Outcome, Verdict};
use tower_keep::test_util::{ManualClock, finish_on};

use crate::behaviour::{BAD, fixed};
use crate::support::{BROKEN, Fail, call, ms, secs};

/// Says this, or panics.
#[derive(Clone)]
struct Says(Rc<Cell<Option<Outcome>>>);

impl<Res, Err> Classify<Res, Err> for Says {
    fn classify(&self, _: Result<&Res, &Err>) -> Verdict {
        Verdict::Now(self.0.get().unwrap())
    }
}

struct Rig {
    time: ManualClock,
    handle: Handle,
    /// A call that is judged so; whether the service was called.
    end: Box<dyn FnMut(Option<Outcome>) -> bool>,
}

fn rig(policy: PolicyBuilder) -> Rig {
    let (time, says) = (ManualClock::new(), Rc::new(Cell::new(None)));
    let setup = Setup::new().with_clock(time.clock());
    let layer = CircuitBreakerLayer::with(policy.build().unwrap(), setup);
    let layer = layer.classify(Says(Rc::clone(&says)));
    let calls = Rc::new(Cell::new(0));
    let called = Rc::clone(&calls);
    let mut service = layer.layer(tower::service_fn(move |good: bool| {
        called.set(called.get() + 1);
        std::future::ready(if good {
            Ok(())
        } else {
            Err::<(), Fail>(BROKEN)
        })
    }));
    let at = time.clone();
    let mut good = false;
    let end = move |outcome| {
        says.set(outcome);
        good = !good;
        let before = calls.get();
        let _ = finish_on(&at, call(&mut service, good));
        calls.get() > before
    };
    Rig {
        time,
        handle: layer.handle(),
        end: Box::new(end),
    }
}

#[test]
fn it_moves_no_circuit_from_where_it_is() {
    let mut rig = rig(fixed().consecutive(2).probes(1).ramp(secs(10)));
    let Rig { time, handle, end } = &mut rig;
    let state = || handle.snapshot().state;
    // Closed: neither a failure, nor a success that ends a run of them.
    assert!(end(Some(BAD)) && end(None));
    assert_eq!(
        (state(), handle.snapshot().consecutive),
        (CircuitState::Closed, 1)
    );
    assert!(end(Some(BAD)) && !end(None));
    assert_eq!(state(), CircuitState::Open);
    // Half-open: the only probe gives its place back, as often as it likes.
    time.advance(secs(1));
    for _ in 0..5 {
        assert!(end(None));
        let seen = handle.snapshot();
        assert_eq!((seen.state, seen.in_flight), (CircuitState::HalfOpen, 0));
    }
    assert!(end(Some(Outcome::Success)));
    assert_eq!(state(), CircuitState::Closed);
    // In the ramp.
    let passed = (0..10).filter(|_| end(None)).count();
    assert_eq!((passed, state()), (1, CircuitState::Closed));
    time.advance(secs(10));
    assert!(end(None) && end(None) && end(None));
    // And whatever an operator orders.
    for mode in [Mode::Dark, Mode::ForcedClosed, Mode::Disabled, Mode::Normal] {
        handle.set_mode(mode);
        assert!(end(None) && end(None));
        assert_eq!(state(), CircuitState::Closed, "{mode:?}");
    }
    let seen = handle.snapshot();
    assert_eq!((seen.trips, seen.in_flight, seen.failed), (1, 0, 2));
}

#[test]
fn nor_is_it_a_failure_for_those_that_refuse_a_share() {
    for kind in [
        Kind::ClientThrottle,
        Kind::AdmissionControl { aggression: 1 },
        Kind::Ewma,
    ] {
        let mut rig = rig(fixed().kind(kind).minimum_calls(1).time_window(secs(10)));
        for _ in 0..200 {
            assert!((rig.end)(None), "{kind:?}");
            rig.time.advance(ms(100));
        }
        let seen = rig.handle.snapshot();
        assert_eq!((seen.rejected, seen.neutral), (0, 200));
    }
}
