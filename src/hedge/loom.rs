//! Another policy in every interleaving with who decides by the one before.

use std::time::Duration;

use loom::thread;

use super::policy::Policy;
use super::state::State;
use crate::budget::Budget;
use crate::clock::ManualClock;
use crate::registry::Setup;

#[test]
fn loom_hedge_update_vs_turn() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(|| {
        let [old, new] = [1, 2].map(|n| Policy::after(Duration::from_secs(n)).unwrap());
        let setup = Setup::new().with_clock(ManualClock::new().clock());
        let state = State::create(old, Budget::default(), setup);
        let mut begun = state.admit().unwrap();
        let turns = {
            let state = state.clone();
            thread::spawn(move || _ = state.pending(&mut begun))
        };
        state.update(new);
        turns.join().unwrap();
        assert_eq!(state.snapshot().delay, Some(Duration::from_secs(2)));
    });
}
