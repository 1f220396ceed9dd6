//! What happens in the demonstration, and what could be served at best.
//!
//! | upstream  | workers | service time                          | capacity | offered               |
//! |-----------|---------|---------------------------------------|----------|-----------------------|
//! | `healthy` | 16      | 4 to 6 ms                             | 3200/s   | 400/s                 |
//! | `slow`    | 12      | bounded Pareto, 20 to 600 ms, 1.5     | 243/s    | 120/s, 500/s in surge |
//! | `failing` | 8       | 6 to 10 ms, one answer in five a 500  | 1000/s   | 100/s                 |
//!
//! Seconds 2 to 9 are a surge of more than twice what `slow` can serve; from 5 to 9 the process of
//! `failing` is dead. The last five seconds show who recovers.
//!
//! Capacity is workers divided by the mean service time: an upstream serves what it has accepted
//! in order, whether anybody still waits for it or not, as a server with a thread pool does. The
//! bare proxy is hurt by two things that every proxy has: a finite number of exchanges at once,
//! shared by all routes and filled by the slow one, and work already sent that nobody wants any
//! more. Bare and guarded run the same program with the same numbers.
//!
//! *Servable* is what perfect protection could reach: every request to `healthy`; of those to
//! `slow`, as many as fit its capacity in each phase; of those to `failing`, the share that does
//! not fail while its process is alive.

use crate::random::{Deck, Random};
use std::time::Duration;
use tower_keep::chaos;
use tower_keep::{PolicyError, Ratio};

/// How long arrivals go on.
pub(crate) const DURATION: Duration = Duration::from_secs(14);
/// When a client stops waiting, counted from the scheduled arrival.
pub(crate) const DEADLINE: Duration = Duration::from_secs(1);
pub(crate) const SURGE: (f64, f64) = (2.0, 9.0);
pub(crate) const OUTAGE: (f64, f64) = (5.0, 9.0);

/// How long a worker of the guarded gateway is blocked when the load is over.
pub(crate) const STALL: Duration = Duration::from_millis(1_500);
/// Exchanges the gateway holds at once, bare or guarded.
pub(crate) const MAX_IN_FLIGHT: usize = 128;
pub(crate) const DEFAULT_SEED: u64 = 20_260_101;

/// One of the three upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Healthy,
    Slow,
    Failing,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Healthy, Self::Slow, Self::Failing];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Failing => "failing",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Healthy => 0,
            Self::Slow => 1,
            Self::Failing => 2,
        }
    }

    pub(crate) fn prefix(self) -> String {
        format!("/{}", self.name())
    }

    pub(crate) fn workers(self) -> u32 {
        match self {
            Self::Healthy => 16,
            Self::Slow => 12,
            Self::Failing => 8,
        }
    }

    /// The share of answers that are a `500`.
    pub(crate) fn failure_share(self) -> f64 {
        match self {
            Self::Failing => 0.2,
            Self::Healthy | Self::Slow => 0.0,
        }
    }

    /// The service time in seconds at a quantile.
    fn service_seconds(self, quantile: f64) -> f64 {
        match self {
            Self::Healthy => 0.004 + 0.002 * quantile,
            Self::Failing => 0.006 + 0.004 * quantile,
            Self::Slow => {
                let (low, high, shape) = (0.020_f64, 0.600_f64, 1.5_f64);
                let tail = 1.0 - (low / high).powf(shape);
                low / (1.0 - quantile * tail).powf(1.0 / shape)
            }
        }
    }

    pub(crate) fn service_times(self, seed: u64) -> Deck<f64> {
        let random = Random::new(seed, 100 + u64::from(self.workers()));
        Deck::new(200, random, |quantile| self.service_seconds(quantile))
    }

    /// What goes wrong in this upstream while its process is alive.
    pub(crate) fn faults(self, seed: u64) -> Result<chaos::Policy, PolicyError> {
        let stream = 200 + u64::from(self.workers());
        chaos::Policy::builder()
            .seed(seed.wrapping_add(stream))
            .abort(Ratio::new(self.failure_share())?)
            .build()
    }

    /// Requests per second that this upstream can serve.
    pub(crate) fn capacity(self) -> f64 {
        let deck = self.service_times(0);
        let cards = deck.cards();
        let count = f64::from(u32::try_from(cards.len()).unwrap_or(u32::MAX));
        f64::from(self.workers()) * count / cards.iter().sum::<f64>()
    }

    /// Requests per second that clients send at a time.
    fn rate(self, at: f64) -> f64 {
        match self {
            Self::Healthy => 400.0,
            Self::Failing => 100.0,
            Self::Slow if at >= SURGE.0 && at < SURGE.1 => 500.0,
            Self::Slow => 120.0,
        }
    }

    fn alive(self, at: f64) -> bool {
        self != Self::Failing || at < OUTAGE.0 || at >= OUTAGE.1
    }
}

/// One request, at its time in seconds from the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) at: f64,
    pub(crate) kind: Kind,
}

/// All requests of a run, in order: one Poisson process per upstream.
pub(crate) fn schedule(seed: u64) -> Vec<Arrival> {
    let mut arrivals = Vec::new();
    for (stream, kind) in (1..).zip(Kind::ALL) {
        let mut random = Random::new(seed, stream);
        // Where the rate changes a process without memory may simply be started anew.
        for (start, end) in phases() {
            let mut at = start + random.exponential(kind.rate(start));
            while at < end {
                arrivals.push(Arrival { at, kind });
                at += random.exponential(kind.rate(start));
            }
        }
    }
    arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
    arrivals
}

fn phases() -> [(f64, f64); 3] {
    let end = DURATION.as_secs_f64();
    [(0.0, SURGE.0), SURGE, (SURGE.1, end)]
}

/// How many requests to `kind` perfect protection could answer well.
pub(crate) fn servable(kind: Kind, arrivals: &[Arrival]) -> f64 {
    phases()
        .into_iter()
        .map(|(start, end)| {
            let count = arrivals
                .iter()
                .filter(|arrival| arrival.kind == kind && arrival.at >= start && arrival.at < end)
                .filter(|arrival| kind.alive(arrival.at))
                .count();
            let offered = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            offered.min(kind.capacity() * (end - start)) * (1.0 - kind.failure_share())
        })
        .sum()
}

/// What to say about a second while it runs.
pub(crate) fn remark(second: f64) -> String {
    let mut remarks = Vec::new();
    if second > SURGE.0 && second <= SURGE.1 {
        remarks.push("surge on slow");
    }
    if second > OUTAGE.0 && second <= OUTAGE.1 {
        remarks.push("failing is down");
    }
    remarks.join(", ")
}
