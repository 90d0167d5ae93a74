//! Requests that ended alike, counted by bucket of duration.

use quoll_ebpf_abi::buckets::bucket;
use quoll_ebpf_abi::protocols::Protocol;

/// Requests of one connection that ended alike, since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Of HTTP/2, [`Protocol::Http1`], which stands for all of HTTP, or [`Protocol::Grpc`].
    pub protocol: Protocol,
    /// Index of the status among the protocol's.
    pub status: u8,
    /// Summed duration.
    pub sum_ns: u64,
    /// Index of each bucket that any fell into, ascending, and how many.
    pub counts: Vec<(u8, u32)>,
}

impl Tally {
    /// That of a protocol and status, at first empty.
    pub fn of(tallies: &mut Vec<Self>, protocol: Protocol, status: u8) -> &mut Self {
        let known = tallies.iter().position(|tally| (tally.protocol, tally.status) == (protocol, status));
        let place = known.unwrap_or_else(|| {
            tallies.push(Self { protocol, status, sum_ns: 0, counts: Vec::new() });
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
