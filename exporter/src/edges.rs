//! Sums reports of connections into totals per edge and reporter.
//!
//! A connection is counted when it is first seen, and its bytes, retransmits and requests as they
//! grow: what is remembered of each open connection is its totals so far. So long-lived pools move
//! their edge's counters while they live, and a connection's end adds only the rest. Whether a
//! connection is first seen open or already ended makes no difference to the totals.
//!
//! Counters of an edge never fall. When there are too many edges, new ones are not opened and the
//! reports that would have gone there are counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use quoll_ebpf_abi::HttpStats;
use quoll_ebpf_abi::http::CLASSES;

use crate::collectors::{http, tcp};
use crate::directory::{Directory, Ends};
use crate::histogram::Histogram;
use crate::service::Service;
use crate::source::{ConnectionId, Counters, Failure, Phase, Report, Role};

/// Edges that are kept at most; each takes about 2 KiB here and 50 to 110 series in Prometheus.
pub const MAX_EDGES: usize = 20_000;

/// An edge as one of its ends sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// Who called.
    pub client: Service,
    /// Who was called.
    pub server: Service,
    /// Whose sockets the numbers come from.
    pub reporter: Role,
}

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
    /// Requests by status class.
    pub requests: [Option<Box<Histogram>>; CLASSES],
}

impl EdgeTotals {
    fn new() -> Self {
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
            requests: [const { None }; CLASSES],
        }
    }

    /// Adds what grew between two totals of one connection.
    fn grow(&mut self, before: &Counters, after: &Counters) {
        self.has_counters = true;
        self.sent_bytes += after.sent_bytes.saturating_sub(before.sent_bytes);
        self.received_bytes += after.received_bytes.saturating_sub(before.received_bytes);
        self.retransmits += u64::from(after.retransmits.saturating_sub(before.retransmits));
        let Some(after) = &after.http else { return };
        let nothing = HttpStats::default();
        let before = before.http.as_ref().unwrap_or(&nothing);
        for class in 0..CLASSES {
            let grown = after.counts[class].iter().zip(&before.counts[class]);
            let grown = grown.map(|(after, before)| u64::from(after.wrapping_sub(*before)));
            if after.counts[class] != before.counts[class] {
                let sum = after.sum_ns[class].saturating_sub(before.sum_ns[class]) as f64 / 1e9;
                let histogram = &mut self.requests[class];
                histogram.get_or_insert_with(|| Box::new(Histogram::new(http::BOUNDS))).add(grown, sum);
            }
        }
    }
}

/// An open connection.
#[derive(Debug)]
struct Known {
    /// Index of its edge; `None` where it is hidden or there were too many edges.
    edge: Option<usize>,
    is_complete: bool,
    counters: Counters,
    /// Number of the last look that saw it.
    look: u64,
}

/// All edges.
#[derive(Debug, Default)]
pub struct Edges {
    index: HashMap<EdgeKey, usize>,
    totals: Vec<(EdgeKey, EdgeTotals)>,
    known: HashMap<ConnectionId, Known>,
    look: u64,
    limited: u64,
    rules_changed: bool,
}

impl Edges {
    /// Every edge and reporter, in the order first seen.
    pub fn iter(&self) -> impl Iterator<Item = &(EdgeKey, EdgeTotals)> {
        self.totals.iter()
    }

    /// Reports that found no room for their edge.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.limited
    }

    /// Open connections are named anew at the next look.
    pub fn rename(&mut self) {
        self.rules_changed = true;
    }

    /// Begins a look at all open connections; [`Self::end_look`] must follow.
    pub fn begin_look(&mut self) {
        self.look += 1;
        for (_, totals) in &mut self.totals {
            totals.active = 0;
        }
    }

    /// Ends a look. A connection that this look and the one before did not see is forgotten: the
    /// record of its end was lost.
    pub fn end_look(&mut self) {
        let look = self.look;
        self.known.retain(|_, known| known.look + 1 >= look);
        self.rules_changed = false;
    }

    /// Takes in one report.
    pub fn take(&mut self, report: &Report, directory: &Directory) {
        match report.phase {
            Phase::Connecting => {}
            Phase::Failed(failure) => {
                if let Some(totals) = self.find(directory.ends(report).as_ref()).map(|edge| &mut self.totals[edge].1) {
                    totals.connects += 1;
                    totals.failures[failure as usize] += 1;
                }
            }
            Phase::Open => {
                // The kernel's walk over a map that changes may show an entry twice.
                let look = self.look;
                let is_repeated = self.known.get(&report.id).is_some_and(|known| known.look == look);
                let Some(edge) = self.advance(report, directory) else { return };
                if is_repeated {
                    return;
                }
                let totals = &mut self.totals[edge].1;
                totals.active += 1;
                if let Some(seconds) = report.rtt_seconds {
                    totals.rtt_seconds.observe(seconds);
                }
            }
            Phase::Ended { by_reset } => {
                let edge = self.advance(report, directory);
                self.known.remove(&report.id);
                let Some(totals) = edge.map(|edge| &mut self.totals[edge].1) else { return };
                totals.resets += u64::from(by_reset);
                if let Some(seconds) = report.rtt_seconds {
                    totals.rtt_seconds.observe(seconds);
                }
                if let Some(seconds) = report.open_seconds.filter(|_| !report.preexisting) {
                    totals.connection_seconds.observe(seconds);
                }
            }
        }
    }

    /// Counts a connection that is new, adds what grew of one that is not, and gives its edge.
    fn advance(&mut self, report: &Report, directory: &Directory) -> Option<usize> {
        let needs_name = match self.known.get(&report.id) {
            None => true,
            Some(known) => !known.is_complete || self.rules_changed,
        };
        let ends = if needs_name { directory.ends(report) } else { None };
        let named = needs_name.then(|| self.find(ends.as_ref()));
        let is_complete = ends.is_none_or(|ends| ends.is_complete);
        let counters = report.counters.unwrap_or_default();
        let (edge, before, is_new) = match self.known.entry(report.id) {
            Entry::Vacant(vacant) => {
                let edge = named.flatten();
                vacant.insert(Known { edge, is_complete, counters, look: self.look });
                // Totals of a connection that was there before us are not of our time.
                let before = if report.preexisting { counters } else { Counters::default() };
                (edge, before, true)
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                if let Some(edge) = named {
                    known.edge = edge;
                    known.is_complete = is_complete;
                }
                known.look = self.look;
                (known.edge, std::mem::replace(&mut known.counters, counters), false)
            }
        };
        let totals = &mut self.totals[edge?].1;
        if is_new && !report.preexisting {
            totals.connects += 1;
            if let Some(seconds) = report.connect_seconds {
                totals.connect_seconds.observe(seconds);
            }
        }
        if report.counters.is_some() {
            totals.grow(&before, &counters);
        }
        edge
    }

    /// The index of an edge, opened if there is room.
    fn find(&mut self, ends: Option<&Ends>) -> Option<usize> {
        let Ends { client, server, reporter, .. } = ends?.clone();
        let count = self.totals.len();
        match self.index.entry(EdgeKey { client, server, reporter }) {
            Entry::Occupied(occupied) => Some(*occupied.get()),
            Entry::Vacant(_) if count >= MAX_EDGES => {
                self.limited += 1;
                None
            }
            Entry::Vacant(vacant) => {
                self.totals.push((vacant.key().clone(), EdgeTotals::new()));
                vacant.insert(count);
                Some(count)
            }
        }
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
    use crate::net::canonical;
    use crate::rules::Rules;
    use crate::source::{Owner, endpoint};

    fn directory() -> Directory {
        let rules =
            "services:\n  - {name: a, match: [{address: 127.77.0.1}]}\n  - {name: b, match: [{address: 127.77.0.2}]}\n";
        Directory::new(Rules::parse(rules).unwrap(), true)
    }

    fn report(id: u64, phase: Phase, sent_bytes: u64) -> Report {
        let address = |text: &str| canonical(text.parse().unwrap()).octets();
        Report {
            id: ConnectionId(id, 0),
            owner: Owner { cgroup_id: u64::MAX, netns: 1 },
            peer: None,
            processes: [0, 0],
            local: endpoint(address("127.77.0.1"), 4000),
            remote: endpoint(address("127.77.0.2"), 80),
            role: Some(Role::Client),
            preexisting: false,
            phase,
            connect_seconds: Some(0.001),
            open_seconds: Some(1.0),
            rtt_seconds: Some(0.001),
            counters: Some(Counters { sent_bytes, ..Counters::default() }),
        }
    }

    const ENDED: Phase = Phase::Ended { by_reset: false };

    fn only(edges: &Edges) -> &EdgeTotals {
        assert_eq!(edges.totals.len(), 1);
        &edges.totals[0].1
    }

    #[test]
    fn totals_do_not_depend_on_how_often_a_connection_is_looked_at() {
        let directory = directory();
        let mut watched = Edges::default();
        for sent in [10, 30, 30] {
            watched.begin_look();
            watched.take(&report(1, Phase::Open, sent), &directory);
            watched.end_look();
        }
        assert_eq!((only(&watched).sent_bytes, only(&watched).active), (30, 1));
        watched.take(&report(1, ENDED, 50), &directory);
        let mut unwatched = Edges::default();
        unwatched.take(&report(1, ENDED, 50), &directory);
        for edges in [&watched, &unwatched] {
            assert_eq!((only(edges).connects, only(edges).sent_bytes), (1, 50));
        }
        watched.begin_look();
        watched.end_look();
        assert_eq!(only(&watched).active, 0);
    }

    #[test]
    fn connections_that_were_there_before_count_only_what_they_do_now() {
        let directory = directory();
        let mut edges = Edges::default();
        for sent in [1_000_000, 1_000_010] {
            edges.take(&Report { preexisting: true, ..report(1, Phase::Open, sent) }, &directory);
        }
        assert_eq!((only(&edges).connects, only(&edges).sent_bytes), (0, 10));
    }

    #[test]
    fn a_connection_shown_twice_in_one_look_is_active_once() {
        let directory = directory();
        let mut edges = Edges::default();
        edges.begin_look();
        for sent in [10, 12] {
            edges.take(&report(1, Phase::Open, sent), &directory);
        }
        edges.end_look();
        assert_eq!((only(&edges).active, only(&edges).sent_bytes), (1, 12));
    }

    #[test]
    fn failures_count_as_connects_too() {
        let directory = directory();
        let mut edges = Edges::default();
        edges.take(&report(1, Phase::Failed(Failure::Refused), 0), &directory);
        edges.take(&report(2, Phase::Failed(Failure::Timeout), 0), &directory);
        assert_eq!(only(&edges).connects, 2);
        assert_eq!(only(&edges).failures, [1, 1, 0, 0, 0]);
    }

    #[test]
    fn connections_whose_end_was_lost_are_forgotten_in_time() {
        let directory = directory();
        let mut edges = Edges::default();
        edges.begin_look();
        edges.take(&report(1, Phase::Open, 1), &directory);
        edges.end_look();
        for _ in 0..2 {
            edges.begin_look();
            edges.end_look();
        }
        assert!(edges.known.is_empty());
    }

    #[test]
    fn reasons_stand_at_their_failures_index() {
        for (index, (failure, _)) in REASONS.iter().enumerate() {
            assert_eq!(*failure as usize, index);
        }
    }
}
