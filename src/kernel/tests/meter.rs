//! The limiters against naive models: lists of what was granted.

use std::time::Duration;

use proptest::prelude::*;

use super::Random;
use super::model::at;
use crate::kernel::gcra::Quota;
use crate::kernel::log::Recent;
use crate::kernel::meter::{Look, Measure, Meter, Taken};
use crate::kernel::sync::{AtomicU64, Ordering};
use crate::kernel::tally::Window;
use crate::kernel::warm::{Ramp, Warm};

/// What was granted: when, at what cost.
type Grants = Vec<(u64, u64)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Sliding,
    Log,
    /// Not by this definition: see `gcra`.
    Bucket,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Fixed, Kind::Sliding, Kind::Log];

impl Kind {
    pub(super) fn measure(self, permits: u32, width: u64) -> Measure {
        match self {
            Self::Fixed => Measure::Window(Window::new(permits, width, false, 0).unwrap()),
            Self::Sliding => Measure::Window(Window::new(permits, width, true, 0).unwrap()),
            Self::Log => Measure::Log(Recent::new(permits, width).unwrap()),
            Self::Bucket => {
                let width = Duration::from_nanos(width);
                let quota = Quota::new(permits, width, permits, Duration::ZERO);
                Measure::Bucket(quota.unwrap())
            }
        }
    }

    /// Whether `cost` fits at `now`, by the definition of the kind; a log keeps times to
    /// within `slack`.
    fn fits(
        self,
        grants: &Grants,
        permits: u64,
        width: u64,
        now: u64,
        cost: u64,
        slack: u64,
    ) -> bool {
        let sum = |from: u64, to: u64| -> u64 {
            let of = grants.iter().filter(|(at, _)| (from..to).contains(at));
            of.map(|(_, cost)| cost).sum()
        };
        let begin = now / width * width;
        let current = sum(begin, u64::MAX);
        match self {
            Self::Fixed => current + cost <= permits,
            Self::Sliding => {
                let before = u128::from(sum(begin.saturating_sub(width), begin));
                let overlap = u128::from(begin + width - now);
                let whole = u128::from(width);
                before * overlap + u128::from(current + cost) * whole <= u128::from(permits) * whole
            }
            Self::Log => {
                let from = (now + 1).saturating_sub(width).saturating_sub(slack);
                let from = if now < width + slack { 0 } else { from };
                sum(from, u64::MAX) + cost <= permits
            }
            Self::Bucket => true,
        }
    }

    /// The most in any time of this length.
    fn most(self, permits: u64, width: u64, length: u64) -> u64 {
        match self {
            Self::Fixed => permits * (length.div_ceil(width) + 1),
            Self::Sliding => permits + permits * length / width,
            Self::Log => permits * (length / width + 1),
            // A time is kept to within a nanosecond.
            Self::Bucket => permits + permits * (length + 1) / width,
        }
    }
}

/// In every interval no more than the kind allows. Each grant with the times between
/// which it was decided.
fn check(grants: &mut [(u64, u64, u64)], most: impl Fn(u64) -> u64) -> Result<(), String> {
    grants.sort_unstable_by_key(|(_, after, _)| *after);
    for &(from, ..) in grants.iter() {
        let mut sum = 0;
        for &(_, to, cost) in grants.iter().filter(|(before, ..)| *before >= from) {
            sum += cost;
            if sum > most(to - from) {
                return Err(format!("{sum} from {from} to {to}"));
            }
        }
    }
    Ok(())
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(KINDS.to_vec())
}

/// Short and long, odd and even.
fn widths() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(1_000_000_000),
        Just(60_000_000_000),
        (20..40_u32).prop_flat_map(|bits| 1 << bits..2_u64 << bits),
    ]
}

proptest! {
    /// Fault 48: each kind grants what its definition says, and in every interval no
    /// more than its bound; its hint is exact.
    #[test]
    fn fault_048_each_kind_is_as_defined(
        kind in kinds(),
        permits in 1..40_u32,
        width in widths(),
        start in (0..60_u32).prop_flat_map(|bits| 0..=1_u64 << bits),
        steps in prop::collection::vec((0..5_u32, any::<u64>(), any::<u32>()), 1..120),
    ) {
        let measure = kind.measure(permits, width);
        let meter = Meter::new(&measure);
        let meter = meter.view();
        let all = u64::from(permits);
        let slack = width / 2048 + 1;
        let mut now = start;
        let mut grants = Grants::new();
        for (step, far, cost) in steps {
            now += match step {
                0 => 0,
                1 => far % (width / all + 2),
                2 => far % (width * 2),
                // To the end of a window, and just before.
                3 => width - now % width - far % 2,
                _ => far % (width / 8 + 1),
            };
            let cost = 1 + cost % if far % 5 == 0 { permits + 1 } else { permits.min(3) };
            let units = u64::from(cost);
            let look = meter.look(&measure, at(now), cost);
            let taken = meter.take(&measure, at(now), cost);
            prop_assert_eq!(look, taken.err().unwrap_or(Look::Free));
            match look {
                Look::Free => {
                    let fits = kind.fits(&grants, all, width, now, units, 0);
                    prop_assert!(fits, "too early at {}", now);
                    grants.push((now, units));
                }
                Look::Late(wait) => {
                    let fits = kind.fits(&grants, all, width, now, units, slack);
                    prop_assert!(!fits, "too late at {}", now);
                    prop_assert_eq!(meter.look(&measure, at(now + wait), cost), Look::Free);
                    let early = meter.look(&measure, at(now + wait - 1), cost);
                    prop_assert_eq!(early, Look::Late(1), "after {}", wait);
                }
                Look::Never => prop_assert!(cost > permits),
                Look::Dead => prop_assert!(false, "dead"),
            }
            // So much may come, and no more; and after that time nothing counts.
            let (left, reset) = meter.left(&measure, at(now));
            let fits = |cost| meter.look(&measure, at(now), cost) == Look::Free;
            prop_assert!(left == 0 || fits(left), "{} are not left", left);
            prop_assert!(!fits(left + 1), "more than {} are left", left);
            prop_assert_eq!(meter.left(&measure, at(now + reset)).0, permits);
        }
        let mut grants: Vec<_> = grants.into_iter().map(|(at, cost)| (at, at, cost)).collect();
        prop_assert_eq!(check(&mut grants, |length| kind.most(all, width, length)), Ok(()));
    }

    /// What is given back was never there: what was kept stays within the bound. And
    /// what is given back at once can be taken again, but for a log.
    #[test]
    fn a_refund_mints_nothing(
        kind in prop_oneof![Just(Kind::Bucket), kinds()],
        permits in 1..20_u32,
        width in widths(),
        steps in prop::collection::vec((0..4_u32, any::<u64>(), any::<u32>()), 1..150),
    ) {
        let measure = kind.measure(permits, width);
        let meter = Meter::new(&measure);
        let meter = meter.view();
        let mut now = 1 << 40;
        let mut kept: Vec<(u64, u64, Taken)> = Vec::new();
        for (step, far, cost) in steps {
            let cost = 1 + cost % permits.min(4);
            match step {
                0 => now += far % width,
                1 if !kept.is_empty() => {
                    let one = usize::try_from(far % kept.len() as u64).unwrap();
                    let (.., taken) = kept.swap_remove(one);
                    if kind == Kind::Log {
                        continue;
                    }
                    meter.refund(&measure, &taken, || at(now));
                }
                2 => if let Ok(taken) = meter.take(&measure, at(now), cost) {
                    let before = meter.left(&measure, at(now));
                    meter.refund(&measure, &taken, || at(now));
                    let left = meter.left(&measure, at(now)).0;
                    prop_assert_eq!(left >= before.0 + cost, kind != Kind::Log);
                },
                _ => {}
            }
            if let Ok(taken) = meter.take(&measure, at(now), cost) {
                kept.push((now, cost.into(), taken));
            }
        }
        let mut kept: Vec<_> = kept.into_iter().map(|(at, cost, _)| (at, at, cost)).collect();
        let most = |length| kind.most(permits.into(), width, length);
        prop_assert_eq!(check(&mut kept, most), Ok(()));
    }

    /// Changes while time stands still give nothing: there and back, to another width,
    /// to more or fewer permits.
    #[test]
    fn fault_028_changes_mint_nothing(
        sliding in any::<bool>(),
        first in 1..100_u32,
        changes in prop::collection::vec((any::<bool>(), 20..40_u32, 1..100_u32, 0..20_u32), 0..8),
        taken in 0..100_u32,
        now in (1_u64 << 42)..(1 << 50),
    ) {
        let window = |sliding, bits, permits| {
            Measure::Window(Window::new(permits, (1_u64 << bits) + 12_345, sliding, 0).unwrap())
        };
        let meter = Meter::new(&window(sliding, 30, first));
        let take = |measure: &Measure, most: u32| -> u32 {
            let take = |_: &u32| meter.view().take(measure, at(now), 1).is_ok();
            u32::try_from((0..most).take_while(take).count()).unwrap()
        };
        let mut granted = take(&window(sliding, 30, first), taken);
        let mut most = first;
        for (sliding, bits, permits, taken) in changes {
            granted += take(&window(sliding, bits, permits), taken);
            most = most.max(permits);
            prop_assert!(granted <= most, "{granted} of {most}");
        }
        granted += take(&window(sliding, 30, first), 200);
        prop_assert!(granted <= most, "{granted} of {most}");
    }

    /// A rate that warms up, against Guava's formulas.
    #[test]
    fn a_rate_warms_up_as_guavas(
        permits in 1..100_000_u32,
        warm_up in 1..60_000_u64,
        steps in prop::collection::vec((0..4_u32, any::<u64>(), 1..5_u32), 1..200),
    ) {
        let per = 1_000_000_000;
        let warm_up = warm_up * 1_000_000;
        let ramp = Ramp::new(permits, per, 5, warm_up, 0).unwrap();
        let warm = Warm::default();
        #[allow(clippy::cast_precision_loss)]
        let float = |n: u64| n as f64;
        let stable = float(per) / f64::from(permits);
        let most = float(warm_up) / stable;
        let threshold = most / 2.0;
        let slope = 2.0 * stable / (most - threshold);
        // As after a long pause.
        let mut stored = most;
        let mut now = 1_u64 << 50;
        let mut next = now;
        let mut granted: u64 = 0;
        for (step, far, cost) in steps {
            let pause = match step {
                0 => 0,
                1 => far % (warm_up * 2),
                _ => far % (per / u64::from(permits) + 2),
            };
            now = next + pause;
            #[allow(clippy::cast_precision_loss)]
            let fresh = pause as f64 / stable;
            stored = (stored + fresh).min(most);
            prop_assert!(warm.take(&ramp, at(now), cost).is_ok());
            granted += u64::from(cost);
            let (spend, cost) = (f64::from(cost).min(stored), f64::from(cost));
            let above = (stored - threshold).max(0.0).min(spend);
            let interval = |above: f64| stable + above * slope;
            let top = (stored - threshold).max(0.0);
            let wait = above * f64::midpoint(interval(top), interval(top - above))
                + (cost - above) * stable;
            stored -= spend;
            let (_, told) = warm.left(at(now));
            let off = (float(told) - wait).abs();
            prop_assert!(off <= 6.0 + wait * 1e-6 * f64::from(u32::try_from(granted).unwrap()),
                "{} instead of {}", told, wait);
            prop_assert!(told > 0 && warm.take(&ramp, at(now + told - 1), 1).is_err());
            next = now + told;
        }
    }
}

/// Fault 48: sixteen threads, each with its own idea of the time.
#[test]
fn fault_048_threads_never_oversell_any_kind() {
    const WIDTH: u64 = 1 << 20;
    let ramp = Ramp::new(50, WIDTH, 2, 3 * WIDTH, 0).map(Measure::Warm);
    let warm = (ramp.unwrap(), None);
    let kinds = KINDS.into_iter().chain([Kind::Bucket]);
    let kinds = kinds.map(|kind| (kind.measure(50, WIDTH), Some(kind)));
    for (measure, kind) in kinds.chain([warm]) {
        let meter = Meter::new(&measure);
        let clock = AtomicU64::new(1 << 40);
        let mut grants: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|thread| {
                    let (meter, clock) = (meter.view(), &clock);
                    scope.spawn(move || {
                        let mut random = Random::new(thread);
                        let mut mine = Vec::new();
                        for _ in 0..600 {
                            let step = u64::from(random.below(2_000));
                            let now = clock.fetch_add(step, Ordering::AcqRel);
                            let cost = 1 + random.below(2);
                            if let Ok(taken) = meter.take(&measure, at(now), cost) {
                                if random.below(4) == 0 && taken != Taken::Log {
                                    meter.refund(&measure, &taken, || {
                                        at(clock.load(Ordering::Acquire))
                                    });
                                } else {
                                    mine.push((
                                        now,
                                        clock.load(Ordering::Acquire),
                                        u64::from(cost),
                                    ));
                                }
                            }
                        }
                        mine
                    })
                })
                .collect();
            let threads = threads.into_iter();
            threads.flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(grants.len() > 200, "{measure:?}: {}", grants.len());
        let most = |length: u64| match kind {
            Some(kind) => kind.most(50, WIDTH, length),
            None => 50 * length / WIDTH + 2,
        };
        assert_eq!(check(&mut grants, most), Ok(()), "{measure:?}");
    }
}
