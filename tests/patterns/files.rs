//! Policies from configuration files.

use tower_keep::adaptive::{self, Rule as Limiting};
use tower_keep::backoff::{Backoff, Growth, Jitter};
use tower_keep::chaos::{self, Latency};
use tower_keep::fallback::{self, Rule};
use tower_keep::hedge;
use tower_keep::queue::{Discipline, Priority};
use tower_keep::{PolicyError, Ratio};

use crate::support::ms;

#[test]
fn a_policy_of_chaos_from_a_file() -> Result<(), PolicyError> {
    let text = r#"
        seed = 42
        late = 0.5
        latency = { shape = "log-normal", median = "20ms", p99 = "1s", most = "2s" }
        error = 0.1
        cut = 1.0
        after_bytes = 512
        longest_hang = "30s"
    "#;
    let latency = Latency::LogNormal {
        median: ms(20),
        p99: ms(1_000),
        most: ms(2_000),
    };
    let policy = chaos::Policy::builder()
        .seed(42)
        .latency(Ratio::new(0.5)?, latency)
        .error(Ratio::new(0.1)?)
        .cut(Ratio::ONE)
        .after_bytes(512)
        .longest_hang(ms(30_000))
        .build()?;
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(chaos::Policy::default()));
    assert_eq!(policy.to_builder().build()?, policy);
    for (bad, why) in [
        ("error = 1.5", "allowed are 0 to 1"),
        ("error = nan", "allowed are 0 to 1"),
        ("error = 0.6\nhang = 0.6", "sum up to at most 1"),
        ("latency = { shape = \"fixed\" }", "missing field `time`"),
        (
            "latency = { shape = \"uniform\", least = \"2s\", most = \"1s\" }",
            "least <= most",
        ),
        ("errors = 0.5", "unknown field"),
    ] {
        let error = toml::from_str::<chaos::Policy>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    Ok(())
}

#[test]
fn a_policy_of_a_fallback_from_a_file() -> Result<(), PolicyError> {
    let policy = fallback::Policy::builder()
        .timeout(Rule::Pass)
        .permanent(Rule::Answer)
        .build()?;
    let text = "timeout = \"pass\"\npermanent = \"answer\"";
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(fallback::Policy::default()));
    let nothing =
        "refused = \"pass\"\ntimeout = \"pass\"\noverload = \"pass\"\ntransient = \"pass\"";
    let error = toml::from_str::<fallback::Policy>(nothing).unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
    Ok(())
}

#[test]
fn a_schedule_of_probes_from_a_file() -> Result<(), PolicyError> {
    use tower_keep::health::checks::Bounds;
    use tower_keep::probe::Schedule;

    let text = r#"
        first = "1s"
        interval = "5s"
        jitter = 0.2
        timeout = "500ms"
        rise = 2
        fall = 4
    "#;
    let schedule = Schedule::builder()
        .first(ms(1_000))
        .interval(ms(5_000))
        .jitter(Ratio::percent(20))
        .timeout(ms(500))
        .rise(2)
        .fall(4)
        .build()?;
    assert_eq!(toml::from_str(text), Ok(schedule));
    assert_eq!(toml::from_str(""), Ok(Schedule::default()));
    assert_eq!(schedule.to_builder().build()?, schedule);
    for (bad, why) in [
        ("interval = \"0s\"", "interval: 0ns is not allowed"),
        ("fall = 0", "fall: 0 is not allowed"),
        ("period = \"1s\"", "unknown field"),
    ] {
        let error = toml::from_str::<Schedule>(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let bounds = toml::from_str("warn = 10\nfail = 20");
    assert_eq!(bounds, Ok(Bounds::new().warn(10).fail(20)));
    Ok(())
}

#[test]
fn a_backoff_from_a_file() -> Result<(), PolicyError> {
    let text = r#"
        base = "20ms"
        cap = "2s"
        longest_retry_after = "5s"
        growth = "linear"
        jitter = { proportional = 0.2 }
    "#;
    let backoff = Backoff::builder()
        .base(ms(20))
        .cap(ms(2_000))
        .longest_retry_after(ms(5_000))
        .growth(Growth::Linear)
        .jitter(Jitter::Proportional(Ratio::percent(20)))
        .build()?;
    assert_eq!(toml::from_str(text), Ok(backoff));
    assert_eq!(toml::from_str(""), Ok(Backoff::default()));
    let bad = toml::from_str::<Backoff>("base = \"1m\"").unwrap_err();
    assert!(
        bad.to_string().contains("base: 60s is not allowed"),
        "{bad}"
    );
    Ok(())
}

#[test]
fn a_budget_from_a_file() -> Result<(), PolicyError> {
    use tower_keep::budget::Policy;

    let share = Ratio::percent(20);
    for (text, policy) in [
        ("kind = \"ratio\"", Policy::default()),
        (
            "kind = \"ratio\"\nretries = 1\nrequests = 20\nfloor = 5\nburst = 7",
            Policy::builder().ratio(1, 20).floor(5).burst(7).build()?,
        ),
        (
            "kind = \"grpc\"\nmax-tokens = 10\ntoken-ratio = 0.1",
            Policy::grpc(10, Ratio::percent(10))?,
        ),
        ("kind = \"aws\"", Policy::aws()),
        ("kind = \"aws-2-1\"", Policy::aws_2_1()),
        (
            "kind = \"in-flight\"\nshare = 0.2\nleast = 3",
            Policy::in_flight(share, 3)?,
        ),
    ] {
        assert_eq!(toml::from_str(text), Ok(policy), "{text}");
    }
    for bad in [
        "kind = \"ratio\"\nrequests = 0",
        "kind = \"ratio\"\nleast = 3",
        "kind = \"grpc\"\nmax-tokens = 0\ntoken-ratio = 0.1",
        "retries = 1",
    ] {
        assert!(toml::from_str::<Policy>(bad).is_err(), "{bad}");
    }
    Ok(())
}

#[test]
fn a_policy_of_hedges_from_a_file() -> Result<(), PolicyError> {
    let text = r#"
        delay = { percentile = 0.99 }
        least = "5ms"
        hedges = 2
        window = "30s"
        minimum_calls = 200
        failure_ratio = 0.05
    "#;
    let policy = hedge::Policy::builder()
        .delay(hedge::Delay::Percentile(Ratio::percent(99)))
        .least(ms(5))
        .hedges(2)
        .window(ms(30_000))
        .minimum_calls(200)
        .failure_ratio(Ratio::percent(5))
        .build()?;
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(hedge::Policy::default()));
    assert_eq!(
        toml::from_str("delay = { fixed = \"70ms\" }"),
        Ok(hedge::Policy::after(ms(70))?)
    );
    assert!(toml::from_str::<hedge::Policy>("hedges = 9").is_err());
    Ok(())
}

#[test]
fn a_policy_of_an_adaptive_limit_from_a_file() -> Result<(), PolicyError> {
    let text = r#"
        rule = "vegas"
        guarded = true
        initial_limit = 16
        min_limit = 8
        max_limit = 64
        window = "250ms"
        min_samples = 100
        queue_length = 32
        max_wait = "50ms"
        discipline = { order = "adaptive-lifo", codel_target = "5ms", codel_interval = "100ms", shares = [0.5, 0.25, 0, 0] }
    "#;
    let discipline = Discipline::overload()
        .share(Priority::Critical, Ratio::percent(50))
        .share(Priority::Normal, Ratio::percent(25));
    let policy = adaptive::Policy::builder()
        .rule(Limiting::Vegas)
        .guarded()
        .initial_limit(16)
        .min_limit(8)
        .max_limit(64)
        .window(ms(250))
        .min_samples(100)
        .queue_length(32)
        .max_wait(ms(50))
        .discipline(discipline)
        .build()?;
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(adaptive::Policy::default()));
    assert_eq!(policy.to_builder().build()?, policy);
    for (bad, why) in [
        ("min_limit = 0", "min_limit: 0 is not allowed"),
        ("max_limit = 1000001", "max_limit: 1000001"),
        ("min_limit = 9\nmax_limit = 8", "allowed are min_limit to"),
        ("max_limit = 8\ninitial_limit = 9", "initial_limit: 9"),
        ("window = \"1us\"", "1 ms to 1 hour"),
        ("min_samples = 0", "min_samples: 0"),
        ("queue_length = 4294967295", "queue_length"),
        ("max_wait = \"0s\"", "max_wait"),
        (
            "discipline = { codel_target = \"5ms\" }",
            "codel_interval: is missing",
        ),
        (
            "discipline = { shares = [0.5, 0.5, 0.5, 0] }",
            "at most 1 together",
        ),
        (
            "discipline = { shares = [nan, 0, 0, 0] }",
            "allowed are 0 to 1",
        ),
        ("limits = 4", "unknown field"),
    ] {
        let error = toml::from_str::<adaptive::Policy>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    Ok(())
}
