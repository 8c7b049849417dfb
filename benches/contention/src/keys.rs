//! Which cells an operation touches: cheap random choices, the same for every contender.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Zipf};

/// How many choices are made in advance; then they come again.
const PREPARED: usize = 8192;

/// A number below `end`, by one multiplication (no division, no rejection: the bias of some 2^-32
/// does not matter here).
#[inline(always)]
pub(crate) fn below(random: u32, end: usize) -> usize {
    ((u64::from(random) * end as u64) >> 32) as usize
}

/// Two different numbers below `end`, and an amount from 1 to 8.
#[inline(always)]
pub(crate) fn uniform_pair(random: &mut SmallRng, end: usize) -> (usize, usize, u64) {
    let bits = random.next_u64();
    let from = below(bits as u32, end);
    let to = (from + 1 + below((bits >> 32) as u32, end - 1)) % end;
    (from, to, 1 + (bits & 7))
}

/// Choices made in advance.
pub(crate) struct Keys {
    keys: Vec<u32>,
    next: usize,
}

impl Keys {
    /// By a Zipf distribution: key `k` of the most wanted ones is chosen in proportion to
    /// `k^-skew`. Frequent keys do not lie side by side.
    pub(crate) fn zipf(random: &mut SmallRng, end: usize, skew: f64) -> Self {
        let zipf = Zipf::new(end as f64, skew).expect("a valid distribution");
        let keys = (0..PREPARED).map(|_| scatter(zipf.sample(random) as usize - 1, end) as u32);
        Keys { keys: keys.collect(), next: random.random_range(0..PREPARED) }
    }

    /// The next choice.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> usize {
        self.next = (self.next + 1) % PREPARED;
        self.keys[self.next] as usize
    }

    /// The next two choices that differ.
    #[inline(always)]
    pub(crate) fn next_pair(&mut self) -> (usize, usize) {
        let from = self.next();
        loop {
            let to = self.next();
            if to != from {
                return (from, to);
            }
        }
    }
}

/// A permutation of the numbers below `end`.
fn scatter(rank: usize, end: usize) -> usize {
    // A prime that does not divide any number of cells in use.
    (rank * 7919 + 4243) % end
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn pairs_differ_and_are_in_range() {
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..10_000 {
            let (from, to, amount) = uniform_pair(&mut random, 7);
            assert!(from != to && from < 7 && to < 7 && (1..=8).contains(&amount));
        }
    }

    #[test]
    fn the_most_wanted_key_has_its_share() {
        let mut keys = Keys::zipf(&mut SmallRng::seed_from_u64(1), 10_000, 0.99);
        let hottest = scatter(0, 10_000);
        let hits = (0..PREPARED).filter(|_| keys.next() == hottest).count();
        // 1 / (sum of k^-0.99 for k up to 10,000) is 0.096.
        assert!((0.08..0.115).contains(&(hits as f64 / PREPARED as f64)), "{hits}");
    }

    #[test]
    fn scattering_is_a_permutation() {
        let mut seen: Vec<usize> = (0..10_000).map(|rank| scatter(rank, 10_000)).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..10_000));
    }
}
