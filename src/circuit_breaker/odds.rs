//! The kinds that refuse a share of the requests: how large it is.

use std::time::Duration;

use super::policy::{Kind, Policy};
use super::tally::SLOTS;
use crate::clock::Tick;
use crate::kernel::window::{Counts, TimeWindow};

/// Requests, or ends of calls; those of them that were none after all; and the good
/// ones.
pub(super) type Sums = [u64; 3];

/// What the slots before the current one come to, and where the monotone sums
/// stood when it began.
#[derive(Debug)]
pub(super) struct Past {
    window: TimeWindow<Sums>,
    span: Duration,
    /// For the moving average: what is left of all slots, and its factor per slot.
    decayed: [f64; 3],
    fading: Option<f64>,
    base: Sums,
}

impl Past {
    pub(super) fn new(policy: &Policy, now: Tick, sums: Sums) -> Self {
        #[allow(clippy::cast_precision_loss)] // a handful
        let fading = (policy.kind == Kind::Ewma).then(|| (-1.0 / SLOTS as f64).exp());
        let span = policy.share_window();
        Self {
            window: TimeWindow::new(span, SLOTS, now),
            span,
            decayed: [0.0; 3],
            fading,
            base: sums,
        }
    }

    /// Moves on to `now`. What was counted since the last time belongs to the slot
    /// that ends. Then follows the policy.
    pub(super) fn advance(&mut self, policy: &Policy, now: Tick, sums: Sums) {
        if self.window.is_far_ahead(now) {
            *self = Self::new(policy, now, sums);
        }
        self.move_on(now, sums);
        let span = policy.share_window();
        if span != self.span {
            self.span = span;
            self.window.resize(span, SLOTS, now);
        }
    }

    fn move_on(&mut self, now: Tick, sums: Sums) {
        let slots = self.window.slots_until(now);
        if slots == 0 {
            return;
        }
        let fresh = std::array::from_fn(|i| sums[i].wrapping_sub(self.base[i]));
        self.window.add(fresh);
        self.base = sums;
        self.window.advance(now);
        if let Some(factor) = self.fading {
            #[allow(clippy::cast_precision_loss)] // more slots than that leave nothing
            let factor = factor.powf(slots as f64);
            for (kept, fresh) in self.decayed.iter_mut().zip(fresh) {
                *kept = (*kept + to_float(fresh)) * factor;
            }
        }
    }

    /// The past, and the sums that the present counts from.
    fn to_words(&self) -> [u64; 6] {
        let past = match self.fading {
            Some(_) => self.decayed,
            None => self.window.counts().map(to_float),
        };
        let [a, b, c] = past.map(f64::to_bits);
        let [d, e, f] = self.base;
        [a, b, c, d, e, f]
    }

    /// Whether anything bad is left in it.
    pub(super) fn remembers(&self, odds: &Odds, sums: Sums) -> bool {
        let [all, good] = all(&odds.to_words(self), sums);
        all - good >= 1.0
    }

    /// Takes back a request of this time, if it is in the window yet; `false` if it is
    /// of the present, which the sums count.
    pub(super) fn forgive(&mut self, at: Tick) -> bool {
        let present = self.window.is_current(at);
        if !present {
            self.window.add_at(at, [0, 1, 0]);
        }
        !present
    }

    pub(super) fn slot_end(&self) -> Tick {
        self.window.slot_end()
    }

    /// How long its window is, in nanoseconds.
    pub(super) fn span(&self) -> u64 {
        self.window.span()
    }
}

/// What the way in needs to know, as words that change together.
pub(super) type Words = [u64; WORDS];
pub(super) const WORDS: usize = 10;

/// How the share is calculated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Odds {
    kind: Kind,
    accept: f64,
    cap: f64,
    minimum: f64,
}

impl Odds {
    pub(super) fn of(policy: &Policy) -> Self {
        Self {
            kind: policy.kind,
            accept: policy.accept_share.fraction(),
            cap: policy.max_refused.fraction(),
            minimum: policy.minimum_calls.into(),
        }
    }

    pub(super) fn to_words(self, past: &Past) -> Words {
        let [a, b, c, d, e, f] = past.to_words();
        let (accept, cap) = (self.accept.to_bits(), self.cap.to_bits());
        let kind = match self.kind {
            Kind::AdmissionControl { aggression } => aggression.max(1).into(),
            Kind::Ewma => EWMA,
            _ => 0,
        };
        let minimum = self.minimum.to_bits();
        [a, b, c, d, e, f, accept, cap, minimum, kind]
    }

    pub(super) fn from_words(words: &Words) -> Self {
        Self {
            accept: f64::from_bits(words[6]),
            cap: f64::from_bits(words[7]),
            minimum: f64::from_bits(words[8]),
            kind: match words[9] {
                0 => Kind::ClientThrottle,
                EWMA => Kind::Ewma,
                aggression => Kind::AdmissionControl {
                    aggression: u32::try_from(aggression).unwrap_or(1),
                },
            },
        }
    }

    /// The client throttle counts requests, refused ones among them; the others
    /// what has ended.
    pub(super) fn counts_requests(&self) -> bool {
        self.kind == Kind::ClientThrottle
    }

    /// The share of requests to refuse, of a window with so many calls and so many
    /// good ones.
    pub(super) fn share(&self, [all, good]: [f64; 2]) -> f64 {
        if all < self.minimum {
            return 0.0;
        }
        let excess = ((all - good / self.accept) / (all + 1.0)).max(0.0);
        let share = match self.kind {
            Kind::AdmissionControl { aggression } => excess.powf(1.0 / f64::from(aggression)),
            Kind::Ewma if all > 0.0 => (1.0 - good / all / self.accept).max(0.0),
            _ => excess,
        };
        share.min(self.cap)
    }
}

const EWMA: u64 = u64::MAX;

/// All of the window, and the good part of it: the past from its words, and the
/// present.
pub(super) fn all(words: &Words, sums: Sums) -> [f64; 2] {
    let [asked, forgiven, good] = std::array::from_fn(|i| {
        let fresh = sums[i].wrapping_sub(words[i + 3]).cast_signed();
        f64::from_bits(words[i]) + to_float(fresh.max(0).cast_unsigned())
    });
    [(asked - forgiven).max(0.0), good]
}

/// The same as counts of calls.
pub(super) fn window(words: &Words, sums: Sums) -> Counts {
    let [all, good] = all(words, sums);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at least 0
    let whole = |calls: f64| calls.max(0.0).round() as u64;
    Counts {
        calls: whole(all),
        failures: whole(all - good),
        slow: 0,
    }
}

#[allow(clippy::cast_precision_loss)] // a share needs no 53 bits
fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Ratio;

    fn policy(kind: Kind, accept: f64) -> Policy {
        let accept = Ratio::new(accept).unwrap();
        let builder = Policy::builder().kind(kind).minimum_calls(1);
        let builder = builder.accept_share(accept).max_refused(Ratio::ONE);
        builder
            .time_window(Duration::from_secs(10))
            .build()
            .unwrap()
    }

    /// By way of the words that the way in reads.
    fn share(policy: &Policy, counts: [f64; 2]) -> f64 {
        let past = Past::new(policy, Tick::ZERO, [0; 3]);
        Odds::from_words(&Odds::of(policy).to_words(&past)).share(counts)
    }

    fn whole(past: &Past, policy: &Policy, sums: Sums) -> [f64; 2] {
        all(&Odds::of(policy).to_words(past), sums)
    }

    #[track_caller]
    fn assert_close(share: f64, expected: f64) {
        assert!((share - expected).abs() < 1e-4, "{share}, not {expected}");
    }

    #[test]
    fn the_client_throttle_follows_the_book() {
        let k2 = policy(Kind::ClientThrottle, 0.5);
        assert_close(share(&k2, [100.0, 40.0]), 0.19802);
        assert_close(share(&k2, [100.0, 50.0]), 0.0);
        assert_close(share(&k2, [10.0, 0.0]), 0.90909);
        let k11 = policy(Kind::ClientThrottle, 1.0 / 1.1);
        assert_close(share(&k11, [100.0, 40.0]), 0.55446);
        // Capped unless the policy says otherwise, so that probes never stop.
        let capped = Policy::builder()
            .kind(Kind::ClientThrottle)
            .build()
            .unwrap();
        assert_close(share(&capped, [1e9, 0.0]), 0.75);
        assert_close(share(&capped, [19.0, 0.0]), 0.0);
    }

    #[test]
    fn admission_control_follows_envoy() {
        let mild = policy(Kind::AdmissionControl { aggression: 1 }, 0.95);
        assert_close(share(&mild, [100.0, 80.0]), 0.15633);
        assert_close(share(&mild, [100.0, 95.0]), 0.0);
        let harsh = policy(Kind::AdmissionControl { aggression: 2 }, 0.95);
        assert_close(share(&harsh, [100.0, 80.0]), 0.39539);
        let capped = harsh.to_builder().max_refused(Ratio::percent(80));
        assert_close(share(&capped.build().unwrap(), [100.0, 0.0]), 0.80);
    }

    #[test]
    fn the_average_follows_finagle() {
        let ewma = policy(Kind::Ewma, 0.5);
        assert_close(share(&ewma, [100.0, 20.0]), 0.6);
        assert_close(share(&ewma, [100.0, 50.0]), 0.0);
    }

    #[test]
    fn the_past_slides_or_fades() {
        for (kind, kept) in [
            (Kind::ClientThrottle, 100.0),
            (Kind::Ewma, 100.0 * (-0.5_f64).exp()),
        ] {
            let policy = policy(kind, 0.5);
            let mut past = Past::new(&policy, Tick::ZERO, [7, 0, 7]);
            let second = |n| Tick::ZERO.saturating_add(Duration::from_secs(n));
            past.advance(&policy, second(5), [107, 0, 57]);
            let [calls, good] = whole(&past, &policy, [117, 0, 57]);
            assert_close(calls, kept + 10.0);
            assert_close(good, kept / 2.0);
            past.advance(&policy, second(50), [117, 0, 57]);
            let [calls, _] = whole(&past, &policy, [117, 0, 57]);
            assert!(
                calls < if kind == Kind::Ewma { 2.0 } else { 0.1 },
                "{calls}"
            );
        }
    }
}
