//! An HTTP body that does what is written.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::script::Broken;
use crate::clock::{Clock, ManualClock, Sleep};

/// What a [`ScriptBody`] does next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyStep {
    /// A frame of data.
    Data(Bytes),
    /// The trailers.
    Trailers(HeaderMap),
    /// It pends this often, and wakes its task each time.
    Pend(u32),
    /// It waits so long, from the poll that finds it so.
    After(Duration),
    /// It breaks.
    Error(Broken),
    /// It pends for ever, and wakes nobody.
    Never,
    /// It panics.
    Panic,
}

/// A body that does what is written, and then ends. It says of itself that it
/// is at its end as soon as nothing is left, and gives an exact size unless a
/// step may break it off.
pub struct ScriptBody {
    clock: Option<Clock>,
    steps: VecDeque<BodyStep>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl ScriptBody {
    /// A body of these steps; waiting is done on this clock.
    pub fn new(time: &ManualClock, steps: impl IntoIterator<Item = BodyStep>) -> Self {
        Self {
            clock: Some(time.clock()),
            steps: steps.into_iter().collect(),
            timer: None,
        }
    }

    /// A body that is at its end.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            clock: None,
            steps: VecDeque::new(),
            timer: None,
        }
    }
}

impl Clone for ScriptBody {
    fn clone(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            steps: self.steps.clone(),
            timer: None,
        }
    }
}

impl Default for ScriptBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl From<Bytes> for ScriptBody {
    fn from(bytes: Bytes) -> Self {
        let mut body = Self::empty();
        body.steps.push_back(BodyStep::Data(bytes));
        body
    }
}

impl fmt::Debug for ScriptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.steps).finish()
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(timer) = &mut self.timer {
                let _ = ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            let Some(step) = self.steps.pop_front() else {
                return Poll::Ready(None);
            };
            return match step {
                BodyStep::Data(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                BodyStep::Trailers(map) => Poll::Ready(Some(Ok(Frame::trailers(map)))),
                BodyStep::Error(broken) => {
                    self.steps.clear();
                    Poll::Ready(Some(Err(broken)))
                }
                BodyStep::Pend(0) => continue,
                BodyStep::Pend(more) => {
                    self.steps.push_front(BodyStep::Pend(more - 1));
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                BodyStep::After(time) => {
                    if let Some(clock) = &self.clock {
                        let due = clock.now().saturating_add(time);
                        self.timer = Some(Box::pin(clock.sleep_until(due)));
                    }
                    continue;
                }
                BodyStep::Never => {
                    self.steps.push_front(BodyStep::Never);
                    Poll::Pending
                }
                BodyStep::Panic => panic!("scripted panic in a body"),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.timer.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut size = 0;
        for step in &self.steps {
            match step {
                BodyStep::Data(data) => size += data.len() as u64,
                BodyStep::Trailers(_) | BodyStep::Pend(_) | BodyStep::After(_) => {}
                BodyStep::Error(_) | BodyStep::Never | BodyStep::Panic => {
                    return SizeHint::default();
                }
            }
        }
        SizeHint::with_exact(size)
    }
}
