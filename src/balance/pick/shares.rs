//! Draws in proportion to weights, in a time that does not grow with their number.

/// The weights, laid end to end over all words: whose stretch a word falls into
/// says who is drawn. So a random word draws at random, and a turn of the golden
/// ratio draws evenly.
///
/// Where a stretch ends is exact to one word in 2^64. A table of as many places as
/// there are stretches says where to look first (Chen and Asau's guide table), and
/// few places have more than two stretches in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The last word of each stretch.
    lasts: Box<[u64]>,
    /// The stretch in which each place begins, and the last one once more.
    guide: Box<[u32]>,
    /// Whom the stretches belong to.
    whose: Box<[u32]>,
}

impl Shares {
    /// Shares by weights. Who has none is never drawn, unless nobody has any: then
    /// all have the same.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let weight = |weight: u32| match all {
            0 => 1,
            _ => u128::from(weight),
        };
        let all = all.max(if all == 0 { weights.len() as u128 } else { 1 });
        let (mut lasts, mut whose, mut end) = (Vec::new(), Vec::new(), 0_u128);
        for (index, given) in (0..).zip(weights) {
            let own = weight(*given);
            if own > 0 {
                end += own;
                lasts.push(last_of(end, all));
                whose.push(index);
            }
        }
        let places = lasts.len() as u128;
        let mut guide: Vec<u32> = Vec::with_capacity(lasts.len() + 1);
        let mut at = 0;
        for place in 0..places {
            let first = (place << 64).div_ceil(places);
            while lasts.get(at).is_some_and(|last| u128::from(*last) < first) {
                at += 1;
            }
            guide.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
        guide.push(u32::try_from(lasts.len().saturating_sub(1)).unwrap_or(u32::MAX));
        Self {
            lasts: lasts.into(),
            guide: guide.into(),
            whose: whose.into(),
        }
    }

    /// Whose stretch this word falls into; `None` if there is nobody.
    #[inline]
    pub(crate) fn at(&self, word: u64) -> Option<u32> {
        let place = below(word, self.lasts.len());
        let (from, to) = (*self.guide.get(place)?, *self.guide.get(place + 1)?);
        let stretches = self.lasts.get(from as usize..=to as usize)?;
        let mut at = from as usize;
        if let [first, rest @ ..] = stretches
            && *first < word
        {
            at += 1 + rest.partition_point(|last| *last < word);
        }
        self.whose.get(at).copied()
    }
}

/// The last word of a stretch that ends at `end` of `all`.
#[allow(clippy::cast_possible_truncation)] // at most 2^64 - 1
fn last_of(end: u128, all: u128) -> u64 {
    if end >= all {
        return u64::MAX;
    }
    // Fewer than 2^32 weights of 32 bits each.
    (((end << 64) / all) as u64).wrapping_sub(1)
}

/// A number below `n` (or 0), as far into it as the word is into all words.
#[inline]
#[allow(clippy::cast_possible_truncation)] // below `n`
pub(crate) fn below(word: u64, n: usize) -> usize {
    ((u128::from(word) * n as u128) >> 64) as usize
}
