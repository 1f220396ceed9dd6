//! Handles on a layer's state that cost no locked instruction per call.
//!
//! A `'static` future cannot borrow its layer's state, and one `Arc` clone per
//! call makes every core write the same reference count. [`Shared`] keeps a few
//! spare `Arc`s per thread: `clone` takes one from there, `drop` puts it back.
//!
//! A state can therefore outlive its last handle until the slot is taken by
//! another state or the thread ends; so it must hold no client, socket or task.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::sync::graveyard;

/// Places for states of one type, per thread. A state has one place, by its
/// address; one that finds it taken drives the other out.
const PLACES: usize = 8;
/// Spare handles behind the first: the calls that are in flight on a thread rise
/// and fall by about this many between two busy moments.
const SPARES: usize = 16;

/// The spare handles of one thread for states of type `T`.
pub struct Pool<T: Send + 'static> {
    /// Nearly every call is served from here: apart, so that a place is found by
    /// a shift.
    firsts: [Cell<Option<Arc<T>>>; PLACES],
    mores: [RefCell<Stack<T>>; PLACES],
}

impl<T: Send + 'static> Drop for Pool<T> {
    /// The thread ends.
    fn drop(&mut self) {
        for (first, more) in self.firsts.iter().zip(&mut self.mores) {
            let more = more.get_mut().spares.iter_mut();
            first
                .take()
                .into_iter()
                .chain(more.filter_map(Option::take))
                .for_each(bury);
        }
    }
}

/// Lets go of a state where it must not be dropped: a thread that is ending has
/// lost other thread-local values already, and what the state owns (its map of
/// keys, the user's listeners) may panic without them, which would end the
/// process.
#[cold]
fn bury<T: Send + 'static>(state: Arc<T>) {
    if let Some(last) = Arc::into_inner(state) {
        graveyard::bury(Box::new(last));
    }
}

struct Stack<T> {
    len: usize,
    spares: [Option<Arc<T>>; SPARES],
}

impl<T: Send + 'static> Pool<T> {
    /// An empty pool, for a `thread_local!` with a constant initialiser.
    #[must_use]
    #[allow(clippy::new_without_default)] // must be const
    pub const fn new() -> Self {
        Self {
            firsts: [const { Cell::new(None) }; PLACES],
            mores: [const {
                RefCell::new(Stack {
                    len: 0,
                    spares: [const { None }; SPARES],
                })
            }; PLACES],
        }
    }

    #[inline]
    fn place(state: &Arc<T>) -> usize {
        // States lie at least 128 bytes apart. Fibonacci hashing: high bits.
        let hash = (Arc::as_ptr(state).addr() >> 7).wrapping_mul(0x9E37_79B9);
        (hash >> 16) % PLACES
    }

    #[inline]
    fn take(&self, state: &Arc<T>) -> Option<Arc<T>> {
        let place = Self::place(state);
        match self.firsts[place].take() {
            Some(spare) if Arc::ptr_eq(&spare, state) => Some(spare),
            first => self.take_more(place, state, first),
        }
    }

    /// Returns what did not fit, for the caller to drop: dropping a state may
    /// run code that comes back here.
    #[inline]
    fn put(&self, state: Arc<T>) -> Option<Arc<T>> {
        let place = Self::place(&state);
        match self.firsts[place].replace(Some(state)) {
            None => None,
            Some(old) => self.put_more(place, old),
        }
    }

    #[cold]
    fn take_more(&self, place: usize, state: &Arc<T>, first: Option<Arc<T>>) -> Option<Arc<T>> {
        if first.is_some() {
            // Another state's.
            self.firsts[place].set(first);
            return None;
        }
        let mut more = self.mores[place].try_borrow_mut().ok()?;
        let top = more.len.checked_sub(1)?;
        if !more.spares[top]
            .as_ref()
            .is_some_and(|spare| Arc::ptr_eq(spare, state))
        {
            return None;
        }
        more.len = top;
        more.spares[top].take()
    }

    #[cold]
    fn put_more(&self, place: usize, old: Arc<T>) -> Option<Arc<T>> {
        let Ok(mut more) = self.mores[place].try_borrow_mut() else {
            return Some(old);
        };
        let len = more.len;
        if len == SPARES {
            return Some(old);
        }
        let top = len.checked_sub(1).and_then(|top| more.spares[top].as_ref());
        if top.is_some_and(|spare| !Arc::ptr_eq(spare, &old)) {
            // Left over from a state that was driven out: its turn to go.
            let stale = std::mem::replace(&mut more.spares, [const { None }; SPARES]);
            more.spares[0] = Some(old);
            more.len = 1;
            drop(more);
            drop(stale);
            return None;
        }
        more.spares[len] = Some(old);
        more.len = len + 1;
        None
    }
}

impl<T: Send + 'static> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pool")
    }
}

/// A state that has a pool in each thread.
pub trait Pooled: Sized + Send + Sync + 'static {
    /// Runs `f` on this thread's pool; `None` while the thread is torn down.
    fn with_pool<R>(f: impl FnOnce(&Pool<Self>) -> R) -> Option<R>;
}

/// Implements [`Pooled`] for a concrete type.
macro_rules! pooled {
    ($state:ty) => {
        impl $crate::kernel::shared::Pooled for $state {
            #[inline]
            fn with_pool<R>(f: impl FnOnce(&$crate::kernel::shared::Pool<Self>) -> R) -> Option<R> {
                thread_local! {
                    static POOL: $crate::kernel::shared::Pool<$state> =
                        const { $crate::kernel::shared::Pool::new() };
                }
                POOL.try_with(f).ok()
            }
        }
    };
}
pub(crate) use pooled;

/// Another `Arc` of the same state, from the pool if it has one.
#[inline]
pub fn lend<T: Pooled>(state: &Arc<T>) -> Arc<T> {
    T::with_pool(|pool| pool.take(state))
        .flatten()
        .unwrap_or_else(|| Arc::clone(state))
}

/// The end of what [`lend`] gave.
#[inline(always)] // a call costs as much as all of it
pub fn give_back<T: Pooled>(state: Arc<T>) {
    let mut state = Some(state);
    let left = T::with_pool(|pool| pool.put(state.take()?)).flatten();
    if left.is_some() || state.is_some() {
        let_go(left, state);
    }
}

/// The pool had no room for one, or the thread is being torn down, and its pool is
/// gone.
#[cold]
#[inline(never)]
fn let_go<T: Pooled>(left: Option<Arc<T>>, orphan: Option<Arc<T>>) {
    drop(left);
    if let Some(state) = orphan {
        bury(state);
    }
}

/// A handle on a layer's state, for services, which are cloned and dropped per
/// connection or even per call.
pub struct Shared<T: Pooled> {
    /// Empty only inside `drop`.
    state: Option<Arc<T>>,
}

impl<T: Pooled> Shared<T> {
    /// Takes ownership of the state.
    #[cfg(all(test, not(keep_loom)))]
    pub(crate) fn new(state: T) -> Self {
        Self::from_arc(Arc::new(state))
    }

    /// A handle on a state that others hold as an `Arc`.
    #[must_use]
    pub fn from_arc(state: Arc<T>) -> Self {
        Self { state: Some(state) }
    }

    /// The state, to lend it to a call.
    #[must_use]
    #[inline]
    pub fn arc(&self) -> &Arc<T> {
        match &self.state {
            Some(state) => state,
            // It is taken in `drop` only, after which nobody has a `&self`.
            None => unreachable!("a handle is used after its drop"),
        }
    }
}

impl<T: Pooled> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.arc()
    }
}

impl<T: Pooled> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self::from_arc(lend(self.arc()))
    }
}

impl<T: Pooled> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            give_back(state);
        }
    }
}

impl<T: Pooled + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
