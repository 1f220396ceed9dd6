//! Waiting for a permit, bounded in time, for every layer that has a
//! [`Limit`](super::limit::Limit).

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::call::{Call, Hold};
use super::core::Core;
use super::guard::{Guard, Settle};
use super::limit::{Ask, Full, Gone, Limit, WaitKey};
use super::ready::Readied;
use super::shared::Shared;
use crate::classify::Classify;
use crate::clock::{Sleep, Tick};
use crate::deadline::Deadline;
use crate::error::{AsRejection, Rejection, RejectionKind};
use crate::release::Release;

/// A state with a limit that can be waited for.
pub trait Door: Settle {
    /// What it says when the limit is reached.
    const FULL: RejectionKind;

    /// The common part of the state.
    fn core(&self) -> &Core;

    /// The limit.
    fn limit(&self) -> &Limit;

    /// The longest queue and the longest wait.
    fn bounds(&self) -> (u32, Duration);

    /// Now or not at all. A refusal is not counted yet.
    fn try_enter(&self, who: Who) -> Result<Self::Token, RejectionKind>;

    /// The token of permits that have arrived.
    fn arrived(&self, who: Who, now: Tick) -> Self::Token;

    /// Counts and tells an admission that had to wait.
    fn waited(&self, wait: Duration);

    /// Counts and tells a refusal.
    fn reject(&self, kind: RejectionKind) -> Rejection;
}

/// Who asks, and for how much.
#[derive(Debug, Clone, Copy)]
pub struct Who {
    /// Permits.
    pub permits: u32,
    /// Its class, if it has one.
    pub class: Option<u8>,
    /// Its tenant.
    pub tenant: u64,
}

impl Who {
    /// Anybody.
    #[inline]
    #[must_use]
    pub fn any(permits: u32) -> Self {
        Self {
            permits,
            class: None,
            tenant: 0,
        }
    }
}

/// The class of who has none: that of [`Priority::Normal`](crate::queue::Priority).
const USUAL: u8 = 1;

/// A place in the queue; dropped, it is given up.
#[derive(Debug)]
pub struct Place<T: Door> {
    state: Shared<T>,
    /// Gone once the permits have been taken over.
    key: Option<WaitKey>,
    who: Who,
    since: Tick,
    /// What it is called when its time has passed.
    late: RejectionKind,
}

impl<T: Door> Place<T> {
    /// Takes a place, if fewer than `length` have one, or one of them makes room.
    ///
    /// # Errors
    /// The refusal, counted.
    pub fn take(
        state: &Shared<T>,
        who: Who,
        length: u32,
        (since, due): (Tick, Tick),
        late: RejectionKind,
    ) -> Result<Self, Rejection> {
        let ask = Ask {
            class: who.class.unwrap_or(USUAL).into(),
            tenant: who.tenant,
            since,
            due,
            ..Ask::from(who.permits)
        };
        match state.limit().enqueue(ask, length) {
            Ok(key) => Ok(Self {
                state: state.clone(),
                key: Some(key),
                who,
                since,
                late,
            }),
            Err(Full) => Err(state.reject(T::FULL)),
        }
    }

    /// An admission, or why there will be none.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Guard<T>, RejectionKind>> {
        let Some(key) = self.key else {
            return Poll::Pending;
        };
        let state = &self.state;
        let admitted = match state.limit().poll_acquired(key, cx) {
            Poll::Ready(Ok(())) => {
                // From here the permits are the guard's: nothing below may lose it.
                self.key = None;
                let now = state.core().clock().now();
                let guard = Guard::new(state, state.arrived(self.who, now));
                state.waited(now.saturating_since(self.since));
                return Poll::Ready(Ok(guard));
            }
            Poll::Ready(Err(Gone::TooHeavy)) => Err(T::FULL),
            Poll::Ready(Err(Gone::Late)) => Err(self.late),
            Poll::Ready(Err(Gone::Shed)) => Err(RejectionKind::Shed),
            // After the queue's lock: an order that came before it is seen here,
            // one that comes later wakes.
            Poll::Pending if state.core().is_overruled() => {
                state.limit().cancel(key);
                let entered = state.try_enter(self.who);
                entered.map(|token| {
                    let guard = Guard::new(state, token);
                    let now = state.core().clock().now();
                    state.waited(now.saturating_since(self.since));
                    guard
                })
            }
            Poll::Pending => return Poll::Pending,
        };
        self.key = None;
        Poll::Ready(admitted)
    }

    fn leave(&mut self) {
        if let Some(key) = self.key.take() {
            self.state.limit().cancel(key);
        }
    }
}

impl<T: Door> Drop for Place<T> {
    fn drop(&mut self) {
        self.leave();
    }
}

pin_project! {
    /// An admission, now or after a bounded wait.
    #[project = WaitProj]
    #[must_use = "futures do nothing unless polled"]
    pub enum Wait<T: Door> {
        Decided {
            result: Option<Result<Guard<T>, Rejection>>,
        },
        Queued {
            place: Place<T>,
            due: Tick,
            // Made when it is first pending.
            #[pin]
            timer: Option<Sleep>,
        },
    }
}

impl<T: Door> Wait<T> {
    /// Asks; `tenant` is needed by who has to wait.
    #[inline]
    pub fn start(state: &Shared<T>, who: Who, tenant: impl FnOnce() -> u64) -> Self {
        let result = match state.try_enter(who) {
            Ok(token) => Ok(Guard::new(state, token)),
            Err(kind @ RejectionKind::Closed) => Err(state.reject(kind)),
            Err(_) => match Self::queue(state, who, tenant) {
                Ok(wait) => return wait,
                Err(rejection) => Err(rejection),
            },
        };
        Self::Decided {
            result: Some(result),
        }
    }

    #[cold]
    fn queue(state: &Shared<T>, who: Who, tenant: impl FnOnce() -> u64) -> Result<Self, Rejection> {
        let (length, longest) = state.bounds();
        let now = state.core().clock().stamp().now();
        let mut due = now.saturating_add(longest);
        let mut late = RejectionKind::QueueTimeout;
        if let Some(deadline) = Deadline::current() {
            if deadline.has_passed(now) {
                return Err(state.reject(RejectionKind::DeadlineExceeded));
            }
            if deadline.tick() < due {
                due = deadline.tick();
                late = RejectionKind::DeadlineExceeded;
            }
        }
        let who = Who {
            tenant: tenant(),
            ..who
        };
        Ok(Self::Queued {
            place: Place::take(state, who, length, (now, due), late)?,
            due,
            timer: None,
        })
    }
}

impl<T: Door> Future for Wait<T> {
    type Output = Result<Guard<T>, Rejection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match self.as_mut().project() {
            WaitProj::Decided { result } => match result.take() {
                Some(result) => result,
                None => return Poll::Pending,
            },
            WaitProj::Queued {
                place,
                due,
                mut timer,
            } => {
                // The permit first: one that comes on the last tick counts.
                match place.poll(cx) {
                    Poll::Ready(result) => result.map_err(|kind| place.state.reject(kind)),
                    Poll::Pending => {
                        if timer.is_none() {
                            timer.set(Some(place.state.core().clock().sleep_until(*due)));
                        }
                        let Some(sleep) = timer.as_mut().as_pin_mut() else {
                            return Poll::Pending;
                        };
                        let kind = match ready!(sleep.poll(cx)) {
                            Ok(()) => place.late,
                            Err(_) => RejectionKind::NoRuntime,
                        };
                        place.leave();
                        Err(place.state.reject(kind))
                    }
                }
            }
        };
        // Polled again, it neither asks nor counts again.
        self.set(Self::Decided { result: None });
        Poll::Ready(result)
    }
}

impl<T: Door> fmt::Debug for Wait<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decided { .. } => f.write_str("Decided"),
            Self::Queued { place, due, .. } => f
                .debug_struct("Queued")
                .field("who", &place.who)
                .field("due", due)
                .finish_non_exhaustive(),
        }
    }
}

pin_project! {
    /// The future of a call that may have to wait for its admission.
    #[must_use = "futures do nothing unless polled"]
    pub struct Waiting<S, Req, T, P, R, C>
    where
        S: Service<Req>,
        T: Door,
    {
        #[pin]
        stage: Stage<S, Req, T, P, R, C>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req, T, P, R, C>
    where
        S: Service<Req>,
        T: Door,
    {
        Waiting {
            #[pin]
            wait: Wait<T>,
            // Used up by the call.
            call: Option<(Readied<S>, Req, C)>,
        },
        Called {
            #[pin]
            call: Call<S::Future, S::Error, P, R, C>,
        },
    }
}

impl<S, Req, T, P, R, C> Waiting<S, Req, T, P, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    T: Door,
    P: Hold + From<Guard<T>>,
{
    /// Resolves to the error.
    pub fn refused(error: S::Error) -> Self {
        let call = Call::refused(error);
        Self {
            stage: Stage::Called { call },
        }
    }

    /// Calls the service, at once or with the one that was ready after a wait.
    #[inline]
    pub fn start(wait: Wait<T>, service: &mut Readied<S>, request: Req, classify: C) -> Self
    where
        S: Clone,
    {
        let stage = match wait {
            Wait::Decided {
                result: Some(Ok(guard)),
            } => Stage::Called {
                call: Call::begin(guard.into(), classify, || service.call(request)),
            },
            Wait::Decided {
                result: Some(Err(rejection)),
            } => Stage::Called {
                call: Call::refused(rejection.into()),
            },
            wait => Stage::Waiting {
                wait,
                call: Some((service.take(), request, classify)),
            },
        };
        Self { stage }
    }
}

impl<S, Req, T, P, R, C> Future for Waiting<S, Req, T, P, R, C>
where
    S: Service<Req>,
    S::Error: AsRejection,
    T: Door,
    P: Hold + From<Guard<T>>,
    C: Classify<S::Response, S::Error>,
    R: Release<S::Response, P, C>,
{
    type Output = Result<R::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Called { call } => return call.poll(cx),
                StageProj::Waiting { wait, call } => {
                    let admitted = ready!(wait.poll(cx));
                    let Some((mut service, request, classify)) = call.take() else {
                        return Poll::Pending;
                    };
                    let call = match admitted {
                        Ok(guard) => Call::begin(guard.into(), classify, || service.call(request)),
                        Err(rejection) => Call::refused(rejection.into()),
                    };
                    this.stage.set(Stage::Called { call });
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, T: Door, P, R, C> fmt::Debug for Waiting<S, Req, T, P, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Stage::Waiting { wait, .. } => wait.fmt(f),
            Stage::Called { call } => call.fmt(f),
        }
    }
}
