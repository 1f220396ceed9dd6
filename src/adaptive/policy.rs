//! What an adaptive limit may become.

use std::time::Duration;

use super::algorithm::{Aimd, Algorithm, Gradient, Gradient2, Guarded, Vegas};
use crate::policy::{PolicyError, positive};
use crate::queue::Discipline;

/// What an adaptive limit may become, and by which rule: valid by construction.
///
/// In a file, with all its keys ([notation](crate::policy#policies-in-files)):
///
/// ```toml
/// rule = "gradient2"       # or "gradient", "vegas", "aimd"
/// guarded = true
/// initial_limit = 20
/// min_limit = 10
/// max_limit = 200
/// window = "1s"
/// min_samples = 50
/// queue_length = 20
/// max_wait = "100ms"
/// discipline = "overload"
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder"))]
pub struct Policy {
    pub(super) rule: Rule,
    pub(super) guarded: bool,
    pub(super) initial_limit: u32,
    pub(super) min_limit: u32,
    pub(super) max_limit: u32,
    pub(super) window: Duration,
    pub(super) min_samples: u32,
    pub(super) queue_length: Option<u32>,
    pub(super) max_wait: Duration,
    pub(super) discipline: Discipline,
}

/// The rule by which a limit follows what is measured. An algorithm of your own
/// goes to [`AdaptiveLayer::ruled_by`](super::AdaptiveLayer::ruled_by).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Rule {
    /// [`Gradient2`]: tolerates response times that vary.
    #[default]
    Gradient2,
    /// [`Gradient`]: Envoy's.
    Gradient,
    /// [`Vegas`]: the shortest queue, for response times that vary little.
    Vegas,
    /// [`Aimd`]: for services that say when they are overloaded.
    Aimd,
}

/// The longest window is so many times the shortest.
pub(super) const STRETCH: u32 = 100;

/// Cores of the machine, or of its share of it (`cgroup` quotas are honoured).
fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

impl Policy {
    /// A builder with the defaults.
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// The policy as a builder, to change parts of it.
    pub fn to_builder(self) -> PolicyBuilder {
        PolicyBuilder {
            rule: self.rule,
            guarded: self.guarded,
            initial_limit: Some(self.initial_limit),
            min_limit: Some(self.min_limit),
            max_limit: Some(self.max_limit),
            window: Some(self.window),
            min_samples: Some(self.min_samples),
            queue_length: self.queue_length,
            max_wait: Some(self.max_wait),
            discipline: self.discipline,
        }
    }

    pub(super) fn algorithm(&self) -> Box<dyn Algorithm> {
        fn boxed<A: Algorithm>(algorithm: A, guarded: bool) -> Box<dyn Algorithm> {
            match guarded {
                true => Box::new(Guarded::new(algorithm)),
                false => Box::new(algorithm),
            }
        }
        match self.rule {
            Rule::Gradient2 => boxed(Gradient2::default(), self.guarded),
            Rule::Gradient => boxed(Gradient::default(), self.guarded),
            Rule::Vegas => boxed(Vegas::default(), self.guarded),
            Rule::Aimd => boxed(Aimd::default(), self.guarded),
        }
    }
}

/// The defaults of the builder.
impl Default for Policy {
    fn default() -> Self {
        let initial_limit = DEFAULT_PER_CORE.saturating_mul(cores());
        Self {
            rule: Rule::default(),
            guarded: false,
            initial_limit: initial_limit.min(DEFAULT_MAX),
            min_limit: cores().min(DEFAULT_MAX),
            max_limit: DEFAULT_MAX,
            window: Duration::from_millis(100),
            min_samples: 50,
            queue_length: None,
            max_wait: Duration::from_millis(200),
            discipline: Discipline::default(),
        }
    }
}

const DEFAULT_PER_CORE: u32 = 4;
const DEFAULT_MAX: u32 = 1_000;

/// Makes a [`Policy`].
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct PolicyBuilder {
    rule: Rule,
    guarded: bool,
    initial_limit: Option<u32>,
    min_limit: Option<u32>,
    max_limit: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    window: Option<Duration>,
    min_samples: Option<u32>,
    queue_length: Option<u32>,
    #[cfg_attr(
        feature = "serde",
        serde(deserialize_with = "crate::policy::durations::option")
    )]
    max_wait: Option<Duration>,
    discipline: Discipline,
}

impl PolicyBuilder {
    /// The rule; by default [`Rule::Gradient2`].
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = rule;
        self
    }

    /// Holds the rule back where growth brings no throughput: [`Guarded`].
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// The limit to start with, `min_limit` to `max_limit`; by default four times the
    /// cores of the machine, or the nearest that is allowed.
    pub fn initial_limit(mut self, calls: u32) -> Self {
        self.initial_limit = Some(calls);
        self
    }

    /// The floor: 1 to 1,000,000, by default the cores of the machine, or
    /// `max_limit` if that is less. Fewer calls than cores cannot be too many.
    pub fn min_limit(mut self, calls: u32) -> Self {
        self.min_limit = Some(calls);
        self
    }

    /// The ceiling: `min_limit` to 1,000,000, by default 1,000 as Netflix's and
    /// Envoy's, or `min_limit` if that is more.
    pub fn max_limit(mut self, calls: u32) -> Self {
        self.max_limit = Some(calls);
        self
    }

    /// The shortest time over which the response time is averaged: 1 ms to
    /// 1 hour, by default 100 ms. A window lasts twice the mean response time if
    /// that is longer (up to a hundred times this), and until it has
    /// [`min_samples`](Self::min_samples).
    pub fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// Calls whose time a window must know: 1 to 100,000, by default 50, as many as
    /// Envoy asks for. The mean of fewer varies too much to decide by.
    pub fn min_samples(mut self, calls: u32) -> Self {
        self.min_samples = Some(calls);
        self
    }

    /// Callers that may wait, for [`Queue`](crate::queue::Queue) only (`.queued()`): 0
    /// to 4,294,967,294. By default as many as are served within
    /// [`max_wait`](Self::max_wait): the limit, times that, by the mean response
    /// time. What stands behind those only makes answers late.
    pub fn queue_length(mut self, callers: u32) -> Self {
        self.queue_length = Some(callers);
        self
    }

    /// The longest wait, for [`Queue`](crate::queue::Queue) only (`.queued()`): 1 ns to
    /// 10 years, by default 200 ms: long enough for a burst, and well below what
    /// callers wait for an answer. A deadline in force shortens it.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.max_wait = Some(wait);
        self
    }

    /// In which order the queue serves, and what it gives up; by default first
    /// come first served.
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// The policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the field that is out of range.
    pub fn build(self) -> Result<Policy, PolicyError> {
        let defaults = Policy::default();
        let limit = |field, value: u32, allowed| match value {
            1..=1_000_000 => Ok(value),
            _ => Err(PolicyError::new(field, value, allowed)),
        };
        let allowed = "allowed are 1 to 1000000";
        let most = self.max_limit.unwrap_or(defaults.max_limit);
        let min_limit = match self.min_limit {
            Some(calls) => limit("min_limit", calls, allowed)?,
            None => defaults.min_limit.min(most.max(1)),
        };
        let max_limit = match self.max_limit {
            Some(calls) => limit("max_limit", calls, allowed)?,
            None => defaults.max_limit.max(min_limit),
        };
        if max_limit < min_limit {
            let allowed = "allowed are min_limit to 1000000";
            return Err(PolicyError::new("max_limit", max_limit, allowed));
        }
        let initial_limit = match self.initial_limit {
            Some(calls) if !(min_limit..=max_limit).contains(&calls) => {
                let allowed = "allowed are min_limit to max_limit";
                return Err(PolicyError::new("initial_limit", calls, allowed));
            }
            Some(calls) => calls,
            None => defaults.initial_limit.clamp(min_limit, max_limit),
        };
        let window = positive("window", self.window)?.unwrap_or(defaults.window);
        if !(Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&window) {
            let given = format_args!("{window:?}").to_string();
            return Err(PolicyError::new(
                "window",
                given,
                "allowed are 1 ms to 1 hour",
            ));
        }
        let min_samples = self.min_samples.unwrap_or(defaults.min_samples);
        if !(1..=100_000).contains(&min_samples) {
            let allowed = "allowed are 1 to 100000";
            return Err(PolicyError::new("min_samples", min_samples, allowed));
        }
        let queue_length = self.queue_length;
        if queue_length == Some(u32::MAX) {
            let allowed = "allowed are 0 to 4294967294";
            return Err(PolicyError::new("queue_length", u32::MAX, allowed));
        }
        Ok(Policy {
            rule: self.rule,
            guarded: self.guarded,
            initial_limit,
            min_limit,
            max_limit,
            window,
            min_samples,
            queue_length,
            max_wait: positive("max_wait", self.max_wait)?.unwrap_or(defaults.max_wait),
            discipline: self.discipline.check()?,
        })
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = PolicyError;

    fn try_from(builder: PolicyBuilder) -> Result<Self, PolicyError> {
        builder.build()
    }
}
