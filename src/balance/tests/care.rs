//! Ejections and returns of a set, and when they are due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::{members, seconds};
use crate::balance::care::{Changed, eject, judge, next_return, ramp, release};
use crate::balance::due::Due;
use crate::balance::member::Member;
use crate::balance::tally::Tally;
use crate::balance::{Outliers, SlowStart};
use crate::clock::Tick;
use crate::policy::Ratio;

fn called(member: &Member, succeeded: u64, failed: u64) {
    let load = &member.load.0;
    for _ in 0..succeeded {
        load.tally.began();
        load.tally.succeeded();
    }
    load.failed.fetch_add(failed, Ordering::Relaxed);
}

fn out(members: &[Arc<Member>]) -> Vec<usize> {
    let is_out = |(_, member): &(usize, &Arc<Member>)| member.ejected_until().is_some();
    let out = members.iter().enumerate().filter(is_out);
    out.map(|(place, _)| place).collect()
}

#[test]
fn an_outlier_goes_and_returns_and_stays_away_longer_each_time() {
    let members = members(&[1; 10]);
    let policy = Outliers::default();
    let mut now = 0.0;
    let mut away = Vec::new();
    for round in 0..3 {
        for (place, member) in members.iter().enumerate() {
            called(member, 200, if place == 3 { 150 } else { 0 });
        }
        let changed = judge(&members, &policy, seconds(now));
        assert_eq!(changed.ejected, [3], "round {round}");
        let until = next_return(&members).unwrap();
        away.push(until.saturating_since(seconds(now)).as_secs());
        assert!(release(&members, Tick::from_nanos(until.as_nanos() - 1)).is_empty());
        assert_eq!(release(&members, until), [3]);
        now = until.as_nanos() as f64 / 1e9;
        // Back at once: no interval of good conduct has passed.
        assert_eq!(judge(&members, &policy, seconds(now)), Changed::default());
    }
    assert_eq!(away, [30, 60, 90]);
    // Two clean intervals make it two steps shorter.
    for _ in 0..2 {
        now += 10.0;
        judge(&members, &policy, seconds(now));
    }
    eject(&members, 3, &policy, seconds(now));
    let until = next_return(&members).unwrap();
    assert_eq!(until.saturating_since(seconds(now)).as_secs(), 60);
}

#[test]
fn what_was_judged_once_is_not_judged_again() {
    let members = members(&[1; 10]);
    for (place, member) in members.iter().enumerate() {
        called(member, 1_000, if place == 3 { 900 } else { 0 });
    }
    let never = Outliers::default().max_share(Ratio::ZERO);
    assert!(judge(&members, &never, seconds(0.0)).ejected.is_empty());
    let changed = judge(&members, &Outliers::default(), seconds(10.0));
    assert_eq!(changed, Changed::default());
}

#[test]
fn who_is_out_makes_no_room_until_he_returns() {
    let members = members(&[1; 20]);
    let policy = Outliers::default();
    for place in [5, 7, 9, 7] {
        eject(&members, place, &policy, seconds(1.0));
    }
    assert_eq!(out(&members), [5, 7]);
    // 30 s later both are over, and one more may go, one of the two again.
    let changed = eject(&members, 7, &policy, seconds(31.0));
    assert_eq!((changed.returned, changed.ejected), (vec![5, 7], vec![7]));
    assert_eq!(next_return(&members), Some(seconds(91.0)));
    assert_eq!(
        eject(&members, 99, &policy, seconds(31.0)),
        Changed::default()
    );
}

#[test]
fn who_returns_starts_slowly() {
    let members = members(&[1; 4]);
    let slow = SlowStart::over(Duration::from_secs(100));
    let policy = Outliers::default();
    ramp(&members, Some(&slow), seconds(100.0));
    assert!(members.iter().all(|member| !member.is_ramping()));
    eject(&members, 2, &policy, seconds(100.0));
    release(&members, seconds(130.0));
    let next = ramp(&members, Some(&slow), seconds(155.0)).unwrap();
    let shares: Vec<f64> = members.iter().map(|member| member.ramp()).collect();
    for (share, expected) in shares.iter().zip([1.0, 1.0, 0.25, 1.0]) {
        assert!((share - expected).abs() < 1e-6, "{shares:?}");
    }
    // Soon enough that the share is never off by a hundredth.
    let step = next.saturating_since(seconds(155.0));
    assert!(
        step > Duration::ZERO && step < Duration::from_secs(1),
        "{step:?}"
    );
    assert_eq!(ramp(&members, Some(&slow), seconds(230.0)), None);
    assert_eq!(ramp(&members, None, Tick::ZERO), None);
    assert!(members.iter().all(|member| !member.is_ramping()));
}

#[test]
fn it_is_due_once() {
    let interval = Duration::from_secs(10);
    let due = Due::new(seconds(10.0));
    assert_eq!(due.at(), seconds(10.0));
    assert!(!due.claim(seconds(9.9), interval));
    assert!(due.claim(seconds(10.5), interval));
    assert!(!due.claim(seconds(10.5), interval) && due.at() > seconds(20.4));
    due.bring_forward(seconds(15.0));
    due.bring_forward(seconds(18.0));
    assert!(due.claim(seconds(15.0), interval) && !due.claim(seconds(18.0), interval));
    // The clock goes back by more than is ever waited for.
    assert!(due.claim(seconds(2.0), interval) && !due.claim(seconds(3.0), interval));
}

proptest! {
    /// However the ends mix, both counts are right, and beyond what the word holds the
    /// difference of two is.
    #[test]
    fn a_tally_is_two_counts(ends in prop::collection::vec(0..3_u8, 0..200)) {
        let (tally, mut in_flight, mut succeeded) = (Tally::default(), 0, 0);
        for end in ends {
            match end {
                1 if in_flight > 0 => {
                    tally.succeeded();
                    (in_flight, succeeded) = (in_flight - 1, succeeded + 1);
                }
                2 if in_flight > 0 => {
                    tally.ended();
                    in_flight -= 1;
                }
                _ => {
                    tally.began();
                    in_flight += 1;
                }
            }
            prop_assert_eq!((tally.in_flight(), tally.successes()), (in_flight, succeeded));
        }
    }

    /// Whatever happens: never more are out than the share and one, never all, and
    /// everybody returns in time.
    #[test]
    fn fault_090_never_all(
        n in 1..12_usize,
        percent in 0..=100_u32,
        steps in prop::collection::vec((0..12_usize, 0..40_u64, 0..300_u64), 1..80),
    ) {
        let members = members(&vec![1; n]);
        let share = Ratio::percent(percent);
        let policy = Outliers::default().max_share(share);
        let mut now = 0.0;
        for (place, pause, failed) in steps {
            now += pause as f64;
            let at = seconds(now);
            let place = place % n;
            called(&members[place], 100, failed);
            match pause % 3 {
                0 => judge(&members, &policy, at),
                _ => eject(&members, place, &policy, at),
            };
            let out = out(&members);
            prop_assert!(out.len() < n);
            prop_assert!(out.is_empty() || (out.len() - 1) * 100 < percent as usize * n);
            for place in out {
                let until = members[place].ejected_until().unwrap();
                prop_assert!(until > at);
                prop_assert!(until.saturating_since(at) <= Duration::from_secs(300));
            }
        }
    }
}
