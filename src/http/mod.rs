//! What HTTP and gRPC need: answers for refusals, bodies that carry an
//! admission, deadlines and quotas in headers, keys from requests.

mod answer;
pub(crate) mod attempt;
pub(crate) mod body;
pub mod client_ip;
pub(crate) mod deadline;
pub(crate) mod key;
pub mod problem;
pub mod quota;
pub(crate) mod repeat;
mod replay;
pub(crate) mod report;
mod respond;
mod retry_after;
mod unlift;

pub use self::answer::response_to;
pub use self::body::TrackedBody;
pub use self::repeat::{is_idempotent, may_repeat};
pub use self::replay::{Buffered, KeptRequest, ReplayBody, ReplayError, Replayer, Reread};
pub use self::respond::{
    NoBody, ProblemBody, RejectBody, Respond, RespondFuture, Responding, respond, respond_or,
};
pub use self::retry_after::retry_after;
pub use self::unlift::{Other, Pass, Split, Unlift};
