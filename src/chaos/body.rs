//! Whether bodies meet faults, and what they look like then.

use super::fate::Fault;
use super::policy::Policy;
use super::state::State;
use crate::kernel::shared::Shared;

/// Only calls meet faults; a response stays as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calls;

/// Bodies of HTTP responses meet faults, too.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Bodies;

/// What a response becomes: implemented by [`Calls`] and `Bodies` only.
#[diagnostic::on_unimplemented(
    message = "the response `{Res}` has no body for faults",
    label = "faults in bodies need an `http::Response<B>` with a body `B: http_body::Body`"
)]
pub trait Reach<Res>: sealed::Reach {
    /// The response that comes out.
    type Response;

    #[doc(hidden)]
    fn wrap(response: Res, meets: Option<Meets>) -> Self::Response;
}

/// The fault that a body is to meet, and all it needs for that.
#[doc(hidden)]
#[derive(Debug)]
pub struct Meets {
    pub(super) state: Shared<State>,
    pub(super) fault: Fault,
    pub(super) policy: Policy,
}

// That nobody else can name them is their purpose.
#[expect(unnameable_types)]
mod sealed {
    pub trait Reach {}
}

impl sealed::Reach for Calls {}

impl<Res> Reach<Res> for Calls {
    type Response = Res;

    #[inline]
    fn wrap(response: Res, _: Option<Meets>) -> Res {
        response
    }
}

#[cfg(feature = "http")]
pub use self::http_body::ChaosBody;

#[cfg(feature = "http")]
mod http_body {
    use std::fmt;
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    use bytes::Bytes;
    use http::Response;
    use http_body::{Body, Frame, SizeHint};
    use pin_project_lite::pin_project;

    use super::{Bodies, Meets, Reach, sealed};
    use crate::chaos::Fault;
    use crate::clock::Sleep;
    use crate::error::Rejection;

    type BoxError = Box<dyn std::error::Error + Send + Sync>;

    impl sealed::Reach for Bodies {}

    impl<B> Reach<Response<B>> for Bodies {
        type Response = Response<ChaosBody<B>>;

        fn wrap(response: Response<B>, meets: Option<Meets>) -> Self::Response {
            response.map(|inner| ChaosBody::new(inner, meets))
        }
    }

    pin_project! {
        /// A body that may meet a fault. It forwards frames, trailers, size hint and
        /// end-of-stream untouched until then; the size hint stays what it was, as
        /// that of a peer who meant to send it all.
        pub struct ChaosBody<B> {
            #[pin]
            inner: B,
            spoilt: Spoilt,
        }
    }

    #[derive(Debug)]
    enum Spoilt {
        /// It meets no fault (any more).
        Not,
        /// It meets one after so many bytes, if there are more than these.
        After(u64, Box<Meets>),
        /// There are more.
        Due(Box<Meets>),
        /// It stands still.
        Stalled(Pin<Box<Sleep>>, Box<Meets>),
        /// It has ended by its fault.
        Over,
    }

    impl<B> ChaosBody<B> {
        fn new(inner: B, meets: Option<Meets>) -> Self {
            let spoilt = match meets {
                Some(meets) => Spoilt::After(meets.policy.after_bytes, Box::new(meets)),
                None => Spoilt::Not,
            };
            Self { inner, spoilt }
        }
    }

    impl Spoilt {
        /// Nothing comes through any more: the fault begins, or goes on.
        fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rejection>> {
            if let Self::Due(_) = self {
                let Self::Due(meets) = std::mem::replace(self, Self::Over) else {
                    return Poll::Ready(None);
                };
                meets.state.injected(meets.fault);
                match meets.fault {
                    Fault::Stall => {
                        let clock = meets.state.core.clock();
                        let due = clock.now().saturating_add(meets.policy.longest_hang);
                        *self = Self::Stalled(Box::pin(clock.sleep_until(due)), meets);
                    }
                    Fault::Reset => return Poll::Ready(Some(meets.state.failure())),
                    _ => return Poll::Ready(None),
                }
            }
            let Self::Stalled(timer, meets) = self else {
                return Poll::Ready(None);
            };
            let rejection = match ready!(timer.as_mut().poll(cx)) {
                Ok(()) => meets.state.failure(),
                Err(_) => meets.state.no_runtime(),
            };
            *self = Self::Over;
            Poll::Ready(Some(rejection))
        }

        /// So much of a frame comes through; `None` if nothing does.
        fn pass(&mut self, mut data: Bytes) -> Option<Bytes> {
            let Self::After(left, _) = self else {
                return Some(data);
            };
            let size = u64::try_from(data.len()).unwrap_or(u64::MAX);
            if size <= *left {
                *left -= size;
                return Some(data);
            }
            data.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            self.is_due();
            (!data.is_empty()).then_some(data)
        }

        fn is_due(&mut self) {
            if let Self::After(_, meets) = std::mem::replace(self, Self::Over) {
                *self = Self::Due(meets);
            }
        }
    }

    impl<B> Body for ChaosBody<B>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let mut this = self.project();
            // Where it does not say that more will come, that is seen when it comes.
            if matches!(this.spoilt, Spoilt::After(0, _)) && this.inner.size_hint().lower() > 0 {
                this.spoilt.is_due();
            }
            loop {
                if !matches!(this.spoilt, Spoilt::Not | Spoilt::After(..)) {
                    let rejection = ready!(this.spoilt.poll_end(cx));
                    return Poll::Ready(rejection.map(|rejection| Err(rejection.into())));
                }
                let next = match ready!(this.inner.as_mut().poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => match this.spoilt.pass(data) {
                            Some(data) => Some(Ok(Frame::data(data))),
                            None => continue,
                        },
                        // They are more, too.
                        Err(_) if matches!(this.spoilt, Spoilt::After(0, _)) => {
                            this.spoilt.is_due();
                            continue;
                        }
                        // Trailers: all of it came through.
                        Err(frame) => {
                            *this.spoilt = Spoilt::Not;
                            Some(Ok(frame))
                        }
                    },
                    Some(Err(error)) => {
                        *this.spoilt = Spoilt::Not;
                        Some(Err(error.into()))
                    }
                    None => None,
                };
                return Poll::Ready(next);
            }
        }

        fn is_end_stream(&self) -> bool {
            match &self.spoilt {
                Spoilt::Not | Spoilt::After(..) => self.inner.is_end_stream(),
                Spoilt::Due(_) | Spoilt::Stalled(..) => false,
                Spoilt::Over => true,
            }
        }

        fn size_hint(&self) -> SizeHint {
            self.inner.size_hint()
        }
    }

    // So that `respond` and `status` can make answers of the same type.
    impl<B: From<Bytes>> From<Bytes> for ChaosBody<B> {
        fn from(bytes: Bytes) -> Self {
            Self::new(bytes.into(), None)
        }
    }

    impl<B: Default> Default for ChaosBody<B> {
        fn default() -> Self {
            Self::new(B::default(), None)
        }
    }

    impl<B: fmt::Debug> fmt::Debug for ChaosBody<B> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ChaosBody")
                .field("inner", &self.inner)
                .field("spoilt", &!matches!(self.spoilt, Spoilt::Not))
                .finish()
        }
    }
}
