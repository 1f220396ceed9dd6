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

/// Takes turns like the driver's task: one, and one more for each time it was
/// roused meanwhile. Returns its plan and how often it has been roused since.
fn drive(alarm: &Alarm, now: Tick) -> (Next, Arc<Wakes>, u32) {
    let (wakes, driver) = waker();
    let mut seen = 0;
    loop {
        let next = alarm.turn(now, &driver);
        let roused = wakes.count();
        if roused == seen {
            return (next, wakes, seen);
        }
        seen = roused;
    }
}

/// Who arms is seen by the driver's plan, or rouses it.
fn is_covered(plan: Next, due: u64) -> bool {
    matches!(plan, Next::At(at) if at <= tick(due))
}

#[test]
fn loom_wheel_arm_is_seen_or_rouses() {
    model(3, || {
        let alarm = Arc::new(Alarm::new(1));
        // The plan for another timer, which is due now.
        alarm
            .arm(0, tick(8), tick(5), Waker::noop().clone())
            .unwrap();
        assert_eq!(drive(&alarm, tick(5)).0, Next::At(tick(8)));
        let arming = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || {
                alarm
                    .arm(0, tick(20), tick(10), Waker::noop().clone())
                    .unwrap();
            })
        };
        let (plan, wakes, seen) = drive(&alarm, tick(10));
        arming.join().unwrap();
        assert!(is_covered(plan, 20) || wakes.count() > seen, "{plan:?}");
    });
}

#[test]
fn loom_wheel_two_arm_while_it_plans() {
    model(2, || {
        let alarm = Arc::new(Alarm::new(2));
        let arming = [(0, 30), (1, 20)].map(|(shard, due)| {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || {
                let waker = Waker::noop().clone();
                alarm.arm(shard, tick(due), tick(10), waker).unwrap();
            })
        });
        let (plan, wakes, seen) = drive(&alarm, tick(10));
        for thread in arming {
            thread.join().unwrap();
        }
        assert!(is_covered(plan, 20) || wakes.count() > seen, "{plan:?}");
    });
}

#[test]
fn loom_wheel_cancel_against_fire() {
    model(3, || {
        let alarm = Arc::new(Alarm::new(1));
        let (wakes, timer) = waker();
        let place = alarm.arm(0, tick(5), tick(1), timer).unwrap();
        let driving = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || alarm.turn(tick(10), Waker::noop()))
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
        let place = alarm.arm(0, tick(5), tick(1), old).unwrap();
        let driving = {
            let alarm = Arc::clone(&alarm);
            thread::spawn(move || alarm.turn(tick(10), Waker::noop()))
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
