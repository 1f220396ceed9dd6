//! Limits that depend on the request.

use std::fmt;
use std::time::Duration;

/// Tells the limit of a request.
///
/// [`PolicyOnly`] is the default; [`by`] takes a closure; for HTTP there are
/// `Routes` and `FromExtension`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell the time limit of `{Req}`",
    note = "wrap a closure: `timeout::by(|request: &{Req}| Some(limit))`"
)]
pub trait LimitFor<Req: ?Sized> {
    /// The limit that replaces the policy's `attempt`; `None` leaves it. Zero
    /// means that only an answer at once counts.
    fn limit_for(&self, request: &Req) -> Option<Duration>;
}

/// The policy's limit for all requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyOnly;

impl<Req: ?Sized> LimitFor<Req> for PolicyOnly {
    #[inline]
    fn limit_for(&self, _: &Req) -> Option<Duration> {
        None
    }
}

/// A closure as a limit: made by [`by`].
#[derive(Clone, Copy)]
pub struct By<F>(F);

/// The limit is what `f` says.
pub const fn by<Req: ?Sized, F: Fn(&Req) -> Option<Duration>>(f: F) -> By<F> {
    By(f)
}

impl<Req: ?Sized, F: Fn(&Req) -> Option<Duration>> LimitFor<Req> for By<F> {
    #[inline]
    fn limit_for(&self, request: &Req) -> Option<Duration> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("By")
    }
}

#[cfg(feature = "http")]
pub use http_limits::{FromExtension, PerRequest, Routes};

#[cfg(feature = "http")]
mod http_limits {
    use std::sync::Arc;
    use std::time::Duration;

    use http::{Method, Request};

    use super::LimitFor;

    /// A request's own limit, as an extension of it; see [`FromExtension`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct PerRequest(pub Duration);

    /// The limit of requests that carry a [`PerRequest`] extension.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct FromExtension;

    impl<B> LimitFor<Request<B>> for FromExtension {
        fn limit_for(&self, request: &Request<B>) -> Option<Duration> {
            request
                .extensions()
                .get::<PerRequest>()
                .map(|limit| limit.0)
        }
    }

    /// Limits by path: the longest prefix of whole segments wins, and among
    /// equals the one for the request's method.
    #[derive(Debug, Clone, Default)]
    #[must_use]
    pub struct Routes {
        /// Longest first, those with a method before those without.
        routes: Arc<Vec<Route>>,
    }

    #[derive(Debug, Clone)]
    struct Route {
        method: Option<Method>,
        prefix: String,
        limit: Duration,
    }

    impl Routes {
        /// No route yet.
        pub fn new() -> Self {
            Self::default()
        }

        /// A limit for a path and all below it: `/a` covers `/a` and `/a/b`, not
        /// `/ab`.
        pub fn path(self, prefix: &str, limit: Duration) -> Self {
            self.with(None, prefix, limit)
        }

        /// A limit for one method of a path and all below it.
        pub fn method(self, method: Method, prefix: &str, limit: Duration) -> Self {
            self.with(Some(method), prefix, limit)
        }

        fn with(mut self, method: Option<Method>, prefix: &str, limit: Duration) -> Self {
            let routes = Arc::make_mut(&mut self.routes);
            let prefix = prefix.trim_end_matches('/').to_owned();
            routes.push(Route {
                method,
                prefix,
                limit,
            });
            routes.sort_by_key(|r| (std::cmp::Reverse(r.prefix.len()), r.method.is_none()));
            self
        }
    }

    impl<B> LimitFor<Request<B>> for Routes {
        fn limit_for(&self, request: &Request<B>) -> Option<Duration> {
            let path = request.uri().path();
            let covers = |route: &&Route| {
                route.method.as_ref().is_none_or(|m| m == request.method())
                    && path
                        .strip_prefix(route.prefix.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.routes.iter().find(covers).map(|route| route.limit)
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_longest_prefix_of_whole_segments_wins() {
            let secs = Duration::from_secs;
            let routes = Routes::new()
                .path("/", secs(1))
                .path("/a", secs(2))
                .path("/a/b/", secs(3))
                .method(Method::POST, "/a", secs(4));
            let limit = |method: Method, path: &str| {
                let request = Request::builder().method(method).uri(path).body(());
                routes.limit_for(&request.unwrap())
            };
            assert_eq!(limit(Method::GET, "/"), Some(secs(1)));
            assert_eq!(limit(Method::GET, "/ab"), Some(secs(1)));
            assert_eq!(limit(Method::GET, "/a"), Some(secs(2)));
            assert_eq!(limit(Method::GET, "/a/c?x=/a/b"), Some(secs(2)));
            assert_eq!(limit(Method::POST, "/a/c"), Some(secs(4)));
            assert_eq!(limit(Method::POST, "/a/b"), Some(secs(3)));
            assert_eq!(
                Routes::new()
                    .path("/a", secs(1))
                    .limit_for(&Request::new(())),
                None
            );
        }
    }
}
