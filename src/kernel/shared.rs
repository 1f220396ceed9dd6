//! Handles on a layer's state that cost no locked instruction per call.
//!
//! A `'static` future cannot borrow its layer's state, and one `Arc` clone per
//! call makes every core write the same reference count. [`Shared`] keeps a few
//! spare `Arc`s per thread: `clone` takes one from there, `drop` puts it back.
//!
//! A state can therefore outlive its last handle until the slot is taken by
//! another state or the thread ends; so it must hold no client, socket or task.

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// States that one thread keeps spare handles of, per type.
const SLOTS: usize = 8;
/// Spare handles per state: the calls that are in flight on a thread rise and
/// fall by about this many between two busy moments.
const SPARES: usize = 16;

/// The spare handles of one thread for states of type `T`.
#[derive(Debug)]
pub struct Pool<T> {
    slots: [Slot<T>; SLOTS],
}

#[derive(Debug)]
struct Slot<T> {
    len: usize,
    spares: [Option<Arc<T>>; SPARES],
}

impl<T> Pool<T> {
    /// An empty pool, for a `thread_local!` with a constant initialiser.
    #[must_use]
    #[allow(clippy::new_without_default)] // must be const
    pub const fn new() -> Self {
        Self {
            slots: [const {
                Slot {
                    len: 0,
                    spares: [const { None }; SPARES],
                }
            }; SLOTS],
        }
    }

    fn slot(&mut self, state: *const T) -> &mut Slot<T> {
        // States are at least 128 bytes apart in practice; mix the bits above.
        let hash = (state.addr() as u64 >> 7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // Three bits are left.
        &mut self.slots[usize::try_from(hash >> 61).unwrap_or(0) % SLOTS]
    }

    #[inline]
    fn take(&mut self, state: &Arc<T>) -> Option<Arc<T>> {
        let slot = self.slot(Arc::as_ptr(state));
        let top = slot.len.checked_sub(1)?;
        let same = slot.spares[top]
            .as_ref()
            .is_some_and(|spare| Arc::ptr_eq(spare, state));
        if !same {
            return None;
        }
        slot.len = top;
        slot.spares[top].take()
    }

    /// Gives back what does not fit: the caller drops it outside the borrow,
    /// since dropping a state may run code that comes back here.
    #[inline]
    fn put(&mut self, state: Arc<T>) -> Option<Evicted<T>> {
        let slot = self.slot(Arc::as_ptr(&state));
        let same = match slot.len.checked_sub(1) {
            None => true,
            Some(top) => slot.spares[top]
                .as_ref()
                .is_some_and(|spare| Arc::ptr_eq(spare, &state)),
        };
        if same && slot.len < SPARES {
            slot.spares[slot.len] = Some(state);
            slot.len += 1;
            return None;
        }
        if same {
            return Some(Evicted::One(state));
        }
        // Another state lived here: the newcomer is the busier one.
        let old = std::mem::replace(&mut slot.spares, [const { None }; SPARES]);
        slot.spares[0] = Some(state);
        slot.len = 1;
        Some(Evicted::All(old))
    }
}

/// Handles that left the pool. They are only held until they are dropped.
#[allow(dead_code, clippy::large_enum_variant)]
enum Evicted<T> {
    One(Arc<T>),
    All([Option<Arc<T>>; SPARES]),
}

/// A state that has a pool in each thread.
pub trait Pooled: Sized + Send + Sync + 'static {
    /// Runs `f` on this thread's pool; `None` while the thread is torn down.
    fn with_pool<R>(f: impl FnOnce(&RefCell<Pool<Self>>) -> R) -> Option<R>;
}

/// Implements [`Pooled`] for a concrete type.
macro_rules! pooled {
    ($state:ty) => {
        impl $crate::kernel::shared::Pooled for $state {
            #[inline]
            fn with_pool<R>(
                f: impl FnOnce(&std::cell::RefCell<$crate::kernel::shared::Pool<Self>>) -> R,
            ) -> Option<R> {
                thread_local! {
                    static POOL: std::cell::RefCell<$crate::kernel::shared::Pool<$state>> =
                        const { std::cell::RefCell::new($crate::kernel::shared::Pool::new()) };
                }
                POOL.try_with(f).ok()
            }
        }
    };
}
pub(crate) use pooled;

/// A handle on a layer's state.
pub struct Shared<T: Pooled> {
    /// Empty only inside `drop`.
    state: Option<Arc<T>>,
}

impl<T: Pooled> Shared<T> {
    /// Takes ownership of the state.
    pub fn new(state: T) -> Self {
        Self::from_arc(Arc::new(state))
    }

    /// A handle on a state that others hold as an `Arc`.
    pub fn from_arc(state: Arc<T>) -> Self {
        Self { state: Some(state) }
    }

    /// An `Arc` of the same state, for those who keep it longer than a call.
    #[must_use]
    pub fn to_arc(&self) -> Arc<T> {
        Arc::clone(self.arc())
    }

    #[inline]
    fn arc(&self) -> &Arc<T> {
        match &self.state {
            Some(state) => state,
            // `state` is taken in `drop` only, after which nobody has a `&self`.
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
        let state = self.arc();
        let spare = T::with_pool(|pool| pool.try_borrow_mut().ok()?.take(state)).flatten();
        Self::from_arc(spare.unwrap_or_else(|| Arc::clone(state)))
    }
}

impl<T: Pooled> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            // `None`: the thread is ending or the pool is in use; the closure
            // was dropped with the state, which is all there is to do.
            let evicted =
                T::with_pool(move |pool| pool.try_borrow_mut().ok().and_then(|mut p| p.put(state)));
            drop(evicted);
        }
    }
}

impl<T: Pooled + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
