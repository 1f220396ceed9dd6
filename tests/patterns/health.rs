//! Health checks: who is asked when, and what is believed.

#[path = "health/endpoints.rs"]
mod endpoints;
#[path = "health/groups.rs"]
mod groups;
#[path = "health/hostile.rs"]
mod hostile;
#[path = "health/layers.rs"]
mod layers;
#[path = "health/life.rs"]
mod life;
#[path = "health/own.rs"]
mod own;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tower_keep::Ratio;
use tower_keep::clock::Clock;
use tower_keep::health::{Builder, Check, Group, Health};
use tower_keep::probe::{Finding, Schedule, ScheduleBuilder, Status};

use crate::support::{ms, secs};

/// Something that is as well as the test says.
#[derive(Clone, Default)]
struct Thing {
    status: Arc<AtomicU8>,
    runs: Arc<AtomicU64>,
}

impl Thing {
    fn set(&self, status: Status) {
        self.status.store(status as u8, Ordering::Relaxed);
    }

    fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    fn ask(&self) -> Finding {
        self.runs.fetch_add(1, Ordering::Relaxed);
        match self.status.load(Ordering::Relaxed) {
            0 => Finding::pass(),
            1 => Finding::warn("slow"),
            _ => Finding::fail("connection refused"),
        }
    }

    fn check(&self, name: &str) -> Check {
        let thing = self.clone();
        let probe = move || std::future::ready(thing.ask());
        Check::new(name, probe).schedule(every_second().build().unwrap())
    }
}

/// Exactly, and the first answer that differs is believed.
fn every_second() -> ScheduleBuilder {
    let schedule = Schedule::builder().interval(secs(1)).jitter(Ratio::ZERO);
    schedule.timeout(ms(200)).rise(1).fall(1)
}

fn started(checks: impl IntoIterator<Item = Check>) -> Health {
    let builder = checks.into_iter().fold(Health::builder(), Builder::check);
    builder.start().unwrap()
}

/// Lets virtual time pass.
async fn pass(time: Duration) {
    let clock = Clock::default();
    let due = clock.now().saturating_add(time);
    clock.sleep_until(due).await.unwrap();
}

/// How well the groups are: liveness, readiness, startup.
fn groups(health: &Health) -> [Status; 3] {
    [Group::Liveness, Group::Readiness, Group::Startup].map(|group| health.status_of(group))
}
