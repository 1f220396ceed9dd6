//! Sends each request to one of many endpoints.

mod endpoint;
mod member;
mod pick;
mod ready;

pub use self::endpoint::Endpoint;
pub use self::member::Member;
pub use self::pick::{Draw, End, LeastRequest, Pick, Picker, Random, RoundRobin};
