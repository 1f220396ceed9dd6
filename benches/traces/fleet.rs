//! A balancer before endpoints whose capacity is known, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower_keep::balance::{Balance, BalanceFuture, Discover, Endpoint, Policy, by};
use tower_keep::classify::ErrorsOnly;
use tower_keep::clock::{ManualClock, Tick};
use tower_keep::release::OnHead;
use tower_keep::{Error, Setup};
use tower_service::Service;

use super::{Random, nanos};

/// Calls that an endpoint serves at once; others wait there.
const WORKERS: usize = 4;
/// What an endpoint takes for a call in the mean, if it is not slow.
const SERVICE: Duration = Duration::from_millis(10);
/// After so long an endpoint that fails has failed.
const FAILS_IN: Duration = Duration::from_micros(100);

/// Endpoints, by how many times slower than the others they are; a negative one fails
/// at once.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) name: &'static str,
    pub(crate) slowness: Vec<f64>,
}

/// A fleet of a hundred that are alike, and one of three generations of machines, of
/// which one is sick.
pub(crate) fn fleets() -> [Fleet; 2] {
    let generation = |place: usize| [1.0, 1.5, 2.0][place % 3];
    let mut mixed: Vec<f64> = (0..100).map(generation).collect();
    mixed[0] = 20.0;
    [
        Fleet {
            name: "alike",
            slowness: vec![1.0; 100],
        },
        Fleet {
            name: "three generations, one of them sick",
            slowness: mixed,
        },
    ]
}

impl Fleet {
    /// Calls a second that all of them serve, if each gets what it can serve.
    #[allow(clippy::cast_precision_loss)] // a few
    pub(crate) fn capacity(&self) -> f64 {
        let works = self.slowness.iter().filter(|slowness| **slowness > 0.0);
        let served = works.map(|slowness| WORKERS as f64 / SERVICE.as_secs_f64() / slowness);
        served.sum()
    }

    /// Their addresses are their places.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let all = 0..self.slowness.len();
        all.map(|place| Endpoint::new(place.to_string())).collect()
    }
}

/// How often requests come, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    pub(crate) per_second: f64,
    pub(crate) requests: usize,
}

/// A request that has ended.
#[allow(dead_code)] // the bench asks for the time alone
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) came: Duration,
    pub(crate) took: Duration,
    pub(crate) place: usize,
}

#[derive(Clone)]
struct Server {
    place: usize,
    fails: bool,
    /// Tells who was asked last.
    asked: Arc<AtomicUsize>,
}

/// Ends at its second poll.
struct Answer {
    fails: bool,
    was_polled: bool,
}

#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Future for Answer {
    type Output = Result<(), Error<Broken>>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if !std::mem::replace(&mut self.was_polled, true) {
            return Poll::Pending;
        }
        Poll::Ready(match self.fails {
            true => Err(Error::Inner(Broken)),
            false => Ok(()),
        })
    }
}

impl Service<()> for Server {
    type Response = ();
    type Error = Error<Broken>;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Answer {
        self.asked.store(self.place, Ordering::Relaxed);
        Answer {
            fails: self.fails,
            was_polled: false,
        }
    }
}

type Call = Pin<Box<BalanceFuture<Server, (), OnHead, ErrorsOnly>>>;

fn poll(call: &mut Call) -> Poll<Result<(), Error<Broken>>> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Runs a fleet under this load, with these endpoints of it. `news` hears the time
/// before each request.
pub(crate) fn run<D: Discover + Unpin>(
    fleet: &Fleet,
    policy: Policy,
    offered: Offered,
    endpoints: D,
    news: impl FnMut(Duration),
) -> Vec<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run_within(fleet, policy, offered, endpoints, news))
}

async fn run_within<D: Discover + Unpin>(
    fleet: &Fleet,
    policy: Policy,
    offered: Offered,
    endpoints: D,
    mut news: impl FnMut(Duration),
) -> Vec<Ended> {
    let time = ManualClock::new();
    let start = time.clock().now().as_nanos();
    let asked = Arc::new(AtomicUsize::new(0));
    let factory = by({
        let (asked, slowness) = (Arc::clone(&asked), fleet.slowness.clone());
        move |endpoint: &Endpoint| {
            let place = endpoint.address().parse().expect("a place");
            Server {
                place,
                fails: slowness[place] < 0.0,
                asked: Arc::clone(&asked),
            }
        }
    });
    let setup = Setup::new().with_clock(time.clock());
    let mut balance = Balance::with(policy, endpoints, factory, setup);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    // When each worker of each endpoint is free.
    let free = || BinaryHeap::from(vec![Reverse(0); WORKERS]);
    let mut free: Vec<_> = fleet.slowness.iter().map(|_| free()).collect();
    // Those in flight by their ends, and by when and where they began.
    let mut ends = BinaryHeap::new();
    let mut calls: Vec<Option<Call>> = Vec::new();
    let mut ended = Vec::with_capacity(offered.requests);
    let since_start = |at: u64| Duration::from_nanos(at - start);
    let mut now = start;
    for request in 0..offered.requests {
        let pause = Duration::from_secs_f64(-random.share().ln() / offered.per_second);
        now += nanos(pause);
        while let Some(Reverse((end, came, place, call))) = ends.peek().copied() {
            if end > now {
                break;
            }
            ends.pop();
            time.set(Tick::from_nanos(end));
            let call: Option<&mut Option<Call>> = calls.get_mut(call);
            if let Some(mut call) = call.and_then(Option::take) {
                assert!(poll(&mut call).is_ready(), "an answer at its end");
            }
            ended.push(Ended {
                came: since_start(came),
                took: Duration::from_nanos(end - came),
                place,
            });
        }
        time.set(Tick::from_nanos(now));
        news(since_start(now));
        if request % 16 == 0 {
            // The balancer's own task has its turn.
            tokio::task::yield_now().await;
        }
        let mut call = Box::pin(balance.call(()));
        assert!(poll(&mut call).is_pending(), "an endpoint takes it");
        let place = asked.load(Ordering::Relaxed);
        let slowness = fleet.slowness[place];
        let end = if slowness < 0.0 {
            now + nanos(FAILS_IN)
        } else {
            let worker = free[place].pop().map_or(0, |Reverse(at)| at);
            let took = SERVICE.mul_f64(-random.share().ln() * slowness);
            let end = worker.max(now) + nanos(took);
            free[place].push(Reverse(end));
            end
        };
        ends.push(Reverse((end, now, place, calls.len())));
        calls.push(Some(call));
    }
    ended
}

/// The time that this share of calls was not above, in milliseconds.
pub(crate) fn quantile(ended: &[Ended], per_mille: usize) -> f64 {
    let mut times: Vec<Duration> = ended.iter().map(|ended| ended.took).collect();
    times.sort_unstable();
    let rank = (times.len() * per_mille / 1_000).min(times.len().saturating_sub(1));
    times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

/// The second half, when everything has settled.
pub(crate) fn settled(ended: &[Ended]) -> &[Ended] {
    &ended[ended.len() / 2..]
}
