//! Real time as ticks.

use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Tick;

/// The [`Tick::ZERO`] of every clock that counts real time.
#[derive(Clone, Copy)]
struct Origin {
    instant: Instant,
    /// Its [`digits`], where they count nanoseconds.
    digits: Option<u64>,
}

/// An hour before the first reading, because the paused time of a test may have
/// begun earlier.
#[inline]
fn start() -> &'static Origin {
    static ORIGIN: OnceLock<Origin> = OnceLock::new();
    ORIGIN.get_or_init(|| {
        let now = Instant::now();
        let instant = now.checked_sub(Duration::from_secs(3600)).unwrap_or(now);
        let digits = are_nanos(instant).then(|| digits(instant));
        Origin { instant, digits }
    })
}

/// `None` if the system's clock cannot tell it.
pub(super) fn instant_of(tick: Tick) -> Option<tokio::time::Instant> {
    let since = Duration::from_nanos(tick.as_nanos());
    let instant = start().instant.checked_add(since);
    instant.map(tokio::time::Instant::from_std)
}

#[inline]
pub(super) fn tick_of(instant: Instant) -> Tick {
    since(start(), instant)
}

#[inline]
fn since(start: &Origin, instant: Instant) -> Tick {
    if let Some(zero) = start.digits {
        let since = digits(instant).wrapping_sub(zero);
        // What seems to lie in the last of five centuries lies before the start.
        return Tick::from_nanos(if since > BEFORE { 0 } else { since });
    }
    told(start, instant)
}

/// What the standard library says.
#[cold]
fn told(start: &Origin, instant: Instant) -> Tick {
    Tick::ZERO.saturating_add(instant.saturating_duration_since(start.instant))
}

/// 511 years, in nanoseconds.
const BEFORE: u64 = u64::MAX - (u64::MAX >> 3);

/// The seconds and nanoseconds of an instant as one number, of which only
/// differences mean anything.
///
/// The standard library tells the distance of two instants and nothing else, and
/// takes longer for it than for a whole admission. What is hashed of an instant
/// are the two numbers it consists of, and reading them costs nothing; since
/// nobody promises that, [`are_nanos`] makes sure of it before it is relied on.
#[inline]
fn digits(instant: Instant) -> u64 {
    let mut digits = Digits(0);
    instant.hash(&mut digits);
    digits.0
}

/// Whether digits grow by one a nanosecond: within a second, across its end, and
/// over hours and years.
fn are_nanos(from: Instant) -> bool {
    let zero = digits(from);
    [1, 999_999_999, 1_000_000_000, 1 << 43, 1 << 58]
        .into_iter()
        .all(|nanos| {
            let later = from.checked_add(Duration::from_nanos(nanos));
            later.is_some_and(|later| digits(later).wrapping_sub(zero) == nanos)
        })
}

/// Takes whole numbers, each worth a thousand million of those after it.
struct Digits(u64);

impl Hasher for Digits {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.wrapping_mul(1_000_000_000).wrapping_add(number);
    }

    #[inline]
    fn write_i64(&mut self, number: i64) {
        self.write_u64(number.cast_unsigned());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    /// An instant of something else: all are alike, and found out.
    fn write(&mut self, _: &[u8]) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Before the start, after it, and across every second's end.
        #[test]
        fn digits_are_nanoseconds(
            back in any::<bool>(),
            seconds in (0..34u32).prop_flat_map(|bits| 0..=1u64 << bits),
            centuries in 0..4u64,
            nanos in prop_oneof![0..1_000_000_000u32, Just(0), Just(1), Just(999_999_999)],
        ) {
            let start = start();
            prop_assert!(start.digits.is_some(), "not on this platform");
            let instant = match back {
                true => start.instant.checked_sub(Duration::new(seconds >> 3, nanos)),
                false => {
                    let seconds = (seconds >> 2) + centuries * 100 * 365 * 86_400;
                    start.instant.checked_add(Duration::new(seconds, nanos))
                }
            };
            if let Some(instant) = instant {
                prop_assert_eq!(since(start, instant), told(start, instant));
            }
        }
    }
}
