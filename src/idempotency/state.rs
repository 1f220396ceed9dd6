//! The protocol: what becomes of one key's record. No futures, no clock, no I/O.
//!
//! ```text
//!             reserve                  complete
//!   absent ───────────▶ reserved ─────────────────▶ completed
//!     ▲                  │   ▲                          │
//!     │      release     │   │ reserve, if the policy   │
//!     ├──────────────────┤   │ lets it run again        │
//!     │                  ▼   │                          │
//!     ├─────────────── unknown ── complete by the ────▶─┤
//!     │                          last owner             │
//!     └────────────── retention is over ◀───────────────┘
//! ```
//!
//! *Reserved* becomes *unknown* when its lease runs out, or when its owner says
//! that it does not know what it has done. Every step of an owner compares the
//! token: one that was taken over can change nothing any more.

use std::time::Duration;

use super::record::{Fingerprint, Owner, Token};
use super::store::{Again, Completion, Reserve};
use crate::clock::Tick;

/// What is known of one key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Entry<A> {
    fingerprint: Fingerprint,
    owner: Owner,
    token: Token,
    /// When nothing of it is known any more.
    end: Tick,
    phase: Phase<A>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase<A> {
    Reserved { until: Tick },
    Unknown,
    Completed(A),
}

/// What a request for a grant is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision<A> {
    Granted { token: Token, taken_over: bool },
    Busy(Duration),
    Unknown,
    Mismatch,
    Completed(A),
}

impl<A> Entry<A> {
    /// Whether its time is over: as if it had never been.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        now >= self.end
    }

    /// The answer, if it has one.
    pub(super) fn answer(&self) -> Option<&A> {
        match &self.phase {
            Phase::Completed(answer) => Some(answer),
            Phase::Reserved { .. } | Phase::Unknown => None,
        }
    }

    fn granted(ask: &Reserve, token: Token, now: Tick) -> Self {
        let until = now.saturating_add(ask.lease);
        Self {
            fingerprint: ask.fingerprint,
            owner: ask.owner,
            token,
            // What is unknown is remembered as long as an answer.
            end: until.saturating_add(ask.retention),
            phase: Phase::Reserved { until },
        }
    }
}

/// Somebody asks for a grant. `next` is asked for a token above all before.
pub(super) fn reserve<A: Clone>(
    entry: &mut Option<Entry<A>>,
    ask: &Reserve,
    now: Tick,
    next: impl FnOnce() -> Token,
) -> Decision<A> {
    let mut taken_over = false;
    if let Some(known) = entry.as_ref().filter(|entry| !entry.is_over(now)) {
        if known.fingerprint != ask.fingerprint {
            return Decision::Mismatch;
        }
        match &known.phase {
            Phase::Completed(answer) => return Decision::Completed(answer.clone()),
            Phase::Reserved { until } if now < *until => {
                if known.owner == ask.owner {
                    let token = known.token;
                    return Decision::Granted { token, taken_over };
                }
                return Decision::Busy(until.saturating_since(now));
            }
            Phase::Reserved { .. } | Phase::Unknown if ask.again == Again::Never => {
                return Decision::Unknown;
            }
            Phase::Reserved { .. } | Phase::Unknown => taken_over = true,
        }
    }
    let token = next();
    *entry = Some(Entry::granted(ask, token, now));
    Decision::Granted { token, taken_over }
}

/// The entry, if this owner's grant is the last one.
fn of_owner<A>(entry: &mut Option<Entry<A>>, token: Token, now: Tick) -> Option<&mut Entry<A>> {
    let entry = entry.as_mut()?;
    (entry.token == token && !entry.is_over(now)).then_some(entry)
}

/// The owner has an answer. Said twice, the first answer stays.
pub(super) fn complete<A>(
    entry: &mut Option<Entry<A>>,
    token: Token,
    answer: A,
    retention: Duration,
    now: Tick,
) -> Completion {
    match of_owner(entry, token, now) {
        None => Completion::Fenced,
        Some(entry) => {
            if entry.answer().is_none() {
                entry.phase = Phase::Completed(answer);
                entry.end = now.saturating_add(retention);
            }
            Completion::Done
        }
    }
}

/// The owner has had no effect: as if it had never asked.
pub(super) fn release<A>(entry: &mut Option<Entry<A>>, token: Token, now: Tick) -> Completion {
    match of_owner(entry, token, now) {
        Some(owned) if matches!(owned.phase, Phase::Reserved { .. }) => {
            *entry = None;
            Completion::Done
        }
        _ => Completion::Fenced,
    }
}

/// The owner goes, and does not know what it has done.
pub(super) fn abandon<A>(entry: &mut Option<Entry<A>>, token: Token, now: Tick) {
    if let Some(entry) = of_owner(entry, token, now)
        && matches!(entry.phase, Phase::Reserved { .. })
    {
        entry.phase = Phase::Unknown;
    }
}
