//! More tenants than have a turn of their own.

use std::task::Poll;

use tower_keep::bulkhead::{BulkheadLayer, Policy};
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::{Setup, key};

/// A hundred tenants with one caller each, and one with a hundred: all are served, and
/// who is noisy is far from done when the last of the others is.
#[test]
fn of_many_tenants_none_is_starved() {
    const MANY: u32 = 100;
    let time = ManualClock::new();
    let policy = Policy::builder().max_concurrent(1).queue_length(2 * MANY);
    let setup = Setup::new().with_clock(time.clock());
    let handle = BulkheadLayer::with(policy.build().unwrap(), setup).handle();
    let by = key::value(|tenant: &u32| Some(*tenant));
    let held = handle.admit().unwrap();
    // The noisy one stands in between.
    let tenants = (0..MANY).flat_map(|tenant| [tenant, MANY]);
    let mut callers: Vec<_> = tenants
        .map(|tenant| (tenant, Hand::new(handle.acquire().tenant(&by, &tenant))))
        .collect();
    for (_, caller) in &mut callers {
        assert!(caller.poll().is_pending());
    }
    drop(held);
    let mut served = Vec::new();
    while !callers.is_empty() {
        let before = callers.len();
        // A permit that is dropped is the next one's.
        callers.retain_mut(|(tenant, caller)| match caller.poll() {
            Poll::Ready(permit) => {
                drop(permit.unwrap());
                served.push(*tenant);
                false
            }
            Poll::Pending => true,
        });
        assert!(callers.len() < before, "nobody's turn after {served:?}");
    }
    assert_eq!(served.len(), 200);
    let last = served.iter().rposition(|tenant| *tenant != MANY).unwrap();
    let noisy = served[..last].iter().filter(|tenant| **tenant == MANY);
    let noisy = noisy.count();
    assert!(noisy <= 10, "{noisy} of the noisy one's before the last");
}
