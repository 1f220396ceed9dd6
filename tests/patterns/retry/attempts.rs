//! What an attempt is made of, and what it knows.

use std::sync::Arc;

use parking_lot::Mutex;
use tower::Layer;
use tower_keep::attempt::{self, Attempt, EndpointId};
use tower_keep::event::Conclusion;
use tower_keep::replay;
use tower_keep::retry::{Again, Idempotent, Policy, RetryLayer, when};
use tower_keep::test_util::{Call, Hand, ManualClock, Script, finish_on};
use tower_keep::{AsRejection, Error, Override, RejectionKind, Setup};

use super::{Scripted, hear, rig, steady, without_end};
use crate::support::cases::Rig;
use crate::support::{BROKEN, Fail, call, request};

#[test]
fn a_function_is_tried_again() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = RetryLayer::with_budget(
        steady(),
        Idempotent::new(),
        without_end(setup.clone()),
        setup,
    );
    let handle = layer.handle();
    let mut calls = 0;
    let work = handle.run(|attempt| {
        calls += 1;
        let number = attempt.number();
        async move { if number == 4 { Ok(number) } else { Err(number) } }
    });
    assert_eq!(finish_on(&time, work), Some(Ok(4)));
    assert_eq!(calls, 4);
    let work = handle.run_if(
        |error: &u32| if *error < 2 { Again::Yes } else { Again::No },
        |attempt| async move { Err::<(), _>(attempt.number()) },
    );
    assert_eq!(finish_on(&time, work), Some(Err(Error::Inner(2))));
    let seen = handle.snapshot();
    assert_eq!(
        (seen.recovered, seen.ended_final, seen.in_flight),
        (1, 1, 0)
    );
    // Dropped while it waits.
    let mut hand = Hand::new(handle.run(|_| async { Err::<(), _>(()) }));
    assert!(hand.poll().is_pending());
    assert_eq!(handle.snapshot().in_flight, 1);
    drop(hand);
    assert_eq!(
        (handle.snapshot().in_flight, handle.snapshot().cancelled),
        (0, 1)
    );
    handle.set_override(Override::Close);
    let refused = finish_on(&time, handle.run(|_| async { Ok::<_, ()>(()) })).unwrap();
    assert_eq!(
        refused.unwrap_err().as_rejection().unwrap().kind(),
        RejectionKind::Closed
    );
}

#[test]
fn attempts_know_their_number_and_where_they_have_been() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = RetryLayer::with_budget(
        steady(),
        Idempotent::new(),
        without_end(setup.clone()),
        setup,
    );
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let mut service = layer.layer(tower::service_fn(move |n: u32| {
        let attempt = Attempt::current().unwrap();
        into.lock().push((attempt.number(), attempt.tried().len()));
        attempt::note(EndpointId::new(attempt.number()));
        async move {
            // Not only `call` knows.
            assert_eq!(
                Attempt::current().map(|now| now.number()),
                Some(attempt.number())
            );
            if attempt.number() < 3 {
                Err(BROKEN)
            } else {
                Ok(n)
            }
        }
    }));
    assert_eq!(finish_on(&time, call(&mut service, 5)), Some(Ok(5)));
    assert_eq!(*seen.lock(), [(1, 0), (2, 1), (3, 2)]);
    assert_eq!(Attempt::current(), None);
}

/// A request that counts its clones.
#[derive(Debug, Default)]
struct Counted(Arc<Mutex<u32>>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        *self.0.lock() += 1;
        Self(Arc::clone(&self.0))
    }
}

#[test]
fn nothing_is_cloned_where_no_retry_is_possible() {
    let time = ManualClock::new();
    let once = Policy::builder().max_attempts(1).build().unwrap();
    let layer = RetryLayer::with(
        once,
        Idempotent::new(),
        Setup::new().with_clock(time.clock()),
    );
    let mut service = layer.layer(Script::<u32, Fail>::new(&time, Call::error(BROKEN)));
    let request = Counted::default();
    let clones = Arc::clone(&request.0);
    let _ = finish_on(&time, call(&mut service, request));
    assert_eq!(*clones.lock(), 0);
    layer.handle().update(steady());
    layer.handle().set_override(Override::Bypass);
    let _ = finish_on(&time, call(&mut service, Counted(Arc::clone(&clones))));
    assert_eq!((*clones.lock(), layer.handle().snapshot().bypassed), (0, 1));
    layer.handle().set_override(Override::None);
    let _ = finish_on(&time, call(&mut service, Counted(Arc::clone(&clones))));
    assert_eq!(*clones.lock(), 4, "one to keep, and one for each retry");
    assert_eq!(layer.handle().snapshot().in_flight, 0);
}

#[test]
fn rules_and_clones_that_panic_cost_no_request() {
    let panics = |_: Result<&Scripted, &Fail>| -> Again { panic!("rules") };
    let (mut rig, _) = rig!(when(panics));
    rig.script.then_call(Call::error(BROKEN));
    let result = finish_on(&rig.time, call(&mut rig.service, request("a"))).unwrap();
    assert_eq!(result.map(drop), Err(BROKEN));
    assert_eq!(rig.handle.snapshot().neutral, 1);

    let time = ManualClock::new();
    let layer = RetryLayer::with(
        steady(),
        Idempotent::new(),
        Setup::new().with_clock(time.clock()),
    )
    .replay(replay::by(|_: &u32| -> Option<u32> { panic!("a clone") }));
    let mut service = layer.layer(Script::<u32, Fail>::new(&time, Call::respond(1)));
    assert_eq!(finish_on(&time, call(&mut service, 7)), Some(Ok(1)));
}

#[test]
fn a_request_that_cannot_be_cloned_is_sent_once() {
    struct Unique(u32);
    let time = ManualClock::new();
    let (setup, heard) = hear(Setup::new().with_clock(time.clock()));
    let odd = |request: &Unique| (request.0 % 2 == 1).then_some(Unique(request.0));
    let layer = RetryLayer::with(steady(), Idempotent::new(), setup).replay(replay::by(odd));
    let script = Script::<u32, Fail>::new(&time, Call::respond(1)).call(Call::error(BROKEN));
    let mut service = layer.layer(script.clone());
    let result = finish_on(&time, call(&mut service, Unique(2))).unwrap();
    assert_eq!(result, Err(BROKEN));
    assert_eq!(*heard.lock(), [(1, Conclusion::Unrepeatable)]);
    script.then_call(Call::error(BROKEN));
    assert_eq!(finish_on(&time, call(&mut service, Unique(3))), Some(Ok(1)));
}
