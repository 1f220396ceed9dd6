//! The watchdog's thread.

use std::cmp::Reverse;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::acts::{Acts, Job};
use super::beats::Beats;
use super::builder::{Builder, Target};
use super::dog::{Dog, WatchdogSnapshot};
use super::expiry::{Diagnostics, Expiry, Kind, RuntimeSnapshot, Standing, TaskSnapshot};
use super::pace::Pace;
use super::runtime::{Probe, Reading, Tracker};
use super::state::{Memory, State};
use super::task::Kept;
use crate::clock::Tick;
use crate::event::{Event, Expired, Kicked, Stall};

/// So often in an interval it looks, at least.
const LOOKS: u32 = 4;
/// The same for the limit on a single request, which may be one of many.
const LOOKS_AT_CALLS: u32 = 8;
/// It looks no more often.
const SHORTEST: Duration = Duration::from_millis(1);
/// It looks no less often.
const LONGEST: Duration = Duration::from_secs(3_600);
/// Calls, and tasks, in the diagnostics.
const LISTED: usize = 64;

/// A layer whose calls are watched.
#[derive(Debug)]
struct Layer {
    state: Weak<State>,
    memory: Memory,
    expired: bool,
}

/// A runtime that is watched.
struct Runtime {
    target: Target,
    tracker: Tracker,
    probe: Probe,
    waiting: Duration,
    expired: bool,
}

/// What the thread works on.
pub(super) struct Eye {
    dog: Arc<Dog>,
    pace: Pace,
    tasks: Vec<Kept>,
    layers: Vec<Layer>,
    runtimes: Vec<Runtime>,
    acts: Acts,
    beats: Beats,
    /// Counted since the start.
    status: WatchdogSnapshot,
}

impl Eye {
    pub(super) fn open(dog: Arc<Dog>, builder: Builder) -> io::Result<Self> {
        let runtime = |target| Runtime {
            target,
            tracker: Tracker::default(),
            probe: Probe::default(),
            waiting: Duration::ZERO,
            expired: false,
        };
        Ok(Self {
            pace: Pace::new(dog.core.clock().now()),
            acts: Acts::new(
                &dog,
                builder.hooks,
                builder.then,
                builder.grace,
                builder.patience,
            )?,
            beats: Beats::new(
                &dog,
                #[cfg(unix)]
                builder.systemd,
                builder.outlets,
            )?,
            runtimes: builder.targets.into_iter().map(runtime).collect(),
            dog,
            tasks: Vec::new(),
            layers: Vec::new(),
            status: WatchdogSnapshot::default(),
        })
    }

    /// Looks, naps and looks again.
    pub(super) fn watch(mut self) {
        let clock = self.dog.core.clock().clone();
        while !self.dog.stops() {
            let now = clock.now();
            let counted = self.pace.count(now);
            self.take_in(counted);
            let expiries = self.look(counted);
            self.act(counted, expiries);
            self.publish(counted);
            let (nap, slack) = self.nap(counted);
            self.pace.expect(nap, slack);
            clock.nap_until(now.saturating_add(nap));
        }
    }

    /// Takes in what is to be watched from now on, and lets go of what is not.
    fn take_in(&mut self, now: Tick) {
        let inbox = std::mem::take(&mut *self.dog.inbox.lock());
        self.tasks.retain(|kept| !kept.is_kicked_by_nobody());
        self.tasks
            .extend(inbox.tasks.into_iter().map(|task| Kept::new(task, now)));
        self.layers.retain(|layer| layer.state.strong_count() > 0);
        self.layers
            .extend(inbox.layers.into_iter().filter_map(|state| {
                let memory = Memory::new(&*state.upgrade()?, now);
                Some(Layer {
                    state,
                    memory,
                    expired: false,
                })
            }));
    }

    /// Looks at everything; returns what has expired since the last look.
    fn look(&mut self, now: Tick) -> Vec<Expiry> {
        let mut expiries = Vec::new();
        self.runtimes.retain_mut(|runtime| {
            let metrics = runtime.target.handle.metrics();
            runtime.tracker.observe(now, &Reading::of(&metrics));
            let target = &runtime.target;
            let every = target.interval / LOOKS;
            let looked = runtime.probe.look(now, &target.handle, every);
            runtime.waiting = *looked.as_ref().unwrap_or(&Duration::ZERO);
            looked.is_ok()
        });
        for at in 0..self.runtimes.len() {
            let runtime = &mut self.runtimes[at];
            let interval = runtime.target.interval;
            let frozen = runtime.tracker.frozen(now, interval) > 0;
            let (before, stands) = (runtime.expired, frozen || runtime.waiting >= interval);
            if stands == before {
                continue;
            }
            runtime.expired = stands;
            let age = if frozen { interval } else { runtime.waiting };
            let stall = runtime.tracker.judge(now, interval, runtime.waiting);
            let of = (Kind::Runtime, runtime.target.name.clone(), age, interval);
            self.changed(stands, of, stall, &mut expiries);
        }
        for at in 0..self.tasks.len() {
            let kept = &mut self.tasks[at];
            let age = kept.look(now);
            let (interval, before) = (kept.task.interval, kept.expired);
            if self.dog.core.is_heard() && now.saturating_since(kept.told) >= interval / LOOKS {
                kept.told = now;
                self.dog.core.tell(Event::Kicked(Kicked {
                    task: &kept.task.name,
                    age,
                    interval,
                }));
            }
            let stands = age >= interval;
            if stands == before {
                continue;
            }
            kept.expired = stands;
            let (name, runtime) = (kept.task.name.clone(), kept.task.runtime);
            let stall = self.judge(now, age, |of| Some(of.target.handle.id()) == runtime);
            self.changed(
                stands,
                (Kind::Task, name, age, interval),
                stall,
                &mut expiries,
            );
        }
        for at in 0..self.layers.len() {
            let layer = &mut self.layers[at];
            let Some(state) = layer.state.upgrade() else {
                continue;
            };
            layer.memory.look(&state, now);
            let age = layer.memory.still_for(&state, now);
            let interval = state.limits().1.unwrap_or(Duration::MAX);
            let (before, stands) = (layer.expired, age >= interval);
            if stands == before {
                continue;
            }
            layer.expired = stands;
            let name = state.core.name().to_owned();
            drop(state);
            // Its calls may run anywhere: with several runtimes, nobody knows.
            let only = self.runtimes.len() == 1;
            let stall = self.judge(now, age, |_| only);
            self.changed(
                stands,
                (Kind::Layer, name, age, interval),
                stall,
                &mut expiries,
            );
        }
        expiries
    }

    /// Why nothing has moved for `age` on the runtime that is the right one.
    fn judge(&self, now: Tick, age: Duration, is_it: impl Fn(&Runtime) -> bool) -> Stall {
        let runtime = self.runtimes.iter().find(|runtime| is_it(runtime));
        runtime.map_or(Stall::Unknown, |runtime| {
            runtime.tracker.judge(now, age, runtime.waiting)
        })
    }

    /// Tells that something has come to stand still, or moves again.
    fn changed(
        &mut self,
        stands: bool,
        (kind, name, age, interval): (Kind, String, Duration, Duration),
        cause: Stall,
        expiries: &mut Vec<Expiry>,
    ) {
        if !stands {
            self.status.recoveries += 1;
            self.dog.core.tell(Event::Recovered(kind.of(&name)));
            return;
        }
        self.status.expiries += 1;
        self.status.last_cause = Some(cause);
        self.dog.core.tell(Event::Expired(Expired {
            subject: kind.of(&name),
            cause,
            age,
            interval,
        }));
        expiries.push(Expiry {
            kind,
            name,
            cause,
            age,
            interval,
            diagnostics: Diagnostics::default(),
        });
    }

    /// What stands still now.
    fn standing_still(&self) -> usize {
        let tasks = self.tasks.iter().filter(|kept| kept.expired).count();
        let layers = self.layers.iter().filter(|layer| layer.expired).count();
        let runtimes = self.runtimes.iter().filter(|runtime| runtime.expired);
        tasks + layers + runtimes.count()
    }

    fn act(&mut self, now: Tick, expiries: Vec<Expiry>) {
        let still = self.standing_still() > 0;
        if let Some(last) = expiries.last() {
            self.beats.tell(&last.line());
            let mut tasks = self.task_snapshots(now);
            tasks.sort_by_key(|task| (task.standing != Standing::Expired, Reverse(task.age)));
            tasks.truncate(LISTED);
            let seen = Diagnostics {
                tasks,
                calls: self.calls(now),
                runtimes: self.runtime_snapshots(now),
                ..Diagnostics::default()
            };
            for mut expiry in expiries {
                expiry.diagnostics = seen.clone();
                self.acts.offer(Job::Expired(Box::new(expiry)), now);
            }
        }
        if self.acts.has_begun() && !still {
            self.beats.tell("watching");
            self.acts.offer(Job::Recovered, now);
        }
        self.acts.end(now);
        self.beats.look(now, !still);
    }

    fn publish(&mut self, now: Tick) {
        self.status.looks += 1;
        self.status.standing_still = self.standing_still() as u64;
        (self.status.beats, self.status.withheld, self.status.missed) = self.beats.counts();
        self.status.missed += self.acts.missed();
        self.status.tasks = self.task_snapshots(now);
        self.status.runtimes = self.runtime_snapshots(now);
        *self.dog.status.lock() = self.status.clone();
    }

    fn task_snapshots(&self, now: Tick) -> Vec<TaskSnapshot> {
        let snapshot = |kept: &Kept| TaskSnapshot {
            name: kept.task.name.clone(),
            age: now.saturating_since(kept.progress),
            interval: kept.task.interval,
            standing: match (kept.paused, kept.expired) {
                (true, _) => Standing::Paused,
                (false, true) => Standing::Expired,
                (false, false) => Standing::Moving,
            },
        };
        self.tasks.iter().map(snapshot).collect()
    }

    fn runtime_snapshots(&self, now: Tick) -> Vec<RuntimeSnapshot> {
        let snapshot = |runtime: &Runtime| RuntimeSnapshot {
            name: runtime.target.name.clone(),
            workers: runtime.tracker.workers(),
            frozen: runtime.tracker.frozen(now, runtime.target.interval / 2),
            queued: runtime.tracker.queued,
            alive: runtime.tracker.alive,
            waiting: runtime.waiting,
        };
        self.runtimes.iter().map(snapshot).collect()
    }

    fn calls(&self, now: Tick) -> Vec<super::CallInFlight> {
        let of = |layer: &Layer| {
            let state = layer.state.upgrade();
            state.map(|state| layer.memory.calls(&state, now))
        };
        let mut calls: Vec<_> = self.layers.iter().filter_map(of).flatten().collect();
        calls.sort_by_key(|call| Reverse(call.age));
        calls.truncate(LISTED);
        calls
    }

    /// How long nothing will happen, and how much longer a nap may be and still count:
    /// as long as it is between two looks.
    fn nap(&self, now: Tick) -> (Duration, Duration) {
        let tasks = self.tasks.iter().map(|kept| kept.task.interval / LOOKS);
        let runtimes = self.runtimes.iter();
        let runtimes = runtimes.map(|runtime| runtime.target.interval / LOOKS);
        let layers = self.layers.iter().filter_map(|layer| {
            let (stuck, hung) = layer.state.upgrade()?.limits();
            let hung = hung.map_or(Duration::MAX, |hung| hung / LOOKS);
            Some((stuck / LOOKS_AT_CALLS).min(hung))
        });
        let period = tasks.chain(runtimes).chain(layers).min();
        let period = period.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
        // At the end of a task's interval to the point, not at the look after it.
        let ends = self.tasks.iter().filter(|kept| !kept.expired);
        let ends = ends.map(|kept| kept.progress.saturating_add(kept.task.interval));
        let ends = ends.chain(self.beats.next()).chain(self.acts.next(now));
        let left = ends.map(|end| end.saturating_since(now)).min();
        let nap = left.unwrap_or(period).clamp(SHORTEST.min(period), period);
        (nap, period)
    }
}
