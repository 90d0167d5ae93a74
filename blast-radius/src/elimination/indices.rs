//! The index triples of an operation: one per combination of its choices.

use alloc::vec::Vec;

/// One binary choice of an operation: which index bits of the two operands and of the result it sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) first: u32,
    pub(super) second: u32,
    pub(super) result: u32,
}

/// The index triples of one operation; buffers are kept between operations.
#[derive(Default)]
pub(super) struct Indices {
    first: Vec<u32>,
    second: Vec<u32>,
    result: Vec<u32>,
}

impl Indices {
    pub(super) fn enumerate(&mut self, choices: &[Choice]) {
        for list in [&mut self.first, &mut self.second, &mut self.result] {
            list.clear();
            list.push(0);
        }
        for choice in choices {
            for (list, bit) in
                [(&mut self.first, choice.first), (&mut self.second, choice.second), (&mut self.result, choice.result)]
            {
                for place in 0..list.len() {
                    list.push(list[place] | bit);
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (self.first.iter().zip(&self.second).zip(&self.result))
            .map(|((&i, &j), &k)| (i as usize, j as usize, k as usize))
    }
}
