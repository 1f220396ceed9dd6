//! Adaptive limits against the best fixed one.

use crate::traces::{RULES, SLOWEST, best_fixed, ruled, run, traces};

#[test]
fn fault_047_within_a_tenth_of_the_best_fixed_limit_after_100_windows() {
    let mut faults = Vec::new();
    for trace in traces() {
        let (limit, best) = best_fixed(&trace);
        for (name, rule) in RULES {
            let run = run(&trace, ruled(rule));
            let line = format!(
                "{}, {name}: {:.0}/s of {best:.0}/s (limit {limit}), slowed down {:.2} times; {:?}",
                trace.name, run.goodput, run.slowdown, &run.limits
            );
            if run.goodput < 0.9 * best || run.slowdown > SLOWEST {
                faults.push(line);
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn fault_047_a_service_without_much_to_do_moves_nothing() {
    let traces = traces();
    let idle = traces.iter().find(|trace| trace.name == "idle").unwrap();
    for (name, rule) in RULES {
        // Five calls are in flight: more than half of 8, and of 16 less.
        let policy = ruled(rule).to_builder().initial_limit(16).build().unwrap();
        let run = run(idle, policy);
        assert!(
            run.limits.iter().all(|limit| *limit == 16),
            "{name}: {:?}",
            run.limits
        );
    }
}
