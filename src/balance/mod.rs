//! Sends each request to one of many endpoints.

mod care;
mod choose;
mod connecting;
mod discover;
mod driver;
mod due;
mod endpoint;
mod future;
mod handle;
mod hub;
mod level;
mod make;
mod member;
mod outlier;
mod pick;
mod plan;
mod policy;
mod running;
mod service;
mod set;
mod slow_start;
mod standing;
mod state;
mod tally;
mod tend;
mod trouble;
mod wait;

#[cfg(test)]
mod tests;

#[cfg(feature = "discover")]
pub use self::discover::Discovered;
pub use self::discover::{BoxError, Change, Discover, Watch};
pub use self::endpoint::Endpoint;
pub use self::future::BalanceFuture;
pub use self::handle::{EndpointSnapshot, Handle, Health, Known, Permit, Snapshot};
pub use self::make::{By, by};
pub use self::member::Member;
pub use self::outlier::{Cap, FailureShare, Outliers, SuccessRate};
pub use self::pick::{
    Draw, End, LeastRequest, PeakEwma, Pick, Picker, Prequal, Random, RoundRobin,
};
pub use self::policy::{Policy, PolicyBuilder};
pub use self::service::Balance;
pub use self::slow_start::SlowStart;
pub use self::standing::Condition;
