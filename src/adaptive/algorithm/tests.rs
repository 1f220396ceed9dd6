//! Each rule against known steps, and what all of them must never do.

use std::time::Duration;

use proptest::prelude::*;

use super::baseline::At;
use super::*;

fn ms(n: f64) -> Duration {
    Duration::from_secs_f64(n / 1e3)
}

fn at(limit: f64, base: f64, mean: f64) -> At {
    At { limit, base, mean }
}

fn near(got: f64, wanted: f64) {
    assert!((got - wanted).abs() < 1e-9, "{got}, not {wanted}");
}

#[test]
fn vegas_takes_the_steps_of_the_original() {
    for (limit, mean, next) in [
        (20.0, 10.1, 26.0),
        (20.0, 11.0, 21.0),
        (20.0, 12.0, 20.0),
        (20.0, 20.0, 19.0),
        (150.0, 10.5, 150.0),
        (150.0, 11.0, 148.0),
    ] {
        near(vegas::step(at(limit, 10.0, mean)), next);
    }
    near(vegas::less(20.0), 19.0);
    near(vegas::less(150.0), 148.0);
}

#[test]
fn the_gradient_takes_the_steps_of_envoy() {
    for (mean, next) in [(20.0, 70), (10.0, 136), (50.0, 57), (5.0, 214)] {
        assert_eq!(whole(gradient::step(at(100.0, 10.0, mean))), next, "{mean}");
    }
}

#[test]
fn gradient2_takes_the_steps_of_the_original() {
    for (mean, next) in [(20.0, 95.8), (50.0, 90.8), (12.0, 100.8)] {
        near(gradient::step2(10.0, at(100.0, 10.0, mean)), next);
    }
}

#[test]
fn aimd_takes_the_steps_of_the_original() {
    let mut aimd = Aimd::default();
    let full = Window::new(100, ms(10.0));
    assert_eq!(aimd.update(&full.with_dropped(100)), 90);
    assert_eq!(aimd.update(&full), 101);
    assert_eq!(aimd.update(&full.with_in_flight(50)), 101);
    assert_eq!(aimd.update(&full.with_in_flight(49)), 100);
    assert_eq!(aimd.update(&Window::new(100, ms(5_001.0))), 90);
    // Before the first time it doubles.
    assert_eq!(Aimd::default().update(&full), 200);
}

fn all() -> [Box<dyn Algorithm>; 6] {
    [
        Box::new(Aimd::default()),
        Box::new(Vegas::default()),
        Box::new(Gradient::default()),
        Box::new(Gradient2::default()),
        Box::new(Guarded::new(Gradient2::default())),
        Box::new(Guarded::new(Aimd::default())),
    ]
}

/// A service that serves `capacity` at once, each in `alone` milliseconds.
fn queueing(limit: u32, capacity: f64, alone: f64) -> Window {
    let mean = alone * (f64::from(limit) / capacity).max(1.0);
    let mut window = Window::new(limit, ms(mean));
    window.samples = 1_000;
    window
}

#[test]
fn the_baseline_does_not_drift_up_under_overload_that_lasts() {
    for mut algorithm in all().into_iter().skip(1).take(4) {
        let (mut limit, mut highest, mut lowest) = (20, 0, u32::MAX);
        for turn in 0..10_000 {
            limit = algorithm.update(&queueing(limit, 100.0, 10.0)).min(10_000);
            if turn > 200 {
                (highest, lowest) = (highest.max(limit), lowest.min(limit));
            }
        }
        let name = algorithm.name();
        assert!(
            highest <= 200,
            "{name}: up to {highest} where 100 are enough"
        );
        assert!(
            lowest >= 55,
            "{name}: down to {lowest} where 100 are served"
        );
    }
}

#[test]
fn a_baseline_with_a_queue_in_it_is_found_out() {
    // It begins with a queue of nine times what is served at once.
    for mut algorithm in all().into_iter().skip(1).take(3) {
        let mut limit = 1_000;
        for _ in 0..300 {
            limit = algorithm.update(&queueing(limit, 100.0, 10.0)).min(1_000);
        }
        assert!(limit <= 200, "{}: {limit}", algorithm.name());
    }
}

#[test]
fn a_service_that_became_slower_is_no_queue() {
    for mut algorithm in all().into_iter().skip(1).take(4) {
        let mut limit = 20;
        let mut lowest = u32::MAX;
        for turn in 0..400 {
            let alone = if turn < 200 { 10.0 } else { 40.0 };
            limit = algorithm.update(&queueing(limit, 100.0, alone)).min(10_000);
            if turn > 300 {
                lowest = lowest.min(limit);
            }
        }
        assert!(lowest >= 55, "{}: down to {lowest}", algorithm.name());
    }
}

#[test]
fn a_guard_ends_growth_that_brings_nothing() {
    let mut bare = Aimd::default();
    let mut guarded = Guarded::new(Aimd::default());
    let (mut without, mut with) = (20, 20);
    for _ in 0..300 {
        without = bare.update(&queueing(without, 100.0, 10.0)).min(20_000);
        with = guarded.update(&queueing(with, 100.0, 10.0)).min(20_000);
    }
    assert!(without > 10_000, "{without}");
    assert!(with <= 400, "{with}");
}

fn windows() -> impl Strategy<Value = Window> {
    let time =
        prop_oneof![Just(0), 1..100_000_000_u64, any::<u64>()].prop_map(Duration::from_nanos);
    let count = || prop_oneof![0..1_000_u64, any::<u64>()];
    (time.clone(), time, any::<u32>(), count(), count(), count()).prop_map(
        |(span, mean, in_flight, ended, dropped, refused)| Window {
            limit: 0,
            span,
            samples: ended,
            mean,
            in_flight,
            ended,
            dropped,
            reached: refused,
            refused,
            queue_time: mean,
        },
    )
}

proptest! {
    /// Whatever is measured: a limit, one that overload never raises and that
    /// stays where nobody felt it.
    #[test]
    fn nothing_that_can_be_measured_breaks_a_rule(
        first in 1..=u32::MAX,
        ceiling in 1..=u32::MAX,
        measured in prop::collection::vec(windows(), 1..80),
    ) {
        for mut algorithm in all() {
            let mut limit = first.min(ceiling);
            let mut probed = limit;
            for window in &measured {
                let window = Window { limit, ..*window };
                let next = algorithm.update(&window).min(ceiling);
                prop_assert!(next >= 1);
                if window.is_overloaded() || !window.is_limited() {
                    // At most what a probe had taken off comes back.
                    let most = limit.max(probed);
                    prop_assert!(next <= most, "{}: {limit} to {next}", algorithm.name());
                }
                probed = probed.max(limit);
                limit = next;
            }
        }
    }

    /// Without a probe under way, a window in which nobody felt the limit
    /// leaves it as it is.
    #[test]
    fn who_is_idle_moves_nothing(limit in 1..10_000_u32, means in prop::collection::vec(1..1_000_000_u64, 1..200)) {
        for mut algorithm in all() {
            for mean in &means {
                let window = Window::new(limit, Duration::from_micros(*mean));
                let idle = window.with_in_flight(limit.div_ceil(2).saturating_sub(1));
                prop_assert_eq!(algorithm.update(&idle), limit);
            }
        }
    }
}
