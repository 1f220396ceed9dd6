//! Reading a request's body, and giving it back unread.

use std::pin::Pin;

use http::request::Parts;
use http_body::Body;
use sha2::{Digest, Sha256};

use crate::error::RejectionKind;
use crate::http::{ReplayBody, ReplayError};
use crate::replay::Earlier;

/// What was read of a request's body.
pub(super) enum Read {
    Hashed(Sha256),
    Kept(Vec<u8>),
}

/// Neither method nor path has a line feed in it: the three do not run into each
/// other.
pub(super) fn hasher(parts: &Parts) -> Sha256 {
    let path = parts.uri.path_and_query();
    Sha256::new()
        .chain_update(parts.method.as_str())
        .chain_update(b"\n")
        .chain_update(path.map_or("/", |path| path.as_str()))
        .chain_update(b"\n")
}

/// Reads a body to its end, and gives it back unread.
pub(super) async fn read<Q>(
    body: Q,
    most: usize,
    mut read: Read,
) -> Result<(ReplayBody<Q>, Read), RejectionKind>
where
    Q: Body + Send + Unpin + 'static,
{
    if body.is_end_stream() {
        return Ok((ReplayBody::plain(body), read));
    }
    let (first, replayer) = ReplayBody::new(body, most);
    let mut reading = replayer
        .again(Earlier::Running)
        .ok_or(RejectionKind::BodyTooLarge)?;
    let next = |reading: &mut ReplayBody<Q>, cx: &mut std::task::Context<'_>| {
        Pin::new(reading).poll_frame(cx)
    };
    while let Some(frame) = std::future::poll_fn(|cx| next(&mut reading, cx)).await {
        let frame = frame.map_err(|error| match error {
            ReplayError::TooLong => RejectionKind::BodyTooLarge,
            _ => RejectionKind::BodyBroken,
        })?;
        if let Ok(data) = frame.into_data() {
            match &mut read {
                Read::Hashed(hasher) => hasher.update(&data),
                Read::Kept(kept) => kept.extend_from_slice(&data),
            }
        }
    }
    Ok((first, read))
}
