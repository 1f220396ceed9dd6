//! `Retry-After` (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// For how long a response asks to be left alone; `None` if it does not, or not
/// in a way that can be understood.
///
/// It is a number of seconds, or a date in any of the three forms that HTTP has
/// had. A date is measured against the `Date` of the same response, so that no
/// clock of this machine has to agree with the server's; without one it says
/// nothing. A date that has passed is zero. What is too long for 64 bits of
/// seconds counts as that many: cap it
/// ([`BackoffBuilder::longest_retry_after`](crate::backoff::BackoffBuilder::longest_retry_after)).
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let (until, sent) = (date(value)?, date(text(headers, DATE)?)?);
    Some(until.duration_since(sent).unwrap_or_default())
}

/// The only value of this name: of two, who says which holds?
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value.trim_ascii())
}

fn date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn asked(fields: &[(HeaderName, &[u8])]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, http::HeaderValue::from_bytes(value).unwrap());
        }
        retry_after(&headers)
    }

    fn at(value: &str) -> Option<Duration> {
        asked(&[(RETRY_AFTER, value.as_bytes()), (DATE, SENT.as_bytes())])
    }

    #[test]
    fn all_three_forms_of_a_date_are_read() {
        for later in [
            "Sun, 06 Nov 1994 08:51:07 GMT",
            "Sunday, 06-Nov-94 08:51:07 GMT",
            "Sun Nov  6 08:51:07 1994",
        ] {
            assert_eq!(at(later), Some(Duration::from_secs(90)), "{later}");
        }
        assert_eq!(at("Sun, 06 Nov 1994 08:49:36 GMT"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_not_understood_is_not_obeyed() {
        for bad in [
            "",
            " ",
            "-1",
            "+3",
            "1.5",
            "1e30",
            "soon",
            "7, 8",
            "0x10",
            "Sun, 06 Nov 1994 08:51:07 CET",
            "Sun, 36 Nov 1994 08:51:07 GMT",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert_eq!(asked(&[(RETRY_AFTER, b"\xff7")]), None);
        assert_eq!(asked(&[(RETRY_AFTER, b"7"), (RETRY_AFTER, b"8")]), None);
        // Against what would it be measured?
        assert_eq!(asked(&[(RETRY_AFTER, SENT.as_bytes())]), None);
        assert_eq!(
            asked(&[(RETRY_AFTER, SENT.as_bytes()), (DATE, b"now")]),
            None
        );
        assert_eq!(asked(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in any::<u64>(), sent in 0_u64..200_000_000_000, later in 0_u64..50_000_000_000) {
            prop_assert_eq!(at(&format!(" {seconds}\t")), Some(Duration::from_secs(seconds)));
            let sent = SystemTime::UNIX_EPOCH + Duration::from_secs(sent);
            let later = Duration::from_secs(later);
            let (until, sent) = [sent + later, sent].map(httpdate::fmt_http_date).into();
            let read = asked(&[(RETRY_AFTER, until.as_bytes()), (DATE, sent.as_bytes())]);
            prop_assert_eq!(read, Some(later));
        }

        #[test]
        fn nothing_makes_it_panic(value in prop::collection::vec(any::<u8>(), 0..60), date in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [(RETRY_AFTER, value), (DATE, date)] {
                if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
                    headers.append(name, value);
                }
            }
            let _ = retry_after(&headers);
        }
    }
}
