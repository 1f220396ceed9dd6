//! Sends each request to one of many endpoints.

mod choose;
mod discover;
mod driver;
mod endpoint;
mod future;
mod handle;
mod hub;
mod make;
mod member;
mod pick;
mod plan;
mod policy;
mod running;
mod service;
mod set;
mod standing;
mod state;
mod wait;

#[cfg(feature = "discover")]
pub use self::discover::Discovered;
pub use self::discover::{BoxError, Change, Discover, Watch};
pub use self::endpoint::Endpoint;
pub use self::future::BalanceFuture;
pub use self::handle::{EndpointSnapshot, Handle, Health, Known, Permit, Snapshot};
pub use self::make::{By, by};
pub use self::member::Member;
pub use self::pick::{Draw, End, LeastRequest, Pick, Picker, Random, RoundRobin};
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::Balance;
pub use self::standing::Condition;
