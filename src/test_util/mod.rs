//! What this crate's own tests are made of, for yours too (feature `test-util`).
//!
//! | piece | what for |
//! |---|---|
//! | [`ManualClock`] | time that moves when you say so, also backward |
//! | [`Probe`] | wraps a service and counts every breach of Tower's contract |
//! | [`Script`], [`ScriptBody`] | a service and an HTTP body that behave, or misbehave, as written |
//! | [`Hand`], [`finish_on`] | polls futures without a runtime; nothing waits for real time |
//! | [`drop_at`] | drops a future after 0, 1, 2, … polls, and checks each time that nothing is left |
//! | [`CountingWaker`] | counts wake-ups |
//! | [`armed_timers`] | timers that somebody waits for in this runtime |
//! | [`Seed`] | randomness that a failing test prints, to be repeated by `KEEP_SEED` |
//!
//! A bulkhead that gives its permit back wherever its call is dropped:
//!
//! ```
//! use tower::{Layer, Service};
//! use tower_keep::bulkhead::{BulkheadLayer, Policy};
//! use tower_keep::test_util::{Broken, Call, ManualClock, Probe, Script, drop_at};
//! use tower_keep::{Error, Setup};
//!
//! let time = ManualClock::new();
//! let setup = Setup::named("reports").with_clock(time.clock());
//! let layer = BulkheadLayer::with(Policy::max_concurrent(1)?, setup);
//! let script = Script::<u32, Error<Broken>>::new(&time, Call::respond(7).pending(3));
//! let probe = Probe::new(script);
//! let watch = probe.watch();
//! let mut service = layer.layer(probe);
//!
//! let polls = drop_at(
//!     || service.call("request"),
//!     |_| assert_eq!(layer.handle().snapshot().in_flight, 0),
//! );
//! assert_eq!(polls, Some(4));
//! watch.assert_quiet();
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```

// A test kit says what is wrong by panicking, and some of its scripts say so.
#![allow(clippy::panic)]

#[cfg(feature = "http")]
mod body;
mod hand;
mod probe;
mod script;
mod seed;

#[cfg(feature = "http")]
pub use self::body::{BodyStep, ScriptBody};
pub use self::hand::{CountingWaker, Hand, MOST_POLLS, drop_at, finish_on};
pub use self::probe::{Counts, Probe, ProbeFuture, Watch};
pub use self::script::{Broken, Call, Ready, Script, ScriptFuture};
pub use self::seed::Seed;
pub use crate::clock::ManualClock;

/// How many timers are armed in the tokio runtime this is called in; none
/// outside of one. Those of a [`ManualClock`] are not among them.
#[must_use]
pub fn armed_timers() -> usize {
    crate::clock::armed()
}
