//! Mechanisms without futures, clocks or I/O: each is a state, and a decision
//! that takes the time as an argument. Property tests, loom models and benches
//! see these; users see them only under the feature `test-util`, without any
//! promise of stability.

pub mod budget;
pub mod call;
pub mod core;
pub mod counter;
#[cfg(any(
    feature = "bulkhead",
    feature = "adaptive",
    feature = "retry",
    feature = "fallback",
    feature = "hedge"
))]
pub mod ends;
pub mod gate;
pub mod gcra;
pub mod guard;
#[cfg(any(feature = "timeout", feature = "hedge"))]
pub mod histogram;
pub mod keyed;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
pub(crate) mod lanes;
#[cfg(feature = "throttle")]
pub mod lease;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
pub mod limit;
#[cfg(any(
    feature = "bulkhead",
    feature = "adaptive",
    feature = "balance",
    feature = "throttle"
))]
pub(crate) mod limited;
pub mod live;
#[cfg(feature = "throttle")]
pub mod log;
pub(crate) mod macros;
#[cfg(feature = "throttle")]
pub mod meter;
#[cfg(any(feature = "fallback", feature = "hedge"))]
pub mod oneshot;
#[cfg(feature = "circuit-breaker")]
pub mod pending;
mod quota;
pub mod ready;
#[cfg(feature = "hedge")]
pub mod recent;
pub mod rng;
pub mod shared;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
mod standing;
pub(crate) mod sync;
#[cfg(feature = "throttle")]
pub mod tally;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
pub mod wait;
#[cfg(any(feature = "bulkhead", feature = "adaptive"))]
mod wait_queue;
#[cfg(feature = "throttle")]
pub mod warm;
pub(crate) mod wheel;
#[cfg(feature = "circuit-breaker")]
pub mod window;

#[cfg(test)]
mod tests;
