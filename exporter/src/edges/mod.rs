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

mod book;
mod kinds;
mod totals;

use std::collections::HashSet;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};
use quoll_ebpf_abi::protocols::Protocol;

use crate::directory::{Directory, GONE_AFTER};
use crate::service::Service;
use crate::source::{ConnectionId, Phase, Report, Role};

use book::Book;
pub use kinds::{MAX_HISTOGRAMS, MAX_HISTOGRAMS_BY_METHOD, status_name};
use totals::Past;
pub use totals::{EdgeTotals, REASONS};

/// Edges that are kept at most; each takes about 2 KiB here and 50 to 110 series in Prometheus.
pub const MAX_EDGES: usize = 20_000;

/// Edges without an open connection end after so long without an event; unless set otherwise.
pub const IDLE_AFTER: Duration = Duration::from_secs(3600);

/// A look at all open connections comes at least so often; in between, those that did not move are left out.
const ALL_EVERY: Duration = Duration::from_secs(30);
/// So many looks at all follow on a connection of a service that was not known: it may be by now.
const UNNAMED_LOOKS: u32 = 2;

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

/// An open connection; 48 bytes.
#[derive(Debug)]
struct Known {
    /// Index of its edge; `None` where it is hidden.
    edge: Option<u32>,
    is_complete: bool,
    /// It counts among the active ones of its edge.
    is_active: bool,
    past: Past,
    /// Number of the last look that saw it.
    look: u32,
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
    look: u32,
    /// The last two looks at all.
    full_looks: [u32; 2],
    /// When the last of them began.
    looked_at_all: Option<Instant>,
    /// So many further looks are at all, since a service was not known.
    unnamed_looks: u32,
    /// When the reports that come in now were made, near enough.
    now: Instant,
    rules_changed: bool,
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
        Self {
            lifetimes,
            book: Book::new(max_edges),
            known: HashMap::new(),
            look: 0,
            full_looks: [0; 2],
            looked_at_all: None,
            unnamed_looks: 0,
            now: Instant::now(),
            rules_changed: false,
        }
    }

    /// The same for requests that HTTP's method tells apart, with room for more of them.
    #[must_use]
    pub fn with_methods(mut self) -> Self {
        self.book.max_histograms = MAX_HISTOGRAMS_BY_METHOD;
        self
    }

    /// Whether HTTP's requests are told apart by method.
    #[must_use]
    pub fn by_method(&self) -> bool {
        self.book.max_histograms == MAX_HISTOGRAMS_BY_METHOD
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

    /// Requests that are in no histogram since their edge speaks too many protocols, by protocol.
    pub fn requests_limited(&self) -> impl Iterator<Item = (Protocol, u64)> {
        Protocol::ALL.into_iter().map(|protocol| (protocol, self.book.requests_limited[protocol as usize]))
    }

    /// Open connections are named anew at the next look.
    pub fn rename(&mut self) {
        self.rules_changed = true;
    }

    /// Reports of this moment follow.
    pub fn begin_batch(&mut self) {
        self.now = Instant::now();
    }

    /// Whether the next look must be at all open connections, and not only at those that moved since the last:
    /// every [`ALL_EVERY`], after a change of the rules, and for some looks after a service was not known.
    #[must_use]
    pub fn must_look_at_all(&self) -> bool {
        self.rules_changed || self.unnamed_looks > 0 || self.looked_at_all.is_none_or(|at| at.elapsed() >= ALL_EVERY)
    }

    /// Begins a look at open connections; [`Self::end_look`] must follow.
    pub fn begin_look(&mut self, at_all: bool) {
        self.begin_batch();
        self.look += 1;
        if at_all {
            self.full_looks = [self.full_looks[1], self.look];
            self.looked_at_all = Some(self.now);
            self.unnamed_looks = self.unnamed_looks.saturating_sub(1);
        }
    }

    /// Ends a look. A connection that the last two looks at all did not see is forgotten: the
    /// record of its end was lost. Edges end that are idle, those of services that are `gone` sooner.
    pub fn end_look(&mut self, gone: &HashSet<Service>) {
        self.end_look_at(gone, Instant::now());
    }

    fn end_look_at(&mut self, gone: &HashSet<Service>, now: Instant) {
        let Self { book, known, full_looks, .. } = self;
        if self.look == full_looks[1] {
            known.retain(|_, known| {
                let is_kept = known.look >= full_looks[0];
                if !is_kept {
                    book.leave(known, now);
                }
                is_kept
            });
            self.rules_changed = false;
        }
        let lifetimes = self.lifetimes;
        let is_over = |(key, totals): &(EdgeKey, EdgeTotals)| {
            let is_gone = gone.contains(&key.client) || gone.contains(&key.server);
            let patience = if is_gone { lifetimes.gone_after } else { lifetimes.idle_after };
            totals.active == 0 && now.saturating_duration_since(totals.moved) >= patience
        };
        if book.totals.iter().any(is_over) {
            let mut is_in_use = vec![false; book.totals.len()];
            for edge in known.values().filter_map(|known| known.edge) {
                is_in_use[edge as usize] = true;
            }
            let places = book.drop_edges(&is_in_use, is_over);
            for known in known.values_mut() {
                known.edge = known.edge.and_then(|edge| places[edge as usize]);
            }
        }
    }

    /// Takes in one report.
    pub fn take(&mut self, report: &Report, directory: &Directory) {
        let Self { book, known, look, now, rules_changed, unnamed_looks, .. } = self;
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
                if report.is_datagram {
                    return;
                }
                totals.active += u64::from(!known.is_active);
                known.is_active = true;
                if is_new && !known.is_complete && book.is_unnamed(known.edge) {
                    *unnamed_looks = UNNAMED_LOOKS;
                }
                if is_repeated || !report.has_moved {
                    return;
                }
                let Some(totals) = known.edge.and_then(|edge| book.totals_of(edge)) else { return };
                if let Some(seconds) = report.rtt_seconds {
                    totals.rtt_seconds.observe(seconds);
                }
            }
            Phase::Ended { by_reset } => {
                let seen = known.remove(&report.id);
                let is_new = seen.is_none();
                if let Some(known) = &seen {
                    book.leave(known, *now);
                }
                let mut known = seen.map_or_else(|| Known::new(report), |known| Known { is_active: false, ..known });
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
        Self { edge: None, is_complete: false, is_active: false, past, look: 0 }
    }
}

#[cfg(test)]
mod tests;
