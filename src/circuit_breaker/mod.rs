//! Stops calling what has failed, until it works again.
//!
//! When a dependency is down or hangs, every call to it costs a caller's time and
//! a place in some pool, and the calls keep it from recovering. A circuit breaker
//! counts how calls end. When too many fail, or take too long, it *opens*: calls
//! are refused at once. After a wait it is *half-open*: a few calls pass as
//! probes. If they go well it *closes* again (Nygard, *Release It!*).
//!
//! Do not use it around what cannot fail independently of you, such as your own
//! handlers; there it only turns some errors into more of them. It is no
//! substitute for a timeout: without one, calls still hang. Do not let one circuit
//! guard several hosts: one that fails would shut off those that work.
//!
//! Place: on a client, per endpoint, inside retry and the balancer, and outside
//! the bulkhead and the timeout of each attempt. Then it sees every attempt, and a
//! refusal costs neither a permit nor a timer.
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_keep::circuit_breaker::{CircuitBreakerLayer, Policy};
//! use tower_keep::{LiftLayer, Ratio};
//!
//! let service = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new(Policy::failure_ratio(Ratio::percent(50))?))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! One circuit per host, by failures and by slowness, with an HTTP classifier; and
//! another policy for one host:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::time::Duration;
//! use http::Request;
//! use tower_keep::circuit_breaker::{CircuitBreakerLayer, CloseAfter, Mode, Policy};
//! use tower_keep::{Ratio, Setup, classify, key};
//!
//! let policy = Policy::builder()
//!     .time_window(Duration::from_secs(10))
//!     .failure_ratio(Ratio::percent(50))
//!     // Opens when the 95th percentile is above 300 ms.
//!     .slow_ratio(Ratio::percent(5))
//!     .slow_threshold(Duration::from_millis(300))
//!     .minimum_calls(20)
//!     .slow_minimum_calls(100)
//!     .close_after(CloseAfter::Ratio(10))
//!     .ramp(Duration::from_secs(5))
//!     .build()?;
//! let by_host = key::bytes(|request: &Request<()>| Some(request.uri().host()?.as_bytes()));
//! let layer = CircuitBreakerLayer::keyed_with(policy, by_host, Setup::named("upstreams"))
//!     .classify(classify::Http);
//!
//! let handle = layer.handle();
//! let flaky = Request::get("http://flaky.example/").body(())?;
//! handle.update_for(&by_host, &flaky, Some(Policy::consecutive(3)?))?;
//! handle.set_mode(Mode::Dark); // for a start, see what it would do
//! assert_eq!(handle.snapshot().keys, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When it opens
//! The conditions of a policy are independent: whichever is met first opens it.
//! All compare by *at least*.
//!
//! | condition | looks at |
//! |---|---|
//! | [`failure_ratio`](PolicyBuilder::failure_ratio) | the share of failures in a window of at least [`minimum_calls`](PolicyBuilder::minimum_calls) |
//! | [`slow_ratio`](PolicyBuilder::slow_ratio) | the share of slow calls: "the 95th percentile is above the objective" is a slow ratio of more than 5 % |
//! | [`consecutive`](PolicyBuilder::consecutive) | failures in a row |
//! | [`recent`](PolicyBuilder::recent) | so many failures among the last so many calls |
//!
//! A window is the calls that ended last ([`count_window`](PolicyBuilder::count_window)),
//! those that ended within a time ([`time_window`](PolicyBuilder::time_window)),
//! or both. The counts are exact for one thread; two calls that end at the same
//! moment on two threads may be counted in either order, and a good end that comes
//! at the very moment of a transition may still count.
//!
//! With a slow ratio, a call that has not ended counts as slow once it has lasted
//! for the threshold and at most an eighth more, as soon as another call comes: a
//! dependency that hangs is cut off while its callers still wait. One call is one
//! entry: if it fails in the end, its entry says so from then on, as long as the
//! window has it; an end that comes later than that adds nothing. A call that was
//! slow is slow whatever its outcome, also if that says nothing else.
//!
//! | default | here | resilience4j | Polly | why |
//! |---|---|---|---|---|
//! | failure ratio | 50 % | 50 % | 10 % | below a half most calls still work |
//! | window | 100 calls | 100 calls | 30 s | no clock is needed |
//! | minimum of calls | 20 | 100 | 100 | of fewer, a ratio flaps: at 20 its standard deviation is 11 points |
//! | slow call | 1 s, if a slow ratio is set | 60 s, 100 % | – | a second is long for a call between services |
//! | open for | 5 s, doubled to 60 s, −10 % at random | 60 s | 5 s | most faults are short, and a long one is not probed often |
//! | probes | 3 at once, 3 good ones close it | 10, by ratio | 1 | one call proves little, and ten are many for what has just come back |
//! | a probe that hangs | loses its place after 10 s | waits for ever | blocks all others | |
//!
//! Envoy's outlier detection, which ejects hosts, uses 5 consecutive failures and
//! 30 s times the number of ejections up to 300 s.
//!
//! # Other kinds
//! A [`Kind`] without states refuses a share of the requests that follows the
//! share of failures, for callers who would rather lose some calls than all:
//! Google's client-side throttling, Envoy's admission control, a moving average.
//! The share is capped at 75 % unless the policy says otherwise. Without a cap
//! hardly anything gets through, and the recovery goes unseen for minutes.
//!
//! Evidence are requests that the policy decided about and ends that say something:
//! not what an operator refused or let through unseen, what the service was not ready
//! for, and what ended in a neutral way. The client throttle counts requests before
//! they are sent, as the book does, so that a service that hangs is spared. So a
//! burst of more than [`minimum_calls`](PolicyBuilder::minimum_calls) requests at
//! once is throttled until the first are answered: let the minimum be above the
//! calls that are usually in flight.
//!
//! # Admission
//! In `call`. An open circuit refuses without asking the service whether it is
//! ready, and `poll_ready` does not wait for it; when the wait is over, it does. A
//! service that is refused often for the time that is left does not look at the clock
//! in `poll_ready`: if its calls then stop until the wait is over, the next one has not
//! waited, and is refused as `NotReady` unless the service is ready at once. The
//! circuit of a key is found in `call` only, so `poll_ready` asks the service before,
//! and `call` refuses whether or not it is ready.
//!
//! In the half-open state as many calls pass at once as there are probes; a probe
//! that is dropped, says nothing or takes too long gives its place to another, and
//! its end changes nothing. So probes that only hang neither close nor open it, and
//! no more of them hang than there are places; and a service whose healthy calls
//! last longer than [`probe_timeout`](PolicyBuilder::probe_timeout) never closes it:
//! such calls want a longer one. What was admitted under an earlier state changes
//! nothing when it ends.
//!
//! An operator who keeps it closed ([`Mode::ForcedClosed`]) keeps it closed against
//! probes under way, too: the first call or end closes it.
//!
//! A failure that carries `Retry-After` and opens the circuit keeps it open for as
//! long as it asks, within [`max_retry_after`](PolicyBuilder::max_retry_after).
//!
//! # Cancel safety
//! Every future may be dropped at any poll. A call that is dropped counts by its
//! age: as a failure once it has lasted for the slow threshold, since a timeout
//! further out drops calls too; else as nothing. A timeout further out wants a slow
//! threshold below it: calls, and probes, that it drops earlier say nothing, and a
//! service that hangs would go unseen. Without a slow ratio the time counts from
//! when it was first pending, so that calls that are ready at once read no clock.
//! A call that was never polled has not begun. See [`Dropped`].
//!
//! # Sharing
//! The circuits belong to the layer. All services it makes, and their clones,
//! share them.
//!
//! A keyed breaker has a circuit per key, up to a cap. A new key takes the place of
//! one that is closed and remembers nothing bad, or to which nothing bad has
//! happened for [`max_open_wait`](PolicyBuilder::max_open_wait) and for its time
//! window, counted from the end of its wait if it was open; of a kind that refuses a
//! share, until nothing bad is left in its window. So a flood of keys never frees
//! one that is being held back, be it by a ramp. Keys that find no place, and requests
//! without a key, share one circuit. Each circuit takes at most about 2.1 kB, 16 bytes
//! per bad call that its count window remembers, and 8 per failure that
//! [`recent`](PolicyBuilder::recent) does. Keys are kept as hashes only; they are
//! in events, never in metrics. [`Handle::circuit`] finds that of a key, and
//! [`Handle::open_circuits`] those that are not closed.
//!
//! # Errors
//! [`Open`](crate::RejectionKind::Open), with the time until the next step in which
//! it may pass: 503 and `Retry-After` over HTTP, `UNAVAILABLE` over gRPC. Beside
//! probes that take all places nobody knows that time: it is the first wait, or what
//! is left of the first probe's time if that is less. It is the same for all that
//! are held back, and says nothing about why. If the clock goes back behind the
//! moment at which it opened, its wait begins anew; so do a ramp and the time of a
//! probe, and a window that lies further ahead than it is long forgets.
//! [`Closed`](crate::RejectionKind::Closed) if an operator has isolated it,
//! [`NotReady`](crate::RejectionKind::NotReady).
//!
//! # Panics
//! Never. A panic of the inner service passes through and counts as a failure.
//!
//! # Cost
//! A good call through a closed circuit without a time window or a slow ratio:
//! about 220 instructions above the bare service, no locked one, no clock reading,
//! no allocation. With a time window it reads the clock at its end, with a slow
//! ratio also at its begin; with both it is about 480 instructions and two readings.
//! None of this depends on how many calls are in a window.
//! A bad end takes a lock for a moment and adds up what the threads have counted;
//! so does a good one while a window with a failure in it lacks calls. A call that
//! is pending under a slow ratio costs two locked instructions more. A refusal of
//! an open circuit is about 290 instructions and one clock reading, whatever opened it,
//! and the same beside probes that take all places. Where calls are rare there is a
//! second one, in `poll_ready`, to see whether to wait for the service, which a service
//! that has been ready since it was last called saves. An isolated breaker refuses
//! without a clock. The kinds that refuse a share add up the counts of all threads on
//! every call, and a keyed breaker looks its circuit up.
//!
//! # Events
//! `Transition`, once for each, with the reason and the figures, and a number: two
//! threads may tell of two changes of a circuit in either order, and the numbers
//! say which was first. A circuit that made room for another key tells nothing, and
//! counts from 1 when its key comes again. `Rejected`,
//! `Finished` with the outcome, `Updated`, `CallbackPanicked` (the classifier or
//! the key).

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

pub use self::builder::{PolicyBuilder, Setting};
pub use self::future::CircuitBreakerFuture;
pub use self::handle::{Handle, KeyedCircuit, Permit};
pub use self::layer::CircuitBreakerLayer;
pub use self::mode::Mode;
pub use self::policy::{CloseAfter, Dropped, Kind, Policy};
pub use self::service::CircuitBreaker;
pub use self::snapshot::Snapshot;
pub use crate::event::{CircuitState, Reason, Transition};
pub use crate::kernel::window::Counts;
