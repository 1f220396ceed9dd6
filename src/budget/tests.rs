//! Budgets against the numbers of the systems they come from.

use super::*;
use crate::classify::Failure;
use crate::clock::ManualClock;

const FAILED: Outcome = Outcome::Failure(Failure::Transient);
const LATE: Outcome = Outcome::Failure(Failure::Timeout);
const FULL: Outcome = Outcome::Failure(Failure::Overload { retry_after: None });

fn begin(budget: &Budget) {
    let _ = budget.begin(0);
}

fn granted(budget: &Budget, cause: Outcome, asked: usize) -> usize {
    (0..asked).filter_map(|_| budget.withdraw(cause)).count()
}

#[test]
fn a_ratio_is_exact() {
    for (retries, requests) in [(1, 100), (1, 10), (7, 30), (999, 1_000), (1, 1), (3, 1)] {
        let policy = Policy::builder().ratio(retries, requests).floor(0);
        let budget = Budget::new(policy.burst(1_000_000).build().unwrap());
        let mut all = 0;
        for request in 1..=3 * u64::from(requests) {
            begin(&budget);
            all += granted(&budget, FAILED, 5) as u64;
            // Never one too many, and none kept back.
            assert_eq!(all, request * u64::from(retries) / u64::from(requests));
        }
    }
}

#[test]
fn fault_026_a_million_requests_are_counted_to_the_last() {
    const REQUESTS: u64 = 1_000_000;
    for (retries, requests) in [(1, 100), (333, 1_000)] {
        let policy = Policy::builder().ratio(retries, requests).floor(0);
        let budget = Budget::new(policy.build().unwrap());
        for _ in 0..REQUESTS {
            begin(&budget);
            while budget.withdraw(FAILED).is_some() {}
        }
        let exact = REQUESTS * u64::from(retries) / u64::from(requests);
        assert_eq!(budget.snapshot().granted, exact);
    }
}

#[test]
fn what_is_saved_is_bounded() {
    let policy = Policy::builder().ratio(1, 10).floor(0).burst(5);
    let budget = Budget::new(policy.build().unwrap());
    (0..1_000).for_each(|_| begin(&budget));
    assert_eq!(budget.snapshot().balance, 5);
    assert_eq!(granted(&budget, FAILED, 100), 5);
    (0..10).for_each(|_| begin(&budget));
    assert_eq!(granted(&budget, FAILED, 100), 1);
    let Snapshot {
        balance,
        granted,
        refused,
        ..
    } = budget.snapshot();
    assert_eq!((balance, granted, refused), (0, 6, 194));
}

#[test]
fn the_floor_is_by_time() {
    let time = ManualClock::new();
    let policy = Policy::builder().ratio(0, 1).floor(2).build().unwrap();
    let budget = Budget::with(policy, Setup::new().with_clock(time.clock()));
    // Those of ten seconds at once.
    assert_eq!(budget.snapshot().balance, 20);
    assert_eq!(granted(&budget, FAILED, 100), 20);
    time.advance(Duration::from_millis(1_500));
    assert_eq!(granted(&budget, FAILED, 100), 3);
    time.advance(Duration::from_secs(3_600));
    assert_eq!(granted(&budget, FAILED, 100), 20);
}

/// Proposal A6: of 10 tokens, 5 failures leave no retry; one success makes
/// 5.1 of 5, and there is one.
#[test]
fn grpc_throttles_below_half_of_its_tokens() {
    let tenth = Ratio::percent(10);
    let budget = Budget::new(Policy::grpc(10, tenth).unwrap());
    for left in (6..=9).rev() {
        budget.first_ended(Paid::Open, FAILED);
        let grant = budget.withdraw(FAILED);
        assert!(grant.is_some(), "{left}");
    }
    budget.first_ended(Paid::Open, FAILED);
    assert!(budget.withdraw(FAILED).is_none());
    budget.first_ended(Paid::Open, Outcome::Success);
    let grant = budget.withdraw(FAILED).unwrap();
    // The attempt that is granted pays when it fails, and not before.
    grant.ended(FAILED);
    drop(grant);
    assert!(budget.withdraw(FAILED).is_none());
    // It cannot fall below nothing, nor rise above all.
    (0..100).for_each(|_| budget.first_ended(Paid::Open, FAILED));
    (0..50).for_each(|_| budget.first_ended(Paid::Open, Outcome::Success));
    assert!(budget.withdraw(FAILED).is_none());
    budget.first_ended(Paid::Open, Outcome::Success);
    assert!(budget.withdraw(FAILED).is_some());
    (0..10_000).for_each(|_| budget.first_ended(Paid::Open, Outcome::Success));
    (0..5).for_each(|_| budget.first_ended(Paid::Open, FAILED));
    assert!(budget.withdraw(FAILED).is_none());
    for (tokens, ratio) in [(0, tenth), (1_001, tenth), (10, Ratio::ZERO)] {
        assert!(Policy::grpc(tokens, ratio).is_err());
    }
}

#[test]
fn aws_takes_by_the_cause_and_gives_back_by_the_success() {
    let budget = Budget::new(Policy::aws());
    assert_eq!(granted(&budget, FAILED, 1_000), 100);
    let budget = Budget::new(Policy::aws());
    assert_eq!(granted(&budget, LATE, 1_000), 50);
    budget.first_ended(Paid::Open, Outcome::Success);
    assert!(budget.withdraw(FAILED).is_none());
    (0..4).for_each(|_| budget.first_ended(Paid::Open, Outcome::Success));
    let grant = budget.withdraw(FAILED).unwrap();
    grant.ended(Outcome::Success);
    drop(grant);
    // Its price came back, and no token besides.
    assert_eq!(granted(&budget, FAILED, 10), 1);

    let budget = Budget::new(Policy::aws_2_1());
    assert_eq!(budget.snapshot().balance, 35);
    assert_eq!(granted(&budget, FAILED, 1_000), 35);
    assert_eq!(granted(&Budget::new(Policy::aws_2_1()), FULL, 1_000), 100);
}

#[test]
fn a_share_of_what_is_under_way() {
    let policy = Policy::in_flight(Ratio::percent(20), 3).unwrap();
    let budget = Budget::new(policy);
    let held: Vec<_> = (0..10).filter_map(|_| budget.withdraw(FAILED)).collect();
    assert_eq!(held.len(), 3);
    (0..50).for_each(|_| begin(&budget));
    let more: Vec<_> = (0..50).filter_map(|_| budget.withdraw(FAILED)).collect();
    assert_eq!(more.len(), 7);
    (0..25).for_each(|_| budget.end(Paid::Open));
    drop(held);
    assert!(budget.withdraw(FAILED).is_none());
    drop(more);
    assert_eq!(budget.snapshot().balance, 5);
    assert!(Policy::in_flight(Ratio::ZERO, 0).is_err());
}

#[test]
fn an_operator_overrules_it() {
    let budget = Budget::new(Policy::aws());
    budget.set_override(Override::Close);
    assert_eq!(granted(&budget, FAILED, 10), 0);
    budget.set_override(Override::Bypass);
    assert_eq!(granted(&budget, FAILED, 1_000), 1_000);
    budget.set_override(Override::None);
    assert_eq!(granted(&budget, FAILED, 1_000), 100);
}

#[test]
fn a_registry_knows_it() {
    let registry = crate::Registry::new();
    let setup = Setup::named("shared").in_registry(&registry);
    let budget = Budget::with(Policy::default(), setup);
    let report = &registry.reports()[0];
    assert_eq!((report.pattern, report.name.as_str()), ("budget", "shared"));
    assert_eq!(report.value("balance"), Some(&10_u64.into()));
    drop(budget);
}

#[test]
fn a_policy_is_refused_by_the_name_of_its_field() {
    let field = |builder: PolicyBuilder| builder.build().err().map(|error| error.field());
    let builder = Policy::builder;
    assert_eq!(builder().build(), Ok(Policy::default()));
    assert_eq!(field(builder().ratio(0, 10)), None);
    assert_eq!(field(builder().ratio(0, 10).floor(0)), Some("retries"));
    assert_eq!(field(builder().ratio(100_001, 10)), Some("retries"));
    assert_eq!(field(builder().ratio(1, 0)), Some("requests"));
    assert_eq!(field(builder().ratio(1, 100_001)), Some("requests"));
    assert_eq!(field(builder().floor(u32::MAX)), Some("floor"));
    assert_eq!(field(builder().burst(0)), Some("burst"));
    assert_eq!(field(builder().burst(u32::MAX)), Some("burst"));
    let extreme = builder().ratio(100_000, 100_000).floor(10_000);
    assert_eq!(field(extreme.burst(1_000_000)), None);
}

/// `RetryBudget(ttl = 10 s, minRetriesPerSec = 10, percentCanRetry = 0.2)`: a hundred
/// before any request, and then one for five.
#[test]
fn the_numbers_of_finagle() {
    let time = ManualClock::new();
    let policy = Policy::builder().ratio(1, 5).floor(10).build().unwrap();
    let budget = Budget::with(policy, Setup::new().with_clock(time.clock()));
    assert_eq!(granted(&budget, FAILED, 1_000), 100);
    (0..25).for_each(|_| begin(&budget));
    assert_eq!(granted(&budget, FAILED, 1_000), 5);
    time.advance(Duration::from_secs(1));
    assert_eq!(granted(&budget, FAILED, 1_000), 10);
}

/// Every second retry after a timeout: 33 of each take 495 of 500 tokens.
#[test]
fn the_quota_of_aws_in_a_mixed_outage() {
    let budget = Budget::new(Policy::aws());
    let causes = [FAILED, LATE].into_iter().cycle();
    let all = causes.map_while(|cause| budget.withdraw(cause)).count();
    assert_eq!(all, 33 + 33 + 1);
    // Successes of first attempts bring one token each, and no more than are gone.
    (0..10_000).for_each(|_| budget.first_ended(Paid::Open, Outcome::Success));
    assert_eq!(granted(&budget, FAILED, 1_000), 100);
}
