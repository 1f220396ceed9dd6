//! What is checked, and what it counts for.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::{PolicyError, positive};
use crate::probe::{Probe, Reach, Schedule};

/// Who asks, and what the answer decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Group {
    /// Whether the process is to be restarted: `/livez`.
    Liveness,
    /// Whether it is to get requests: `/readyz`.
    Readiness,
    /// Whether it has started: `/startupz`. Once it has, it has for ever.
    Startup,
}

impl Group {
    pub(super) const ALL: [Self; 3] = [Self::Liveness, Self::Readiness, Self::Startup];

    /// The name in metrics and events: a closed set.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Startup => "startup",
        }
    }

    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What a check that fails means for its groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Criticality {
    /// They fail.
    #[default]
    Critical,
    /// They warn: the service goes on with less.
    Degrading,
}

/// What a check looks at, as draft-inadarei-api-health-check-06 has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Component {
    /// A part of the software, or another service.
    Component,
    /// Something that keeps data.
    Datastore,
    /// What the process runs on: disk, memory.
    System,
}

impl Component {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Datastore => "datastore",
            Self::System => "system",
        }
    }
}

/// One check: a probe, how often it runs, and what its failure means.
///
/// ```
/// use std::time::Duration;
/// use tower_keep::health::{Check, Criticality};
/// use tower_keep::probe::Schedule;
///
/// # async fn ping() -> Result<(), std::io::Error> { Ok(()) }
/// let every_5_s = Schedule::builder().interval(Duration::from_secs(5)).build()?;
/// let cache = Check::new("cache", ping)
///     .dependency()
///     .schedule(every_5_s)
///     .criticality(Criticality::Degrading);
/// # let _ = cache;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Check {
    pub(super) name: Arc<str>,
    pub(super) probe: Arc<dyn Probe>,
    pub(super) schedule: Schedule,
    pub(super) groups: u8,
    pub(super) criticality: Criticality,
    pub(super) reach: Reach,
    pub(super) stale_after: Option<Duration>,
    pub(super) component: Option<Component>,
    pub(super) affected: Vec<Arc<str>>,
}

impl Check {
    /// A check of this name, for readiness and critical until said otherwise, with
    /// the default [`Schedule`].
    ///
    /// The name is part of paths and documents: 1 to 64 letters, digits, `-`, `_` and
    /// `.`, and no two checks have the same.
    pub fn new(name: impl Into<Arc<str>>, probe: impl Probe) -> Self {
        Self {
            name: name.into(),
            reach: probe.reach(),
            probe: Arc::new(probe),
            schedule: Schedule::default(),
            groups: Group::Readiness.bit(),
            criticality: Criticality::default(),
            stale_after: None,
            component: None,
            affected: Vec::new(),
        }
    }

    /// How often it runs, how long for, and how many answers change what is believed.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The groups it counts for; by default readiness alone.
    pub fn groups(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.groups = groups.into_iter().fold(0, |bits, group| bits | group.bit());
        self
    }

    /// What its failure means; by default that its groups fail.
    pub fn criticality(mut self, criticality: Criticality) -> Self {
        self.criticality = criticality;
        self
    }

    /// It looks at something that can fail while this process is well: a database,
    /// another service. Liveness refuses it, since a restart would not help, and the
    /// restart of all instances at once would do harm. Probes over the network are
    /// dependencies without being told.
    pub fn dependency(mut self) -> Self {
        self.reach = Reach::Outside;
        self
    }

    /// An answer that is older is a failure, for what keeps a check from running
    /// (a blocked runtime, a hung thread) is none of good health: from the longest
    /// interval and the timeout of its schedule to 10 years; by default three times
    /// that.
    pub fn stale_after(mut self, age: Duration) -> Self {
        self.stale_after = Some(age);
        self
    }

    /// What kind of thing it looks at; by default not told.
    pub fn component(mut self, component: Component) -> Self {
        self.component = Some(component);
        self
    }

    /// What callers cannot use while it fails, as URI templates: `"/orders/{id}"`.
    pub fn affects<T: Into<Arc<str>>>(mut self, endpoints: impl IntoIterator<Item = T>) -> Self {
        self.affected = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// The bound of staleness, if all that it says can be.
    pub(super) fn checked(&self) -> Result<Duration, PolicyError> {
        let good = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        if !(1..=64).contains(&self.name.len()) || !self.name.chars().all(good) {
            let given = format_args!("{:?}", self.name);
            let allowed = "allowed are 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(PolicyError::new("name", given, allowed));
        }
        if self.groups & Group::Liveness.bit() != 0 && self.reach == Reach::Outside {
            let given = format_args!("the dependency {:?}", self.name);
            let allowed =
                "allowed are checks of the process itself: restarting it heals nothing else";
            return Err(PolicyError::new("liveness", given, allowed));
        }
        if self.groups == 0 {
            let given = format_args!("no group for {:?}", self.name);
            return Err(PolicyError::new("groups", given, "allowed are one or more"));
        }
        let longest = self.schedule.longest_interval();
        let least = longest.saturating_add(self.schedule.timeout());
        match positive("stale_after", self.stale_after)? {
            Some(age) if age < least => Err(PolicyError::new(
                "stale_after",
                format_args!("{age:?} for {:?}", self.name),
                "allowed is the longest interval and the timeout of the schedule, or more",
            )),
            Some(age) => Ok(age),
            None => Ok(least.saturating_mul(3).max(self.schedule.first())),
        }
    }
}
