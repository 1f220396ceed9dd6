//! Pickers that need neither the time nor a history.

use std::sync::Arc;

use super::choice::ramped;
use super::schedule::Schedule;
use super::shares::Shares;
use super::{Draw, Pick, Picker, weights};
use crate::balance::member::Member;
use crate::clock::Tick;
use crate::kernel::sync::{AtomicU64, Ordering, Padded, ids, stripes};

/// One after the other, in proportion to the weights and as evenly as can be.
///
/// Each thread goes round by itself, so that no two write the same line. Weights
/// whose turns repeat after at most 4,096 (5, 1 and 1 do after seven) are served in
/// the order of nginx's smooth weighted round robin, exactly. For others, turns
/// follow a rotation by the golden ratio: the turns of an endpoint are apart by at
/// most three different distances, and its count is right within a few after any
/// number of turns. A turn takes the same time whatever the number of endpoints.
#[derive(Debug, Clone)]
pub struct RoundRobin {
    turns: Arc<[Padded<AtomicU64>]>,
}

impl Default for RoundRobin {
    fn default() -> Self {
        let turns = (0..stripes()).map(|_| Padded::default());
        Self {
            turns: turns.collect(),
        }
    }
}

impl Picker for RoundRobin {
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(Turns {
            schedule: Schedule::new(&weights(members)),
            turns: Arc::clone(&self.turns),
        })
    }
}

#[derive(Debug)]
struct Turns {
    schedule: Schedule,
    turns: Arc<[Padded<AtomicU64>]>,
}

impl Pick for Turns {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let stripe = ids::thread_index() as usize % self.turns.len();
        ramped(members, draw, |_| {
            let turn = self.turns[stripe].0.fetch_add(1, Ordering::Relaxed);
            self.schedule.at(turn)
        })
    }
}

/// Any, in proportion to the weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Picker for Random {
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(Drawn(Shares::new(&weights(members))))
    }
}

#[derive(Debug)]
struct Drawn(Shares);

impl Pick for Drawn {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        ramped(members, draw, |draw| self.0.at(draw.word()))
    }
}
