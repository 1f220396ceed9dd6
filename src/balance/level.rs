//! How requests are spread over levels of priority, and when a level panics:
//! Envoy's formulas.

use crate::policy::Ratio;

/// How many of a level's endpoints are fit for use, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fitness {
    pub(super) fit: usize,
    pub(super) all: usize,
}

/// What a level gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portion {
    /// Of a hundred requests.
    pub(super) percent: u32,
    /// So few are fit that more would break under the load of all: it uses all that
    /// it has, fit or not.
    pub(super) panics: bool,
}

/// Spreads requests over levels, the first of which is to be used first.
///
/// A level is as good as whole while `factor` percent of its fit endpoints are all
/// that it has: by Envoy's 140, while 71.4 % of it are fit. What it cannot take goes
/// to the next one; all together take everything, however few they are. A level
/// panics if less than `panic` of it is fit and others cannot stand in for it.
pub(super) fn spread(levels: &[Fitness], factor: u32, panic: Ratio) -> Vec<Portion> {
    let health = |level: &Fitness| {
        let scaled = u128::from(factor) * level.fit as u128;
        let percent = scaled.checked_div(level.all as u128).unwrap_or(0);
        u32::try_from(percent).unwrap_or(u32::MAX).min(100)
    };
    let sum: u32 = levels.iter().map(health).fold(0, u32::saturating_add);
    let total = sum.min(100);
    let mut left = 100;
    let mut portions: Vec<Portion> = Vec::with_capacity(levels.len());
    for level in levels {
        let share = health(level) * 100;
        let percent = share.checked_div(total).unwrap_or(0).min(left);
        left -= percent;
        let all = level.all as u64;
        portions.push(Portion {
            percent,
            panics: total < 100 && all > 0 && !panic.is_reached(level.fit as u64, all),
        });
    }
    // What is lost by rounding, or all if nobody is fit: to the first that takes
    // anything, else to the first that has anybody.
    let first = portions.iter().position(|portion| portion.percent > 0);
    let first = first.or_else(|| levels.iter().position(|level| level.all > 0));
    if let Some(portion) = first.and_then(|first| portions.get_mut(first)) {
        portion.percent += left;
    }
    portions
}
