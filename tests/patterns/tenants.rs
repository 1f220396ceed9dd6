//! More tenants than have a turn of their own.

use std::task::Poll;

use tower_keep::bulkhead::{BulkheadLayer, Policy};
use tower_keep::test_util::{Hand, ManualClock};
use tower_keep::{Setup, key};

/// A hundred tenants with one caller each, and one with a hundred: all are served, and
/// nearly all of them while who is noisy is far from done.
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
    // Beyond 64 at once tenants share lanes, by a hash of no meaning: of the 37 that do,
    // one in 64 is in the noisy one's, and waits behind it.
    let mut noisy = 0;
    let late = served.iter().filter(|tenant| {
        noisy += u32::from(**tenant == MANY);
        **tenant != MANY && noisy > 10
    });
    let late = late.count();
    assert!(late <= 8, "{late} tenants waited for the noisy one");
}
