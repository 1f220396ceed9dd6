//! The futures of calls that are admitted or refused, at once or after a wait.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;
use tower_service::Service;

use super::handle::Permit;
use super::state::{ABANDONED, State, WAITED};
use crate::classify::Classify;
use crate::clock::{Sleep, Tick};
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::event::Event;
use crate::kernel::gcra::Reservation;
use crate::kernel::limited::call_future;
use crate::kernel::ready::Readied;
use crate::kernel::shared::Shared;
use crate::key::KeyId;
use crate::policy::Override;
use crate::release::OnHead;

call_future! {
    /// The future of a [`Learned`](super::Learned) that refuses. Polled again after it
    /// has resolved, it stays pending.
    LearnedFuture of Permit
}

/// A place in a bucket's future; dropped before [`Place::take`], it is given back.
#[derive(Debug)]
pub(super) struct Place {
    state: Shared<State>,
    who: Option<KeyId>,
    /// Gone once it was used or given back.
    reservation: Option<Reservation>,
    due: Tick,
    wait: Duration,
}

impl Place {
    /// A place that was taken at a time, so far ahead.
    pub(super) fn new(
        state: Shared<State>,
        who: Option<KeyId>,
        reservation: Reservation,
        (now, wait): (Tick, Duration),
    ) -> Self {
        Self {
            state,
            who,
            reservation: Some(reservation),
            due: now.saturating_add(wait),
            wait,
        }
    }

    /// Its time has come.
    fn take(&mut self) -> Permit {
        self.reservation = None;
        self.state.counters.add(WAITED, 1);
        self.state.core.tell(Event::Waited(self.wait));
        State::go(&self.state, self.who, self.due)
    }

    /// What an operator has ordered meanwhile.
    fn ordered(&mut self) -> Option<Result<Permit, Rejection>> {
        Some(match self.state.core.order() {
            Override::None => return None,
            Override::Close => Err(self.refuse(RejectionKind::Closed)),
            Override::Bypass => {
                self.give_back();
                let now = self.state.core.clock().now();
                Ok(State::bypass(&self.state, self.who, now))
            }
        })
    }

    fn refuse(&mut self, kind: RejectionKind) -> Rejection {
        self.give_back();
        self.state.reject(kind)
    }

    fn give_back(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            // Where a thread ends, the map of keys may be unusable already: then
            // the place stays empty.
            let cancel = || self.state.cancel(self.who, reservation);
            let _ = catch_unwind(AssertUnwindSafe(cancel));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.reservation.is_some() {
            self.state.counters.add(ABANDONED, 1);
            self.give_back();
        }
    }
}

pin_project! {
    /// The future of a [`Learned`](super::Learned) that waits.
    #[must_use = "futures do nothing unless polled"]
    pub struct WaitFuture<S, Req, C>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S, Req, C>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req, C>
    where
        S: Service<Req>,
    {
        Waiting {
            place: Place,
            #[pin]
            timer: Sleep,
            // An operator's order does not wait for the timer.
            #[pin]
            recalled: OwnedNotified,
            // Used up by the call.
            call: Option<(Readied<S>, Req, C)>,
        },
        Decided {
            #[pin]
            future: LearnedFuture<S::Future, S::Error, OnHead, C>,
        },
    }
}

impl<S: Service<Req>, Req, C> WaitFuture<S, Req, C> {
    #[inline]
    pub(super) fn decided(future: LearnedFuture<S::Future, S::Error, OnHead, C>) -> Self {
        Self {
            stage: Stage::Decided { future },
        }
    }

    /// Waits with the service that was ready, and calls that.
    pub(super) fn waiting(place: Place, service: Readied<S>, request: Req, classify: C) -> Self {
        Self {
            stage: Stage::Waiting {
                timer: place.state.core.clock().sleep_until(place.due),
                recalled: place.state.recalled(),
                place,
                call: Some((service, request, classify)),
            },
        }
    }
}

impl<S, Req, C> Future for WaitFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Decided { future } => return future.poll(cx),
                StageProj::Waiting {
                    place,
                    timer,
                    mut recalled,
                    call,
                } => {
                    // The call has panicked.
                    if call.is_none() {
                        return Poll::Pending;
                    }
                    let admitted = match place.ordered() {
                        Some(ordered) => ordered,
                        None => match timer.poll(cx) {
                            Poll::Ready(Ok(())) => Ok(place.take()),
                            Poll::Ready(Err(_)) => Err(place.refuse(RejectionKind::NoRuntime)),
                            Poll::Pending => {
                                ready!(recalled.as_mut().poll(cx));
                                recalled.set(place.state.recalled());
                                continue;
                            }
                        },
                    };
                    let Some((mut service, request, classify)) = call.take() else {
                        return Poll::Pending;
                    };
                    let future = match admitted {
                        Ok(permit) => {
                            LearnedFuture::call(permit, classify, || service.call(request))
                        }
                        Err(rejection) => LearnedFuture::refused(rejection.into()),
                    };
                    this.stage.set(Stage::Decided { future });
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, C> fmt::Debug for WaitFuture<S, Req, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Waiting { place, .. } => place.fmt(f),
            Stage::Decided { future } => future.fmt(f),
        }
    }
}
