//! From the bytes of a label block to what is known of the series, in one look-up.
//!
//! The key is 128 bits: two foldhash values of the block under two seeds drawn at random when the process
//! starts. The first finds the slot, the second verifies it, so that a wrong series is taken only if two
//! different blocks agree in all 128 bits. For hashes that behave at random the odds of any such pair among
//! n blocks are below n^2 / 2^129: 1.5e-25 for ten million. A sender cannot look for such pairs, as it
//! does not know the seeds. Remote write 2.0 interns its strings: each string of a request is hashed once, in
//! the same way, and each half of a series' key is the sum over its labels of a folded product of the hashes of name
//! and value, to which the label's place is mixed. The terms of a sum do not wait for each other, and two sets of
//! labels that differ differ in a term that is random to everybody outside, which the others cancel with odds of
//! 2^-64. All factors are hashes under the secret seeds or mixed with a secret: one that is zero, which would hide
//! the other, comes with odds of 2^-64 per label.
//! A table holds one tenant, so equal labels of two tenants never meet.

use std::hash::{BuildHasher, Hasher, RandomState};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::stats::Rejection;

/// The seeds of a process.
#[derive(Debug, Clone)]
pub struct BlockHasher {
    slot: FixedState,
    check: FixedState,
    /// What the hashes of interned values are mixed with, so that they are never those of names.
    slot_secret: u64,
    check_secret: u64,
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
            slot_secret: keyed.hash_one(2_u8),
            check_secret: keyed.hash_one(3_u8),
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

    /// The key of a sequence of labels that has this one at `place`, by the keys of its interned name and value, and
    /// the others by `so_far`.
    #[inline]
    #[must_use]
    pub fn with_label(&self, so_far: BlockKey, place: u64, name: BlockKey, value: BlockKey) -> BlockKey {
        let turned = place.wrapping_mul(PLACE);
        let slot = folded_multiply(name.slot.wrapping_add(turned), value.slot ^ self.slot_secret);
        let check = folded_multiply(name.check.wrapping_add(turned), value.check ^ self.check_secret);
        BlockKey { slot: so_far.slot.wrapping_add(slot), check: so_far.check.wrapping_add(check) }
    }
}

/// An odd number without a pattern (the fraction of the golden ratio): places far apart from each other.
const PLACE: u64 = 0x9e37_79b9_7f4a_7c15;

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
    /// The key of no label.
    pub const NO_LABEL: Self = Self { slot: 0x243f_6a88_85a3_08d3, check: 0x1319_8a2e_0370_7344 };

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

/// A series and its [`Binding`], in half a cache line.
#[derive(Debug)]
struct Entry {
    key: BlockKey,
    /// [`IGNORED`] and [`REJECTED`] are none.
    scope: u32,
    /// The reason's place in [`Rejection::ALL`] where it is rejected.
    series: u32,
    replica: u32,
    seen_seconds: u32,
}

const IGNORED: u32 = u32::MAX;
const REJECTED: u32 = u32::MAX - 1;

impl Entry {
    fn new(key: BlockKey, binding: Binding, seen_seconds: u32) -> Self {
        let (scope, series, replica) = match binding {
            Binding::Ignored => (IGNORED, 0, 0),
            Binding::Rejected(reason) => (REJECTED, reason as u32, 0),
            Binding::Selected { scope, series, replica } => (scope, series, replica),
        };
        Self { key, scope, series, replica, seen_seconds }
    }

    #[inline]
    fn binding(&self) -> Binding {
        let &Self { scope, series, replica, .. } = self;
        match scope {
            IGNORED => Binding::Ignored,
            REJECTED => Rejection::ALL.get(series as usize).map_or(Binding::Ignored, |&why| Binding::Rejected(why)),
            _ => Binding::Selected { scope, series, replica },
        }
    }
}

/// The series of one tenant, in the order of their first sight.
///
/// Senders repeat themselves in order: the entry after the one found last is tried first, which spares the walk
/// to a random place in memory. A wrong guess costs one comparison.
#[derive(Debug, Default)]
pub struct SeriesTable {
    entries: Vec<Entry>,
    /// Positions in `entries`, by key.
    positions: HashTable<u32>,
    expected: usize,
}

impl SeriesTable {
    /// The binding under `key`, if the series is known; notes that it was seen at `now_seconds`.
    #[inline]
    pub fn find(&mut self, key: BlockKey, now_seconds: u32) -> Option<Binding> {
        if self.entries.get(self.expected).is_none_or(|entry| entry.key != key) {
            let entries = &self.entries;
            let is_it = |&position: &u32| entries.get(position as usize).is_some_and(|entry| entry.key == key);
            self.expected = *self.positions.find(key.slot, is_it)? as usize;
        }
        let entry = self.entries.get_mut(self.expected)?;
        self.expected += 1;
        entry.seen_seconds = now_seconds;
        Some(entry.binding())
    }

    /// Remembers a series that [`SeriesTable::find`] did not know. No more than 2^32 are remembered: far beyond
    /// every limit.
    pub fn insert(&mut self, key: BlockKey, binding: Binding, now_seconds: u32) {
        if let Ok(position) = u32::try_from(self.entries.len()) {
            // By an eighth: doubling would leave up to half of it unused.
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(self.entries.len() / 8 + 16);
            }
            self.entries.push(Entry::new(key, binding, now_seconds));
            Self::index(&mut self.positions, &self.entries, position, key);
        }
    }

    fn index(positions: &mut HashTable<u32>, entries: &[Entry], position: u32, key: BlockKey) {
        positions.insert_unique(key.slot, position, |&other| entries.get(other as usize).map_or(0, |e| e.key.slot));
    }

    /// Forgets series not seen since `seconds`, and says how many.
    pub fn forget_before(&mut self, seconds: u32) -> usize {
        self.retain(|entry| entry.seen_seconds >= seconds)
    }

    /// Forgets series whose binding is `gone`, and says how many.
    pub fn forget(&mut self, gone: impl Fn(Binding) -> bool) -> usize {
        self.retain(|entry| !gone(entry.binding()))
    }

    /// Scopes got other numbers; series of those that have none any more are forgotten.
    pub fn renumber(&mut self, number: impl Fn(u32) -> Option<u32>) {
        self.forget(|binding| matches!(binding, Binding::Selected { scope, .. } if number(scope).is_none()));
        for entry in &mut self.entries {
            if let Binding::Selected { scope, .. } = entry.binding() {
                entry.scope = number(scope).unwrap_or(scope);
            }
        }
    }

    /// What is known of every series.
    pub fn bindings(&self) -> impl Iterator<Item = Binding> {
        self.entries.iter().map(Entry::binding)
    }

    /// Keeps the order of what stays, and gives back memory that is not needed.
    fn retain(&mut self, stays: impl Fn(&Entry) -> bool) -> usize {
        let before = self.entries.len();
        self.entries.retain(stays);
        let dropped = before - self.entries.len();
        if dropped > 0 {
            self.expected = 0;
            self.positions.clear();
            if self.entries.len() < self.entries.capacity() / 4 {
                self.entries.shrink_to(2 * self.entries.len());
                self.positions.shrink_to(2 * self.entries.len(), |_| 0);
            }
            for (position, entry) in (0_u32..).zip(&self.entries) {
                Self::index(&mut self.positions, &self.entries, position, entry.key);
            }
        }
        dropped
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
        self.entries.capacity() * size_of::<Entry>() + self.positions.capacity() * (size_of::<u32>() + 1)
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
    fn every_order_finds_the_same_before_and_after_some_are_forgotten() {
        let hasher = BlockHasher::random();
        let key = |index: u32| hasher.key(&index.to_le_bytes());
        let mut table = SeriesTable::default();
        let binding = |series| Binding::Selected { scope: 0, series, replica: 0 };
        (0..1000).for_each(|index| table.insert(key(index), binding(index), 0));
        for step in [1, 7, 333, 999] {
            for index in (0..1000).map(|index| index * step % 1000) {
                assert_eq!(table.find(key(index), 1), Some(binding(index)));
            }
        }
        let thirds = |of: Binding| matches!(of, Binding::Selected { series, .. } if series % 3 == 0);
        assert_eq!(table.forget(thirds), 334);
        for step in [1, 7, 333, 999] {
            for index in (0..1000).map(|index| index * step % 1000) {
                assert_eq!(table.find(key(index), 2), (index % 3 != 0).then(|| binding(index)));
            }
        }
        table.insert(key(0), binding(5000), 3);
        assert_eq!(table.find(key(0), 3), Some(binding(5000)));
    }

    #[test]
    fn a_slot_that_agrees_in_half_the_key_is_another_series() {
        let mut table = SeriesTable::default();
        table.insert(BlockKey { slot: 1, check: 2 }, Binding::Ignored, 0);
        assert_eq!(table.find(BlockKey { slot: 1, check: 3 }, 0), None);
    }

    #[test]
    fn sums_of_labels_tell_order_sides_and_boundaries_apart() {
        let hasher = BlockHasher::random();
        let sum = |labels: &[(&str, &str)]| {
            let key = |text: &str| hasher.key(text.as_bytes());
            (0..).zip(labels).fold(BlockKey::NO_LABEL, |so_far, (place, (name, value))| {
                hasher.with_label(so_far, place, key(name), key(value))
            })
        };
        let series = [("a", "b"), ("c", "d")];
        assert_eq!(sum(&series), sum(&series));
        let others: [&[(&str, &str)]; 9] = [
            &[],
            &[("a", "b")],
            &[("c", "d"), ("a", "b")],
            &[("b", "a"), ("c", "d")],
            &[("a", "d"), ("c", "b")],
            &[("c", "b"), ("a", "d")],
            &[("a", "b"), ("c", "d"), ("", "")],
            &[("", ""), ("a", "b"), ("c", "d")],
            &[("a", "b"), ("a", "b"), ("c", "d")],
        ];
        for other in others {
            let (one, two) = (sum(&series), sum(other));
            assert!(one.slot != two.slot && one.check != two.check, "{other:?}");
        }
        assert_ne!(sum(&series).derived(0), sum(&series).derived(1));
        assert_ne!(sum(&series).derived(0), sum(&series));
    }

    #[test]
    fn what_is_known_comes_back_as_it_was() {
        let mut table = SeriesTable::default();
        let selected = Binding::Selected { scope: 3, series: u32::MAX, replica: 2 };
        let all: Vec<Binding> =
            Rejection::ALL.map(Binding::Rejected).into_iter().chain([Binding::Ignored, selected]).collect();
        for (slot, &binding) in (0..).zip(&all) {
            table.insert(BlockKey { slot, check: 0 }, binding, 0);
        }
        for (slot, &binding) in (0..).zip(&all) {
            assert_eq!(table.find(BlockKey { slot, check: 0 }, 0), Some(binding));
        }
        assert_eq!(size_of::<Entry>(), 32);
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
