//! Requests of which nothing was sent.

use std::error::Error as StdError;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, Request, Response};
use tower::{Layer, ServiceExt};
use tower_keep::error::find_rejection;
use tower_keep::retry::{self, RetryLayer};
use tower_keep::test_util::{ManualClock, finish_on};
use tower_keep::timeout::{self, Connector, TimeoutLayer};
use tower_keep::{AsRejection, Error, Setup};

use super::{steady, without_end};
use crate::support::ms;

type BoxError = Box<dyn StdError + Send + Sync>;

/// How often it is tried where no connection comes about, as the connector of this
/// crate tells it.
fn connects<Err, U>(method: Method, wrap: fn(Error<io::Error>) -> Err, rules: retry::Http<U>) -> u64
where
    Err: AsRejection + Send + 'static,
    U: retry::Unprocessed<Err> + Clone,
{
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock());
    let limit = TimeoutLayer::with(timeout::Policy::attempt(ms(100)).unwrap(), setup());
    let never = tower::service_fn(|()| pending::<Result<(), io::Error>>());
    let connector = Connector::new(&limit, never);
    let calls = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&calls);
    let inner = tower::service_fn(move |_: Request<()>| {
        seen.fetch_add(1, Ordering::SeqCst);
        let connector = connector.clone();
        async move {
            connector.oneshot(()).await.map_err(wrap)?;
            Ok::<_, Err>(Response::new(()))
        }
    });
    let layer = RetryLayer::with_budget(steady(), rules, without_end(setup()), setup());
    let request = Request::builder().method(method).uri("/");
    let call = layer.layer(inner).oneshot(request.body(()).unwrap());
    assert!(finish_on(&time, call).unwrap().is_err());
    calls.load(Ordering::SeqCst)
}

#[test]
fn a_connect_timeout_is_tried_again_whatever_the_method() {
    for method in [Method::GET, Method::POST] {
        let boxed = connects::<BoxError, _>(method.clone(), Into::into, retry::Http::new());
        let refused = connects(method, |error| error, retry::Http::new());
        assert_eq!((boxed, refused), (4, 4));
    }
}

#[test]
fn a_connect_timeout_inside_another_error_is_tried_again_where_the_rules_look_for_it() {
    let wrap = |error: Error<io::Error>| Error::Inner(io::Error::other(error));
    let unsent = |error: &Error<io::Error>| match error {
        Error::Inner(error) => find_rejection(error).is_some_and(|found| !found.reached_inner()),
        _ => false,
    };
    for (method, blind) in [(Method::GET, 4), (Method::POST, 1)] {
        let rules = retry::Http::new();
        assert_eq!(connects(method.clone(), wrap, rules), blind);
        assert_eq!(connects(method, wrap, rules.unprocessed(unsent)), 4);
    }
}
