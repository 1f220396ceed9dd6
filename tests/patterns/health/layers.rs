//! What layers say of themselves.

use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::circuit_breaker::{self, CircuitBreakerLayer, Mode};
use tower_keep::classify::{Failure, Outcome};
use tower_keep::clock::Clock;
use tower_keep::health::checks::Layers;
use tower_keep::health::{Check, Health};
use tower_keep::probe::Status::{self, Fail, Pass, Warn};
use tower_keep::probe::ask;
use tower_keep::{Override, Registry, Setup};

use super::{every_second, pass};
use crate::support::{ms, secs};

#[tokio::test(start_paused = true)]
async fn circuits_bulkheads_and_orders_are_seen() {
    let registry = Registry::new();
    let setup = |name: &str| Setup::named(name.to_owned()).in_registry(&registry);
    let policy = circuit_breaker::Policy::builder().consecutive(1).probes(1);
    let policy = policy.open_wait(secs(5)).build().unwrap();
    let breaker = CircuitBreakerLayer::with(policy, setup("pay")).handle();
    let bulkhead = BulkheadLayer::with(bulkhead::Policy::max_concurrent(1).unwrap(), setup("sql"));
    let bulkhead = bulkhead.handle();
    let look = async |layers: Layers| {
        let finding = ask(&layers, secs(1), &Clock::default()).await.finding;
        (finding.status(), finding.output().to_owned())
    };
    let of = |name: &str| Layers::of(&registry).named(name);
    let told = |status: Status, text: &str| (status, text.to_owned());
    assert_eq!(look(Layers::of(&registry)).await, told(Pass, ""));

    let held = bulkhead.admit().unwrap();
    assert_eq!(look(of("sql")).await, told(Warn, "bulkhead sql: full"));
    breaker
        .admit()
        .unwrap()
        .finish(Outcome::Failure(Failure::Transient));
    assert_eq!(
        look(of("pay")).await,
        told(Fail, "circuit_breaker pay: open")
    );
    let (status, text) = look(Layers::of(&registry)).await;
    assert!(
        status == Fail && text.contains("open, bulkhead sql: full"),
        "{text}"
    );
    drop(held);
    pass(secs(6)).await;
    let probe = breaker.admit().unwrap();
    assert_eq!(
        look(of("pay")).await,
        told(Warn, "circuit_breaker pay: half_open")
    );
    probe.finish(Outcome::Success);
    assert_eq!(look(Layers::of(&registry)).await, told(Pass, ""));

    bulkhead.set_override(Override::Close);
    assert_eq!(look(of("sql")).await, told(Fail, "bulkhead sql: closed"));
    bulkhead.set_override(Override::None);
    breaker.set_mode(Mode::ForcedOpen);
    assert_eq!(look(of("pay")).await.0, Fail);
    assert_eq!(look(of("other")).await, told(Fail, "no layer of this name"));
    let empty = Registry::new();
    assert_eq!(look(Layers::of(&empty)).await, told(Pass, ""));
}

#[tokio::test(start_paused = true)]
async fn health_in_its_own_registry_recovers() {
    let registry = Registry::new();
    let policy = bulkhead::Policy::max_concurrent(1).unwrap();
    let setup = Setup::named("sql").in_registry(&registry);
    let bulkhead = BulkheadLayer::with(policy, setup).handle();
    let layers = Check::new("layers", Layers::of(&registry));
    let health = Health::builder()
        .setup(Setup::named("shop").in_registry(&registry))
        .check(layers.schedule(every_second().build().unwrap()))
        .start()
        .unwrap();
    pass(ms(100)).await;
    let reported = || {
        let reports = registry.reports();
        let own = reports.iter().find(|report| report.pattern == "health");
        own.map(|report| (report.status, report.value("readiness").cloned()))
    };
    assert_eq!(reported(), Some((Pass, Some("pass".into()))));
    bulkhead.set_override(Override::Close);
    pass(secs(1)).await;
    assert_eq!(health.status(), Fail);
    assert_eq!(reported(), Some((Fail, Some("fail".into()))));
    bulkhead.set_override(Override::None);
    pass(secs(1)).await;
    assert_eq!(
        (health.status(), reported().map(|r| r.0)),
        (Pass, Some(Pass))
    );
}
