use proptest::prelude::*;

use super::*;

/// A value of a structured field, as far as these headers use it.
#[derive(Clone, Debug, PartialEq)]
enum Bare {
    Text(String),
    Integer(u64),
    Bytes(String),
}

type Item = (String, Vec<(String, Bare)>);

/// Parses a List of String items (RFC 9651 §4.2.1) strictly: `None` for what breaks the grammar.
fn parse(value: &[u8]) -> Option<Vec<Item>> {
    fn bare(text: &mut &[u8]) -> Option<Bare> {
        match text.first()? {
            b'"' => {
                let mut out = String::new();
                *text = &text[1..];
                loop {
                    let (&byte, rest) = text.split_first()?;
                    *text = rest;
                    out.push(char::from(match byte {
                        b'"' => return Some(Bare::Text(out)),
                        b'\\' => {
                            let (&escaped @ (b'"' | b'\\'), rest) = text.split_first()? else {
                                return None;
                            };
                            *text = rest;
                            escaped
                        }
                        0x20..=0x7e => byte,
                        _ => return None,
                    }));
                }
            }
            b':' => {
                let end = 1 + text[1..].iter().position(|&b| b == b':')?;
                let inner = std::str::from_utf8(&text[1..end]).ok()?;
                *text = &text[end + 1..];
                Some(Bare::Bytes(inner.into()))
            }
            _ => {
                let end = text
                    .iter()
                    .position(|b| !b.is_ascii_digit())
                    .unwrap_or(text.len());
                let digits = std::str::from_utf8(&text[..end]).ok()?;
                *text = &text[end..];
                (1..=15)
                    .contains(&digits.len())
                    .then(|| digits.parse().map(Bare::Integer).ok())?
            }
        }
    }
    let mut text = value;
    let mut items = Vec::new();
    loop {
        let Bare::Text(name) = bare(&mut text)? else {
            return None;
        };
        let mut params = Vec::new();
        while let Some(rest) = text.strip_prefix(b";") {
            let equals = rest.iter().position(|&b| b == b'=')?;
            let name = std::str::from_utf8(&rest[..equals]).ok()?.to_owned();
            text = &rest[equals + 1..];
            params.push((name, bare(&mut text)?));
        }
        items.push((name, params));
        match text {
            [] => return Some(items),
            [b',', rest @ ..] => text = rest.trim_ascii_start(),
            _ => return None,
        }
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn vectors_of_the_draft() {
    let policy = |quotas: &[Quota<'_>]| rate_limit_policy(quotas.iter().copied()).unwrap();
    assert_eq!(
        policy(&[
            Quota::new("burst", 100).per(secs(60)),
            Quota::new("daily", 1000).per(secs(86_400))
        ]),
        r#""burst";q=100;w=60,"daily";q=1000;w=86400"#
    );
    assert_eq!(
        rate_limit([Remaining::new("default", 50).until_more(secs(30))]).unwrap(),
        r#""default";r=50;t=30"#
    );
    assert_eq!(policy(&[Quota::new("plain", 0)]), r#""plain";q=0"#);
    assert_eq!(
        policy(&[Quota::new("size", 7).of(QuotaUnit::ContentBytes)]),
        r#""size";q=7;qu="content-bytes""#
    );
    assert_eq!(
        policy(&[Quota::new("conc", 7).of(QuotaUnit::ConcurrentRequests)]),
        r#""conc";q=7;qu="concurrent-requests""#
    );
    assert_eq!(
        rate_limit([Remaining::new("no time", 1)]).unwrap(),
        r#""no time";r=1"#
    );
    // We write no partition key, but what a peer writes with one reads the same otherwise.
    let peer = parse(br#""peruser";q=100;w=60;pk=:cHsdsRa894==:"#).unwrap();
    let ours = parse(policy(&[Quota::new("peruser", 100).per(secs(60))]).as_bytes()).unwrap();
    assert_eq!((&peer[0].0, &peer[0].1[..2]), (&ours[0].0, &ours[0].1[..]));
    assert_eq!(peer[0].1[2].1, Bare::Bytes("cHsdsRa894==".into()));
}

#[test]
fn empty_lists_are_no_header() {
    assert_eq!(rate_limit_policy([]), None);
    assert_eq!(rate_limit([]), None);
}

#[test]
fn names_cannot_break_out() {
    for (name, written) in [
        ("", r#""""#),
        (r#"a"b"#, r#""a\"b""#),
        (r"a\b", r#""a\\b""#),
        ("a\r\nSet-Cookie: x", r#""a??Set-Cookie: x""#),
        ("a\0b\x7fc", r#""a?b?c""#),
        ("\u{e9}t\u{e9}", r#""?t?""#),
        ("a;q=1,b", r#""a;q=1,b""#),
    ] {
        let value = rate_limit([Remaining::new(name, 1)]).unwrap();
        assert_eq!(value.to_str().unwrap(), format!("{written};r=1"));
    }
}

#[test]
fn numbers_are_capped_and_rounded_up() {
    let max = Quota::new("x", u64::MAX).per(Duration::MAX);
    let capped = "999999999999999";
    let value = rate_limit_policy([max]).unwrap();
    assert_eq!(
        value.to_str().unwrap(),
        format!(r#""x";q={capped};w={capped}"#)
    );
    let tiny = Quota::new("x", 1).per(Duration::from_nanos(1));
    assert_eq!(rate_limit_policy([tiny]).unwrap(), r#""x";q=1;w=1"#);
    assert_eq!(
        rate_limit_policy([Quota::new("x", 1).per(Duration::ZERO)]).unwrap(),
        r#""x";q=1;w=1"#
    );

    let left = |units, nanos| {
        let left = Remaining::new("x", units).until_more(Duration::from_nanos(nanos));
        rate_limit([left]).unwrap()
    };
    assert_eq!(left(0, 0), r#""x";r=0;t=1"#);
    assert_eq!(left(5, 0), r#""x";r=5;t=0"#);
    assert_eq!(left(0, 1_000_000_000), r#""x";r=0;t=1"#);
    assert_eq!(left(0, 1_000_000_001), r#""x";r=0;t=2"#);
}

#[test]
fn fault_061_retry_after_is_never_zero() {
    let after = |wait: u64, extra: u64| {
        retry_after(Duration::from_nanos(wait), Duration::from_nanos(extra))
    };
    assert_eq!(after(0, 0), "1");
    assert_eq!(after(1, 0), "1");
    assert_eq!(after(1_000_000_000, 0), "1");
    assert_eq!(after(1_000_000_001, 0), "2");
    assert_eq!(after(29_100_000_000, 0), "30");
    // Rounded once, after the sum.
    assert_eq!(after(500_000_000, 500_000_000), "1");
    assert_eq!(after(900_000_000, 200_000_000), "2");
    assert_eq!(retry_after(Duration::MAX, Duration::MAX), "999999999999999");
}

proptest! {
    #[test]
    fn fault_060_any_name_gives_a_wellformed_header(
        // Strings of any characters, and arbitrary bytes as far as they are text.
        names in prop::collection::vec(
            prop_oneof![
                any::<String>(),
                prop::collection::vec(any::<u8>(), 0..40)
                    .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                "[\\x00-\\x7f]{0,40}",
            ],
            1..4,
        ),
        units in any::<u64>(),
        time in any::<(u64, u32)>().prop_map(|(s, n)| Duration::new(s, n % 1_000_000_000)),
    ) {
        let written: Vec<String> = names
            .iter()
            .map(|n| n.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect())
            .collect();
        let seconds = u64::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX);
        let units_read = Bare::Integer(units.min(MAX_INTEGER));

        let quotas = names.iter().map(|name| Quota::new(name, units).per(time));
        let read = parse(rate_limit_policy(quotas).unwrap().as_bytes()).unwrap();
        let left = names.iter().map(|name| Remaining::new(name, units).until_more(time));
        let read_left = parse(rate_limit(left).unwrap().as_bytes()).unwrap();
        prop_assert_eq!((read.len(), read_left.len()), (names.len(), names.len()));
        for ((quota, left), name) in read.iter().zip(&read_left).zip(&written) {
            let window = Bare::Integer(seconds.clamp(1, MAX_INTEGER));
            prop_assert_eq!(&quota.0, name);
            let expected = vec![("q".to_owned(), units_read.clone()), ("w".to_owned(), window)];
            prop_assert_eq!(&quota.1, &expected);
            let until = Bare::Integer(seconds.clamp(u64::from(units == 0), MAX_INTEGER));
            prop_assert_eq!(&left.0, name);
            let expected = vec![("r".to_owned(), units_read.clone()), ("t".to_owned(), until)];
            prop_assert_eq!(&left.1, &expected);
        }
        let after = retry_after(time, Duration::ZERO);
        let seconds_read: u64 = after.to_str().unwrap().parse().unwrap();
        prop_assert_eq!(seconds_read, seconds.clamp(1, MAX_INTEGER));
    }
}
