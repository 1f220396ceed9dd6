//! The pickers on sets, by their counts.

use std::sync::Arc;
use std::time::Duration;

use super::{assert_shares, members, seconds};
use crate::balance::member::Member;
use crate::balance::{Draw, End, LeastRequest, PeakEwma, Picker, Prequal, Random, RoundRobin};
use crate::classify::{Failure, Outcome};
use crate::clock::Tick;

/// How often each is picked if nobody is ever called.
fn counts(picker: &dyn Picker, members: &[Arc<Member>], picks: u32) -> Vec<u32> {
    let pick = picker.prepare(members);
    let mut draw = Draw::seeded(11);
    let mut counts = vec![0; members.len()];
    for n in 0..picks {
        let now = Tick::from_nanos(u64::from(n) * 1_000);
        counts[pick.pick(members, now, &mut draw)] += 1;
    }
    counts
}

/// Sets how many calls it has in flight.
fn busy_with(member: &Member, in_flight: u32) {
    let tally = &member.load.0.tally;
    while tally.in_flight() < in_flight {
        tally.began();
    }
    while tally.in_flight() > in_flight {
        tally.ended();
    }
}

const MILLION: u32 = 1_000_000;

#[test]
fn fault_094_picks_are_as_random_as_they_say() {
    let equal = members(&[1; 10]);
    for picker in [
        &Random as &dyn Picker,
        &LeastRequest::default(),
        &PeakEwma::default(),
    ] {
        assert_shares(&counts(picker, &equal, MILLION), &[1.0; 10]);
    }
    let choices = LeastRequest::default().choices(4);
    assert_shares(&counts(&choices, &equal, MILLION), &[1.0; 10]);
    // Whoever is equal in the pool is taken by chance, too.
    let prequal = counts(&Prequal::default(), &equal, MILLION / 10);
    assert!(
        prequal.iter().all(|count| (8_500..11_500).contains(count)),
        "{prequal:?}"
    );
}

#[test]
fn weights_are_shares() {
    let weights = [1, 2, 0, 7, 40];
    let shares = [1.0, 2.0, 7.0, 40.0];
    let weighted = members(&weights);
    let without = |mut counts: Vec<u32>| {
        assert_eq!(counts.remove(2), 0, "who weighs nothing is not chosen");
        counts
    };
    for picker in [
        &Random as &dyn Picker,
        // Nobody has anything to do: the weights decide.
        &LeastRequest::default(),
        &LeastRequest::default().choices(3),
        &PeakEwma::default(),
    ] {
        assert_shares(&without(counts(picker, &weighted, MILLION)), &shares);
    }
    let turns = without(counts(&RoundRobin::default(), &weighted, 5_000));
    assert_eq!(turns, [100, 200, 700, 4_000]);
}

#[test]
fn fault_095_nobody_of_any_weight_is_everybody() {
    let members = members(&[0; 4]);
    for picker in [
        &RoundRobin::default() as &dyn Picker,
        &Random,
        &LeastRequest::default(),
        &LeastRequest::default().all(),
        &PeakEwma::default(),
        &Prequal::default(),
    ] {
        let counts = counts(picker, &members, 10_000);
        assert!(
            counts.iter().all(|count| (2_000..3_000).contains(count)),
            "{picker:?}: {counts:?}"
        );
    }
}

#[test]
fn one_and_nobody() {
    for picker in [
        &RoundRobin::default() as &dyn Picker,
        &Random,
        &LeastRequest::default(),
        &LeastRequest::default().all(),
        &LeastRequest::default().choices(9).bias(50),
        &PeakEwma::default()
            .decay(Duration::ZERO)
            .penalty(Duration::MAX),
        &Prequal::default().probes(u32::MAX).age(Duration::MAX),
        &Prequal::default().probes(0).age(Duration::ZERO),
    ] {
        assert_eq!(counts(picker, &members(&[3]), 100), [100], "{picker:?}");
        // Beyond the set, which counts as any.
        let place = picker
            .prepare(&[])
            .pick(&[], Tick::MAX, &mut Draw::seeded(1));
        assert_eq!([0; 0].get(place), None);
    }
}

#[test]
fn fewer_in_flight_wins_for_its_weight() {
    let busy = members(&[1, 3]);
    let wins = |picker: LeastRequest, in_flight: [u32; 2]| {
        for (member, in_flight) in busy.iter().zip(in_flight) {
            busy_with(member, in_flight);
        }
        let counts = counts(&picker, &busy, 10_000);
        f64::from(counts[0]) / 10_000.0
    };
    let two = LeastRequest::default();
    // It is drawn at all in 7 of 16 pairs, and alone in one.
    assert!((wins(two, [0, 1]) - 7.0 / 16.0).abs() < 0.02);
    assert!((wins(two, [1, 1]) - 1.0 / 16.0).abs() < 0.02);
    assert!(
        (wins(two, [1, 2]) - 1.0 / 16.0).abs() < 0.02,
        "2 of 3 is less than 1 of 1"
    );
    assert!((wins(two, [1, 4]) - 7.0 / 16.0).abs() < 0.02);
    // Envoy's formula: 1 / (1 + 1) beside 3 / (6 + 1), and 3 / (5 + 1), which is equal.
    let all = two.all();
    assert!(wins(all, [1, 6]) == 1.0);
    assert!((wins(all, [1, 5]) - 0.25).abs() < 0.02);
    assert!(wins(all, [1, 4]) == 0.0);
    // With half of the bias, roots are compared: 1 / 4 beside 3 / 13 and 3 / 12.
    let half = all.bias(50);
    assert!(wins(half, [15, 168]) == 1.0);
    assert!(wins(half, [15, 142]) == 0.0);
}

#[test]
fn a_scan_finds_the_least_of_all() {
    let members = members(&[1; 50]);
    for (place, member) in members.iter().enumerate() {
        let busy = if place == 31 { 3 } else { 4 };
        busy_with(member, busy);
    }
    let counts = counts(&LeastRequest::default().all(), &members, 100);
    assert_eq!(counts[31], 100);
}

fn fail(picker: &dyn Picker, member: &Member, times: u32) {
    let pick = picker.prepare(&[]);
    for _ in 0..times {
        member.load.0.trouble.failed();
        let end = End {
            began: seconds(1.0),
            others: 0,
            now: seconds(1.0),
            outcome: Outcome::Failure(Failure::Transient),
        };
        pick.ended(member, end);
    }
}

#[test]
fn fault_091_who_fails_at_once_is_tried_now_and_then() {
    for picker in [
        &LeastRequest::default() as &dyn Picker,
        &LeastRequest::default().choices(3),
        &LeastRequest::default().all(),
        &PeakEwma::default(),
        &Prequal::default(),
    ] {
        let two = members(&[1, 1]);
        // The healthy one is slow and has a lot to do.
        busy_with(&two[0], 1_000);
        two[0].load.0.peak.record(
            crate::balance::pick::peak::Decay::new(Duration::from_secs(10)),
            seconds(1.0),
            1_000_000_000,
        );
        fail(picker, &two[1], 10);
        let counts = counts(picker, &two, 10_000);
        assert!((10..=500).contains(&counts[1]), "{picker:?}: {counts:?}");
    }
}

#[test]
fn who_fails_alone_is_still_chosen() {
    for picker in [
        &LeastRequest::default() as &dyn Picker,
        &PeakEwma::default(),
        &Prequal::default(),
    ] {
        let all = members(&[1; 3]);
        for member in &all {
            fail(picker, member, 20);
        }
        let counts = counts(picker, &all, 3_000);
        assert!(
            counts.iter().all(|count| *count > 500),
            "{picker:?}: {counts:?}"
        );
    }
}

#[test]
fn fault_092_a_newcomer_gets_its_part_of_a_share() {
    let members = members(&[1; 10]);
    for part in [0.1, 0.25, 0.6, 0.99] {
        members[0].set_ramp(part);
        for picker in [
            &RoundRobin::default() as &dyn Picker,
            &Random,
            &LeastRequest::default(),
            &PeakEwma::default(),
        ] {
            let counts = counts(picker, &members, 200_000);
            let share = f64::from(counts[0]) / 200_000.0;
            let expected = part / (9.0 + part);
            assert!(
                (share / expected - 1.0).abs() < 0.1,
                "{picker:?} at {part}: {share} for {expected}"
            );
        }
    }
}

#[test]
fn a_report_counts_while_it_is_fresh() {
    let all = members(&[1; 10]);
    let pick = Prequal::default().prepare(&all);
    let mut draw = Draw::seeded(5);
    let mut share = |now: f64| {
        let picks = (0..1_000).map(|_| pick.pick(&all, seconds(now), &mut draw));
        picks.filter(|place| *place == 0).count()
    };
    let report = |now: f64, in_flight: u32| {
        for (place, member) in all.iter().enumerate() {
            let fast = place == 0;
            let latency = Duration::from_millis(if fast { 1 } else { 9 });
            member.report(if fast { in_flight } else { 0 }, latency, seconds(now));
        }
    };
    report(10.0, 0);
    // Until the next probe it is thought to be busy with what it was sent.
    let fast = share(10.5);
    assert!(fast > 200, "{fast}: it is the fastest");
    // What was said then is old by now, and nothing else is known.
    let even = share(13.0);
    assert!((50..200).contains(&even), "{even}");
    report(20.0, 50);
    let hot = share(20.1);
    assert!(hot < 50, "{hot}: it has much to do");
}
