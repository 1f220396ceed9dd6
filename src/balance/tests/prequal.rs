//! Prequal's pool.

use proptest::prelude::*;

use super::seconds;
use crate::balance::pick::pool::{Leaver, Pool, Probe, SIZE, uses};
use crate::clock::Tick;

const SECOND: u64 = 1_000_000_000;

fn probe((place, in_flight, latency): (u32, u32, u32)) -> Probe {
    Probe {
        place,
        in_flight,
        latency,
    }
}

/// A pool with this threshold and these probes, made one after the other.
fn pool(threshold: u32, probes: &[(u32, u32, u32)], uses: u64) -> Pool {
    let pool = Pool::default();
    while pool.threshold() < u64::from(threshold) {
        pool.observe(u32::MAX, 0.84, 0.0);
    }
    for (at, probed) in (0..).zip(probes) {
        pool.learn(probe(*probed), uses, Tick::from_nanos(at));
    }
    pool
}

fn best(pool: &Pool) -> Option<u32> {
    pool.best(seconds(0.5), SECOND, 0, |_| false)
}

const PAPER: [(u32, u32, u32); 4] = [(0, 1, 50), (1, 2, 20), (2, 4, 10), (3, 9, 5)];

#[test]
fn the_fastest_of_the_cold_is_best_and_the_fullest_of_the_hot_worst() {
    let pool = pool(4, &PAPER, 1);
    pool.leave(Leaver::Worst, seconds(0.5), SECOND);
    // Each is used once: 2 first, and never 3, which has gone.
    let order: Vec<_> = (0..4).map(|_| best(&pool)).collect();
    assert_eq!(order, [Some(2), Some(1), None, None]);
}

#[test]
fn without_anybody_cold_the_least_in_flight_is_best() {
    let pool = pool(0, &PAPER, 1);
    assert_eq!(best(&pool), Some(0));
    assert_eq!(best(&pool), Some(1));
}

#[test]
fn the_slowest_is_worst_where_nobody_is_hot() {
    let pool = pool(100, &PAPER, 9);
    pool.leave(Leaver::Worst, seconds(0.5), SECOND);
    pool.leave(Leaver::Oldest, seconds(0.5), SECOND);
    // 0 has gone, and then 1, the oldest of the rest: 3 is the fastest until its use
    // has made it hot, which it never becomes here.
    let used: Vec<_> = (0..3).map(|_| best(&pool)).collect();
    assert_eq!(used, [Some(3); 3]);
}

#[test]
fn whoever_is_chosen_has_more_to_do() {
    let pool = pool(4, &[(0, 4, 10), (1, 0, 90)], 9);
    // The first use makes it hot.
    assert_eq!([best(&pool), best(&pool)], [Some(0), Some(1)]);
}

#[test]
fn what_is_old_is_forgotten() {
    let pool = pool(4, &PAPER, 9);
    let at = |seconds: f64| pool.best(super::seconds(seconds), SECOND, 0, |_| false);
    assert_eq!(at(0.9), Some(2));
    pool.learn(probe((7, 0, 99)), 1, seconds(0.9));
    assert_eq!(at(1.5), None, "one is left, and one is no choice");
}

#[test]
fn a_suspect_is_the_last_resort() {
    let pool = pool(4, &PAPER, 9);
    let but = |good: u32| pool.best(seconds(0.5), SECOND, 0, |place| place != good);
    assert_eq!(but(3), Some(3));
    assert_eq!(but(99), Some(2));
}

#[test]
fn a_new_probe_replaces_that_of_the_same_endpoint_else_the_oldest() {
    let all: Vec<_> = (0..16).map(|place| (place, 1, 1_000 + place)).collect();
    let pool = pool(100, &all, 9);
    pool.learn(probe((5, 1, 900)), 9, seconds(0.1));
    assert_eq!(best(&pool), Some(5));
    pool.learn(probe((99, 1, 800)), 9, seconds(0.2));
    // 0 was the oldest, so 1 is the fastest of the first ones.
    assert_eq!(best(&pool), Some(99));
    let gone =
        |place: u32| pool.best(seconds(0.3), SECOND, 0, |other| other != place) != Some(place);
    assert!(gone(0) && !gone(1) && !gone(5) && !gone(99));
}

#[test]
fn probes_are_used_as_often_as_the_paper_says() {
    for (endpoints, expected) in [(50, 1.923), (100, 1.316), (1_000, 1.025)] {
        let uses = uses(endpoints, 3.0, 1.0);
        assert!((uses - expected).abs() < 5e-4, "{endpoints}: {uses}");
    }
    assert!(uses(24, 3.0, 1.0).is_infinite() && uses(0, 3.0, 1.0).is_infinite());
    assert!(uses(1_000_000, 1e9, 0.0) == 1.0);
}

#[test]
fn the_threshold_is_a_quantile() {
    let pool = Pool::default();
    let word = |place| crate::kernel::rng::unit(3, place);
    let mut above = 0_u32;
    for n in 0..40_000 {
        // 0 to 99, all as likely.
        let in_flight = (word(2 * n) * 100.0) as u32;
        pool.observe(in_flight, 0.84, word(2 * n + 1));
        above += u32::from(n >= 20_000 && u64::from(in_flight) > pool.threshold());
    }
    assert!(
        (2_600..3_800).contains(&above),
        "{above} of 20,000 were hot"
    );
}

proptest! {
    /// Against a list: the same best one by the same rule, whatever was learnt, used
    /// and dropped before.
    #[test]
    fn the_pool_is_a_list_of_the_latest(
        threshold in 0..6_u32,
        steps in prop::collection::vec((0..30_u32, 0..12_u32, 1..=65_536_u32, 1..4_u64, 0..4_u8), 1..80),
    ) {
        let pool = pool(threshold, &[], 1);
        // Place, in flight, latency, uses, stamp.
        let mut list: Vec<(u32, u32, u32, u64, u64)> = Vec::new();
        for (now, (place, in_flight, latency, uses, step)) in (0_u64..).zip(steps) {
            let now = now * SECOND / 20;
            let at = Tick::from_nanos(now);
            list.retain(|known| now - known.4 <= SECOND);
            let hot = |known: &(u32, u32, u32, u64, u64)| known.1 > threshold;
            match step {
                0 => {
                    pool.leave(Leaver::Oldest, at, SECOND);
                    if let Some(oldest) = list.iter().map(|known| known.4).min() {
                        list.retain(|known| known.4 != oldest);
                    }
                }
                1 => {
                    let chosen = pool.best(at, SECOND, now, |_| false);
                    let rank = |known: &(u32, u32, u32, u64, u64)| {
                        (hot(known), if hot(known) { known.1 } else { known.2 })
                    };
                    let least = list.iter().map(rank).min().filter(|_| list.len() >= 2);
                    let found = chosen.and_then(|place| list.iter_mut().find(|known| known.0 == place));
                    prop_assert_eq!(found.as_ref().map(|known| rank(known)), least);
                    if let Some(known) = found {
                        (known.1, known.3) = (known.1 + 1, known.3 - 1);
                        list.retain(|known| known.3 > 0);
                    }
                }
                _ => {
                    // Only to drop what is old: its use is counted.
                    if let Some(place) = pool.best(at, SECOND, 0, |_| false) {
                        let known = list.iter_mut().find(|known| known.0 == place);
                        let known = known.ok_or_else(|| TestCaseError::fail("unknown"))?;
                        (known.1, known.3) = (known.1 + 1, known.3 - 1);
                    }
                    list.retain(|known| known.3 > 0);
                    pool.learn(probe((place, in_flight, latency)), uses, at);
                    list.retain(|known| known.0 != place);
                    if list.len() == SIZE {
                        list.remove(0);
                    }
                    list.push((place, in_flight, latency, uses, now));
                }
            }
        }
    }
}
