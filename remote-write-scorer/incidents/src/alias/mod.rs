//! Names that may be one component.
//!
//! A load balancer's address is a name that only its callers know and that calls nobody, as far as anyone can
//! see. Two things tell what it is a name of:
//! - **Calm times** ([`quiet`]): both see the same requests, as many and as fast. Then they are linked as surely
//!   as a caller is to what every request needs.
//! - **Trouble**: it is odd together with a service that shares a caller with it. Then it *may* be that service
//!   under another name: the service's fault would explain it, while its own fault would not explain the service.
//!
//! How surely trouble travels along either link is learned like every other strength. A proxy that nothing else is
//! known of looks like another name of what stands behind it, and is said to be one: for the question of who
//! suffers from whom it is the same.

use std::collections::BTreeSet;

use quoll_features::ClosedStep;
use quoll_identity::{Edge, Service};

use crate::config::IncidentsConfig;
use crate::engine::Incidents;
use crate::learning::Learned;
use crate::names::Cursor;
use crate::observe::Seen;
use crate::scene::Scene;

pub(crate) mod quiet;

use quiet::{BLOCK_STEPS, Candidate, Pair, Stream, WATCHED, candidates};

/// Pairs remembered, at most.
const REMEMBERED: usize = 1000;
/// Strength from which a name is said to be another name.
const SAID_FROM: f64 = 0.5;
/// Strength to start with of what is sure from calm times: that of a call that every request needs.
const SURE_STRENGTH: f64 = 0.95;

/// Links every name that is sure to be another's to it, and every suspect that calls nobody to the suspects that share
/// a caller with it and do call others.
pub(crate) fn link(scene: &mut Scene, known: &[Pair], learned: &Learned, config: &IncidentsConfig) {
    if config.alias_strength <= 0.0 {
        return;
    }
    let mut found = Vec::new();
    let sure = best(known);
    for pair in &sure {
        if let (Some(name), Some(of)) = (scene.find(&pair.name), scene.find(&pair.of)) {
            found.push((name, of, SURE_STRENGTH));
        }
    }
    let settled: Vec<usize> = found.iter().map(|(name, ..)| *name).collect();
    let odd = |s: usize| scene.evidence[s] > config.anomalous_above;
    for leaf in (0..scene.services.len()).filter(|&s| odd(s) && scene.callees[s].is_empty() && !settled.contains(&s)) {
        let above = scene.ancestors(leaf, None);
        for &(caller, _) in &scene.callers[leaf] {
            for &(other, _) in &scene.callees[caller] {
                if other != leaf
                    && !scene.callees[other].is_empty()
                    && odd(other)
                    && above.binary_search(&other).is_err()
                    && !found.iter().any(|&(name, of, _)| (name, of) == (leaf, other))
                {
                    found.push((leaf, other, config.alias_strength));
                }
            }
        }
    }
    for (name, of, start) in found {
        // A call between them is one already.
        if scene.callees[name].iter().all(|&(callee, _)| callee != of) {
            let edge = Edge { client: scene.services[name].clone(), server: scene.services[of].clone() };
            scene.suppose(name, of, learned.strength(&edge, start));
        }
    }
}

/// Per name the surest of the pairs that are sure; in the order of the names.
fn best(pairs: &[Pair]) -> Vec<&Pair> {
    let mut best: Vec<&Pair> = Vec::new();
    // They are sorted by name.
    for pair in pairs.iter().filter(|pair| pair.sure) {
        match best.last_mut() {
            Some(last) if last.name == pair.name => {
                if pair.weight() > last.weight() {
                    *last = pair;
                }
            }
            _ => best.push(pair),
        }
    }
    best
}

/// Keeps the pairs that are linked now; those that are gone make room. Call it before other links without calls are
/// made.
pub(crate) fn remember(pairs: &mut BTreeSet<Edge>, scene: &Scene) {
    for &(client, server, _) in &scene.supposed {
        if pairs.len() >= REMEMBERED {
            pairs.retain(|pair| scene.find(&pair.client).is_some() && scene.find(&pair.server).is_some());
        }
        if pairs.len() >= REMEMBERED {
            return;
        }
        pairs.insert(Edge { client: scene.services[client].clone(), server: scene.services[server].clone() });
    }
}

impl Incidents {
    /// Names that see the same requests as another, or have suffered with one other often enough, each with what
    /// it is a name of.
    pub(crate) fn known_aliases(&self) -> Vec<(Service, Service)> {
        if self.config.alias_strength <= 0.0 {
            return Vec::new();
        }
        let mut known: Vec<(Service, Service)> =
            best(&self.watched).into_iter().map(|pair| (pair.name.clone(), pair.of.clone())).collect();
        let sure = known.len();
        let mut strongest = 0.0;
        for pair in &self.aliases {
            if known[..sure].binary_search_by(|(name, _)| name.cmp(&pair.client)).is_ok() {
                continue;
            }
            let strength = self.learned.strength(pair, self.config.alias_strength);
            if strength < SAID_FROM {
                continue;
            }
            match known[sure..].last_mut() {
                Some((name, of)) if *name == pair.client => {
                    if strength > strongest {
                        (*of, strongest) = (pair.server.clone(), strength);
                    }
                }
                _ => {
                    known.push((pair.client.clone(), pair.server.clone()));
                    strongest = strength;
                }
            }
        }
        known.sort();
        known
    }

    /// Takes a step's calls into the streams of names and edges, and compares pairs where a block ends. Call it while
    /// the scene has no links without calls.
    pub(crate) fn watch_streams(&mut self, step: &ClosedStep, seen: &Seen, scene: &Scene) {
        if self.config.alias_strength <= 0.0 {
            return;
        }
        let seconds = self.step_ms as f64 / 1000.0;
        self.streams.resize(scene.services.len(), Stream::default());
        for (known, at) in self.topology.edges.iter_mut().zip(&seen.matched.seen) {
            let Some(call) = at.and_then(|at| step.edges.get(at)) else { continue };
            let requests = call.requests_per_second * seconds;
            self.streams[known.server].add(requests, call.latency_seconds);
            if scene.callers[known.server].len() > 1 {
                known.state.stream.get_or_insert_default().add(requests, call.latency_seconds);
            } else if known.state.stream.is_some() {
                known.state.stream = None;
            }
        }
        for (number, stream) in self.streams.iter_mut().enumerate() {
            if scene.steady[number] > self.config.anomalous_above || self.in_incident[number] {
                stream.spoil();
            }
        }
        if !self.ticks.is_multiple_of(BLOCK_STEPS) {
            return;
        }
        self.compare(scene, step.end_ms);
        self.streams.iter_mut().for_each(Stream::close);
        for known in &mut self.topology.edges {
            if let Some(stream) = &mut known.state.stream {
                stream.close();
            }
        }
        if self.ticks.is_multiple_of(BLOCK_STEPS * u64::from(quiet::SIGNATURE_BLOCKS)) {
            self.find_pairs(step, scene);
        }
    }

    /// Steps are missing: nothing that spans them is compared.
    pub(crate) fn interrupt_streams(&mut self) {
        self.streams.iter_mut().for_each(Stream::interrupt);
        self.topology.edges.iter_mut().filter_map(|known| known.state.stream.as_mut()).for_each(|s| s.interrupt());
    }

    fn compare(&mut self, scene: &Scene, now_ms: i64) {
        let mut names = Cursor::new(&scene.services, |name| name);
        for pair in &mut self.watched {
            let (Some(name), Some(of)) = (names.find(&pair.name), scene.find(&pair.of)) else { continue };
            let along = pair.caller.as_ref().map(|caller| {
                let edge = Edge { client: caller.clone(), server: pair.of.clone() };
                let at = self.topology.edges.binary_search_by(|known| known.edge.cmp(&edge)).ok()?;
                self.topology.edges[at].state.stream.as_deref()
            });
            let stream = match along {
                None => Some(&self.streams[of]),
                Some(stream) => stream,
            };
            if let Some(stream) = stream {
                // The component's trouble shows in what is sent along one edge too.
                if !self.streams[of].is_odd() {
                    pair.compare(&self.streams[name], stream, now_ms);
                }
            }
        }
        self.watched.retain(|pair| !pair.is_hopeless(now_ms));
    }

    /// Looks for names and components that may be one, and keeps them to be compared.
    fn find_pairs(&mut self, step: &ClosedStep, scene: &Scene) {
        let mut hosted = vec![false; scene.services.len()];
        let mut names = Cursor::new(&scene.services, |name| name);
        for service in step.services.iter().filter(|service| !service.hosts.is_empty()) {
            if let Some(number) = names.find(&service.service) {
                hosted[number] = true;
            }
        }
        let is_name = |s: usize| scene.callees[s].is_empty() && !hosted[s];
        // Who has come to call somebody is no mere name; and whoever calls the other, through whomever, is not its
        // other name.
        let apart = |name: usize, of: usize| scene.ancestors(name, None).binary_search(&of).is_err();
        self.watched.retain(|pair| {
            let (name, of) = (scene.find(&pair.name), scene.find(&pair.of));
            name.is_none_or(|name| is_name(name) && of.is_none_or(|of| apart(name, of)))
        });
        let totals = (self.streams.iter().enumerate())
            .filter_map(|(server, stream)| Candidate::new(stream, server, None, is_name(server)));
        let edges = (self.topology.edges.iter().enumerate())
            .filter(|(_, known)| !is_name(known.server))
            .filter_map(|(at, known)| Candidate::new(known.state.stream.as_deref()?, known.server, Some(at), false));
        for (name, of) in candidates(totals.chain(edges).collect()) {
            if self.watched.len() >= WATCHED {
                return;
            }
            let caller = of.edge.map(|at| self.topology.edges[at].edge.client.clone());
            let pair =
                Pair::new(scene.services[name.server].clone(), scene.services[of.server].clone(), caller, step.end_ms);
            let key = |pair: &Pair| (pair.name.clone(), pair.of.clone(), pair.caller.clone());
            let Err(at) = self.watched.binary_search_by(|other| key(other).cmp(&key(&pair))) else { continue };
            if apart(name.server, of.server) {
                self.watched.insert(at, pair);
            }
        }
    }
}
