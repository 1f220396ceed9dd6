//! Retries and hedges of streaming bodies, one inside the other.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_keep::Setup;
use tower_keep::budget::Budget;
use tower_keep::classify;
use tower_keep::clock::Clock;
use tower_keep::hedge::{self, HedgeLayer};
use tower_keep::http::{ReplayBody, ReplayError};
use tower_keep::replay::{Buffered, Reread};
use tower_keep::retry::{self, RetryLayer};
use tower_keep::test_util::{BodyStep, Broken, ManualClock, ScriptBody};

use crate::retry::{steady, without_end};
use crate::support::{Fail, data, ms, trailers};

type Sent = Request<ReplayBody<ScriptBody>>;

fn tokio() -> Setup {
    Setup::new().with_clock(Clock::tokio())
}

async fn pause(millis: u64) {
    let clock = Clock::tokio();
    let _ = clock
        .sleep_until(clock.now().saturating_add(ms(millis)))
        .await;
}

fn hedges() -> HedgeLayer<hedge::Idempotent, Reread, classify::Http> {
    let policy = hedge::Policy::after(ms(100)).unwrap();
    HedgeLayer::with(policy, hedge::idempotent(), tokio())
        .replay(Reread::up_to(1_000))
        .classify(classify::Http)
}

fn retries() -> RetryLayer<retry::Http> {
    let budget: Budget = without_end(tokio());
    RetryLayer::with_budget(steady(), retry::Http::new(), budget, tokio())
}

/// What the attempts of one request read, in the order in which they ended, and the
/// status that the caller got. Each attempt reads a frame, takes so many milliseconds,
/// reads the rest, and answers with this status.
async fn attempts<L>(
    layer: L,
    body: Vec<BodyStep>,
    turns: &'static [(u64, u16)],
) -> (Vec<String>, u16)
where
    L: Layer<tower::util::BoxCloneService<Sent, Response<()>, Fail>>,
    L::Service: tower::Service<Request<ScriptBody>, Response = Response<()>, Error = Fail>,
{
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let turn = Arc::new(Mutex::new(turns.iter()));
    let upstream = tower::service_fn(move |request: Sent| {
        let seen = Arc::clone(&into);
        let (after, status) = *turn.lock().unwrap().next().unwrap();
        async move {
            let mut body = request.into_body();
            let mut text = String::new();
            let mut paused = false;
            while let Some(frame) = body.frame().await {
                if !std::mem::replace(&mut paused, true) {
                    pause(after).await;
                }
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => text.push_str(std::str::from_utf8(&data).unwrap()),
                    Ok(Err(_)) => text.push('.'),
                    Err(error) => {
                        seen.lock().unwrap().push(format!("{text}: {error:?}"));
                        return Err(Fail::Inner(Broken("the body failed")));
                    }
                }
            }
            seen.lock().unwrap().push(text);
            Ok(Response::builder().status(status).body(()).unwrap())
        }
    });
    let service = layer.layer(tower::util::BoxCloneService::new(upstream));
    let time = ManualClock::new();
    let request = Request::put("/").body(ScriptBody::new(&time, body));
    let response = service.oneshot(request.unwrap()).await.unwrap();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, response.status().as_u16())
}

fn words() -> Vec<BodyStep> {
    vec![data("one "), BodyStep::Pend(1), data("two"), trailers()]
}

#[tokio::test(start_paused = true)]
async fn a_hedge_inside_a_retry_shares_its_copy() {
    let stack = ServiceBuilder::new()
        .layer(retries().replay(Buffered::up_to(1_000)))
        .layer(hedges());
    // The first times out in effect, its hedge fails; both of the second try go on.
    let turns = &[(500, 503), (10, 502), (400, 200), (100, 200)];
    let (seen, status) = attempts(stack, words(), turns).await;
    assert_eq!(status, 200);
    assert_eq!(seen, ["one two."; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_keeps_what_the_retry_did_not() {
    // One attempt: the retry keeps nothing.
    let once = retry::Policy::builder().max_attempts(1).build().unwrap();
    let budget = without_end(tokio());
    let retries = RetryLayer::with_budget(once, retry::Http::new(), budget, tokio());
    let stack = ServiceBuilder::new()
        .layer(retries.replay(Buffered::up_to(1_000)))
        .layer(hedges());
    let (seen, status) = attempts(stack, words(), &[(500, 200), (10, 201)]).await;
    assert_eq!((seen, status), (vec!["one two.".to_owned()], 201));
}

#[tokio::test(start_paused = true)]
async fn a_retry_inside_a_hedge_takes_nothing_from_the_other_attempt() {
    let policy = hedge::Policy::after(ms(100)).unwrap();
    let hedges = HedgeLayer::with(policy, hedge::idempotent(), tokio())
        .replay(Buffered::up_to(1_000))
        .classify(classify::Http);
    let stack = ServiceBuilder::new()
        .layer(hedges)
        .layer(retries().replay(Reread::up_to(1_000)));
    // The first is half-way when its hedge fails, and is retried.
    let turns = &[(500, 200), (10, 502), (10_000, 201)];
    let (seen, status) = attempts(stack, words(), turns).await;
    assert_eq!((seen.len(), status), (2, 200));
    assert!(seen.iter().all(|text| text == "one two."), "{seen:?}");
}

/// A hedge begins while nobody knows how long the body is.
#[tokio::test(start_paused = true)]
async fn a_body_that_turns_out_too_long_is_whole_in_the_first_attempt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let layer = {
        let policy = hedge::Policy::after(ms(100)).unwrap();
        HedgeLayer::with(policy, hedge::idempotent(), tokio()).replay(Buffered::up_to(300))
    };
    // Hedged after the first frame, over the cap with the fourth.
    let (send, body) = http_body_util::channel::Channel::<Bytes, Broken>::new(8);
    let mut service = layer.layer(tower::service_fn(move |request: Request<ReplayBody<_>>| {
        let seen = Arc::clone(&into);
        async move {
            let mut body: ReplayBody<http_body_util::channel::Channel<Bytes, Broken>> =
                request.into_body();
            let mut frames = 0;
            while let Some(frame) = body.frame().await {
                if let Err(error) = frame {
                    seen.lock().unwrap().push((frames, Some(error)));
                    return Err(Fail::Inner(Broken("the body failed")));
                }
                frames += 1;
            }
            seen.lock().unwrap().push((frames, None));
            Ok(frames)
        }
    }));
    let feed = async move {
        let mut send = send;
        for _ in 0..6 {
            send.send_data(Bytes::from_static(&[0; 90])).await.unwrap();
            pause(90).await;
        }
    };
    let request = Request::put("/").body(body).unwrap();
    let (result, ()) = tokio::join!(crate::support::call(&mut service, request), feed);
    assert_eq!(result.unwrap(), 6);
    assert_eq!(layer.handle().snapshot().hedges, 1);
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen.as_slice(),
        [(3, Some(ReplayError::TooLong)), (6, None)]
    );
}
