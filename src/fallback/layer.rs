//! Makes fallbacks that share a policy.

use tower_layer::Layer;

use super::mark::Unmarked;
use super::policy::Policy;
use super::service::Fallback;
use super::state::State;
use crate::classify::ErrorsOnly;
use crate::kernel::macros::has_handle;
use crate::kernel::shared::Shared;
use crate::registry::Setup;

/// Makes [`Fallback`]s that share a policy; see the [module](super).
pub struct FallbackLayer<A, M = Unmarked, C = ErrorsOnly> {
    state: Shared<State>,
    answer: A,
    mark: M,
    classify: C,
}

impl<A> FallbackLayer<A> {
    /// This answer in place of what the default policy answers.
    #[must_use]
    pub fn new(answer: A) -> Self {
        Self::with(Policy::default(), answer, Setup::default())
    }

    /// As [`new`](Self::new), with a policy, and a name, a clock, listeners, a
    /// registry.
    #[must_use]
    pub fn with(policy: Policy, answer: A, setup: Setup) -> Self {
        Self {
            state: State::create(policy, setup),
            answer,
            mark: Unmarked,
            classify: ErrorsOnly,
        }
    }
}

impl<A, M, C> FallbackLayer<A, M, C> {
    #[cfg(feature = "http")]
    fn marking(self, header: Option<http::HeaderName>) -> FallbackLayer<A, super::Marked, C> {
        FallbackLayer {
            state: self.state,
            answer: self.answer,
            mark: super::Marked { header },
            classify: self.classify,
        }
    }

    /// Puts the [`Cause`](crate::classify::Cause) into the extensions of
    /// `http::Response`s that are answers of the fallback, for the layers
    /// outside.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn marked(self) -> FallbackLayer<A, super::Marked, C> {
        self.marking(None)
    }

    /// As [`marked`](Self::marked), and also into this header, for the client:
    /// one word of a closed set, such as `full` or `timeout`
    /// ([`Cause::label`](crate::classify::Cause::label)).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn marked_in(self, header: http::HeaderName) -> FallbackLayer<A, super::Marked, C> {
        self.marking(Some(header))
    }

    /// Judges ends of calls by this instead of [`ErrorsOnly`], which takes every
    /// response for a success. What it calls a success, neutral or cancelled is
    /// never answered, save refusals.
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> FallbackLayer<A, M, C2> {
        FallbackLayer {
            state: self.state,
            answer: self.answer,
            mark: self.mark,
            classify,
        }
    }
}

impl<A: Clone, M: Clone, C: Clone> Clone for FallbackLayer<A, M, C> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            answer: self.answer.clone(),
            mark: self.mark.clone(),
            classify: self.classify.clone(),
        }
    }
}

has_handle!(FallbackLayer<A, M, C>);

impl<S, A: Clone, M: Clone, C: Clone> Layer<S> for FallbackLayer<A, M, C> {
    type Service = Fallback<S, A, M, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(
            inner,
            self.state.clone(),
            self.answer.clone(),
            self.mark.clone(),
            self.classify.clone(),
        )
    }
}
