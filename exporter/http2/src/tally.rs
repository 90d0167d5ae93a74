//! Requests that are alike, counted by bucket of duration.

use quoll_ebpf_abi::buckets::bucket;
use quoll_ebpf_abi::protocols::Protocol;

/// What requests have in common that are counted together: the protocol, of HTTP/2 [`Protocol::Http1`], which stands for all
/// of HTTP, or [`Protocol::Grpc`]; the index of HTTP's method, if these are told apart; and that of the status among the
/// protocol's.
pub type Kind = (Protocol, u8, u8);

/// Requests of one connection that are alike, since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// What they have in common.
    pub kind: Kind,
    /// Summed duration.
    pub sum_ns: u64,
    /// Index of each bucket that any fell into, ascending, and how many.
    pub counts: Vec<(u8, u32)>,
}

impl Tally {
    /// That of a kind, at first empty.
    pub fn of(tallies: &mut Vec<Self>, kind: Kind) -> &mut Self {
        let known = tallies.iter().position(|tally| tally.kind == kind);
        let place = known.unwrap_or_else(|| {
            tallies.push(Self { kind, sum_ns: 0, counts: Vec::new() });
            tallies.len() - 1
        });
        &mut tallies[place]
    }

    /// Counts one request.
    pub fn observe(&mut self, duration_ns: u64) {
        self.sum_ns = self.sum_ns.wrapping_add(duration_ns);
        self.add(bucket(duration_ns), 1);
    }

    /// Adds requests of one bucket.
    pub fn add(&mut self, bucket: usize, more: u32) {
        match self.counts.binary_search_by_key(&(bucket as u8), |(known, _)| *known) {
            Ok(place) => self.counts[place].1 = self.counts[place].1.wrapping_add(more),
            Err(place) => self.counts.insert(place, (bucket as u8, more)),
        }
    }

    /// How many fell into a bucket.
    #[must_use]
    pub fn count(&self, bucket: u8) -> u32 {
        self.counts.binary_search_by_key(&bucket, |(known, _)| *known).map_or(0, |place| self.counts[place].1)
    }
}
