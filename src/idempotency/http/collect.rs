//! Reading an answer to its end, and giving it back as if nobody had.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body::{Body, Frame};

use super::body::{GuardedBody, into_bytes};
use super::wire;
use crate::idempotency::exchange::{Collected, Limits};
use crate::idempotency::policy::Streams;

/// What each frame counts for at least: many small ones cost more than their bytes.
const FRAME: usize = 64;

pub(super) async fn collect<B>(
    answer: Response<B>,
    mut record: Vec<u8>,
    limits: Limits,
    unreplayed: &[HeaderName],
) -> Collected<Response<GuardedBody<B>>>
where
    B: Body + Unpin,
{
    let hint = answer.body().size_hint();
    let head = wire::put_head(&mut record, &answer, unreplayed);
    let mut room = limits.most.saturating_sub(record.len());
    let passes = limits.streams == Streams::Pass && hint.exact().is_none();
    let fits = usize::try_from(hint.lower()).is_ok_and(|lower| lower <= room);
    let upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if head.is_none() || passes || !fits || upgrade || is_stream(&answer) {
        return Collected::Not(answer.map(GuardedBody::plain));
    }
    let (parts, mut body) = answer.into_parts();
    let whole = |body| Response::from_parts(parts, body);
    let mut front = VecDeque::new();
    let mut data = Vec::new();
    let mut trailers = HeaderMap::new();
    let mut timer = None;
    loop {
        let next = poll_fn(|cx| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(cx) {
                return Poll::Ready(Some(frame));
            }
            let timer = timer.get_or_insert_with(|| limits.clock.sleep_until(limits.until));
            // The lease ends, or nothing tells when: the answer goes on its way.
            Pin::new(timer).poll(cx).map(|_| None)
        });
        let frame = match next.await {
            None => return Collected::Not(whole(GuardedBody::after(front, body))),
            Some(None) => break,
            Some(Some(Err(error))) => {
                return Collected::Broken(whole(GuardedBody::failed(front, error)));
            }
            Some(Some(Ok(frame))) => frame.map_data(into_bytes),
        };
        let charge = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(bytes), _) => bytes.len(),
            (None, Some(map)) => map
                .iter()
                .map(|(n, v)| n.as_str().len() + v.len() + 6)
                .sum(),
            (None, None) => 0,
        };
        let left = room.checked_sub(charge.max(FRAME));
        let copy = copied(frame, &mut data, &mut trailers);
        front.push_back(copy);
        let Some(left) = left else {
            return Collected::Not(whole(GuardedBody::after(front, body)));
        };
        room = left;
    }
    let written = wire::put_length(&mut record, data.len()).and_then(|()| {
        record.append(&mut data);
        wire::put_fields(&mut record, &trailers, |_| true)
    });
    let answer = whole(GuardedBody::ended(front));
    match written {
        Some(()) => Collected::Record(record, answer),
        None => Collected::Not(answer),
    }
}

/// The frame, after a copy of it was made.
fn copied(frame: Frame<Bytes>, data: &mut Vec<u8>, trailers: &mut HeaderMap) -> Frame<Bytes> {
    if let Some(bytes) = frame.data_ref() {
        data.extend_from_slice(bytes);
    }
    if let Some(map) = frame.trailers_ref() {
        trailers.clone_from(map);
    }
    frame
}

/// Whether an answer is a stream by what it says it is.
fn is_stream<B>(answer: &Response<B>) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        let streams: [&[u8]; 2] = [b"text/event-stream", b"application/grpc"];
        streams.iter().any(|stream| kind.starts_with(stream))
    })
}
