use std::sync::atomic::{AtomicBool, Ordering};

use crate::kernel::live::Live;

/// A version of four words that belong together.
fn version(n: u64) -> [u64; 4] {
    [n, !n, n.rotate_left(17), n.wrapping_mul(3)]
}

/// Fault 28: eight threads update ten thousand times each, and nobody sees a mix.
#[test]
fn fault_028_never_torn() {
    const UPDATES: u64 = 10_000;
    let live = Live::new(version(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let seen = live.load();
                    assert_eq!(seen, version(seen[0]));
                    let [n, inverse] = live.load_first();
                    assert_eq!(inverse, !n);
                    assert!(live.word::<1>() >= !(8 * UPDATES));
                }
            });
        }
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let live = &live;
                scope.spawn(move || {
                    let mut last = 0;
                    for n in 1..=UPDATES {
                        live.store(version(writer * UPDATES + n));
                        let seen = live.load();
                        assert_eq!(seen, version(seen[0]));
                        // Its own updates never come back.
                        if seen[0].div_ceil(UPDATES) == writer + 1 {
                            assert!(seen[0] >= last, "{seen:?} after {last}");
                            last = writer * UPDATES + n;
                        }
                    }
                });
            }
        });
        done.store(true, Ordering::Release);
    });
    let last = live.load();
    assert_eq!(last[0] % UPDATES, 0);
    assert_eq!([live.word::<0>(), live.word::<3>()], [last[0], last[3]]);
}
