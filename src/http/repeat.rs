//! Which requests may be sent twice.

use http::{HeaderName, Method, Request};

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a method is idempotent by its definition (RFC 9110, section 9.2.2):
/// `GET`, `HEAD`, `OPTIONS`, `TRACE`, `PUT`, `DELETE`.
#[must_use]
pub fn is_idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Whether a request has no other effect if it is sent twice: its method is
/// idempotent, or it has an `Idempotency-Key` (IETF draft
/// idempotency-key-header) that is not empty: a string of that draft, or a bare
/// word, as many servers take it.
#[must_use]
pub fn may_repeat<B>(request: &Request<B>) -> bool {
    is_idempotent(request.method()) || is_keyed(request)
}

/// Whether it has an `Idempotency-Key`. Of several, a server may take any.
pub(crate) fn is_keyed<B>(request: &Request<B>) -> bool {
    let mut keys = request
        .headers()
        .get_all(&IDEMPOTENCY_KEY)
        .iter()
        .peekable();
    keys.peek().is_some() && keys.all(|key| key.to_str().is_ok_and(is_key))
}

/// Whether it tells one request from another: an empty one, or half a string, comes
/// from a client that failed to make one.
fn is_key(value: &str) -> bool {
    let value = value.trim_ascii();
    let key = match value.strip_prefix('"') {
        // Parameters may follow.
        Some(string) => string.rsplit_once('"').map_or("", |(key, _)| key),
        None => value,
    };
    !key.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_empty_or_broken_is_none() {
        let keyed = |values: &[&str]| {
            let mut request = Request::post("/");
            for value in values {
                request = request.header(&IDEMPOTENCY_KEY, *value);
            }
            may_repeat(&request.body(()).unwrap())
        };
        for key in ["\"8e03978e\"", "8e03978e", "\"a\";v=1", " \"a\" "] {
            assert!(keyed(&[key]), "{key}");
        }
        for none in [
            "", " ", "\"\"", "\" \"", "\"", "\"\";v=1", "\"8e0", "\u{e9}",
        ] {
            assert!(!keyed(&[none]), "{none}");
        }
        assert!(keyed(&["a", "a"]) && !keyed(&["a", ""]) && !keyed(&[]));
    }
}
