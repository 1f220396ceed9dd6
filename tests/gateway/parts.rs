//! The demonstration: its parts end with their parent, and its report can be relied on.

use crate::support::program;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

#[test]
fn a_part_ends_with_its_parent() {
    for arguments in [
        &["--role=upstream", "--kind=slow"][..],
        &["--role=gateway", "--mode=bare"],
        &["--role=gateway", "--mode=guarded"],
        &["--role=load", "--target=127.0.0.1:1"],
    ] {
        let mut part = program()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(part.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert!(line.is_object(), "{line}");
        // The end of the pipe is all that is left of a parent that was killed.
        drop(part.stdin.take());
        assert!(part.wait().unwrap().success(), "{arguments:?}");
    }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

#[test]
#[ignore = "takes half a minute, and needs the machine for itself"]
fn the_comparison_is_complete_and_in_time() {
    #[allow(clippy::disallowed_methods, reason = "the time limit is real time")]
    let start = SystemTime::now();
    let output = program().arg("--json").output().unwrap();
    #[allow(clippy::disallowed_methods, reason = "the time limit is real time")]
    let took = start.elapsed().unwrap();
    assert!(output.status.success());
    assert!(took < Duration::from_secs(40), "{took:?}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let layers = result["layers"].as_array().unwrap();
    let watchdog = layers.iter().find(|layer| layer["pattern"] == "watchdog");
    let saw = &watchdog.unwrap()["values"];
    assert_eq!(
        (&saw["last_cause"], &saw["standing_still"]),
        (&"blocked".into(), &0.into())
    );
    assert!(number(&result, "seed") > 0.0);
    let servable = number(&result, "servable");
    for mode in ["bare", "guarded"] {
        let report = &result[mode];
        for key in ["p50_ms", "p99_ms", "p999_ms", "sick_upstream_requests"] {
            number(report, key);
        }
        let (offered, ok) = (number(report, "offered"), number(report, "ok"));
        assert!((offered - number(&result["bare"], "offered")).abs() < 0.5);
        assert!(servable < offered && ok < servable * 1.05, "{report}");
        let errors = report["errors"].as_object().unwrap();
        let failed: f64 = errors.values().filter_map(Value::as_f64).sum();
        assert!((ok + failed - offered).abs() < 0.5, "{report}");
        let routes = report["routes"].as_object().unwrap();
        let of_routes: f64 = routes.values().map(|route| number(route, "offered")).sum();
        assert!((of_routes - offered).abs() < 0.5, "{report}");
    }
    // The reason for guarding at all: the bare proxy wastes what its upstreams could serve.
    assert!(number(&result["bare"], "ok") < 0.9 * servable, "{result}");
}
