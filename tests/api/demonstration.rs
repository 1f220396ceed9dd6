//! What the gateway's demonstration reports, as `tests/gates/gateway.sh` runs it.

use serde_json::Value;

#[test]
#[ignore = "tests/gates/gateway.sh runs the demonstration, which takes half a minute"]
fn the_demonstration_reports_what_it_should() {
    let path = std::env::var("GATEWAY_REPORT").expect("GATEWAY_REPORT names the report");
    let text = std::fs::read_to_string(path).unwrap();
    let report: Value = serde_json::from_str(&text).expect("one JSON object");
    let number = |mode: &str, key: &str| {
        report[mode][key]
            .as_f64()
            .unwrap_or_else(|| panic!("no {mode}.{key} in {text}"))
    };
    for mode in ["bare", "guarded"] {
        assert!(number(mode, "ok") > 0.0);
        assert!(number(mode, "ok") <= number(mode, "offered"));
        for key in ["p50_ms", "p99_ms", "p999_ms", "ok_p99_ms"] {
            assert!(number(mode, key) > 0.0, "{mode}.{key}");
        }
    }
    assert_eq!(report["bare"]["offered"], report["guarded"]["offered"]);
    for mode in ["bare", "guarded"] {
        let errors = report[mode]["errors"].as_object().unwrap();
        let errors: u64 = errors.values().filter_map(Value::as_u64).sum();
        let [offered, ok, degraded] =
            ["offered", "ok", "degraded"].map(|key| report[mode][key].as_u64().unwrap());
        assert_eq!(offered, ok + degraded + errors, "{mode}: {text}");
    }
    // The outage opens the circuit of the upstream that fails, and of no other; its callers get
    // the fallback, and it is left in peace.
    assert!(number("guarded", "degraded") > 100.0, "no fallback: {text}");
    for layer in report["layers"].as_array().unwrap() {
        if layer["pattern"] == "circuit_breaker" {
            let trips = layer["values"]["trips"].as_u64().unwrap();
            let fails = layer["name"] == "to /failing";
            assert_eq!(trips > 0, fails, "{trips} trips: {layer}");
        }
    }
    let goodput = |mode| number(mode, "goodput_per_s");
    assert!(
        goodput("guarded") > goodput("bare"),
        "the guard made it worse: {text}"
    );
    // What the surviving upstreams can serve of what was offered.
    let servable = report["survivors_capacity_per_s"].as_f64().unwrap();
    assert!(
        goodput("guarded") >= 0.95 * servable,
        "less than 95 % of {servable} a second: {text}"
    );
    assert!(
        number("guarded", "p99_ms") < number("bare", "p99_ms"),
        "the guarded tail is no shorter: {text}"
    );
    let sick = |mode| number(mode, "sick_upstream_requests");
    assert!(
        sick("guarded") <= sick("bare"),
        "the guard loads the sick upstreams: {text}"
    );
    assert!(
        report["layers"]
            .as_array()
            .is_some_and(|layers| !layers.is_empty())
    );
}
