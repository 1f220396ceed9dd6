//! Paused time.

use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_keep::Error;
use tower_keep::test_util::{CountingWaker, armed_timers};
use tower_keep::timeout::{Policy, TimeoutLayer};

use super::{after, ms, paused, poll_once};

#[test]
fn fault_015_the_last_waker_is_woken() {
    paused().block_on(async {
        let mut sleep = after(ms(10));
        let (first, last) = (CountingWaker::new(), CountingWaker::new());
        for waker in [&first, &first, &last, &first, &last] {
            assert!(poll_once(&mut sleep, &waker.waker()).is_pending());
        }
        assert_eq!((first.kept(), last.kept()), (0, 1));
        tokio::time::advance(ms(10)).await;
        tokio::task::yield_now().await;
        assert_eq!((first.wakes(), last.wakes()), (0, 1));
        assert_eq!(poll_once(&mut sleep, &last.waker()), Poll::Ready(Ok(())));
        assert_eq!(armed_timers(), 0);
    });
}

/// Paused time jumps to each timer, and to nothing else.
#[test]
fn fault_021_paused_time_is_exact() {
    paused().block_on(async {
        for wait in [
            1,
            2,
            15,
            16,
            17,
            999,
            33_000,
            3_600_000,
            31_536_000_000,
            94_608_000_000,
        ] {
            let start = Instant::now();
            after(ms(wait)).await.unwrap();
            assert_eq!(start.elapsed(), ms(wait));
        }
        // Many at once, armed in no order.
        let start = Instant::now();
        let sleeps: Vec<_> = (0..1_000_u64)
            .map(|n| {
                let wait = ms(n * 7_919 % 10_000 + 1);
                tokio::spawn(async move {
                    after(wait).await.unwrap();
                    assert_eq!(start.elapsed(), wait);
                })
            })
            .collect();
        for sleep in sleeps {
            sleep.await.unwrap();
        }
        assert_eq!(armed_timers(), 0);
    });
}

#[test]
fn fault_019_time_leaps() {
    paused().block_on(async {
        let mut near = after(ms(1));
        let mut years = after(Duration::from_secs(50 * 31_536_000));
        let mut never = after(Duration::MAX);
        let waker = CountingWaker::new();
        for sleep in [&mut near, &mut years, &mut never] {
            assert!(poll_once(sleep, &waker.waker()).is_pending());
        }
        tokio::time::advance(Duration::from_secs(100 * 31_536_000)).await;
        tokio::task::yield_now().await;
        assert_eq!(waker.wakes(), 2);
        assert_eq!(poll_once(&mut near, Waker::noop()), Poll::Ready(Ok(())));
        assert_eq!(poll_once(&mut years, Waker::noop()), Poll::Ready(Ok(())));
        assert!(poll_once(&mut never, Waker::noop()).is_pending());
        assert_eq!(armed_timers(), 0);
    });
}

/// A response on the very tick of the timeout is in time.
#[test]
fn fault_007_the_response_wins_the_tick() {
    paused().block_on(async {
        let layer = TimeoutLayer::new(Policy::attempt(ms(10)).unwrap());
        let in_time = service_fn(|wait: Duration| async move {
            tokio::time::sleep(wait).await;
            Ok::<_, Error<()>>(())
        });
        for _ in 0..100 {
            let service = layer.layer(in_time);
            service.clone().oneshot(ms(10)).await.unwrap();
            assert!(service.oneshot(ms(11)).await.is_err());
        }
    });
}

/// Dropped after any number of polls, it leaves nothing.
#[test]
fn fault_001_a_timer_is_dropped_at_any_poll() {
    paused().block_on(async {
        for polls in 0..4 {
            let waker = CountingWaker::new();
            let mut sleep = after(ms(2));
            for _ in 0..polls {
                let _ = poll_once(&mut sleep, &waker.waker());
                tokio::time::advance(ms(1)).await;
            }
            drop(sleep);
            assert_eq!(armed_timers(), 0, "after {polls} polls");
            assert_eq!(waker.kept(), 0);
        }
    });
}
