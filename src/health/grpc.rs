//! Health over gRPC: the service `grpc.health.v1.Health`.
//!
//! ```
//! use tower_keep::health::{Health, grpc::GrpcHealth};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let health = Health::builder().start().unwrap();
//! // "" is the process as a whole; a service is as ready as the process is.
//! let grpc = GrpcHealth::new(&health).service("shop.v1.Orders");
//! let app: axum::Router = axum::Router::new()
//!     .route_service(GrpcHealth::ROUTE, grpc);
//! # let _ = app;
//! # }
//! ```
//!
//! In a tonic server, add such a router by `Routes::from`. The messages have one field
//! each: a code generator and its runtime would be most of the code.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Collected, Limited};
use tower_service::Service;

use super::handle::Health;
use super::policy::Group;
use crate::probe::Status;
use crate::probe::health_v1::{self, Answer, LONGEST};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Status codes of gRPC.
const OK: u16 = 0;
const INVALID_ARGUMENT: u16 = 3;
const NOT_FOUND: u16 = 5;
const UNIMPLEMENTED: u16 = 12;

/// The service `grpc.health.v1.Health`, with `Check` and `Watch`.
///
/// | asked for | answer |
/// |---|---|
/// | `""`, or a name given by [`service`](Self::service) | `SERVING` unless readiness fails |
/// | another name, by `Check` | the status `NOT_FOUND` |
/// | another name, by `Watch` | `SERVICE_UNKNOWN`, and the stream stays open |
///
/// `Watch` answers at once, and again for each change.
#[derive(Debug, Clone)]
pub struct GrpcHealth {
    health: Health,
    services: Arc<[String]>,
}

impl GrpcHealth {
    /// Where a router of axum has to put it.
    pub const ROUTE: &str = "/grpc.health.v1.Health/{method}";

    /// For the process as a whole.
    #[must_use]
    pub fn new(health: &Health) -> Self {
        Self {
            health: health.clone(),
            services: Arc::default(),
        }
    }

    /// Also for this service.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        let more = self.services.iter().cloned().chain([name.into()]);
        self.services = more.collect();
        self
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.iter().any(|known| known == service)
    }

    async fn answer<B>(self, request: Request<B>) -> Response<GrpcBody>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path().strip_prefix('/').unwrap_or_default();
        let method = path
            .split_once('/')
            .filter(|(service, _)| *service == health_v1::SERVICE);
        let is_watch = match method {
            _ if head.method != Method::POST => return refused(UNIMPLEMENTED),
            Some((_, "Check")) => false,
            Some((_, "Watch")) => true,
            _ => return refused(UNIMPLEMENTED),
        };
        let message = Limited::new(body, LONGEST).collect().await;
        let message = message.map(Collected::to_bytes).unwrap_or_default();
        let Some(service) = health_v1::read_request(&message) else {
            return refused(INVALID_ARGUMENT);
        };
        let body = match (is_watch, self.knows(&service)) {
            (false, false) => return refused(NOT_FOUND),
            (false, true) => GrpcBody::once(answer(self.health.status())),
            (true, true) => GrpcBody::watch(self.health),
            (true, false) => GrpcBody::unknown(),
        };
        of(body)
    }
}

fn answer(status: Status) -> Answer {
    if status.works() {
        Answer::Serving
    } else {
        Answer::NotServing
    }
}

fn of(body: GrpcBody) -> Response<GrpcBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// Trailers only: an answer without a message.
fn refused(code: u16) -> Response<GrpcBody> {
    let mut response = of(GrpcBody(Next::Over));
    response.headers_mut().insert("grpc-status", code.into());
    response
}

impl<B> Service<Request<B>> for GrpcHealth
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<GrpcBody>;
    type Error = Infallible;
    type Future = GrpcFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> GrpcFuture {
        GrpcFuture(Box::pin(self.clone().answer(request)))
    }
}

/// The future of [`GrpcHealth`].
#[must_use = "futures do nothing unless polled"]
pub struct GrpcFuture(Pin<Box<dyn Future<Output = Response<GrpcBody>> + Send>>);

impl Future for GrpcFuture {
    type Output = Result<Response<GrpcBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for GrpcFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrpcFuture")
    }
}

/// The body of an answer of [`GrpcHealth`].
pub struct GrpcBody(Next);

/// What comes next.
enum Next {
    /// An answer, and the end.
    Once(Answer),
    /// The end of an answer.
    Trailers,
    Over,
    /// An answer, and nothing any more, for ever.
    Unknown,
    Silence,
    /// The status as soon as it is something else than was told last.
    Watch(Pin<Box<dyn Future<Output = (Health, Status)> + Send>>),
}

impl GrpcBody {
    fn once(answer: Answer) -> Self {
        Self(Next::Once(answer))
    }

    fn unknown() -> Self {
        Self(Next::Unknown)
    }

    fn watch(health: Health) -> Self {
        let status = health.status();
        Self(Next::Watch(Box::pin(std::future::ready((health, status)))))
    }
}

/// The status when serving has become not serving, or the other way round.
async fn changed(health: Health, mut from: Status) -> (Health, Status) {
    let told = answer(from);
    while answer(from) == told {
        from = health.changed(Group::Readiness, from).await;
    }
    (health, from)
}

impl Body for GrpcBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (told, next) = match &mut self.0 {
            Next::Once(answer) => (*answer, Next::Trailers),
            Next::Unknown => (Answer::ServiceUnknown, Next::Silence),
            Next::Watch(change) => {
                let (health, status) = ready!(change.as_mut().poll(cx));
                let change = Box::pin(changed(health, status));
                (answer(status), Next::Watch(change))
            }
            Next::Trailers => {
                self.0 = Next::Over;
                let trailers = HeaderMap::from_iter([(
                    header::HeaderName::from_static("grpc-status"),
                    HeaderValue::from(OK),
                )]);
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            Next::Over => return Poll::Ready(None),
            Next::Silence => return Poll::Pending,
        };
        self.0 = next;
        Poll::Ready(Some(Ok(Frame::data(health_v1::response(told)))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Next::Over)
    }
}

impl fmt::Debug for GrpcBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrpcBody")
    }
}
