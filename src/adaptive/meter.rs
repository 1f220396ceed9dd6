//! What calls have measured, and when a window is over.
//!
//! A call whose time is taken adds its weight and its time to a counter of its
//! thread, as one word: so the sum over all threads never has the time of a
//! call without its weight. Whoever ends a call after a window's time closes it:
//! the swap of `opened` lets one through, and the others go on as before.

use std::cell::Cell;
use std::time::Duration;

use super::algorithm::Window;
use super::policy::{Policy, STRETCH};
use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU32, AtomicU64, Ordering};

/// The word of a call: its weight above, microseconds (of 1,024 ns) below.
/// 24 bits of weights and 12 days of microseconds fit into a window.
const WEIGHT: u64 = 1 << 40;
/// The longest time that counts, in microseconds: 67 s.
const LONGEST: u64 = 1 << 26;
/// Of calls a window has many of, one in eight is timed at the least.
const RAREST: u32 = 3;
/// Timed calls in a window, beyond which fewer are enough, and below which more
/// are needed.
const ENOUGH: u64 = 256;
const TOO_FEW: u64 = 64;

thread_local! {
    static TURN: Cell<u32> = const { Cell::new(0) };
}

/// Numbers without a pattern that a service's own could fall in with.
#[inline]
fn turn() -> u32 {
    let next = |turn: &Cell<u32>| {
        turn.set(turn.get().wrapping_add(0x9E37_79B9));
        turn.get()
    };
    TURN.try_with(next).unwrap_or(0)
}

/// When a call began, if its time is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    /// Never, for a call that is not timed.
    start: Tick,
    shift: u8,
}

impl Timed {
    pub(super) const NOT: Self = Self {
        start: Tick::MAX,
        shift: 0,
    };

    #[inline]
    pub(super) fn is_taken(self) -> bool {
        self.start != Tick::MAX
    }
}

/// Sums over all threads, each only ever growing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// Of the words of calls; it wraps.
    pub(super) timed: u64,
    pub(super) ended: u64,
    pub(super) dropped: u64,
    pub(super) reached: u64,
    pub(super) refused: u64,
    /// Nanoseconds in the queue; it wraps.
    pub(super) waited: u64,
}

/// What the calls read and write.
#[derive(Debug)]
pub(super) struct Meter {
    /// When the window began, or was last asked to end.
    opened: AtomicU64,
    length: AtomicU64,
    /// The mean response time of the last window.
    usual: AtomicU64,
    /// One of `2^shift` calls is timed.
    shift: AtomicU32,
}

impl Meter {
    pub(super) fn new(policy: &Policy, now: Tick) -> Self {
        Self {
            opened: AtomicU64::new(now.as_nanos()),
            length: AtomicU64::new(nanos(policy.window)),
            usual: AtomicU64::new(0),
            shift: AtomicU32::new(0),
        }
    }

    /// Whether the next call is timed.
    #[inline]
    pub(super) fn begin(&self, now: impl FnOnce() -> Tick) -> Timed {
        let shift = self.shift.load(Ordering::Relaxed);
        if turn().leading_zeros() < shift {
            return Timed::NOT;
        }
        Timed {
            start: now(),
            // At most `RAREST`.
            shift: u8::try_from(shift).unwrap_or(0),
        }
    }

    /// The word of a call that took so long, if it counts: one that did not
    /// succeed does only if it took longer than is usual, and so makes nothing
    /// look faster than it is.
    #[inline]
    pub(super) fn word(&self, timed: Timed, succeeded: bool, now: Tick) -> Option<u64> {
        let took = now.as_nanos().saturating_sub(timed.start.as_nanos());
        if !succeeded && took <= self.usual.load(Ordering::Relaxed) {
            return None;
        }
        Some((WEIGHT + (took >> 10).min(LONGEST)) << timed.shift)
    }

    /// Whether it falls to the caller to close the window.
    #[inline]
    pub(super) fn is_over(&self, now: Tick) -> bool {
        let opened = self.opened.load(Ordering::Relaxed);
        // After a clock that goes back this is huge, and the window ends.
        let since = now.as_nanos().wrapping_sub(opened);
        since >= self.length.load(Ordering::Relaxed) && self.claim(opened, now)
    }

    #[cold]
    fn claim(&self, opened: u64, now: Tick) -> bool {
        let swap = self.opened.compare_exchange(
            opened,
            now.as_nanos(),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        swap.is_ok()
    }

    pub(super) fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual.load(Ordering::Relaxed))
    }
}

/// The window that is open, under the lock of who closes it.
#[derive(Debug)]
pub(super) struct Ledger {
    opened: Tick,
    sums: Sums,
    /// The last one.
    window: Option<Window>,
}

impl Ledger {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            opened: now,
            sums: Sums::default(),
            window: None,
        }
    }

    /// Closes the window, or leaves it open for want of samples.
    pub(super) fn close(
        &mut self,
        meter: &Meter,
        policy: &Policy,
        limit: u32,
        sums: Sums,
        now: Tick,
    ) -> Option<Window> {
        let before = self.sums;
        let timed = sums.timed.wrapping_sub(before.timed);
        let (weight, micros) = (timed / WEIGHT, timed % WEIGHT);
        let ended = sums.ended.saturating_sub(before.ended);
        let shift = meter.shift.load(Ordering::Relaxed).min(RAREST);
        if now < self.opened {
            // Somebody who came later was faster here; but if it is by more than a
            // window, the clock went back, and nothing is known of the time.
            let back = self.opened.saturating_since(now);
            if back > Duration::from_nanos(meter.length.load(Ordering::Relaxed)) {
                self.open(sums, now);
            }
            return None;
        }
        let mean = match weight {
            0 => meter.usual(),
            _ => {
                let nanos = (u128::from(micros) << 10) / u128::from(weight);
                Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        };
        let span = now.saturating_since(self.opened);
        let window = Window {
            limit,
            span,
            samples: weight,
            mean,
            in_flight: in_flight(micros, span),
            ended,
            dropped: sums.dropped.saturating_sub(before.dropped),
            reached: sums.reached.saturating_sub(before.reached),
            refused: sums.refused.saturating_sub(before.refused),
            queue_time: Duration::from_nanos(
                sums.waited.wrapping_sub(before.waited) / ended.max(1),
            ),
        };
        let enough = u64::from(policy.min_samples);
        // All of them failing for overload is told, too.
        let failing = weight == 0 && window.is_overloaded() && ended >= enough;
        if (weight >> shift) < enough && !failing {
            return None;
        }
        self.open(sums, now);
        self.window = Some(window);
        let shortest = nanos(policy.window);
        let longest = shortest.saturating_mul(STRETCH.into());
        let length = nanos(mean).saturating_mul(2).clamp(shortest, longest);
        meter.length.swap(length, Ordering::Relaxed);
        meter.usual.swap(nanos(mean), Ordering::Relaxed);
        // A window of fewer than it needs would last longer.
        let few = TOO_FEW.max(enough);
        let shift = match weight >> shift {
            timed if timed > ENOUGH.max(4 * few) => (shift + 1).min(RAREST),
            timed if timed < few * 3 / 2 => shift.saturating_sub(1),
            _ => shift,
        };
        meter.shift.swap(shift, Ordering::Relaxed);
        Some(window)
    }

    fn open(&mut self, sums: Sums, now: Tick) {
        self.sums = sums;
        self.opened = now;
    }

    /// What was measured last, if that is not long ago.
    pub(super) fn last(&self, meter: &Meter, now: Tick) -> Option<Window> {
        let length = Duration::from_nanos(meter.length.load(Ordering::Relaxed));
        let fresh = length.saturating_mul(FRESH);
        self.window
            .filter(|_| now.saturating_since(self.opened) < fresh)
    }
}

/// For so many lengths of a window its figures are those of the present.
const FRESH: u32 = 10;

/// Little's law, rounded up.
fn in_flight(micros: u64, span: Duration) -> u32 {
    let nanos = u128::from(micros) << 10;
    let calls = nanos.div_ceil(span.as_nanos().max(1));
    u32::try_from(calls).unwrap_or(u32::MAX)
}
