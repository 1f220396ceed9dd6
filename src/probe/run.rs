//! Runs probes: bounded in time, and with what they break kept to themselves.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Finding, Probe, Probing, Schedule};
use crate::clock::{Clock, Tick};
use crate::kernel::core::drop_quietly;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// By an answer.
    Answered,
    /// By the timeout.
    TimedOut,
    /// By a panic of the probe.
    Panicked,
    /// No timer could be armed to bound it: it was not run to its end.
    NoRuntime,
}

/// One run of a probe.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Observation {
    /// What it has found; a failure unless it has answered.
    pub finding: Finding,
    /// How it ended.
    pub end: End,
    /// When it began.
    pub started: Tick,
    /// When it ended.
    pub finished: Tick,
}

impl Observation {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.finished.saturating_since(self.started)
    }
}

/// Runs a probe once, for at most `within`.
///
/// # Panics
/// Never: a panic of the probe is a failure that it has found.
///
/// # Cancel safety
/// May be dropped at any point, and the run is with it.
pub async fn ask<P: Probe + ?Sized>(probe: &P, within: Duration, clock: &Clock) -> Observation {
    let started = clock.now();
    let mut timer = pin!(clock.sleep_from(started, started.saturating_add(within)));
    let mut run = Contained::begin(probe);
    let (finding, end) = poll_fn(|cx| {
        if let Poll::Ready(ended) = run.poll(cx) {
            return Poll::Ready(match ended {
                Some(finding) => (finding, End::Answered),
                None => (Finding::fail("the probe has panicked"), End::Panicked),
            });
        }
        timer.as_mut().poll(cx).map(|fired| match fired {
            Ok(()) => (Finding::fail("no answer in time"), End::TimedOut),
            Err(error) => (Finding::fail(error.to_string()), End::NoRuntime),
        })
    })
    .await;
    drop(run);
    Observation {
        finding,
        end,
        started,
        finished: clock.now(),
    }
}

/// Runs a probe by a schedule until `told` breaks: at most one run at once, each of
/// them told when it has ended. `seed` makes the jitter differ between probes.
///
/// # Cancel safety
/// May be dropped at any point, and the run is with it.
pub async fn follow<P: Probe + ?Sized>(
    probe: &P,
    schedule: Schedule,
    clock: &Clock,
    seed: u64,
    mut told: impl FnMut(Observation) -> ControlFlow<()>,
) {
    let mut due = clock.now().saturating_add(schedule.first());
    for run in 0_u64.. {
        if clock.sleep_until(due).await.is_err() {
            // Nothing can be paced here: once is better than never.
            let _ = told(ask(probe, schedule.timeout(), clock).await);
            return;
        }
        let seen = ask(probe, schedule.timeout(), clock).await;
        // A clock that was set back does not lengthen the wait.
        let wait = schedule.wait(seed, run).saturating_sub(seen.took());
        due = seen.finished.saturating_add(wait);
        if told(seen).is_break() {
            return;
        }
    }
}

/// A run that cannot panic, neither at its beginning, nor when it is polled or dropped.
struct Contained<'a>(Option<Probing<'a>>);

impl<'a> Contained<'a> {
    fn begin<P: Probe + ?Sized>(probe: &'a P) -> Self {
        Self(contain(|| probe.probe()))
    }

    /// `None`: it has panicked.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Finding>> {
        let Some(run) = &mut self.0 else {
            return Poll::Ready(None);
        };
        match contain(|| run.as_mut().poll(cx)) {
            Some(Poll::Pending) => Poll::Pending,
            Some(Poll::Ready(finding)) => Poll::Ready(Some(finding)),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        let run = self.0.take();
        contain(|| drop(run));
    }
}

fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(drop_quietly).ok()
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::ManualClock;
    use crate::policy::Ratio;
    use crate::probe::Status;
    use crate::test_util::Hand;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn fault_083_what_hangs_or_panics_has_failed() {
        let time = ManualClock::new();
        let clock = time.clock();
        let stuck = || std::future::pending::<()>();
        let mut asked = Hand::new(Box::pin(ask(&stuck, SECOND, &clock)));
        assert!(asked.poll().is_pending());
        time.advance(SECOND);
        let Poll::Ready(seen) = asked.poll() else {
            panic!("still waiting")
        };
        assert_eq!((seen.end, seen.took()), (End::TimedOut, SECOND));
        drop(asked);

        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("scripted");
            }
        }
        let early: Arc<dyn Probe> = Arc::new(|| -> std::future::Ready<()> { panic!("scripted") });
        let late: Arc<dyn Probe> = Arc::new(|| async { panic!("scripted") as () });
        let last: Arc<dyn Probe> = Arc::new(|| {
            let bomb = Bomb;
            async move {
                let _bomb = bomb;
                std::future::pending::<()>().await;
            }
        });
        for (probe, end) in [
            (early, End::Panicked),
            (late, End::Panicked),
            (last, End::TimedOut),
        ] {
            let mut asked = Hand::new(Box::pin(ask(&probe, SECOND, &clock)));
            let polled = asked.poll();
            time.advance(SECOND);
            let polled = if polled.is_pending() {
                asked.poll()
            } else {
                polled
            };
            let Poll::Ready(seen) = polled else {
                panic!("still waiting")
            };
            assert_eq!((seen.end, seen.finding.status()), (end, Status::Fail));
        }
        assert_eq!(time.armed(), 0);
    }

    /// Runs `follow` by hand for so many seconds: when runs began.
    fn starts(schedule: Schedule, takes: Duration, seconds: u32) -> Vec<Duration> {
        let time = ManualClock::new();
        let (clock, begun) = (time.clock(), time.now());
        let slow = clock.clone();
        let probe = move || {
            let sleep = slow.sleep_until(slow.now().saturating_add(takes));
            async {
                let _ = sleep.await;
            }
        };
        let mut starts = Vec::new();
        let mut run = Box::pin(follow(&probe, schedule, &clock, 1, |seen| {
            starts.push(seen.started.saturating_since(begun));
            ControlFlow::Continue(())
        }));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..seconds * 10 {
            assert!(run.as_mut().poll(&mut cx).is_pending());
            time.advance(SECOND / 10);
        }
        drop(run);
        starts
    }

    #[test]
    fn runs_begin_at_the_interval_and_never_overlap() {
        let exact = Schedule::builder().jitter(Ratio::ZERO).interval(SECOND);
        let due = |every: u32, first: Duration| (0..).map(move |n| first + SECOND * every * n);
        let schedule = exact.first(SECOND * 2).build().unwrap();
        let quick = starts(schedule, SECOND / 5, 30);
        assert!(quick.len() >= 27, "{quick:?}");
        assert!(
            quick
                .iter()
                .copied()
                .eq(due(1, SECOND * 2).take(quick.len()))
        );
        let schedule = exact.timeout(SECOND * 3).build().unwrap();
        let slow = starts(schedule, SECOND * 2, 30);
        assert!(
            slow.iter()
                .copied()
                .eq(due(2, Duration::ZERO).take(slow.len()))
        );
        assert!(slow.len() >= 14, "{slow:?}");
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let time = ManualClock::new();
        let clock = time.clock();
        let runs = AtomicU32::new(0);
        let probe = || std::future::ready(());
        let run = follow(&probe, Schedule::default(), &clock, 1, |_| {
            runs.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Break(())
        });
        assert!(Hand::new(Box::pin(run)).poll().is_ready());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(time.armed(), 0);
    }
}
