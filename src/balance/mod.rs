//! Sends each request to one of many endpoints.
//!
//! A service that runs on many machines is as fast as the machine that a request comes
//! to. A balancer picks one that has little to do, leaves out those that fail, and
//! follows what discovery says; and it is a clonable service without a task or a
//! channel in the request's way.
//!
//! Do not use it where the other side balances already, as behind one virtual address:
//! there is one endpoint then, and nothing to choose. Requests that belong to a certain
//! endpoint, by a key, need a partition and not a balancer.
//!
//! Place: on a client, inside retry and hedge, whose further attempts it sends elsewhere
//! (by [`Attempt`](crate::attempt::Attempt)); outside what each endpoint has for itself,
//! such as a breaker, a bulkhead or a timeout per attempt, which the factory lays around
//! the endpoint's service.
//!
//! ```
//! use tower::service_fn;
//! use tower_keep::balance::{Balance, Endpoint, Policy, by};
//!
//! let endpoints: Vec<Endpoint> = vec!["http://10.0.0.1".into(), "http://10.0.0.2".into()];
//! let balance = Balance::new(Policy::default(), endpoints, by(|endpoint| {
//!     let to = endpoint.address().to_owned();
//!     service_fn(move |n: u32| {
//!         let answer = format!("{n} from {to}");
//!         async { Ok::<_, tower::BoxError>(answer) }
//!     })
//! }));
//! # tower_keep::check::<u32, _>(&balance);
//! ```
//!
//! Endpoints that change, slow connections, a picker by latency, and what is to be
//! known of them:
//!
//! ```
//! use std::time::Duration;
//! use tokio::sync::watch;
//! use tower::service_fn;
//! use tower_keep::balance::{Balance, Endpoint, PeakEwma, Policy, SlowStart, Watch};
//! use tower_keep::Setup;
//!
//! # #[derive(Clone)] struct Client;
//! # impl tower::Service<u32> for Client {
//! #     type Response = u32; type Error = tower::BoxError;
//! #     type Future = std::future::Ready<Result<u32, tower::BoxError>>;
//! #     fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), tower::BoxError>> { std::task::Poll::Ready(Ok(())) }
//! #     fn call(&mut self, n: u32) -> Self::Future { std::future::ready(Ok(n)) }
//! # }
//! # async fn connect(_: Endpoint) -> Result<Client, tower::BoxError> { Ok(Client) }
//! let (discovered, endpoints) = watch::channel(vec![Endpoint::new("10.0.0.1:80").zone("a")]);
//! let policy = Policy::builder()
//!     .picker(PeakEwma::default())
//!     .zone("a")
//!     .slow_start(SlowStart::over(Duration::from_secs(30)))
//!     .max_wait(Duration::from_millis(500))
//!     .build()?;
//! let setup = Setup::named("inventory");
//! let balance = Balance::with(policy, Watch::new(endpoints), service_fn(connect), setup);
//! # tower_keep::check::<u32, _>(&balance);
//! let handle = balance.handle();
//! for endpoint in handle.snapshot().endpoints {
//!     println!("{}: {:?}", endpoint.address, endpoint.condition);
//! }
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```
//!
//! # Admission
//! `poll_ready` is always ready: which endpoint is asked depends on the request. `call`
//! asks the policy's [`Picker`] up to three times, then looks at up to
//! [`max_picks`](PolicyBuilder::max_picks) endpoints of each level, one after the other;
//! the first whose service is ready gets the request. One that an earlier attempt of the
//! same request has tried comes last.
//!
//! If none is ready, the request waits in its future: for any of those that were asked
//! to become ready, and for news of the set; no longer than
//! [`max_wait`](PolicyBuilder::max_wait) and the deadline in force, and together with no
//! more than [`max_waiting`](PolicyBuilder::max_waiting) others.
//!
//! Who may be chosen is decided when something changes and not when something is chosen.
//! Endpoints are in levels: by priority, and within one those of the own zone before the
//! others. The first level gets everything while 71 % of it are fit (Envoy's
//! overprovisioning factor, 140 %), and what it cannot take goes to the next one. Not fit
//! are those that are not connected, ejected for their failures ([`Outliers`]) or found
//! unhealthy ([`Handle::report`]). A level of which less than the
//! [`panic_threshold`](PolicyBuilder::panic_threshold) is fit uses all that are connected.
//!
//! # Pickers
//! | picker | goes by | clock readings |
//! |---|---|---|
//! | [`LeastRequest`] | calls in flight, the less loaded of two | none |
//! | [`PeakEwma`] | times that calls took, and calls in flight, of two | two |
//! | [`Prequal`] | calls in flight, then times, of those probed lately | two |
//! | [`RoundRobin`], [`Random`] | turns, or chance | none |
//!
//! All of them keep to weights and to slow starts. Their cost does not grow with the
//! number of endpoints. Those that go by load prefer any endpoint to one most of whose
//! latest calls failed: who fails at once never has much to do, and would be sent
//! everything. Round robin and random give it its share, until it is ejected.
//!
//! In simulations of a hundred endpoints, this is what 99 of 100 calls take at the most
//! (`cargo bench --bench traces` draws it). Where endpoints are alike, calls in flight say
//! all that there is to know; the more they differ, the more times tell.
//!
#![doc = include_str!("traces.svg")]
//!
//! # Discovery and connections
//! A single task of the tokio runtime drives [`Discover`], the factory, and the clock of
//! ejections and slow starts. It is begun by the first use inside a runtime, ends with the
//! last clone, and goes on in another runtime if its own has ended; a list of endpoints
//! whose services need no connecting ([`by`]) works without one. The factory is asked for
//! [`max_connecting`](PolicyBuilder::max_connecting) services at once, each with
//! [`connect_timeout`](PolicyBuilder::connect_timeout); after a failure, and after a
//! service's `poll_ready` has failed, it is asked again, with the policy's
//! [`backoff`](PolicyBuilder::backoff), which begins anew when a call has succeeded.
//!
//! An endpoint that is removed finishes what it has; one that comes back, or whose weight
//! or anything else has changed, is a new one.
//!
//! # Cancel safety
//! Every future may be dropped at any poll: the call counts as cancelled and is in flight
//! no more, or waits no more, before the drop returns.
//!
//! # Sharing
//! Everything is shared by all clones: endpoints, connections, what is known of them.
//! Each call clones the service of its endpoint, which must be `Clone + Send + Sync`: most
//! clients are, and clones of one share its connections. (The other way, a service of
//! each endpoint in each clone of the balancer, needs no clone per call where clones live
//! long; but most are made for one request, as by axum or by a retry, and would find
//! nothing ready.)
//!
//! # Errors
//! [`NoEndpoint`](crate::RejectionKind::NoEndpoint) after the longest wait, or at once if
//! too many wait; [`DeadlineExceeded`](crate::RejectionKind::DeadlineExceeded) if the
//! deadline came first, [`NoRuntime`](crate::RejectionKind::NoRuntime) if it must wait where
//! no timer runs, [`Closed`](crate::RejectionKind::Closed).
//!
//! # Panics
//! Never. A panic of an endpoint's service passes through; one of the factory, of discovery
//! or of a picker is counted and taken for a failure.
//!
//! # Cost
//! Two locked instructions to look at the set, and two to count the call; no clock
//! reading, except for pickers that go by latency, which take two; no allocation, no lock.
//! It is the same for 100 endpoints and for 10,000. To that comes the clone of the
//! endpoint's service. A call that has to wait allocates and takes short locks. A change of
//! the set takes time in proportion to the number of endpoints, in the background.
//!
//! # Events
//! `Rejected`, `Finished` with the outcome, `Waited`, `Endpoint` with what has become of
//! it, `DiscoveryFailed`, `Updated`, `CallbackPanicked`.

mod care;
mod checks;
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
mod report;
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
pub use self::handle::{EndpointSnapshot, Handle, Health, Permit, Snapshot, UnknownEndpoint};
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
