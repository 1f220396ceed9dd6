//! A retry from outside: to watch it, to steer it, and for code that is no Tower
//! service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::future::RetryFuture;
use super::rules::{Again, Rules, When, when};
use super::session::Session;
use super::state::State;
use crate::attempt::Attempt;
use crate::budget::Budget;
use crate::error::Error;
use crate::kernel::guard::Guard;
use crate::kernel::macros::steers;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::replay::Cloned;

/// A retry from outside. Clones are the same retry.
#[derive(Clone)]
pub struct Handle {
    state: Shared<State>,
}

/// What a retry has counted.
///
/// Every request is in one of `in_flight`, `succeeded`, `failed`, `neutral` and
/// `cancelled`, by how its last attempt ended. Those from `recovered` on say why
/// requests that were tried more than once, or were to be, got no other attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// Requests that have not ended, those that wait for their next attempt among
    /// them.
    pub in_flight: u64,
    /// Requests that ended as they should, with their first or a later attempt.
    pub succeeded: u64,
    /// Requests that ended in a failure.
    pub failed: u64,
    /// Requests whose end says nothing: refusals of layers inside, callers'
    /// mistakes.
    pub neutral: u64,
    /// Requests that were dropped.
    pub cancelled: u64,
    /// Requests refused before the inner service was called.
    pub rejected: u64,
    /// Retries that were decided on: attempts beyond the first ones, but for those
    /// that were cancelled during their wait or found the service not ready.
    pub retried: u64,
    /// Requests that succeeded after more than one attempt.
    pub recovered: u64,
    /// Whose last attempt ended in what is not tried again.
    pub ended_final: u64,
    /// That had as many attempts as the policy allows.
    pub exhausted: u64,
    /// For which the budget had nothing left.
    pub over_budget: u64,
    /// Whose deadline left no time for another attempt.
    pub past_deadline: u64,
    /// That could not be sent again.
    pub unrepeatable: u64,
    /// Of which the server, or a tier inside, said not to try again.
    pub unwanted: u64,
    /// For which the service did not become ready again.
    pub not_ready: u64,
    /// That had to wait where no timer runs.
    pub no_runtime: u64,
    /// Failures that [`Override::Bypass`](crate::Override::Bypass) kept from being
    /// tried again.
    pub bypassed: u64,
}

steers! {
    State,
    {
        /// It holds for the attempts that end from now on; requests that began when
        /// there was to be one attempt only are not tried again.
        update
    }
    {
        /// Under [`Override::Bypass`](crate::Override::Bypass) every request is sent
        /// once. Under [`Override::Close`](crate::Override::Close) requests are
        /// refused.
        set_override
    }
}

impl Handle {
    /// The budget of its retries.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.state.budget.clone()
    }

    /// Runs something that is no Tower service, and again after each error, as
    /// often and as soon as the policy, the budget and the caller's deadline allow.
    ///
    /// # Errors
    /// That of the last attempt, or [`Closed`](crate::RejectionKind::Closed).
    ///
    /// # Cancel safety
    /// Dropped, it drops the attempt that is under way.
    ///
    /// ```
    /// use tower_keep::retry::{Idempotent, Policy, RetryLayer};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let database = RetryLayer::new(Policy::default(), Idempotent::new()).handle();
    /// let rows = database
    ///     .run(|attempt| async move {
    ///         match attempt.number() {
    ///             1 => Err("connection reset"),
    ///             _ => Ok(7),
    ///         }
    ///     })
    ///     .await;
    /// assert_eq!(rows, Ok(7));
    /// # }
    /// ```
    pub async fn run<T, E, F, Fut>(&self, work: F) -> Result<T, Error<E>>
    where
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_by(every::<T, E>(), work).await
    }

    /// As [`run`](Self::run), after the errors for which `judge` says so.
    ///
    /// # Errors
    /// As there.
    pub async fn run_if<T, E, J, F, Fut>(&self, judge: J, work: F) -> Result<T, Error<E>>
    where
        J: Fn(&E) -> Again,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let rules = when(move |result: Result<&T, &Error<E>>| match result {
            Err(Error::Inner(error)) => judge(error),
            _ => Again::No,
        });
        self.run_by(rules, work).await
    }

    async fn run_by<T, E, Y, F, Fut>(&self, rules: Y, work: F) -> Result<T, Error<E>>
    where
        Y: Rules<(), T, Error<E>>,
        F: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let (begun, _) = self.state.admit()?;
        let guard = Guard::new(&self.state, begun);
        let seen = rules.see(&());
        let service = ((Readied::new(Work(work)), Cloned), ());
        let attempt = Attempt::first().paid_into(self.state.budget.id());
        let mut session = Session::new(guard, attempt, Some((rules, seen)), Some(service));
        match session.call(()) {
            Some(first) => RetryFuture::<_, (), _, _>::going_on(session, first).await,
            None => std::future::pending().await,
        }
    }
}

type Judge<T, E> = fn(Result<&T, &Error<E>>) -> Again;

/// After each error.
fn every<T, E>() -> When<Judge<T, E>> {
    when(|result: Result<&T, &Error<E>>| match result {
        Ok(_) => Again::No,
        Err(_) => Again::Yes,
    })
}

/// A function as a service.
struct Work<F>(F);

impl<T, E, F, Fut> Service<()> for Work<F>
where
    F: FnMut(Attempt) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = Error<E>;
    type Future = Lifted<Fut>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error<E>>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Lifted<Fut> {
        let attempt = Attempt::current().unwrap_or(Attempt::first());
        Lifted {
            future: (self.0)(attempt),
        }
    }
}

pin_project! {
    struct Lifted<F> {
        #[pin]
        future: F,
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Lifted<F> {
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().future.poll(cx).map_err(Error::Inner)
    }
}
