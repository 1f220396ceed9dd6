//! How a layer says no, and how that reaches the caller.
//!
//! A layer of this crate keeps the error type of the service it wraps; it asks
//! only that a [`Rejection`] can be turned into that type and found in it again:
//! [`AsRejection`]. Three kinds of error types can:
//!
//! - [`Error<E>`], made by putting [`Lift`](crate::lift::Lift) innermost;
//! - `Box<dyn std::error::Error + Send + Sync>`, tower's `BoxError`;
//! - an enum of your own, with two short impls:
//!
//! ```
//! use tower_keep::{AsRejection, Rejection};
//!
//! #[derive(Debug)]
//! enum MyError {
//!     Refused(Rejection),
//!     Database,
//! }
//!
//! impl From<Rejection> for MyError {
//!     fn from(rejection: Rejection) -> Self {
//!         Self::Refused(rejection)
//!     }
//! }
//!
//! impl AsRejection for MyError {
//!     fn as_rejection(&self) -> Option<Rejection> {
//!         match self {
//!             Self::Refused(rejection) => Some(*rejection),
//!             Self::Database => None,
//!         }
//!     }
//! }
//! ```

#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use tower_service::Service;

mod text;

/// Which layer refused: unique among the layers of a process. A
/// [`Registry`](crate::Registry) knows its name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LayerId(pub(crate) u32);

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// What a layer refused, or gave up on.
// Four bytes: see the fields of `Rejection`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
#[non_exhaustive]
pub enum RejectionKind {
    /// throttle: too many requests for the rate.
    Throttled,
    /// throttle: all keys together come too often, and that is the service's
    /// overload.
    TotalRate,
    /// throttle: the request costs more than the burst; it never passes.
    CostAboveBurst,
    /// throttle: the request has no key, or one that is too long.
    BadKey,
    /// throttle: the table of keys is full of keys that are in use.
    KeysExhausted,
    /// bulkhead: as many calls in flight as allowed, and no place in the queue.
    Full,
    /// bulkhead, adaptive: no permit within the longest wait.
    QueueTimeout,
    /// bulkhead, adaptive: left the queue for others that come first, or because
    /// it had waited too long under overload.
    Shed,
    /// adaptive: as many calls in flight as the service can bear.
    LimitReached,
    /// circuit breaker: calls are held back until what failed has recovered.
    Open,
    /// timeout: no response in time, after the inner service was called.
    Timeout,
    /// timeout: no connection in time. No request was sent, yet it speaks against
    /// the service.
    ConnectTimeout,
    /// The caller's deadline had passed, or would have during the wait.
    DeadlineExceeded,
    /// timeout: the inner service was not ready in time.
    NotReadyInTime,
    /// The service was called without being ready, and is not.
    NotReady,
    /// timeout: a body was not transferred in its total time.
    BodyTimeout,
    /// timeout: a body's next frame did not come in time.
    BodyIdle,
    /// timeout: a body came slower than the lowest throughput allowed.
    BodyTooSlow,
    /// A wait needs a timer, and no tokio runtime with time drives one.
    NoRuntime,
    /// An operator closed the layer by its handle.
    Closed,
    /// chaos: a failure that was asked for.
    Injected,
    /// balance: no endpoint that could take the request within the longest wait.
    NoEndpoint,
    /// watchdog: in flight for so long that it was given up.
    Stuck,
    /// idempotency: the request must name its key, and does not.
    KeyRequired,
    /// idempotency: the request's key is malformed, too long, or there are two.
    KeyInvalid,
    /// idempotency: the key was used with another payload.
    KeyReused,
    /// idempotency: the first request with this key has not ended.
    InProgress,
    /// idempotency: the same, where the policy wants it told as 425.
    TooEarly,
    /// idempotency: the same, where the policy wants it told as 202.
    Accepted,
    /// idempotency: what became of the first one is unknown; it must not run again.
    OutcomeUnknown,
    /// idempotency: the first one is done, and its answer was not kept.
    AnswerNotKept,
    /// idempotency: the store failed, was late, or made no sense.
    StoreFailed,
    /// idempotency: the store has no room for another key.
    StoreFull,
    /// idempotency: the request's body is too long to be told from another one.
    BodyTooLarge,
    /// idempotency: the request's body failed while it was read.
    BodyBroken,
}

impl RejectionKind {
    /// The pattern and the fact, as in error texts.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttle: rate exceeded",
            Self::TotalRate => "throttle: total rate exceeded",
            Self::CostAboveBurst => "throttle: cost above the burst",
            Self::BadKey => "throttle: key missing or too long",
            Self::KeysExhausted => "throttle: too many keys in use",
            Self::Full => "bulkhead: full",
            Self::QueueTimeout => "queue: waited too long",
            Self::Shed => "queue: shed under overload",
            Self::LimitReached => "adaptive: limit reached",
            Self::Open => "circuit breaker: open",
            Self::Timeout => "timeout: no response in time",
            Self::ConnectTimeout => "timeout: no connection in time",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::NotReadyInTime => "timeout: service not ready in time",
            Self::NotReady => "called while not ready",
            Self::BodyTimeout => "timeout: body not complete in time",
            Self::BodyIdle => "timeout: body idle for too long",
            Self::BodyTooSlow => "timeout: body below the lowest throughput",
            Self::NoRuntime => "no runtime to drive a timer",
            Self::Closed => "closed by an operator",
            Self::Injected => "chaos: injected failure",
            Self::NoEndpoint => "balance: no endpoint available",
            Self::Stuck => "watchdog: stuck for too long",
            Self::KeyRequired => "idempotency: key missing",
            Self::KeyInvalid => "idempotency: key invalid",
            Self::KeyReused => "idempotency: key of another request",
            Self::InProgress => "idempotency: in progress",
            Self::TooEarly => "idempotency: too early",
            Self::Accepted => "idempotency: accepted before",
            Self::OutcomeUnknown => "idempotency: outcome unknown",
            Self::AnswerNotKept => "idempotency: answer not kept",
            Self::StoreFailed => "idempotency: store failed",
            Self::StoreFull => "idempotency: store full",
            Self::BodyTooLarge => "idempotency: request body too large",
            Self::BodyBroken => "idempotency: request body broken",
        }
    }

    /// The name in metrics and snapshots: `snake_case`, a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::TotalRate => "total_rate",
            Self::CostAboveBurst => "cost_above_burst",
            Self::BadKey => "bad_key",
            Self::KeysExhausted => "keys_exhausted",
            Self::Full => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::Shed => "shed",
            Self::LimitReached => "limit_reached",
            Self::Open => "open",
            Self::Timeout => "timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::NotReadyInTime => "not_ready_in_time",
            Self::NotReady => "not_ready",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIdle => "body_idle",
            Self::BodyTooSlow => "body_too_slow",
            Self::NoRuntime => "no_runtime",
            Self::Closed => "closed",
            Self::Injected => "injected",
            Self::NoEndpoint => "no_endpoint",
            Self::Stuck => "stuck",
            Self::KeyRequired => "key_required",
            Self::KeyInvalid => "key_invalid",
            Self::KeyReused => "key_reused",
            Self::InProgress => "in_progress",
            Self::TooEarly => "too_early",
            Self::Accepted => "accepted",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::AnswerNotKept => "answer_not_kept",
            Self::StoreFailed => "store_failed",
            Self::StoreFull => "store_full",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyBroken => "body_broken",
        }
    }
}

/// A refusal: what, by which layer, and when to come back. 16 bytes, `Copy`.
// A `Result<T, Error<E>>` keeps its tag in the values that a field cannot have.
// In a field of one byte it would cut words in two: the compiler then copies
// them by pieces that overlap, and each such piece waits for the store before
// it (measured: 7 ns of a call that took 26). Hence no field under four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// Nanoseconds.
    wait: Option<NonZeroU64>,
    /// The layer's number, and [`REACHED_INNER`].
    origin: u32,
    kind: RejectionKind,
}

/// A flag beside a layer's number: numbers stay below it.
const REACHED_INNER: u32 = 1 << 31;

impl Rejection {
    /// A refusal before the inner service was called.
    #[must_use]
    pub(crate) fn before(kind: RejectionKind, layer: LayerId) -> Self {
        Self {
            wait: None,
            origin: layer.0 & !REACHED_INNER,
            kind,
        }
    }

    /// Giving up on a call that the inner service has seen.
    #[must_use]
    pub(crate) fn after(kind: RejectionKind, layer: LayerId) -> Self {
        let before = Self::before(kind, layer);
        Self {
            origin: before.origin | REACHED_INNER,
            ..before
        }
    }

    /// With the nanoseconds after which it is worth another try.
    #[must_use]
    pub(crate) fn with_wait(self, nanos: u64) -> Self {
        Self {
            wait: NonZeroU64::new(nanos),
            ..self
        }
    }

    /// What was refused.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Who refused.
    #[must_use]
    pub fn layer(&self) -> LayerId {
        LayerId(self.origin & !REACHED_INNER)
    }

    /// After which time another try is worth it, if the layer knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.wait.map(|nanos| Duration::from_nanos(nanos.get()))
    }

    /// Whether the request can have reached the inner service. `false`: it had no
    /// effect, and unless it is a
    /// [`ConnectTimeout`](RejectionKind::ConnectTimeout), its refusal says nothing
    /// about the service's health. `true`: it may have had one, and the service
    /// was too slow.
    #[must_use]
    pub fn reached_inner(&self) -> bool {
        self.origin & REACHED_INNER != 0
    }
}

/// An error type that can carry a [`Rejection`].
///
/// It is the only thing the layers ask of the error type of the service they
/// wrap. See the [module](self) for the types that have it.
#[diagnostic::on_unimplemented(
    message = "the error type `{Self}` cannot carry a rejection of a tower-keep layer",
    label = "this error type cannot say that a layer refused",
    note = "on a server, as in `Router::layer` of axum: wrap the whole stack in `tower_keep::respond(stack)`, which makes responses of refusals",
    note = "around a client, or a service of your own: put `tower_keep::LiftLayer` innermost (last in a `ServiceBuilder`), which makes the error `tower_keep::Error<{Self}>`",
    note = "`Box<dyn Error + Send + Sync>` and your own type with `From<Rejection>` and `AsRejection` work too"
)]
pub trait AsRejection: From<Rejection> {
    /// The rejection, if this error is one.
    fn as_rejection(&self) -> Option<Rejection>;
}

impl AsRejection for Rejection {
    fn as_rejection(&self) -> Option<Rejection> {
        Some(*self)
    }
}

impl AsRejection for Box<dyn StdError + Send + Sync> {
    fn as_rejection(&self) -> Option<Rejection> {
        find_rejection(self.as_ref())
    }
}

/// Compiles if the stack is a service for requests of this type, and else says
/// why not; it does nothing.
///
/// Where a method is looked for, as in `stack.oneshot(request)`, the compiler only
/// says that the stack has none. Asked for the trait, it names the bound that is
/// not met.
///
/// ```
/// use tower::ServiceBuilder;
/// use tower_keep::throttle::{Policy, ThrottleLayer};
///
/// let stack = ServiceBuilder::new()
///     .layer(ThrottleLayer::new(Policy::per_second(100)?))
///     .layer(tower_keep::LiftLayer::new())
///     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n) });
/// tower_keep::check::<u32, _>(&stack);
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
pub const fn check<Req, S: Service<Req>>(_: &S) {}

/// The rejection in a chain of errors and their sources.
#[must_use]
pub fn find_rejection(error: &(dyn StdError + 'static)) -> Option<Rejection> {
    // An error that is its own source would make an endless chain.
    std::iter::successors(Some(error), |e| (*e).source())
        .take(64)
        .find_map(|e| e.downcast_ref::<Rejection>().copied())
}

/// The error of a service under [`Lift`](crate::lift::Lift): a layer refused,
/// or the service itself failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error<E> {
    /// A layer refused or gave up.
    Rejected(Rejection),
    /// The service's own error.
    Inner(E),
}

impl<E> Error<E> {
    /// The service's own error, if it is one.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

impl<E> From<Rejection> for Error<E> {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl<E> AsRejection for Error<E> {
    fn as_rejection(&self) -> Option<Rejection> {
        match self {
            Self::Rejected(rejection) => Some(*rejection),
            Self::Inner(_) => None,
        }
    }
}
