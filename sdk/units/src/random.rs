//! Randomness that a seed decides.

/// Where randomness comes from. Split it per component, so that a new consumer does not shift the
/// numbers of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(transparent)
)]
pub struct Seed(u64);

impl Seed {
    /// Makes a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the number, to print with the command that replays it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Derives the seed of a component by its name; equal names give equal seeds.
    #[must_use]
    pub fn split(self, component: &str) -> Self {
        // FNV-1a over the name, then mixed with the seed.
        let name = component
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(mix(self.0 ^ mix(name)))
    }

    /// Derives the seed of one of many equal components.
    #[must_use]
    pub const fn split_index(self, index: u64) -> Self {
        Self(mix(self.0 ^ mix(index.wrapping_add(GOLDEN))))
    }

    /// Starts a generator.
    #[must_use]
    pub const fn rng(self) -> Rng {
        Rng { state: self.0 }
    }
}

/// A small generator (SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014), the same bits on every platform. Not for cryptography.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// Returns the next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// Returns a number from 0.0 up to but not including 1.0.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a double")]
    pub const fn next_f64(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a number below `bound`; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_sequence() {
        // First outputs of SplitMix64 from state 0, as printed by its authors' reference code.
        let mut rng = Seed::new(0).rng();
        assert_eq!(rng.next_u64(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.next_u64(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn components_differ_and_repeat() {
        let seed = Seed::new(7);
        assert_eq!(seed.split("race"), seed.split("race"));
        assert_ne!(seed.split("race"), seed.split("abr"));
        assert_ne!(seed.split_index(0), seed.split_index(1));
    }

    #[test]
    fn bounds_hold() {
        let mut rng = Seed::new(1).rng();
        for _ in 0..1000 {
            assert!(rng.below(3) < 3);
            assert!((0.0..1.0).contains(&rng.next_f64()));
        }
        assert_eq!(rng.below(0), 0);
    }
}
