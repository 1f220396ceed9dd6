//! Candidates, and which of them is better.

use std::sync::Arc;

use super::shares::Shares;
use super::{Draw, weights};
use crate::balance::member::Member;
use crate::balance::trouble::is_trial;

/// How often somebody who has not got all of his share yet may decline: of two
/// endpoints, one of which has a tenth, that one's share is then right to 2 %.
const DECLINES: u32 = 8;

const HALF: u64 = 1 << 32;

/// A number below `n`, as far into it as half a word is into all of them.
#[inline]
#[allow(clippy::cast_possible_truncation)] // below `n`
fn below_half(half: u64, n: usize) -> usize {
    ((half * n as u64) >> 32) as usize
}

/// Two different places below `n`, each pair as likely; the same twice if `n` is below 2.
/// Half a word is enough to draw one of fewer than 2^32.
#[inline]
fn two_of(word: u64, n: usize) -> (usize, usize) {
    let first = below_half(word >> 32, n);
    let second = below_half(word % HALF, n.saturating_sub(1).max(1));
    (first, second + usize::from(second >= first && n > 1))
}

/// The place that `next` names, or another one instead of somebody who starts slowly.
#[inline]
pub(super) fn ramped(
    members: &[Arc<Member>],
    draw: &mut Draw,
    mut next: impl FnMut(&mut Draw) -> Option<u32>,
) -> usize {
    let mut place = usize::MAX;
    for _ in 0..DECLINES {
        place = next(draw).map_or(usize::MAX, |place| place as usize);
        match members.get(place) {
            Some(member) if member.is_ramping() && member.declines(draw.word()) => {}
            _ => break,
        }
    }
    place
}

/// Draws candidates among the members of a set, by their weights.
#[derive(Debug)]
pub(super) struct Candidates {
    /// `None`: all weigh the same.
    weighted: Option<Weighted>,
}

#[derive(Debug)]
struct Weighted {
    shares: Shares,
    /// One by each weight; of none, as of the smallest.
    inverse: Box<[f64]>,
}

impl Candidates {
    pub(super) fn new(members: &[Arc<Member>]) -> Self {
        let weights = weights(members);
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { weighted: None };
        }
        let inverse = weights
            .iter()
            .map(|weight| 1.0 / f64::from((*weight).max(1)));
        Self {
            weighted: Some(Weighted {
                inverse: inverse.collect(),
                shares: Shares::new(&weights),
            }),
        }
    }

    /// The better of two at random, by its load.
    ///
    /// What most sets and most members are like is here, the rest apart.
    #[inline]
    pub(super) fn of_two(
        &self,
        members: &[Arc<Member>],
        draw: &mut Draw,
        load: impl Fn(&Member) -> f64,
    ) -> usize {
        let word = draw.word();
        if self.weighted.is_none() {
            let (one, other) = two_of(word, members.len());
            if let (Some(a), Some(b)) = (members.get(one), members.get(other))
                && a.is_usual()
                && b.is_usual()
            {
                return if load(b) < load(a) { other } else { one };
            }
        }
        self.of_any_two(word, members, draw, &load)
    }

    #[inline(never)]
    fn of_any_two(
        &self,
        word: u64,
        members: &[Arc<Member>],
        draw: &mut Draw,
        load: &dyn Fn(&Member) -> f64,
    ) -> usize {
        let (one, other) = match &self.weighted {
            Some(weighted) => {
                let mut next = Some(word);
                let mut at = |draw: &mut Draw| {
                    let word = next.take().unwrap_or_else(|| draw.word());
                    weighted.shares.at(word)
                };
                let first = ramped(members, draw, &mut at);
                (first, ramped(members, draw, &mut at))
            }
            None => {
                let (one, other) = two_of(word, members.len());
                let one = self.or_other(members, one, draw);
                (one, self.or_other(members, other, draw))
            }
        };
        let trial = is_trial(word);
        let better = self.is_better(members, (one, other), trial, load);
        trusted(members, if better { other } else { one }, trial, draw)
    }

    /// This one, or another if it starts slowly and declines.
    fn or_other(&self, members: &[Arc<Member>], place: usize, draw: &mut Draw) -> usize {
        match members.get(place) {
            Some(member) if member.is_ramping() && member.declines(draw.word()) => {
                self.one(members, draw)
            }
            _ => place,
        }
    }

    /// One of them.
    pub(super) fn one(&self, members: &[Arc<Member>], draw: &mut Draw) -> usize {
        ramped(members, draw, |draw| match &self.weighted {
            Some(weighted) => weighted.shares.at(draw.word()),
            None => u32::try_from(draw.below(members.len())).ok(),
        })
    }

    /// Whether the second of two candidates is better: if one of them is a suspect it is
    /// not, and else if it has less load for its weight. Equals are not better.
    ///
    /// Somebody who starts slowly has been drawn as often as he is to be chosen. He has
    /// little to do and would win whenever he is drawn: so he is neither favoured for
    /// that nor, unless he has far too much to do, passed over.
    pub(super) fn is_better(
        &self,
        members: &[Arc<Member>],
        (one, other): (usize, usize),
        trial: bool,
        load: impl Fn(&Member) -> f64,
    ) -> bool {
        let (Some(a), Some(b)) = (members.get(one), members.get(other)) else {
            return false;
        };
        match (a.is_suspect(), b.is_suspect()) {
            (false, true) if !trial => return false,
            (true, false) if !trial => return true,
            _ => {}
        }
        let loads = |load: &dyn Fn(&Member) -> f64| {
            (load(a) * self.inverse(one), load(b) * self.inverse(other))
        };
        match (a.is_ramping(), b.is_ramping()) {
            (false, true) => false,
            (true, false) => {
                let (of_one, of_other) = loads(&|member| f64::from(member.in_flight()) + 1.0);
                of_one > TOO_MUCH * of_other
            }
            _ => {
                let (of_one, of_other) = loads(&load);
                of_other < of_one
            }
        }
    }

    /// One by the weight, or by one.
    #[inline]
    fn inverse(&self, place: usize) -> f64 {
        match &self.weighted {
            Some(weighted) => weighted.inverse.get(place).copied().unwrap_or(1.0),
            None => 1.0,
        }
    }
}

/// So many times as much as another one is too much for who starts slowly.
const TOO_MUCH: f64 = 4.0;

/// How many are looked at for one who is no suspect.
const LOOKED_AT: usize = 16;

/// The chosen one; or, if it is a suspect, somebody near a random place who is none.
#[inline]
pub(super) fn trusted(
    members: &[Arc<Member>],
    place: usize,
    trial: bool,
    draw: &mut Draw,
) -> usize {
    match members.get(place) {
        Some(member) if member.is_suspect() && !trial => {
            other_than_suspects(members, draw).unwrap_or(place)
        }
        _ => place,
    }
}

#[cold]
fn other_than_suspects(members: &[Arc<Member>], draw: &mut Draw) -> Option<usize> {
    let first = draw.below(members.len());
    let places = (0..members.len()).map(|turn| (first + turn) % members.len());
    let mut near = places.take(LOOKED_AT);
    near.find(|place| !members[*place].is_suspect())
}
