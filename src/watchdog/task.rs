//! Tasks that prove their progress by kicking.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;

use crate::clock::Tick;
use crate::kernel::sync::{AtomicU32, Ordering};

/// No progress since the last look.
const ARMED: u32 = 0;
/// Progress since then.
const KICKED: u32 = 1;
/// Nothing to do: no progress is expected.
const PAUSED: u32 = 2;

/// A task, as it and the watchdog share it.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) interval: Duration,
    /// Where it was made: there it is taken to run.
    pub(super) runtime: Option<runtime::Id>,
    flag: AtomicU32,
}

/// How a task says that it has made progress. Clones are the same task; when the last
/// one is dropped, the task is watched no more.
///
/// Kick where work is *done*: an item written, a page read, a reconciliation through.
/// Who kicks by a timer only proves that the timer works.
#[derive(Clone)]
pub struct Kicker {
    pub(super) task: Arc<Task>,
}

impl Kicker {
    pub(super) fn new(name: String, interval: Duration) -> Self {
        let runtime = runtime::Handle::try_current().ok();
        Self {
            task: Arc::new(Task {
                name,
                interval,
                runtime: runtime.map(|runtime| runtime.id()),
                flag: AtomicU32::new(KICKED),
            }),
        }
    }

    /// There is progress. After a [`pause`](Self::pause), the task is watched again.
    ///
    /// It costs one relaxed store, and no time is read: when it was, the watchdog finds
    /// out to within a quarter of the interval.
    #[inline]
    pub fn kick(&self) {
        self.task.flag.store(KICKED, Ordering::Relaxed);
    }

    /// There is nothing to do: until the next [`kick`](Self::kick) no progress is
    /// expected. Say so before you wait for work.
    #[inline]
    pub fn pause(&self) {
        self.task.flag.store(PAUSED, Ordering::Relaxed);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.task.name
    }

    /// How long it may go without progress.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.task.interval
    }
}

impl fmt::Debug for Kicker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kicker")
            .field("name", &self.task.name)
            .field("interval", &self.task.interval)
            .finish()
    }
}

/// What the watchdog remembers of a task between two looks.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) task: Arc<Task>,
    /// When there was progress last, or the task was paused.
    pub(super) progress: Tick,
    pub(super) paused: bool,
    pub(super) expired: bool,
    /// When its age was told last.
    pub(super) told: Tick,
}

impl Kept {
    pub(super) fn new(task: Arc<Task>, now: Tick) -> Self {
        Self {
            task,
            progress: now,
            paused: false,
            expired: false,
            told: Tick::ZERO,
        }
    }

    /// Whether anybody can still kick.
    pub(super) fn is_kicked_by_nobody(&self) -> bool {
        Arc::strong_count(&self.task) == 1
    }

    /// Looks at the task: for how long has there been no progress?
    pub(super) fn look(&mut self, now: Tick) -> Duration {
        // A kick in between stays for the next look.
        let seen =
            self.task
                .flag
                .compare_exchange(KICKED, ARMED, Ordering::Relaxed, Ordering::Relaxed);
        self.paused = seen == Err(PAUSED);
        if seen.is_ok() || self.paused {
            self.progress = now;
        }
        now.saturating_since(self.progress)
    }
}
