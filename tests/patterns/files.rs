//! Policies from configuration files.

use tower_keep::chaos::{self, Latency};
use tower_keep::fallback::{self, Rule};
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
