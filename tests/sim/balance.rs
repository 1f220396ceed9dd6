//! Pickers before fleets of endpoints.

use std::time::Duration;

use tower_keep::balance::{LeastRequest, PeakEwma, Policy, Prequal, RoundRobin, SlowStart, Watch};

use crate::traces::fleet::{Ended, Fleet, Offered, fleets, quantile, run, settled};

fn policies() -> [(&'static str, Policy); 4] {
    let policy = Policy::builder();
    [
        ("round robin", policy.clone().picker(RoundRobin::default())),
        (
            "least request",
            policy.clone().picker(LeastRequest::default()),
        ),
        ("Peak EWMA", policy.clone().picker(PeakEwma::default())),
        ("Prequal", policy.picker(Prequal::default())),
    ]
    .map(|(name, policy)| (name, policy.build().unwrap()))
}

fn at_load(fleet: &Fleet, load: f64, requests: usize, policy: Policy) -> Vec<Ended> {
    let offered = Offered {
        per_second: fleet.capacity() * load,
        requests,
    };
    run(fleet, policy, offered, fleet.endpoints(), |_| ())
}

#[test]
fn at_80_percent_load_who_looks_at_times_or_load_beats_round_robin() {
    for fleet in fleets() {
        let tails = policies().map(|(name, policy)| {
            let ended = at_load(&fleet, 0.8, 60_000, policy);
            let tails = [500, 990, 999].map(|per_mille| quantile(settled(&ended), per_mille));
            println!("{}, {name}: {tails:.1?} ms", fleet.name);
            tails
        });
        let [round_robin, others @ ..] = tails;
        for (other, (name, _)) in others.iter().zip(&policies()[1..]) {
            let beats = other[1] < round_robin[1] && other[2] < round_robin[2];
            assert!(beats, "{}: {name}", fleet.name);
        }
    }
}

/// How many of these went to an endpoint.
fn share_of(ended: &[Ended], place: usize) -> f64 {
    let to = ended.iter().filter(|ended| ended.place == place).count();
    to as f64 / ended.len() as f64
}

#[test]
fn fault_091_who_fails_at_once_gets_next_to_nothing() {
    for n in [2, 100] {
        let mut slowness = vec![2.0; n];
        slowness[1] = -1.0;
        let fleet = Fleet {
            name: "one fails at once",
            slowness,
        };
        for (name, policy) in policies().into_iter().skip(1) {
            for policy in [
                policy.to_builder().outliers(None).build().unwrap(),
                policy.clone(),
            ] {
                let mut ended = at_load(&fleet, 0.8, 20_000, policy);
                ended.sort_by_key(|ended| ended.came);
                let share = share_of(&ended[100..], 1);
                println!("{n} endpoints, {name}: {:.2} %", share * 100.0);
                assert!(share <= 0.05, "{n} endpoints, {name}: {share}");
            }
        }
    }
}

#[test]
fn fault_092_a_newcomer_follows_its_ramp() {
    let fleet = Fleet {
        name: "one comes later",
        slowness: vec![0.1; 10],
    };
    let window = Duration::from_secs(10);
    // The others have all of theirs by then.
    let comes = Duration::from_secs(11);
    for (name, policy) in policies().into_iter().take(3) {
        let slow = SlowStart::over(window);
        let policy = policy.to_builder().slow_start(slow).outliers(None);
        let all = fleet.endpoints();
        let (sender, receiver) = tokio::sync::watch::channel(all[..9].to_vec());
        let mut all = Some(all);
        let offered = Offered {
            per_second: fleet.capacity() * 0.3,
            requests: 280_000,
        };
        let watch = Watch::new(receiver);
        let ended = run(&fleet, policy.build().unwrap(), offered, watch, |now| {
            if let Some(all) = all.take_if(|_| now >= comes) {
                sender.send(all).unwrap();
            }
        });
        for step in 0..12_u32 {
            let [from, to] = [step, step + 1].map(|step| comes + window * step / 10);
            let within = ended
                .iter()
                .filter(|ended| (from..to).contains(&ended.came));
            let within: Vec<Ended> = within.copied().collect();
            let along = (f64::from(step) + 0.5) / 10.0;
            let part = along.clamp(0.1, 1.0);
            let expected = part / (9.0 + part) * within.len() as f64;
            let got = share_of(&within, 9) * within.len() as f64;
            println!("{name} at {along:.2}: {got} of {expected:.0}");
            // A tenth, and four deviations of what chance does to so few.
            let most = 0.1 * expected + 4.0 * expected.sqrt();
            assert!(
                (got - expected).abs() < most,
                "{name} at {along}: {got} of {expected}"
            );
        }
    }
}
