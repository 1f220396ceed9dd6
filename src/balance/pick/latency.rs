//! How long an endpoint takes, by how much it has to do: what a Prequal server
//! would answer to a probe.

use crate::kernel::sync::{AtomicU32, Ordering};

/// Calls in flight are told apart one by one up to eight, then by halves of powers of
/// two, up to 96 and more.
const BANDS: usize = 16;
/// How far one call moves a median: if it were further, endpoints would be told apart
/// by the noise of the latest few.
const STRIDE: u32 = OCTAVE / 64;
const OCTAVE: u32 = 1 << 10;

/// A running median for each band of calls in flight: it goes to where the latest
/// call was, but by a 64th of an octave at the most. So it stays near the
/// median however far off some calls are (Ma, Muthukrishnan and Sandler, "Frugal
/// streaming for estimating quantiles", 2013).
#[derive(Debug, Default)]
pub(crate) struct ByLoad {
    /// Codes; 0 where nothing is known.
    bands: [AtomicU32; BANDS],
}

/// A time as a logarithm, in 1,024ths of an octave: 1 to 65,536.
#[inline]
pub(crate) fn code(nanos: u64) -> u32 {
    let nanos = nanos.max(1);
    let octave = 63 - nanos.leading_zeros();
    // The ten bits behind the first one.
    let rest = (nanos << (63 - octave)) >> 53 & u64::from(OCTAVE - 1);
    (octave << 10) + u32::try_from(rest).unwrap_or(0) + 1
}

fn band(in_flight: u32) -> usize {
    if in_flight < 8 {
        return in_flight as usize;
    }
    let power = 31 - in_flight.leading_zeros();
    let half = in_flight >> (power - 1) & 1;
    ((2 * power + 2 + half) as usize).min(BANDS - 1)
}

impl ByLoad {
    /// A call took so long while so many were in flight.
    #[inline]
    pub(crate) fn record(&self, in_flight: u32, nanos: u64) {
        let (code, band) = (code(nanos), &self.bands[band(in_flight)]);
        let next = |old: u32| match old {
            0 => Some(code),
            old => {
                let next = code.clamp(old.saturating_sub(STRIDE), old + STRIDE);
                (next != old).then_some(next)
            }
        };
        let _ = band.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// A call that says nothing good took so long: it counts if that is longer than
    /// is known.
    pub(crate) fn record_worse(&self, in_flight: u32, nanos: u64) {
        if code(nanos) > self.estimate(in_flight) {
            self.record(in_flight, nanos);
        }
    }

    /// The code of what a call takes while so many are in flight; where there have
    /// not been so many, of the nearest number; 0 if there have not been any.
    pub(crate) fn estimate(&self, in_flight: u32) -> u32 {
        let own = band(in_flight);
        let near = (0..BANDS).flat_map(|by| [own.checked_sub(by), own.checked_add(by)]);
        near.flatten()
            .filter_map(|band| self.bands.get(band))
            .map(|band| band.load(Ordering::Relaxed))
            .find(|code| *code != 0)
            .unwrap_or(0)
    }
}
