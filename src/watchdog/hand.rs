//! A thread that does for the watchdog what may take long.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use crate::kernel::sync::{AtomicUsize, Ordering};

/// A thread of the watchdog of this name.
pub(super) fn named(name: &str) -> Builder {
    // A zero in it would be a panic.
    Builder::new().name(format!("keep-{}", name.replace('\0', "")))
}

/// Takes work, and never holds up who gives it.
pub(super) struct Hand<T> {
    /// Gone only in `drop`.
    work: Option<SyncSender<T>>,
    pending: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Hand<T> {
    /// A thread of this name, with room for so much work to wait. `work` must not panic.
    pub(super) fn start(
        name: &str,
        room: usize,
        mut work: impl FnMut(T) + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(room);
        let pending = Arc::new(AtomicUsize::new(0));
        let done = Arc::clone(&pending);
        let thread = named(name).spawn(move || {
            for piece in receiver {
                work(piece);
                done.fetch_sub(1, Ordering::Release);
            }
        })?;
        Ok(Self {
            work: Some(sender),
            pending,
            thread: Some(thread),
        })
    }

    /// Gives it work, unless it has too much already.
    pub(super) fn offer(&self, piece: T) -> bool {
        self.pending.fetch_add(1, Ordering::Relaxed);
        let taken = self
            .work
            .as_ref()
            .is_some_and(|work| work.try_send(piece).is_ok());
        if !taken {
            self.pending.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

impl<T> Hand<T> {
    /// Whether all it was given is done.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.load(Ordering::Acquire) == 0
    }
}

impl<T> Drop for Hand<T> {
    /// Joins the thread, unless it hangs in its work: then it ends by itself after it.
    fn drop(&mut self) {
        self.work = None;
        if self.is_idle()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl<T> fmt::Debug for Hand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hand")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}
