//! Health over HTTP.

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower_service::Service;

use super::answer;
use super::handle::Health;
use super::policy::Group;
use super::state::Entry;
use crate::probe::Status;

const JSON: HeaderValue = HeaderValue::from_static("application/health+json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Who may see more than a status.
type Sees = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;

/// The health of a process as a service: on a port of its own, or as a part of a
/// router.
///
/// | path | answer |
/// |---|---|
/// | `/livez`, `/readyz`, `/startupz` | the group |
/// | `/healthz` | all checks |
/// | `/readyz/{name}` | one check of the group; needs sight of details |
/// | `?verbose` | lines for people; needs sight of details |
/// | `?exclude={name}`, repeatable | without these checks; needs sight of details |
///
/// 200 if it passes or warns, 503 if it fails, 404 for other paths and unknown
/// checks, 405 for methods other than `GET` and `HEAD`. The body is
/// `application/health+json`.
///
/// ```
/// use axum::Router;
/// use tower_keep::health::{Check, Health};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let health = Health::builder()
///     .check(Check::new("queue", || async { Ok::<_, String>(()) }))
///     .start()
///     .unwrap();
/// let app: Router = Router::new().fallback_service(health.endpoints());
/// # let _ = app;
/// # }
/// ```
#[derive(Clone)]
pub struct Endpoints {
    health: Health,
    sees: Option<Sees>,
}

impl Endpoints {
    pub(super) fn new(health: Health) -> Self {
        Self { health, sees: None }
    }

    /// Those callers may see details for whom `sees` holds, by the head of their
    /// request: what the checks are, what they have found, and how it is without
    /// some of them. By default nobody may: names, versions and error texts tell an
    /// attacker what there is. A predicate that panics lets nobody see.
    #[must_use]
    pub fn details_for(mut self, sees: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.sees = Some(Arc::new(sees));
        self
    }

    fn answer(&self, head: &Parts) -> Response<Full<Bytes>> {
        if head.method != Method::GET && head.method != Method::HEAD {
            let mut response = of(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let path = head.uri.path().trim_matches('/');
        let (title, name) = match path.split_once('/') {
            Some((title, name)) => (title, Some(name)),
            None => (path, None),
        };
        let group = match title {
            "livez" => Some(Group::Liveness),
            "readyz" => Some(Group::Readiness),
            "startupz" => Some(Group::Startup),
            "healthz" => None,
            _ => return unknown(),
        };
        let query = Query(head.uri.query().unwrap_or_default());
        match (self.may_see(head), name) {
            (false, None) => {
                let status = self.health.state.status(group);
                of(code(status), JSON, answer::bare(status))
            }
            (false, Some(_)) => unknown(),
            (true, None) => self.all(title, group, query),
            (true, Some(name)) => self.one(title, group, name, query),
        }
    }

    fn may_see(&self, head: &Parts) -> bool {
        let core = &self.health.state.core;
        self.sees.as_ref().is_some_and(|sees| {
            let seen = core.contain("the predicate of details", || sees(head));
            seen.unwrap_or(false)
        })
    }

    fn all(&self, title: &str, group: Option<Group>, query: Query<'_>) -> Response<Full<Bytes>> {
        let state = &self.health.state;
        let entries = || state.entries.iter().filter(|entry| entry.is_in(group));
        let status = match query.excludes_some() {
            true => state.status_without(group, |entry| query.excludes(entry)),
            false => state.status(group),
        };
        if query.is_verbose() {
            let entries = entries().map(|entry| (entry, query.excludes(entry)));
            let lines = answer::lines(state, title, group, status, entries);
            return of(code(status), TEXT, lines);
        }
        let entries = entries().filter(|entry| !query.excludes(entry));
        of(
            code(status),
            JSON,
            answer::json(state, group, status, entries),
        )
    }

    fn one(
        &self,
        title: &str,
        group: Option<Group>,
        name: &str,
        query: Query<'_>,
    ) -> Response<Full<Bytes>> {
        let state = &self.health.state;
        let is_it = |entry: &&Entry| &*entry.name == name && entry.is_in(group);
        let Some(entry) = state.entries.iter().find(is_it) else {
            return unknown();
        };
        let status = state.look(entry).status;
        if query.is_verbose() {
            let lines = answer::lines(state, title, group, status, [(entry, false)].into_iter());
            return of(code(status), TEXT, lines);
        }
        let json = answer::json(state, group, status, [entry].into_iter());
        of(code(status), JSON, json)
    }
}

impl<B> Service<Request<B>> for Endpoints {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, _) = request.into_parts();
        ready(Ok(self.answer(&head)))
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// `pass` and `warn` are successes, `fail` is not: section 3 of the draft.
fn code(status: Status) -> StatusCode {
    if status.works() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn unknown() -> Response<Full<Bytes>> {
    of(StatusCode::NOT_FOUND, TEXT, "unknown\n")
}

fn of(code: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    // What a probe reads must be what is true now.
    let never = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, never);
    response
}

/// What comes after the `?`. Names of checks need no percent-encoding.
#[derive(Clone, Copy)]
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.0.split('&');
        pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    fn is_verbose(self) -> bool {
        self.pairs().any(|(name, _)| name == "verbose")
    }

    fn excludes_some(self) -> bool {
        self.pairs().any(|(name, _)| name == "exclude")
    }

    fn excludes(self, entry: &Entry) -> bool {
        self.pairs()
            .any(|(name, value)| name == "exclude" && value == &*entry.name)
    }
}
