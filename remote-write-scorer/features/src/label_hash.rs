//! One number for one set of labels.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

/// 128 bits by two hashes with random seeds: two different series collide with negligible probability, and nobody
/// can aim at it.
#[derive(Debug, Clone, Default)]
pub struct LabelHasher([RandomState; 2]);

impl LabelHasher {
    /// The number of these labels, in this order.
    pub fn hash<'a>(&self, labels: &(impl Iterator<Item = (&'a str, &'a str)> + Clone)) -> u128 {
        let digest = |hasher: &RandomState| {
            let mut state = hasher.build_hasher();
            for (name, value) in labels.clone() {
                // Lengths first, so that ("a", "bc") and ("ab", "c") differ.
                state.write_usize(name.len());
                state.write(name.as_bytes());
                state.write_usize(value.len());
                state.write(value.as_bytes());
            }
            u128::from(state.finish())
        };
        let [high, low] = &self.0;
        digest(high) << 64 | digest(low)
    }
}
