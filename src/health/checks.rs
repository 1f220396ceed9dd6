//! Ready-made checks: of a number (a queue's lag), of memory and disk, of the layers
//! of a registry.
#![cfg_attr(
    feature = "probe",
    doc = "\nOver the network: [`Tcp`](crate::probe::Tcp), [`Http`](crate::probe::Http), [`Grpc`](crate::probe::Grpc)."
)]

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::policy::PolicyError;
use crate::probe::{Finding, Probe, Probing, Status};
use crate::registry::{Registry, Report};

/// From where on a number warns and fails; without them it never does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
pub struct Bounds {
    warn: Option<u64>,
    fail: Option<u64>,
}

impl Bounds {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// It warns beyond this.
    pub fn warn(mut self, value: u64) -> Self {
        self.warn = Some(value);
        self
    }

    /// It fails beyond this.
    pub fn fail(mut self, value: u64) -> Self {
        self.fail = Some(value);
        self
    }

    /// For a number of which more is worse, or less.
    fn checked(self, is_worse: IsWorse) -> Result<Self, PolicyError> {
        match (self.warn, self.fail) {
            (Some(warn), Some(fail)) if is_worse(&warn, &fail) => {
                let given = format_args!("to fail at {fail} before it warns at {warn}");
                let allowed = "allowed is to warn before it fails";
                Err(PolicyError::new("bounds", given, allowed))
            }
            _ => Ok(self),
        }
    }

    /// What a number means, with the number.
    fn judge(self, is_worse: IsWorse, value: u64, unit: &'static str) -> Finding {
        let beyond = |bound: Option<u64>| bound.is_some_and(|bound| is_worse(&value, &bound));
        let told = || format!("{value} {unit}");
        let finding = match (beyond(self.warn), beyond(self.fail)) {
            (_, true) => Finding::fail(told()),
            (true, false) => Finding::warn(told()),
            (false, false) => Finding::pass(),
        };
        finding.with_observed("utilization", value, unit)
    }
}

type IsWorse = fn(&u64, &u64) -> bool;

/// A number that is known in the process: the lag of a queue, the age of a cache.
/// More of it is worse.
///
/// ```
/// use tower_keep::health::checks::{Bounds, Gauge};
///
/// # fn messages_behind() -> u64 { 0 }
/// let bounds = Bounds::new().warn(100).fail(10_000);
/// let lag = Gauge::new("messages", bounds, messages_behind)?;
/// # let _ = lag;
/// # Ok::<(), tower_keep::PolicyError>(())
/// ```
pub struct Gauge {
    read: Box<dyn Fn() -> u64 + Send + Sync>,
    unit: &'static str,
    bounds: Bounds,
}

impl Gauge {
    /// Reads it by `read`, which must not block.
    ///
    /// # Errors
    /// If it would fail before it warns.
    pub fn new(
        unit: &'static str,
        bounds: Bounds,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, PolicyError> {
        Ok(Self {
            read: Box::new(read),
            unit,
            bounds: bounds.checked(u64::gt)?,
        })
    }
}

impl Probe for Gauge {
    fn probe(&self) -> Probing<'_> {
        Box::pin(async { self.bounds.judge(u64::gt, (self.read)(), self.unit) })
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge")
            .field("unit", &self.unit)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

/// What is told where a check does not know how to look.
const UNKNOWN: &str = "unknown on this system";

/// The resident memory of this process, in bytes. Linux only (`VmRSS` of
/// `/proc/self/status`): elsewhere it warns that it is unknown.
///
/// In liveness, a process that leaks is restarted before the system kills it.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    bounds: Bounds,
}

impl Memory {
    /// More of it is worse.
    ///
    /// # Errors
    /// If it would fail before it warns.
    pub fn new(bounds: Bounds) -> Result<Self, PolicyError> {
        let bounds = bounds.checked(u64::gt)?;
        Ok(Self { bounds })
    }
}

impl Probe for Memory {
    fn probe(&self) -> Probing<'_> {
        // The kernel makes this file from memory: reading it does not block.
        let status = std::fs::read_to_string("/proc/self/status");
        let resident = status.ok().as_deref().and_then(resident);
        let finding = resident.map_or_else(
            || Finding::warn(UNKNOWN),
            |bytes| self.bounds.judge(u64::gt, bytes, "bytes"),
        );
        Box::pin(std::future::ready(finding))
    }
}

fn resident(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let size = lines.find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = size.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The space that is left to users on the file system of a path, in bytes. Unix only:
/// elsewhere it warns that it is unknown.
///
/// The system is asked on a thread of the runtime's pool, since a network file system
/// may hang; while one of its questions hangs, it asks no other.
#[derive(Debug)]
pub struct Disk {
    path: Arc<Path>,
    bounds: Bounds,
    /// Held by the question that is under way.
    asked: Arc<()>,
}

impl Disk {
    /// Of the file system that this path is on. Less of it is worse.
    ///
    /// # Errors
    /// If it would fail before it warns.
    pub fn new(path: impl Into<PathBuf>, bounds: Bounds) -> Result<Self, PolicyError> {
        Ok(Self {
            path: path.into().into(),
            bounds: bounds.checked(u64::lt)?,
            asked: Arc::default(),
        })
    }

    async fn ask(&self) -> Finding {
        if Arc::strong_count(&self.asked) > 1 {
            return Finding::fail("the file system has not answered yet");
        }
        let (path, held) = (Arc::clone(&self.path), Arc::clone(&self.asked));
        let question = tokio::task::spawn_blocking(move || {
            let left = left(&path);
            drop(held);
            left
        });
        match question.await {
            Ok(Ok(Some(bytes))) => self.bounds.judge(u64::lt, bytes, "bytes"),
            Ok(Ok(None)) => Finding::warn(UNKNOWN),
            Ok(Err(error)) => Finding::fail(error.to_string()),
            Err(error) => Finding::fail(error.to_string()),
        }
    }
}

#[cfg(unix)]
fn left(path: &Path) -> std::io::Result<Option<u64>> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.checked_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn left(_: &Path) -> std::io::Result<Option<u64>> {
    Ok(None)
}

impl Probe for Disk {
    fn probe(&self) -> Probing<'_> {
        Box::pin(self.ask())
    }
}

/// What the layers of a registry say of themselves: an open circuit fails, one that
/// is half open and a bulkhead that is full warn, and so does what else reports.
///
/// Give it a [`Criticality`](super::Criticality) of its own: an open circuit is the
/// failure of a dependency, and seldom a reason to get no requests at all.
#[derive(Debug, Clone)]
#[must_use]
pub struct Layers {
    registry: Registry,
    named: Option<String>,
}

impl Layers {
    /// The worst of all layers.
    pub fn of(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            named: None,
        }
    }

    /// Only the layers of this name. If there is none, the check fails.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.named = Some(name.into());
        self
    }

    fn counts(&self, report: &Report) -> bool {
        // Health itself would never recover from having failed.
        let is_named = |name: &String| *name == report.name;
        report.pattern != "health" && self.named.as_ref().is_none_or(is_named)
    }
}

impl Probe for Layers {
    fn probe(&self) -> Probing<'_> {
        let mut reports = self.registry.reports();
        reports.retain(|report| self.counts(report));
        let worst = reports.iter().map(|report| report.status).max();
        let told = || {
            let bad = reports.iter().filter(|report| !report.why.is_empty());
            let told =
                bad.map(|report| format!("{} {}: {}", report.pattern, report.name, report.why));
            told.collect::<Vec<_>>().join(", ")
        };
        let finding = match worst {
            None if self.named.is_some() => Finding::fail("no layer of this name"),
            None | Some(Status::Pass) => Finding::pass(),
            Some(Status::Warn) => Finding::warn(told()),
            Some(Status::Fail) => Finding::fail(told()),
        };
        Box::pin(std::future::ready(finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_warn_before_they_fail() {
        let bounds = Bounds::new().warn(10).fail(20);
        for (value, above, below) in [
            (9, Status::Pass, Status::Fail),
            (10, Status::Pass, Status::Fail),
            (11, Status::Warn, Status::Fail),
            (20, Status::Warn, Status::Pass),
            (21, Status::Fail, Status::Pass),
        ] {
            assert_eq!(bounds.judge(u64::gt, value, "x").status(), above, "{value}");
            let turned = Bounds::new().warn(10).fail(20).judge(u64::lt, value, "x");
            assert_eq!(turned.status(), below, "{value}");
        }
        assert!(bounds.checked(u64::gt).is_ok());
        assert_eq!(bounds.checked(u64::lt).unwrap_err().field(), "bounds");
    }

    #[test]
    fn resident_memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tx\nVmPeak:\t  9 kB\nVmRSS:\t  123456 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(123_456 * 1024));
        assert_eq!(resident("VmRSS:\t12 MB\n"), None);
        assert_eq!(resident("VmRSS:\t99999999999999999999 kB"), None);
        assert_eq!(resident(""), None);
    }
}
