//! Requests in flight first, then time.

use std::sync::Arc;
use std::time::Duration;

use super::choice::{Candidates, trusted};
use super::pool::{Leaver, Pool, Probe, uses};
use super::{Draw, End, Pick, Picker};
use crate::balance::member::Member;
use crate::balance::trouble::is_trial;
use crate::classify::Outcome;
use crate::clock::{Tick, nanos};
use crate::kernel::sync::{AtomicU64, Ordering, Padded, ids, stripes};
use crate::policy::Ratio;

/// Of the endpoints that were probed lately, the fastest that is not hot, or else the
/// one with the fewest requests in flight: Google's Prequal (Wydrowski et al., "Load
/// is not what you should balance", NSDI 2024). It evens out neither load nor times,
/// but keeps every endpoint away from where queues begin, however different they are.
///
/// An endpoint is hot if it has more in flight than most have had lately. A probe asks
/// what it has in flight and how long it takes for a call then. Here that is what
/// this balancer knows of it, so that nothing is sent and probes are never late; what
/// an endpoint says itself, in its answers or to probes that you send, goes to
/// [`Member::report`] and counts instead while it is fresh. Each thread remembers 16
/// probes, and uses each a few times.
///
/// As with [`PeakEwma`](super::PeakEwma), failures are not taken for fast answers, and
/// an endpoint most of whose latest calls failed is chosen where there is no other, or
/// once in 64 times.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Prequal {
    probes: u32,
    age: Duration,
    quantile: Ratio,
}

impl Default for Prequal {
    fn default() -> Self {
        Self {
            probes: 300,
            age: Duration::from_secs(1),
            quantile: Ratio::percent(84),
        }
    }
}

/// Probes that leave the pool with each request, besides those that were used.
const REMOVALS: f64 = 1.0;

impl Prequal {
    /// How many endpoints each request probes, in percent: 1 to 1,600 (and more
    /// counts as that, less as 1), by default 300 as the paper's.
    pub fn probes(mut self, percent: u32) -> Self {
        self.probes = percent.clamp(1, 1_600);
        self
    }

    /// How long a probe or a report is believed: by default 1 s, as the paper's.
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The share of endpoints that are not hot; by default 84 %, the paper's 2^-¼.
    pub fn quantile(mut self, share: Ratio) -> Self {
        self.quantile = share;
        self
    }
}

impl Picker for Prequal {
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick> {
        let probes = f64::from(self.probes) / 100.0;
        Box::new(Probed {
            candidates: Candidates::new(members),
            stripes: (0..stripes()).map(|_| Padded::default()).collect(),
            uses: uses(members.len(), probes, REMOVALS),
            probes: u64::from(self.probes),
            age: nanos(self.age),
            quantile: self.quantile.fraction(),
        })
    }
}

#[derive(Debug)]
struct Probed {
    candidates: Candidates,
    stripes: Box<[Padded<Stripe>]>,
    uses: f64,
    /// Per request, in percent.
    probes: u64,
    age: u64,
    quantile: f64,
}

#[derive(Debug, Default)]
struct Stripe {
    pool: Pool,
    /// Requests that came.
    turn: AtomicU64,
}

impl Probed {
    /// A probe of somebody, and what follows for who is hot.
    fn probe(&self, pool: &Pool, members: &[Arc<Member>], now: Tick, draw: &mut Draw) {
        let place = self.candidates.one(members, draw);
        let Some(member) = members.get(place) else {
            return;
        };
        let (in_flight, latency) = member.reported(now, self.age).unwrap_or_else(|| {
            let in_flight = member.in_flight();
            (in_flight, member.load.0.by_load.estimate(in_flight))
        });
        let chance = draw.word();
        pool.observe(in_flight, self.quantile, unit(chance));
        // Rounded up or down, so that it is right in the mean.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // it saturates
        let uses = (self.uses + unit(chance << 32)).min(1e3) as u64;
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let probe = Probe {
            place,
            in_flight,
            latency,
        };
        pool.learn(probe, uses, now);
    }
}

/// A number from 0 to below 1.
#[allow(clippy::cast_precision_loss)] // as many bits as it holds
fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

impl Pick for Probed {
    fn pick(&self, members: &[Arc<Member>], now: Tick, draw: &mut Draw) -> usize {
        let stripe = ids::thread_index() as usize % self.stripes.len();
        let Stripe { pool, turn } = &self.stripes[stripe].0;
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let probes = |turn: u64| turn.wrapping_mul(self.probes) / 100;
        for _ in probes(turn)..probes(turn.wrapping_add(1)) {
            self.probe(pool, members, now, draw);
        }
        let chance = draw.word();
        let trial = is_trial(chance);
        let is_suspect = |place: u32| {
            let member = members.get(place as usize);
            !trial && member.is_none_or(|member| member.is_suspect())
        };
        let best = pool.best(now, self.age, chance >> 8, is_suspect);
        let leaver = match turn % 2 {
            0 => Leaver::Oldest,
            _ => Leaver::Worst,
        };
        pool.leave(leaver, now, self.age);
        let best = match best {
            Some(best) => best as usize,
            None => self.candidates.one(members, draw),
        };
        trusted(members, best, trial, draw)
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn ended(&self, member: &Member, end: End) {
        let took = nanos(end.now.saturating_since(end.began));
        let (by_load, in_flight) = (&member.load.0.by_load, end.others);
        match end.outcome {
            Outcome::Success => by_load.record(in_flight, took),
            _ => by_load.record_worse(in_flight, took),
        }
    }
}
