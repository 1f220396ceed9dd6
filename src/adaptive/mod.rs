//! A limit that finds itself.
mod algorithm;
mod future;
mod handle;
mod layer;
#[cfg(all(test, keep_loom))]
mod loom;
mod meter;
mod policy;
mod queue;
mod service;
mod state;

pub use self::algorithm::{Aimd, Algorithm, Gradient, Gradient2, Guarded, Vegas, Window};
pub use self::future::AdaptiveFuture;
pub use self::handle::{Handle, Load, Permit, Snapshot};
pub use self::layer::AdaptiveLayer;
pub use self::policy::{Policy, PolicyBuilder, Rule};
pub use self::queue::QueueFuture;
pub use self::service::Adaptive;
