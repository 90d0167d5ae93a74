//! From seeds to inputs: a few random changes of one seed, some of them in terms of what the bytes are.
//!
//! An input is a function of corpus, seed and index alone, so that whatever broke can be made again.

mod bytes;
mod lines;
mod message;

use crate::random::Random;

/// Longest input.
pub const MAX_BYTES: usize = 1 << 14;

/// What the bytes of a target are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Nothing in particular.
    Bytes,
    /// A protobuf message: fields are moved, repeated and changed with their lengths kept right.
    Message,
    /// Lines of text: they are moved, repeated, indented and joined.
    Lines,
}

/// Input number `index` of a run.
#[must_use]
pub fn input(corpus: &[Vec<u8>], shape: Shape, seed: u64, index: u64) -> Vec<u8> {
    let mut random = Random::new(seed, index);
    let mut input = random.choose(corpus).cloned().unwrap_or_default();
    for _ in 0..=random.below(5) {
        let structured = !random.one_in(3);
        match shape {
            Shape::Message if structured => message::change(&mut input, corpus, &mut random),
            Shape::Lines if structured => lines::change(&mut input, corpus, &mut random),
            _ => bytes::change(&mut input, corpus, &mut random),
        }
        input.truncate(MAX_BYTES);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn the_same_seed_and_index_give_the_same_input_and_others_give_others() {
        for target in TARGETS {
            let corpus = target.corpus();
            let of = |index| input(&corpus, target.shape, 7, index);
            let inputs: std::collections::BTreeSet<_> = (0..200).map(of).collect();
            assert!(inputs.len() > 150, "{}: {} different of 200", target.name, inputs.len());
            assert_eq!(of(11), of(11));
            assert!(inputs.iter().all(|input| input.len() <= MAX_BYTES));
        }
    }
}
