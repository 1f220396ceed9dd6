//! Many threads at once, on the real clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use tower_keep::balance::{Endpoint, LeastRequest, PeakEwma, Policy, Prequal, RoundRobin, Watch};
use tower_keep::test_util::Hand;

use super::{Ask, World, endpoints};
use crate::support::full_scale;

/// Calls go on while the set is made anew again and again, by an operator and by
/// discovery: none is refused, and each is counted once, where it began.
#[test]
fn fault_096_a_set_that_changes_under_calls_loses_and_doubles_none() {
    for picker in 0..4 {
        let policy = Policy::builder();
        let policy = match picker {
            0 => policy.picker(LeastRequest::default()),
            1 => policy.picker(RoundRobin::default()),
            2 => policy.picker(PeakEwma::default()),
            _ => policy.picker(Prequal::default()),
        };
        let world = World::default();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let (send, receive) = tokio::sync::watch::channel(endpoints(names));
        let balance = world.balance(policy.build().unwrap(), Watch::new(receive));
        let handle = balance.handle();
        let ends = AtomicBool::new(false);
        let calls = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let (mut balance, ends) = (balance.clone(), &ends);
                    scope.spawn(move || {
                        let mut calls = 0_u64;
                        while !ends.load(Ordering::Relaxed) {
                            let call = tower::Service::call(&mut balance, Ask::Now);
                            let mut hand = Hand::new(call);
                            match calls % 8 {
                                // Dropped before it ends.
                                7 => drop(hand),
                                _ => assert!(matches!(hand.poll(), Poll::Ready(Ok(_)))),
                            }
                            calls += 1;
                        }
                        calls
                    })
                })
                .collect();
            for turn in 0..full_scale(20_000, 2_000) {
                let snapshot = handle.snapshot();
                let turn = usize::try_from(turn).unwrap();
                let one = snapshot.endpoints.get(turn % 7).map(|e| e.id);
                if let Some(one) = one {
                    let _ = handle.eject(one);
                    let _ = handle.restore(one);
                }
                let gone = names[1 + turn % 7];
                let some = names.iter().filter(|name| **name != gone);
                send.send(some.copied().map(Endpoint::from).collect())
                    .unwrap();
            }
            ends.store(true, Ordering::Relaxed);
            callers
                .into_iter()
                .map(|caller| caller.join().unwrap())
                .sum::<u64>()
        });
        let snapshot = handle.snapshot();
        assert!(calls > 100, "{calls}");
        assert_eq!(snapshot.in_flight, 0);
        assert!(
            snapshot.endpoints.iter().all(|e| e.in_flight == 0),
            "{snapshot:?}"
        );
        assert_eq!(snapshot.succeeded + snapshot.cancelled, calls);
        assert!(snapshot.cancelled > 0);
        assert_eq!((snapshot.failed, snapshot.rejected), (0, 0));
    }
}
