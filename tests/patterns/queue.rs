//! Who comes first in the queue of a bulkhead or an adaptive limit, and who is
//! sent away.

use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service};
use tower_keep::adaptive::{self, AdaptiveLayer};
use tower_keep::bulkhead::{self, BulkheadLayer};
use tower_keep::classify::Outcome;
use tower_keep::deadline::Deadline;
use tower_keep::queue::{Discipline, Order, Priority, Rank, rank};
use tower_keep::test_util::{Call, Hand, ManualClock, finish_on};
use tower_keep::{AsRejection, RejectionKind, Setup, key};

use crate::support::{Fail, Inner, inner, ms, request, response};

type Answer = Hand<std::pin::Pin<Box<dyn Future<Output = Result<u16, Fail>>>>>;

/// One call at a time, each of which ends when the test says so.
struct Bench<S> {
    time: ManualClock,
    service: S,
}

fn bench<L>(
    policy: bulkhead::PolicyBuilder,
    make: impl FnOnce(BulkheadLayer) -> L,
) -> (Bench<L::Service>, bulkhead::Handle)
where
    L: Layer<Inner>,
{
    let time = ManualClock::new();
    let (probe, script, _) = inner(&time);
    // Each call takes a tenth of a second.
    for _ in 0..50 {
        script.then_call(Call::respond(response(&time, 200, [])).after(ms(100)));
    }
    let setup = Setup::new().with_clock(time.clock());
    let layer = BulkheadLayer::with(policy.build().unwrap(), setup);
    let handle = layer.handle();
    let service = make(layer).layer(probe);
    (Bench { time, service }, handle)
}

impl<S, B> Bench<S>
where
    S: Service<Request<()>, Response = Response<B>, Error = Fail>,
    S::Future: 'static,
{
    /// Calls with this `x-key`, and polls once.
    fn ask(&mut self, key: &'static str) -> Answer {
        let future = self.service.call(request(key));
        let future = async move { future.await.map(|response| response.status().as_u16()) };
        let mut hand: Answer = Hand::new(Box::pin(future));
        assert!(hand.poll().is_pending());
        hand
    }

    /// Time goes on, and the first of these that are answered is this one.
    fn next(&mut self, waiting: &mut Vec<(&'static str, Answer)>) -> &'static str {
        self.time.advance(ms(100));
        let answered = (0..waiting.len()).find(|at| waiting[*at].1.poll().is_ready());
        let Some(at) = answered else { return "nobody" };
        let (key, _) = waiting.remove(at);
        // Its end lets another begin.
        assert!(waiting.iter_mut().all(|(_, call)| call.poll().is_pending()));
        key
    }
}

fn one() -> bulkhead::PolicyBuilder {
    bulkhead::Policy::builder()
        .max_concurrent(1)
        .queue_length(4)
        .max_wait(Duration::from_secs(60))
}

fn kind(poll: Poll<Result<u16, Fail>>) -> Option<RejectionKind> {
    match poll {
        Poll::Ready(Err(error)) => error.as_rejection().map(|rejection| rejection.kind()),
        _ => None,
    }
}

fn by_key() -> impl Rank<Request<()>> + Clone {
    rank(
        |request: &Request<()>| match request.headers()["x-key"].as_bytes()[0] {
            b'c' => Priority::Critical,
            b'e' => Priority::BestEffort,
            b'b' => Priority::Bulk,
            b'!' => panic!("no rank"),
            _ => Priority::Normal,
        },
    )
}

#[test]
fn what_is_more_important_is_served_first() {
    let (mut bench, _) = bench(one(), |layer| layer.queued().ranked(by_key()));
    let mut waiting = vec![("n0", bench.ask("n0"))];
    for key in ["b1", "e2", "n3", "c4"] {
        waiting.push((key, bench.ask(key)));
    }
    let order: Vec<_> = (0..5).map(|_| bench.next(&mut waiting)).collect();
    assert_eq!(order, ["n0", "c4", "n3", "e2", "b1"]);
}

#[test]
fn in_a_full_queue_the_least_important_makes_room() {
    let (mut bench, handle) = bench(one(), |layer| layer.queued().ranked(by_key()));
    let _first = bench.ask("n0");
    let mut bulk = [bench.ask("b1"), bench.ask("b2")];
    let mut others = [bench.ask("e3"), bench.ask("n4")];
    // The newest of the lowest class, then the other, then the next class.
    let _critical = [bench.ask("c5"), bench.ask("c6")];
    assert_eq!((bulk[1].wakes(), bulk[0].wakes()), (1, 1));
    assert_eq!(kind(bulk[1].poll()), Some(RejectionKind::Shed));
    assert_eq!(kind(bulk[0].poll()), Some(RejectionKind::Shed));
    assert!(others[0].poll().is_pending());
    let _third = bench.ask("c7");
    assert_eq!(kind(others[0].poll()), Some(RejectionKind::Shed));
    // Whoever is no more important than all of them is refused itself.
    let mut hand = Hand::new(bench.service.call(request("n8")));
    let refused = hand.poll().map_ok(|_| 0);
    assert_eq!(kind(refused), Some(RejectionKind::Full));
    assert!(others[1].poll().is_pending());
    assert_eq!(
        (handle.snapshot().waiting, handle.snapshot().rejected),
        (4, 4)
    );
}

#[test]
fn a_rank_that_panics_is_no_rank() {
    let (mut bench, _) = bench(one(), |layer| layer.queued().ranked(by_key()));
    let mut waiting = vec![("n0", bench.ask("n0"))];
    for key in ["b1", "!", "c2"] {
        waiting.push((key, bench.ask(key)));
    }
    let order: Vec<_> = (0..4).map(|_| bench.next(&mut waiting)).collect();
    assert_eq!(order, ["n0", "c2", "!", "b1"]);
}

#[test]
fn tenants_take_turns_and_the_longest_line_makes_room() {
    let tenant = key::header(http::HeaderName::from_static("x-key"));
    let (mut bench, _) = bench(one(), |layer| layer.queued().fair(tenant));
    let mut waiting = vec![("x", bench.ask("x"))];
    for key in ["a", "a", "a", "a"] {
        waiting.push((key, bench.ask(key)));
    }
    // The newest of `a` goes for the first of `b`, and the next for one of `c`.
    for key in ["b", "c"] {
        waiting.push((key, bench.ask(key)));
    }
    for shed in [4, 3] {
        let (_, mut hand) = waiting.remove(shed);
        assert_eq!(kind(hand.poll()), Some(RejectionKind::Shed));
    }
    let order: Vec<_> = (0..5).map(|_| bench.next(&mut waiting)).collect();
    assert_eq!(order, ["x", "b", "c", "a", "a"]);
}

#[test]
fn the_newest_comes_first_once_the_queue_stands() {
    let lifo = Discipline::fifo().order(Order::AdaptiveLifo);
    let (mut bench, _) = bench(one().discipline(lifo), BulkheadLayer::queued);
    let mut waiting = vec![("0", bench.ask("0"))];
    for key in ["1", "2", "3", "4"] {
        waiting.push((key, bench.ask(key)));
    }
    bench.time.advance(ms(99));
    // Full, and it does not stand yet: who comes last is refused.
    let mut hand = Hand::new(bench.service.call(request("5")));
    assert_eq!(kind(hand.poll().map_ok(|_| 0)), Some(RejectionKind::Full));
    bench.time.advance(ms(1));
    // Now the oldest makes room.
    waiting.push(("6", bench.ask("6")));
    let (_, mut oldest) = waiting.remove(1);
    assert_eq!(kind(oldest.poll()), Some(RejectionKind::Shed));
    let order: Vec<_> = (0..5).map(|_| bench.next(&mut waiting)).collect();
    assert_eq!(order, ["0", "6", "4", "3", "2"]);
    // It was empty in between: the next queue does not stand.
    let mut first = bench.ask("7");
    bench.time.advance(ms(60));
    let mut waiting = [bench.ask("8"), bench.ask("9")];
    bench.time.advance(ms(40));
    assert!(first.poll().is_ready());
    assert_eq!([waiting[0].wakes(), waiting[1].wakes()], [1, 0]);
    assert!(waiting.iter_mut().all(|call| call.poll().is_pending()));
}

/// Nobody polls who is late, and its timer has not fired: it is passed over.
#[test]
fn who_is_too_late_is_not_served_any_more() {
    let time = ManualClock::new();
    let setup = Setup::new().with_clock(time.clock());
    let layer = BulkheadLayer::with(one().build().unwrap(), setup);
    let handle = layer.handle();
    let held = handle.admit().unwrap();
    let soon = Deadline::after(&time.clock(), ms(10));
    let mut late = Hand::new(Box::pin(soon.wrap(handle.acquire())));
    let mut patient = Hand::new(Box::pin(handle.acquire()));
    assert!(late.poll().is_pending() && patient.poll().is_pending());
    time.advance(ms(20));
    held.finish(Outcome::Success);
    let Poll::Ready(Ok(permit)) = patient.poll() else {
        panic!("the permit went to somebody whose deadline has passed");
    };
    let Poll::Ready(Err(refused)) = late.poll() else {
        panic!("it waits on");
    };
    assert_eq!(refused.kind(), RejectionKind::DeadlineExceeded);
    drop(permit);
    assert_eq!(handle.snapshot().in_flight, 0);
}

#[test]
fn a_queue_is_as_long_as_what_is_served_within_its_wait() {
    let time = ManualClock::new();
    let policy = adaptive::Policy::builder().min_limit(10).max_limit(10);
    let policy = policy.max_wait(ms(100)).build().unwrap();
    let layer = AdaptiveLayer::with(policy, Setup::new().with_clock(time.clock()));
    let handle = layer.handle();
    // Calls of 20 ms: ten at once, fifty in 100 ms.
    for _ in 0..60 {
        let calls: Vec<_> = std::iter::from_fn(|| handle.admit().ok()).collect();
        time.advance(ms(20));
        calls
            .into_iter()
            .for_each(|call| call.finish(Outcome::Success));
    }
    let (probe, script, _) = inner(&time);
    let service = layer.queued().layer(probe);
    let mut calls: Vec<_> = (0..100)
        .map(|_| {
            script.then_call(Call::never());
            Hand::new(service.clone().call(request("a")))
        })
        .collect();
    let refused = calls.iter_mut().filter_map(|call| match call.poll() {
        Poll::Ready(Err(error)) => Some(error.as_rejection().unwrap().kind()),
        _ => None,
    });
    let refused: Vec<_> = refused.collect();
    assert!(
        refused
            .iter()
            .all(|kind| *kind == RejectionKind::LimitReached)
    );
    let waiting = handle.snapshot().waiting;
    assert!((49..=50).contains(&waiting), "{waiting}");
    assert_eq!(refused.len(), 90 - waiting as usize);
}

/// It is the service that has too much to do: 503, and never 429.
#[test]
fn refusals_of_a_limit_are_503_with_a_time_and_a_problem() {
    let time = ManualClock::new();
    let policy = adaptive::Policy::builder().min_limit(1).max_limit(1);
    let policy = policy.build().unwrap();
    let layer = AdaptiveLayer::with(policy, Setup::new().with_clock(time.clock()));
    let held = layer.handle().admit().unwrap();
    let service = tower::service_fn(|_: Request<()>| async {
        Ok::<_, std::convert::Infallible>(Response::new(
            http_body_util::Full::<bytes::Bytes>::default(),
        ))
    });
    let mut service = tower_keep::respond(layer).layer(service);
    let answer = finish_on(&time, service.call(Request::new(())))
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 503);
    let wait = answer.headers()["retry-after"].to_str().unwrap();
    assert!(wait.parse::<u64>().unwrap() >= 1, "{wait}");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body = finish_on(&time, answer.into_body().collect())
        .unwrap()
        .unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body.to_bytes()).unwrap();
    let of = problem["type"].as_str().unwrap();
    assert!(of.ends_with("#temporary-reduced-capacity"), "{problem}");
    assert_eq!(problem["status"], 503);
    drop(held);
}

/// Callers of a handle stand in the same queue, by rank and by tenant.
#[test]
fn handles_ask_by_rank_and_tenant() {
    let by = key::bytes(|name: &&'static str| Some(name.as_bytes()));
    let time = ManualClock::new();
    let setup = || Setup::new().with_clock(time.clock());
    let bulkhead = || {
        let policy = bulkhead::Policy::builder().max_concurrent(1);
        BulkheadLayer::with(policy.queue_length(8).build().unwrap(), setup()).handle()
    };
    let adaptive = || {
        let policy = adaptive::Policy::builder().initial_limit(1).min_limit(1);
        let policy = policy.max_limit(1).queue_length(8).build().unwrap();
        AdaptiveLayer::with(policy, setup()).handle()
    };
    macro_rules! in_turn {
        ($handle:expr) => {{
            let handle = $handle;
            let mut held = Some(handle.admit().unwrap());
            let bulk = || handle.acquire().priority(Priority::Bulk);
            let mut callers = [
                ("bulk", Hand::new(bulk())),
                ("first of a", Hand::new(handle.acquire().tenant(&by, &"a"))),
                ("second of a", Hand::new(handle.acquire().tenant(&by, &"a"))),
                ("b", Hand::new(handle.acquire().tenant(&by, &"b"))),
                (
                    "critical",
                    Hand::new(handle.acquire().priority(Priority::Critical)),
                ),
            ];
            for (_, caller) in &mut callers {
                assert!(caller.poll().is_pending());
            }
            assert_eq!(handle.snapshot().waiting, 5);
            let mut order = Vec::new();
            while order.len() < callers.len() {
                held = None;
                for (name, caller) in &mut callers {
                    if order.contains(name) {
                        continue;
                    }
                    if let Poll::Ready(permit) = caller.poll() {
                        order.push(*name);
                        held = Some(permit.unwrap());
                    }
                }
                assert!(held.is_some(), "nobody's turn after {order:?}");
            }
            drop(held);
            // The tenants take turns, whoever of them is first.
            assert_eq!(
                (order[0], order[3], order[4]),
                ("critical", "second of a", "bulk")
            );
            assert_eq!(handle.snapshot().in_flight, 0);
        }};
    }
    in_turn!(bulkhead());
    in_turn!(adaptive());
}

/// Whom an adaptive limit refuses is told when it would be his turn, once it knows what
/// calls take.
#[test]
fn a_full_queue_tells_the_wait() {
    let time = ManualClock::new();
    let policy = adaptive::Policy::builder().initial_limit(4).min_limit(4);
    let policy = policy.max_limit(4).queue_length(3).max_wait(ms(60_000));
    let policy = policy.window(ms(100)).min_samples(1).build().unwrap();
    let setup = Setup::new().with_clock(time.clock());
    let handle = AdaptiveLayer::with(policy, setup).handle();
    let fill = || std::iter::from_fn(|| handle.admit().ok()).collect::<Vec<_>>();
    let held = fill();
    // Nothing is known yet.
    assert_eq!(handle.admit().unwrap_err().retry_after(), None);
    // Four calls of eight seconds each.
    time.advance(ms(8_000));
    for permit in held {
        permit.finish(Outcome::Success);
    }
    let _held = fill();
    let told = |refused: tower_keep::Rejection| {
        assert_eq!(refused.kind(), RejectionKind::LimitReached);
        refused.retry_after().unwrap().as_secs_f64()
    };
    let at_once = told(handle.admit().unwrap_err());
    assert!((1.9..2.1).contains(&at_once), "{at_once}");
    let mut waiting: Vec<_> = (0..3).map(|_| Hand::new(handle.acquire())).collect();
    for caller in &mut waiting {
        assert!(caller.poll().is_pending());
    }
    let Poll::Ready(Err(refused)) = Hand::new(handle.acquire()).poll() else {
        panic!("no room for a fourth");
    };
    let behind = told(refused);
    assert!((7.6..8.4).contains(&behind), "{behind}");
}
