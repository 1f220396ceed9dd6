//! Where endpoints come from, and what becomes of requests meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::sync::{mpsc, oneshot, watch};
use tower::Service;
use tower::discover::Change as Theirs;
use tower_keep::RejectionKind;
use tower_keep::balance::{
    BoxError, Change, Condition, Discover, Discovered, Endpoint, Handle, Policy, Watch,
};
use tower_keep::clock::Clock;
use tower_keep::deadline::Deadline;

use super::{Ask, World, ask, ask_all, endpoints, in_turn, kind, now, pause, settle, since};
use crate::support::{ms, secs};

/// What the test says, change by change.
struct Told(mpsc::UnboundedReceiver<Result<Change, BoxError>>);

impl Discover for Told {
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

fn told() -> (mpsc::UnboundedSender<Result<Change, BoxError>>, Told) {
    let (tell, told) = mpsc::unbounded_channel();
    (tell, Told(told))
}

/// Fails each time it is asked, and counts.
struct Failing(Arc<AtomicU64>, fn() -> BoxError);

impl Discover for Failing {
    fn poll_change(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Err((self.1)())))
    }
}

fn addresses(handle: &Handle) -> BTreeSet<String> {
    let snapshot = handle.snapshot();
    snapshot.endpoints.into_iter().map(|e| e.address).collect()
}

fn set<const N: usize>(addresses: [&str; N]) -> BTreeSet<String> {
    addresses.into_iter().map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn fault_087_without_an_endpoint_the_wait_is_bounded() {
    let world = World::default();
    let policy = Policy::builder().max_wait(ms(300)).build().unwrap();
    let (_tell, silent) = told();
    let (closed, ended) = told();
    drop(closed);
    let polls = Arc::new(AtomicU64::new(0));
    let failing = Failing(Arc::clone(&polls), || "no".into());
    let panicking = Failing(Arc::new(AtomicU64::new(0)), || panic!("scripted"));
    for mut balance in [
        world.balance(policy.clone(), Vec::new()),
        world.balance(policy.clone(), silent),
        world.balance(policy.clone(), ended),
        world.balance(policy.clone(), failing),
        world.balance(policy.clone(), panicking),
    ] {
        let start = now();
        let refused = kind(ask(&mut balance).await);
        assert_eq!(refused, Some(RejectionKind::NoEndpoint));
        let waited = since(start);
        assert!(waited >= ms(300) && waited <= ms(303), "{waited:?}");
        // A deadline that is nearer ends it as what it is.
        let deadline = Deadline::after(&Clock::default(), ms(50));
        let start = now();
        let refused = deadline.wrap(async { kind(ask(&mut balance).await) }).await;
        assert_eq!(refused, Some(RejectionKind::DeadlineExceeded));
        assert!(since(start) <= ms(53));
        let snapshot = balance.handle().snapshot();
        assert_eq!((snapshot.rejected, snapshot.waiting), (2, 0));
    }
    assert!(
        polls.load(Ordering::Relaxed) < 100,
        "it was asked in a loop"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_wait_it_is_refused_at_once() {
    let world = World::default();
    let policy = Policy::builder().max_wait(ms(0)).build().unwrap();
    let mut balance = world.balance(policy, Vec::new());
    let start = now();
    assert_eq!(
        kind(ask(&mut balance).await),
        Some(RejectionKind::NoEndpoint)
    );
    assert_eq!(since(start), ms(0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_bounded_in_number() {
    let world = World::default();
    let policy = Policy::builder().max_waiting(3).build().unwrap();
    let balance = world.balance(policy, Vec::new());
    let wait = || {
        let mut balance = balance.clone();
        tokio::spawn(async move { kind(ask(&mut balance).await) })
    };
    let waiting = [wait(), wait(), wait()];
    settle().await;
    assert_eq!(balance.handle().snapshot().waiting, 3);
    let start = now();
    let fourth = wait().await.unwrap();
    assert_eq!(
        (fourth, since(start)),
        (Some(RejectionKind::NoEndpoint), ms(0))
    );
    for waiting in waiting {
        waiting.abort();
        let _ = waiting.await;
    }
    assert_eq!(balance.handle().snapshot().waiting, 0);
}

/// Whoever waits is served by the first endpoint that comes: all of them, and at once.
#[tokio::test(start_paused = true)]
async fn all_who_wait_are_served_when_an_endpoint_comes() {
    let world = World::default();
    let (send, receive) = watch::channel(Vec::new());
    let balance = world.balance(Policy::default(), Watch::new(receive));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let mut balance = balance.clone();
            tokio::spawn(async move { ask(&mut balance).await })
        })
        .collect();
    settle().await;
    pause(ms(400)).await;
    let start = now();
    send.send(endpoints(["a"])).unwrap();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok("a".to_owned()));
    }
    assert_eq!(since(start), ms(0));
    let snapshot = balance.handle().snapshot();
    assert_eq!((snapshot.waited, snapshot.waiting), (100, 0));
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_followed_and_its_last_word_stays() {
    let world = World::default();
    let (send, receive) = watch::channel(endpoints(["a"]));
    let mut balance = world.balance(in_turn().build().unwrap(), Watch::new(receive));
    assert_eq!(ask_all(&mut balance, 3).await, ["a"; 3]);
    send.send(endpoints(["b", "c"])).unwrap();
    settle().await;
    assert_eq!(addresses(&balance.handle()), set(["b", "c"]));
    assert_eq!(world.open(), 2);
    drop(send);
    settle().await;
    assert_eq!(ask_all(&mut balance, 2).await.len(), 2);
    assert_eq!(addresses(&balance.handle()), set(["b", "c"]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_tower_is_followed() {
    let world = World::default();
    let (send, mut receive) = mpsc::unbounded_channel::<Theirs<u32, Endpoint>>();
    let stream = tokio_stream(move |cx| receive.poll_recv(cx));
    let mut balance = world.balance(Policy::default(), Discovered::new(stream));
    send.send(Theirs::Insert(1, "a".into())).unwrap();
    send.send(Theirs::Insert(2, "b".into())).unwrap();
    assert!(ask(&mut balance).await.is_ok());
    assert_eq!(addresses(&balance.handle()), set(["a", "b"]));
    // The same key elsewhere.
    send.send(Theirs::Insert(1, "c".into())).unwrap();
    send.send(Theirs::Remove(2)).unwrap();
    send.send(Theirs::Remove(7)).unwrap();
    settle().await;
    assert_eq!(addresses(&balance.handle()), set(["c"]));
    assert_eq!(ask(&mut balance).await, Ok("c".to_owned()));
}

fn tokio_stream<T>(
    mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<T>> + Send,
) -> impl futures_util::Stream<Item = Result<T, BoxError>> + Send {
    futures_util::stream::poll_fn(move |cx| next(cx).map(|next| next.map(Ok)))
}

#[tokio::test(start_paused = true)]
async fn fault_095_duplicates_are_refused_and_a_change_starts_afresh() {
    let world = World::default();
    let twice = vec![
        Endpoint::new("a").weight(2),
        Endpoint::new("a"),
        Endpoint::new("").weight(u32::MAX),
    ];
    let (tell, told) = told();
    let balance = world.balance(Policy::default(), told);
    let handle = balance.handle();
    let mut balance = balance;
    tell.send(Ok(Change::Replace(twice.clone()))).unwrap();
    assert!(ask(&mut balance).await.is_ok());
    let before = handle.snapshot();
    assert_eq!((before.endpoints.len(), before.endpoints_refused), (2, 1));
    assert_eq!(before.endpoints[0].weight, 2);
    // The same again is nothing; another weight is another endpoint.
    tell.send(Ok(Change::Insert(twice[0].clone()))).unwrap();
    settle().await;
    assert_eq!(handle.snapshot().endpoints[0].id, before.endpoints[0].id);
    tell.send(Ok(Change::Insert(Endpoint::new("a").weight(0))))
        .unwrap();
    settle().await;
    let after = handle.snapshot();
    assert_eq!(after.endpoints.len(), 2);
    assert!(
        after
            .endpoints
            .iter()
            .all(|e| e.id != before.endpoints[0].id)
    );
    assert_eq!(world.connects("a"), 2);
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_bounded_in_number() {
    let world = World::default();
    let policy = Policy::builder().max_endpoints(3).build().unwrap();
    let balance = world.balance(policy, endpoints(["a", "b", "c", "d", "e"]));
    let snapshot = balance.handle().snapshot();
    assert_eq!(
        (snapshot.endpoints.len(), snapshot.endpoints_refused),
        (3, 2)
    );
}

/// A removed endpoint finishes what it has; one that returns is another one.
#[tokio::test(start_paused = true)]
async fn what_is_removed_drains() {
    let world = World::default();
    let (send, receive) = watch::channel(endpoints(["a", "b"]));
    let mut balance = world.balance(in_turn().build().unwrap(), Watch::new(receive));
    let handle = balance.handle();
    let mut held = Vec::new();
    for _ in 0..2 {
        let (answer, signal) = oneshot::channel();
        held.push((answer, tokio::spawn(balance.call(Ask::After(signal)))));
    }
    settle().await;
    let first = handle.snapshot();
    assert!(first.endpoints.iter().all(|e| e.in_flight == 1));
    send.send(endpoints(["b"])).unwrap();
    settle().await;
    assert_eq!(ask_all(&mut balance, 5).await, ["b"; 5]);
    assert_eq!(
        handle.snapshot().in_flight,
        2,
        "the drained call counts still"
    );
    send.send(endpoints(["a", "b"])).unwrap();
    settle().await;
    let again = handle.snapshot();
    let a = again.endpoints.iter().find(|e| e.address == "a").unwrap();
    assert!(first.endpoints.iter().all(|e| e.id != a.id));
    assert_eq!((a.in_flight, a.succeeded), (0, 0));
    let mut went = BTreeSet::new();
    for (answer, call) in held {
        answer.send(()).unwrap();
        went.insert(call.await.unwrap().unwrap());
    }
    assert_eq!(went.len(), 2);
    let last = handle.snapshot();
    let a = last.endpoints.iter().find(|e| e.address == "a").unwrap();
    assert_eq!((a.in_flight, a.succeeded, last.in_flight), (0, 0, 0));
}

/// Changes at 10,000 a second while requests come: none is lost, and what there is at
/// the end is what was told last.
#[tokio::test(start_paused = true)]
async fn fault_088_flapping_discovery_loses_nothing() {
    let world = World::default();
    let (tell, told) = told();
    let balance = world.balance(Policy::default(), told);
    tell.send(Ok(Change::Insert("stays".into()))).unwrap();
    let load: Vec<_> = (0..10)
        .map(|_| {
            let mut balance = balance.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    ask(&mut balance).await.unwrap();
                    pause(ms(2)).await;
                }
            })
        })
        .collect();
    let mut alive = BTreeSet::from(["stays".to_owned()]);
    let changes = crate::support::full_scale(10_000, 3_000);
    for n in 0..changes {
        let address = format!("{}", (n * 7_919) % 101);
        let change = match alive.remove(&address) {
            true => Change::Remove(address),
            false => {
                alive.insert(address.clone());
                Change::Insert(Endpoint::new(address))
            }
        };
        tell.send(Ok(change)).unwrap();
        if n % 10 == 0 {
            pause(ms(1)).await;
        }
    }
    for load in load {
        load.await.unwrap();
    }
    settle().await;
    let handle = balance.handle();
    assert_eq!(addresses(&handle), alive);
    let snapshot = handle.snapshot();
    assert!(
        snapshot
            .endpoints
            .iter()
            .all(|e| e.condition == Condition::Usable)
    );
    assert_eq!((snapshot.succeeded, snapshot.in_flight), (5_000, 0));
    assert_eq!(
        (snapshot.failed, snapshot.rejected, snapshot.cancelled),
        (0, 0, 0)
    );
    assert_eq!(
        world.open(),
        alive.len(),
        "connections of the removed are kept"
    );
    assert!(world.most_open() <= 102 + 10, "{}", world.most_open());
}

#[tokio::test(start_paused = true)]
async fn what_discovery_says_after_an_error_counts() {
    let world = World::default();
    let (tell, told) = told();
    let mut balance = world.balance(Policy::default(), told);
    tell.send(Err("no".into())).unwrap();
    tell.send(Ok(Change::Insert("a".into()))).unwrap();
    assert_eq!(ask(&mut balance).await, Ok("a".to_owned()));
    assert_eq!(balance.handle().snapshot().discovery_failed, 1);
    tell.send(Err("no".into())).unwrap();
    pause(secs(5)).await;
    assert_eq!(
        addresses(&balance.handle()),
        set(["a"]),
        "what is known stays"
    );
}
