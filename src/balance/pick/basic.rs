//! Pickers that need neither the time nor a history.

use std::sync::Arc;

use super::{Draw, Pick, Picker};
use crate::balance::member::Member;
use crate::clock::Tick;
use crate::kernel::sync::{AtomicUsize, Ordering, Padded};

/// One after the other.
#[derive(Debug, Default)]
pub struct RoundRobin {
    turn: Arc<Padded<AtomicUsize>>,
}

impl Picker for RoundRobin {
    fn prepare(&self, _: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(Turn(Arc::clone(&self.turn)))
    }
}

struct Turn(Arc<Padded<AtomicUsize>>);

impl Pick for Turn {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, _: &mut Draw) -> usize {
        let turn = self.0.0.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(members.len()).unwrap_or(0)
    }
}

/// Any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Random;

impl Picker for Random {
    fn prepare(&self, _: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(*self)
    }
}

impl Pick for Random {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        draw.below(members.len())
    }
}

/// Of two at random, the one with fewer calls in flight.
#[derive(Debug, Clone, Copy, Default)]
pub struct LeastRequest;

impl Picker for LeastRequest {
    fn prepare(&self, _: &[Arc<Member>]) -> Box<dyn Pick> {
        Box::new(*self)
    }
}

impl Pick for LeastRequest {
    #[inline]
    fn pick(&self, members: &[Arc<Member>], _: Tick, draw: &mut Draw) -> usize {
        let (one, other) = draw.two_below(members.len());
        match (members.get(one), members.get(other)) {
            (Some(a), Some(b)) if b.in_flight() < a.in_flight() => other,
            _ => one,
        }
    }
}
