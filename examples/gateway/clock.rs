//! The one place of the example that reads a clock or starts a timer.
//!
//! The crate forbids clock reads outside its own clock so that every layer can run on a manual
//! one. The servers and the load generator of this example measure real time over real sockets,
//! so they need the real clock; it is kept here so that each use can be found by its name.

#![allow(
    clippy::disallowed_methods,
    reason = "the example measures real time over real sockets"
)]

use std::time::Duration;
use tokio::time::Instant;

pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn since(start: Instant) -> Duration {
    now().saturating_duration_since(start)
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

pub(crate) async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline).await;
}
