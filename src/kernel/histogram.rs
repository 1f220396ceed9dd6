//! A histogram of durations in fixed memory: for each power of two of
//! nanoseconds eight buckets, so that a quantile is at most 12.5 % too high.

use std::time::Duration;

use super::sync::{AtomicU64, Ordering};
use crate::clock::nanos;

const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// Powers of two; under loom, which counts every step, hardly any.
const POWERS: usize = if cfg!(keep_loom) { 4 } else { 64 };
/// The first powers, exact, share the place of one.
const BUCKETS: usize = (POWERS - SUB_BITS as usize + 1) * SUB;

/// Counts durations. Recording is one relaxed add, on a line that depends on
/// the value.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

#[allow(clippy::cast_possible_truncation)] // three bits, and below 64
fn bucket(value: u64) -> usize {
    if value < SUB as u64 {
        return value as usize;
    }
    let top = 63 - value.leading_zeros();
    let sub = (value >> (top - SUB_BITS)) as usize & (SUB - 1);
    (top - SUB_BITS + 1) as usize * SUB + sub
}

/// The highest value in a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB {
        return bucket as u64;
    }
    let shift = bucket / SUB - 1;
    let next = (SUB + bucket % SUB + 1) as u128;
    u64::try_from((next << shift) - 1).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts one.
    #[inline]
    pub fn record(&self, value: Duration) {
        self.buckets[bucket(nanos(value))].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all.
    #[cfg(feature = "hedge")]
    pub fn clear(&self) {
        for bucket in &self.buckets {
            if bucket.load(Ordering::Relaxed) != 0 {
                bucket.swap(0, Ordering::Relaxed);
            }
        }
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    /// The value that `per_mille` thousandths of all are not above, at most
    /// 12.5 % too high; `None` if there are none.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Option<Duration> {
        quantile(&[self], per_mille).1
    }
}

/// The same of all that these have counted, and how many that is.
pub(super) fn quantile(all: &[&Histogram], per_mille: u32) -> (u64, Option<Duration>) {
    let count = all.iter().map(|histogram| histogram.count()).sum();
    let rank = (u128::from(count) * u128::from(per_mille.min(1000))).div_ceil(1000);
    let mut seen = 0u128;
    for bucket in 0..BUCKETS {
        let here = all
            .iter()
            .map(|h| h.buckets[bucket].load(Ordering::Relaxed));
        seen += here.map(u128::from).sum::<u128>();
        if seen >= rank.max(1) {
            return (count, Some(Duration::from_nanos(upper(bucket))));
        }
    }
    (count, None)
}

#[cfg(all(test, not(keep_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_match_a_sorted_list(
            mut values in prop::collection::vec(any::<u64>().prop_flat_map(|v| (0..64u32).prop_map(move |s| v >> s)), 1..200),
            per_mille in 0u32..=1000,
        ) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(Duration::from_nanos(*value));
            }
            values.sort_unstable();
            let rank = (values.len() * per_mille as usize).div_ceil(1000).max(1);
            let exact = u128::from(values[rank - 1]);
            let got = histogram.quantile(per_mille).unwrap().as_nanos();
            prop_assert!(got >= exact && got <= exact + exact / 8 + 1, "{got} for {exact}");
            prop_assert_eq!(histogram.count(), values.len() as u64);
        }
    }
}
