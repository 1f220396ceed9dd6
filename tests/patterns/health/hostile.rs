//! What nobody should ask, and checks that nobody should write.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::Service;
use tower_keep::health::grpc::GrpcHealth;
use tower_keep::health::{Check, Health};
use tower_keep::probe::Status::{Fail, Pass};

use super::endpoints::get;
use super::{Thing, every_second, pass, started};
use crate::support::ms;

/// `good` passes, and `bad` fails.
async fn one_bad() -> Health {
    let (good, bad) = (Thing::default(), Thing::default());
    bad.set(Fail);
    let health = started([good.check("good"), bad.check("bad")]);
    pass(ms(100)).await;
    health
}

/// Whoever does not say exactly which check to leave out gets all of them: what is
/// misunderstood must not look healthy.
#[tokio::test(start_paused = true)]
async fn what_is_misspelt_leaves_nothing_out() {
    let health = one_bad().await;
    let open = health.endpoints().details_for(|_| true);
    let many = "exclude=bad&".repeat(2_000);
    let long = "x".repeat(60_000);
    for (query, code) in [
        ("exclude=bad", 200),
        ("exclude=bad&exclude=bad", 200),
        ("exclude=good&exclude=bad&exclude=other", 200),
        ("&&exclude=bad&&", 200),
        (&*many, 200),
        ("exclude", 503),
        ("exclude=", 503),
        ("exclude=ba", 503),
        ("exclude=bad,good", 503),
        ("exclude=%62ad", 503),
        ("exclude==bad", 503),
        ("exclude=bad=", 503),
        ("exclude=bad%00", 503),
        ("exclude=bad+", 503),
        ("EXCLUDE=bad", 503),
        ("exclude[]=bad", 503),
        ("exclude=*", 503),
        ("xclude=bad", 503),
        ("=bad", 503),
        ("", 503),
        (&*long, 503),
    ] {
        let told = get(&open, &format!("/readyz?{query}")).await;
        assert_eq!(told.0, code, "{}", &query[..query.len().min(60)]);
        assert!(told.1.len() < 1_000, "an answer grows with the question");
    }
}

#[tokio::test(start_paused = true)]
async fn other_ways_to_write_a_path_are_other_paths() {
    let health = one_bad().await;
    let open = health.endpoints().details_for(|_| true);
    let long = format!("/readyz/{}", "x".repeat(60_000));
    for (path, code) in [
        ("/readyz", 503),
        ("//readyz//", 503),
        ("/readyz/good", 200),
        ("/readyz/bad", 503),
        ("/%72eadyz", 404),
        ("/readyz/%62ad", 404),
        ("/readyz//bad", 404),
        ("/readyz/../livez", 404),
        ("/readyz/good/", 200),
        ("/readyz/good/x", 404),
        ("/readyz;x", 404),
        ("/READYZ", 404),
        ("/readyz%2Fbad", 404),
        (&*long, 404),
        ("http://other/readyz/bad", 503),
    ] {
        assert_eq!(get(&open, path).await.0, code, "{path:.60}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap()
}

proptest! {
    /// Whatever is asked, strangers hear a status and no more, and who may see gets
    /// the same status unless a check is left out by its name.
    #[test]
    fn strangers_hear_a_status_and_no_more(
        group in prop::sample::select(vec!["livez", "readyz", "startupz", "healthz", "x", ""]),
        rest in "(/[!-~]{0,9})?(\\?[!-~]{0,40}(&exclude=(bad|good|%62ad|)){0,3}(&verbose)?)?",
    ) {
        let path = format!("/{group}{rest}");
        prop_assume!(path.parse::<Uri>().is_ok() && !path.contains('#'));
        runtime().block_on(async {
            let health = one_bad().await;
            let (code, body) = get(&health.endpoints(), &path).await;
            let bare = matches!(
                (code, &*body),
                (200, r#"{"status":"pass"}"#) | (503, r#"{"status":"fail"}"#) | (404, "unknown\n")
            );
            prop_assert!(bare, "{path}: {code} {body}");
            let open = health.endpoints().details_for(|_| true);
            let seen = get(&open, &path).await;
            let is_left_out = path.contains("exclude=bad");
            if code != 404 && !is_left_out {
                prop_assert_eq!(seen.0, code);
            }
            if seen.1.starts_with('{') {
                let document = serde_json::from_str::<serde_json::Value>(&seen.1);
                prop_assert!(document.is_ok(), "{}", seen.1);
            }
            Ok(())
        })?;
    }
}

async fn checked(service: &mut GrpcHealth, message: Vec<u8>) -> String {
    let request = Request::post("/grpc.health.v1.Health/Check");
    let request = request.body(Full::new(Bytes::from(message))).unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let code = response.headers().get("grpc-status").cloned();
    let body = response.into_body().collect().await.unwrap();
    let code = code.or_else(|| body.trailers()?.get("grpc-status").cloned());
    code.unwrap().to_str().unwrap().to_owned()
}

/// A message behind five bytes that say how long it is.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], message].concat()
}

#[tokio::test(start_paused = true)]
async fn frames_that_lie_are_refused_and_unknown_fields_are_not() {
    let health = one_bad().await;
    let mut service = GrpcHealth::new(&health).service("shop");
    let shop = [0x0A, 4, b's', b'h', b'o', b'p'];
    let twice = [framed(&shop), framed(&shop)].concat();
    let compressed = [&[1], &framed(&shop)[1..]].concat();
    let long = framed(&[&[0x0A, 0x80, 0x40][..], &[b'x'; 8_192]].concat());
    for (what, message, code) in [
        ("as it should be", framed(&shop), "0"),
        (
            "a field of later versions",
            framed(&[&shop[..], &[0x10, 7]].concat()),
            "0",
        ),
        (
            "the last one counts",
            framed(&[&[0x0A, 1, b'x'][..], &shop].concat()),
            "0",
        ),
        ("another service", framed(&[0x0A, 1, b'x']), "5"),
        ("half a head", vec![0, 0, 0], "3"),
        ("longer than it is", vec![0, 0, 0, 0, 9, 0x0A, 0], "3"),
        ("shorter than it is", vec![0, 0, 0, 0, 1, 0x0A, 0], "3"),
        (
            "as long as can be",
            vec![0, 255, 255, 255, 255, 0x0A, 0],
            "3",
        ),
        ("two messages", twice, "3"),
        ("compressed", compressed, "3"),
        ("no UTF-8", framed(&[0x0A, 2, 0xC3, 0x28]), "3"),
        ("a field beyond the end", framed(&[0x0A, 200, b's']), "3"),
        ("a number that never ends", framed(&[0x80; 40]), "3"),
        ("too long", long, "3"),
    ] {
        assert_eq!(checked(&mut service, message).await, code, "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_of_a_check_are_a_panic(
        message in prop::collection::vec(any::<u8>(), 0..64),
        is_framed in any::<bool>(),
    ) {
        let code = runtime().block_on(async {
            let mut service = GrpcHealth::new(&one_bad().await);
            let message = if is_framed { framed(&message) } else { message };
            checked(&mut service, message).await
        });
        prop_assert!(["0", "3", "5"].contains(&&*code), "{code}");
    }
}

/// It wakes itself for ever, and gives nobody a rest; the others are asked in time.
#[tokio::test(start_paused = true)]
async fn a_check_that_is_always_busy_fails_alone() {
    let other = Thing::default();
    let busy = || {
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    };
    let busy = Check::new("busy", busy);
    let busy = busy.schedule(every_second().timeout(ms(500)).build().unwrap());
    let health = started([busy, other.check("other")]);
    for _ in 0..100 {
        tokio::time::advance(ms(50)).await;
    }
    let status = |name| health.check(name).map(|seen| seen.status);
    assert_eq!((status("busy"), status("other")), (Some(Fail), Some(Pass)));
    let runs = |name| health.check(name).map_or(0, |seen| seen.runs);
    assert!(runs("busy") >= 2 && runs("other") >= 4);
}
