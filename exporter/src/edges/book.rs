//! The edges, and which of them a connection belongs to.

use std::collections::hash_map::Entry;
use std::net::Ipv6Addr;
use std::time::Instant;

use foldhash::{HashMap, HashMapExt};
use quoll_ebpf_abi::protocols::PROTOCOLS;

use super::kinds::MAX_HISTOGRAMS;
use super::{EdgeKey, EdgeTotals, Known};
use crate::directory::{Directory, Ends};
use crate::service::Service;
use crate::source::{Owner, Phase, Report, Role};

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
pub(super) struct Destination {
    /// Index of its edge; `None` where it is hidden.
    pub(super) edge: Option<u32>,
    /// Both ends were found; otherwise a later look may find more.
    is_complete: bool,
    /// There was no room for its edge.
    is_limited: bool,
}

/// Routes that are remembered, of about 130 bytes.
const MAX_ROUTES: usize = 8192;

/// The edges with their totals.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) max_edges: usize,
    /// Kinds of requests per edge and reporter.
    pub(super) max_histograms: usize,
    pub(super) index: HashMap<EdgeKey, u32>,
    pub(super) totals: Vec<(EdgeKey, EdgeTotals)>,
    pub(super) limited: u64,
    /// By the index of their protocol.
    pub(super) requests_limited: [u64; PROTOCOLS],
    routes: HashMap<Route, Destination>,
    /// The directory's version that `routes` are of.
    routes_version: u64,
}

impl Book {
    /// No edges yet.
    pub(super) fn new(max_edges: usize) -> Self {
        Self {
            max_edges,
            max_histograms: MAX_HISTOGRAMS,
            index: HashMap::new(),
            totals: Vec::new(),
            limited: 0,
            requests_limited: [0; PROTOCOLS],
            routes: HashMap::new(),
            routes_version: 0,
        }
    }

    /// Puts an open connection on another edge.
    fn move_to(&mut self, known: &mut Known, edge: Option<u32>) {
        if known.edge != edge && known.is_active {
            if let Some(totals) = known.edge.and_then(|edge| self.totals_of(edge)) {
                totals.active -= 1;
            }
            if let Some(totals) = edge.and_then(|edge| self.totals_of(edge)) {
                totals.active += 1;
            }
        }
        known.edge = edge;
    }

    /// An open connection is no more.
    pub(super) fn leave(&mut self, known: &Known, now: Instant) {
        if known.is_active
            && let Some(totals) = known.edge.and_then(|edge| self.totals_of(edge))
        {
            totals.active -= 1;
            totals.moved = now;
        }
    }

    /// Whether one of an edge's services is not known.
    pub(super) fn is_unnamed(&self, edge: Option<u32>) -> bool {
        let key = edge.and_then(|edge| self.totals.get(edge as usize)).map(|(key, _)| key);
        key.is_some_and(|key| [&key.client, &key.server].contains(&&Service::unknown()))
    }

    /// Removes edges that are over, and moves the others up. Gives the new place of each.
    pub(super) fn drop_edges(
        &mut self,
        is_in_use: &[bool],
        is_over: impl Fn(&(EdgeKey, EdgeTotals)) -> bool,
    ) -> Vec<Option<u32>> {
        let before = std::mem::take(&mut self.totals);
        self.index.clear();
        self.routes.clear();
        let mut places = vec![None; before.len()];
        for (place, edge) in before.into_iter().enumerate() {
            if is_in_use[place] || !is_over(&edge) {
                let kept = self.totals.len() as u32;
                places[place] = Some(kept);
                self.index.insert(edge.0.clone(), kept);
                self.totals.push(edge);
            }
        }
        self.totals.shrink_to(2 * self.totals.len());
        self.index.shrink_to(2 * self.index.len());
        places
    }

    /// Counts a connection that is new, adds what grew of one that is not, and gives its edge.
    pub(super) fn advance(
        &mut self,
        known: &mut Known,
        is_new: bool,
        report: &Report,
        directory: &Directory,
        rules_changed: bool,
    ) -> Option<&mut EdgeTotals> {
        if !known.is_complete || rules_changed {
            let found = self.find(report, directory);
            self.move_to(known, found.edge);
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
            totals.grow(&known.past, counters, self.max_histograms, &mut self.requests_limited);
            if !matches!(report.phase, Phase::Ended { .. }) {
                known.past.renew(counters);
            }
        }
        Some(totals)
    }

    pub(super) fn totals_of(&mut self, edge: u32) -> Option<&mut EdgeTotals> {
        self.totals.get_mut(edge as usize).map(|(_, totals)| totals)
    }

    /// Where a connection belongs; its edge is opened if there is room, else it is that of `other`.
    pub(super) fn find(&mut self, report: &Report, directory: &Directory) -> Destination {
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
