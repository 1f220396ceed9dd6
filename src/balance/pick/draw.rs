//! Random numbers for a choice.

use std::cell::Cell;

use crate::kernel::rng;

thread_local! {
    /// A stream of this thread: its seed, and the next place in it.
    static STREAM: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Random numbers: each thread has a stream of its own.
#[derive(Debug)]
pub struct Draw {
    seed: u64,
    place: u64,
}

impl Draw {
    /// Those of this seed: the same each time.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { seed, place: 0 }
    }

    /// This thread's.
    #[inline]
    pub(in crate::balance) fn here() -> Self {
        let stream = STREAM.try_with(Cell::get).unwrap_or_default();
        match stream {
            (0, 0) => Self::begun(),
            (seed, place) => Self { seed, place },
        }
    }

    #[cold]
    fn begun() -> Self {
        Self {
            seed: rand::random(),
            place: 1,
        }
    }

    /// Goes on from here.
    #[inline]
    pub(in crate::balance) fn leave(self) {
        let _ = STREAM.try_with(|stream| stream.set((self.seed, self.place)));
    }

    /// A random word.
    #[inline]
    pub fn word(&mut self) -> u64 {
        let word = rng::word(self.seed, self.place);
        self.place = self.place.wrapping_add(1);
        word
    }

    /// One of the numbers below `n`; 0 if that is 0.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // below `n`
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// Two different numbers below `n`, each pair as likely; the same twice if `n`
    /// is below 2 (Mitzenmacher, "The power of two choices", 2001).
    #[inline]
    pub fn two_below(&mut self, n: usize) -> (usize, usize) {
        if n < 2 {
            return (0, 0);
        }
        let first = self.below(n);
        let second = self.below(n - 1);
        (first, second + usize::from(second >= first))
    }
}
