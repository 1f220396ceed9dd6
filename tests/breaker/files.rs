//! Policies from files, reports to JSON.

use tower_keep::circuit_breaker::{CircuitBreakerLayer, CloseAfter, Kind, Policy};
use tower_keep::{Ratio, Registry, Setup};

use crate::support::{ms, secs};

#[test]
fn a_policy_comes_from_a_file() {
    let text = r#"
        failure_ratio = 0.4
        minimum_calls = 10
        slow_ratio = 0.05
        slow_threshold = "300ms"
        recent = { failures = 5, of = 10 }
        count_window = 50
        time_window = "10s"
        dropped = "neutral"
        open_wait = "2s"
        probes = 4
        close_after = { ratio = 8 }
        ramp = "5s"
    "#;
    let policy: Policy = toml::from_str(text).unwrap();
    let same = Policy::builder()
        .failure_ratio(Ratio::percent(40))
        .minimum_calls(10)
        .slow_ratio(Ratio::percent(5))
        .slow_threshold(ms(300))
        .recent(5, 10)
        .count_window(50)
        .time_window(secs(10))
        .dropped(tower_keep::circuit_breaker::Dropped::Neutral)
        .open_wait(secs(2))
        .probes(4)
        .close_after(CloseAfter::Ratio(8))
        .ramp(secs(5));
    assert_eq!(policy, same.build().unwrap());
    assert_eq!(policy.to_builder().build().unwrap(), policy);
    let share: Policy =
        toml::from_str("kind = { admission-control = { aggression = 2 } }").unwrap();
    let kind = Kind::AdmissionControl { aggression: 2 };
    assert_eq!(share, Policy::builder().kind(kind).build().unwrap());
    for (wrong, named) in [
        ("failure_ratio = 1.5", "allowed are 0 to 1"),
        ("failure_ratio = nan", "allowed are 0 to 1"),
        ("probes = 0", "probes: 0 is not allowed"),
        ("minimum_calls = 200", "minimum_calls: 200 is not allowed"),
        ("probs = 3", "probs"),
    ] {
        let error = toml::from_str::<Policy>(wrong).unwrap_err().to_string();
        assert!(error.contains(named), "{wrong}: {error}");
    }
}

#[test]
fn what_it_reports_is_told_by_the_registry() {
    let registry = Registry::new();
    let setup = Setup::named("payments").in_registry(&registry);
    let layer = CircuitBreakerLayer::with(Policy::consecutive(3).unwrap(), setup);
    let report = &registry.reports()[0];
    assert_eq!(
        (report.pattern, &*report.name),
        ("circuit_breaker", "payments")
    );
    assert_eq!(report.value("state"), Some(&"closed".into()));
    assert_eq!(report.value("reason"), Some(&"none".into()));
    let json = serde_json::to_value(layer.handle().snapshot()).unwrap();
    assert_eq!(json["state"], "closed");
    assert_eq!(json["mode"], "normal");
}
