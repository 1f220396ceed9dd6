//! Whether something answers over HTTP.

use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::tcp::Target;
use super::{Finding, Probe, Probing, Reach};
use crate::policy::PolicyError;

/// Asks with a `GET` over a new connection for a status: from 200 to 399, as
/// Kubernetes has it, unless you want others.
///
/// ```
/// use http::{HeaderName, HeaderValue};
/// use tower_keep::probe::Http;
///
/// let api = Http::new("http://api.internal:8080/readyz")?
///     .statuses(200..=200)
///     .header(HeaderName::from_static("x-probe"), HeaderValue::from_static("1"));
/// # let _ = api;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
///
/// It speaks HTTP/1.1, without TLS: for anything else, ask by a closure with the
/// client that you have. It follows no redirect and reads no body.
///
/// # Cancel safety
/// Dropped, it closes the connection.
#[derive(Debug, Clone)]
pub struct Http {
    url: Url,
    statuses: RangeInclusive<u16>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Http {
    /// Asks for this, such as `"http://10.0.0.1:8080/readyz"`; the port is 80 if it
    /// is left out.
    ///
    /// # Errors
    /// If it is no such URL.
    pub fn new(url: &str) -> Result<Self, PolicyError> {
        Ok(Self {
            url: Url::parse(url)?,
            statuses: 200..=399,
            headers: Vec::new(),
        })
    }

    /// These statuses are good; by default 200 to 399.
    #[must_use]
    pub fn statuses(mut self, statuses: RangeInclusive<u16>) -> Self {
        self.statuses = statuses;
        self
    }

    /// One more header in each request, in the place of `Host` or `User-Agent` if it
    /// is that.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    async fn ask(&self) -> Finding {
        let response = match self.send().await {
            Ok(response) => response,
            Err(error) => return Finding::fail(told(&*error)),
        };
        let status = response.status().as_u16();
        if self.statuses.contains(&status) {
            Finding::pass()
        } else {
            Finding::fail(format!("status {status}"))
        }
    }

    async fn send(&self) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = self.url.path();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.url.host.clone());
        headers.insert(header::USER_AGENT, AGENT);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.extend(self.headers.iter().cloned());
        let io = TokioIo::new(self.url.target.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await?;
        Ok(beside(connection, sender.send_request(request)).await?)
    }
}

impl Probe for Http {
    fn probe(&self) -> Probing<'_> {
        Box::pin(self.ask())
    }

    fn reach(&self) -> Reach {
        Reach::Outside
    }
}

pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

pub(super) const AGENT: HeaderValue = HeaderValue::from_static("tower-keep-probe");

/// A URL of the scheme `http`.
#[derive(Debug, Clone)]
pub(super) struct Url {
    pub(super) target: Target,
    pub(super) host: HeaderValue,
    pub(super) uri: Uri,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, PolicyError> {
        let read = || {
            let uri = text.parse::<Uri>().ok()?;
            let authority = uri
                .authority()
                .filter(|_| uri.scheme_str() == Some("http"))?;
            let target = Target::of(authority, Some(80))?;
            let host = HeaderValue::from_str(authority.as_str()).ok()?;
            Some(Self { target, host, uri })
        };
        let allowed = "allowed is a URL such as \"http://api.internal:8080/readyz\"";
        read().ok_or_else(|| PolicyError::new("url", format_args!("{text:?}"), allowed))
    }

    /// As HTTP/1 asks for it.
    fn path(&self) -> Uri {
        let path = self.uri.path_and_query().cloned();
        path.map_or_else(Uri::default, Uri::from)
    }
}

/// An error with the cause that is told where the error itself says little.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Waits for `call`, and polls the connection that it runs over: no task is left
/// behind, whenever it is dropped.
pub(super) async fn beside<C: Future, F: Future>(connection: C, call: F) -> F::Output {
    let (mut connection, mut call) = (pin!(connection), pin!(call));
    let mut is_over = false;
    poll_fn(|cx| {
        if let Poll::Ready(answer) = call.as_mut().poll(cx) {
            return Poll::Ready(answer);
        }
        if is_over {
            return Poll::Pending;
        }
        is_over = connection.as_mut().poll(cx).is_ready();
        // What it has brought, or that it is over, is the call's to tell.
        call.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_of_the_scheme_http() {
        for good in ["http://a", "http://a:81/b?c", "http://[::1]:80/"] {
            assert!(Http::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a:80",
            "https://a",
            "http://",
            "http://u@a/",
            "http://a:0/",
        ] {
            assert_eq!(Http::new(bad).unwrap_err().field(), "url", "{bad}");
        }
        assert_eq!(Url::parse("http://a").unwrap().path(), "/");
        assert_eq!(Url::parse("http://a/b?c").unwrap().path(), "/b?c");
    }
}
