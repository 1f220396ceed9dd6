//! Who gets the next request.

mod basic;
mod choice;
mod draw;
pub(super) mod latency;
mod least;
pub(super) mod peak;
mod peak_ewma;
pub(super) mod pool;
mod prequal;
pub(super) mod schedule;
pub(super) mod shares;

use std::fmt;
use std::sync::Arc;

pub use self::basic::{Random, RoundRobin};
pub use self::draw::Draw;
pub use self::least::LeastRequest;
pub use self::peak_ewma::PeakEwma;
pub use self::prequal::Prequal;
use super::member::Member;
use crate::classify::Outcome;
use crate::clock::Tick;

/// How endpoints are chosen: it makes a [`Pick`] for every set of them.
///
/// What must outlive a set, such as a round robin's turn, it keeps itself and
/// shares with what it makes.
pub trait Picker: fmt::Debug + Send + Sync + 'static {
    /// The choice among these, which are at least one and do not change. It may
    /// allocate and compute tables: it is asked when the set or somebody's health
    /// has changed.
    fn prepare(&self, members: &[Arc<Member>]) -> Box<dyn Pick>;
}

/// The choice among one set of endpoints. It must be quick, and neither lock nor
/// allocate.
///
/// A panic is counted; the choice then falls on any.
pub trait Pick: Send + Sync + 'static {
    /// The place of the chosen one in `members`, which are those that it was made
    /// for; one beyond them counts as any. Where the chosen one cannot take the
    /// request it is asked again, a few times.
    fn pick(&self, members: &[Arc<Member>], now: Tick, draw: &mut Draw) -> usize;

    /// Whether it needs the time, and to be told how calls end. By default not: then
    /// `now` is [`Tick::ZERO`], no clock is read, and [`ended`](Self::ended) is not
    /// called.
    fn is_timed(&self) -> bool {
        false
    }

    /// A call to this endpoint has ended.
    fn ended(&self, member: &Member, end: End) {
        let _ = (member, end);
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct End {
    /// When it began.
    pub began: Tick,
    /// How many others the endpoint had in flight then.
    pub others: u32,
    /// When it ended.
    pub now: Tick,
    /// How it was judged.
    pub outcome: Outcome,
}

/// What the members weigh.
fn weights(members: &[Arc<Member>]) -> Vec<u32> {
    let weight = |member: &Arc<Member>| member.endpoint().get_weight();
    members.iter().map(weight).collect()
}
