//! All that two or three owners can do to one record: every order of their steps,
//! a crash at each of them, and a clock that jumps to any time in between.

use std::collections::HashSet;

use super::super::record::Token;
use super::super::state::{self, Decision, Entry};
use super::super::store::{Again, Completion};
use super::{SECOND, ask};
use crate::clock::Tick;

/// The lease is two seconds; retention is longer than any time here.
const TIMES: [u64; 5] = [0, 1, 2, 3, 5];

/// Where one owner stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum At {
    Asking,
    Granted(Token),
    /// The effect is there, the record is not.
    Effect(Token),
    /// Completed, released, given up, refused, crashed.
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: Tick,
    entry: Option<Entry<u8>>,
    owners: Vec<At>,
    tokens: u64,
    effects: u8,
    /// Completions that made a record: which owner's.
    completed: Option<u8>,
}

struct Explorer {
    again: Again,
    seen: HashSet<World>,
    taken_over: u64,
    fenced: u64,
}

fn tick(seconds: u64) -> Tick {
    Tick::ZERO.saturating_add(SECOND * u32::try_from(seconds).unwrap())
}

impl Explorer {
    fn run(again: Again, owners: usize) -> Self {
        let mut explorer = Self {
            again,
            seen: HashSet::new(),
            taken_over: 0,
            fenced: 0,
        };
        let mut open = vec![World {
            now: tick(1),
            entry: None,
            owners: vec![At::Asking; owners],
            tokens: 0,
            effects: 0,
            completed: None,
        }];
        while let Some(world) = open.pop() {
            if explorer.seen.insert(world.clone()) {
                explorer.check(&world);
                explorer.successors(&world, &mut open);
            }
        }
        explorer
    }

    fn check(&self, world: &World) {
        if self.again == Again::Never {
            assert!(world.effects <= 1, "two effects: {world:?}");
        }
        let answer = world.entry.as_ref().and_then(Entry::answer).copied();
        assert_eq!(answer, world.completed, "{world:?}");
    }

    fn successors(&mut self, world: &World, open: &mut Vec<World>) {
        for time in TIMES {
            open.push(World {
                now: tick(time),
                ..world.clone()
            });
        }
        for (number, at) in world.owners.iter().enumerate() {
            let id = u8::try_from(number).unwrap();
            let mut push = |at: At, change: &mut dyn FnMut(&mut World)| {
                let mut next = world.clone();
                next.owners[number] = at;
                change(&mut next);
                open.push(next);
            };
            match *at {
                At::Gone => {}
                At::Asking => {
                    let mut next = world.clone();
                    let decision = self.reserve(&mut next, id);
                    next.owners[number] = match decision {
                        Decision::Granted { token, .. } => At::Granted(token),
                        // The answer is that of the one completion.
                        Decision::Completed(answer) => {
                            assert_eq!(Some(answer), world.completed, "{world:?}");
                            At::Gone
                        }
                        Decision::Busy(_) => At::Asking,
                        Decision::Unknown => At::Gone,
                        Decision::Mismatch => panic!("nobody asks for anything else"),
                    };
                    // Asked again, as if the first answer had been lost.
                    if let At::Granted(token) = next.owners[number] {
                        let mut twice = next.clone();
                        let said = self.reserve(&mut twice, id);
                        if let Decision::Granted { token: second, .. } = said {
                            assert_eq!(token, second, "{world:?}");
                        }
                    }
                    open.push(next);
                }
                At::Granted(token) => {
                    push(At::Effect(token), &mut |next| next.effects += 1);
                    push(At::Gone, &mut |next| {
                        state::release(&mut next.entry, token, next.now);
                    });
                    push(At::Gone, &mut |next| {
                        state::abandon(&mut next.entry, token, next.now);
                    });
                    push(At::Gone, &mut |_| {});
                }
                At::Effect(token) => {
                    let fenced = &mut self.fenced;
                    push(At::Gone, &mut |next| {
                        let (now, retention) = (next.now, SECOND * 1_000);
                        match state::complete(&mut next.entry, token, id, retention, now) {
                            Completion::Done => {
                                assert_eq!(next.completed, None, "two completions: {world:?}");
                                next.completed = Some(id);
                            }
                            _ => *fenced += 1,
                        }
                        // Said again, it changes nothing.
                        let before = next.entry.clone();
                        state::complete(&mut next.entry, token, id + 100, retention, now);
                        assert_eq!(before, next.entry);
                    });
                    push(At::Gone, &mut |next| {
                        state::abandon(&mut next.entry, token, next.now);
                    });
                    push(At::Gone, &mut |_| {});
                }
            }
        }
        // Somebody with another payload changes nothing, whenever he comes.
        if world.entry.is_some() {
            let mut entry = world.entry.clone();
            let other = ask(99, b"other", self.again);
            let said = state::reserve(&mut entry, &other, world.now, || unreachable!());
            assert_eq!(said, Decision::Mismatch);
            assert_eq!(entry, world.entry);
        }
    }

    fn reserve(&mut self, world: &mut World, id: u8) -> Decision<u8> {
        let mut ask = ask(id.into(), b"payload", self.again);
        ask.lease = SECOND * 2;
        ask.retention = SECOND * 1_000;
        let tokens = &mut world.tokens;
        let decision = state::reserve(&mut world.entry, &ask, world.now, || {
            *tokens += 1;
            Token::new(*tokens)
        });
        if let Decision::Granted {
            taken_over: true, ..
        } = decision
        {
            self.taken_over += 1;
        }
        decision
    }
}

#[test]
fn fault_071_never_run_again_never_two_effects() {
    for owners in [2, 3] {
        let explorer = Explorer::run(Again::Never, owners);
        assert!(explorer.seen.len() > 500, "{}", explorer.seen.len());
        assert_eq!(explorer.taken_over, 0);
    }
}

#[test]
fn fault_071_taken_over_never_two_completions() {
    for owners in [2, 3] {
        let explorer = Explorer::run(Again::Allowed, owners);
        // It is not for want of trying.
        assert!(explorer.taken_over > 0 && explorer.fenced > 0);
    }
}
