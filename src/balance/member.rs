//! What is known of an endpoint while it is in use.

use std::fmt;
use std::time::Duration;

use super::endpoint::Endpoint;
use super::outlier::Calls;
use super::pick::latency::{self, ByLoad};
use super::pick::peak::Peak;
use super::standing::Standing;
use super::tally::{MODULUS, Tally};
use super::trouble::Trouble;
use crate::attempt::EndpointId;
use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU32, AtomicU64, Ordering, Padded};

/// An endpoint in use. It lives as long as anything is in flight on it, and one
/// that was removed and comes back is another one.
pub struct Member {
    id: EndpointId,
    endpoint: Endpoint,
    /// When it came into use, or came back from an ejection: slow start begins.
    pub(super) since: AtomicU64,
    /// Written by every call.
    pub(super) load: Padded<Load>,
    /// Written by what judges its health, and read where the sets are made.
    pub(super) health: Padded<Health>,
    pub(super) standing: Standing,
}

/// What each call to an endpoint writes.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) tally: Tally,
    /// What it has lost of its share: nothing, but while it starts slowly.
    missing: AtomicU32,
    pub(super) trouble: Trouble,
    /// For the pickers: how long its calls take.
    pub(super) peak: Peak,
    pub(super) by_load: ByLoad,
    /// What was last reported of it, and when.
    reported: [AtomicU64; 2],
    /// Calls that failed since it came into use.
    pub(super) failed: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Health {
    /// Ejected until this tick; 0: not.
    pub(super) ejected_until: AtomicU64,
    /// The multiple of the base time that the next ejection lasts.
    pub(super) ejections: AtomicU32,
    /// How many calls had succeeded and failed when they were judged.
    judged: [AtomicU64; 2],
}

impl Member {
    pub(super) fn new(id: EndpointId, endpoint: Endpoint, now: Tick) -> Self {
        Self {
            id,
            endpoint,
            since: AtomicU64::new(now.as_nanos()),
            load: Padded::default(),
            health: Padded::default(),
            standing: Standing::default(),
        }
    }

    /// Its number, unique among those that the balancer has had.
    #[must_use]
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// What it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// When it came into use, or returned from an ejection.
    #[must_use]
    pub fn since(&self) -> Tick {
        Tick::from_nanos(self.since.load(Ordering::Relaxed))
    }

    /// Calls in flight.
    #[must_use]
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.load.0.tally.in_flight()
    }

    /// Whether most of its latest calls failed: about six in a row, and as many
    /// successes bring it back. A choice by load has to ask, since who fails at once
    /// never has anything in flight.
    #[must_use]
    #[inline]
    pub fn is_suspect(&self) -> bool {
        self.load.0.trouble.now().is_suspect()
    }

    /// Says what the endpoint has reported of itself, in an answer or to a probe: how
    /// many requests it has in flight, those of other clients too, and how long it
    /// takes for one then. [`Prequal`](super::Prequal) believes it for a while.
    pub fn report(&self, in_flight: u32, latency: Duration, now: Tick) {
        let word = u64::from(in_flight) << 32 | u64::from(latency::code(nanos(latency)));
        // The stamp last, and read first: or what was reported before would be taken
        // for new.
        self.load.0.reported[0].swap(word, Ordering::AcqRel);
        self.load.0.reported[1].swap(now.as_nanos(), Ordering::AcqRel);
    }

    /// What was reported within `age`: requests in flight, and the code of a time.
    #[allow(clippy::cast_possible_truncation)] // halves
    pub(super) fn reported(&self, now: Tick, age: u64) -> Option<(u32, u32)> {
        let stamp = self.load.0.reported[1].load(Ordering::Acquire);
        let word = self.load.0.reported[0].load(Ordering::Acquire);
        let is_fresh = word != 0 && now.as_nanos().wrapping_sub(stamp) <= age;
        is_fresh.then_some(((word >> 32) as u32, word as u32))
    }

    /// Whether it has less than its share yet.
    #[inline]
    pub(super) fn is_ramping(&self) -> bool {
        self.load.0.missing.load(Ordering::Relaxed) != 0
    }

    /// Neither in trouble nor starting slowly: most are.
    #[inline]
    pub(super) fn is_usual(&self) -> bool {
        !self.is_suspect() && !self.is_ramping()
    }

    /// Whether it is to be left to somebody else this time, by a random word: so that
    /// it gets the share that it has so far.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // the low half
    pub(super) fn declines(&self, word: u64) -> bool {
        (word as u32) < self.load.0.missing.load(Ordering::Relaxed)
    }

    /// Its share by slow start, from 0 to 1.
    #[cfg(all(test, not(keep_loom)))]
    pub(super) fn ramp(&self) -> f64 {
        1.0 - f64::from(self.load.0.missing.load(Ordering::Relaxed)) / WHOLE
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in range
    pub(super) fn set_ramp(&self, share: f64) {
        let missing = ((1.0 - share) * WHOLE) as u32;
        if self.load.0.missing.load(Ordering::Relaxed) != missing {
            self.load.0.missing.swap(missing, Ordering::Relaxed);
        }
    }

    /// How its calls have ended since this was asked last.
    pub(super) fn interval(&self) -> Calls {
        let load = &self.load.0;
        let totals = [load.tally.successes(), load.failed.load(Ordering::Acquire)];
        let before = [0, 1].map(|i| self.health.0.judged[i].swap(totals[i], Ordering::AcqRel));
        let succeeded = totals[0].wrapping_sub(before[0]) % MODULUS;
        let failed = totals[1].saturating_sub(before[1]);
        Calls { succeeded, failed }
    }

    /// Until when it is ejected, if it is.
    pub(super) fn ejected_until(&self) -> Option<Tick> {
        let until = self.health.0.ejected_until.load(Ordering::Acquire);
        (until != 0).then_some(Tick::from_nanos(until))
    }

    /// Ejects it once more, for as long as that many ejections bring.
    pub(super) fn eject(&self, now: Tick, time: impl Fn(u32) -> Duration) {
        let times = self
            .health
            .0
            .ejections
            .load(Ordering::Acquire)
            .saturating_add(1);
        self.health.0.ejections.swap(times, Ordering::AcqRel);
        let until = now.saturating_add(time(times)).as_nanos().max(1);
        self.health.0.ejected_until.swap(until, Ordering::AcqRel);
    }

    /// Lets it return if its time is over: as a new one, whose calls were all well.
    pub(super) fn release(&self, now: Tick) -> bool {
        let is_over = self.ejected_until().is_some_and(|until| until <= now);
        if is_over {
            self.load.0.trouble.clear();
            let _ = self.interval();
            self.since.swap(now.as_nanos(), Ordering::AcqRel);
            self.health.0.ejected_until.swap(0, Ordering::AcqRel);
        }
        is_over
    }

    /// An interval without an ejection: the next one will be shorter.
    pub(super) fn forgive(&self) {
        let less = |times: u32| times.checked_sub(1);
        let _ = self
            .health
            .0
            .ejections
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

/// All of its share, as a word has it.
const WHOLE: f64 = 4_294_967_296.0;

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("address", &self.endpoint.address())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
