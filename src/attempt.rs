//! Which attempt this is, wherever you are, and whether another one is wanted.
//!
//! An [`Attempt`] is a *dynamic scope*, as a [`Deadline`](crate::deadline::Deadline)
//! is: it is in force while an attempt's service is called and its future is
//! polled, for everything that is called from there. Retry and hedge put it in
//! force; the balancer, and anybody else, reads it.
//!
//! Unlike a deadline it also carries word *back*, to whoever made the attempt:
//! - [`note`]: this endpoint was tried; the next attempt had better go elsewhere;
//! - [`mark`]: *overloaded, do not retry*. A tier that was allowed to retry and
//!   has given up says so, and no tier outside tries the same once more: with
//!   three tiers of four attempts each, one request would become 64 (Beyer et
//!   al., *Site Reliability Engineering*, chapter 21).
//!
//! So the mark needs no room in a response or in an error, a
//! [`Rejection`](crate::Rejection) or any other: within a process it flows back
//! through the scope, whatever the types are, and each tier that does not succeed
//! passes it on, also one that would not have tried again. A mark says nothing
//! about a call that succeeds. `tokio::spawn` leaves the scope: [`carry`] takes the number
//! along, and nothing comes back from there.
//!
//! Between processes, with the feature `http`, `WriteLayer` on a client and
//! `ReadLayer` on a server carry both:
//!
//! | | request | response |
//! |---|---|---|
//! | `Wire::Http` | `x-attempt`: the number, from 2 on | `x-should-retry: false` |
//! | `Wire::Grpc` | `grpc-previous-rpc-attempts`: the number less one, from 1 on | `grpc-retry-pushback-ms: -1` |
//!
//! A first attempt writes nothing. The gRPC names are those of its proposal A6;
//! `x-should-retry` is what several public interfaces answer.
//!
//! ```
//! use tower_keep::attempt::{self, Attempt, EndpointId};
//!
//! let mut attempt = Attempt::first();
//! attempt.scope(|| {
//!     assert_eq!(Attempt::current().map(|a| a.number()), Some(1));
//!     attempt::note(EndpointId::new(7));
//!     attempt::mark();
//! });
//! assert!(attempt.has_tried(EndpointId::new(7)) && attempt.is_marked());
//! assert_eq!(attempt.next().number(), 2);
//! assert_eq!(Attempt::current(), None);
//! ```

mod scoped;
#[cfg(test)]
mod tests;

use std::cell::Cell;

pub use self::scoped::{Scoped, carry};

use crate::error::LayerId;

#[cfg(feature = "http")]
pub use crate::http::attempt::{Read, ReadFuture, ReadLayer, Wire, Write, WriteFuture, WriteLayer};

/// An endpoint of a balancer: unique among those of the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u32);

impl EndpointId {
    /// The endpoint of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// How many endpoints an attempt remembers: of more, the latest.
const REMEMBERED: usize = 6;

/// One attempt at a request: its number, which endpoints were tried before, and
/// whether another attempt would do harm. 32 bytes, `Copy`.
#[derive(Clone, Copy)]
pub struct Attempt {
    head: Head,
    tried: [EndpointId; REMEMBERED],
}

/// What nearly every attempt consists of, in one word: the number, from 1, and 0
/// only where no attempt is in force; the mark; how many endpoints are remembered,
/// the place of the next one, and the budget that the request has paid into.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head(u64);

const NUMBER: u64 = 0xffff_ffff;
const MARK: u64 = 1 << 32;
const LEN: u32 = 33;
const NEXT: u32 = 36;
const DIGIT: u64 = 0b111;
/// The endpoints' part.
const TRIED: u64 = DIGIT << LEN | DIGIT << NEXT;
/// The budget's part: of its number, as much as there is room for.
const PAID: u64 = u64::MAX << PAID_AT;
const PAID_AT: u32 = 39;

impl Head {
    /// No attempt.
    const NONE: Self = Self(0);

    #[allow(clippy::cast_possible_truncation)] // masked
    const fn number(self) -> u32 {
        (self.0 & NUMBER) as u32
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    const fn len(self) -> usize {
        (self.0 >> LEN & DIGIT) as usize
    }

    #[allow(clippy::cast_possible_truncation)] // masked
    const fn next(self) -> usize {
        (self.0 >> NEXT & DIGIT) as usize
    }

    /// The same attempt, which has tried what the other one has.
    const fn having_tried(self, other: Self) -> Self {
        Self(self.0 & !TRIED | other.0 & TRIED)
    }
}

const NONE: Attempt = Attempt {
    head: Head::NONE,
    tried: [EndpointId(0); REMEMBERED],
};

/// The attempt in force; its endpoints mean nothing while there are none.
struct Current {
    head: Cell<Head>,
    tried: Cell<[EndpointId; REMEMBERED]>,
}

thread_local! {
    static CURRENT: Current = const {
        Current {
            head: Cell::new(NONE.head),
            tried: Cell::new(NONE.tried),
        }
    };
}

impl Current {
    fn get(&self) -> Attempt {
        let head = self.head.get();
        let tried = match head.len() {
            0 => NONE.tried,
            _ => self.tried.get(),
        };
        Attempt { head, tried }
    }

    fn set(&self, attempt: Attempt) {
        self.head.set(attempt.head);
        self.tried.set(attempt.tried);
    }
}

impl Attempt {
    /// The first one.
    #[must_use]
    pub const fn first() -> Self {
        Self::nth(1)
    }

    /// The attempt of this number; 0 counts as 1.
    #[must_use]
    pub const fn nth(number: u32) -> Self {
        let number = if number == 0 { 1 } else { number };
        Self {
            head: Head(number as u64),
            ..NONE
        }
    }

    /// The attempt in force here, if any.
    #[must_use]
    pub fn current() -> Option<Self> {
        let current = CURRENT.try_with(Current::get).unwrap_or(NONE);
        (current.number() != 0).then_some(current)
    }

    /// The attempt after this one: it knows what was tried, and bears no mark.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            head: Head(self.number().saturating_add(1) as u64 | self.head.0 & PAID)
                .having_tried(self.head),
            ..self
        }
    }

    /// The number: 1 for the first attempt.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.head.number()
    }

    /// The endpoints tried so far, the latest six at most, in no order.
    #[must_use]
    pub fn tried(&self) -> &[EndpointId] {
        &self.tried[..self.head.len()]
    }

    /// Whether this endpoint is among them.
    #[must_use]
    pub fn has_tried(&self, endpoint: EndpointId) -> bool {
        self.tried().contains(&endpoint)
    }

    /// Whether somebody inside said: overloaded, do not retry.
    #[must_use]
    pub const fn is_marked(&self) -> bool {
        self.head.0 & MARK != 0
    }

    /// The first one, and without a mark, as nearly all are.
    #[cfg(feature = "retry")]
    pub(crate) const fn is_plain(&self) -> bool {
        self.head.0 & (NUMBER | MARK) == 1
    }

    /// The same attempt, of a request that has paid into this budget.
    #[cfg(any(feature = "retry", feature = "hedge"))]
    pub(crate) const fn paid_into(self, budget: LayerId) -> Self {
        let head = Head(self.head.0 & !PAID | (budget.0 as u64) << PAID_AT);
        Self { head, ..self }
    }

    fn note(&mut self, endpoint: EndpointId) {
        if self.has_tried(endpoint) {
            return;
        }
        let place = self.head.next();
        self.tried[place] = endpoint;
        let len = self.head.len().max(place + 1) as u64;
        let next = ((place + 1) % REMEMBERED) as u64;
        let tried = Head(len << LEN | next << NEXT);
        self.head = self.head.having_tried(tried);
    }

    /// Runs `f` with this attempt in force, and learns from it.
    pub fn scope<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _scope = Scope::enter(self);
        f()
    }

    /// A future that is polled with this attempt in force. What it learns is with
    /// [`Scoped::attempt`].
    pub fn wrap<F>(self, future: F) -> Scoped<F> {
        Scoped {
            future,
            attempt: self,
        }
    }
}

impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.head.0 & !PAID == other.head.0 & !PAID && self.tried == other.tried
    }
}

impl Eq for Attempt {}

/// The span of an attempt after the first.
#[cfg(any(feature = "retry", feature = "hedge"))]
pub(crate) fn span(
    name: &str,
    attempt: Attempt,
    delay: std::time::Duration,
    reason: &'static str,
) -> tracing::Span {
    let number = attempt.number();
    tracing::debug_span!(target: "tower_keep", "attempt", name, number, ?delay, reason)
}

/// Whether the request has paid into this budget already, further outside.
#[inline]
pub(crate) fn has_paid_into(budget: LayerId) -> bool {
    let head = CURRENT.try_with(|current| current.head.get());
    let paid = head.unwrap_or(Head::NONE).0 & PAID;
    paid != 0 && paid == u64::from(budget.0) << PAID_AT
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "attempt {}", self.number())
    }
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("number", &self.number())
            .field("tried", &self.tried())
            .field("marked", &self.is_marked())
            .finish()
    }
}

fn change(f: impl FnOnce(&mut Attempt)) {
    let _ = CURRENT.try_with(|current| {
        let mut attempt = current.get();
        if attempt.number() != 0 {
            f(&mut attempt);
            current.set(attempt);
        }
    });
}

/// The attempt in force here goes to this endpoint. Those around it learn it,
/// too. Without an attempt in force, nothing.
pub fn note(endpoint: EndpointId) {
    change(|attempt| attempt.note(endpoint));
}

/// Overloaded, do not retry: for the attempt in force here. Without one,
/// nothing.
pub fn mark() {
    change(|attempt| attempt.head.0 |= MARK);
}

/// Puts an attempt in force until it is dropped, also by a panic.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    attempt: &'a mut Attempt,
    /// That of the attempt outside. Its endpoints are not kept: what was tried
    /// outside is taken over, and left behind with what was tried inside.
    outer: Head,
}

impl<'a> Scope<'a> {
    #[inline]
    pub(crate) fn enter(attempt: &'a mut Attempt) -> Self {
        let enter = |current: &Current| {
            let outer = current.head.get();
            if (outer.0 | attempt.head.0) & TRIED != 0 {
                attempt.inherit(current);
            }
            current.head.set(attempt.head);
            outer
        };
        let outer = CURRENT.try_with(enter).unwrap_or(Head::NONE);
        Self { attempt, outer }
    }
}

impl Attempt {
    /// What was tried outside was tried.
    #[cold]
    fn inherit(&mut self, current: &Current) {
        for endpoint in current.get().tried() {
            self.note(*endpoint);
        }
        current.tried.set(self.tried);
    }
}

impl Drop for Scope<'_> {
    #[inline]
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| {
            let head = current.head.get();
            self.attempt.head = head;
            // Of what is tried inside, nothing is forgotten: where there is none,
            // there was none outside.
            let mut outer = self.outer;
            if head.0 & TRIED != 0 {
                self.attempt.tried = current.tried.get();
                if outer != Head::NONE {
                    outer = outer.having_tried(head);
                }
            }
            current.head.set(outer);
        });
    }
}
