//! Time on a core, which others who use the machine do not lengthen.

use std::time::Duration;

/// How long this thread has been on a core, where Linux tells.
pub(crate) fn busy() -> Option<Duration> {
    // Brings the kernel's account up to date.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}
