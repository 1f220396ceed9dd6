use std::{sync::Arc, time::Duration};

use loom::thread;

use super::model;
use crate::{
    clock::Tick,
    kernel::{
        gcra::{Answer, Decision, Gcra, Quota},
        lease::Leases,
    },
};

const NOW: Tick = Tick::from_nanos(1000);

fn quota(period: u64, burst: u32) -> Quota {
    Quota::new(1, Duration::from_nanos(period), burst, Duration::ZERO).unwrap()
}

/// A bucket that has its units, for loom cannot tell threads that wait for each other
/// from a live-lock; and one slot for each of two threads.
fn leased(size: u32, quota: &Quota) -> Arc<(Gcra, Leases)> {
    let (gcra, leases) = (Gcra::new(), Leases::with_slots(2));
    leases.set(size);
    let first = gcra.admit(quota, NOW, 1, Duration::ZERO);
    assert!(matches!(first, Decision::Admit(_)));
    Arc::new((gcra, leases))
}

/// As a throttle does.
fn take(leased: &(Gcra, Leases), thread: usize, quota: &Quota) -> u32 {
    let (gcra, leases) = leased;
    if leases.spend(thread, 1) {
        return 1;
    }
    match leases.ask_from(|| thread, gcra, quota, NOW, 1) {
        Answer::Admit => 1,
        Answer::Late(_) => 0,
        Answer::Unsure => match gcra.admit(quota, NOW, 1, Duration::ZERO) {
            Decision::Admit(_) => 1,
            _ => 0,
        },
    }
}

/// Two threads draw slices of two from the four that are left: none is granted twice.
#[test]
fn loom_lease_no_oversell() {
    model(3, || {
        let leased = leased(1, &quota(10, 5));
        let other = {
            let leased = Arc::clone(&leased);
            thread::spawn(move || (0..3).map(|_| take(&leased, 1, &quota(10, 5))).sum::<u32>())
        };
        let mine: u32 = (0..3).map(|_| take(&leased, 0, &quota(10, 5))).sum();
        let theirs = other.join().unwrap();
        let held = u32::try_from(leased.1.held()).unwrap();
        assert_eq!(mine + theirs + held, 4);
    });
}

/// An update beside a thread that draws and spends: afterwards nobody holds what was
/// drawn from the bucket before, and under the new quota all is counted.
#[test]
fn loom_lease_update_vs_draw() {
    model(3, || {
        let (old, new) = (quota(10, 6), quota(700, 2));
        let leased = leased(2, &old);
        let other = {
            let leased = Arc::clone(&leased);
            thread::spawn(move || take(&leased, 1, &old) + take(&leased, 1, &old))
        };
        leased.0.change(&old, &new, NOW, || {});
        leased.1.set(0);
        // What the other has drawn meanwhile is void.
        assert_eq!(leased.1.held(), 0);
        let mine = take(&leased, 0, &new) + take(&leased, 0, &new) + take(&leased, 0, &new);
        assert!(mine <= 2, "{mine} of a burst of two");
        other.join().unwrap();
        assert_eq!(leased.1.held(), 0);
        assert!(!leased.1.spend(1, 1));
    });
}
