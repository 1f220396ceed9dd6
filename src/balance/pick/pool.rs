//! The pool of probes of Prequal: what a few endpoints have lately said of
//! themselves, and which of them is best.
//!
//! Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance:
//! introducing Prequal", NSDI 2024.

use crate::clock::Tick;
use crate::kernel::sync::{AtomicU64, Ordering};

/// Probes that are remembered, as many as the paper's.
pub(crate) const SIZE: usize = 16;

/// What an endpoint has to do, and how long it takes for a call then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Its place in the set.
    pub(crate) place: u32,
    /// Requests in flight.
    pub(crate) in_flight: u32,
    /// As [`code`](super::latency::code) has it; 0 if nothing is known.
    pub(crate) latency: u32,
}

/// The pool of one thread. Threads that share one disturb each other's choice, and
/// nothing else.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Each a probe, and how often it may still be used; 0 where there is none.
    words: [AtomicU64; SIZE],
    /// When each was made.
    stamps: [AtomicU64; SIZE],
    /// Requests in flight above which an endpoint is hot.
    threshold: AtomicU64,
}

const PLACE: u32 = 40;
const IN_FLIGHT: u32 = 24;
const LATENCY: u32 = 7;
const USES: u64 = (1 << LATENCY) - 1;
const MOST_PLACES: u32 = 1 << 24;
const MOST_IN_FLIGHT: u32 = (1 << (PLACE - IN_FLIGHT)) - 1;

/// The uses below the latency, which may be 65,536.
fn pack(probe: Probe, uses: u64) -> u64 {
    u64::from(probe.place) << PLACE
        | u64::from(probe.in_flight.min(MOST_IN_FLIGHT)) << IN_FLIGHT
        | u64::from(probe.latency) << LATENCY
        | uses.clamp(1, USES)
}

#[allow(clippy::cast_possible_truncation)] // masked
fn unpack(word: u64) -> Probe {
    let field = |at: u32, up_to: u32| (word >> at & ((1 << (up_to - at)) - 1)) as u32;
    Probe {
        place: (word >> PLACE) as u32,
        in_flight: field(IN_FLIGHT, PLACE),
        latency: field(LATENCY, IN_FLIGHT),
    }
}

/// Suspect, hot, by what is compared, and whose turn it is among equals: the least
/// is best.
type Rank = (bool, bool, u32, u64);

/// Which probe is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaver {
    Oldest,
    /// Of the hot ones that with most in flight, else the slowest.
    Worst,
}

impl Pool {
    /// What a probe has said, to be used so many times. It takes the place of what
    /// was said of the same endpoint, else of the oldest.
    pub(crate) fn learn(&self, probe: Probe, uses: u64, now: Tick) {
        if probe.place >= MOST_PLACES {
            return;
        }
        let mut oldest = (u64::MAX, 0);
        for (at, word) in self.words.iter().enumerate() {
            let word = word.load(Ordering::Relaxed);
            if word != 0 && unpack(word).place == probe.place {
                oldest.1 = at;
                break;
            }
            let age = match word {
                0 => 0,
                _ => self.stamps[at].load(Ordering::Relaxed).saturating_add(1),
            };
            if age < oldest.0 {
                oldest = (age, at);
            }
        }
        self.stamps[oldest.1].swap(now.as_nanos(), Ordering::Relaxed);
        self.words[oldest.1].swap(pack(probe, uses), Ordering::Relaxed);
    }

    /// Moves the threshold towards the quantile of what is in flight: by one, and
    /// not always (Frugal-1U). `chance` is a random number below one.
    pub(crate) fn observe(&self, in_flight: u32, quantile: f64, chance: f64) {
        let threshold = self.threshold.load(Ordering::Relaxed);
        let in_flight = u64::from(in_flight);
        if in_flight > threshold && chance < quantile {
            let _ = self.move_threshold(threshold, threshold + 1);
        } else if in_flight < threshold && chance >= quantile {
            let _ = self.move_threshold(threshold, threshold - 1);
        }
    }

    fn move_threshold(&self, from: u64, to: u64) -> Result<u64, u64> {
        self.threshold
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
    }

    /// Above how many in flight an endpoint is hot.
    pub(crate) fn threshold(&self) -> u64 {
        self.threshold.load(Ordering::Relaxed)
    }

    /// The probes that are no older than `age`; those that are, go. A clock that
    /// went back makes all of them old.
    fn fresh(&self, now: Tick, age: u64) -> impl Iterator<Item = (usize, u64)> {
        self.words.iter().enumerate().filter_map(move |(at, slot)| {
            let word = slot.load(Ordering::Relaxed);
            if word == 0 {
                return None;
            }
            let stamp = self.stamps[at].load(Ordering::Relaxed);
            if now.as_nanos().wrapping_sub(stamp) > age {
                self.drop_if(at, word);
                return None;
            }
            Some((at, word))
        })
    }

    fn drop_if(&self, at: usize, word: u64) {
        let _ = self.words[at].compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whoever is best: if any is cold, the fastest of those, else the one with least
    /// in flight; of equals, one by chance. `None` if fewer than two are known.
    /// Those that are `suspect` are chosen where there is no other.
    pub(crate) fn best(
        &self,
        now: Tick,
        age: u64,
        chance: u64,
        suspect: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let threshold = self.threshold();
        let mut known = 0_u32;
        let mut best: Option<(Rank, usize, u64)> = None;
        for (at, word) in self.fresh(now, age) {
            known += 1;
            let probe = unpack(word);
            let hot = u64::from(probe.in_flight) > threshold;
            let by = if hot { probe.in_flight } else { probe.latency };
            // Of equals the order is another one each time.
            let tie = (at as u64).wrapping_sub(chance) % SIZE as u64;
            let rank = (suspect(probe.place), hot, by, tie);
            if best.is_none_or(|(least, ..)| rank < least) {
                best = Some((rank, at, word));
            }
        }
        let (_, at, word) = best.filter(|_| known >= 2)?;
        self.used(at, word);
        Some(unpack(word).place)
    }

    /// Whoever is chosen has one more in flight, and may be chosen once less.
    fn used(&self, at: usize, word: u64) {
        let probe = unpack(word);
        let next = match word & USES {
            0 | 1 => 0,
            uses => {
                let in_flight = probe.in_flight.saturating_add(1);
                pack(Probe { in_flight, ..probe }, uses - 1)
            }
        };
        let slot = &self.words[at];
        let _ = slot.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Removes one probe.
    pub(crate) fn leave(&self, leaver: Leaver, now: Tick, age: u64) {
        let threshold = self.threshold();
        let rank = |(at, word): &(usize, u64)| {
            let probe = unpack(*word);
            let hot = u64::from(probe.in_flight) > threshold;
            match leaver {
                Leaver::Oldest => {
                    let stamp = self.stamps[*at].load(Ordering::Relaxed);
                    (false, u64::MAX - stamp)
                }
                Leaver::Worst if hot => (true, u64::from(probe.in_flight)),
                Leaver::Worst => (false, u64::from(probe.latency)),
            }
        };
        if let Some((at, word)) = self.fresh(now, age).max_by_key(rank) {
            self.drop_if(at, word);
        }
    }
}

/// How often a probe may be used, so that probes come as fast as they go:
/// `max(1, (1 + delta) / ((1 - pool / endpoints) * probes - removals))` of the paper,
/// by a request's probes and removals. Infinite where there are not many more
/// endpoints than the pool has room for.
#[allow(clippy::cast_precision_loss)] // endpoints are fewer than 2^52
pub(crate) fn uses(endpoints: usize, probes: f64, removals: f64) -> f64 {
    const DELTA: f64 = 1.0;
    let outside = 1.0 - SIZE as f64 / endpoints.max(1) as f64;
    let gained = outside * probes - removals;
    match gained > 0.0 {
        true => ((1.0 + DELTA) / gained).max(1.0),
        false => f64::INFINITY,
    }
}
