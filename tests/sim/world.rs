//! Time, load and curves.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower_keep::clock::{Clock, Tick};

/// The start of a run.
#[derive(Debug, Clone)]
pub(crate) struct World {
    clock: Clock,
    start: Tick,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Clock::tokio();
        Self {
            start: clock.now(),
            clock,
        }
    }

    /// What has passed.
    pub(crate) fn time(&self) -> Duration {
        self.clock.now().saturating_since(self.start)
    }

    pub(crate) async fn until(&self, time: Duration) {
        let _ = self
            .clock
            .sleep_until(self.start.saturating_add(time))
            .await;
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.until(self.time() + time).await;
    }

    /// Sends `rate` requests a second until `end`, whatever becomes of them.
    pub(crate) async fn load<F>(&self, rate: u32, end: Duration, mut send: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for n in 0.. {
            let at = Duration::from_secs(1) * n / rate;
            if at >= end {
                break;
            }
            self.until(at).await;
            tokio::spawn(send());
        }
        // What is under way ends, or nobody waits for it any more.
        self.pass(Duration::from_secs(5)).await;
    }
}

/// Something that happens, counted by the second.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    world: World,
    seconds: Arc<Mutex<Vec<u32>>>,
}

impl Curve {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            seconds: Arc::default(),
        }
    }

    pub(crate) fn add(&self) {
        let now = usize::try_from(self.world.time().as_secs()).unwrap();
        let mut seconds = self.seconds.lock().unwrap();
        if seconds.len() <= now {
            seconds.resize(now + 1, 0);
        }
        seconds[now] += 1;
    }

    pub(crate) fn at(&self, second: usize) -> u32 {
        self.seconds
            .lock()
            .unwrap()
            .get(second)
            .copied()
            .unwrap_or(0)
    }

    pub(crate) fn sum(&self, seconds: std::ops::Range<usize>) -> u32 {
        seconds.map(|second| self.at(second)).sum()
    }

    /// One number for each `step` seconds: the mean of a second.
    pub(crate) fn print(&self, name: &str, step: usize) {
        let len = self.seconds.lock().unwrap().len();
        let mean = |from| (f64::from(self.sum(from..from + step)) / step as f64).round();
        let means: Vec<_> = (0..len / step)
            .map(|n| mean(n * step).to_string())
            .collect();
        println!("{name:>22}: {}", means.join(" "));
    }
}

/// Runs a world on one thread, in no time.
pub(crate) fn run<F: Future>(world: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(world())
}
