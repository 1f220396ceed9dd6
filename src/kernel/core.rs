//! What every layer's state begins with: who it is, its clock, who listens,
//! what an operator has ordered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::counter::Counters;
use super::sync::{AtomicU32, Ordering, graveyard, ids};
use crate::classify::Outcome;
use crate::clock::Clock;
use crate::error::{LayerId, Rejection};
use crate::event::{Event, Listener, Source};
use crate::policy::Override;
use crate::probe::Status;
use crate::registry::{Inspect, Registry, Report, Setup, Value};

/// The common part of the layers' states.
#[derive(Debug)]
pub struct Core {
    id: LayerId,
    pattern: &'static str,
    name: Arc<str>,
    clock: Clock,
    listeners: Box<[Arc<dyn Listener>]>,
    callback_panics: Counters<1>,
    order: AtomicU32,
}

impl Core {
    /// A core as the setup says; the registry is for [`enter`].
    pub(crate) fn new(pattern: &'static str, setup: Setup) -> (Self, Option<Registry>) {
        graveyard::clear();
        let mut listeners = setup.listeners;
        if let Some(registry) = &setup.registry {
            listeners.extend(registry.listeners());
        }
        let core = Self {
            id: LayerId(ids::next_layer()),
            pattern,
            name: setup.name.unwrap_or_else(|| pattern.into()),
            clock: setup.clock,
            listeners: listeners.into(),
            callback_panics: Counters::with_owned(0),
            order: AtomicU32::new(0),
        };
        (core, setup.registry)
    }

    /// Unique among the layers of the process.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The name of its setup, or the pattern's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its clock.
    #[inline]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What an operator has ordered.
    #[inline]
    pub fn order(&self) -> Override {
        Override::from_word(self.order.load(Ordering::Relaxed))
    }

    /// Whether an operator has ordered anything.
    #[inline]
    pub fn is_overruled(&self) -> bool {
        self.order.load(Ordering::Relaxed) != 0
    }

    /// Orders it to do this from now on.
    pub fn set_order(&self, order: Override) {
        self.set_order_word(order.to_word());
    }

    /// The order as a word: a pattern may know more of them than all do.
    pub fn order_word(&self) -> u32 {
        self.order.load(Ordering::Relaxed)
    }

    /// Orders it by a word.
    pub fn set_order_word(&self, order: u32) {
        self.order.store(order, Ordering::Relaxed);
    }

    /// Whether anybody listens.
    #[inline]
    pub fn is_heard(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// Tells the listeners.
    #[inline]
    pub fn tell(&self, event: Event<'_>) {
        if self.is_heard() {
            self.tell_all(&event);
        }
    }

    /// Tells how a call ended. The event is built only where somebody listens.
    #[inline]
    pub fn tell_finished(&self, outcome: Outcome) {
        if self.is_heard() {
            self.tell_all(&Event::Finished(outcome));
        }
    }

    #[cold]
    fn tell_all(&self, event: &Event<'_>) {
        let source = Source {
            pattern: self.pattern,
            name: &self.name,
            layer: self.id,
        };
        for listener in &self.listeners {
            let told = catch_unwind(AssertUnwindSafe(|| listener.on_event(&source, event)));
            if let Err(panic) = told {
                self.callback_panics.add(0, 1);
                drop_quietly(panic);
            }
        }
    }

    /// Tells of a refusal and hands it on.
    #[cold]
    pub fn reject(&self, rejection: Rejection) -> Rejection {
        self.tell(Event::Rejected(rejection));
        rejection
    }

    /// Runs a callback of the user; `None` if it panics.
    #[inline]
    pub fn contain<R>(&self, what: &str, callback: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(callback)) {
            Ok(result) => Some(result),
            Err(panic) => {
                drop_quietly(panic);
                self.panicked(what);
                None
            }
        }
    }

    /// Counts and tells of a callback that has panicked.
    #[cold]
    pub fn panicked(&self, what: &str) {
        self.callback_panics.add(0, 1);
        self.tell(Event::CallbackPanicked(what));
    }

    /// How many callbacks have panicked.
    pub fn callback_panics(&self) -> u64 {
        self.callback_panics.sum(0)
    }

    /// A report that begins with what all have.
    pub fn report(&self, values: impl IntoIterator<Item = (&'static str, Value)>) -> Report {
        let order = match self.order() {
            Override::None => "none",
            Override::Bypass => "bypass",
            Override::Close => "close",
        };
        let common = [
            ("override", Value::Word(order)),
            ("callback_panics", self.callback_panics().into()),
        ];
        let (status, why) = match self.order() {
            Override::Close => (Status::Fail, "closed"),
            Override::None | Override::Bypass => (Status::Pass, ""),
        };
        Report {
            pattern: self.pattern,
            name: self.name.to_string(),
            status,
            why,
            values: values.into_iter().chain(common).collect(),
        }
    }
}

/// Runs foreign code whose panic is nobody's affair here.
pub(super) fn quietly(f: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
        drop_quietly(panic);
    }
}

/// Dropping what somebody panicked with can panic once more.
pub(crate) fn drop_quietly(panic: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // This one is not worth a third try: leak it.
        Box::leak(again);
    }
}

/// Enters a state into the registry of its setup.
pub(crate) fn enter<T: Inspect + 'static>(registry: Option<Registry>, id: LayerId, state: &Arc<T>) {
    if let Some(registry) = registry {
        let member: std::sync::Weak<T> = Arc::downgrade(state);
        registry.enter(id, member);
    }
}
