//! What is counted of one edge by one of its ends.

use std::time::Instant;

use quoll_ebpf_abi::protocols::{PROTOCOLS, Protocol};
use quoll_http2::{Kind, Tally};

use super::kinds::Places;
use crate::collectors::{requests, tcp};
use crate::histogram::Histogram;
use crate::source::{Counters, Failure, Taken};

/// Totals of one edge and reporter.
#[derive(Debug, Clone)]
pub struct EdgeTotals {
    /// Connections made, or attempted in vain.
    pub connects: u64,
    /// Of these in vain, by [`Failure`].
    pub failures: [u64; 5],
    /// Ended by a reset.
    pub resets: u64,
    /// Handshakes.
    pub connect_seconds: Histogram,
    /// Lives of ended connections.
    pub connection_seconds: Histogram,
    /// Round-trip times: one per connection and look at it.
    pub rtt_seconds: Histogram,
    /// Payload bytes sent.
    pub sent_bytes: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
    /// Segments sent again.
    pub retransmits: u64,
    /// Whether the source sees bytes at all.
    pub has_counters: bool,
    /// Open now.
    pub active: u64,
    /// Whether there was any connection, and not datagrams only.
    pub has_connections: bool,
    /// Requests by the place they belong to, in its order.
    pub requests: Vec<(Kind, Histogram)>,
    /// Connections that left HTTP by switching protocols.
    pub upgrades: u64,
    /// When it was last part of a report.
    pub(super) moved: Instant,
}

impl EdgeTotals {
    pub(super) fn new() -> Self {
        Self {
            connects: 0,
            failures: [0; 5],
            resets: 0,
            connect_seconds: Histogram::new(tcp::CONNECT_BOUNDS),
            connection_seconds: Histogram::new(tcp::CONNECTION_BOUNDS),
            rtt_seconds: Histogram::new(tcp::RTT_BOUNDS),
            sent_bytes: 0,
            received_bytes: 0,
            retransmits: 0,
            has_counters: false,
            active: 0,
            has_connections: false,
            requests: Vec::new(),
            upgrades: 0,
            moved: Instant::now(),
        }
    }

    /// Adds what grew between two totals of one connection; there is room for so many kinds of requests. Those that
    /// find none are added to `limited`, by their protocol's index.
    pub(super) fn grow(&mut self, before: &Past, after: &Counters, room: usize, limited: &mut [u64; PROTOCOLS]) {
        self.has_counters = true;
        // What is read of a socket that ends at this very moment may be anything.
        self.sent_bytes = self.sent_bytes.saturating_add(after.sent_bytes.saturating_sub(before.sent_bytes));
        self.received_bytes =
            self.received_bytes.saturating_add(after.received_bytes.saturating_sub(before.received_bytes));
        self.retransmits += u64::from(after.retransmits.saturating_sub(before.retransmits));
        for tally in &after.tallies {
            let known = before.tallies().iter().find(|known| known.kind == tally.kind);
            for (bucket, count) in &tally.counts {
                let grown = count.wrapping_sub(known.map_or(0, |known| known.count(*bucket)));
                self.add_requests(tally.kind, usize::from(*bucket), grown, room, limited);
            }
            self.add_duration(tally.kind, tally.sum_ns.wrapping_sub(known.map_or(0, |known| known.sum_ns)), room);
        }
        let Some(after) = &after.requests else { return };
        static NOTHING: PastRequests = PastRequests { taken: Taken::NONE, upgraded: 0, tallies: Vec::new() };
        let PastRequests { taken, upgraded, .. } = before.requests.as_deref().unwrap_or(&NOTHING);
        if !taken.continues(after) {
            return;
        }
        self.upgrades += u64::from(after.upgraded.saturating_sub(*upgraded));
        let Some(protocol) = Protocol::of(after.protocol) else { return };
        for cell in taken.grown(after) {
            self.add_requests((protocol, cell.method, cell.class), cell.bucket, cell.count, room, limited);
        }
        for sum in taken.grown_sums(after) {
            self.add_duration((protocol, sum.method, sum.class), sum.sum_ns, room);
        }
    }

    /// Adds requests of one kind that took as long, by the kernel side's buckets.
    fn add_requests(&mut self, kind: Kind, bucket: usize, count: u32, room: usize, limited: &mut [u64; PROTOCOLS]) {
        if count == 0 {
            return;
        }
        let Some(place) = (Places { taken: &self.requests, room }).of(kind) else {
            limited[kind.0 as usize] += u64::from(count);
            return;
        };
        let index = self.requests.binary_search_by_key(&place, |(known, _)| *known).unwrap_or_else(|index| {
            self.requests.insert(index, (place, requests::histogram()));
            index
        });
        requests::add(&mut self.requests[index].1, bucket, u64::from(count));
    }

    /// Adds to the sum of the durations of requests of one kind, of those that were counted.
    fn add_duration(&mut self, kind: Kind, sum_ns: u64, room: usize) {
        if sum_ns != 0
            && let Some(place) = (Places { taken: &self.requests, room }).of(kind)
            && let Ok(index) = self.requests.binary_search_by_key(&place, |(known, _)| *known)
        {
            self.requests[index].1.add_sum(sum_ns as f64 / 1e9);
        }
    }
}

/// Totals of an open connection when it was last reported; most carry no requests.
#[derive(Debug, Default)]
pub(super) struct Past {
    sent_bytes: u64,
    received_bytes: u64,
    requests: Option<Box<PastRequests>>,
    retransmits: u32,
}

/// Of its requests.
#[derive(Debug, Default)]
struct PastRequests {
    taken: Taken,
    upgraded: u8,
    tallies: Vec<Tally>,
}

impl Past {
    /// Of `counters`, in the memory of the totals before.
    pub(super) fn renew(&mut self, counters: &Counters) {
        self.sent_bytes = counters.sent_bytes;
        self.received_bytes = counters.received_bytes;
        self.retransmits = counters.retransmits;
        if counters.requests.is_none() && counters.tallies.is_empty() {
            return;
        }
        let requests = self.requests.get_or_insert_default();
        requests.tallies.clone_from(&counters.tallies);
        if let Some(stats) = &counters.requests {
            requests.taken.renew(stats, counters.is_round_over);
            requests.upgraded = stats.upgraded;
        }
    }

    fn tallies(&self) -> &[Tally] {
        self.requests.as_ref().map_or(&[], |requests| &requests.tallies)
    }
}

/// Label values of the reasons of failure, by [`Failure`].
pub const REASONS: [(Failure, &str); 5] = [
    (Failure::Refused, "refused"),
    (Failure::Timeout, "timeout"),
    (Failure::Unreachable, "unreachable"),
    (Failure::Reset, "reset"),
    (Failure::Other, "other"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_failures_index() {
        for (index, (failure, _)) in REASONS.iter().enumerate() {
            assert_eq!(*failure as usize, index);
        }
    }
}
