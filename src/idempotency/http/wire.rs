//! An answer as a record: status, headers, body, trailers.

use bytes::{Buf, Bytes};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

/// Headers that belong to one exchange, one hop or one client, and are never
/// replayed: those that RFC 9110, section 7.6.1, and RFC 9113, section 8.2.2, tie to a
/// connection, when the answer was made, and what signs a client in.
pub(super) static NEVER: [HeaderName; 16] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::DATE,
    header::AGE,
    header::SET_COOKIE,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("authentication-info"),
    header::ALT_SVC,
    HeaderName::from_static("server-timing"),
];

/// Writes the head; `more` are the user's own headers that are not replayed.
pub(super) fn put_head<B>(
    out: &mut Vec<u8>,
    answer: &Response<B>,
    more: &[HeaderName],
) -> Option<()> {
    out.extend(answer.status().as_u16().to_le_bytes());
    let headers = answer.headers();
    put_fields(out, headers, |name| {
        !NEVER.contains(name) && !more.contains(name) && !is_named(headers, name)
    })
}

/// Whether `Connection` names it, which makes it one hop's.
fn is_named(headers: &HeaderMap, name: &HeaderName) -> bool {
    let named = headers.get_all(header::CONNECTION).into_iter();
    named.filter_map(|value| value.to_str().ok()).any(|value| {
        let mut names = value.split(',');
        names.any(|one| one.trim().eq_ignore_ascii_case(name.as_str()))
    })
}

pub(super) fn put_fields(
    out: &mut Vec<u8>,
    fields: &HeaderMap,
    keep: impl Fn(&HeaderName) -> bool,
) -> Option<()> {
    let kept = || fields.iter().filter(|(name, _)| keep(name));
    out.extend(u16::try_from(kept().count()).ok()?.to_le_bytes());
    for (name, value) in kept() {
        out.extend(u16::try_from(name.as_str().len()).ok()?.to_le_bytes());
        out.extend(u32::try_from(value.len()).ok()?.to_le_bytes());
        out.extend(name.as_str().as_bytes());
        out.extend(value.as_bytes());
    }
    Some(())
}

pub(super) fn put_length(out: &mut Vec<u8>, length: usize) -> Option<()> {
    out.extend(u32::try_from(length).ok()?.to_le_bytes());
    Some(())
}

/// The head, the body and the trailers of a record; `None` if it is none.
pub(super) fn read(mut record: Bytes) -> Option<(Response<Bytes>, HeaderMap)> {
    let status = StatusCode::from_u16(record.try_get_u16_le().ok()?).ok()?;
    let headers = fields(&mut record)?;
    let length = record.try_get_u32_le().ok()? as usize;
    let body = split(&mut record, length)?;
    let trailers = fields(&mut record)?;
    if !record.is_empty() {
        return None;
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Some((answer, trailers))
}

fn split(record: &mut Bytes, length: usize) -> Option<Bytes> {
    (record.len() >= length).then(|| record.split_to(length))
}

fn fields(record: &mut Bytes) -> Option<HeaderMap> {
    let count = record.try_get_u16_le().ok()?;
    let mut fields = HeaderMap::new();
    for _ in 0..count {
        let name = record.try_get_u16_le().ok()?;
        let value = record.try_get_u32_le().ok()? as usize;
        let name = HeaderName::from_bytes(&split(record, name.into())?).ok()?;
        let value = HeaderValue::from_maybe_shared(split(record, value)?).ok()?;
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(answer: &Response<Bytes>, trailers: &HeaderMap) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(&mut out, answer, &[]).unwrap();
        put_length(&mut out, answer.body().len()).unwrap();
        out.extend(answer.body());
        put_fields(&mut out, trailers, |_| true).unwrap();
        out
    }

    prop_compose! {
        fn map()(
            fields in prop::collection::vec(("x-[a-z]{1,8}", "[ -~\u{a0}-\u{ff}]{0,12}"), 0..6),
        ) -> HeaderMap {
            let mut map = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
            }
            map
        }
    }

    prop_compose! {
        fn answer()(
            status in 200..599u16,
            headers in map(),
            body in prop::collection::vec(any::<u8>(), 0..50),
        ) -> Response<Bytes> {
            let mut answer = Response::new(Bytes::from(body));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            *answer.headers_mut() = headers;
            answer
        }
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(answer in answer(), trailers in map()) {
            let record = written(&answer, &trailers);
            let (read, end) = read(record.into()).unwrap();
            prop_assert_eq!(read.status(), answer.status());
            prop_assert_eq!(read.headers(), answer.headers());
            prop_assert_eq!(read.body(), answer.body());
            prop_assert_eq!(end, trailers);
        }

        #[test]
        fn fault_072_what_is_cut_or_grown_is_no_record(
            answer in answer(),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut record = written(&answer, &HeaderMap::new());
            record.push(0);
            prop_assert!(read(record.clone().into()).is_none());
            record.truncate(cut.index(record.len() - 1));
            prop_assert!(read(record.into()).is_none());
            // Whatever it is, it does not panic.
            let _ = read(noise.into());
        }
    }

    #[test]
    fn what_belongs_to_one_hop_or_client_is_left_out() {
        let answer = Response::builder()
            .header("date", "now")
            .header("set-cookie", "id=1")
            .header("connection", "close, X-Hop")
            .header("x-hop", "1")
            .header("x-private", "1")
            .header("content-type", "text/plain")
            .body(Bytes::new())
            .unwrap();
        let mut out = Vec::new();
        put_head(&mut out, &answer, &[HeaderName::from_static("x-private")]).unwrap();
        put_length(&mut out, 0).unwrap();
        put_fields(&mut out, &HeaderMap::new(), |_| true).unwrap();
        let (read, _) = read(out.into()).unwrap();
        let names: Vec<_> = read.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type"]);
    }
}
