//! Ready-made checks of what the process has itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tower_keep::clock::Clock;
use tower_keep::health::checks::{Bounds, Disk, Gauge, Memory};
use tower_keep::probe::{Finding, Probe, Status, ask};

use crate::support::secs;

async fn found(probe: impl Probe) -> Finding {
    ask(&probe, secs(10), &Clock::default()).await.finding
}

#[tokio::test]
async fn a_gauge_is_read_anew() {
    let lag = Arc::new(AtomicU64::new(5));
    let read = {
        let lag = lag.clone();
        move || lag.load(Ordering::Relaxed)
    };
    let bounds = Bounds::new().warn(10).fail(20);
    let gauge = Arc::new(Gauge::new("messages", bounds, read).unwrap()) as Arc<dyn Probe>;
    for (value, status) in [(5, Status::Pass), (11, Status::Warn), (21, Status::Fail)] {
        lag.store(value, Ordering::Relaxed);
        let finding = found(gauge.clone()).await;
        assert_eq!(finding.status(), status);
        assert_eq!(
            finding.observed().map(|o| (o.value, o.unit)),
            Some((value, "messages"))
        );
    }
    let turned = Bounds::new().warn(20).fail(10);
    assert!(Gauge::new("x", turned, || 0).is_err() && Memory::new(turned).is_err());
    assert!(Disk::new("/", turned).is_ok() && Disk::new("/", bounds).is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn memory_is_that_of_this_process() {
    let at_most = |bytes| found(Memory::new(Bounds::new().fail(bytes)).unwrap());
    let before = at_most(u64::MAX).await.observed().unwrap().value;
    let ballast = std::hint::black_box(vec![1_u8; 64 << 20]);
    let after = at_most(u64::MAX).await.observed().unwrap().value;
    assert!(
        after >= before + (60 << 20),
        "{before} {after} {}",
        ballast.len()
    );
    assert_eq!(at_most(after / 2).await.status(), Status::Fail);
}

#[cfg(unix)]
#[tokio::test]
async fn disk_is_that_of_the_path() {
    let top = env!("CARGO_MANIFEST_DIR");
    let below = |bytes| found(Disk::new(top, Bounds::new().fail(bytes)).unwrap());
    let all = below(0).await;
    let left = all.observed().unwrap().value;
    assert!(all.status() == Status::Pass && left > 0);
    assert_eq!(below(u64::MAX).await.status(), Status::Fail);
    let missing = found(Disk::new("/does/not/exist", Bounds::new()).unwrap()).await;
    assert_eq!(missing.status(), Status::Fail);
    assert!(missing.output().contains("o such"), "{}", missing.output());
}
