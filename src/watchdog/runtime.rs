//! What a Tokio runtime shows of itself, and what that allows to say.
//!
//! Only figures that Tokio keeps stable are read. A worker publishes its own when it
//! parks, when it has unparked, and once in some tens of polls: so a worker that is not
//! parked and publishes nothing at all has not come back from its poll (or from so many
//! of them); one that merely never parks still publishes how long it was busy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

use crate::clock::Tick;
use crate::event::Stall;
use crate::kernel::sync::{AtomicU32, Ordering};

/// What one worker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Worker {
    /// How often it has parked and unparked: odd while it is parked.
    pub(super) turns: u64,
    /// How long it has polled.
    pub(super) busy: Duration,
}

impl Worker {
    fn is_parked(self) -> bool {
        self.turns % 2 == 1
    }
}

/// What a runtime shows at one moment.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) workers: Vec<Worker>,
    pub(super) queued: usize,
    pub(super) alive: usize,
}

impl Reading {
    pub(super) fn of(metrics: &RuntimeMetrics) -> Self {
        let worker = |worker| Worker {
            turns: metrics.worker_park_unpark_count(worker),
            busy: metrics.worker_total_busy_duration(worker),
        };
        Self {
            workers: (0..metrics.num_workers()).map(worker).collect(),
            queued: metrics.global_queue_depth(),
            alive: metrics.num_alive_tasks(),
        }
    }
}

/// A worker between two readings.
#[derive(Debug, Clone, Copy)]
struct Track {
    last: Worker,
    /// Since when it has shown nothing else, and in how many readings.
    since: Tick,
    readings: u32,
    /// When it was seen to rest, or to have rested, last.
    rested: Option<Tick>,
}

/// Readings in which a worker must have shown the same before that says anything.
const LEAST_READINGS: u32 = 3;

/// What the readings of a runtime have shown until now.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    workers: Vec<Track>,
    pub(super) queued: usize,
    pub(super) alive: usize,
}

impl Tracker {
    pub(super) fn observe(&mut self, now: Tick, reading: &Reading) {
        (self.queued, self.alive) = (reading.queued, reading.alive);
        let new = |last: &Worker| Track {
            last: *last,
            since: now,
            readings: 0,
            rested: None,
        };
        let known = self.workers.len().min(reading.workers.len());
        let more = reading.workers.iter().skip(known).map(new);
        self.workers.truncate(known);
        self.workers.extend(more);
        for (track, worker) in self.workers.iter_mut().zip(&reading.workers) {
            if worker.is_parked() || worker.turns != track.last.turns {
                track.rested = Some(now);
            }
            if *worker == track.last {
                track.readings = track.readings.saturating_add(1);
            } else {
                (track.last, track.since, track.readings) = (*worker, now, 1);
            }
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Workers that are not parked and have shown nothing new for so long.
    pub(super) fn frozen(&self, now: Tick, least: Duration) -> usize {
        let frozen = |track: &&Track| {
            !track.last.is_parked()
                && track.readings >= LEAST_READINGS
                && now.saturating_since(track.since) >= least
        };
        self.workers.iter().filter(frozen).count()
    }

    /// Whether a worker has rested within this time.
    fn rests(&self, now: Tick, within: Duration) -> bool {
        let rests = |track: &Track| {
            let rested = track.rested.map(|rested| now.saturating_since(rested));
            rested.is_some_and(|ago| ago < within)
        };
        self.workers.iter().any(rests)
    }

    /// Why there has been no progress for `window`, when a new task has been waiting for
    /// its turn for `waiting`.
    pub(super) fn judge(&self, now: Tick, window: Duration, waiting: Duration) -> Stall {
        let most = window / 2;
        let frozen = self.frozen(now, most);
        if frozen > 0 {
            return Stall::Blocked {
                workers: frozen,
                of: self.workers(),
            };
        }
        let parked = self.workers.iter().filter(|track| track.last.is_parked());
        let all_parked = parked.count() == self.workers();
        match (waiting >= most, all_parked) {
            // Who is parked would have been woken for it: something else is wrong.
            (true, true) => Stall::Unknown,
            (true, false) => Stall::Starved {
                queued: self.queued,
            },
            (false, _) if self.rests(now, most) => Stall::Deadlock,
            (false, _) => Stall::Unknown,
        }
    }
}

const SENT: u32 = 0;
const RAN: u32 = 1;
const DROPPED: u32 = 2;

/// A task that does nothing, to see when it gets its turn.
struct Ping(Arc<AtomicU32>);

impl Future for Ping {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0.store(RAN, Ordering::Relaxed);
        Poll::Ready(())
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        let _ = self
            .0
            .compare_exchange(SENT, DROPPED, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// How a runtime takes in new tasks.
#[derive(Debug, Default)]
pub(super) struct Probe {
    sent: Option<(Arc<AtomicU32>, Tick)>,
}

/// The runtime has ended.
#[derive(Debug)]
pub(super) struct Gone;

impl Probe {
    /// For how long a new task has been waiting for its turn. One is made this often.
    pub(super) fn look(
        &mut self,
        now: Tick,
        runtime: &Handle,
        every: Duration,
    ) -> Result<Duration, Gone> {
        if let Some((ping, since)) = &self.sent {
            let age = now.saturating_since(*since);
            match ping.load(Ordering::Relaxed) {
                SENT => return Ok(age),
                DROPPED => return Err(Gone),
                _ if age < every => return Ok(Duration::ZERO),
                _ => {}
            }
        }
        let ping = Arc::new(AtomicU32::new(SENT));
        drop(runtime.spawn(Ping(Arc::clone(&ping))));
        self.sent = Some((ping, now));
        Ok(Duration::ZERO)
    }
}
