//! The timers of real runtimes.

// Where runtimes end, stand still and block, time is real; elsewhere it is paused.
#![allow(clippy::disallowed_methods)]

mod life;
mod places;
mod virtual_time;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tower_keep::clock::{Clock, NoRuntime, Sleep};

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn after(wait: Duration) -> Sleep {
    let clock = Clock::default();
    clock.sleep_until(clock.now().saturating_add(wait))
}

pub(super) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

pub(super) fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Fails instead of hanging: a watch of the operating system's.
pub(super) fn within(limit: Duration, what: &str, work: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let work = std::thread::spawn(move || {
        work();
        drop(done);
    });
    match ended.recv_timeout(limit) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{what} takes too long"),
        _ => work.join().unwrap(),
    }
}

pub(super) fn poll_once(sleep: &mut Sleep, waker: &Waker) -> Poll<Result<(), NoRuntime>> {
    Pin::new(sleep).poll(&mut Context::from_waker(waker))
}
