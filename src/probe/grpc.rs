//! Whether a gRPC server says that it serves.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::health_v1::{self, Answer, LONGEST, SERVICE};
use super::http::{AGENT, Error, Url, beside, told};
use super::{Finding, Probe, Probing, Reach};
use crate::policy::PolicyError;

/// Asks `grpc.health.v1.Health/Check` (the gRPC health checking protocol) over a new
/// connection of HTTP/2 with prior knowledge.
///
/// ```
/// use tower_keep::probe::Grpc;
///
/// let shop = Grpc::new("http://shop.internal:50051")?.service("shop.v1.Orders");
/// # let _ = shop;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
///
/// `SERVING` is good; every other answer, and a server that does not know the
/// protocol or the service, is a failure.
///
/// # Cancel safety
/// Dropped, it closes the connection.
#[derive(Debug, Clone)]
pub struct Grpc {
    url: Url,
    service: String,
}

impl Grpc {
    /// Asks this server as a whole: `"http://10.0.0.1:50051"`. A path is ignored.
    ///
    /// # Errors
    /// If it is no such URL.
    pub fn new(url: &str) -> Result<Self, PolicyError> {
        Ok(Self {
            url: Url::parse(url)?,
            service: String::new(),
        })
    }

    /// Asks for one service of it; by default for the server as a whole.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    async fn ask(&self) -> Finding {
        match self.send().await {
            Ok(finding) => finding,
            Err(error) => Finding::fail(told(&*error)),
        }
    }

    async fn send(&self) -> Result<Finding, Error> {
        let io = TokioIo::new(self.url.target.connect().await?);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        let request = self.request()?;
        beside(connection, async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                let status = response.status().as_u16();
                return Ok(Finding::fail(format!("status {status}")));
            }
            if let Some(finding) = refused(response.headers()) {
                return Ok(finding);
            }
            let mut body = response.into_body();
            let mut message = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame?;
                if let Some(finding) = frame.trailers_ref().and_then(refused) {
                    return Ok(finding);
                }
                if let Some(data) = frame.data_ref() {
                    if message.len() + data.len() > LONGEST {
                        return Ok(Finding::fail("the answer is too long"));
                    }
                    message.extend_from_slice(data);
                }
            }
            Ok(meaning(&message))
        })
        .await
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut parts = self.url.uri.clone().into_parts();
        parts.path_and_query = Some(format!("/{SERVICE}/Check").parse()?);
        Request::builder()
            .method(Method::POST)
            .uri(Uri::from_parts(parts)?)
            .header(header::TE, HeaderValue::from_static("trailers"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::USER_AGENT, AGENT)
            .body(Full::new(health_v1::request(&self.service)))
    }
}

impl Probe for Grpc {
    fn probe(&self) -> Probing<'_> {
        Box::pin(self.ask())
    }

    fn reach(&self) -> Reach {
        Reach::Outside
    }
}

/// What headers or trailers say, unless they say that all is well.
fn refused(headers: &HeaderMap) -> Option<Finding> {
    let code = headers.get("grpc-status")?.to_str().unwrap_or("unreadable");
    let what = match code {
        "0" => return None,
        "5" => " (the service is not known)",
        "12" => " (the server does not know the protocol)",
        _ => "",
    };
    Some(Finding::fail(format!("grpc-status {code}{what}")))
}

fn meaning(message: &[u8]) -> Finding {
    match health_v1::read_response(message) {
        Some(Answer::Serving) => Finding::pass(),
        Some(Answer::NotServing) => Finding::fail("not serving"),
        Some(Answer::Unknown) => Finding::fail("unknown"),
        Some(Answer::ServiceUnknown) => Finding::fail("the service is not known"),
        None => Finding::fail("the answer cannot be read"),
    }
}
