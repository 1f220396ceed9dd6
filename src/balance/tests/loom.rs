//! What two threads write, in every interleaving.

use std::time::Duration;

use loom::sync::Arc;
use loom::thread;

use crate::balance::due::Due;
use crate::balance::pick::latency::ByLoad;
use crate::balance::pick::peak::{Decay, Peak};
use crate::balance::pick::pool::{Leaver, Pool, Probe};
use crate::balance::tally::Tally;
use crate::balance::trouble::Trouble;
use crate::clock::Tick;

fn second(n: u64) -> Tick {
    Tick::from_nanos(n * 1_000_000_000)
}

#[test]
fn loom_balance_one_looks_after_the_endpoints() {
    loom::model(|| {
        let due = Arc::new(Due::new(second(10)));
        let claim = |now| {
            let due = Arc::clone(&due);
            thread::spawn(move || due.claim(second(now), Duration::from_secs(10)))
        };
        let others = [claim(10), claim(11)];
        due.bring_forward(second(15));
        let claims = others.map(|other| u32::from(other.join().unwrap()));
        // Brought forward between the two claims, it is not due for the second.
        assert_eq!(claims.iter().sum::<u32>(), 1);
        let next = due.at() <= second(15) || due.at() > second(19) && due.at() <= second(21);
        assert!(next, "somebody comes next");
    });
}

/// Neither a peak nor a call is lost: whoever was first, the average is one that the
/// calls could have led to one after the other.
#[test]
fn loom_balance_no_peak_is_lost() {
    loom::model(|| {
        let decay = Decay::new(Duration::from_secs(10));
        let peak = Arc::new(Peak::default());
        peak.record(decay, second(10), 100);
        let other = {
            let peak = Arc::clone(&peak);
            thread::spawn(move || peak.record(decay, second(20), 150))
        };
        peak.record(decay, second(20), 40);
        other.join().unwrap();
        let cost = peak.cost(decay, second(20));
        assert!((150.0 * 0.36..=150.0).contains(&cost), "{cost}");
        // Read at any moment, it is never taken for much less than it was.
        assert!(cost >= 40.0);
    });
}

#[test]
fn loom_balance_a_reader_never_sees_a_peak_as_old() {
    loom::model(|| {
        let decay = Decay::new(Duration::from_secs(1));
        let peak = Arc::new(Peak::default());
        peak.record(decay, second(1), 100);
        let other = {
            let peak = Arc::clone(&peak);
            thread::spawn(move || peak.record(decay, second(100), 1_000))
        };
        // 99 time constants later nothing is left of 100, and all of 1,000.
        let cost = peak.cost(decay, second(100));
        assert!(cost < 1e-6 || cost >= 100.0, "{cost}");
        other.join().unwrap();
        assert!(peak.cost(decay, second(100)) == 1_000.0);
    });
}

#[test]
fn loom_balance_every_failure_of_a_row_has_its_number() {
    loom::model(|| {
        let trouble = Arc::new(Trouble::default());
        let others = [(); 2].map(|()| {
            let trouble = Arc::clone(&trouble);
            thread::spawn(move || trouble.failed())
        });
        let mut rows = others.map(|other| other.join().unwrap());
        rows.sort_unstable();
        assert_eq!(rows, [1, 2]);
        trouble.succeeded();
        assert_eq!(trouble.failed(), 1);
    });
}

#[test]
fn loom_balance_ends_are_counted_once() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let other = {
            let tally = Arc::clone(&tally);
            thread::spawn(move || {
                tally.began();
                tally.succeeded();
            })
        };
        tally.began();
        assert!((1..=2).contains(&tally.in_flight()));
        tally.ended();
        other.join().unwrap();
        assert_eq!((tally.in_flight(), tally.successes()), (0, 1));
    });
}

#[test]
fn loom_balance_a_pool_that_is_shared_holds_nothing_but_probes() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(1);
    builder.check(|| {
        let pool = Arc::new(Pool::default());
        let probe = |place: u32| Probe {
            place,
            in_flight: place,
            latency: place + 1,
        };
        let other = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                pool.learn(probe(1), 2, second(1));
                pool.leave(Leaver::Worst, second(1), 1);
            })
        };
        pool.learn(probe(2), 2, second(1));
        let best = pool.best(second(1), 1, 0, |_| false);
        other.join().unwrap();
        assert!(matches!(best, None | Some(1 | 2)), "{best:?}");
    });
}

#[test]
fn loom_balance_a_median_is_moved_by_each() {
    loom::model(|| {
        let by_load = Arc::new(ByLoad::default());
        by_load.record(1, 1 << 20);
        let before = by_load.estimate(1);
        let other = {
            let by_load = Arc::clone(&by_load);
            thread::spawn(move || by_load.record(1, 1 << 30))
        };
        by_load.record(1, 1 << 30);
        other.join().unwrap();
        assert_eq!(by_load.estimate(1), before + 2 * 16);
    });
}
