//! The kernels against naive models, under real threads, and under loom.

#[cfg(not(keep_loom))]
mod budget;
#[cfg(not(keep_loom))]
mod counter;
#[cfg(not(keep_loom))]
mod gate;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod gcra;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod gcra_ask;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod gcra_update;
#[cfg(not(keep_loom))]
mod guard;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod lease;
#[cfg(not(keep_loom))]
mod limit;
#[cfg(not(keep_loom))]
mod limit_threads;
#[cfg(not(keep_loom))]
mod live;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod meter;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod meter_cases;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod model;
#[cfg(all(not(keep_loom), feature = "circuit-breaker"))]
mod pending;
#[cfg(all(not(keep_loom), feature = "throttle"))]
mod quota;
#[cfg(all(not(keep_loom), feature = "hedge"))]
mod recent;
#[cfg(not(keep_loom))]
mod shared;
#[cfg(not(keep_loom))]
mod wait_queue;
#[cfg(not(keep_loom))]
mod wheel;
#[cfg(all(not(keep_loom), feature = "circuit-breaker"))]
mod window;

#[cfg(keep_loom)]
mod loom_budget;
#[cfg(all(keep_loom, feature = "throttle"))]
mod loom_gcra;
#[cfg(keep_loom)]
mod loom_keyed;
#[cfg(all(keep_loom, feature = "throttle"))]
mod loom_lease;
#[cfg(keep_loom)]
mod loom_limit;
#[cfg(all(keep_loom, feature = "throttle"))]
mod loom_meter;
#[cfg(all(keep_loom, feature = "circuit-breaker"))]
mod loom_pending;
#[cfg(all(keep_loom, feature = "hedge"))]
mod loom_recent;
#[cfg(keep_loom)]
mod loom_small;
#[cfg(keep_loom)]
mod loom_wheel;

/// Every interleaving with up to `bound` pre-emptions: 3 for two threads, 2 for three.
#[cfg(keep_loom)]
fn model(bound: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.check(f);
}

/// How many calls a sweep takes.
#[cfg(feature = "circuit-breaker")]
fn sweep(pending: &super::pending::Pending, now: crate::clock::Tick, limit: u64) -> u64 {
    let mut calls = 0;
    pending.sweep(now, limit, 1, |taken| calls += taken.calls);
    calls
}

/// A wake count per waiter.
#[derive(Debug, Default)]
struct Wakes(std::sync::atomic::AtomicU32);

impl Wakes {
    fn count(&self) -> u32 {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }
}

impl std::task::Wake for Wakes {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
    }
}

/// Numbers that look random, from a seed: for tests with threads of their own.
#[cfg(not(keep_loom))]
#[derive(Debug)]
struct Random(u64);

#[cfg(not(keep_loom))]
impl Random {
    fn new(seed: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed as u64 + 1))
    }

    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(end)).unwrap()
    }
}
