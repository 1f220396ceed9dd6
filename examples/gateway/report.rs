//! The comparison for people: a line per second while it runs, and a table at the end.

use crate::scenario::{self, DURATION, Kind};
use crate::term;
use serde_json::Value;
use std::collections::BTreeSet;

const BAR: usize = 24;

/// One second of the load.
pub(crate) fn progress(mode: &str, line: &Value) {
    let number = |key: &str| line[key].as_u64().unwrap_or(0);
    let (second, ended, ok) = (number("second"), number("offered"), number("ok"));
    let width = u64::try_from(BAR).unwrap_or(0);
    let filled = usize::try_from(ok * width / ended.max(1)).unwrap_or(0);
    let bar = format!(
        "{}{}",
        "#".repeat(filled),
        ".".repeat(BAR - filled.min(BAR))
    );
    let p99 = line["p99_ms"].as_f64().unwrap_or(0.0);
    let at = f64::from(u32::try_from(second).unwrap_or(u32::MAX));
    let remark = scenario::remark(at);
    term::err(&format!(
        "{mode:>7} {second:>2}/{} s [{bar}] {ok:>4} ok {:>4} failed  p99 {p99:>6.0} ms  {remark}",
        DURATION.as_secs(),
        ended - ok,
    ));
}

fn row(name: &str, bare: &str, guarded: &str) {
    term::out(&format!("{name:<30}{bare:>12}{guarded:>12}"));
}

fn cell(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            format!("{:.1}", number.as_f64().unwrap_or(0.0))
        }
        Value::Null => "0".to_owned(),
        other => other.to_string(),
    }
}

/// The table on standard output.
pub(crate) fn print(result: &Value) {
    let (bare, guarded) = (&result["bare"], &result["guarded"]);
    let line = |name: &str, key: &str| row(name, &cell(&bare[key]), &cell(&guarded[key]));
    term::out("");
    row("", "bare", "guarded");
    line("offered", "offered");
    line("ok", "ok");
    line("goodput/s", "goodput_per_s");
    let share = |mode: &Value| {
        let goodput = mode["goodput_per_s"].as_f64().unwrap_or(0.0);
        let servable = result["survivors_capacity_per_s"].as_f64().unwrap_or(1.0);
        format!("{:.1} %", 100.0 * goodput / servable)
    };
    let servable = cell(&result["survivors_capacity_per_s"]);
    let name = format!("  of the servable {servable}/s");
    row(&name, &share(bare), &share(guarded));
    line("p50 ms", "p50_ms");
    line("p99 ms", "p99_ms");
    line("p99.9 ms", "p999_ms");
    line("p99 of good answers ms", "ok_p99_ms");
    line("answered by a fallback", "degraded");
    line("requests sick upstreams saw", "sick_upstream_requests");
    for kind in Kind::ALL {
        let name = kind.name();
        let of = |mode: &Value, key: &str| cell(&mode["routes"][name][key]);
        let both = |label: &str, key: &str| {
            row(
                &format!("/{name} {label}"),
                &of(bare, key),
                &of(guarded, key),
            );
        };
        both("goodput/s", "goodput_per_s");
        both("p50 ms", "p50_ms");
        both("p99 ms", "p99_ms");
    }
    for layer in result["layers"].as_array().into_iter().flatten() {
        let name = layer["name"]
            .as_str()
            .unwrap_or("")
            .trim_start_matches("to ");
        let values = &layer["values"];
        match layer["pattern"].as_str() {
            Some("circuit_breaker") => {
                row(
                    &format!("{name} circuit opened"),
                    "-",
                    &cell(&values["trips"]),
                );
            }
            Some("watchdog") => {
                let of = |key: &str| cell(&values[key]);
                let (seen, over) = (of("expiries"), of("recoveries"));
                let cause = values["last_cause"].as_str().unwrap_or("-");
                row("stalls planted", "-", "1");
                row("  seen, over", "-", &format!("{seen}, {over}"));
                row("  as", "-", cause);
            }
            Some("hedge") => {
                let (made, won) = (cell(&values["hedges"]), cell(&values["won"]));
                row(
                    &format!("{name} hedges, won"),
                    "-",
                    &format!("{made}, {won}"),
                );
            }
            _ => {}
        }
        if layer["pattern"] == "retry" {
            let name = layer["name"]
                .as_str()
                .unwrap_or("")
                .trim_start_matches("to ");
            let of = |key: &str| cell(&layer["values"][key]);
            row(&format!("{name} retries"), "-", &of("retried"));
            row(&format!("{name} over budget"), "-", &of("over_budget"));
        }
    }
    let causes: BTreeSet<&String> = [bare, guarded]
        .into_iter()
        .filter_map(|mode| mode["errors"].as_object())
        .flat_map(serde_json::Map::keys)
        .collect();
    for cause in causes {
        let count = |mode: &Value| cell(&mode["errors"][cause.as_str()]);
        row(&format!("errors: {cause}"), &count(bare), &count(guarded));
    }
}
