use std::{sync::Arc, time::Duration};

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::model;
use crate::{
    clock::Tick,
    kernel::gcra::{Answer, Decision, Gcra, Quota, Reservation},
};

const NOW: Tick = Tick::from_nanos(1000);

/// One permit per ten nanoseconds; with patience for one.
fn quota(period: u64, burst: u32) -> Quota {
    let nanos = Duration::from_nanos;
    Quota::new(1, nanos(period), burst, nanos(period)).unwrap()
}

/// As the layer does: the short way first, the long one if that is unsure.
fn ask(gcra: &Gcra, quota: &Quota) -> Decision {
    match gcra.ask(quota, NOW, 1) {
        Answer::Admit => Decision::Admit(gcra.level(quota, NOW).unwrap()),
        Answer::Late(by) => Decision::Wait {
            wait: Duration::from_nanos(by),
            reserved: None,
            level: gcra.level(quota, NOW).unwrap(),
        },
        Answer::Unsure => gcra.admit(quota, NOW, 1, Duration::ZERO),
    }
}

fn take(gcra: &Gcra, quota: &Quota) -> bool {
    match ask(gcra, quota) {
        Decision::Admit(_) => true,
        Decision::Wait { wait, reserved, .. } => {
            // With the units of one quota and the word of another it would be something else.
            assert_eq!(
                wait,
                quota.reset(gcra.level(quota, NOW).unwrap(), NOW) / quota.burst()
            );
            assert_eq!(reserved, None);
            false
        }
        other => panic!("{other:?}"),
    }
}

fn reserve(gcra: &Gcra, quota: &Quota) -> Option<(Duration, Reservation)> {
    match gcra.admit(quota, NOW, 1, Duration::MAX) {
        Decision::Wait { wait, reserved, .. } => Some((wait, reserved?)),
        other => panic!("{other:?}"),
    }
}

/// Fault 31: three takers, two tokens. The bucket has its units already: loom cannot tell two
/// threads that wait for a third from a live-lock.
#[test]
fn loom_gcra_no_oversell() {
    model(2, || {
        let gcra = Arc::new(Gcra::new());
        assert!(take(&gcra, &quota(10, 3)));
        let others = [0; 2].map(|_| {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || take_any(&gcra, &quota(10, 3)))
        });
        let mine = take_any(&gcra, &quota(10, 3));
        let granted = others.map(|other| other.join().unwrap());
        let granted = granted.iter().filter(|granted| **granted).count() + usize::from(mine);
        assert_eq!(granted, 2);
    });
}

/// Two takers of the one token of a fresh bucket.
#[test]
fn loom_gcra_fresh() {
    model(3, || {
        let gcra = Arc::new(Gcra::new());
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || take_any(&gcra, &quota(10, 1)))
        };
        let mine = take_any(&gcra, &quota(10, 1));
        assert_ne!(mine, other.join().unwrap());
    });
}

/// A fresh bucket and one that changes its units while others take from it.
#[test]
fn loom_gcra_carry_over_vs_admit() {
    model(3, || {
        let gcra = Arc::new(Gcra::new());
        assert!(take(&gcra, &quota(10, 3)));
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || {
                let quota = quota(700, 3);
                usize::from(take_any(&gcra, &quota)) + usize::from(take_any(&gcra, &quota))
            })
        };
        let mine = usize::from(take_any(&gcra, &quota(10, 3)));
        assert_eq!(other.join().unwrap() + mine, 2, "one of three was gone");
        // Whatever the units are now, all three are missing.
        assert!(!take(&gcra, &quota(700, 3)));
    });
}

fn take_any(gcra: &Gcra, quota: &Quota) -> bool {
    matches!(ask(gcra, quota), Decision::Admit(_))
}

/// Refused under the new quota, nobody is told the units of the old one.
#[test]
fn loom_gcra_carry_over_vs_refusal() {
    model(3, || {
        let gcra = Arc::new(Gcra::new());
        assert!(take(&gcra, &quota(10, 1)));
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || take(&gcra, &quota(700, 1)))
        };
        assert!(!take(&gcra, &quota(700, 1)));
        assert!(!other.join().unwrap());
    });
}

/// A bucket is retired or used, never both.
#[test]
fn loom_gcra_retire_vs_admit() {
    // Also under a quota that the bucket has not seen.
    for theirs in [10, 700] {
        model(3, move || {
            let gcra = Arc::new(Gcra::new());
            assert!(gcra.level(&quota(10, 1), NOW).is_some());
            let taker = {
                let gcra = Arc::clone(&gcra);
                thread::spawn(move || ask(&gcra, &quota(theirs, 1)))
            };
            let retired = gcra.try_retire(&quota(10, 1), NOW);
            match taker.join().unwrap() {
                Decision::Admit(_) => assert!(!retired),
                Decision::Dead => assert!(retired),
                other => panic!("{other:?}"),
            }
            assert_eq!(gcra.level(&quota(10, 1), NOW).is_none(), retired);
        });
    }
}

/// A place is given back, or somebody is behind it already.
#[test]
fn loom_gcra_cancel_vs_reserve() {
    model(3, || {
        let gcra = Arc::new(Gcra::new());
        let quota = Quota::new(1, Duration::from_nanos(10), 1, Duration::from_nanos(20)).unwrap();
        assert!(take(&gcra, &quota));
        let (first, reservation) = reserve(&gcra, &quota).unwrap();
        assert_eq!(first, Duration::from_nanos(10));
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || reserve(&gcra, &quota).unwrap().0.as_nanos())
        };
        gcra.cancel(reservation);
        let other = other.join().unwrap();
        let next = reserve(&gcra, &quota).map(|(wait, _)| wait.as_nanos());
        match (other, next) {
            // Before the cancellation, or after it.
            (20, None) | (10, Some(20)) => {}
            wrong => panic!("{wrong:?}"),
        }
    });
}

/// A quota that changes beside a taker of the old one: what is gone is gone.
#[test]
fn loom_gcra_change_vs_admit() {
    model(3, || {
        let gcra = Arc::new(Gcra::new());
        assert!(take(&gcra, &quota(10, 2)));
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || take_any(&gcra, &quota(10, 2)))
        };
        gcra.change(&quota(10, 2), &quota(700, 2), NOW, || {});
        let mine = take_any(&gcra, &quota(700, 2));
        assert_ne!(other.join().unwrap(), mine, "there was one");
        assert!(!take(&gcra, &quota(700, 2)));
    });
}

/// A taker whose quota was replaced twice while it looked: a full bucket looks alike
/// under all quotas, but its word must not, or a time in the units of one would be
/// left in a bucket of another.
#[test]
fn loom_gcra_two_changes_vs_ask() {
    // Eight units a nanosecond, and two.
    let nanos = Duration::from_nanos;
    let fine = move |burst| Quota::new(7, nanos(100), burst, Duration::ZERO).unwrap();
    let coarse = move |burst| Quota::new(1, nanos(100), burst, Duration::ZERO).unwrap();
    model(3, move || {
        let gcra = Arc::new(Gcra::new());
        // Full, and told so by a change: what it lacked before is long over.
        assert!(take(&gcra, &fine(8)));
        let later = NOW.saturating_add(NOW.saturating_since(Tick::ZERO));
        gcra.change(&fine(8), &fine(7), later, || {});
        let other = {
            let gcra = Arc::clone(&gcra);
            thread::spawn(move || gcra.ask(&fine(7), later, 1))
        };
        gcra.change(&fine(7), &coarse(2), later, || {});
        gcra.change(&coarse(2), &coarse(1), later, || {});
        let _ = other.join().unwrap();
        let level = gcra.level(&coarse(1), later).unwrap();
        let reset = coarse(1).reset(level, later);
        assert!(reset <= nanos(200), "full again after {reset:?}");
    });
}

/// Two buckets of one key: as in `throttle::buckets`, where the second takes over from the
/// first once somebody wants more.
struct TwoBuckets {
    over: AtomicBool,
    plain: Mutex<Arc<Gcra>>,
    next: Mutex<Option<Arc<Gcra>>>,
}

impl TwoBuckets {
    fn admit_plain(&self, quota: &Quota) -> Option<bool> {
        if self.over.load(Ordering::Acquire) {
            return None;
        }
        let gcra = Arc::clone(&self.plain.lock().unwrap());
        match gcra.admit(quota, NOW, 1, Duration::ZERO) {
            Decision::Dead => {}
            decision => return Some(matches!(decision, Decision::Admit(_))),
        }
        let mut plain = self.plain.lock().unwrap();
        *plain = Arc::new(Gcra::new());
        if self.over.load(Ordering::Acquire) {
            return None;
        }
        Some(take(&plain, quota))
    }

    fn admit(&self, quota: &Quota) -> bool {
        self.admit_plain(quota).unwrap_or_else(|| {
            let mut next = self.next.lock().unwrap();
            let gcra = next.get_or_insert_with(|| {
                let gcra = Gcra::new();
                gcra.succeed(&self.plain.lock().unwrap());
                Arc::new(gcra)
            });
            take(gcra, quota)
        })
    }
}

/// One who has not heard of the takeover draws while another takes over, and one permit is
/// left: it is given once.
#[test]
fn loom_gcra_takeover() {
    model(3, || {
        let gcra = Gcra::new();
        assert!(take(&gcra, &quota(10, 2)));
        let buckets = Arc::new(TwoBuckets {
            over: AtomicBool::new(false),
            plain: Mutex::new(Arc::new(gcra)),
            next: Mutex::new(None),
        });
        let other = {
            let buckets = Arc::clone(&buckets);
            thread::spawn(move || {
                buckets.over.store(true, Ordering::Release);
                buckets.admit(&quota(10, 2))
            })
        };
        let mine = buckets.admit(&quota(10, 2));
        let granted = [mine, other.join().unwrap(), buckets.admit(&quota(10, 2))];
        assert_eq!(granted.iter().filter(|granted| **granted).count(), 1);
    });
}
