//! Sends each request to one of many endpoints.

mod care;
mod due;
mod endpoint;
mod level;
mod member;
mod outlier;
mod pick;
mod ready;
mod slow_start;
mod trouble;

#[cfg(test)]
mod tests;

pub use self::endpoint::Endpoint;
pub use self::member::Member;
pub use self::outlier::{Cap, FailureShare, Outliers, SuccessRate};
pub use self::pick::{
    Draw, End, LeastRequest, PeakEwma, Pick, Picker, Prequal, Random, RoundRobin,
};
pub use self::slow_start::SlowStart;
