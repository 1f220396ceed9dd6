//! A limit that finds itself.
mod algorithm;
mod policy;
pub use self::algorithm::{Aimd, Algorithm, Gradient, Gradient2, Guarded, Vegas, Window};
pub use self::policy::{Policy, PolicyBuilder, Rule};
