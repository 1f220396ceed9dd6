//! Shortest times, with those that have a lot to do.

use std::sync::Arc;
use std::time::Duration;

use super::choice::Candidates;
use super::peak::{Decay, load};
use super::{Draw, End, Pick, Picker};
use crate::balance::member::Member;
use crate::classify::Outcome;
use crate::clock::{Tick, nanos};

/// Of two at random, the one whose calls take less time, times how many it has in
/// flight: Finagle's Peak EWMA. An endpoint that becomes slow is known to be after one
/// call, and forgiven little by little.
///
/// A failure is never taken for a fast answer: its time counts only if it is longer
/// than what is known, an endpoint's failures add a penalty to its time, and one
/// most of whose latest calls failed loses against any other, but for one comparison
/// in 64. A call that was given up counts as having taken that long at least.
///
/// An endpoint that has not answered yet is tried with one call at a time.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct PeakEwma {
    decay: Duration,
    penalty: Duration,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self {
            decay: Duration::from_secs(10),
            penalty: Duration::from_secs(1),
        }
    }
}

impl PeakEwma {
    /// After how long 1/e of what was known still counts: by default 10 s, as
    /// Finagle's. Zero counts as 1 ns.
    pub fn decay(mut self, decay: Duration) -> Self {
        self.decay = decay;
        self
    }

    /// What a failure costs its caller, in time: so much is added to the time of an
    /// endpoint all of whose latest calls failed, and less to one of whom fewer did.
    /// By default 1 s.
    pub fn penalty(mut self, penalty: Duration) -> Self {
        self.penalty = penalty;
        self
    }
}

impl Picker for PeakEwma {
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick> {
        #[allow(clippy::cast_precision_loss)] // a time for comparisons
        Box::new(Fastest {
            candidates: Candidates::new(members),
            decay: Decay::new(self.decay),
            penalty: nanos(self.penalty) as f64,
        })
    }
}

#[derive(Debug)]
struct Fastest {
    candidates: Candidates,
    decay: Decay,
    penalty: f64,
}

impl Fastest {
    #[inline]
    fn load(&self, member: &Member, now: Tick) -> f64 {
        let words = &member.load.0;
        let cost = words.peak.cost(self.decay, now);
        let failing = words.trouble.now().share();
        load(cost + failing * self.penalty, member.in_flight())
    }
}

impl Pick for Fastest {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], now: Tick, draw: &mut Draw) -> usize {
        self.candidates
            .of_two(members, draw, |member| self.load(member, now))
    }

    fn is_timed(&self) -> bool {
        true
    }

    #[inline]
    fn ended(&self, member: &Member, end: End) {
        let took = nanos(end.now.saturating_since(end.began));
        let peak = &member.load.0.peak;
        match end.outcome {
            Outcome::Success => peak.record(self.decay, end.now, took),
            _ => peak.record_worse(self.decay, end.now, took),
        }
    }
}
