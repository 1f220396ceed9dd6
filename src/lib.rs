//! Tower middleware for resilience and scaling.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod classify;
pub mod clock;
pub mod deadline;
pub mod error;
pub mod event;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(keep_loom, feature = "test-util"))]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod kernel;
#[cfg(not(any(keep_loom, feature = "test-util")))]
mod kernel;
pub mod key;
pub mod lift;
pub mod policy;
pub mod registry;
pub mod release;
#[cfg(feature = "test-util")]
pub mod test_util;

#[cfg(feature = "bulkhead")]
pub mod bulkhead;
#[cfg(feature = "throttle")]
pub mod throttle;
#[cfg(feature = "timeout")]
pub mod timeout;

pub use error::{AsRejection, Error, LayerId, Rejection, RejectionKind};
#[cfg(feature = "http")]
pub use http::{respond, respond_or};
pub use lift::{Lift, LiftLayer};
pub use policy::{Override, PolicyError};
pub use registry::{Registry, Setup};
