//! The messages of `grpc.health.v1`: two fields, so that no code generator is needed.
//!
//! ```proto
//! message HealthCheckRequest { string service = 1; }
//! message HealthCheckResponse { ServingStatus status = 1; }
//! ```

use bytes::{BufMut, Bytes, BytesMut};

/// The service's name in paths.
pub(crate) const SERVICE: &str = "grpc.health.v1.Health";
/// The longest message that is read, and a service's name with it.
pub(crate) const LONGEST: usize = 4096;

/// As the protocol numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    /// In answers to `Watch` only.
    ServiceUnknown = 3,
}

impl Answer {
    const fn of(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Serving),
            2 => Some(Self::NotServing),
            3 => Some(Self::ServiceUnknown),
            _ => None,
        }
    }
}

/// Uncompressed, as a length-prefixed message ("gRPC over HTTP/2").
fn frame(message: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_slice(&[0; 5]);
    message(&mut out);
    let length = u32::try_from(out.len() - 5).unwrap_or(u32::MAX);
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

pub(crate) fn request(service: &str) -> Bytes {
    frame(|out| {
        if !service.is_empty() {
            out.put_u8(1 << 3 | 2);
            put_varint(out, service.len() as u64);
            out.put_slice(service.as_bytes());
        }
    })
}

pub(crate) fn response(serving: Answer) -> Bytes {
    frame(|out| {
        // The default is not written.
        if serving != Answer::Unknown {
            out.put_slice(&[1 << 3, serving as u8]);
        }
    })
}

/// The service that a request asks for; `None` if it cannot be read.
pub(crate) fn read_request(framed: &[u8]) -> Option<String> {
    let mut service = String::new();
    fields(framed, |field| {
        if let Field::Bytes(1, text) = field {
            service = String::from_utf8(text.to_vec()).ok()?;
        }
        Some(())
    })?;
    Some(service)
}

/// What a response says; `None` if it cannot be read.
pub(crate) fn read_response(framed: &[u8]) -> Option<Answer> {
    let mut serving = Answer::Unknown;
    fields(framed, |field| {
        if let Field::Number(1, number) = field {
            serving = Answer::of(number)?;
        }
        Some(())
    })?;
    Some(serving)
}

enum Field<'a> {
    Number(u64, u64),
    Bytes(u64, &'a [u8]),
    Other,
}

/// Walks through the fields of one framed message; unknown ones are skipped, as
/// newer versions may have them.
fn fields<'a>(framed: &'a [u8], mut each: impl FnMut(Field<'a>) -> Option<()>) -> Option<()> {
    let (head, mut left) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?);
    // Compressed ones are not for who has not asked for them.
    if head[0] != 0 || u32::try_from(left.len()) != Ok(length) {
        return None;
    }
    while !left.is_empty() {
        let key = take_varint(&mut left)?;
        let field = match key & 7 {
            0 => Field::Number(key >> 3, take_varint(&mut left)?),
            1 => take(&mut left, 8).map(|_| Field::Other)?,
            2 => {
                let length = take_varint(&mut left)?;
                Field::Bytes(key >> 3, take(&mut left, usize::try_from(length).ok()?)?)
            }
            5 => take(&mut left, 4).map(|_| Field::Other)?,
            _ => return None,
        };
        each(field)?;
    }
    Some(())
}

fn take<'a>(left: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = left.split_at_checked(length)?;
    *left = rest;
    Some(taken)
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        out.put_u8((number & 0x7F) as u8 | 0x80);
        number >>= 7;
    }
    #[allow(clippy::cast_possible_truncation)] // below 128
    out.put_u8(number as u8);
}

fn take_varint(left: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(left, 1)?[0];
        number |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_are_those_of_the_wire_format() {
        assert_eq!(&request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&request("ab")[..], [0, 0, 0, 0, 4, 0x0A, 2, b'a', b'b']);
        assert_eq!(&response(Answer::Serving)[..], [0, 0, 0, 0, 2, 8, 1]);
        assert_eq!(&response(Answer::Unknown)[..], [0, 0, 0, 0, 0]);
        // An unknown field of each kind before the one that counts.
        let newer = [
            0, 0, 0, 0, 22, 0x10, 0x96, 1, 0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x22, 1, 9, 0x2D, 1, 2, 3,
            4, 8, 2,
        ];
        assert_eq!(read_response(&newer), Some(Answer::NotServing));
    }

    #[test]
    fn what_is_broken_is_not_read() {
        for bad in [
            &[][..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 3, 8, 1],
            &[0, 0, 0, 0, 2, 8, 7],
            &[0, 0, 0, 0, 1, 8],
            &[0, 0, 0, 0, 2, 0x0B, 1],
            &[0, 0, 0, 0, 3, 0x0A, 9, b'a'],
        ] {
            assert_eq!(read_response(bad), None, "{bad:?}");
        }
        assert_eq!(read_request(&[0, 0, 0, 0, 3, 0x0A, 1, 0xFF]), None);
    }

    proptest! {
        #[test]
        fn names_come_back(name in any::<String>()) {
            prop_assert_eq!(read_request(&request(&name)), Some(name));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut framed = vec![0, 0, 0, 0, u8::try_from(bytes.len()).unwrap()];
            framed.extend(&bytes);
            let _ = (read_request(&bytes), read_response(&bytes));
            let _ = (read_request(&framed), read_response(&framed));
        }
    }
}
