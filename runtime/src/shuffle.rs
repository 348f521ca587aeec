//! The order of examples in an epoch: `rand`'s shuffle on our Philox stream.

use rand::seq::SliceRandom;

use crate::philox::{self, Philox};

/// The site of shuffles: draws of scripts have hashed sites and never this one but by chance.
pub const SHUFFLE_SITE: u64 = 0x7368_7566_666c_6531;

/// The numbers `0..n` in the order of one epoch; the same for the same seed and epoch.
pub fn permutation(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut Philox::new(philox::key(seed, SHUFFLE_SITE), epoch));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_permutations_and_differ() {
        for n in [0, 1, 2, 7, 1000] {
            let order = permutation(n, 1, 0);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
            assert_eq!(order, permutation(n, 1, 0));
        }
        assert_ne!(permutation(100, 1, 0), permutation(100, 1, 1));
        assert_ne!(permutation(100, 1, 0), permutation(100, 2, 0));
    }

    #[test]
    fn the_order_is_part_of_the_stream() {
        // A change here (a new `rand`, say) changes everybody's training runs.
        assert_eq!(permutation(10, 1, 0), [9, 0, 1, 8, 5, 7, 6, 4, 2, 3]);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [[0u32; 5]; 5];
        for epoch in 0..5000 {
            for (at, item) in permutation(5, 3, epoch).into_iter().enumerate() {
                counts[at][item] += 1;
            }
        }
        assert!(
            counts
                .as_flattened()
                .iter()
                .all(|&c| (850..1150).contains(&c)),
            "{counts:?}"
        );
    }
}
