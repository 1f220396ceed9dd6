//! Randomness that can be repeated.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of a random test: that of the environment variable `KEEP_SEED`,
/// else a fresh one. A test that panics while it holds its seed prints it.
///
/// ```
/// use tower_keep::test_util::Seed;
///
/// let seed = Seed::from_env();
/// let _rng = seed.rng(); // the same numbers for the same seed
/// ```
#[derive(Debug)]
#[must_use = "it is printed if the test fails while it holds the seed"]
pub struct Seed(u64);

impl Seed {
    /// The seed in `KEEP_SEED`, or a fresh one.
    ///
    /// # Panics
    /// If `KEEP_SEED` is set and is no number: a test that was meant to repeat
    /// another must not run with something else.
    pub fn from_env() -> Self {
        match std::env::var("KEEP_SEED") {
            Ok(text) => match text.trim().parse() {
                Ok(seed) => Self(seed),
                Err(_) => panic!("KEEP_SEED={text} is not a number from 0 to {}", u64::MAX),
            },
            Err(_) => Self(rand::random()),
        }
    }

    /// This seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Its number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0
    }

    /// A generator that starts from it.
    #[must_use]
    pub fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.0)
    }
}

impl Drop for Seed {
    #[allow(clippy::print_stderr)] // that is what it is for
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat this failure: KEEP_SEED={}", self.0);
        }
    }
}
