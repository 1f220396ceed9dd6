//! The task that drives discovery and connections: it is in no request's way.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::hub::Hub;
use crate::kernel::sync::Ordering;

/// The driver, whatever it is made of.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A driver in a task. It goes home when its runtime ends, for another one to go on.
struct Running<S> {
    task: Option<Task>,
    home: Weak<Hub<S>>,
}

impl<S> Future for Running<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.task {
            Some(task) => task.as_mut().poll(cx),
            None => Poll::Ready(()),
        }
    }
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        if let Some(hub) = self.home.upgrade() {
            *hub.home.lock() = self.task.take();
            hub.is_wanted.store(1, Ordering::Release);
        }
    }
}

impl<S: Send + Sync + 'static> Hub<S> {
    /// Sees to it that somebody drives the driver, if it has something to do.
    #[inline]
    pub(super) fn keep_driven(self: &Arc<Self>) {
        if self.is_wanted.load(Ordering::Relaxed) != 0 {
            self.drive();
        }
    }

    #[cold]
    fn drive(self: &Arc<Self>) {
        // Before the look: who wants it from here on says so once more.
        self.is_wanted.store(0, Ordering::Release);
        let Some(task) = self.home.lock().take() else {
            return;
        };
        let Ok(runtime) = Handle::try_current() else {
            self.drive_once(task);
            return;
        };
        let running = Running {
            task: Some(task),
            home: Arc::downgrade(self),
        };
        let handle = runtime.spawn(running).abort_handle();
        *self.running.lock() = Some(handle);
    }

    /// Drives it here, as far as it goes without waiting. Says whether nothing is left
    /// to wait for.
    pub(super) fn drive_once(self: &Arc<Self>, mut task: Task) {
        let ends = task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        if !ends {
            *self.home.lock() = Some(task);
        }
    }
}
