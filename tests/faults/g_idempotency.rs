//! G. One effect per key.

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use tower::{Layer, Service};
use tower_keep::bulkhead::BulkheadLayer;
use tower_keep::idempotency::{Again, IdempotencyLayer, InFlight, Policy, Unrecorded};
use tower_keep::test_util::{Call, Hand, ManualClock, drop_at, finish_on};
use tower_keep::{Override, RejectionKind, Setup};

use crate::support::cases::permits;
use crate::support::shop::{Shop, by_user, first, memory, order, replay, request, said};
use crate::support::{BROKEN, data, inner, ms, response, secs, trailers};

fn policy() -> Policy {
    Policy::default()
}

fn again() -> Policy {
    let policy = Policy::builder().again(Again::Allowed);
    policy.build().unwrap()
}

#[test]
fn fault_069_a_thousand_duplicates_have_one_effect() {
    for told in [InFlight::Conflict, InFlight::Wait] {
        let policy = Policy::builder().in_flight(told).build().unwrap();
        let shop = Shop::new(policy);
        let answer = response(&shop.time, 201, [data("order"), data(" 7"), trailers()]);
        let slow = Call::respond(answer).pending(3).after(ms(700));
        shop.script.then_call(slow);
        let mut calls: Vec<_> = (0..1_000)
            .map(|_| Hand::new(async { said(shop.call(order("k", "tea")).await).await }))
            .collect();
        let mut ends = Vec::new();
        while !calls.is_empty() {
            calls.retain_mut(|call| match call.poll() {
                std::task::Poll::Ready(end) => {
                    ends.push(end);
                    false
                }
                std::task::Poll::Pending => true,
            });
            shop.time.advance(ms(1));
        }
        assert_eq!(shop.effects(), 1, "{told:?}");
        let same = ends.iter().filter(|end| {
            end.as_ref()
                .is_ok_and(|(status, body, _)| (*status, &body[..]) == (201, b"order 7"))
        });
        match told {
            InFlight::Wait => assert_eq!(same.count(), 1_000),
            _ => {
                assert_eq!(same.count(), 1);
                let refused = Err(RejectionKind::InProgress);
                assert_eq!(ends.iter().filter(|end| **end == refused).count(), 999);
            }
        }
        assert_eq!(shop.order("k", "tea"), replay(201, "order 7"));
        shop.assert_quiet();
    }
}

#[test]
fn fault_070_the_same_key_for_another_payload_changes_nothing() {
    let shop = Shop::new(policy());
    let answer = response(&shop.time, 201, [data("tea")]);
    shop.script.then_call(Call::respond(answer).pending(2));
    let mut under_way = Hand::new(shop.call(order("k", "tea")));
    assert!(under_way.poll().is_pending());
    assert_eq!(shop.order("k", "coffee"), Err(RejectionKind::KeyReused));
    while under_way.poll().is_pending() {}
    drop(under_way);
    assert_eq!(shop.order("k", "coffee"), Err(RejectionKind::KeyReused));
    // The query is part of what is asked for.
    let other = request(Method::POST, "/orders?gift=1", "ann", "k", "tea");
    assert_eq!(shop.send(other), Err(RejectionKind::KeyReused));
    assert_eq!(shop.order("k", "tea"), replay(201, "tea"));
    assert_eq!(shop.effects(), 1);
    assert_eq!(shop.handle.snapshot().reused, 3);
    shop.assert_quiet();
}

/// Dropped at each poll, while it reads, runs and collects: what has begun is
/// unknown, and what has not is free.
#[test]
fn fault_071_dropped_at_any_poll_it_runs_at_most_once() {
    for policy in [policy(), again()] {
        let shop = Shop::new(policy);
        let mut number = 0;
        let slow = || {
            let body = [tower_keep::test_util::BodyStep::Pend(2), data("tea")];
            Call::respond(response(&shop.time, 201, body)).pending(2)
        };
        let polls = drop_at(
            || {
                number += 1;
                shop.script.then_call(slow());
                shop.call(order(&number.to_string(), "tea"))
            },
            |_| shop.assert_quiet(),
        );
        let polls = polls.unwrap();
        assert!(polls > 4, "{polls}");
        let snapshot = shop.handle.snapshot();
        assert_eq!(u64::from(polls), snapshot.abandoned + snapshot.recorded);
        for key in 1..=polls + 1 {
            let effects = shop.effects();
            let said = shop.order(&key.to_string(), "tea");
            let runs = shop.effects() - effects;
            let (first, last) = (key == 1, key == polls + 1);
            match policy == again() {
                _ if last => assert_eq!((runs, said.unwrap().2), (0, true), "{key}"),
                _ if first => assert_eq!(runs, 1, "{key}"),
                true => assert_eq!((runs, said.is_ok()), (1, true), "{key}"),
                false => assert_eq!(
                    (runs, said),
                    (0, Err(RejectionKind::OutcomeUnknown)),
                    "{key}"
                ),
            }
        }
    }
}

#[test]
fn fault_071_one_takes_over_and_the_late_owner_is_fenced() {
    let shop = Shop::faulty(again());
    let call = |text| Call::respond(response(&shop.time, 201, [data(text)])).pending(1);
    shop.script.then_call(call("late"));
    let mut late = Hand::new(async { said(shop.call(order("k", "tea")).await).await });
    assert!(late.poll().is_pending());
    shop.time.advance(secs(90) - ms(1));
    assert_eq!(shop.order("k", "tea"), Err(RejectionKind::InProgress));
    shop.time.advance(ms(1));
    shop.script.then_call(call("next"));
    let mut next = Hand::new(async { said(shop.call(order("k", "tea")).await).await });
    assert!(next.poll().is_pending());
    assert_eq!(shop.order("k", "tea"), Err(RejectionKind::InProgress));
    // Each caller gets what its own call was answered, and one of them is kept.
    assert_eq!(late.poll(), std::task::Poll::Ready(first(201, "late")));
    assert_eq!(next.poll(), std::task::Poll::Ready(first(201, "next")));
    assert_eq!(shop.order("k", "tea"), replay(201, "next"));
    let snapshot = shop.handle.snapshot();
    assert_eq!(
        (snapshot.taken_over, snapshot.fenced, snapshot.recorded),
        (1, 1, 1)
    );
    shop.assert_quiet();
}

#[test]
fn fault_073_after_a_panic_or_an_error_the_outcome_is_unknown() {
    for (policy, runs) in [(policy(), 0), (again(), 1)] {
        for end in [
            Call::panic().pending(1),
            Call::error(BROKEN),
            Call::respond(response(&ManualClock::new(), 200, [])).panic_in_call(),
        ] {
            let shop = Shop::new(policy);
            shop.script.then_call(end.clone());
            let mut hand = Hand::new(shop.call(order("k", "tea")));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while hand.poll().is_pending() {}
            }));
            drop(hand);
            assert_eq!(shop.handle.snapshot().abandoned, 1, "{end:?}");
            let before = shop.effects();
            let said = shop.order("k", "tea");
            assert_eq!(shop.effects() - before, runs, "{end:?} {result:?}");
            assert_eq!(
                said.err(),
                (runs == 0).then_some(RejectionKind::OutcomeUnknown)
            );
            shop.assert_quiet();
        }
    }
}

#[test]
fn fault_074_failures_are_recorded_and_refusals_from_before_the_handler_are_not() {
    let shop = Shop::new(policy());
    for status in [400, 404, 408, 425, 429, 500, 503] {
        let key = status.to_string();
        shop.answers(status, "no");
        assert_eq!(shop.order(&key, "tea"), first(status, "no"));
        assert_eq!(shop.order(&key, "tea"), replay(status, "no"));
    }
    assert_eq!(shop.effects(), 7);

    // A bulkhead inside, which is closed: as an error, and as a response.
    let time = ManualClock::new();
    let (probe, _, watch) = inner(&time);
    let setup = || Setup::new().with_clock(time.clock());
    let full = BulkheadLayer::with(permits(4), setup());
    let layer = IdempotencyLayer::with(policy(), by_user(), memory(&time), setup());
    full.handle().set_override(Override::Close);
    let ask = |key| {
        finish_on(
            &time,
            layer
                .layer(full.layer(probe.clone()))
                .call(order(key, "tea")),
        )
    };
    assert!(ask("error").unwrap().is_err());
    let answers = layer.layer(tower_keep::respond(full.clone()).layer(probe.clone()));
    let respond = |key| finish_on(&time, answers.clone().call(order(key, "tea")));
    assert_eq!(respond("answer").unwrap().unwrap().status(), 503);
    assert_eq!(layer.handle().snapshot().released, 2);
    full.handle().set_override(Override::None);
    assert_eq!(ask("error").unwrap().unwrap().status(), 200);
    assert_eq!(respond("answer").unwrap().unwrap().status(), 200);
    assert_eq!(watch.counts().calls, 2);
}

#[test]
fn fault_074_an_answer_over_the_cap_flows_on_and_leaves_a_mark() {
    const LONG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (unrecorded, effects) in [(Unrecorded::Mark, 1), (Unrecorded::Forget, 2)] {
        let policy = Policy::builder().max_answer(200).unrecorded(unrecorded);
        let shop = Shop::new(policy.build().unwrap());
        for _ in 0..2 {
            let body = [data(LONG), data(LONG), data(LONG), data("!")];
            let body = body.into_iter().chain([trailers()]);
            let answer = response(&shop.time, 200, body);
            shop.script.then_call(Call::respond(answer));
        }
        let whole = Bytes::from([LONG, LONG, LONG, "!"].concat());
        assert_eq!(shop.order("k", "tea"), Ok((200, whole, false)));
        let duplicate = shop.order("k", "tea");
        assert_eq!(duplicate.is_ok(), unrecorded == Unrecorded::Forget);
        if let Err(kind) = duplicate {
            assert_eq!(kind, RejectionKind::AnswerNotKept);
            assert_eq!(shop.handle.snapshot().unrecorded, 1);
        }
        assert_eq!(shop.effects(), effects);
        assert!(shop.store.usage().bytes <= 256);
        shop.assert_quiet();
    }
}

#[test]
fn fault_075_a_key_is_shared_with_nobody() {
    let shop = Shop::new(policy());
    let get = |request: fn() -> Request<Full<Bytes>>, text| {
        shop.answers(200, text);
        assert_eq!(shop.send(request()), first(200, text));
    };
    let ann = || order("k", "tea");
    let bob = || request(Method::POST, "/orders", "bob", "k", "tea");
    let path = || request(Method::POST, "/refunds", "ann", "k", "tea");
    let method = || request(Method::PATCH, "/orders", "ann", "k", "tea");
    get(ann, "of ann");
    get(bob, "of bob");
    get(path, "a refund");
    get(method, "a change");
    assert_eq!(shop.send(ann()), replay(200, "of ann"));
    assert_eq!(shop.send(bob()), replay(200, "of bob"));
    assert_eq!(shop.send(path()), replay(200, "a refund"));
    assert_eq!(shop.send(method()), replay(200, "a change"));
    // Who asks must be known.
    let mut nobody = order("k", "tea");
    nobody.headers_mut().remove("x-user");
    assert_eq!(shop.send(nobody), Err(RejectionKind::BadKey));
    assert_eq!(shop.effects(), 4);
}

#[test]
fn fault_076_keys_that_are_none_are_refused_and_nothing_is_stored() {
    let shop = Shop::with(policy(), by_user().required(), memory);
    let long = format!("\"{}\"", "k".repeat(10 * 1024));
    let just_too_long = format!("\"{}\"", "k".repeat(256));
    let mut fields: Vec<Vec<&[u8]>> = [
        &b""[..],
        b"\"\"",
        b" ",
        b"bare",
        b"\"open",
        b"\"a\\x\"",
        b"\"\xc3\xa9\"",
        b"\xe9",
        b"\"a\", \"b\"",
        b"\"a\"\t",
        b"?1",
        b"\"a\";=",
        b"\"tab\there\"",
    ]
    .map(|field| vec![field])
    .to_vec();
    fields.push(vec![long.as_bytes()]);
    fields.push(vec![just_too_long.as_bytes()]);
    fields.push(vec![b"\"a\"", b"\"b\""]);
    fields.push(vec![b"\"a\"", b"\"a\""]);
    for values in fields {
        let mut request = order("k", "tea");
        request.headers_mut().remove("idempotency-key");
        for value in &values {
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().append("idempotency-key", value);
        }
        assert_eq!(
            shop.send(request),
            Err(RejectionKind::KeyInvalid),
            "{values:?}"
        );
    }
    let mut none = order("k", "tea");
    none.headers_mut().remove("idempotency-key");
    assert_eq!(shop.send(none), Err(RejectionKind::KeyRequired));
    // CR, LF and NUL do not even become a field.
    for value in [&b"\"a\r\nb\""[..], b"\"a\0\""] {
        assert!(HeaderValue::from_bytes(value).is_err());
    }
    assert_eq!((shop.effects(), shop.store.usage().entries), (0, 0));
    let longest = "k".repeat(255);
    shop.answers(200, "yes");
    assert_eq!(shop.order(&longest, "tea"), first(200, "yes"));
}
