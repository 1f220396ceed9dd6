//! The delays against their definitions, in real numbers.

use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn backoff(base: u64, cap: u64, growth: Growth, jitter: Jitter) -> Backoff {
    Backoff::builder()
        .base(Duration::from_nanos(base))
        .cap(Duration::from_nanos(cap))
        .growth(growth)
        .jitter(jitter)
        .build()
        .unwrap()
}

/// The delays of the formula: the least and the greatest one.
fn by_formula(b: Backoff, number: u64, last: f64) -> (f64, f64) {
    let (base, cap) = (b.base as f64, b.cap as f64);
    let growth = match b.growth {
        Growth::Fixed => 1.0,
        Growth::Linear => number as f64 + 1.0,
        Growth::Exponential => 2_f64.powf(number as f64),
    };
    let grown = (base * growth).min(cap);
    match b.jitter {
        Jitter::None => (grown, grown),
        Jitter::Full => (0.0, grown),
        Jitter::Equal => (grown / 2.0, grown),
        Jitter::Decorrelated => (base, (3.0 * last).min(cap)),
        Jitter::Proportional(ratio) => {
            let share = grown * ratio.fraction();
            (grown - share, (grown + share).min(cap))
        }
    }
}

fn growths() -> impl Strategy<Value = Growth> {
    prop_oneof![
        Just(Growth::Fixed),
        Just(Growth::Linear),
        Just(Growth::Exponential)
    ]
}

fn jitters() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        Just(Jitter::Decorrelated),
        (1_u32..=100).prop_map(|hundredths| Jitter::Proportional(Ratio::percent(hundredths))),
    ]
}

proptest! {
    #[test]
    fn delays_keep_to_the_formula(
        growth in growths(),
        jitter in jitters(),
        (base, cap) in (0_u32..58, 0_u32..58).prop_map(|(a, b)| (1 << a.min(b), 1 << a.max(b))),
        skipped in prop_oneof![Just(0), 0_u64..100, any::<u64>()],
        seed in any::<u64>(),
    ) {
        let growth = match jitter {
            Jitter::Decorrelated => Growth::Exponential,
            _ => growth,
        };
        prop_assume!(jitter != Jitter::Decorrelated || base < cap);
        let backoff = backoff(base, cap, growth, jitter);
        let mut session = backoff.seeded(seed);
        session.delays = skipped;
        let mut last = base as f64;
        for step in 0..20 {
            let delay = session.next_delay().as_nanos() as f64;
            let (least, greatest) = by_formula(backoff, skipped.saturating_add(step), last);
            // Whole nanoseconds, and 53 bits.
            let slack = 1.0 + greatest * 1e-9;
            prop_assert!(delay >= least - slack && delay <= greatest + slack, "{delay}: {least} to {greatest}");
            prop_assert!(delay <= cap as f64);
            last = delay;
        }
    }
}

/// The greatest distance between what was drawn and the uniform distribution.
fn kolmogorov(mut units: Vec<f64>) -> f64 {
    units.sort_by(f64::total_cmp);
    let n = units.len() as f64;
    let off = |(i, unit): (usize, &f64)| {
        (unit - i as f64 / n)
            .abs()
            .max((unit - (i + 1) as f64 / n).abs())
    };
    units.iter().enumerate().map(off).fold(0.0, f64::max)
}

/// Each draw, as its place between the ends that the formula gives it, is
/// uniform if and only if the delays have the distribution of the definition.
#[test]
fn every_jitter_has_the_distribution_of_its_definition() {
    const SESSIONS: u64 = 4_000;
    for (jitter, cap) in [
        (Jitter::Full, 20 * SECOND),
        (Jitter::Equal, 20 * SECOND),
        (Jitter::Decorrelated, 20 * SECOND),
        (Jitter::Proportional(Ratio::percent(20)), 20 * SECOND),
        // Where the cap cuts the range.
        (Jitter::Proportional(Ratio::percent(50)), SECOND / 8),
        (Jitter::Decorrelated, SECOND / 4),
    ] {
        let backoff = backoff(SECOND / 10, cap, Growth::Exponential, jitter);
        let mut sessions: Vec<_> = (0..SESSIONS)
            .map(|seed| (backoff.seeded(seed), backoff.base as f64))
            .collect();
        for number in 0..6 {
            let place = |(session, last): &mut (Session, f64)| {
                let (least, greatest) = by_formula(backoff, number, *last);
                *last = session.next_delay().as_nanos() as f64;
                (*last - least) / (greatest - least)
            };
            let distance = kolmogorov(sessions.iter_mut().map(place).collect());
            // One in ten thousand of uniform samples is further away.
            let critical = 2.23 / (SESSIONS as f64).sqrt();
            assert!(
                distance < critical,
                "{jitter:?}, delay {number}: {distance} of {critical}"
            );
        }
    }
}

/// tower's sessions share one state: all of them wait for the same time.
#[test]
fn fault_063_a_thousand_sessions_that_start_at_once_do_not_come_back_at_once() {
    let default = Backoff::default();
    let of = |builder: BackoffBuilder| builder.build().unwrap();
    // Not decorrelated: by its definition short delays are the more likely ones.
    for backoff in [
        default,
        of(default.to_builder().jitter(Jitter::Equal)),
        of(default.to_builder().growth(Growth::Fixed)),
    ] {
        let mut sessions: Vec<_> = (0..1_000).map(|_| backoff.session()).collect();
        for number in 0..12 {
            let mut delays: Vec<_> = sessions.iter_mut().map(Session::next_delay).collect();
            delays.sort_unstable();
            let (first, last) = (delays[0], delays[delays.len() - 1]);
            let bin = |delay: &Duration| {
                let place = (*delay - first).as_nanos() * 100 / ((last - first).as_nanos() + 1);
                usize::try_from(place).unwrap()
            };
            let mut bins = [0; 100];
            for delay in &delays {
                bins[bin(delay)] += 1;
            }
            let most = bins.iter().max().unwrap();
            assert!(*most <= 30, "{backoff:?}, delay {number}: {bins:?}");
        }
    }
}

#[test]
fn fault_063_a_seed_says_it_all() {
    let (one, other) = (Backoff::default().seeded(7), Backoff::default().seeded(8));
    let delays = |mut session: Session| [(); 5].map(|()| session.next_delay());
    assert_eq!(delays(one.clone()), delays(one.clone()));
    assert_ne!(delays(one), delays(other));
}

#[test]
fn a_server_is_obeyed_within_bounds_and_not_in_step() {
    let backoff = Backoff::builder()
        .longest_retry_after(Duration::from_secs(30))
        .build()
        .unwrap();
    for (asked, obeyed) in [(0, 0), (7, 7), (30, 30), (31, 30), (u64::MAX, 30)] {
        let mut delays: Vec<_> = (0..100)
            .map(|seed| {
                backoff
                    .seeded(seed)
                    .next_delay_after(Duration::from_secs(asked))
            })
            .collect();
        let (least, most) = (
            Duration::from_secs(obeyed),
            Duration::from_nanos(backoff.base),
        );
        assert!(
            delays
                .iter()
                .all(|delay| *delay >= least && *delay <= least + most)
        );
        delays.sort_unstable();
        delays.dedup();
        assert!(delays.len() > 90, "{}", delays.len());
    }
}

#[test]
fn a_rule_is_refused_by_the_name_of_its_field() {
    let field = |builder: BackoffBuilder| builder.build().err().map(|error| error.field());
    let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
    let builder = Backoff::builder;
    assert_eq!(field(builder()), None);
    assert_eq!(field(builder().base(zero)), Some("base"));
    assert_eq!(field(builder().base(second * 21)), Some("base"));
    assert_eq!(field(builder().cap(zero)), Some("cap"));
    assert_eq!(field(builder().cap(Duration::MAX)), Some("cap"));
    assert_eq!(field(builder().longest_retry_after(zero)), None);
    let endless = builder().longest_retry_after(Duration::MAX);
    assert_eq!(field(endless), Some("longest_retry_after"));
    let none = Jitter::Proportional(Ratio::ZERO);
    assert_eq!(field(builder().jitter(none)), Some("jitter"));
    let decorrelated = builder().jitter(Jitter::Decorrelated);
    assert_eq!(field(decorrelated.growth(Growth::Linear)), Some("jitter"));
    // It would have no jitter, and nobody would know.
    assert_eq!(field(decorrelated.base(second).cap(second)), Some("base"));
    assert_eq!(
        builder()
            .build()
            .map(Backoff::to_builder)
            .and_then(BackoffBuilder::build),
        Ok(Backoff::default())
    );
}

const MS: u64 = SECOND / 1_000;

/// Seconds: the mean and the greatest of the first delays of many sessions.
fn first_delays(rule: &Backoff, delays: usize, sessions: usize) -> Vec<(f64, f64)> {
    let mut seen = vec![(0.0, 0.0_f64); delays];
    for _ in 0..sessions {
        let mut session = rule.session();
        for (sum, most) in &mut seen {
            let delay = session.next_delay().as_secs_f64();
            *sum += delay;
            *most = most.max(delay);
        }
    }
    let mean = |(sum, most): (f64, f64)| (sum / sessions as f64, most);
    seen.into_iter().map(mean).collect()
}

/// Brooker's simulator with its base of 100 ms and cap of 20 s.
#[test]
fn the_numbers_of_the_aws_architecture_blog() {
    let rule = |cap, jitter| backoff(100 * MS, cap, Growth::Exponential, jitter);
    let mut session = rule(20 * SECOND, Jitter::None).session();
    let delays: Vec<u128> = (0..10).map(|_| session.next_delay().as_millis()).collect();
    let published = [
        100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 20_000, 20_000,
    ];
    assert_eq!(delays, published);
    // Attempts whose power of two no longer fits in a word.
    assert!((10..200).all(|_| session.next_delay() == Duration::from_secs(20)));

    let decorrelated = rule(20 * SECOND, Jitter::Decorrelated);
    let seen = first_delays(&decorrelated, 5, 20_000);
    for ((_, most), envelope) in seen.iter().zip([0.3, 0.9, 2.7, 8.1, 20.0]) {
        assert!(*most <= envelope, "{most} of {envelope}");
    }
    assert!(seen[0].1 > 0.29 && seen[1].1 > 0.8 && seen[2].1 > 2.0);
    let uncapped = first_delays(&rule(u64::MAX / 100, Jitter::Decorrelated), 5, 200_000);
    for ((mean, _), published) in uncapped.into_iter().zip([0.2, 0.35, 0.575, 0.9125, 1.419]) {
        assert!((mean / published - 1.0).abs() < 0.03, "{mean}: {published}");
    }
}

/// Proposal A6: `min(initial · multiplier^(n−1), max)`, times 0.8 to 1.2.
#[test]
fn the_delays_of_grpc() {
    let fifth = Jitter::Proportional(Ratio::percent(20));
    let rule = backoff(100 * MS, 10 * SECOND, Growth::Exponential, fifth);
    for (number, (mean, most)) in first_delays(&rule, 5, 5_000).into_iter().enumerate() {
        let middle = 0.1 * 2_f64.powf(number as f64);
        assert!((mean / middle - 1.0).abs() < 0.02, "{mean}: {middle}");
        assert!(most <= 1.2 * middle && most > 1.15 * middle, "{most}");
    }
}

/// `rand · min(scale · 2^(n−1), 20)` with scales of 1 s (2.0) and 50 ms (2.1).
#[test]
fn the_delays_of_the_aws_clients() {
    assert_eq!(
        Backoff::default(),
        backoff(50 * MS, 20 * SECOND, Growth::Exponential, Jitter::Full)
    );
    for scale in [SECOND, 50 * MS] {
        let rule = backoff(scale, 20 * SECOND, Growth::Exponential, Jitter::Full);
        for (number, (mean, most)) in first_delays(&rule, 3, 5_000).into_iter().enumerate() {
            let whole = scale as f64 / 1e9 * 2_f64.powf(number as f64);
            assert!((mean / whole - 0.5).abs() < 0.02, "{mean}: {whole}");
            assert!(most <= whole && most > 0.97 * whole, "{most}: {whole}");
        }
    }
}
