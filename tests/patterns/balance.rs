//! The balancer: where requests go, where endpoints come from, what becomes of them.

mod abuse;
mod checks;
mod choice;
mod connections;
mod discovery;
mod health;
mod steering;
mod storm;
mod told;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;
use tower::Service;
use tower_keep::balance::{Balance, Discover, Endpoint, Policy, PolicyBuilder, RoundRobin};
use tower_keep::clock::{Clock, Tick};
use tower_keep::test_util::Broken;
use tower_keep::{AsRejection, Error, RejectionKind, Setup};

pub(crate) type Fail = Error<Broken>;

/// All servers that there are, by address, and what the factory does.
#[derive(Debug, Clone, Default)]
pub(crate) struct World(Arc<Mutex<All>>);

#[derive(Debug, Default)]
struct All {
    servers: BTreeMap<String, Server>,
    /// Connections that were begun, with the order they were begun in.
    connects: Vec<String>,
    calls: BTreeMap<String, u64>,
    open: usize,
    most_open: usize,
    delay: Duration,
}

/// How a server behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    /// Connecting fails.
    pub(crate) refuses: bool,
    /// Connecting never ends.
    pub(crate) hangs: bool,
    /// The factory panics.
    pub(crate) panics: bool,
    /// Connections are not ready.
    pub(crate) busy: bool,
    /// Connections up to this one are dead.
    pub(crate) dead_up_to: usize,
    /// Calls fail.
    pub(crate) fails: bool,
    wakers: Vec<WakerBox>,
}

#[derive(Debug, Clone)]
struct WakerBox(Waker);

impl World {
    fn all<R>(&self, f: impl FnOnce(&mut All) -> R) -> R {
        f(&mut self.0.lock().unwrap())
    }

    /// Changes a server, and wakes who waits for its readiness.
    pub(crate) fn set(&self, address: &str, change: impl FnOnce(&mut Server)) {
        let wakers = self.all(|all| {
            let server = all.servers.entry(address.to_owned()).or_default();
            change(server);
            std::mem::take(&mut server.wakers)
        });
        wakers.into_iter().for_each(|waker| waker.0.wake());
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.all(|all| all.delay = delay);
    }

    /// The connections made so far to this address.
    pub(crate) fn connects(&self, address: &str) -> usize {
        self.all(|all| all.connects.iter().filter(|to| *to == address).count())
    }

    /// Every connection made so far dies.
    pub(crate) fn kill(&self, address: &str) {
        let connects = self.all(|all| all.connects.len());
        self.set(address, |server| server.dead_up_to = connects);
    }

    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        self.all(|all| all.calls.clone())
    }

    /// Connections that are open: calls do not count.
    pub(crate) fn open(&self) -> usize {
        self.all(|all| all.open)
    }

    pub(crate) fn most_open(&self) -> usize {
        self.all(|all| all.most_open)
    }

    pub(crate) fn factory(
        &self,
    ) -> impl Service<Endpoint, Response = Conn, Error = Broken, Future: Send + 'static>
    + Send
    + Unpin
    + use<> {
        let world = self.clone();
        tower::service_fn(move |endpoint: Endpoint| {
            let world = world.clone();
            let address = endpoint.address().to_owned();
            let (server, number, delay) = world.all(|all| {
                all.connects.push(address.clone());
                let server = all.servers.entry(address.clone()).or_default();
                (server.clone(), all.connects.len(), all.delay)
            });
            assert!(!server.panics, "scripted");
            async move {
                if !delay.is_zero() {
                    pause(delay).await;
                }
                if server.hangs {
                    std::future::pending::<()>().await;
                }
                if server.refuses {
                    return Err(Broken("refused"));
                }
                Ok(Conn::open(world, address, number))
            }
        })
    }

    pub(crate) fn balance(
        &self,
        policy: Policy,
        endpoints: impl Discover + Unpin,
    ) -> Balance<Conn> {
        Balance::with(policy, endpoints, self.factory(), Setup::new())
    }
}

/// A connection; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Conn(Arc<Open>);

#[derive(Debug)]
struct Open {
    world: World,
    address: String,
    number: usize,
}

impl Conn {
    fn open(world: World, address: String, number: usize) -> Self {
        world.all(|all| {
            all.open += 1;
            all.most_open = all.most_open.max(all.open);
        });
        Self(Arc::new(Open {
            world,
            address,
            number,
        }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.world.all(|all| all.open -= 1);
    }
}

/// What is asked of a server.
#[derive(Debug)]
pub(crate) enum Ask {
    /// An answer at once.
    Now,
    /// An answer when this says so.
    After(oneshot::Receiver<()>),
}

impl Service<Ask> for Conn {
    type Response = String;
    type Error = Fail;
    type Future = Pin<Box<dyn Future<Output = Result<String, Fail>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        let open = &self.0;
        open.world.all(|all| {
            let server = all.servers.entry(open.address.clone()).or_default();
            if open.number <= server.dead_up_to {
                return Poll::Ready(Err(Error::Inner(Broken("dead"))));
            }
            if server.busy {
                server.wakers.push(WakerBox(cx.waker().clone()));
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let address = self.0.address.clone();
        let fails = self.0.world.all(|all| {
            *all.calls.entry(address.clone()).or_default() += 1;
            all.servers.get(&address).is_some_and(|server| server.fails)
        });
        Box::pin(async move {
            if let Ask::After(signal) = ask {
                let _ = signal.await;
            }
            match fails {
                true => Err(Error::Inner(Broken("failed"))),
                false => Ok(address),
            }
        })
    }
}

pub(crate) fn endpoints<const N: usize>(addresses: [&str; N]) -> Vec<Endpoint> {
    addresses.into_iter().map(Endpoint::from).collect()
}

/// In turn, so that a test knows what comes.
pub(crate) fn in_turn() -> PolicyBuilder {
    Policy::builder().picker(RoundRobin::default())
}

/// Where one request went, or why it did not.
pub(crate) async fn ask(balance: &mut Balance<Conn>) -> Result<String, Fail> {
    crate::support::call(balance, Ask::Now).await
}

/// Where so many requests went.
pub(crate) async fn ask_all(balance: &mut Balance<Conn>, times: u32) -> Vec<String> {
    let mut went = Vec::new();
    for _ in 0..times {
        went.push(ask(balance).await.unwrap());
    }
    went
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, Fail>) -> Option<RejectionKind> {
    let rejection = result.err()?.as_rejection()?;
    Some(rejection.kind())
}

/// Lets the other tasks run until none has anything to do.
pub(crate) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn now() -> Tick {
    Clock::default().now()
}

pub(crate) fn since(start: Tick) -> Duration {
    now().saturating_since(start)
}

pub(crate) async fn pause(time: Duration) {
    let due = now().saturating_add(time);
    Clock::default().sleep_until(due).await.unwrap();
}
