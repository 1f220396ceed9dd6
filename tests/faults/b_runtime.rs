//! Timers where the runtime is busy, or gone.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt, service_fn};
use tower_keep::deadline::Deadline;
use tower_keep::test_util::ManualClock;
use tower_keep::throttle::{self, ThrottleLayer};
use tower_keep::timeout::{Policy, Timeout, TimeoutLayer};
use tower_keep::{Error, RejectionKind, Setup};

fn limit() -> TimeoutLayer {
    TimeoutLayer::new(Policy::attempt(Duration::from_millis(10)).unwrap())
}

/// What uses up the task's whole cooperative budget in every poll is given up on
/// all the same: the timer does not draw from that budget.
#[tokio::test(start_paused = true)]
async fn fault_007_a_busy_inner_future_is_given_up_on() {
    let busy = service_fn(|_: ()| async {
        loop {
            tokio::task::consume_budget().await;
        }
        #[allow(unreachable_code)]
        Ok::<(), Error<()>>(())
    });
    let call = tokio::spawn(limit().layer(busy).oneshot(()));
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_millis(20)).await;
    for _ in 0..1_000 {
        if call.is_finished() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(call.is_finished(), "still waiting for a busy service");
    let Err(Error::Rejected(rejection)) = call.await.unwrap() else {
        panic!("it never answers");
    };
    assert_eq!(rejection.kind(), RejectionKind::Timeout);
}

/// A timer whose runtime has shut down is a typed refusal, not a panic.
#[test]
fn fault_014_a_timer_outlives_its_runtime() {
    let layer = limit();
    let never = service_fn(|_: ()| std::future::pending::<Result<(), Error<()>>>());
    let mut call = pin!(layer.layer(never).oneshot(()));
    let mut cx = Context::from_waker(Waker::noop());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    {
        let _inside = runtime.enter();
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    drop(runtime);
    let Poll::Ready(Err(Error::Rejected(rejection))) = call.as_mut().poll(&mut cx) else {
        panic!("nothing drives the timer any more");
    };
    assert_eq!(rejection.kind(), RejectionKind::NoRuntime);
    assert_eq!(layer.handle().snapshot().in_flight, 0);
}

/// A wait without a runtime ends once: refused, not cancelled as well.
#[test]
fn fault_014_a_wait_without_a_runtime_is_counted_once() {
    let policy = throttle::Policy::builder().rate(1, Duration::from_secs(1));
    let layer = ThrottleLayer::new(policy.max_wait(Duration::from_secs(9)).build().unwrap());
    let layer = layer.waiting();
    let handle = layer.handle();
    let mut ready = layer.layer(service_fn(async |(): ()| Ok::<(), Error<()>>(())));
    handle.admit(1).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    {
        let mut call = pin!(ready.call(()));
        let Poll::Ready(Err(Error::Rejected(rejection))) = call.as_mut().poll(&mut cx) else {
            panic!("nothing drives its timer");
        };
        assert_eq!(rejection.kind(), RejectionKind::NoRuntime);
        assert!(call.poll(&mut cx).is_pending());
    }
    let snapshot = handle.snapshot();
    assert_eq!((snapshot.rejected, snapshot.cancelled), (1, 0));
    assert_eq!((snapshot.admitted, snapshot.waited), (1, 0));
}

/// A wait for readiness has the deadline of who waits now, not of somebody who
/// asked before and went away.
#[test]
fn fault_007_a_readiness_wait_is_the_asker_s() {
    let time = ManualClock::new();
    let policy = Policy::builder().readiness(Duration::from_secs(5)).build();
    let layer = TimeoutLayer::with(policy.unwrap(), Setup::new().with_clock(time.clock()));
    let mut service = layer.layer(NeverReady);
    let mut cx = Context::from_waker(Waker::noop());
    let mut ask = |service: &mut Timeout<NeverReady>| service.poll_ready(&mut cx).is_ready();
    assert!(!ask(&mut service));
    time.advance(Duration::from_secs(1));
    let deadline = Deadline::after(&time.clock(), Duration::from_millis(10));
    assert!(!deadline.scope(|| ask(&mut service)));
    time.advance(Duration::from_millis(10));
    assert!(
        deadline.scope(|| ask(&mut service)),
        "the deadline has passed"
    );
}

struct NeverReady;

impl Service<()> for NeverReady {
    type Response = ();
    type Error = Error<()>;
    type Future = std::future::Pending<Result<(), Error<()>>>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<()>>> {
        Poll::Pending
    }
    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("it is never ready")
    }
}
