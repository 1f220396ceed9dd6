//! Seeded randomness that stays the same for ever.
//!
//! A seed must give the same arrivals and the same service times on every machine and with every
//! version of every dependency, or two runs cannot be compared. A generator from a library may
//! change its stream with a release, so the example has its own: `SplitMix64`.

#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// `stream` keeps the users of one seed apart.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `(0, 1]`, so that its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        (f64::from(high) + 1.0) / 4_294_967_296.0
    }

    /// The time to the next arrival of a Poisson process, in seconds.
    pub(crate) fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let count = u64::try_from(last + 1).unwrap_or(u64::MAX);
            let chosen = usize::try_from(self.next() % count).unwrap_or(0);
            items.swap(last, chosen);
        }
    }
}

/// Values dealt like cards: every round deals the whole deck, in a new order.
///
/// A heavy tail needs thousands of independent samples before its mean settles, and a run has
/// fewer. A deck of the quantiles has the exact mean after each round, so that an upstream's
/// capacity is a number and not a matter of luck.
#[derive(Debug)]
pub(crate) struct Deck<T> {
    cards: Vec<T>,
    dealt: usize,
    random: Random,
}

impl<T: Copy> Deck<T> {
    /// A deck of `size` cards: `card` makes one from the middle of its quantile.
    pub(crate) fn new(size: u32, random: Random, card: impl Fn(f64) -> T) -> Self {
        let cards: Vec<T> = (0..size)
            .map(|n| card((f64::from(n) + 0.5) / f64::from(size)))
            .collect();
        let dealt = cards.len();
        Self {
            cards,
            dealt,
            random,
        }
    }

    pub(crate) fn cards(&self) -> &[T] {
        &self.cards
    }

    pub(crate) fn deal(&mut self) -> Option<T> {
        if self.dealt >= self.cards.len() {
            self.random.shuffle(&mut self.cards);
            self.dealt = 0;
        }
        let card = self.cards.get(self.dealt).copied();
        self.dealt += 1;
        card
    }
}
