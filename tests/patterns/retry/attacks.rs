//! What the user's code may do to a retry.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll};

use tower::{Layer, Service};
use tower_keep::budget::{self, Budget};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::event::Conclusion;
use tower_keep::replay::{Earlier, Replay};
use tower_keep::retry::{Again, Idempotent, Judged, Policy, RetryLayer, Rules};
use tower_keep::test_util::{Call, Hand, ManualClock, drop_at, finish_on};
use tower_keep::{Ratio, Setup};

use super::{hear, rig, steady, without_end};
use crate::support::cases::Rig;
use crate::support::{BROKEN, Fail, call, ms, request};

/// Code that panics when it is called for the n-th time, wherever that is.
#[derive(Default)]
struct Fuse {
    left: Rc<Cell<u32>>,
    /// Where that was.
    place: Rc<Cell<&'static str>>,
}

impl Fuse {
    fn burn(&self, place: &'static str) {
        let left = self.left.get();
        self.left.set(left.wrapping_sub(1));
        if left == 1 {
            self.place.set(place);
            panic!("{place}");
        }
    }

    fn same(&self) -> Self {
        let (left, place) = (Rc::clone(&self.left), Rc::clone(&self.place));
        Self { left, place }
    }
}

impl Clone for Fuse {
    fn clone(&self) -> Self {
        self.burn("clone");
        self.same()
    }
}

impl Rules<(), (), Fail> for Fuse {
    type Seen = ();

    fn see(&self, (): &()) {
        self.burn("see");
    }

    fn judge(&self, (): &(), result: Result<&(), &Fail>) -> Judged {
        self.burn("judge");
        let (outcome, again) = match result {
            Ok(()) => (Outcome::Success, Again::No),
            Err(_) => (Outcome::Failure(Failure::Transient), Again::Yes),
        };
        Judged { outcome, again }
    }
}

impl Replay<()> for Fuse {
    type Request = ();
    type Kept = ();

    fn keep(&self, (): &()) -> Option<()> {
        self.burn("keep");
        Some(())
    }

    fn first(&self, (): (), _: &mut Option<()>) {
        self.burn("first");
    }

    fn again(&self, (): &mut (), _: Earlier) -> Option<()> {
        self.burn("again");
        Some(())
    }

    fn is_possible(&self, (): &()) -> bool {
        self.burn("is_possible");
        true
    }
}

/// Fails twice, and then succeeds.
struct Inner {
    fuse: Fuse,
    calls: Rc<Cell<u32>>,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        let calls = Rc::clone(&self.calls);
        let fuse = self.fuse.clone();
        Self { fuse, calls }
    }
}

impl Service<()> for Inner {
    type Response = ();
    type Error = Fail;
    type Future = Ready<Result<(), Fail>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        self.fuse.burn("poll_ready");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        self.fuse.burn("call");
        self.calls.set(self.calls.get() + 1);
        ready(if self.calls.get() < 3 {
            Err(BROKEN)
        } else {
            Ok(())
        })
    }
}

/// At every point: nothing is left under way, nothing is kept of the budget, and the
/// next request passes.
#[test]
fn whatever_panics_at_any_point_leaves_nothing() {
    let (mut contained, mut passed) = (Vec::new(), Vec::new());
    for point in 1.. {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let in_flight = budget::Policy::in_flight(Ratio::ONE, 5).unwrap();
        let budget = Budget::with(in_flight, setup.clone());
        let fuse = Fuse::default();
        let layer = RetryLayer::with_budget(steady(), fuse.same(), budget.clone(), setup);
        let layer = layer.replay(fuse.same());
        let calls = Rc::new(Cell::new(0));
        let inner = Inner {
            fuse: fuse.same(),
            calls: Rc::clone(&calls),
        };
        let mut service = layer.layer(inner);
        fuse.left.set(point);
        let work = || finish_on(&time, call(&mut service, ())).unwrap();
        let ended = catch_unwind(AssertUnwindSafe(work));
        let place = fuse.place.get();
        fuse.left.set(0);
        let seen = layer.handle().snapshot();
        let all = seen.succeeded + seen.failed + seen.neutral + seen.cancelled;
        assert_eq!(seen.in_flight, 0, "{place}: {seen:?}");
        assert_eq!(budget.snapshot().balance, 5, "{place}");
        assert_eq!(time.armed(), 0, "{place}");
        // The request was counted, unless it never came so far.
        assert!(all == 1 || place == "poll_ready", "{place}: {seen:?}");
        calls.set(2);
        let next = finish_on(&time, call(&mut service, ())).unwrap();
        assert_eq!(next, Ok(()), "{place}");
        match ended {
            Ok(Ok(())) if place.is_empty() => break,
            Ok(_) => contained.push(place),
            Err(_) => passed.push(place),
        }
    }
    // The code of rules and replays is contained, but for what has the request; the
    // service's own passes.
    let service = ["poll_ready", "call", "first"];
    assert!(
        passed.iter().all(|place| service.contains(place)),
        "{passed:?}"
    );
    for place in ["clone", "see", "keep", "judge", "is_possible", "again"] {
        assert!(contained.contains(&place), "{place}: {contained:?}");
    }
    assert!(
        passed.len() >= 7,
        "three attempts, and the first: {passed:?}"
    );
}

#[test]
fn an_update_to_one_attempt_ends_those_that_are_waiting_with_a_word() {
    let (mut rig, heard) = rig!(Idempotent::new());
    for _ in 0..4 {
        rig.script.then_call(Call::error(BROKEN));
    }
    let mut hand = Hand::new(call(&mut rig.service, request("a")));
    assert!(hand.poll().is_pending());
    rig.handle
        .update(Policy::builder().max_attempts(1).build().unwrap());
    rig.time.advance(ms(100));
    assert!(hand.poll().is_ready());
    drop(hand);
    assert_eq!(rig.watch.counts().calls, 2, "it was decided on");
    assert_eq!(*heard.lock(), [(2, Conclusion::Exhausted)]);
    // Those of one attempt say nothing.
    let mut hand = Hand::new(call(&mut rig.service, request("a")));
    assert!(hand.poll().is_ready());
    assert_eq!(heard.lock().len(), 1);
}

#[test]
fn work_that_is_dropped_at_any_poll_leaves_nothing() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let in_flight = budget::Policy::in_flight(Ratio::ONE, 1).unwrap();
    let budget = Budget::with(in_flight, setup.clone());
    let layer = RetryLayer::with_budget(steady(), Idempotent::new(), budget.clone(), setup);
    let handle = layer.handle();
    let polls = drop_at(
        || {
            let (handle, time) = (handle.clone(), time.clone());
            async move {
                let work = handle.run(|attempt| async move {
                    tokio::task::yield_now().await;
                    if attempt.number() < 3 {
                        Err("reset")
                    } else {
                        Ok(7)
                    }
                });
                let mut work = std::pin::pin!(work);
                std::future::poll_fn(|cx| {
                    let poll = work.as_mut().poll(cx);
                    time.advance(ms(100));
                    poll
                })
                .await
            }
        },
        |_| {
            assert_eq!(handle.snapshot().in_flight, 0);
            assert_eq!(budget.snapshot().balance, 1);
            assert_eq!(time.armed(), 0);
        },
    );
    assert!(polls.is_some_and(|polls| polls > 4), "{polls:?}");
    assert!(handle.snapshot().recovered > 0);
}

#[test]
fn ratios_at_their_ends_neither_overflow_nor_refuse() {
    for (retries, requests, burst, saved) in [
        (100_000, 1, 1_000_000, 300_000),
        (100_000, 100_000, 1, 1),
        (1, 100_000, 1_000_000, 0),
        (99_999, 100_000, 1, 1),
        (100_000, 1, 1, 1),
    ] {
        let time = ManualClock::new();
        let setup = Setup::new().with_clock(time.clock());
        let policy = budget::Policy::builder().ratio(retries, requests);
        let policy = policy.floor(0).burst(burst).build().unwrap();
        let budget = Budget::with(policy, setup.clone());
        let once = Policy::builder().max_attempts(2).build().unwrap();
        let layer = RetryLayer::with_budget(once, Idempotent::new(), budget.clone(), setup);
        let mut good = layer.layer(tower::service_fn(|()| async { Ok::<(), Fail>(()) }));
        for _ in 0..3 {
            finish_on(&time, call(&mut good, ())).unwrap().unwrap();
        }
        let what = format!("{retries} of {requests}");
        assert_eq!(budget.snapshot().balance, saved, "{what}");
        let bad = || ready(Err::<(), _>(BROKEN));
        let mut bad = layer.layer(tower::service_fn(move |()| bad()));
        let _ = finish_on(&time, call(&mut bad, ())).unwrap();
        let granted = budget.snapshot().granted;
        // This one pays, too.
        let paid = 4 * u64::from(retries) >= u64::from(requests);
        assert_eq!(granted, u64::from(paid), "{what}");
    }
}
