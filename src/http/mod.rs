//! What HTTP and gRPC need: answers for refusals, bodies that carry an
//! admission, deadlines and quotas in headers, keys from requests.

mod answer;
pub(crate) mod body;
pub mod client_ip;
pub(crate) mod deadline;
pub(crate) mod key;
pub mod problem;
pub mod quota;
pub(crate) mod report;
mod respond;

pub use self::answer::response_to;
pub use self::body::TrackedBody;
pub use self::respond::{
    NoBody, Other, Pass, ProblemBody, RejectBody, Respond, RespondFuture, Responding, Split,
    Unlift, respond, respond_or,
};
