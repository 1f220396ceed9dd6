//! The ring is turned by one thread, and no call is lost or counted twice.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::model;
use crate::clock::Tick;
use crate::kernel::recent::Recent;

#[test]
fn loom_recent_turns_once_and_loses_nothing() {
    model(2, || {
        let recent = Arc::new(Recent::default());
        let (window, now) = (Duration::from_nanos(40), Tick::from_nanos(10));
        let mut turns = u64::from(recent.turn(now, window, || [0, 0]));
        let other = {
            let recent = Arc::clone(&recent);
            thread::spawn(move || {
                recent.record(Duration::from_nanos(1));
                u64::from(recent.turn(Tick::from_nanos(25), window, || [1, 0]))
            })
        };
        recent.record(Duration::from_nanos(2));
        turns += u64::from(recent.turn(Tick::from_nanos(26), window, || [1, 0]));
        turns += other.join().unwrap();
        assert_eq!(turns, 2);
        assert_eq!(recent.quantile(1_000), (2, Some(Duration::from_nanos(2))));
    });
}
