//! Policies from configuration files.

use tower_keep::adaptive::{self, Rule as Limiting};
use tower_keep::chaos::{self, Latency};
use tower_keep::fallback::{self, Rule};
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
