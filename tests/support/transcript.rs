//! A response as a list of lines, to compare two of them.

use std::pin::Pin;

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::Fail;

/// Writes down all that a client can see: the error, or head, size hints, end
/// flags, frames, trailers and the body's error.
pub(crate) async fn transcript<B>(result: Result<Response<B>, Fail>) -> Vec<String>
where
    B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
{
    let mut lines = Vec::new();
    let mut response = match result {
        Ok(response) => response,
        Err(error) => return vec![format!("error {error:?}")],
    };
    let (status, headers) = (response.status(), response.headers());
    lines.push(format!("{status} {headers:?} {:?}", response.extensions()));
    let body = response.body_mut();
    loop {
        lines.push(format!("{} {:?}", body.is_end_stream(), body.size_hint()));
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
        match frame {
            None => return lines,
            Some(Err(error)) => lines.push(format!("broken: {error}")),
            Some(Ok(frame)) => lines.push(format!("{frame:?}")),
        }
    }
}
