//! The alarm: who arms, who cancels, and who drives.

use std::sync::Arc;
use std::task::Waker;

use loom::thread;

use super::{Wakes, model};
use crate::clock::Tick;
use crate::kernel::wheel::{Alarm, Next};

fn tick(nanos: u64) -> Tick {
    Tick::from_nanos(nanos)
}

fn waker() -> (Arc<Wakes>, Waker) {
    let wakes = Arc::new(Wakes::default());
    (Arc::clone(&wakes), Waker::from(wakes))
}

/// An alarm with what its driver sleeps by, in nanoseconds.
struct Driven {
    alarm: Alarm,
    sleep: loom::sync::Mutex<u64>,
}

impl Driven {
    fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self {
            alarm: Alarm::new(shards),
            sleep: loom::sync::Mutex::new(u64::MAX),
        })
    }

    fn plan(&self) {
        let mut sleep = self.sleep.lock().unwrap();
        *sleep = self.alarm.planned().as_nanos();
    }

    fn arm(&self, shard: u32, due: u64, now: u64) {
        let waker = Waker::noop().clone();
        let armed = self.alarm.arm(shard, tick(due), tick(now), waker);
        if armed.unwrap().1 {
            self.plan();
        }
    }

    fn drive(&self, now: u64) {
        assert_eq!(self.alarm.turn(tick(now), 0), Next::Sleep);
        self.plan();
    }

    /// The driver wakes in time.
    fn assert_covers(&self, due: u64) {
        let sleep = *self.sleep.lock().unwrap();
        assert!(sleep <= due, "it sleeps until {sleep}");
    }
}

#[test]
fn loom_wheel_arm_is_seen_or_shortens_the_sleep() {
    model(3, || {
        let driven = Driven::new(1);
        // The plan for another timer, which is due now.
        driven.arm(0, 8, 5);
        driven.drive(5);
        driven.assert_covers(8);
        let arming = {
            let driven = Arc::clone(&driven);
            thread::spawn(move || driven.arm(0, 20, 10))
        };
        driven.drive(10);
        arming.join().unwrap();
        driven.assert_covers(20);
    });
}

#[test]
fn loom_wheel_two_arm_while_it_plans() {
    model(2, || {
        let driven = Driven::new(2);
        let arming = [(0, 30), (1, 20)].map(|(shard, due)| {
            let driven = Arc::clone(&driven);
            thread::spawn(move || driven.arm(shard, due, 10))
        });
        driven.drive(10);
        for thread in arming {
            thread.join().unwrap();
        }
        driven.assert_covers(20);
    });
}

#[test]
fn loom_wheel_cancel_against_fire() {
    model(3, || {
        let alarm = Arc::new(Alarm::new(1));
        let (wakes, timer) = waker();
        let (place, _) = alarm.arm(0, tick(5), tick(1), timer).unwrap();
        let driving = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || alarm.turn(tick(10), 0))
        };
        alarm.cancel(0, place);
        driving.join().unwrap();
        assert!(wakes.count() <= 1);
        assert_eq!(Arc::strong_count(&wakes), 1, "the waker is kept");
        assert_eq!(alarm.armed(), 0);
    });
}

#[test]
fn loom_wheel_renew_against_fire() {
    model(3, || {
        let alarm = Arc::new(Alarm::new(1));
        let (first, old) = waker();
        let (second, new) = waker();
        let (place, _) = alarm.arm(0, tick(5), tick(1), old).unwrap();
        let driving = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || alarm.turn(tick(10), 0))
        };
        let armed = alarm.renew(0, place, &new);
        driving.join().unwrap();
        // Who is told that it is armed is woken; the other knows that it fired.
        let woken = if armed { second.count() } else { first.count() };
        assert_eq!(woken, 1, "armed: {armed}");
    });
}

#[test]
fn loom_wheel_close_against_arm() {
    model(3, || {
        let alarm = Arc::new(Alarm::new(1));
        let (wakes, timer) = waker();
        let closing = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || alarm.close())
        };
        let armed = alarm.arm(0, tick(5), tick(1), timer).is_ok();
        closing.join().unwrap();
        assert_eq!(wakes.count(), u32::from(armed), "armed: {armed}");
        assert_eq!(alarm.armed(), 0);
    });
}
