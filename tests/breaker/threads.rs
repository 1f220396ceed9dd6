//! Updates beside requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use tower_keep::Ratio;
use tower_keep::classify::Outcome;

use crate::behaviour::{breaker, fixed};
use crate::support::secs;

/// The clock stands still, so no call is ever slow, whatever the threshold changes to.
#[test]
fn no_call_is_slow_while_the_clock_stands_still() {
    let policy = fixed()
        .slow_ratio(Ratio::ONE)
        .slow_minimum_calls(1_000)
        .count_window(1_000);
    let [short, long] = [1, 100].map(|n| policy.slow_threshold(secs(n)).build().unwrap());
    let (_time, handle) = breaker(policy.slow_threshold(secs(1)));
    let stop = AtomicBool::new(false);
    let mut slow = 0;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    held.push_back(handle.admit().unwrap());
                    if held.len() > 8 {
                        held.pop_front().unwrap().finish(Outcome::Success);
                    }
                }
                for permit in held {
                    permit.finish(Outcome::Success);
                }
            });
        }
        for _ in 0..20_000 {
            handle.update(short);
            handle.update(long);
            slow += handle.snapshot().count_window.unwrap().slow;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(slow, 0, "slow calls, and no time has passed");
}
