//! The future of a call that may be guarded.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::exchange::{Answers, Asked, Collected, Given, Got, Limits, Requests, Sent};
use super::session::{Session, Ticket, Turn};
use super::store::Store;
use super::tally::{Count, Tally};
use crate::classify::{Outcome, of_error};
use crate::deadline::Deadline;
use crate::error::{AsRejection, Rejection};
use crate::event::Guarding;
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};
use crate::kernel::ready::Readied;

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

pin_project! {
    /// The future of [`Idempotency`](super::Idempotency). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct IdempotencyFuture<F, T, E, X> {
        #[pin]
        stage: Stage<F, T, E>,
        // Of a call that is not guarded; gone when it has ended.
        passing: Option<(Guard<Tally>, X)>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, T, E> {
        Passing { #[pin] gate: Gate<F, E> },
        Guarded { #[pin] gate: Gate<Boxed<T, E>, E> },
    }
}

impl<F, T, E, X> IdempotencyFuture<F, T, E, X> {
    pub(super) fn refused(error: E) -> Self {
        let gate = Gate::refused(error);
        Self {
            stage: Stage::Passing { gate },
            passing: None,
        }
    }

    #[inline]
    pub(super) fn passing(future: F, guard: Guard<Tally>, exchange: X) -> Self {
        let gate = Gate::open(future);
        Self {
            stage: Stage::Passing { gate },
            passing: Some((guard, exchange)),
        }
    }

    pub(super) fn guarded(future: Boxed<T, E>) -> Self {
        let gate = Gate::open(future);
        Self {
            stage: Stage::Guarded { gate },
            passing: None,
        }
    }
}

fn outcome<T, E: AsRejection>(result: &Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Success,
        Err(error) => of_error(error),
    }
}

impl<F, Res, E, X> Future for IdempotencyFuture<F, X::Response, E, X>
where
    F: Future<Output = Result<Res, E>>,
    E: AsRejection,
    X: Answers<Res>,
{
    type Output = Result<X::Response, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match (this.stage.project(), &mut *this.passing) {
            (StageProj::Guarded { gate }, _) => gate.poll(cx),
            (StageProj::Passing { gate }, Some((guard, exchange))) => {
                let result = ready!(through(guard, || gate.poll(cx)));
                guard.finish(outcome(&result));
                let result = result.map(|answer| exchange.pass(answer));
                *this.passing = None;
                Poll::Ready(result)
            }
            // Refused: the gate holds an error, never an answer.
            (StageProj::Passing { gate }, None) => match ready!(gate.poll(cx)) {
                Err(error) => Poll::Ready(Err(error)),
                Ok(_) => Poll::Pending,
            },
        }
    }
}

impl<F, T, E, X> fmt::Debug for IdempotencyFuture<F, T, E, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, gate): (_, &dyn fmt::Debug) = match &self.stage {
            Stage::Passing { gate } => ("passing", gate),
            Stage::Guarded { gate } => ("guarded", gate),
        };
        f.debug_struct("IdempotencyFuture")
            .field(stage, gate)
            .finish()
    }
}

/// A call with a key, from its body to its record.
pub(super) async fn guard<S, Req, X, St>(
    session: Session<St>,
    exchange: X,
    mut inner: Readied<S>,
    keyed: <X as Requests<Req>>::Keyed,
    mut guard: Guard<Tally>,
) -> Result<Given<S, X, Req>, S::Error>
where
    S: Service<Sent<X, Req>>,
    S::Error: AsRejection,
    X: Requests<Req> + Answers<Got<S, X, Req>>,
    St: Store,
{
    let refused = |guard: &mut Guard<Tally>, rejection: Rejection| {
        guard.finish(Outcome::Neutral);
        Err(rejection.into())
    };
    let core = &session.tally.core;
    let most = session.policy.max_request();
    let (key, print, mut request) = match exchange.ask(keyed, most, core).await {
        Asked::Guard(key, print, request) => (key, print, request),
        Asked::Refuse(kind) => return refused(&mut guard, session.tally.refuse(kind, None)),
        Asked::Pass(request) => {
            let result = Gate::open(inner.call(request)).await;
            guard.finish(outcome(&result));
            return result.map(|answer| exchange.pass(answer));
        }
    };
    let mut turn = session.reserve(key, print).await;
    if let Turn::Replay(record) = turn {
        let replay = || exchange.replay(record);
        match core.contain("codec", replay).flatten() {
            Some(answer) => {
                session.tally.count(Count::Replayed, Guarding::Replayed);
                guard.finish(Outcome::Success);
                return Ok(answer);
            }
            None => turn = session.nonsense(),
        }
    }
    let ticket = match turn {
        Turn::Begin(ticket) => ticket,
        Turn::Refused(rejection) => return refused(&mut guard, rejection),
        Turn::Unguarded | Turn::Replay(_) => {
            let result = Gate::open(inner.call(request)).await;
            guard.finish(outcome(&result));
            return result.map(|answer| exchange.pass(answer));
        }
    };
    exchange.fence(&mut request, ticket.token);
    let lease = Deadline::at(ticket.until);
    let future = lease.scope(|| inner.call(request));
    let result = lease.wrap(Gate::open(future)).await;
    let outcome = outcome(&result);
    let result = match result {
        Err(error) => {
            end_in_error(&session, ticket, error.as_rejection()).await;
            Err(error)
        }
        Ok(answer) if exchange.is_refusal(&answer) => {
            session.release(ticket).await;
            Ok(exchange.pass(answer))
        }
        Ok(answer) => {
            let limits = Limits {
                most: session.policy.max_answer(),
                streams: session.policy.streams(),
                clock: core.clock().clone(),
                until: ticket.until,
            };
            let record = Session::<St>::record(&key);
            Ok(match exchange.collect(answer, record, limits, core).await {
                Collected::Record(record, answer) => {
                    session.complete(ticket, record).await;
                    answer
                }
                Collected::Not(answer) => {
                    session.unrecorded(ticket).await;
                    answer
                }
                // Half an answer is none, and the effect may be there.
                Collected::Broken(answer) => {
                    drop(ticket);
                    answer
                }
            })
        }
    };
    guard.finish(outcome);
    result
}

/// It ended in an error, which is no answer: only a refusal from before the handler
/// says that nothing has happened.
pub(super) async fn end_in_error<St: Store>(
    session: &Session<St>,
    ticket: Ticket<St>,
    refused: Option<Rejection>,
) {
    match refused {
        Some(rejection) if !rejection.reached_inner() => session.release(ticket).await,
        _ => drop(ticket),
    }
}
