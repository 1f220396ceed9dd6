//! Generations are counted round: what happens is the same, wherever they begin.

use std::sync::Arc;
use std::time::Duration;

use crate::circuit_breaker::Mode;
use crate::circuit_breaker::circuit::{Circuit, LATE, TRIPS, Token};
use crate::circuit_breaker::policy::{CloseAfter, Policy};
use crate::circuit_breaker::state::Common;
use crate::classify::{Failure, Outcome};
use crate::clock::ManualClock;
use crate::kernel::guard::Settle;
use crate::kernel::rng::word;
use crate::policy::Ratio;
use crate::registry::Setup;

/// What is seen after each step of a life, and how often the state changed in it.
fn life(policy: Policy, seed: u64, first: u32) -> (Vec<String>, u64, u64) {
    let time = ManualClock::new();
    let common = Common::single(policy, Setup::new().with_clock(time.clock()));
    let circuit = Circuit::new(&Arc::clone(&common), || policy, None, time.now());
    {
        let mut cold = circuit.cold.lock();
        cold.phases.generation = first;
        circuit.publish(&mut cold, time.now());
    }
    let mut under_way: Vec<Token> = Vec::new();
    let mut seen = Vec::new();
    for step in 0..400 {
        let draw = word(seed, step);
        let (what, which) = (draw % 16, (draw >> 32) as usize);
        match what {
            0..6 => {
                let token = circuit.admit(circuit.word(), Some(time.now()));
                under_way.extend(token.ok());
            }
            6..12 if !under_way.is_empty() => {
                let token = under_way.swap_remove(which % under_way.len());
                let ends = [
                    Outcome::Success,
                    Outcome::Failure(Failure::Transient),
                    Outcome::Failure(Failure::Transient),
                    Outcome::Neutral,
                    Outcome::Cancelled,
                ];
                circuit.settle(&token, ends[(draw >> 16) as usize % ends.len()]);
            }
            12 | 13 => under_way.iter_mut().for_each(|token| circuit.pend(token)),
            14 => time.advance(Duration::from_millis(draw >> 8 & 0x7F)),
            15 => {
                let modes = [Mode::Normal, Mode::Normal, Mode::Dark, Mode::Disabled];
                common
                    .core
                    .set_order_word(modes[which % modes.len()].to_word());
            }
            _ => {}
        }
        let status = circuit.status(time.now());
        let counts = [LATE, TRIPS].map(|which| circuit.counters.sum(which));
        seen.push(format!("{status:?} {counts:?}"));
    }
    let late = circuit.counters.sum(LATE);
    let changes = circuit.cold.lock().phases.changes;
    (seen, changes, late)
}

#[test]
fn generations_go_round() {
    let policy = Policy::builder()
        .consecutive(2)
        .slow_ratio(Ratio::percent(50))
        .slow_minimum_calls(4)
        .slow_threshold(Duration::from_millis(160))
        .time_window(Duration::from_secs(10))
        .open_wait(Duration::from_millis(100))
        .close_after(CloseAfter::Successes(2))
        .probes(2)
        .jitter(Ratio::ZERO);
    let policy = policy.build().unwrap();
    let (mut changed, mut late) = (0, 0);
    for seed in 0..40 {
        let expected = life(policy, seed, 1_000);
        changed += expected.1;
        late += expected.2;
        for before in 0..8 {
            let (seen, ..) = life(policy, seed, u32::MAX - before);
            for (step, (seen, expected)) in seen.iter().zip(&expected.0).enumerate() {
                assert_eq!(seen, expected, "seed {seed}, {before} before, step {step}");
            }
        }
    }
    // Else it has shown nothing.
    assert!(changed > 200 && late > 40, "{changed} changes, {late} late");
}
