//! Stops calling what has failed, until it works again.

mod builder;
mod circuit;
mod ends;
mod future;
mod handle;
mod keys;
mod layer;
mod locked;
#[cfg(all(test, keep_loom))]
mod loom;
mod mode;
mod odds;
mod phases;
mod policy;
mod recovery;
mod service;
mod settle;
mod snapshot;
mod state;
mod tally;
mod word;

pub use self::builder::PolicyBuilder;
pub use self::future::CircuitBreakerFuture;
pub use self::handle::{Handle, KeyedCircuit, Permit};
pub use self::layer::CircuitBreakerLayer;
pub use self::mode::Mode;
pub use self::policy::{CloseAfter, Dropped, Kind, Policy};
pub use self::service::CircuitBreaker;
pub use self::snapshot::Snapshot;
pub use crate::event::{CircuitState, Reason, Transition};
pub use crate::kernel::window::Counts;
