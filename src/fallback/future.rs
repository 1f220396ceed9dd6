//! The future of a call that may get another answer.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::answer::{Answer, Failed};
use super::mark::Mark;
use super::state::State;
use crate::classify::{Cause, Classify, Outcome};
use crate::error::AsRejection;
use crate::kernel::gate::Gate;
use crate::kernel::guard::{Guard, through};

pin_project! {
    /// The future of [`Fallback`](super::Fallback). Polled again after it has
    /// resolved, it stays pending.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<S, Req, A, M, C>
    where
        S: Service<Req>,
        A: Answer<Req, S::Response, S::Error>,
    {
        #[pin]
        stage: Stage<S::Future, S::Response, S::Error, A::Future>,
        // Gone when the call has ended, or was refused.
        call: Option<Call<A, A::Kept, M, C>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<F, T, E, A> {
        Called { #[pin] gate: Gate<F, E> },
        Answering {
            #[pin]
            answer: A,
            // What the caller gets if there is no answer.
            failed: Option<(Result<T, E>, Cause)>,
        },
        Done,
    }
}

struct Call<A, K, M, C> {
    guard: Guard<State>,
    /// Used up by the answer; nothing if `keep` panicked or under a bypass.
    kept: Option<(A, K)>,
    mark: M,
    classify: C,
}

impl<S, Req, A, M, C> FallbackFuture<S, Req, A, M, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    pub(super) fn refused(error: S::Error) -> Self {
        Self {
            stage: Stage::Called {
                gate: Gate::refused(error),
            },
            call: None,
        }
    }

    #[inline]
    pub(super) fn called(
        future: S::Future,
        guard: Guard<State>,
        kept: Option<(A, A::Kept)>,
        mark: M,
        classify: C,
    ) -> Self {
        Self {
            stage: Stage::Called {
                gate: Gate::open(future),
            },
            call: Some(Call {
                guard,
                kept,
                mark,
                classify,
            }),
        }
    }
}

impl<A, K, M, C> Call<A, K, M, C> {
    /// Judges the end of the inner call, and starts another answer if there is to
    /// be one.
    #[inline]
    fn ended<Req, Res, Err>(&mut self, result: Result<&Res, &Err>) -> (Outcome, Next<A::Future>)
    where
        Err: AsRejection,
        A: Answer<Req, Res, Err, Kept = K>,
        C: Classify<Res, Err>,
    {
        let Some(state) = self.guard.state() else {
            return (Outcome::Neutral, Next::Pass);
        };
        let judge = || self.classify.classify(result).on_head();
        let outcome = state
            .core
            .contain("classifier", judge)
            .unwrap_or(Outcome::Neutral);
        if outcome == Outcome::Success {
            return (outcome, Next::Pass);
        }
        let cause = Cause::new(outcome, result.err());
        if !state.answers(cause) {
            return (outcome, Next::Pass);
        }
        let failed = Failed {
            result,
            cause,
            clock: state.core.clock(),
        };
        let answer = self.kept.take().and_then(|(answer, kept)| {
            state.core.contain("answer", || answer.answer(kept, failed))
        });
        match answer {
            Some(answer) => (outcome, Next::Answer(answer, cause)),
            None => {
                state.unanswered(cause);
                (outcome, Next::Pass)
            }
        }
    }
}

enum Next<F> {
    /// The caller gets what there is.
    Pass,
    Answer(F, Cause),
}

impl<S, Req, A, M, C> Future for FallbackFuture<S, Req, A, M, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    A: Answer<Req, S::Response, S::Error>,
    M: Mark<S::Response>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if let StageProj::Called { gate } = this.stage.as_mut().project() {
            let Some(call) = this.call else {
                return gate.poll(cx);
            };
            let result = ready!(through(&mut call.guard, || gate.poll(cx)));
            match call.ended::<Req, _, _>(result.as_ref()) {
                (outcome, Next::Pass) => {
                    call.guard.finish(outcome);
                    *this.call = None;
                    return Poll::Ready(result);
                }
                (_, Next::Answer(answer, cause)) => {
                    let failed = Some((result, cause));
                    this.stage.set(Stage::Answering { answer, failed });
                }
            }
        }
        self.poll_answer(cx)
    }
}

impl<S, Req, A, M, C> FallbackFuture<S, Req, A, M, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
    M: Mark<S::Response>,
{
    /// The way of a failure: whatever becomes of the answer, the caller gets
    /// that or the failure.
    #[cold]
    fn poll_answer(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        let (StageProj::Answering { answer, failed }, Some(call)) =
            (this.stage.as_mut().project(), this.call.as_mut())
        else {
            return Poll::Pending;
        };
        let Some(state) = call.guard.state() else {
            return Poll::Pending;
        };
        let answer = match state.core.contain("answer", || answer.poll(cx)) {
            Some(poll) => ready!(poll),
            None => None,
        };
        let Some((result, cause)) = failed.take() else {
            return Poll::Pending;
        };
        // Its future belongs to the user as much as its polls do.
        state.core.contain("answer", || this.stage.set(Stage::Done));
        let result = match answer {
            Some(mut response) => {
                call.mark.mark(&mut response, cause);
                state.answered(cause);
                Ok(response)
            }
            None => {
                state.unanswered(cause);
                result
            }
        };
        call.guard.finish(cause.outcome());
        *this.call = None;
        Poll::Ready(result)
    }
}

impl<S, Req, A, M, C> fmt::Debug for FallbackFuture<S, Req, A, M, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackFuture")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

impl<F, T, E, A> fmt::Debug for Stage<F, T, E, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Called { gate } => gate.fmt(f),
            Stage::Answering { .. } => f.write_str("Answering"),
            Stage::Done => f.write_str("Done"),
        }
    }
}
