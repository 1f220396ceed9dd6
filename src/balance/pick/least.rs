//! Fewest calls in flight.

use std::sync::Arc;

use super::choice::{Candidates, is_better, trusted};
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

/// What somebody has to do for a weight that he was drawn by: nothing is nothing,
/// whatever he weighs.
#[inline]
fn load(candidates: &Candidates, members: &[Arc<Member>], place: usize) -> f64 {
    let in_flight = members.get(place).map_or(0, |member| member.in_flight());
    f64::from(in_flight) * candidates.scale(members, place)
}

impl Pick for OfTwo {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let (one, other, trial) = self.0.two(members, draw);
        let (Some(a), Some(b)) = (members.get(one), members.get(other)) else {
            return one;
        };
        let load = |place| load(&self.0, members, place);
        let better = is_better((a, b), trial, || (load(one), load(other)));
        trusted(members, if better { other } else { one }, trial, draw)
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
        let first = self.candidates.one(members, draw);
        let more = (1..self.choices).map(|_| self.candidates.one(members, draw));
        let best = best(members, first, more, trial, |place| {
            load(&self.candidates, members, place)
        });
        trusted(members, best, trial, draw)
    }
}

#[derive(Debug)]
struct OfAll {
    candidates: Candidates,
    /// Other than 1, which needs no power.
    bias: Option<f64>,
}

impl Pick for OfAll {
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let (n, trial) = (members.len(), is_trial(draw.word()));
        // Of equals the weights decide.
        let first = self.candidates.one(members, draw);
        let more = (1..n).map(|turn| (first + turn) % n);
        best(members, first, more, trial, |place| {
            let in_flight = members.get(place).map_or(0, |member| member.in_flight());
            let in_flight = f64::from(in_flight) + 1.0;
            let biased = self.bias.map_or(in_flight, |bias| in_flight.powf(bias));
            biased * self.candidates.scale(members, place)
        })
    }
}

fn best(
    members: &[Arc<Member>],
    first: usize,
    more: impl Iterator<Item = usize>,
    trial: bool,
    load: impl Fn(usize) -> f64,
) -> usize {
    more.fold(first, |best, next| {
        let both = members.get(best).zip(members.get(next));
        match both.is_some_and(|(a, b)| is_better((a, b), trial, || (load(best), load(next)))) {
            true => next,
            false => best,
        }
    })
}
