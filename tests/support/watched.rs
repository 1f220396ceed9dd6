//! All kinds of handle, seen as one.

use tower_keep::throttle::learned;
use tower_keep::{
    Override, adaptive, balance, bulkhead, chaos, circuit_breaker, fallback, hedge, idempotency,
    retry, throttle, timeout, watchdog,
};

/// What every handle can tell, and be told.
pub(crate) trait Watched: Clone + Send + Sync + 'static {
    /// Calls in flight, as far as the layer counts them.
    fn in_flight(&self) -> u64;
    /// Callers that wait.
    fn waiting(&self) -> u64;
    /// Calls admitted until now, whatever became of them.
    fn admitted(&self) -> u64;
    /// Ends of calls; `None` for a layer that sees no ends.
    fn ended(&self) -> Option<Ends>;
    /// Calls of the inner service beyond one for each.
    fn more(&self) -> u64 {
        0
    }
    fn rejected(&self) -> u64;
    fn order(&self, order: Override);
    /// Publishes the policy in force once more.
    fn update_same(&self);

    /// Nothing of any call is left.
    #[track_caller]
    fn assert_quiet(&self) {
        assert_eq!(self.in_flight(), 0, "calls are left");
        assert_eq!(self.waiting(), 0, "waiters are left");
    }
}

/// How calls ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ends {
    pub(crate) normal: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
}

impl Ends {
    pub(crate) fn sum(self) -> u64 {
        self.normal + self.failed + self.cancelled
    }
}

/// For handles whose snapshots tell calls in flight and four ends; and who waits,
/// and how often the inner service was called more than once for a call.
macro_rules! watched {
    ($($pattern:ident: |$s:pat_param| $both:expr;)*) => { $(
        impl Watched for $pattern::Handle {
            fn in_flight(&self) -> u64 {
                self.snapshot().in_flight
            }
            fn waiting(&self) -> u64 {
                let $s = self.snapshot();
                $both.0
            }
            fn admitted(&self) -> u64 {
                self.in_flight() + self.ended().map_or(0, Ends::sum)
            }
            fn ended(&self) -> Option<Ends> {
                let s = self.snapshot();
                Some(Ends {
                    normal: s.succeeded + s.neutral,
                    failed: s.failed,
                    cancelled: s.cancelled,
                })
            }
            fn more(&self) -> u64 {
                let $s = self.snapshot();
                $both.1
            }
            fn rejected(&self) -> u64 {
                self.snapshot().rejected
            }
            fn order(&self, order: Override) {
                self.set_override(order);
            }
            fn update_same(&self) {
                self.update(self.policy());
            }
        }
    )* };
}

watched! {
    balance: |s| (u64::from(s.waiting), 0);
    learned: |_| (0, 0);
    adaptive: |s| (u64::from(s.waiting), 0);
    circuit_breaker: |_| (0, 0);
    fallback: |_| (0, 0);
    hedge: |s| (0, s.hedges);
    idempotency: |_| (0, 0);
    retry: |s| (0, s.retried);
}

/// In place of a handle, for a layer without one.
#[derive(Debug, Clone)]
pub(crate) struct Unwatched;

impl Watched for Unwatched {
    fn in_flight(&self) -> u64 {
        0
    }
    fn waiting(&self) -> u64 {
        0
    }
    fn admitted(&self) -> u64 {
        0
    }
    fn ended(&self) -> Option<Ends> {
        None
    }
    fn rejected(&self) -> u64 {
        0
    }
    fn order(&self, _: Override) {}
    fn update_same(&self) {}
}

impl Watched for bulkhead::Handle {
    fn in_flight(&self) -> u64 {
        self.snapshot().in_flight
    }
    fn waiting(&self) -> u64 {
        self.snapshot().waiting.into()
    }
    fn admitted(&self) -> u64 {
        self.in_flight() + self.ended().map_or(0, Ends::sum)
    }
    fn ended(&self) -> Option<Ends> {
        let s = self.snapshot();
        Some(Ends {
            normal: s.succeeded + s.neutral,
            failed: s.failed,
            cancelled: s.cancelled,
        })
    }
    fn rejected(&self) -> u64 {
        self.snapshot().rejected
    }
    fn order(&self, order: Override) {
        self.set_override(order);
    }
    fn update_same(&self) {
        self.update(self.policy());
    }
}

impl Watched for timeout::Handle {
    fn in_flight(&self) -> u64 {
        self.snapshot().in_flight
    }
    fn waiting(&self) -> u64 {
        0
    }
    fn admitted(&self) -> u64 {
        self.in_flight() + self.ended().map_or(0, Ends::sum)
    }
    fn ended(&self) -> Option<Ends> {
        let s = self.snapshot();
        Some(Ends {
            normal: s.finished,
            failed: s.timed_out + s.panicked,
            cancelled: s.cancelled,
        })
    }
    fn rejected(&self) -> u64 {
        self.snapshot().rejected
    }
    fn order(&self, order: Override) {
        self.set_override(order);
    }
    fn update_same(&self) {
        self.update(self.policy());
    }
}

impl Watched for watchdog::Handle {
    fn in_flight(&self) -> u64 {
        self.snapshot().in_flight
    }
    fn waiting(&self) -> u64 {
        0
    }
    fn admitted(&self) -> u64 {
        self.in_flight() + self.ended().map_or(0, Ends::sum)
    }
    fn ended(&self) -> Option<Ends> {
        let s = self.snapshot();
        Some(Ends {
            normal: s.finished,
            failed: s.given_up + s.panicked,
            cancelled: s.cancelled,
        })
    }
    fn rejected(&self) -> u64 {
        self.snapshot().rejected
    }
    fn order(&self, order: Override) {
        self.set_override(order);
    }
    fn update_same(&self) {
        self.update(self.policy());
    }
}

impl Watched for throttle::Handle {
    fn in_flight(&self) -> u64 {
        0
    }
    fn waiting(&self) -> u64 {
        0
    }
    fn admitted(&self) -> u64 {
        let s = self.snapshot();
        s.admitted + s.bypassed
    }
    fn ended(&self) -> Option<Ends> {
        None
    }
    fn rejected(&self) -> u64 {
        self.snapshot().rejected
    }
    fn order(&self, order: Override) {
        self.set_override(order);
    }
    fn update_same(&self) {
        self.update(self.policy());
    }
}

impl Watched for chaos::Handle {
    fn in_flight(&self) -> u64 {
        0
    }
    fn waiting(&self) -> u64 {
        0
    }
    fn admitted(&self) -> u64 {
        self.snapshot().requests
    }
    fn ended(&self) -> Option<Ends> {
        None
    }
    fn rejected(&self) -> u64 {
        self.snapshot().rejected
    }
    fn order(&self, order: Override) {
        self.set_override(order);
    }
    fn update_same(&self) {
        self.update(self.policy());
    }
}
