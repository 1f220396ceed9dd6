//! Where layers are set up, and where they can be found again.
//!
//! ```
//! use std::time::Duration;
//! use tower_keep::timeout::{Policy, TimeoutLayer};
//! use tower_keep::{Registry, Setup, event};
//!
//! let registry = Registry::new().with_listener(event::Trace);
//! let policy = Policy::builder().attempt(Duration::from_secs(2)).build()?;
//! let layer = TimeoutLayer::with(policy, Setup::named("payments").in_registry(&registry));
//!
//! let reports = registry.reports();
//! assert_eq!(reports[0].name, "payments");
//! # drop(layer);
//! # Ok::<(), tower_keep::PolicyError>(())
//! ```

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Clock;
use crate::error::LayerId;
use crate::event::Listener;
use crate::probe::Status;

/// A name, a clock and listeners for a layer. Everything has a default.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Setup {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) clock: Clock,
    pub(crate) listeners: Vec<Arc<dyn Listener>>,
    pub(crate) registry: Option<Registry>,
}

impl Setup {
    /// The default: the pattern's name, [`Clock::tokio`], no listener.
    pub fn new() -> Self {
        Self::default()
    }

    /// A layer of this name, in events, metrics and the registry.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::default()
        }
    }

    /// The layer's clock. All layers of a stack should share one.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// One more listener.
    pub fn with_listener(mut self, listener: impl Listener) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// Enters the layer into a registry, whose listeners will hear it too.
    pub fn in_registry(mut self, registry: &Registry) -> Self {
        self.registry = Some(registry.clone());
        self
    }
}

/// An optional home for named layers: it lists what they report. Clones are the
/// same registry. Nothing is global, and a layer that nobody uses any more
/// leaves by itself, some time later: threads keep a
/// few handles for the next call ([sharing](crate::docs::sharing)).
#[derive(Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listeners: RwLock<Vec<Arc<dyn Listener>>>,
    members: RwLock<Vec<(LayerId, Weak<dyn Inspect>)>>,
}

/// What a layer's state tells about itself.
pub(crate) trait Inspect: Send + Sync {
    fn report(&self) -> Report;
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more listener for all layers that enter from now on.
    #[must_use]
    pub fn with_listener(self, listener: impl Listener) -> Self {
        self.0.listeners.write().push(Arc::new(listener));
        self
    }

    pub(crate) fn listeners(&self) -> Vec<Arc<dyn Listener>> {
        self.0.listeners.read().clone()
    }

    pub(crate) fn enter(&self, id: LayerId, member: Weak<dyn Inspect>) {
        let mut members = self.0.members.write();
        members.retain(|(_, member)| member.strong_count() > 0);
        members.push((id, member));
    }

    fn members(&self) -> Vec<Arc<dyn Inspect>> {
        let members = self.0.members.read();
        members.iter().filter_map(|(_, m)| m.upgrade()).collect()
    }

    /// What every layer reports, in the order they entered.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.members()
            .iter()
            .map(|member| member.report())
            .collect()
    }

    /// The name of a layer, for example of [`Rejection::layer`](crate::Rejection::layer).
    #[must_use]
    pub fn name(&self, layer: LayerId) -> Option<String> {
        let member = {
            let members = self.0.members.read();
            let (_, member) = members.iter().find(|(id, _)| *id == layer)?;
            member.upgrade()?
        };
        Some(member.report().name)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.reports()).finish()
    }
}

/// What one layer tells about itself: for consoles, exports and tests. Each
/// handle has the same in types: by `snapshot`, `override_in_force` (here `override`) and
/// `callback_panics`.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Report {
    /// The pattern, as its module is called: `"timeout"`, `"bulkhead"`.
    pub pattern: &'static str,
    /// The layer's name.
    pub name: String,
    /// How well it is, as far as the layer can tell: see
    /// [`why`](Self::why). A layer that an operator has closed fails.
    pub status: Status,
    /// Why it is not [`Status::Pass`]: a word from a closed set, else empty.
    pub why: &'static str,
    /// What it has counted and what it is set to.
    #[cfg_attr(feature = "serde", serde(serialize_with = "as_map"))]
    pub values: Vec<(&'static str, Value)>,
}

#[cfg(feature = "serde")]
fn as_map<S: serde::Serializer>(
    values: &[(&'static str, Value)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(name, value)| (name, value)))
}

impl Report {
    /// If it is so, the layer is at best like this, for this reason.
    #[cfg(any(
        feature = "bulkhead",
        feature = "adaptive",
        feature = "circuit-breaker",
        feature = "health",
        feature = "watchdog"
    ))]
    pub(crate) fn at_best(mut self, is_so: bool, status: Status, why: &'static str) -> Self {
        if is_so && status > self.status {
            (self.status, self.why) = (status, why);
        }
        self
    }

    /// The value of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.values.iter().find(|(n, _)| *n == name)?;
        Some(value)
    }
}

/// One value of a [`Report`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(untagged))]
#[non_exhaustive]
pub enum Value {
    /// A count, or a limit.
    Count(u64),
    /// A time; in JSON, seconds.
    Time(#[cfg_attr(feature = "serde", serde(serialize_with = "as_seconds"))] Duration),
    /// A word from a closed set.
    Word(&'static str),
    /// Nothing is known yet; in JSON, null.
    Unknown,
}

#[cfg(feature = "serde")]
fn as_seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Self::Count(count.into())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Into::into)
    }
}

impl From<Duration> for Value {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

#[cfg(all(test, feature = "timeout", feature = "serde", not(keep_loom)))]
mod tests {
    use super::*;
    use crate::event::{Event, Source};
    use crate::policy::Override;
    use crate::timeout::{Policy, TimeoutLayer};

    #[test]
    fn what_nobody_knows_is_null_and_not_zero() {
        let registry = Registry::new();
        let policy = Policy::deadline(Duration::from_secs(2)).unwrap();
        let _layer = TimeoutLayer::with(policy, Setup::new().in_registry(&registry));
        let report = &registry.reports()[0];
        assert_eq!(report.value("remaining_p50"), Some(&Value::Unknown));
        let json = serde_json::to_value(report).unwrap();
        assert_eq!(json["values"]["remaining_p50"], serde_json::Value::Null);
        assert_eq!(json["values"]["finished"], 0);
        let known: Value = Some(Duration::from_millis(1_500)).into();
        assert_eq!(serde_json::to_value(known).unwrap(), 1.5);
    }

    #[test]
    fn a_handle_tells_what_its_report_tells() {
        let registry =
            Registry::new().with_listener(|_: &Source<'_>, _: &Event<'_>| panic!("scripted"));
        let policy = Policy::deadline(Duration::from_secs(2)).unwrap();
        let layer = TimeoutLayer::with(policy, Setup::new().in_registry(&registry));
        let handle = layer.handle();
        for (order, label) in [
            (Override::Bypass, "bypass"),
            (Override::Close, "close"),
            (Override::None, "none"),
        ] {
            handle.set_override(order);
            handle.update(policy);
            let report = &registry.reports()[0];
            assert_eq!(handle.override_in_force(), order);
            assert_eq!(report.value("override"), Some(&label.into()));
            let panics = Some(&handle.callback_panics().into());
            assert_eq!(report.value("callback_panics"), panics);
        }
        assert_eq!(handle.callback_panics(), 3);
    }
}
