//! The guard of keys, beyond the faults it survives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service};
use tower_keep::event::Metrics;
use tower_keep::idempotency::{
    self, Again, Delivery, Fingerprint, Http, IdempotencyLayer, InFlight, MemoryStore, Plain,
    Policy, Streams, Token,
};
use tower_keep::test_util::{Broken, Call, Hand, ManualClock, finish_on};
use tower_keep::{Error, Override, RejectionKind, Setup};

use crate::support::shop::{Shop, by_user, first, memory, message, order, replay, request, said};
use crate::support::{BROKEN, data, ms, response, secs, trailers};
use crate::told::ear::Sums;

fn policy(told: InFlight) -> Policy {
    Policy::builder().in_flight(told).build().unwrap()
}

#[test]
fn duplicates_are_told_as_the_policy_says() {
    for (told, kind) in [
        (InFlight::Conflict, RejectionKind::InProgress),
        (InFlight::TooEarly, RejectionKind::TooEarly),
        (InFlight::Accepted, RejectionKind::Accepted),
    ] {
        let shop = Shop::new(policy(told));
        shop.script.then_call(Call::never());
        let mut under_way = Hand::new(shop.call(order("k", "tea")));
        assert!(under_way.poll().is_pending());
        assert_eq!(shop.order("k", "tea"), Err(kind));
        // By the handle, from now on.
        shop.handle.update(policy(InFlight::Conflict));
        assert_eq!(shop.order("k", "tea"), Err(RejectionKind::InProgress));
        assert_eq!(shop.handle.snapshot().in_progress, 2);
    }
}

#[test]
fn a_duplicate_waits_for_the_first_answer_and_not_for_ever() {
    let shop = Shop::new(policy(InFlight::Wait));
    let slow = Call::respond(response(&shop.time, 200, [data("tea")])).after(secs(3));
    shop.script.then_call(slow);
    let mut under_way = Hand::new(shop.call(order("k", "tea")));
    assert!(under_way.poll().is_pending());
    let mut duplicate = Hand::new(async { said(shop.call(order("k", "tea")).await).await });
    let mut done = false;
    let end = loop {
        done = done || under_way.poll().is_ready();
        if let std::task::Poll::Ready(end) = duplicate.poll() {
            break end;
        }
        shop.time.advance(ms(50));
    };
    assert_eq!(end, replay(200, "tea"));

    shop.script.then_call(Call::never());
    let begun = shop.time.clock().now();
    let mut under_way = Hand::new(shop.call(order("other", "tea")));
    assert!(under_way.poll().is_pending());
    assert_eq!(shop.order("other", "tea"), Err(RejectionKind::InProgress));
    let waited = shop.time.clock().now().saturating_since(begun);
    assert_eq!(waited, secs(10));
    // The first one gives up, and nobody else runs.
    let mut duplicate = Hand::new(async { said(shop.call(order("other", "tea")).await).await });
    assert!(duplicate.poll().is_pending());
    drop(under_way);
    shop.time.advance(secs(1));
    let end = std::task::Poll::Ready(Err(RejectionKind::OutcomeUnknown));
    assert_eq!(duplicate.poll(), end);
}

#[test]
fn what_is_not_covered_passes_untouched() {
    let http = by_user().paths(|path| path != "/search");
    let shop = Shop::with(Policy::default(), http, memory);
    let mut plain = order("k", "tea");
    plain.headers_mut().remove("idempotency-key");
    let get = || request(Method::GET, "/orders", "ann", "k", "");
    let search = || request(Method::POST, "/search", "ann", "k", "tea");
    for request in [get(), get(), search(), search(), plain] {
        assert_eq!(shop.send(request), first(200, ""));
    }
    shop.handle.set_override(Override::Bypass);
    assert_eq!(shop.order("k", "tea"), first(200, ""));
    assert_eq!((shop.effects(), shop.store.usage().entries), (6, 0));
    shop.handle.set_override(Override::Close);
    assert_eq!(shop.order("k", "tea"), Err(RejectionKind::Closed));
}

#[test]
fn a_replay_is_the_answer_byte_for_byte_and_says_what_it_is() {
    let shop = Shop::new(Policy::default());
    let mut answer = response(&shop.time, 201, [data("one"), data("two"), trailers()]);
    let headers = answer.headers_mut();
    headers.insert("set-cookie", "id=1".parse().unwrap());
    headers.insert("date", "Mon, 23 Nov 2026 10:00:00 GMT".parse().unwrap());
    headers.append("x-many", "1".parse().unwrap());
    headers.append("x-many", "2".parse().unwrap());
    shop.script.then_call(Call::respond(answer.clone()));
    let first = finish_on(&shop.time, shop.call(order("k", "tea")))
        .unwrap()
        .unwrap();
    assert_eq!(first.headers(), answer.headers());
    let again = finish_on(&shop.time, shop.call(order("k", "tea")))
        .unwrap()
        .unwrap();
    assert_eq!(again.status(), StatusCode::CREATED);
    let mut expected = answer.headers().clone();
    expected.remove("set-cookie");
    expected.remove("date");
    expected.insert("idempotent-replayed", "true".parse().unwrap());
    assert_eq!(again.headers(), &expected);
    for answer in [first, again] {
        let body = finish_on(&shop.time, answer.into_body().collect())
            .unwrap()
            .unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "42");
        assert_eq!(body.to_bytes(), "onetwo");
    }
}

#[test]
fn streams_pass_at_once_where_they_are_to() {
    use tower_keep::test_util::BodyStep;
    // Without an exact length, since it may break.
    let endless = [data("tick"), BodyStep::Never];
    for (streams, kind) in [(Streams::Pass, ""), (Streams::Collect, "text/event-stream")] {
        let policy = Policy::builder().streams(streams).build().unwrap();
        let shop = Shop::new(policy);
        let mut answer = response(&shop.time, 200, endless.clone());
        answer
            .headers_mut()
            .insert("content-type", kind.parse().unwrap());
        shop.script.then_call(Call::respond(answer));
        let mut hand = Hand::new(shop.call(order("k", "tea")));
        assert!(hand.poll().is_ready(), "{streams:?}");
        assert_eq!(shop.order("k", "tea"), Err(RejectionKind::AnswerNotKept));
    }
    // And one that does not end is given on when the lease does.
    let shop = Shop::new(Policy::default());
    shop.script
        .then_call(Call::respond(response(&shop.time, 200, endless)));
    let mut hand = Hand::new(shop.call(order("k", "tea")));
    assert!(hand.poll().is_pending());
    shop.time.advance(secs(90));
    assert!(hand.poll().is_ready());
    assert_eq!(shop.order("k", "tea"), Err(RejectionKind::AnswerNotKept));
}

#[test]
fn an_answer_that_breaks_off_is_unknown() {
    let shop = Shop::new(Policy::default());
    let broken = [
        data("half"),
        tower_keep::test_util::BodyStep::Error(Broken("cut")),
    ];
    shop.script
        .then_call(Call::respond(response(&shop.time, 200, broken)));
    let answer = finish_on(&shop.time, shop.call(order("k", "tea")))
        .unwrap()
        .unwrap();
    let mut body = answer.into_body();
    let frame = finish_on(&shop.time, body.frame())
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(frame.into_data().unwrap(), "half");
    assert!(
        finish_on(&shop.time, body.frame())
            .unwrap()
            .unwrap()
            .is_err()
    );
    assert_eq!(shop.order("k", "tea"), Err(RejectionKind::OutcomeUnknown));
}

#[test]
fn keys_without_quotes_derived_keys_and_own_fingerprints() {
    let shop = Shop::with(Policy::default(), by_user().lenient(), memory);
    let mut bare = order("k", "tea");
    bare.headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    shop.answers(200, "yes");
    assert_eq!(shop.send(bare), first(200, "yes"));
    assert_eq!(shop.order("k", "tea"), replay(200, "yes"));

    let derive = |_: &http::request::Parts, body: &[u8]| {
        body.starts_with(b"order").then(|| body[..7].to_vec())
    };
    let print = |_: &http::request::Parts, body: &[u8]| Fingerprint::of(body.trim_ascii());
    let http = by_user().derived(derive).fingerprint(print).required();
    let shop = Shop::with(Policy::default(), http, memory);
    let unnamed = |body| {
        let mut request = order("k", body);
        request.headers_mut().remove("idempotency-key");
        shop.send(request)
    };
    shop.answers(200, "seven");
    assert_eq!(unnamed("order 7"), first(200, "seven"));
    assert_eq!(unnamed("order 7 "), replay(200, "seven"));
    assert_eq!(unnamed("order 7!"), Err(RejectionKind::KeyReused));
    assert_eq!(unnamed("tea"), Err(RejectionKind::KeyRequired));
    // What a client names is never what was derived.
    shop.answers(200, "named");
    assert_eq!(shop.order("order 7", "order 7"), first(200, "named"));
    assert_eq!(shop.effects(), 2);
}

#[test]
fn functions_that_panic_refuse_and_store_nothing() {
    type Parts = http::request::Parts;
    let panics = || -> ! { panic!("scripted") };
    for http in [
        Http::by(move |_| panics()),
        by_user().paths(move |_| panics()),
        by_user().fingerprint(move |_: &Parts, _: &[u8]| panics()),
    ] {
        let shop = Shop::with(Policy::default(), http, memory);
        let said = shop.order("k", "tea");
        assert!(matches!(
            said,
            Err(RejectionKind::BadKey | RejectionKind::KeyInvalid)
        ));
        assert_eq!((shop.effects(), shop.store.usage().entries), (0, 0));
        assert_eq!(shop.handle.callback_panics(), 1);
        shop.assert_quiet();
    }
}

#[test]
fn a_body_that_is_too_long_to_tell_is_refused() {
    let policy = Policy::builder().max_request(3).build().unwrap();
    let shop = Shop::new(policy);
    shop.answers(200, "yes");
    assert_eq!(shop.order("k", "tea!"), Err(RejectionKind::BodyTooLarge));
    assert_eq!((shop.effects(), shop.store.usage().entries), (0, 0));
}

#[test]
fn the_handler_gets_the_whole_body_and_its_token() {
    let seen = Arc::new(AtomicU64::new(0));
    let tokens = Arc::clone(&seen);
    let handler = tower::service_fn(
        move |request: Request<tower_keep::http::ReplayBody<Full<Bytes>>>| {
            let token = request.extensions().get::<Token>().copied();
            tokens.fetch_max(token.map_or(0, Token::get), Ordering::Relaxed);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Error<Broken>>(http::Response::new(Full::<Bytes>::from(body)))
            }
        },
    );
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = IdempotencyLayer::with(Policy::default(), by_user(), memory(&time), setup);
    let mut service = layer.layer(handler);
    for _ in 0..2 {
        let answer = finish_on(&time, service.call(order("k", "tea")))
            .unwrap()
            .unwrap();
        let body = finish_on(&time, answer.into_body().collect())
            .unwrap()
            .unwrap();
        assert_eq!(body.to_bytes(), "tea");
    }
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

#[test]
fn a_receiver_runs_a_message_once() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let none = idempotency::by(|_: &()| None, Plain);
    let layer = IdempotencyLayer::with(Policy::default(), none, memory(&time), setup);
    let receiver = layer.receiver();
    let effects = AtomicU64::new(0);
    let once = |id: &str, end: Result<&'static str, Error<Broken>>| {
        let (key, print) = message(id);
        let effect = async {
            effects.fetch_add(1, Ordering::Relaxed);
            end.map(String::from)
        };
        finish_on(&time, receiver.once(key, print, &Plain, effect)).unwrap()
    };
    assert_eq!(once("a", Ok("done")), Ok(Delivery::First("done".into())));
    assert_eq!(once("a", Ok("other")), Ok(Delivery::Again("done".into())));
    assert_eq!(once("b", Err(BROKEN)), Err(BROKEN));
    let unknown = once("b", Ok("done")).unwrap_err();
    assert!(unknown.to_string().contains("outcome unknown"), "{unknown}");
    assert_eq!(effects.load(Ordering::Relaxed), 2);
    let snapshot = layer.handle().snapshot();
    assert_eq!(
        (snapshot.in_flight, snapshot.replayed, snapshot.abandoned),
        (0, 1, 1)
    );
}

#[test]
fn any_service_is_guarded_by_key_and_codec() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let key = |n: &u32| (*n > 0).then(|| message(&n.to_string()));
    let by = idempotency::by(key, Plain);
    let layer = IdempotencyLayer::with(Policy::default(), by, memory(&time), setup);
    let effects = Arc::new(AtomicU64::new(0));
    let mut service = layer.layer(tower::service_fn({
        let effects = Arc::clone(&effects);
        move |n: u32| {
            effects.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, Error<Broken>>(format!("answer {n}")) }
        }
    }));
    let mut ask = |n| finish_on(&time, service.call(n)).unwrap().unwrap();
    assert_eq!((ask(7), ask(7)), ("answer 7".into(), "answer 7".into()));
    assert_eq!((ask(0), ask(0)), ("answer 0".into(), "answer 0".into()));
    assert_eq!(effects.load(Ordering::Relaxed), 3);
}

#[test]
fn after_retention_a_key_is_new() {
    let shop = Shop::new(Policy::default());
    shop.answers(200, "one");
    assert_eq!(shop.order("k", "tea"), first(200, "one"));
    shop.time.advance(secs(86_400) - ms(1));
    assert_eq!(shop.order("k", "tea"), replay(200, "one"));
    shop.time.advance(ms(1));
    shop.answers(200, "two");
    assert_eq!(shop.order("k", "coffee"), first(200, "two"));
}

#[test]
fn a_full_store_is_told_as_the_policy_says() {
    for (choice, runs) in [
        (idempotency::Unguarded::Refuse, 0),
        (idempotency::Unguarded::Run, 2),
    ] {
        let policy = Policy::builder().store_full(choice).build().unwrap();
        let store = |time: &ManualClock| MemoryStore::new(1, 1_000, time.clock()).unwrap();
        let shop = Shop::with(policy, by_user(), store);
        shop.order("first", "tea").unwrap();
        for _ in 0..2 {
            let said = shop.order("second", "tea");
            assert_eq!(said.is_ok(), runs > 0);
        }
        assert_eq!(shop.effects(), 1 + runs);
        assert_eq!(shop.handle.snapshot().store_full, 2);
        assert_eq!(shop.order("first", "tea"), replay(200, ""));
    }
}

#[test]
fn a_guard_in_metrics() {
    let sums = Sums::default();
    metrics::with_local_recorder(&sums, || {
        let time = ManualClock::new();
        let setup = Setup::named("orders").with_clock(time.clock());
        let layer = IdempotencyLayer::with(
            Policy::builder().again(Again::Allowed).build().unwrap(),
            idempotency::by(|n: &u32| Some(message(&n.to_string())), Plain),
            memory(&time),
            setup.with_listener(Metrics),
        );
        let script =
            tower_keep::test_util::Script::<(), Error<Broken>>::new(&time, Call::respond(()));
        let mut service = layer.layer(script.clone());
        script.then_call(Call::error(BROKEN));
        for key in [1, 1, 1] {
            let _ = finish_on(&time, service.call(key));
        }
    });
    let all = sums.all();
    let sum = |name: &str| all.iter().find(|(n, _)| n == name).map(|(_, sum)| *sum);
    for (what, count) in [
        ("reserved", 1),
        ("abandoned", 1),
        ("taken_over", 1),
        ("recorded", 1),
        ("replayed", 1),
    ] {
        let name = format!("keep_idempotency_guarded_total layer=orders what={what}");
        assert_eq!(sum(&name), Some(count), "{all:?}");
    }
}
