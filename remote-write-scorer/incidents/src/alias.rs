//! Names that may be one component.
//!
//! A load balancer's address is a name that only its callers know and that calls nobody, as far as anyone can
//! see. If it is odd together with a service that shares a caller with it, it may be that service under
//! another name: then the service's fault explains it, while its own fault would not explain the service.
//! How surely is learned like every other strength.

use std::collections::BTreeSet;

use quoll_identity::{Edge, Service};

use crate::config::IncidentsConfig;
use crate::learning::Learned;
use crate::scene::Scene;

/// Pairs remembered, at most.
const REMEMBERED: usize = 1000;
/// Strength from which a name is said to be another name.
const SAID_FROM: f64 = 0.5;

/// Links every suspect that calls nobody to the suspects that share a caller with it and do call others.
pub(crate) fn link(scene: &mut Scene, learned: &Learned, config: &IncidentsConfig) {
    if config.alias_strength <= 0.0 {
        return;
    }
    let odd = |s: usize| scene.evidence[s] > config.anomalous_above;
    let mut found = Vec::new();
    for leaf in (0..scene.services.len()).filter(|&s| odd(s) && scene.callees[s].is_empty()) {
        let above = scene.ancestors(leaf, None);
        for &(caller, _) in &scene.callers[leaf] {
            for &(other, _) in &scene.callees[caller] {
                if other != leaf
                    && !scene.callees[other].is_empty()
                    && odd(other)
                    && above.binary_search(&other).is_err()
                    && !found.contains(&(leaf, other))
                {
                    found.push((leaf, other));
                }
            }
        }
    }
    for (leaf, other) in found {
        let edge = Edge { client: scene.services[leaf].clone(), server: scene.services[other].clone() };
        scene.suppose(leaf, other, learned.strength(&edge, config.alias_strength));
    }
}

/// Keeps the pairs that are linked now. Call it before other links without calls are made.
pub(crate) fn remember(pairs: &mut BTreeSet<Edge>, scene: &Scene) {
    for &(client, server, _) in &scene.supposed {
        if pairs.len() >= REMEMBERED {
            return;
        }
        pairs.insert(Edge { client: scene.services[client].clone(), server: scene.services[server].clone() });
    }
}

/// Names that have suffered with one other often enough, each with what it is a name of.
pub(crate) fn known(pairs: &BTreeSet<Edge>, learned: &Learned, config: &IncidentsConfig) -> Vec<(Service, Service)> {
    let mut known: Vec<(Service, Service)> = Vec::new();
    let mut best = 0.0;
    for pair in pairs {
        let strength = learned.strength(pair, config.alias_strength);
        if strength < SAID_FROM {
            continue;
        }
        match known.last_mut() {
            Some((name, of)) if *name == pair.client => {
                if strength > best {
                    (*of, best) = (pair.server.clone(), strength);
                }
            }
            _ => {
                known.push((pair.client.clone(), pair.server.clone()));
                best = strength;
            }
        }
    }
    known
}
