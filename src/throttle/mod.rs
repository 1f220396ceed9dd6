//! Bounds how many requests come in a given time.
//!
//! The generic cell rate algorithm (ITU-T I.371), which admits exactly what a
//! token bucket does, in one word per bucket: `rate` requests in the long run,
//! `burst` of them at once, each at its cost.
//!
//! Other ways of counting are its [`Kind`]s: pacing, a rate that warms up, windows of
//! the clock, a sliding window, a sliding log. Several limits can hold at once.
//!
//! Do not use it to protect a service whose speed varies: it does not know how
//! long calls take. That is `bulkhead`.
//!
//! Place: on a server outermost, just inside `respond` and the deadline.
//!
//! ```
//! use std::time::Duration;
//! use tower::ServiceBuilder;
//! use tower_keep::throttle::{Policy, ThrottleLayer};
//! use tower_keep::LiftLayer;
//!
//! let service = ServiceBuilder::new()
//!     .layer(ThrottleLayer::new(Policy::per_second(100)?))
//!     .layer(LiftLayer::new())
//!     .service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) });
//! # let _ = service;
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! One bucket per client address behind one proxy, with expensive requests, a
//! short wait, and quota headers on every response:
//!
#![cfg_attr(feature = "http", doc = "```")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use std::net::SocketAddr;
//! use std::time::Duration;
//! use axum::extract::ConnectInfo;
//! use http::{Method, Request};
//! use tower_keep::http::client_ip::ClientIp;
//! use tower_keep::key::{self, cost};
//! use tower_keep::throttle::{Headers, Policy, ThrottleLayer};
//! use tower_keep::Setup;
//!
//! let policy = Policy::builder()
//!     .rate(600, Duration::from_secs(60))
//!     .burst(20)
//!     .max_wait(Duration::from_millis(50))
//!     .max_keys(50_000)
//!     .headers(Headers::Always)
//!     .build()?;
//! // Without the peer's address nobody can tell clients apart: they would all share
//! // one bucket. This is axum's.
//! let client = ClientIp::trusted_hops(1).read_peer_with(|extensions| {
//!     extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0)
//! });
//! let by_client = key::client_ip(client);
//! let layer = ThrottleLayer::keyed_with(policy, by_client, Setup::named("per client"))
//!     .cost(cost::by(|request: &Request<()>| if request.method() == Method::GET { 1 } else { 5 }))
//!     .waiting();
//! assert_eq!(layer.handle().snapshot().keys, 0);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! Ten a second and a thousand an hour for each client, and five thousand a second for
//! all of them; from a file, and with a client who pays for more:
//!
#![cfg_attr(feature = "serde", doc = "```")]
#![cfg_attr(not(feature = "serde"), doc = "```ignore")]
//! use tower_keep::key;
//! use tower_keep::throttle::{Policy, ThrottleLayer};
//!
//! let policy: Policy = toml::from_str(r#"
//!     permits = 10
//!     per = "1s"
//!     also = [{ permits = 1000, per = "1h", kind = "fixed-window" }]
//!     total = { permits = 5000, per = "1s" }
//! "#)?;
//! let by_client = key::value(|client: &u64| Some(*client));
//! let handle = ThrottleLayer::keyed(policy, by_client.clone()).handle();
//! let paying = policy.to_builder().rate(100, std::time::Duration::from_secs(1)).build()?;
//! handle.set_quota_for(&by_client, &42, Some(paying)).expect("it has a key");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Admission
//! In `call`. [`Refuse`] (the default) refuses what comes too early and says
//! exactly how long to wait. [`Wait`] lets it wait in the future, up to the
//! policy's `max_wait` and the caller's deadline, and refuses at once what would
//! have to wait longer. Waiting requests have reserved their places in order of
//! arrival, so nobody overtakes. A waiting request that is dropped gives its
//! place back if nobody has reserved behind it; otherwise its place stays empty,
//! since those behind it have been told their times.
//!
//! A refusal costs the bucket nothing. A request of cost 0 is free. One that costs
//! more than the burst is never admitted, so its refusal names no time to come
//! back, and as a response it is a 400, not a 429: give such requests a lower cost,
//! or the policy a larger burst.
//!
//! # Several limits
//! A request of a policy with more than one limit
//! ([`also`](PolicyBuilder::also), [`total`](PolicyBuilder::total)) takes from all of them
//! or from none, and a refusal names the longest wait. It looks at all before it takes
//! from the first; where another request then is first at a later one, it gives back
//! what it has taken, without a lock. Between the two, a third request may be refused
//! early; never is one admitted that any limit forbids. What is given back is at most
//! what was taken, and a little less if others give back at the same time: it is there
//! again when the bucket has been refilled. A log cannot take back at all.
//!
//! The refusal of a key's own limit is [`Throttled`](crate::RejectionKind::Throttled)
//! (429); that of all keys together [`TotalRate`](crate::RejectionKind::TotalRate) (503),
//! unless [`over_total`](PolicyBuilder::over_total) says otherwise. Headers list all
//! limits: the first by the layer's name, the others as `name-2` to `name-4` and
//! `name-total`.
//!
//! A live update keeps what each limit has counted, by its place in the policy and its
//! kind, also while it is not part of it. So no sequence of updates mints anything,
//! but that a limit of another kind begins with nothing counted, once.
//!
//! # Keys
//! Keyed throttles hold one bucket per key behind a hard cap. At the cap a new
//! key takes the place of one whose bucket is full again, which loses nothing;
//! a key that is being throttled is never evicted. If there is no such place,
//! the policy says what happens: by default all those who find none share one
//! bucket.
//!
//! A plain bucket is found in half the time of one that can do more. So a keyed throttle
//! begins with plain ones, and leaves them for good as soon as anybody wants more: a
//! further limit, a quota for one key, a reservation, a charge, a refund. What each key
//! has used goes with it; the memory of the plain buckets is kept for as long as the
//! layer.
//!
//! Requests without a key share another one, unless the policy refuses them. That
//! is safe, but seldom what was meant if it happens to many, as where the peer's
//! address or a header does not arrive: [`Snapshot::keyless`] counts them, and an
//! event tells of the first, the second, the fourth and so on
//! ([`event::Trace`](crate::event::Trace) writes it as a warning).
//!
//! # Leased
//! Exact, the bucket is one word that every core writes: two threads are slower on
//! it than one. With [`Mode::Leased`] a thread draws a slice of up to 64 requests and
//! admits them by itself, without a clock reading or an atomic instruction that
//! locks. Slices are sized so that all of them together are at most a quarter of the
//! burst; that quarter is kept out of the bucket, so never more than
//! `rate · T + burst` are admitted in any time T. The price: a request may be refused
//! early, while other threads hold what would have admitted it. They can hold a
//! quarter of the burst, and another quarter is never in the bucket: what can come at
//! once is half of the burst at worst, and a request may cost no more than what the
//! bucket holds. The rate is not touched: a slice that lies idle is missing once. A
//! thread that holds a slice overtakes requests that [`Wait`].
//!
//! A slice is smaller where there are many cores, and with less than four requests
//! to it a throttle stays exact: as does one that writes [`Headers::Always`], and
//! every keyed one. That is below a burst of 32 for each core (64 on two). An update
//! or an override of the handle is obeyed by the next request, whoever holds what.
//!
//! # Cancel safety
//! Every future may be dropped at any poll.
//!
//! # Sharing
//! The buckets belong to the layer: all services it makes, and their clones,
//! share them.
//!
//! # Errors
//! [`Throttled`](crate::RejectionKind::Throttled) and
//! [`TotalRate`](crate::RejectionKind::TotalRate) with the exact wait,
//! [`CostAboveBurst`](crate::RejectionKind::CostAboveBurst),
//! [`BadKey`](crate::RejectionKind::BadKey),
//! [`KeysExhausted`](crate::RejectionKind::KeysExhausted),
//! [`NotReady`](crate::RejectionKind::NotReady),
//! [`NoRuntime`](crate::RejectionKind::NoRuntime),
//! [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A key or cost function that panics is counted; its request counts as
//! one without a key, or of cost 1.
//!
//! # Cost
//! One clock reading (shared with the layers below) and one compare-and-swap;
//! leased, neither, but for one request in a slice. A
//! key adds a 64-bit `SipHash` and a lock-free lookup. No allocation but for a
//! key that is new, no lock but for that. Each further limit adds one or two
//! compare-and-swaps and, once for each key, an allocation.
//!
//! # Events
//! `Rejected`, `Waited`, `Keyless`, `Updated`, `CallbackPanicked`.

mod buckets;
mod future;
mod handle;
mod keyless;
mod layer;
pub mod learned;
mod leased;
mod limit;
mod limits;
mod pass;
mod permit;
mod policy;
mod publish;
mod report;
mod service;
mod several;
mod state;
mod words;

pub use self::future::{RefundFuture, ThrottleFuture, WaitFuture};
pub use self::handle::{Handle, Snapshot};
pub use self::layer::ThrottleLayer;
pub use self::limit::{Kind, Limit, OverTotal};
pub use self::permit::Permit;
pub use self::policy::{Headers, MissingKey, Mode, Policy, PolicyBuilder, WhenFull};
pub use self::service::{Refund, Refuse, Throttle, Wait};
