//! Sums reports of connections into totals per edge and reporter.
//!
//! A connection is counted when it is first seen, and its bytes, retransmits and requests as they
//! grow: what is remembered of each open connection is its totals so far. So long-lived pools move
//! their edge's counters while they live, and a connection's end adds only the rest. Whether a
//! connection is first seen open or already ended makes no difference to the totals.
//!
//! Naming both ends of a connection takes a dozen look-ups, so the edge is remembered by all that the
//! names depend on ([`Route`]), until anything that names are made of changes.
//!
//! Counters of an edge never fall. An edge ends, and its series with it, when nothing happened on it for
//! [`IDLE_AFTER`] and no connection of it is open; or for [`GONE_AFTER`] where one of its services is gone
//! from this node. So churn leaves nothing behind. When there are too many edges, new ones are not opened: what
//! belongs there goes to the edge from `other` to `other`, and such connections are counted.

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::Protocol;
use quoll_ebpf_abi::requests::{BUCKETS, CLASSES};
use quoll_http2::Tally;

use crate::collectors::{requests, tcp};
use crate::directory::{Directory, Ends, GONE_AFTER};
use crate::histogram::Histogram;
use crate::service::Service;
use crate::source::{ConnectionId, Counters, Failure, Owner, Phase, Report, Role};

/// Edges that are kept at most; each takes about 2 KiB here and 50 to 110 series in Prometheus.
pub const MAX_EDGES: usize = 20_000;

/// Edges without an open connection end after so long without an event; unless set otherwise.
pub const IDLE_AFTER: Duration = Duration::from_secs(3600);

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
    /// Whether there was any connection, and not datagrams only.
    pub has_connections: bool,
    /// Requests by protocol and the index of their status, in this order.
    pub requests: Vec<((Protocol, usize), Histogram)>,
    /// Connections that left HTTP by switching protocols.
    pub upgrades: u64,
    /// When it was last part of a report.
    moved: Instant,
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
            has_connections: false,
            requests: Vec::new(),
            upgrades: 0,
            moved: Instant::now(),
        }
    }

    /// Adds what grew between two totals of one connection. Gives how many requests found no room.
    fn grow(&mut self, before: &Past, after: &Counters) -> u64 {
        self.has_counters = true;
        // What is read of a socket that ends at this very moment may be anything.
        self.sent_bytes = self.sent_bytes.saturating_add(after.sent_bytes.saturating_sub(before.sent_bytes));
        self.received_bytes =
            self.received_bytes.saturating_add(after.received_bytes.saturating_sub(before.received_bytes));
        self.retransmits += u64::from(after.retransmits.saturating_sub(before.retransmits));
        let mut limited = 0;
        for tally in &after.tallies {
            let key = (tally.protocol, usize::from(tally.status));
            let known =
                before.tallies.iter().find(|known| (known.protocol, known.status) == (tally.protocol, tally.status));
            let before = known.copied().unwrap_or_else(|| Tally::new(tally.protocol, tally.status));
            limited += self.add_requests(key, (&before.counts, before.sum_ns), (&tally.counts, tally.sum_ns));
        }
        let Some(after) = &after.requests else { return limited };
        let before = before.requests.as_deref().unwrap_or(&RequestStats::NONE);
        self.upgrades += u64::from(after.upgraded.saturating_sub(before.upgraded));
        let Some(protocol) = Protocol::of(after.protocol) else { return limited };
        for class in 0..CLASSES {
            let before = (&before.counts[class], before.sum_ns[class]);
            limited += self.add_requests((protocol, class), before, (&after.counts[class], after.sum_ns[class]));
        }
        limited
    }

    /// Adds what grew between two totals of requests that ended alike. Gives how many found no room.
    fn add_requests(
        &mut self,
        key: (Protocol, usize),
        before: (&[u32; BUCKETS], u64),
        after: (&[u32; BUCKETS], u64),
    ) -> u64 {
        if after.0 == before.0 {
            return 0;
        }
        let grown = after.0.iter().zip(before.0).map(|(after, before)| u64::from(after.wrapping_sub(*before)));
        let place = match self.requests.binary_search_by_key(&key, |(known, _)| *known) {
            Ok(place) => place,
            Err(_) if self.requests.len() >= MAX_HISTOGRAMS => return grown.sum(),
            Err(place) => {
                self.requests.insert(place, (key, Histogram::new(requests::BOUNDS)));
                place
            }
        };
        self.requests[place].1.add(grown, after.1.saturating_sub(before.1) as f64 / 1e9);
        0
    }
}

/// Histograms of requests of one edge and reporter: each has twelve series, and together they stay within 60.
pub const MAX_HISTOGRAMS: usize = 5;

/// Totals of an open connection when it was last reported; most carry no requests.
#[derive(Debug, Default)]
struct Past {
    sent_bytes: u64,
    received_bytes: u64,
    retransmits: u32,
    requests: Option<Box<RequestStats>>,
    tallies: Vec<Tally>,
}

impl Past {
    /// Of `counters`, in the memory of the totals before.
    fn renew(&mut self, counters: &Counters) {
        self.sent_bytes = counters.sent_bytes;
        self.received_bytes = counters.received_bytes;
        self.retransmits = counters.retransmits;
        self.tallies.clone_from(&counters.tallies);
        if let Some(stats) = counters.requests {
            match &mut self.requests {
                Some(known) => **known = stats,
                None => self.requests = Some(Box::new(stats)),
            }
        }
    }
}

/// What the names of a connection depend on. Connections of one edge mostly differ in nothing but their
/// client's port, which does not count.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Route {
    owner: Owner,
    peer: Option<Owner>,
    processes: [u32; 2],
    local: Ipv6Addr,
    remote: Ipv6Addr,
    server_port: u16,
    role: Role,
}

impl Route {
    /// `None` where it has to be found out who called whom.
    fn of(report: &Report) -> Option<Self> {
        let role = report.role?;
        let server = if role == Role::Server { report.local } else { report.remote };
        Some(Self {
            owner: report.owner,
            peer: report.peer,
            processes: report.processes,
            local: report.local.address,
            remote: report.remote.address,
            server_port: server.port,
            role,
        })
    }
}

/// Where a connection belongs.
#[derive(Debug, Clone, Copy)]
struct Destination {
    /// Index of its edge; `None` where it is hidden.
    edge: Option<u32>,
    /// Both ends were found; otherwise a later look may find more.
    is_complete: bool,
    /// There was no room for its edge.
    is_limited: bool,
}

/// Routes that are remembered, of about 130 bytes.
const MAX_ROUTES: usize = 8192;

/// An open connection; about 70 bytes.
#[derive(Debug)]
struct Known {
    /// Index of its edge; `None` where it is hidden.
    edge: Option<u32>,
    is_complete: bool,
    past: Past,
    /// Number of the last look that saw it.
    look: u64,
}

/// After how long without an event an edge ends.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// In general.
    pub idle_after: Duration,
    /// Where one of its services is gone.
    pub gone_after: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { idle_after: IDLE_AFTER, gone_after: GONE_AFTER }
    }
}

/// All edges.
#[derive(Debug)]
pub struct Edges {
    lifetimes: Lifetimes,
    book: Book,
    known: HashMap<ConnectionId, Known>,
    look: u64,
    /// When the reports that come in now were made, near enough.
    now: Instant,
    rules_changed: bool,
}

/// The edges with their totals.
#[derive(Debug)]
struct Book {
    max_edges: usize,
    index: HashMap<EdgeKey, u32>,
    totals: Vec<(EdgeKey, EdgeTotals)>,
    limited: u64,
    requests_limited: u64,
    routes: HashMap<Route, Destination>,
    /// The directory's version that `routes` are of.
    routes_version: u64,
}

impl Default for Edges {
    fn default() -> Self {
        Self::new(Lifetimes::default(), MAX_EDGES)
    }
}

impl Edges {
    /// No edges yet.
    #[must_use]
    pub fn new(lifetimes: Lifetimes, max_edges: usize) -> Self {
        let book = Book {
            max_edges,
            index: HashMap::new(),
            totals: Vec::new(),
            limited: 0,
            requests_limited: 0,
            routes: HashMap::new(),
            routes_version: 0,
        };
        Self { lifetimes, book, known: HashMap::new(), look: 0, now: Instant::now(), rules_changed: false }
    }

    /// Other bounds from now on; edges that are there stay.
    pub fn set_bounds(&mut self, lifetimes: Lifetimes, max_edges: usize) {
        self.lifetimes = lifetimes;
        self.book.max_edges = max_edges;
    }

    /// Every edge and reporter, in the order first seen.
    pub fn iter(&self) -> impl Iterator<Item = &(EdgeKey, EdgeTotals)> {
        self.book.totals.iter()
    }

    /// Connections that were counted under `other` since there was no room for their edge.
    #[must_use]
    pub fn limited(&self) -> u64 {
        self.book.limited
    }

    /// Requests that are in no histogram since their edge has too many protocols and statuses.
    #[must_use]
    pub fn requests_limited(&self) -> u64 {
        self.book.requests_limited
    }

    /// Open connections are named anew at the next look.
    pub fn rename(&mut self) {
        self.rules_changed = true;
    }

    /// Reports of this moment follow.
    pub fn begin_batch(&mut self) {
        self.now = Instant::now();
    }

    /// Begins a look at all open connections; [`Self::end_look`] must follow.
    pub fn begin_look(&mut self) {
        self.begin_batch();
        self.look += 1;
        for (_, totals) in &mut self.book.totals {
            totals.active = 0;
        }
    }

    /// Ends a look. A connection that this look and the one before did not see is forgotten: the
    /// record of its end was lost. Edges end that are idle, those of services that are `gone` sooner.
    pub fn end_look(&mut self, gone: &HashSet<Service>) {
        self.end_look_at(gone, Instant::now());
    }

    fn end_look_at(&mut self, gone: &HashSet<Service>, now: Instant) {
        let look = self.look;
        self.known.retain(|_, known| known.look + 1 >= look);
        self.rules_changed = false;
        let lifetimes = self.lifetimes;
        let is_over = |(key, totals): &(EdgeKey, EdgeTotals)| {
            let is_gone = gone.contains(&key.client) || gone.contains(&key.server);
            let patience = if is_gone { lifetimes.gone_after } else { lifetimes.idle_after };
            totals.active == 0 && now.saturating_duration_since(totals.moved) >= patience
        };
        if self.book.totals.iter().any(is_over) {
            self.drop_edges(is_over);
        }
    }

    /// Removes edges that no known connection belongs to, and moves the others up.
    fn drop_edges(&mut self, is_over: impl Fn(&(EdgeKey, EdgeTotals)) -> bool) {
        let book = &mut self.book;
        let mut is_in_use = vec![false; book.totals.len()];
        for known in self.known.values() {
            if let Some(edge) = known.edge {
                is_in_use[edge as usize] = true;
            }
        }
        let before = std::mem::take(&mut book.totals);
        book.index.clear();
        book.routes.clear();
        let mut places = vec![None; before.len()];
        for (place, edge) in before.into_iter().enumerate() {
            if is_in_use[place] || !is_over(&edge) {
                let kept = book.totals.len() as u32;
                places[place] = Some(kept);
                book.index.insert(edge.0.clone(), kept);
                book.totals.push(edge);
            }
        }
        book.totals.shrink_to(2 * book.totals.len());
        book.index.shrink_to(2 * book.index.len());
        for known in self.known.values_mut() {
            known.edge = known.edge.and_then(|edge| places[edge as usize]);
        }
    }

    /// Takes in one report.
    pub fn take(&mut self, report: &Report, directory: &Directory) {
        let Self { book, known, look, now, rules_changed, .. } = self;
        match report.phase {
            Phase::Connecting => {}
            Phase::Failed(failure) => {
                if let Some(totals) = book.find(report, directory).edge.and_then(|edge| book.totals_of(edge)) {
                    totals.moved = *now;
                    totals.has_connections = true;
                    totals.connects += 1;
                    totals.failures[failure as usize] += 1;
                }
            }
            Phase::Open => {
                let (known, is_new) = match known.entry(report.id) {
                    Entry::Occupied(occupied) => (occupied.into_mut(), false),
                    Entry::Vacant(vacant) => (vacant.insert(Known::new(report)), true),
                };
                // The kernel's walk over a map that changes may show an entry twice.
                let is_repeated = !is_new && known.look == *look;
                known.look = *look;
                let Some(totals) = book.advance(known, is_new, report, directory, *rules_changed) else { return };
                totals.moved = *now;
                if is_repeated {
                    return;
                }
                if report.is_datagram {
                    return;
                }
                totals.active += 1;
                if let Some(seconds) = report.rtt_seconds {
                    totals.rtt_seconds.observe(seconds);
                }
            }
            Phase::Ended { by_reset } => {
                let seen = known.remove(&report.id);
                let is_new = seen.is_none();
                let mut known = seen.unwrap_or_else(|| Known::new(report));
                let Some(totals) = book.advance(&mut known, is_new, report, directory, *rules_changed) else { return };
                totals.moved = *now;
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
}

impl Known {
    fn new(report: &Report) -> Self {
        let mut past = Past::default();
        if report.preexisting
            && let Some(counters) = &report.counters
        {
            // Totals of a connection that was there before us are not of our time.
            past.renew(counters);
        }
        Self { edge: None, is_complete: false, past, look: 0 }
    }
}

impl Book {
    /// Counts a connection that is new, adds what grew of one that is not, and gives its edge.
    fn advance(
        &mut self,
        known: &mut Known,
        is_new: bool,
        report: &Report,
        directory: &Directory,
        rules_changed: bool,
    ) -> Option<&mut EdgeTotals> {
        if !known.is_complete || rules_changed {
            let found = self.find(report, directory);
            known.edge = found.edge;
            known.is_complete = found.is_complete;
        }
        let totals = known.edge.and_then(|edge| self.totals.get_mut(edge as usize)).map(|(_, totals)| totals);
        let Some(totals) = totals else {
            if let Some(counters) = &report.counters {
                known.past.renew(counters);
            }
            return None;
        };
        totals.has_connections |= !report.is_datagram;
        if is_new && !report.preexisting && !report.is_datagram {
            totals.connects += 1;
            if let Some(seconds) = report.connect_seconds {
                totals.connect_seconds.observe(seconds);
            }
        }
        if let Some(counters) = &report.counters {
            self.requests_limited += totals.grow(&known.past, counters);
            if !matches!(report.phase, Phase::Ended { .. }) {
                known.past.renew(counters);
            }
        }
        Some(totals)
    }

    fn totals_of(&mut self, edge: u32) -> Option<&mut EdgeTotals> {
        self.totals.get_mut(edge as usize).map(|(_, totals)| totals)
    }

    /// Where a connection belongs; its edge is opened if there is room, else it is that of `other`.
    fn find(&mut self, report: &Report, directory: &Directory) -> Destination {
        if self.routes_version != directory.version() || self.routes.len() >= MAX_ROUTES {
            self.routes_version = directory.version();
            self.routes.clear();
        }
        let route = Route::of(report);
        if let Some(known) = route.as_ref().and_then(|route| self.routes.get(route)) {
            self.limited += u64::from(known.is_limited);
            return *known;
        }
        let destination = match directory.ends(report) {
            Some(ends) => self.open(ends),
            None => Destination { edge: None, is_complete: true, is_limited: false },
        };
        self.limited += u64::from(destination.is_limited);
        if let Some(route) = route {
            self.routes.insert(route, destination);
        }
        destination
    }

    fn open(&mut self, ends: Ends) -> Destination {
        let Ends { client, server, reporter, is_complete } = ends;
        let mut key = EdgeKey { client, server, reporter };
        let count = self.totals.len();
        let is_limited = count >= self.max_edges && !self.index.contains_key(&key);
        if is_limited {
            key = EdgeKey { client: Service::other(), server: Service::other(), reporter };
        }
        let edge = match self.index.entry(key) {
            Entry::Occupied(occupied) => *occupied.get(),
            Entry::Vacant(vacant) => {
                self.totals.push((vacant.key().clone(), EdgeTotals::new()));
                *vacant.insert(count as u32)
            }
        };
        Destination { edge: Some(edge), is_complete, is_limited }
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
    use crate::source::endpoint;

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
            is_datagram: false,
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
        assert_eq!(edges.book.totals.len(), 1);
        &edges.book.totals[0].1
    }

    #[test]
    fn totals_do_not_depend_on_how_often_a_connection_is_looked_at() {
        let directory = directory();
        let mut watched = Edges::default();
        for sent in [10, 30, 30] {
            watched.begin_look();
            watched.take(&report(1, Phase::Open, sent), &directory);
            watched.end_look(&HashSet::new());
        }
        assert_eq!((only(&watched).sent_bytes, only(&watched).active), (30, 1));
        watched.take(&report(1, ENDED, 50), &directory);
        let mut unwatched = Edges::default();
        unwatched.take(&report(1, ENDED, 50), &directory);
        for edges in [&watched, &unwatched] {
            assert_eq!((only(edges).connects, only(edges).sent_bytes), (1, 50));
        }
        watched.begin_look();
        watched.end_look(&HashSet::new());
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
        edges.end_look(&HashSet::new());
        assert_eq!((only(&edges).active, only(&edges).sent_bytes), (1, 12));
    }

    #[test]
    fn connections_beyond_the_last_edge_are_counted_under_other() {
        let mut edges = Edges::new(Lifetimes::default(), 3);
        for number in 0..1000 {
            let rules = format!("services: [{{name: job-{number}, match: [{{address: 127.77.0.1}}]}}]\n");
            let directory = Directory::new(Rules::parse(&rules).unwrap(), true);
            edges.take(&report(number, ENDED, 5), &directory);
        }
        assert_eq!((edges.book.totals.len(), edges.limited()), (4, 997));
        let (key, other) = edges.book.totals.last().unwrap();
        assert_eq!((key.client.to_string(), key.server.to_string()), ("other".into(), "other".into()));
        assert_eq!((other.connects, other.sent_bytes), (997, 5 * 997));
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
        edges.end_look(&HashSet::new());
        for _ in 0..2 {
            edges.begin_look();
            edges.end_look(&HashSet::new());
        }
        assert!(edges.known.is_empty());
    }

    #[test]
    fn idle_edges_end_and_those_in_use_keep_their_totals() {
        let directory = directory();
        let mut edges = Edges::default();
        let start = Instant::now();
        let reversed = |report: Report| Report { local: report.remote, remote: report.local, ..report };
        edges.begin_look();
        edges.take(&report(1, ENDED, 5), &directory);
        edges.take(&reversed(report(2, Phase::Open, 7)), &directory);
        edges.end_look_at(&HashSet::new(), start + IDLE_AFTER / 2);
        assert_eq!(edges.book.totals.len(), 2);
        for later in [2, 3] {
            edges.begin_look();
            edges.take(&reversed(report(2, Phase::Open, 7 * u64::from(later))), &directory);
            edges.end_look_at(&HashSet::new(), start + IDLE_AFTER * later);
        }
        assert_eq!(only(&edges).sent_bytes, 21);
        assert_eq!((edges.book.index.len(), only(&edges).active), (1, 1));
        edges.take(&reversed(report(2, ENDED, 30)), &directory);
        assert_eq!((only(&edges).sent_bytes, only(&edges).connects), (30, 1));
    }

    #[test]
    fn edges_of_a_service_that_is_gone_end_sooner_and_churn_leaves_nothing() {
        let mut edges = Edges::default();
        let start = Instant::now();
        for number in 0..500 {
            let name = format!("job-{number}");
            let rules = format!("services: [{{name: {name}, match: [{{address: 127.77.0.1}}]}}]\n");
            let directory = Directory::new(Rules::parse(&rules).unwrap(), true);
            edges.begin_look();
            edges.take(&report(number, ENDED, 5), &directory);
            let gone = Service::new(None, &name).unwrap();
            edges.end_look_at(&HashSet::from([gone.clone()]), start);
            assert_eq!(edges.book.totals.len(), 1, "it may come back");
            edges.begin_look();
            edges.end_look_at(&HashSet::from([gone]), start + GONE_AFTER + Duration::from_secs(60));
            assert!(edges.book.totals.is_empty() && edges.book.index.is_empty() && edges.known.is_empty());
        }
        assert!(edges.book.totals.capacity() < 8);
    }

    #[test]
    fn reasons_stand_at_their_failures_index() {
        for (index, (failure, _)) in REASONS.iter().enumerate() {
            assert_eq!(*failure as usize, index);
        }
    }
}
