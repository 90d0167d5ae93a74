//! From the bytes of a label block to what is known of the series, in one look-up.
//!
//! The key is 128 bits: two foldhash values of the block under two seeds drawn at random when the process
//! starts. The first finds the slot, the second verifies it, so that a wrong series is taken only if two
//! different blocks agree in all 128 bits. For hashes that behave at random the odds of any such pair among
//! n blocks are below n^2 / 2^129: 1.5e-25 for ten million. A sender cannot look for such pairs, as it
//! does not know the seeds. Remote write 2.0 interns its strings: each string of a request is hashed once, in
//! the same way, and a series' key chains the hashes of the strings its labels refer to, in order, by
//! multiplication with secret factors. A table holds one tenant, so equal labels of two tenants never meet.

use std::hash::{BuildHasher, Hasher, RandomState};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::stats::Rejection;

/// The seeds of a process.
#[derive(Debug, Clone)]
pub struct BlockHasher {
    slot: FixedState,
    check: FixedState,
    /// Odd numbers by which the hashes of interned strings are chained.
    slot_factor: u64,
    check_factor: u64,
}

impl BlockHasher {
    /// Fresh random seeds.
    #[must_use]
    pub fn random() -> Self {
        // The standard library keys this with bytes from the operating system; SipHash of two messages under
        // such a key gives two seeds that nobody outside can tell.
        let keyed = RandomState::new();
        Self {
            slot: FixedState::with_seed(keyed.hash_one(0_u8)),
            check: FixedState::with_seed(keyed.hash_one(1_u8)),
            slot_factor: keyed.hash_one(2_u8) | 1,
            check_factor: keyed.hash_one(3_u8) | 1,
        }
    }

    /// The key of a label block.
    #[inline]
    #[must_use]
    pub fn key(&self, block: &[u8]) -> BlockKey {
        let hash = |state: &FixedState| {
            let mut hasher = state.build_hasher();
            hasher.write(block);
            hasher.finish()
        };
        BlockKey { slot: hash(&self.slot), check: hash(&self.check) }
    }

    /// The key of a sequence of interned strings, of which `next` is one more by its own key.
    #[inline]
    #[must_use]
    pub fn chain(&self, so_far: BlockKey, next: BlockKey) -> BlockKey {
        BlockKey {
            slot: folded_multiply(so_far.slot ^ next.slot, self.slot_factor),
            check: folded_multiply(so_far.check ^ next.check, self.check_factor),
        }
    }
}

/// High and low half of the product in one: each bit depends on all bits of both.
#[inline]
fn folded_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

/// 128 bits that stand for a label block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockKey {
    slot: u64,
    check: u64,
}

impl BlockKey {
    /// Where a chain of interned strings begins.
    pub const CHAIN: Self = Self { slot: 0x243f_6a88_85a3_08d3, check: 0x1319_8a2e_0370_7344 };

    /// The key of what is made of this series, such as the count of its native histograms.
    #[must_use]
    pub fn derived(self, part: u8) -> Self {
        let turn = u32::from(part) + 1;
        Self { slot: self.slot.rotate_left(turn), check: !self.check.rotate_left(turn) }
    }
}

/// What is known of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// No rule selects it.
    Ignored,
    /// It breaks a rule of its own labels and is rejected each time.
    Rejected(Rejection),
    /// It feeds the windows.
    Selected {
        /// Index of the scope.
        scope: u32,
        /// Handle in the scope's windows.
        series: u32,
        /// Replica it comes from; 0 for none.
        replica: u32,
    },
}

#[derive(Debug)]
struct Entry {
    key: BlockKey,
    binding: Binding,
    seen_seconds: u32,
}

/// The series of one tenant.
#[derive(Debug, Default)]
pub struct SeriesTable {
    entries: HashTable<Entry>,
}

impl SeriesTable {
    /// The binding under `key`, if the series is known; notes that it was seen at `now_seconds`.
    #[inline]
    pub fn find(&mut self, key: BlockKey, now_seconds: u32) -> Option<Binding> {
        let entry = self.entries.find_mut(key.slot, |entry| entry.key == key)?;
        entry.seen_seconds = now_seconds;
        Some(entry.binding)
    }

    /// Remembers a series that [`SeriesTable::find`] did not know.
    pub fn insert(&mut self, key: BlockKey, binding: Binding, now_seconds: u32) {
        let entry = Entry { key, binding, seen_seconds: now_seconds };
        self.entries.insert_unique(key.slot, entry, |entry| entry.key.slot);
    }

    /// Forgets series not seen since `seconds`, and says how many.
    pub fn forget_before(&mut self, seconds: u32) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.seen_seconds >= seconds);
        before - self.entries.len()
    }

    /// Forgets series whose binding is `gone`, and says how many.
    pub fn forget(&mut self, gone: impl Fn(Binding) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(|entry| !gone(entry.binding));
        before - self.entries.len()
    }

    /// Series known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<Entry>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_their_whole_key() {
        let hasher = BlockHasher::random();
        let mut table = SeriesTable::default();
        for index in 0..10_000_u32 {
            let key = hasher.key(&index.to_le_bytes());
            assert_eq!(table.find(key, 0), None);
            table.insert(key, Binding::Selected { scope: 0, series: index, replica: 0 }, 0);
        }
        for index in 0..10_000_u32 {
            let found = table.find(hasher.key(&index.to_le_bytes()), 1);
            assert_eq!(found, Some(Binding::Selected { scope: 0, series: index, replica: 0 }));
        }
        assert_eq!(table.len(), 10_000);
    }

    #[test]
    fn a_slot_that_agrees_in_half_the_key_is_another_series() {
        let mut table = SeriesTable::default();
        table.insert(BlockKey { slot: 1, check: 2 }, Binding::Ignored, 0);
        assert_eq!(table.find(BlockKey { slot: 1, check: 3 }, 0), None);
    }

    #[test]
    fn chains_tell_order_and_boundaries_apart() {
        let hasher = BlockHasher::random();
        let chain = |strings: &[&str]| {
            strings.iter().fold(BlockKey::CHAIN, |key, text| hasher.chain(key, hasher.key(text.as_bytes())))
        };
        assert_eq!(chain(&["a", "b"]), chain(&["a", "b"]));
        let others = [vec!["b", "a"], vec!["ab"], vec!["a"], vec!["a", "b", ""], vec!["", "a", "b"]];
        for other in others {
            assert_ne!(chain(&["a", "b"]), chain(&other), "{other:?}");
        }
        assert_ne!(chain(&["a"]).derived(0), chain(&["a"]).derived(1));
        assert_ne!(chain(&["a"]).derived(0), chain(&["a"]));
    }

    #[test]
    fn idle_series_are_forgotten() {
        let mut table = SeriesTable::default();
        table.insert(BlockKey { slot: 1, check: 1 }, Binding::Ignored, 10);
        table.insert(BlockKey { slot: 2, check: 2 }, Binding::Ignored, 10);
        table.find(BlockKey { slot: 2, check: 2 }, 99);
        assert_eq!(table.forget_before(50), 1);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn seeds_differ_between_processes() {
        assert_ne!(BlockHasher::random().key(b"x"), BlockHasher::random().key(b"x"));
    }
}
