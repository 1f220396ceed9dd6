//! Random words by their place in a stream, so that any of them can be drawn
//! without those before it: `SplitMix64` (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", 2014), whose state only counts.
//!
//! It is our own because a stream must stay the same for ever: a generator from
//! a library may change its stream with a release.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The word at this place of the seed's stream.
#[must_use]
pub const fn word(seed: u64, place: u64) -> u64 {
    let mut z = seed.wrapping_add(place.wrapping_add(1).wrapping_mul(GAMMA));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same as a number from 0 to below 1.
#[must_use]
pub const fn unit(seed: u64, place: u64) -> f64 {
    // As many bits as the number can hold.
    const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
    (word(seed, place) >> 11) as f64 * STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_paper() {
        // The first five of the reference implementation, from this seed.
        let known = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        for (place, known) in (0..).zip(known) {
            assert_eq!(word(1_234_567, place), known);
        }
    }

    #[test]
    fn units_are_uniform() {
        let mut bins = [0_u32; 10];
        for place in 0..100_000 {
            let unit = unit(7, place);
            assert!((0.0..1.0).contains(&unit));
            let bin = (0..10).rev().find(|bin| unit >= f64::from(*bin) / 10.0);
            bins[usize::try_from(bin.unwrap_or(0)).unwrap_or(0)] += 1;
        }
        // Six standard deviations of 100,000 draws into ten bins.
        assert!(
            bins.iter().all(|bin| bin.abs_diff(10_000) < 570),
            "{bins:?}"
        );
    }
}
