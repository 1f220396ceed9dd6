use std::hash::{DefaultHasher, Hash};

use proptest::prelude::*;

use super::{
    cost::{self, Cost},
    *,
};

type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn first() -> impl Key<Pair> + Clone + fmt::Debug {
    bytes(|pair: &Pair| pair.0.as_deref())
}

fn second() -> impl Key<Pair> + Clone + fmt::Debug {
    bytes(|pair: &Pair| pair.1.as_deref())
}

fn pair(a: &str, b: &str) -> Pair {
    (Some(a.into()), Some(b.into()))
}

#[test]
fn tuples_are_framed() {
    let space = KeySpace::new();
    let id = |a, b| space.id(&(first(), second()), &pair(a, b)).unwrap();
    assert_eq!(id("ab", "c"), id("ab", "c"));
    assert_ne!(id("ab", "c"), id("a", "bc"));
    assert_ne!(id("abc", ""), id("", "abc"));
    let values = (value(|p: &Pair| p.0.clone()), value(|p: &Pair| p.1.clone()));
    let id = |a, b| space.id(&values, &pair(a, b)).unwrap();
    assert_eq!(id("ab", "c"), id("ab", "c"));
    assert_ne!(id("ab", "c"), id("a", "bc"));
}

#[test]
fn missing_parts_are_missing_keys() {
    let space = KeySpace::new();
    let none = (Some(vec![1]), None);
    assert!(space.id(&first(), &none).is_ok());
    assert_eq!(space.id(&second(), &none), Err(NoKey::Missing));
    assert_eq!(space.id(&(first(), second()), &none), Err(NoKey::Missing));
    assert_eq!(
        space.id(&(first(), first(), second()), &none),
        Err(NoKey::Missing)
    );
    assert_eq!(
        space.id(&value(|p: &Pair| p.1.clone()), &none),
        Err(NoKey::Missing)
    );
    assert_eq!(space.id(&Global, &none), space.id(&Global, &pair("", "")));
}

/// Fault 53: one byte over the limit is refused; at the limit it is not.
#[test]
fn fault_053_long_keys_are_refused() {
    let space = KeySpace::new();
    let of = |len| (Some(vec![b'x'; len]), Some(vec![0xff]));
    assert!(space.id(&first(), &of(1024)).is_ok());
    assert_eq!(space.id(&first(), &of(1025)), Err(NoKey::TooLong));
    assert_eq!(space.id(&first(), &of(1 << 20)), Err(NoKey::TooLong));
    assert_eq!(
        space.id(&value(|p: &Pair| p.0.clone()), &of(1 << 20)),
        Err(NoKey::TooLong)
    );
    // All parts count together.
    assert!(space.id(&(first(), second()), &of(1023)).is_ok());
    assert_eq!(
        space.id(&(first(), second()), &of(1024)),
        Err(NoKey::TooLong)
    );

    let tight = space.clone().with_max_len(0);
    assert_eq!(tight.id(&first(), &of(1)), Err(NoKey::TooLong));
    assert_eq!(tight.id(&first(), &of(0)), space.id(&first(), &of(0)));
    assert!(
        space
            .with_max_len(usize::MAX)
            .id(&first(), &of(1 << 20))
            .is_ok()
    );
}

/// A part that was cut off stays refused, even if what follows it would fit.
#[test]
fn a_cut_part_never_passes() {
    struct Pieces;
    impl Hash for Pieces {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write(&[1; 2000]);
            state.write(&[2; 10]);
            // Hashers of all kinds may be asked in between.
            let _ = state.finish();
        }
    }
    assert_eq!(
        KeySpace::new().id(&value(|(): &()| Some(Pieces)), &()),
        Err(NoKey::TooLong)
    );
}

/// Fault 52: ids depend on a secret, which neither clones nor debug output change or show.
#[test]
fn fault_052_ids_are_keyed() {
    let space = KeySpace::new();
    let request = pair("a", "b");
    let id = space.id(&first(), &request).unwrap();
    let clone = space.clone();
    assert_eq!(clone.id(&first(), &request), space.id(&first(), &request));
    assert_eq!(clone.id(&first(), &request), Ok(id));
    assert_ne!(KeySpace::new().id(&first(), &request), Ok(id));
    let mut plain = DefaultHasher::new();
    "a".hash(&mut plain);
    assert_ne!(plain.finish(), id.as_u64());
    assert_eq!(format!("{space:?}"), "KeySpace { max_len: 1024, .. }");
}

#[test]
fn extractors_are_clone_and_debug_and_dyn() {
    let key: Arc<dyn Key<Pair> + Send + Sync> = Arc::new((first(), Global));
    assert!(KeySpace::new().id(&key, &pair("a", "")).is_ok());
    assert!(KeySpace::new().id(&*key, &pair("a", "")).is_ok());
    assert_eq!(format!("{:?}", first().clone()), "Bytes { .. }");
    assert_eq!(
        format!("{:?}", value(|(): &()| Some(1)).clone()),
        "Value { .. }"
    );
    assert_eq!(format!("{:?}", cost::by(|(): &()| 1).clone()), "By { .. }");
}

#[test]
fn costs() {
    assert_eq!(cost::One.cost("anything"), 1);
    assert_eq!(
        cost::by(|text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX)).cost("abc"),
        3
    );
}

#[cfg(feature = "http")]
#[test]
fn http_keys() {
    use http::{HeaderName, Request};

    let space = KeySpace::new();
    let request = |method: &str, uri: &str, keys: &[&str]| {
        let mut request = Request::builder().method(method).uri(uri);
        for key in keys {
            request = request.header("x-api-key", *key);
        }
        request.body(()).unwrap()
    };
    let api_key = header(HeaderName::from_static("x-api-key"));
    let id = |keys| space.id(&api_key, &request("GET", "/", keys));
    assert_eq!(id(&[]), Err(NoKey::Missing));
    assert_eq!(id(&[""]), Err(NoKey::Missing));
    assert_eq!(
        id(&["a", "b"]),
        id(&["a"]),
        "a second line gives no new key"
    );
    assert_ne!(id(&["a"]), id(&["b"]));
    let long = "x".repeat(1025);
    assert_eq!(id(&[&long]), Err(NoKey::TooLong));

    let id = |method, uri| {
        space
            .id(&(method_key(), path()), &request(method, uri, &[]))
            .unwrap()
    };
    fn method_key() -> MethodKey {
        method()
    }
    assert_eq!(id("GET", "/a?x=1"), id("GET", "/a?x=2"));
    assert_eq!(id("GET", "http://host/a"), id("GET", "/a"));
    assert_ne!(id("GET", "/a"), id("GET", "/a/"));
    assert_ne!(id("GET", "/a"), id("PUT", "/a"));
}

/// As many parts as there are.
struct Parts;

impl Key<[Vec<u8>]> for Parts {
    fn key(&self, parts: &[Vec<u8>], hasher: &mut KeyHasher) -> Result<(), NoKey> {
        parts.iter().try_for_each(|part| hasher.bytes(part))
    }
}

/// Two parts are no single one that holds the frame of the first, in any form.
#[test]
fn a_frame_cannot_be_part_of_a_key() {
    let space = KeySpace::new();
    let id = |parts: &[Vec<u8>]| space.id(&Parts, parts).unwrap();
    for a in [
        0, 1, 7, 8, 246, 247, 248, 253, 254, 255, 256, 257, 300, 502, 503, 504,
    ] {
        let first = vec![b'x'; a];
        let long = u64::try_from(a).unwrap().to_le_bytes();
        let frames = [
            vec![],
            vec![long[0]],
            long.to_vec(),
            [&long[..], &[LONG]].concat(),
            vec![LONG],
        ];
        for b in [0, 1, 8, 254, 255, 256] {
            let second = vec![b'y'; b];
            let two = id(&[first.clone(), second.clone()]);
            for frame in &frames {
                let one = [&first, frame, &second].map(Vec::as_slice).concat();
                assert_ne!(id(&[one]), two, "{a} {frame:?} {b}");
            }
        }
    }
}

proptest! {
    /// Equal ids exactly for equal keys, however the bytes are cut into parts.
    #[test]
    fn ids_are_equal_exactly_if_keys_are(
        a in prop::collection::vec(0_u8..3, 0..6),
        b in prop::collection::vec(0_u8..3, 0..6),
        c in prop::collection::vec(0_u8..3, 0..6),
        d in prop::collection::vec(0_u8..3, 0..6),
    ) {
        let space = KeySpace::new();
        let extractors = (first(), second());
        let left = (Some(a), Some(b));
        let right = (Some(c), Some(d));
        let same = space.id(&extractors, &left) == space.id(&extractors, &right);
        prop_assert_eq!(same, left == right);
    }

    #[test]
    fn any_bytes_are_a_key(key in prop::collection::vec(any::<u8>(), 0..2000)) {
        let expected = if key.len() > 1024 { Err(NoKey::TooLong) } else { Ok(()) };
        let found = KeySpace::new().id(&first(), &(Some(key), None)).map(drop);
        prop_assert_eq!(found, expected);
    }
}
