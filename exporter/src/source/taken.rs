//! What was taken in already of counts that the kernel side goes on with.

use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::stats::{Cell, PAIRS, Sum};

/// Of one connection or pair of peers: the last counts that were seen of the round that goes on.
///
/// A round that is over is handed over once, in full and in its turn. Counts of a later round that are seen before
/// that are left alone: nothing is counted twice, and nothing is left out.
#[derive(Debug, Default)]
pub struct Taken {
    round: u32,
    /// By the sums' places.
    sum_ns: [u64; PAIRS],
    /// By the cells' places.
    counts: Vec<u32>,
}

impl Taken {
    /// Nothing.
    pub const NONE: Self = Self { round: 0, sum_ns: [0; PAIRS], counts: Vec::new() };

    /// Whether these counts are of the round that goes on, and a copy of one moment.
    #[must_use]
    pub fn continues(&self, stats: &RequestStats) -> bool {
        stats.is_whole() && stats.round == self.round
    }

    /// What they grew by.
    pub fn grown<'a>(&'a self, stats: &'a RequestStats) -> impl Iterator<Item = Cell> {
        let all = stats.cells().map(|cell| {
            let before = self.counts.get(cell.place).copied().unwrap_or(0);
            Cell { count: cell.count.wrapping_sub(before), ..cell }
        });
        all.filter(|cell| cell.count != 0)
    }

    /// What the sums of durations grew by.
    pub fn grown_sums<'a>(&'a self, stats: &'a RequestStats) -> impl Iterator<Item = Sum> {
        let all = stats.sums().map(|sum| Sum { sum_ns: sum.sum_ns.wrapping_sub(self.sum_ns[sum.place]), ..sum });
        all.filter(|sum| sum.sum_ns != 0)
    }

    /// They are taken in, and if the round is over with them, the next one begins.
    pub fn renew(&mut self, stats: &RequestStats, is_over: bool) {
        if !self.continues(stats) {
            return;
        }
        self.counts.clear();
        if is_over {
            self.round = self.round.wrapping_add(1);
            self.sum_ns = [0; PAIRS];
            return;
        }
        for sum in stats.sums() {
            self.sum_ns[sum.place] = sum.sum_ns;
        }
        for cell in stats.cells() {
            self.counts.resize(cell.place, 0);
            self.counts.push(cell.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(taken: &mut Taken, stats: &RequestStats, is_over: bool) -> (u32, u64) {
        if !taken.continues(stats) {
            return (0, 0);
        }
        let grown = taken.grown(stats).map(|cell| cell.count).sum();
        let sum_ns = taken.grown_sums(stats).map(|sum| sum.sum_ns).sum();
        taken.renew(stats, is_over);
        (grown, sum_ns)
    }

    #[test]
    fn rounds_count_once_however_often_they_are_looked_at() {
        let (mut stats, mut taken) = (RequestStats::NONE, Taken::NONE);
        stats.observe_within(1, 0, 7);
        assert_eq!(take(&mut taken, &stats, false), (1, 7));
        assert_eq!(take(&mut taken, &stats, false), (0, 0));
        stats.observe_within(1, 0, 7);
        stats.observe_within(2, 0, 1_000);
        let over = stats;
        stats.empty();
        stats.observe_within(9, 3, 5);
        assert_eq!(take(&mut taken, &stats, false), (0, 0), "the round before it is still to come");
        assert_eq!(take(&mut taken, &over, true), (2, 1_007));
        assert_eq!(take(&mut taken, &over, true), (0, 0));
        assert_eq!(take(&mut taken, &stats, false), (1, 5));
    }
}
