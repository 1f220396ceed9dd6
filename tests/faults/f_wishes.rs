//! F. What servers ask for.

use proptest::prelude::*;
use tower_keep::backoff::{Backoff, Jitter};
use tower_keep::retry::{self, Http, Policy, RetryLayer};
use tower_keep::test_util::{Call, finish_on};

use super::f_retry::boundless;
use crate::support::cases::Rig;
use crate::support::{call, ms, request, response, secs};

fn waits(headers: &[(&'static str, &[u8])], status: u16) -> Option<std::time::Duration> {
    let mut rig = Rig::new(|setup| {
        let backoff = Backoff::builder().base(ms(1)).jitter(Jitter::None);
        let policy = Policy::builder().backoff(backoff.build().unwrap());
        let budget = boundless(&setup);
        let layer = RetryLayer::with_budget(policy.build().unwrap(), Http::new(), budget, setup);
        let handle = layer.handle();
        (layer, handle)
    });
    let mut busy = response(&rig.time, status, []);
    for (name, value) in headers {
        let value = http::HeaderValue::from_bytes(value).ok()?;
        busy.headers_mut().append(*name, value);
    }
    rig.script.then_call(Call::respond(busy));
    let start = rig.time.now();
    let _ = finish_on(&rig.time, call(&mut rig.service, request("a"))).unwrap();
    assert_eq!(rig.watch.counts().calls, 2);
    Some(rig.time.now().saturating_since(start))
}

#[test]
fn fault_029_hostile_times_to_wait_are_capped() {
    const SENT: (&str, &[u8]) = ("date", b"Sun, 06 Nov 1994 08:49:37 GMT");
    let capped = waits(&[("retry-after", b"999999999999999999999999")], 503).unwrap();
    assert_eq!(capped, secs(60) + ms(1), "the policy's longest");
    let later: &[u8] = b"Sun, 06 Nov 1994 08:49:47 GMT";
    assert_eq!(
        waits(&[("retry-after", later), SENT], 429),
        Some(secs(10) + ms(1))
    );
    // What makes no sense is as if it were not there.
    let past: &[u8] = b"Sun, 06 Nov 1994 08:49:27 GMT";
    for bad in [&b"-1"[..], b"1e30", b"\xff", b"", b"soon", past] {
        assert_eq!(
            waits(&[("retry-after", bad), SENT], 503),
            Some(ms(1)),
            "{bad:?}"
        );
    }
    let twice = [("retry-after", &b"9"[..]), ("retry-after", b"9")];
    assert_eq!(waits(&twice, 503), Some(ms(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn fault_029_no_bytes_make_it_wait_for_longer(value in prop::collection::vec(any::<u8>(), 0..24)) {
        if let Some(wait) = waits(&[("retry-after", &value)], 503) {
            prop_assert!(wait <= secs(60) + ms(1));
        }
    }
}

#[test]
fn fault_029_a_negative_pushback_is_a_no() {
    let calls = |pushback: &'static str| {
        let mut rig = Rig::new(|setup| {
            let budget = boundless(&setup);
            let rules = retry::Grpc::new();
            let layer = RetryLayer::with_budget(Policy::default(), rules, budget, setup);
            let handle = layer.handle();
            (layer, handle)
        });
        let mut unavailable = response(&rig.time, 200, []);
        let headers = unavailable.headers_mut();
        headers.insert("grpc-status", http::HeaderValue::from_static("14"));
        let value = http::HeaderValue::from_static(pushback);
        headers.insert("grpc-retry-pushback-ms", value);
        rig.script.then_call(Call::respond(unavailable));
        let start = rig.time.now();
        let _ = finish_on(&rig.time, call(&mut rig.service, request("a"))).unwrap();
        (
            rig.watch.counts().calls,
            rig.time.now().saturating_since(start),
        )
    };
    let (sent, waited) = calls("1500");
    assert!(
        sent == 2 && waited >= ms(1500) && waited <= ms(1550),
        "{waited:?}"
    );
    let (sent, waited) = calls("9999999999999");
    assert!(sent == 2 && waited <= secs(61), "{waited:?}");
    for no in ["-1", "1e30", "", "99999999999999999999999", "0x10"] {
        assert_eq!(calls(no).0, 1, "{no:?}");
    }
}
