//! The examples of policy files on the policies' pages are read, and have all keys.

use tower_keep::backoff::Backoff;
use tower_keep::bulkhead;
use tower_keep::queue::Discipline;
use tower_keep::{
    Ratio, adaptive, chaos, circuit_breaker, fallback, hedge, idempotency, retry, throttle,
    timeout, watchdog,
};

use crate::support::ms;

/// The first TOML in the docs of a file.
fn example(source: &str) -> String {
    let (_, rest) = source.split_once("/// ```toml\n").unwrap();
    let (toml, _) = rest.split_once("/// ```\n").unwrap();
    toml.lines()
        .map(|line| line.trim_start_matches("///").trim_start())
        .fold(String::new(), |all, line| all + line + "\n")
}

/// The fields of what a file is read into.
fn fields<'a>(source: &'a str, read_into: &str) -> Vec<&'a str> {
    let (_, rest) = source.split_once(read_into).unwrap();
    let (fields, _) = rest.split_once("}\n").unwrap();
    let field = |line: &'a str| {
        let (name, _) = line
            .trim()
            .trim_start_matches("pub(super) ")
            .split_once(": ")?;
        name.chars()
            .all(|c| c.is_ascii_lowercase() || c == '_')
            .then_some(name)
    };
    fields.lines().filter_map(field).collect()
}

macro_rules! page {
    ($page:literal, $policy:ty, $file:literal, $struct:literal, $least:literal) => {{
        let toml = example(include_str!(concat!("../../src/", $page)));
        let read = toml::from_str::<$policy>(&toml);
        assert!(read.is_ok(), "{}: {read:?}", $page);
        let fields = fields(include_str!(concat!("../../src/", $file)), $struct);
        assert!(fields.len() >= $least, "{fields:?}");
        for field in fields {
            assert!(toml.contains(&format!("{field} =")), "{}: {field}", $page);
        }
        read.unwrap()
    }};
    ($page:literal, $policy:ty, $least:literal) => {
        page!($page, $policy, $page, "pub struct PolicyBuilder {", $least)
    };
}

#[test]
fn every_page_has_a_file_with_all_keys() {
    page!("timeout/policy.rs", timeout::Policy, 3);
    let page = page!(
        "idempotency/policy.rs",
        idempotency::Policy,
        "idempotency/builder.rs",
        "pub struct PolicyBuilder {",
        12
    );
    assert_eq!(page, idempotency::Policy::default());
    page!(
        "timeout/body_policy.rs",
        timeout::BodyPolicy,
        "timeout/body_policy.rs",
        "pub struct BodyPolicyBuilder {",
        4
    );
    page!("bulkhead/policy.rs", bulkhead::Policy, 4);
    page!("throttle/policy.rs", throttle::Policy, 8);
    page!("adaptive/policy.rs", adaptive::Policy, 10);
    page!(
        "circuit_breaker/policy.rs",
        circuit_breaker::Policy,
        "circuit_breaker/builder.rs",
        "pub struct PolicyBuilder {",
        20
    );
    page!("fallback/policy.rs", fallback::Policy, 5);
    page!("chaos/policy.rs", chaos::Policy, 11);
    page!("watchdog/policy.rs", watchdog::Policy, 4);
    let of_retry = page!("retry/policy.rs", retry::Policy, 2);
    assert_eq!(of_retry, retry::Policy::default());
    let of_hedge = page!("hedge/policy.rs", hedge::Policy, 6);
    assert_eq!(of_hedge, hedge::Policy::default());
    let backoff = page!(
        "backoff.rs",
        Backoff,
        "backoff.rs",
        "pub struct BackoffBuilder {",
        5
    );
    assert_eq!(backoff, Backoff::default());
    let _ = page!("queue.rs", Discipline, "queue.rs", "struct Table {", 4);
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Queue {
    discipline: Discipline,
}

#[test]
fn a_discipline_is_a_word_or_a_table() {
    let read = |text: &str| toml::from_str::<Queue>(text).map(|queue| queue.discipline);
    assert_eq!(read("discipline = \"fifo\""), Ok(Discipline::fifo()));
    let overload = Ok(Discipline::overload());
    assert_eq!(read("discipline = \"overload\""), overload);
    let table = "discipline = { order = \"adaptive-lifo\", codel_target = \"5ms\", codel_interval = \"100ms\" }";
    assert_eq!(read(table), overload);
    assert_eq!(read("discipline = {}"), Ok(Discipline::fifo()));
    for (bad, why) in [
        ("discipline = \"lifo\"", "expected `fifo` or `overload`"),
        ("discipline = { codel = 1 }", "unknown field `codel`"),
        ("discipline = 7", "\"fifo\", \"overload\" or a table"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
}

/// In every notation that the page of policies names, and in none else.
#[test]
fn durations_and_shares_have_their_notation() {
    let read = |text: &str| {
        let text = format!("attempt = {text}");
        toml::from_str::<timeout::Policy>(&text).map_err(|error| error.to_string())
    };
    for (text, millis) in [
        ("250ms", 250),
        ("1m 30s", 90_000),
        ("1h30m", 5_400_000),
        ("2 minutes", 120_000),
        ("7sec", 7_000),
        ("1d", 86_400_000),
        ("1000us", 1),
        ("1000000ns", 1),
    ] {
        let policy = timeout::Policy::attempt(ms(millis)).unwrap();
        assert_eq!(read(&format!("\"{text}\"")), Ok(policy), "{text}");
    }
    for bad in ["\"250\"", "\"\"", "\"-1s\"", "250", "0.25", "\"1w1\""] {
        assert!(read(bad).is_err(), "{bad}");
    }
    let share = |text: &str| toml::from_str::<circuit_breaker::Policy>(text);
    let policy = circuit_breaker::Policy::failure_ratio(Ratio::percent(5));
    assert_eq!(share("failure_ratio = 0.05"), Ok(policy.unwrap()));
    let error = share("failure_ratio = 1.5").unwrap_err().to_string();
    assert!(error.contains("1 | failure_ratio = 1.5"), "{error}");
    assert!(error.contains("1.5 is not allowed; allowed are 0 to 1"));
    assert!(!error.contains("ratio:"), "no key is called so: {error}");
}

#[test]
fn a_policy_of_retries_from_a_file() {
    let text = "max_attempts = 5\nbackoff = { base = \"1ms\", growth = \"linear\" }";
    let backoff = Backoff::builder().base(ms(1));
    let backoff = backoff.growth(tower_keep::backoff::Growth::Linear);
    let policy = retry::Policy::builder().max_attempts(5);
    let policy = policy.backoff(backoff.build().unwrap()).build().unwrap();
    assert_eq!(toml::from_str(text), Ok(policy));
    assert_eq!(toml::from_str(""), Ok(retry::Policy::default()));
    for (bad, why) in [
        (
            "max_attempts = 0",
            "max_attempts: 0 is not allowed; allowed are 1 to 100",
        ),
        ("max_attempts = -1", "max_attempts = -1"),
        ("attempts = 3", "unknown field `attempts`"),
        ("backoff = { base = \"0s\" }", "base: 0ns is not allowed"),
        ("backoff = { base = \"2s\", cap = \"1s\" }", "base"),
        (
            "backoff = { cap = \"1 month\", jitter = \"some\" }",
            "unknown variant `some`",
        ),
        (
            "backoff = { jitter = { proportional = nan } }",
            "allowed are 0 to 1",
        ),
        (
            "backoff = { growth = \"fixed\", jitter = \"decorrelated\" }",
            "jitter",
        ),
    ] {
        let error = toml::from_str::<retry::Policy>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    for (bad, why) in [
        ("delay = { fixed = \"0s\" }", "delay: 0ns is not allowed"),
        ("delay = { percentile = 1.0 }", "delay: 1 is not allowed"),
        (
            "delay = { percentile = 2.0 }",
            "2 is not allowed; allowed are 0 to 1",
        ),
        ("delay = { fixed = 80 }", "delay = { fixed = 80 }"),
        ("delay = \"80ms\"", "unknown variant `80ms`"),
        ("window = \"1us\"", "window: 1µs is not allowed"),
        ("failure_ratio = 0", "failure_ratio: 0 is not allowed"),
        ("minimum_calls = 0", "minimum_calls: 0 is not allowed"),
    ] {
        let error = toml::from_str::<hedge::Policy>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    let grpc = "kind = \"grpc\"\nmax_tokens = 10\ntoken_ratio = 0.1";
    let policy = tower_keep::budget::Policy::grpc(10, Ratio::percent(10));
    assert_eq!(toml::from_str(grpc), Ok(policy.unwrap()));
}
