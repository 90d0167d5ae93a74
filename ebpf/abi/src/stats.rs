//! Answered requests of one connection, counted by status and bucket of duration.
//!
//! A table of all statuses by all buckets would have 390 counts, of which a connection uses five or ten. So counts are
//! in cells, each of which is the one of a status and bucket that was seen: 200 bytes, whatever is seen.
//!
//! Before all cells are in use, the counts are handed over to user space and the cells emptied ([`RequestStats::empty`]);
//! a round ends. Whoever looks at counts while they move tells rounds apart: those of a round that is over are handed
//! over in full, once. A request that finds no cell, as nothing could be handed over, is counted as such.

use core::hint::black_box;

use crate::buckets::{BUCKETS, bucket};
use crate::protocols::Protocol;
use crate::requests::CLASSES;

/// Statuses and buckets that are counted before the counts are handed over.
pub const CELLS: usize = 24;
/// With more cells in use than these, it is time to. One call brings as many new ones as calls with
/// requests are remembered, by one or two statuses: mostly one.
const CROWDED: u8 = 14;
/// Keys in a word.
const LANES: usize = 4;
const LANE_BITS: usize = 16;
const WORDS: usize = CELLS / LANES;
/// The lowest bit of each lane, and the highest.
const LOW: u64 = 0x0001_0001_0001_0001;
const HIGH: u64 = 0x8000_8000_8000_8000;
/// Shifted by whole lanes, it has the number of them at its top.
const NUMBERS: u64 = 0x0000_0001_0002_0003;

/// See the module.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RequestStats {
    /// Rounds that are over.
    pub round: u32,
    /// Requests that found no cell, since this was last looked at.
    pub without_cell: u32,
    /// Summed duration per status.
    pub sum_ns: [u64; CLASSES],
    /// What each cell counts, one more than an index of status and bucket; 0 where it is free.
    keys: [u64; WORDS],
    counts: [u32; CELLS],
    /// Index of the [`Protocol`].
    pub protocol: u8,
    /// 1 where the connection left HTTP by `101 Switching Protocols`.
    pub upgraded: u8,
    /// 1 where the connection is not looked at any further.
    pub given_up: u8,
    /// Cells in use, which are the first ones.
    used: u8,
    /// As at the beginning; if not, this is a copy that was made while the cells were emptied.
    round_again: u32,
}

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its place among the cells, which it keeps until the round is over.
    pub place: usize,
    /// Index of the status.
    pub class: usize,
    /// Index of the bucket of duration.
    pub bucket: usize,
    /// Requests.
    pub count: u32,
}

impl RequestStats {
    /// Nothing counted yet, of no protocol.
    pub const NONE: Self = Self {
        round: 0,
        without_cell: 0,
        sum_ns: [0; CLASSES],
        keys: [0; WORDS],
        counts: [0; CELLS],
        protocol: 0,
        upgraded: 0,
        given_up: 0,
        used: 0,
        round_again: 0,
    };

    /// Nothing counted yet, of a protocol.
    #[must_use]
    pub const fn of(protocol: Protocol) -> Self {
        Self { protocol: protocol as u8, ..Self::NONE }
    }

    /// Counts one request.
    #[inline(always)]
    pub fn observe(&mut self, class: u8, duration_ns: u64) {
        // The compiler knows that indexes are in range and would leave the checks out; the kernel's
        // verifier does not, and needs them.
        let class = black_box(class as usize);
        if class >= CLASSES {
            return;
        }
        let key = (class * BUCKETS + bucket(duration_ns) + 1) as u64;
        let Some(place) = self.place(key) else {
            self.without_cell = self.without_cell.wrapping_add(1);
            return;
        };
        if let Some(sum) = self.sum_ns.get_mut(black_box(class)) {
            *sum = sum.wrapping_add(duration_ns);
        }
        if let Some(count) = self.counts.get_mut(black_box(place)) {
            *count = count.wrapping_add(1);
        }
    }

    /// The cell of a key; `None` where there is none and no room.
    #[inline(always)]
    fn place(&mut self, key: u64) -> Option<usize> {
        // All keys of a word at once: a lane that is like the key is 0 (Warren, Hacker's Delight, 6-1). Lanes
        // above the lowest of these may be mistaken for one. No branches, as in `bucket`.
        let (mut is_known, mut known, mut word) = (0, 0, 0);
        while word < WORDS {
            let other = self.keys[word] ^ (key * LOW);
            let alike = other.wrapping_sub(LOW) & !other & HIGH;
            let lowest = alike & alike.wrapping_neg();
            let is_here = black_box((lowest | lowest.wrapping_neg()) >> 63);
            // There is no instruction that counts zeros, so a product moves the lane's number to the top.
            let lane = (lowest >> (LANE_BITS - 1)).wrapping_mul(NUMBERS) >> 48;
            known |= (is_here * (word * LANES) as u64) | lane;
            is_known |= is_here;
            word += 1;
        }
        if is_known != 0 {
            return Some(known as usize);
        }
        let place = black_box(self.used as usize);
        if place >= CELLS {
            return None;
        }
        let keys = self.keys.get_mut(black_box(place / LANES))?;
        *keys |= key << (place % LANES * LANE_BITS);
        self.used = place as u8 + 1;
        Some(place)
    }

    /// Whether it is time to hand the counts over.
    #[inline(always)]
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.used > CROWDED
    }

    /// Empties the cells, of which a copy was handed over: another round begins.
    #[inline(always)]
    pub fn empty(&mut self) {
        let round = self.round.wrapping_add(1);
        // In this order, against that of whoever copies.
        self.round_again = round;
        let this = black_box(self);
        this.sum_ns = [0; CLASSES];
        this.keys = [0; WORDS];
        this.counts = [0; CELLS];
        this.used = 0;
        let this = black_box(this);
        this.round = round;
    }

    /// Whether all of it is of one round.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.round == self.round_again
    }

    /// The counts of this round.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let used = usize::from(self.used).min(CELLS);
        self.counts.iter().take(used).enumerate().filter_map(|(place, count)| {
            let key = self.keys[place / LANES] >> (place % LANES * LANE_BITS) & 0xffff;
            let index = (key as usize).checked_sub(1)?;
            let cell = Cell { place, class: index / BUCKETS, bucket: index % BUCKETS, count: *count };
            // Two processors that begin a cell at once, as those of one pair of DNS peers may, leave nonsense.
            (cell.class < CLASSES).then_some(cell)
        })
    }

    /// Requests of a status in this round.
    #[must_use]
    pub fn of_class(&self, class: usize) -> u64 {
        self.cells().filter(|cell| cell.class == class).map(|cell| u64::from(cell.count)).sum()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn observations_go_to_their_status_and_bucket() {
        let mut stats = RequestStats::default();
        stats.observe(3, 2_000_000);
        stats.observe(4, u64::MAX / 2);
        stats.observe(9, 1);
        let cells: Vec<Cell> = stats.cells().collect();
        let expected = [(3, bucket(2_000_000)), (4, BUCKETS - 1)];
        assert_eq!(
            cells,
            [0, 1].map(|place| Cell { place, class: expected[place].0, bucket: expected[place].1, count: 1 })
        );
        assert_eq!((stats.sum_ns[3], stats.of_class(3), stats.of_class(0)), (2_000_000, 1, 0));
    }

    /// Against a table of all, with rounds of any length and calls that find no cell.
    #[test]
    fn all_rounds_and_what_found_no_cell_make_up_what_was_observed() {
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let (mut stats, mut model, mut counted) = (RequestStats::NONE, BTreeMap::new(), BTreeMap::new());
            let (mut observed, mut sums, mut counted_sums) = (0, 0, 0);
            for round in 0..5 {
                for _ in 0..draw(60) {
                    let (class, duration) = (draw(5) as u8, 1 << draw(40));
                    let before = stats.without_cell;
                    stats.observe(class, duration);
                    observed += 1;
                    if stats.without_cell == before {
                        *model.entry((usize::from(class), bucket(duration))).or_insert(0) += 1;
                        sums += duration;
                    }
                }
                assert!(stats.is_whole() && stats.round == round);
                assert_eq!(stats.is_crowded(), stats.cells().count() > usize::from(CROWDED));
                stats.cells().for_each(|cell| *counted.entry((cell.class, cell.bucket)).or_insert(0) += cell.count);
                counted_sums += stats.sum_ns.iter().sum::<u64>();
                stats.empty();
            }
            assert_eq!((&counted, counted_sums), (&model, sums));
            assert_eq!(counted.values().sum::<u32>() + stats.without_cell, observed);
        }
    }

    #[test]
    fn emptied_cells_keep_what_the_connection_is() {
        let mut stats = RequestStats { protocol: 5, upgraded: 1, given_up: 1, ..RequestStats::NONE };
        stats.observe(0, 1);
        stats.empty();
        let blank =
            RequestStats { protocol: 5, upgraded: 1, given_up: 1, round: 1, round_again: 1, ..RequestStats::NONE };
        assert_eq!(stats, blank);
    }
}
