//! Fewest calls in flight.

use std::sync::Arc;

use super::choice::{Candidates, trusted};
use super::{Draw, Pick, Picker};
use crate::balance::member::Member;
use crate::balance::trouble::is_trial;
use crate::clock::Tick;

/// Of two at random, the one with fewer calls in flight for its weight (Mitzenmacher,
/// "The power of two choices", 2001; Envoy's `LEAST_REQUEST`); of equals, either. It
/// reads no clock.
///
/// Candidates are drawn in proportion to their weights, so that endpoints that have
/// nothing to do are used in that proportion, too. One most of whose latest calls
/// failed loses against any other, but for one comparison in 64.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct LeastRequest {
    choices: u32,
    bias: u32,
}

impl Default for LeastRequest {
    fn default() -> Self {
        Self {
            choices: 2,
            bias: 100,
        }
    }
}

impl LeastRequest {
    /// The most candidates, beyond which all are looked at.
    const MOST: u32 = 16;

    /// How many candidates are drawn: 2 (the default, and less counts as that) to 16.
    /// More find a better one, and take longer.
    pub fn choices(mut self, choices: u32) -> Self {
        self.choices = choices.clamp(2, Self::MOST);
        self
    }

    /// Looks at all endpoints, and takes the best by Envoy's formula,
    /// `weight / (in flight + 1) ^ bias`: exact, for a handful. The time that it takes
    /// grows with their number.
    pub fn all(mut self) -> Self {
        self.choices = u32::MAX;
        self
    }

    /// How much calls in flight count beside the weight where [`all`](Self::all) are
    /// looked at, in percent: 0 to 1,000 (and more counts as that), by default 100.
    pub fn bias(mut self, percent: u32) -> Self {
        self.bias = percent.min(1_000);
        self
    }
}

impl Picker for LeastRequest {
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick> {
        let candidates = Candidates::new(members);
        match self.choices {
            2 => Box::new(OfTwo(candidates)),
            choices if choices <= Self::MOST => Box::new(OfMany {
                candidates,
                choices,
            }),
            _ => Box::new(OfAll {
                candidates,
                bias: (self.bias != 100).then(|| f64::from(self.bias) / 100.0),
            }),
        }
    }
}

/// The usual case, in the fewest steps.
#[derive(Debug)]
struct OfTwo(Candidates);

/// What somebody has to do who was drawn by his weight: nothing is nothing, whatever he
/// weighs.
#[inline]
fn in_flight(member: &Member) -> f64 {
    f64::from(member.in_flight())
}

impl Pick for OfTwo {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        self.0.of_two(members, draw, in_flight)
    }
}

#[derive(Debug)]
struct OfMany {
    candidates: Candidates,
    choices: u32,
}

impl Pick for OfMany {
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let trial = is_trial(draw.word());
        let mut best = self.candidates.one(members, draw);
        for _ in 1..self.choices {
            let next = self.candidates.one(members, draw);
            if self
                .candidates
                .is_better(members, (best, next), trial, in_flight)
            {
                best = next;
            }
        }
        trusted(members, best, trial, draw)
    }
}

#[derive(Debug)]
struct OfAll {
    candidates: Candidates,
    /// `None`: 1.
    bias: Option<f64>,
}

impl Pick for OfAll {
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let (n, trial) = (members.len(), is_trial(draw.word()));
        let load = |member: &Member| {
            let in_flight = in_flight(member) + 1.0;
            self.bias.map_or(in_flight, |bias| in_flight.powf(bias))
        };
        // Of equals the weights decide.
        let mut best = self.candidates.one(members, draw);
        let first = best;
        for turn in 1..n {
            let next = (first + turn) % n;
            if self
                .candidates
                .is_better(members, (best, next), trial, load)
            {
                best = next;
            }
        }
        best
    }
}
