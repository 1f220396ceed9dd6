//! Where endpoints come from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::watch;

use super::endpoint::Endpoint;

/// What discovery failed with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Tells which endpoints there are: a `Vec<Endpoint>`, which never changes, a
/// [`Watch`], or your own.
#[cfg_attr(
    feature = "discover",
    doc = "[`Discovered`] takes any `tower::discover` stream."
)]
///
/// It is polled by the balancer's task alone, never by a request. An error is
/// counted and told, and it is polled again after a pause of the policy's backoff.
/// At its end, and while it fails, the endpoints that are known stay.
pub trait Discover: Send + 'static {
    /// The next change; `None` if there will be none any more.
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>>;
}

/// A change of what endpoints there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// One more. If one of that address is known and is not equal, that one is
    /// removed first; if it is equal, nothing happens.
    Insert(Endpoint),
    /// That of this address is gone.
    Remove(String),
    /// That of this address is this one now.
    Move(String, Endpoint),
    /// These, and no others.
    Replace(Vec<Endpoint>),
}

/// All at once, and no change after that.
impl Discover for Vec<Endpoint> {
    fn poll_change(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        let all = std::mem::take(self);
        Poll::Ready((!all.is_empty()).then_some(Ok(Change::Replace(all))))
    }
}

type Receiver = watch::Receiver<Vec<Endpoint>>;
type Changed = Pin<Box<dyn Future<Output = (Receiver, bool)> + Send>>;

/// The endpoints in a [`tokio::sync::watch`] channel, now and whenever they change.
/// When its sender is gone, the last ones stay.
pub struct Watch {
    /// Resolves to whether there is a value that was not seen.
    changed: Changed,
}

impl Watch {
    /// Those of this channel.
    #[must_use]
    pub fn new(mut receiver: Receiver) -> Self {
        receiver.mark_changed();
        Self {
            changed: changed(receiver),
        }
    }
}

fn changed(mut receiver: Receiver) -> Changed {
    Box::pin(async move {
        let changed = receiver.changed().await.is_ok();
        (receiver, changed)
    })
}

impl Discover for Watch {
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        let (mut receiver, is_changed) = ready!(self.changed.as_mut().poll(cx));
        if !is_changed {
            self.changed = Box::pin(std::future::pending());
            return Poll::Ready(None);
        }
        let all = receiver.borrow_and_update().clone();
        self.changed = changed(receiver);
        Poll::Ready(Some(Ok(Change::Replace(all))))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// The endpoints of a `tower::discover` stream, whose services are endpoints.
#[cfg(feature = "discover")]
#[cfg_attr(docsrs, doc(cfg(feature = "discover")))]
pub struct Discovered<D: tower::discover::Discover> {
    stream: Pin<Box<D>>,
    addresses: std::collections::HashMap<D::Key, String>,
}

#[cfg(feature = "discover")]
impl<D: tower::discover::Discover> Discovered<D> {
    /// Those of this stream.
    #[must_use]
    pub fn new(stream: D) -> Self {
        Self {
            stream: Box::pin(stream),
            addresses: std::collections::HashMap::new(),
        }
    }
}

#[cfg(feature = "discover")]
impl<D> Discover for Discovered<D>
where
    D: tower::discover::Discover + Send + 'static,
    D::Key: std::hash::Hash + Send,
    D::Service: Into<Endpoint>,
    D::Error: Into<BoxError>,
{
    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Change, BoxError>>> {
        use tower::discover::Change as Theirs;
        loop {
            let change = match ready!(self.stream.as_mut().poll_discover(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(Theirs::Insert(key, endpoint))) => {
                    let endpoint = endpoint.into();
                    let address = endpoint.address().to_owned();
                    match self.addresses.insert(key, address.clone()) {
                        Some(old) if old != address => Change::Move(old, endpoint),
                        _ => Change::Insert(endpoint),
                    }
                }
                Some(Ok(Theirs::Remove(key))) => match self.addresses.remove(&key) {
                    Some(address) => Change::Remove(address),
                    None => continue,
                },
            };
            return Poll::Ready(Some(Ok(change)));
        }
    }
}

#[cfg(feature = "discover")]
impl<D: tower::discover::Discover> fmt::Debug for Discovered<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_set();
        all.entries(self.addresses.values()).finish()
    }
}
