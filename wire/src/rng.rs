//! Chance as an argument: one small seeded generator of integers.
//!
//! xoshiro256** 1.0 by Blackman and Vigna (2018, public domain, prng.di.unimi.it/xoshiro256starstar.c), its state
//! filled by `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014) as its authors advise. The same seed gives the same numbers
//! on every machine and in every version: recordings depend on it. Probabilities are ratios of integers; there are no
//! floats. Not for secrets.

use serde::{Deserialize, Serialize};

/// A seeded generator. Cloning it clones its future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose numbers follow from `seed` alone; every seed is good, 0 included.
    pub fn seeded(mut seed: u64) -> Self {
        Self { state: core::array::from_fn(|_| split_mix(&mut seed)) }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `bound`, all equally likely; 0 if `bound` is 0.
    ///
    /// Lemire, "Fast Random Integer Generation in an Interval" (2019): the upper half of a product, with the few
    /// draws that would favour some results drawn again.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let uneven = bound.wrapping_neg() % bound; // 2^64 mod bound
        loop {
            let product = u128::from(self.next_u64()) * u128::from(bound);
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
            if product as u64 >= uneven {
                return (product >> 64) as u64;
            }
        }
    }

    /// True with probability `numerator / denominator`; never for `denominator` 0, always from 1 on.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        denominator != 0 && self.below(denominator) < numerator
    }
}

/// One step of `SplitMix64`.
const fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_authors_programs() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        for expected in [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360] {
            assert_eq!(rng.next_u64(), expected);
        }
        let mut seed = 1_234_567;
        for expected in [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423] {
            assert_eq!(split_mix(&mut seed), expected);
        }
    }

    #[test]
    fn below_is_even_and_bounded() {
        let mut rng = Rng::seeded(0);
        let mut drawn = [0_u32; 6];
        for _ in 0..60_000 {
            drawn[usize::try_from(rng.below(6)).unwrap()] += 1;
        }
        assert!(drawn.iter().all(|&count| count.abs_diff(10_000) < 500), "{drawn:?}");
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        assert!(rng.below(u64::MAX) < u64::MAX);
    }

    #[test]
    fn chance_is_a_ratio() {
        let mut rng = Rng::seeded(7);
        let hits = (0..10_000).filter(|_| rng.chance(1, 4)).count();
        assert!(hits.abs_diff(2_500) < 200, "{hits}");
        assert!(!rng.chance(0, 9) && !rng.chance(1, 0));
        assert!(rng.chance(9, 9) && rng.chance(10, 9));
    }
}
