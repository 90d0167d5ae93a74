//! Answered requests of one connection, counted by method, status and bucket of duration.
//!
//! A table of all statuses by all buckets would have 390 counts, with HTTP's methods ten times as many, of which a
//! connection uses five or ten. So counts are in cells, each of which is the one of a method, status and bucket that was
//! seen, and sums of durations in places, each of a method and status: 270 bytes, whatever is seen. Where methods are not
//! told apart, all are [`OTHER`](crate::protocols::method::OTHER).
//!
//! When a request finds no room, the counts are handed over to user space and emptied ([`RequestStats::empty`]); a round
//! ends. Whoever looks at counts while they move tells rounds apart: those of a round that is over are handed over in full,
//! once. A request that finds no room even so, as nothing could be handed over, is counted as such.

use core::hint::black_box;

use crate::buckets::{BUCKETS, bucket};
use crate::protocols::Protocol;
use crate::protocols::method::METHODS;
use crate::protocols::place_of;
use crate::requests::CLASSES;

/// Methods, statuses and buckets that are counted before the counts are handed over.
pub const CELLS: usize = 24;
/// Methods and statuses that durations are summed of before that.
pub const PAIRS: usize = 8;
/// Keys in a word.
const LANES: usize = 4;
const LANE_BITS: usize = 16;
const WORDS: usize = CELLS / LANES;
/// The lowest bit of each lane, and the highest.
const LOW: u64 = 0x0001_0001_0001_0001;
const HIGH: u64 = 0x8000_8000_8000_8000;
/// Shifted by whole lanes, it has the number of them at its top.
const NUMBERS: u64 = 0x0000_0001_0002_0003;

const _: () = assert!(METHODS * CLASSES * BUCKETS < 1 << LANE_BITS && METHODS * CLASSES < 1 << 8 && PAIRS == 8);

/// See the module.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct RequestStats {
    /// Rounds that are over.
    pub round: u32,
    /// Requests that found no room, since this was last looked at.
    pub without_cell: u32,
    /// Summed duration per place.
    sum_ns: [u64; PAIRS],
    /// What each place sums, a byte: one more than an index of method and status; 0 where it is free.
    pairs: u64,
    /// What each cell counts, one more than an index of method, status and bucket; 0 where it is free.
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
    /// Requests of all rounds that found room.
    observed: u32,
    /// As many of them as user space was told of, by a look or by a round that was handed over.
    told: u32,
}

/// One count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its place among the cells, which it keeps until the round is over.
    pub place: usize,
    /// Index of the method.
    pub method: u8,
    /// Index of the status.
    pub class: u8,
    /// Index of the bucket of duration.
    pub bucket: usize,
    /// Requests.
    pub count: u32,
}

/// One sum of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// Its place among the sums, which it keeps until the round is over.
    pub place: usize,
    /// Index of the method.
    pub method: u8,
    /// Index of the status.
    pub class: u8,
    /// All of them.
    pub sum_ns: u64,
}

impl RequestStats {
    /// Nothing counted yet, of no protocol.
    pub const NONE: Self = Self {
        round: 0,
        without_cell: 0,
        sum_ns: [0; PAIRS],
        pairs: 0,
        keys: [0; WORDS],
        counts: [0; CELLS],
        protocol: 0,
        upgraded: 0,
        given_up: 0,
        used: 0,
        round_again: 0,
        observed: 0,
        told: 0,
    };

    /// Nothing counted yet, of a protocol.
    #[must_use]
    pub const fn of(protocol: Protocol) -> Self {
        Self { protocol: protocol as u8, ..Self::NONE }
    }

    /// Counts one request. False where there is no room for it, until the counts are handed over.
    #[inline(always)]
    #[must_use]
    pub fn observe(&mut self, method: u8, class: u8, duration_ns: u64) -> bool {
        if method as usize >= METHODS || class as usize >= CLASSES {
            return true;
        }
        let pair = method as usize * CLASSES + class as usize;
        let Some(cell) = self.place((pair * BUCKETS + bucket(duration_ns) + 1) as u64) else { return false };
        let Some(sum) = self.sum_of(pair as u8 + 1) else { return false };
        // The compiler knows that indexes are in range and would leave the checks out; the kernel's
        // verifier does not, and needs them.
        if let Some(sum) = self.sum_ns.get_mut(black_box(sum)) {
            *sum = sum.wrapping_add(duration_ns);
        }
        if let Some(count) = self.counts.get_mut(black_box(cell)) {
            *count = count.wrapping_add(1);
        }
        self.observed = self.observed.wrapping_add(1);
        true
    }

    /// The same where nothing can be handed over.
    #[inline(always)]
    pub fn observe_within(&mut self, method: u8, class: u8, duration_ns: u64) {
        if !self.observe(method, class, duration_ns) {
            self.without_cell = self.without_cell.wrapping_add(1);
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

    /// The sum of a key; `None` where there is none and no room.
    #[inline(always)]
    fn sum_of(&mut self, key: u8) -> Option<usize> {
        let known = black_box(place_of(self.pairs, key));
        if known < PAIRS as u32 {
            return Some(known as usize);
        }
        let free = black_box(place_of(self.pairs, 0));
        if free >= PAIRS as u32 {
            return None;
        }
        self.pairs |= (key as u64) << (8 * free);
        Some(free as usize)
    }

    /// Empties the counts, of which a copy was handed over: another round begins.
    #[inline(always)]
    pub fn empty(&mut self) {
        let round = self.round.wrapping_add(1);
        // In this order, against that of whoever copies.
        self.round_again = round;
        let this = black_box(self);
        this.sum_ns = [0; PAIRS];
        this.pairs = 0;
        this.keys = [0; WORDS];
        this.counts = [0; CELLS];
        this.used = 0;
        this.told = this.observed;
        let this = black_box(this);
        this.round = round;
    }

    /// What a look that begins now will have told of: to be given to [`Self::tell`] after it.
    #[inline(always)]
    #[must_use]
    pub fn observed(&self) -> u32 {
        self.observed
    }

    /// User space was told of so many requests.
    #[inline(always)]
    pub fn tell(&mut self, observed: u32) {
        self.told = observed;
    }

    /// Requests that user space was not told of, and never will be if these counts go now.
    #[inline(always)]
    #[must_use]
    pub fn untold(&self) -> u32 {
        self.observed.wrapping_sub(self.told)
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
            // Two processors that begin a cell at once, as those of one pair of DNS peers may, leave nonsense.
            let (method, class) = pair_of(index / BUCKETS)?;
            Some(Cell { place, method, class, bucket: index % BUCKETS, count: *count })
        })
    }

    /// The sums of this round.
    pub fn sums(&self) -> impl Iterator<Item = Sum> {
        self.sum_ns.iter().zip(self.pairs.to_le_bytes()).enumerate().filter_map(|(place, (sum_ns, key))| {
            let (method, class) = pair_of(usize::from(key).checked_sub(1)?)?;
            Some(Sum { place, method, class, sum_ns: *sum_ns })
        })
    }

    /// Changes with each request that is counted, nearly: all sums together.
    #[inline(always)]
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.sum_ns.iter().fold(0, |total, sum| total.wrapping_add(*sum))
    }

    /// Requests of a status in this round.
    #[must_use]
    pub fn of_class(&self, class: usize) -> u64 {
        self.cells().filter(|cell| usize::from(cell.class) == class).map(|cell| u64::from(cell.count)).sum()
    }

    /// Their summed duration.
    #[must_use]
    pub fn sum_of_class(&self, class: usize) -> u64 {
        self.sums().filter(|sum| usize::from(sum.class) == class).map(|sum| sum.sum_ns).sum()
    }
}

/// The method and status of an index of both.
fn pair_of(index: usize) -> Option<(u8, u8)> {
    (index < METHODS * CLASSES).then_some(((index / CLASSES) as u8, (index % CLASSES) as u8))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::protocols::method;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    #[test]
    fn observations_go_to_their_method_status_and_bucket() {
        let mut stats = RequestStats::default();
        for (method, class, duration_ns) in [
            (method::GET, 3, 2_000_000),
            (method::TRACE, 4, u64::MAX / 2),
            (method::GET, 3, 2_000_001),
            (0, 9, 1),
            (10, 0, 1),
        ] {
            assert!(stats.observe(method, class, duration_ns));
        }
        let cells: Vec<Cell> = stats.cells().collect();
        let expected = [
            Cell { place: 0, method: method::GET, class: 3, bucket: bucket(2_000_000), count: 2 },
            Cell { place: 1, method: method::TRACE, class: 4, bucket: BUCKETS - 1, count: 1 },
        ];
        assert_eq!(cells, expected);
        let sums: Vec<Sum> = stats.sums().collect();
        let expected = [
            Sum { place: 0, method: method::GET, class: 3, sum_ns: 4_000_001 },
            Sum { place: 1, method: method::TRACE, class: 4, sum_ns: u64::MAX / 2 },
        ];
        assert_eq!(sums, expected);
        assert_eq!((stats.sum_of_class(3), stats.of_class(3), stats.of_class(0)), (4_000_001, 2, 0));
    }

    /// Against a table of all, with rounds of any length; what finds no room is handed over first, or counted.
    #[test]
    fn all_rounds_and_what_found_no_cell_make_up_what_was_observed() {
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        for turn in 0..400 {
            // Of one method all cells are used, of ten all sums.
            let (methods, powers) = [(1, 40), (10, 40), (10, 2)][turn % 3];
            let can_hand_over = turn % 2 == 0;
            let (mut stats, mut model, mut counted) = (RequestStats::NONE, BTreeMap::new(), BTreeMap::new());
            let (mut sums, mut counted_sums) = (BTreeMap::new(), BTreeMap::new());
            let (mut observed, mut rounds) = (0, 0);
            let mut hand_over = |stats: &mut RequestStats| {
                assert!(stats.is_whole() && stats.round == rounds);
                rounds += 1;
                for cell in stats.cells().filter(|cell| cell.count > 0) {
                    *counted.entry((cell.method, cell.class, cell.bucket)).or_insert(0) += cell.count;
                }
                for sum in stats.sums().filter(|sum| sum.sum_ns > 0) {
                    *counted_sums.entry((sum.method, sum.class)).or_insert(0) += sum.sum_ns;
                }
                stats.empty();
            };
            for _ in 0..draw(300) {
                let (method, class, duration) = (draw(methods) as u8, draw(5) as u8, 1 << draw(powers));
                observed += 1;
                let mut has_room = stats.observe(method, class, duration);
                if !has_room && can_hand_over {
                    hand_over(&mut stats);
                    has_room = stats.observe(method, class, duration);
                    assert!(has_room);
                }
                if has_room {
                    *model.entry((method, class, bucket(duration))).or_insert(0) += 1;
                    *sums.entry((method, class)).or_insert(0) += duration;
                } else {
                    stats.observe_within(method, class, duration);
                }
            }
            hand_over(&mut stats);
            assert_eq!((&counted, &counted_sums), (&model, &sums));
            assert_eq!(counted.values().sum::<u32>() + stats.without_cell, observed);
        }
    }

    #[test]
    fn emptied_cells_keep_what_the_connection_is() {
        let mut stats = RequestStats { protocol: 5, upgraded: 1, given_up: 1, ..RequestStats::NONE };
        assert!(stats.observe(method::PUT, 0, 1));
        stats.empty();
        let blank = RequestStats {
            protocol: 5,
            upgraded: 1,
            given_up: 1,
            round: 1,
            round_again: 1,
            observed: 1,
            told: 1,
            ..RequestStats::NONE
        };
        assert_eq!(stats, blank);
    }

    #[test]
    fn what_no_look_and_no_round_told_of_is_untold() {
        let mut stats = RequestStats::NONE;
        let observe =
            |stats: &mut RequestStats, count| (0..count).for_each(|_| stats.observe_within(method::GET, 0, 1));
        observe(&mut stats, 3);
        assert_eq!(stats.untold(), 3);
        let observed = stats.observed();
        observe(&mut stats, 2);
        stats.tell(observed);
        assert_eq!(stats.untold(), 2);
        stats.empty();
        assert_eq!(stats.untold(), 0);
        observe(&mut stats, 1);
        assert_eq!(stats.untold(), 1);
        // Those without room are counted where they find none.
        (0..2 * CELLS as u64).for_each(|power| stats.observe_within(method::GET, 0, 1 << power));
        assert_eq!(u64::from(stats.untold()), stats.cells().map(|cell| u64::from(cell.count)).sum::<u64>());
        assert!(stats.without_cell > 0);
    }
}
