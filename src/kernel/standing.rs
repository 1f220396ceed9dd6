//! Whether a queue stands, and whom `CoDel` sheds: RFC 8289 in the form of
//! Facebook's folly, where the least wait of an interval decides.

use std::time::Duration;

use crate::clock::Tick;

/// How a queue has done lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standing {
    /// When it was empty last.
    since: Option<Tick>,
    /// The end of the interval that is running.
    until: Option<Tick>,
    least: Duration,
    overloaded: bool,
}

impl Standing {
    /// Somebody waits.
    pub(super) fn filled(&mut self, now: Tick) {
        // A clock that went back begins anew.
        self.since = Some(self.since.map_or(now, |since| since.min(now)));
    }

    /// Nobody waits.
    pub(super) fn emptied(&mut self) {
        *self = Self::default();
    }

    /// Whether it has not been empty for `interval`.
    pub(super) fn stands(&self, now: Tick, interval: Duration) -> bool {
        self.since
            .is_some_and(|since| now.saturating_since(since) >= interval)
    }

    /// Whether who has waited so long is shed rather than served now.
    pub(super) fn sheds(
        &mut self,
        now: Tick,
        waited: Duration,
        target: Duration,
        interval: Duration,
    ) -> bool {
        let running = self
            .until
            .is_some_and(|until| now < until && until <= now.saturating_add(interval));
        if !running {
            // The first of an interval passes: it may be the one that is served
            // in time.
            self.overloaded = self.until.is_some() && self.least > target;
            self.until = Some(now.saturating_add(interval));
            self.least = waited;
            return false;
        }
        self.least = self.least.min(waited);
        self.overloaded && waited > target.saturating_mul(2)
    }
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(5);
    const INTERVAL: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_whole_interval_of_long_waits_sheds_the_next_until_one_is_short() {
        let mut standing = Standing::default();
        let mut sheds = |now, waited| standing.sheds(at(now), ms(waited), TARGET, INTERVAL);
        // The first interval is watched.
        assert!((0..100).step_by(10).all(|now| !sheds(now, 50)));
        // Its waits were all above the target: those above twice that are shed, but
        // for the first.
        assert!(!sheds(100, 50));
        assert!(sheds(110, 11) && !sheds(120, 10) && sheds(130, 50));
        // One within the target: the next interval sheds nobody.
        assert!(!sheds(140, 5) && sheds(150, 50));
        assert!((200..300).step_by(10).all(|now| !sheds(now, 50)));
    }

    #[test]
    fn a_queue_stands_once_it_was_not_empty_for_the_interval() {
        let mut standing = Standing::default();
        assert!(!standing.stands(at(500), INTERVAL));
        standing.filled(at(10));
        standing.filled(at(80));
        assert!(!standing.stands(at(109), INTERVAL) && standing.stands(at(110), INTERVAL));
        standing.emptied();
        standing.filled(at(120));
        assert!(!standing.stands(at(200), INTERVAL));
    }
}
