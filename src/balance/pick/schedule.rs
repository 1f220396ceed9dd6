//! Turns in proportion to weights, as evenly as can be.

use super::shares::Shares;

/// Cycles up to this long are written down.
const LONGEST: u64 = 4_096;
/// What writing a cycle down may cost: its length times the number of endpoints.
const DEAREST: u64 = 1 << 18;
/// 2^64 by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Whose turn it is. Every turn is computed from its number alone, so that nobody
/// who takes one waits for another, and takes the same time whatever the weights.
///
/// Weights whose turns repeat after at most 4,096 (5, 1 and 1 do after seven) are
/// served in the order of nginx's smooth round robin, which is exact in every
/// cycle. Others follow a rotation by the golden ratio: an endpoint's turns are
/// then apart by at most three different distances (Sós's three-gap theorem), and
/// after any number of turns its count is right within a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// All weigh the same.
    Equal(usize),
    Cycle(Box<[u32]>),
    Rotation(Shares),
}

impl Schedule {
    /// The schedule of these weights. Who has none has no turn, unless nobody has
    /// any: then all weigh the same.
    pub(crate) fn new(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self::Equal(weights.len());
        }
        let common = weights.iter().fold(0, |a, b| gcd(a, u64::from(*b))).max(1);
        let period = weights.iter().map(|w| u64::from(*w) / common).sum::<u64>();
        if period <= LONGEST && period.saturating_mul(weights.len() as u64) <= DEAREST {
            return Self::Cycle(smooth(weights, common, period));
        }
        Self::Rotation(Shares::new(weights))
    }

    /// Whose turn this is; `None` if there is nobody.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below lengths
    pub(crate) fn at(&self, turn: u64) -> Option<u32> {
        match self {
            Self::Equal(0) => None,
            Self::Equal(n) => Some((turn % *n as u64) as u32),
            Self::Cycle(cycle) => cycle.get((turn % cycle.len() as u64) as usize).copied(),
            Self::Rotation(shares) => shares.at(turn.wrapping_mul(GOLDEN)),
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

/// nginx's smooth weighted round robin: everybody gains its weight, and whoever has
/// most then has the turn, and pays for all.
fn smooth(weights: &[u32], common: u64, period: u64) -> Box<[u32]> {
    let gains = weights.iter().map(|weight| u64::from(*weight) / common);
    let gains: Vec<i64> = gains.filter_map(|gain| i64::try_from(gain).ok()).collect();
    let all: i64 = gains.iter().sum();
    let mut has = vec![0_i64; gains.len()];
    let turn = |_| {
        let mut first = 0;
        for (index, gain) in gains.iter().enumerate() {
            has[index] += gain;
            if has[index] > has[first] {
                first = index;
            }
        }
        has[first] -= all;
        u32::try_from(first).unwrap_or(u32::MAX)
    };
    (0..period).map(turn).collect()
}
