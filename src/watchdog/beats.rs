//! Signs of life, while there is progress.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::builder::Outlet;
use super::dog::Dog;
use super::hand::Hand;
use super::heartbeat::Beat;
#[cfg(unix)]
use super::systemd::Systemd;
use crate::clock::Tick;
use crate::kernel::counter::Counters;

/// Beats come no more often.
const SHORTEST: Duration = Duration::from_millis(1);

/// Where a beat goes.
#[derive(Debug)]
enum Way {
    #[cfg(unix)]
    Systemd(Systemd),
    Hand(Hand<Beat>),
}

#[derive(Debug)]
struct Line {
    way: Way,
    every: Duration,
    /// When the next one is due; at once at first.
    due: Tick,
    number: u64,
}

/// All the places where beats go.
#[derive(Debug)]
pub(super) struct Beats {
    lines: Vec<Line>,
    #[cfg(unix)]
    systemd: Option<Systemd>,
    sent: u64,
    withheld: u64,
    missed: u64,
    /// Beats that a hand could not bring out.
    failed: Arc<Counters<1>>,
}

impl Beats {
    pub(super) fn new(
        dog: &Arc<Dog>,
        #[cfg(unix)] systemd: Option<Systemd>,
        outlets: Vec<Outlet>,
    ) -> io::Result<Self> {
        let mut lines = Vec::new();
        let mut add = |way, every: Duration| {
            lines.push(Line {
                way,
                every: every.max(SHORTEST),
                due: Tick::ZERO,
                number: 0,
            });
        };
        #[cfg(unix)]
        if let Some(systemd) = &systemd
            && let Some(timeout) = systemd.watchdog_timeout()
        {
            add(Way::Systemd(systemd.clone()), timeout / 2);
        }
        let failed = Arc::new(Counters::with_owned(0));
        for Outlet { mut heart, every } in outlets {
            let name = format!("{}-beat", dog.core.name());
            let (dog, failed) = (Arc::clone(dog), Arc::clone(&failed));
            let hand = Hand::start(&name, 1, move |beat| {
                let beaten = dog.core.contain("heartbeat", || heart.beat(beat));
                if !matches!(beaten, Some(Ok(()))) {
                    failed.add(0, 1);
                }
            });
            add(Way::Hand(hand?), every);
        }
        Ok(Self {
            lines,
            #[cfg(unix)]
            systemd,
            sent: 0,
            withheld: 0,
            missed: 0,
            failed,
        })
    }

    /// Beats wherever one is due, if all that is watched moves.
    pub(super) fn look(&mut self, now: Tick, moves: bool) {
        for line in &mut self.lines {
            if now < line.due {
                continue;
            }
            // From when it was due, lest they come later and later.
            let next = line.due.saturating_add(line.every);
            line.due = if next > now {
                next
            } else {
                now.saturating_add(line.every)
            };
            if !moves {
                self.withheld += 1;
                continue;
            }
            line.number += 1;
            let number = line.number;
            let taken = match &line.way {
                #[cfg(unix)]
                Way::Systemd(systemd) => systemd.alive().is_ok(),
                // While the last one is on its way, this one is left out.
                Way::Hand(hand) => hand.is_idle() && hand.offer(Beat { number }),
            };
            *(if taken {
                &mut self.sent
            } else {
                &mut self.missed
            }) += 1;
        }
    }

    /// Tells people how it stands.
    pub(super) fn tell(&self, status: &str) {
        #[cfg(unix)]
        if let Some(systemd) = &self.systemd {
            let _ = systemd.status(status);
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Tick> {
        self.lines.iter().map(|line| line.due).min()
    }

    /// Sent, withheld, missed.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let missed = self.missed + self.failed.sum(0);
        (self.sent, self.withheld, missed)
    }
}
