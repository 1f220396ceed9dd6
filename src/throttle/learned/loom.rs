use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::learner::{Learner, May};
use crate::clock::Tick;
use crate::kernel::keyed::Evict;

const LONGEST: Duration = Duration::from_secs(1);

fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Whoever asks while the first rate is put in force is let go, or asks a bucket that
/// has one; afterwards the bucket is empty for everybody.
#[test]
fn loom_learnt_first_rate() {
    model(|| {
        let now = Tick::from_nanos(1_000_000);
        let learner = Arc::new(Learner::new(now));
        learner.sent();
        let other = {
            let learner = Arc::clone(&learner);
            thread::spawn(move || learner.ask(now, Duration::ZERO, LONGEST))
        };
        let rate = learner.too_much(now, now, LONGEST).unwrap();
        assert!(rate.is_some());
        match other.join().unwrap() {
            May::Go => {}
            // One request in 2 · 0.7 a second.
            May::Wait(wait, None) => assert!(wait > Duration::from_millis(700)),
            other => panic!("{other:?}"),
        }
        let may = learner.ask(now, Duration::ZERO, LONGEST);
        assert!(matches!(may, May::Wait(..)), "{may:?}");
    });
}

/// Two answers to requests that were sent before either: the rate is lowered once.
#[test]
fn loom_learnt_once() {
    model(|| {
        let sent = Tick::from_nanos(1_000_000);
        let now = sent.saturating_add(Duration::from_millis(1));
        let learner = Arc::new(Learner::new(sent));
        learner.sent();
        let other = {
            let learner = Arc::clone(&learner);
            thread::spawn(move || learner.too_much(now, sent, LONGEST).unwrap().is_some())
        };
        let mine = learner.too_much(now, sent, LONGEST).unwrap().is_some();
        assert_ne!(mine, other.join().unwrap());
    });
}

/// What a server said is not forgotten with it: it was retired before, or stays.
#[test]
fn loom_learnt_vs_retire() {
    model(|| {
        let begun = Tick::from_nanos(1_000_000);
        let now = begun.saturating_add(Duration::from_secs(100));
        let learner = Arc::new(Learner::new(begun));
        let other = {
            let learner = Arc::clone(&learner);
            thread::spawn(move || learner.try_retire(now))
        };
        let learnt = learner.too_much(now, now, LONGEST).is_some();
        let retired = other.join().unwrap();
        let may = learner.ask(now, Duration::ZERO, LONGEST);
        match learnt {
            true => assert!(!retired && matches!(may, May::Wait(..))),
            false => assert!(retired && may == May::Gone),
        }
    });
}
