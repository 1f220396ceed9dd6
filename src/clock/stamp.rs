//! One reading of the clock for all layers of a stack, on the way in.
//!
//! Within one nested `call` the first layer that needs the time reads it and
//! the layers below share its reading. On the way out everybody reads anew:
//! somebody may have burnt time in between. A service that blocks within `call`
//! and drives other calls from there shows them the time at which it was called.

use std::cell::Cell;

use super::{Clock, Tick};

thread_local! {
    /// The reading and the identity of its clock; 0: none. Two cells: a pair
    /// would be copied as one value of sixteen bytes, and that waits for the
    /// stores of its halves.
    static CURRENT: (Cell<Tick>, Cell<usize>) =
        const { (Cell::new(Tick::ZERO), Cell::new(0)) };
}

/// Holds the reading until the `call` that took it returns.
#[derive(Debug)]
#[must_use = "the layers below share the stamp while it lives"]
pub(crate) struct Stamp {
    now: Tick,
    /// What was there before, if this stamp replaced it.
    replaced: Option<(Tick, usize)>,
}

impl Stamp {
    #[inline]
    pub(super) fn enter(clock: &Clock) -> Self {
        let identity = clock.identity;
        let get = |(now, of): &(Cell<Tick>, Cell<usize>)| (now.get(), of.get());
        let current = CURRENT.try_with(get).unwrap_or((Tick::ZERO, 0));
        if current.1 == identity {
            return Self {
                now: current.0,
                replaced: None,
            };
        }
        let now = clock.now();
        set(now, identity);
        Self {
            now,
            replaced: Some(current),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Tick {
        self.now
    }
}

impl Drop for Stamp {
    #[inline]
    fn drop(&mut self) {
        if let Some((now, identity)) = self.replaced {
            set(now, identity);
        }
    }
}

#[inline]
fn set(now: Tick, identity: usize) {
    let _ = CURRENT.try_with(|current| {
        current.0.set(now);
        current.1.set(identity);
    });
}

#[cfg(test)]
mod tests {
    use crate::clock::ManualClock;
    use std::time::Duration;

    #[test]
    fn the_first_reading_serves_all_within() {
        let manual = ManualClock::new();
        let clock = manual.clock();
        let outer = clock.stamp();
        manual.advance(Duration::from_secs(1));
        let inner = clock.stamp();
        assert_eq!(outer.now(), inner.now());
        drop(inner);
        assert_eq!(clock.stamp().now(), outer.now());
        drop(outer);
        assert_eq!(clock.stamp().now(), clock.now());
    }

    #[test]
    fn another_clock_reads_for_itself() {
        let one = ManualClock::new();
        let two = ManualClock::new();
        two.advance(Duration::from_secs(9));
        let outer = one.clock().stamp();
        let inner = two.clock().stamp();
        assert_ne!(outer.now(), inner.now());
        drop(inner);
        assert_eq!(one.clock().stamp().now(), outer.now());
    }
}
