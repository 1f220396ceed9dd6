//! Tries again what has failed.

mod future;
mod handle;
mod layer;
mod policy;
mod rules;
mod service;
mod session;
mod state;

pub use self::future::RetryFuture;
pub use self::handle::{Handle, Snapshot};
pub use self::layer::RetryLayer;
pub use self::policy::{Policy, PolicyBuilder};
pub use self::rules::{Again, Idempotent, Judged, Rules, When, when};
#[cfg(feature = "http")]
pub use self::rules::{Grpc, Http, Unknown, Unprocessed};
pub use self::service::Retry;
