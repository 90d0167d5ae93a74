//! What if: suppositions about services and calls, and what would follow from them.
//!
//! - *failed*: P(anomalous | do(fault there)) for every other service, its blast radius.
//! - *healthy*: the posterior of each incident, knowing that these services are not anomalous.
//! - *drained* (nobody calls it any more) and *cut* calls: the blast radius in the graph that is left.
//!   They leave posteriors alone: what was seen was seen with the calls in place.
//!
//! The engine's prepared graph is kept across questions and refreshes as long as the calls, their
//! strengths and the leak are the same, so that a question costs only what it changes. Nothing fails:
//! what cannot be computed is a note.

use std::collections::BTreeSet;

use quoll_blast_radius::{CallEdge, CallGraph, InferenceError, WhatIf, WhatIfError, blast_radius_bound, single_fault};

use crate::inference::{Inference, Obstacle, Ranked, Reach, incident_question, strengths};
use crate::model::{Key, Model};
use crate::notes::Note;

/// What the user supposes. Services that are gone are skipped, and remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suppositions {
    /// This one has failed.
    pub failed: Option<Key>,
    /// These are not anomalous.
    pub healthy: BTreeSet<Key>,
    /// Nobody calls these.
    pub drained: BTreeSet<Key>,
    /// These calls, by caller and callee, do not happen.
    pub cut: BTreeSet<(Key, Key)>,
}

impl Suppositions {
    /// Whether nothing is supposed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn alters_graph(&self) -> bool {
        !self.drained.is_empty() || !self.cut.is_empty()
    }

    /// Whether a call is gone.
    #[must_use]
    pub fn cuts(&self, client: &Key, server: &Key) -> bool {
        self.drained.contains(server) || (!self.cut.is_empty() && self.cut.contains(&(client.clone(), server.clone())))
    }
}

/// What would follow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Hypothesis {
    /// Blast radius under the suppositions: of the failed service, else of the likeliest root, else of
    /// what is drained or called.
    pub reach: Option<Reach>,
    /// Blast radius of the same service as things are; `None` where the graph is as it is.
    pub reach_now: Option<Reach>,
    /// Incidents under the suppositions, in the order of [`Inference::incidents`]; empty where posteriors
    /// stay as they are.
    pub incidents: Vec<Ranked>,
    /// Per service, its posterior under the suppositions; empty where that stays as it is.
    pub root_cause: Vec<Option<f64>>,
    /// What the user should know of these answers.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq)]
struct Inputs {
    edges: Vec<(u32, u32, f64)>,
    services: usize,
    leak: f64,
}

#[derive(Debug)]
struct Prepared {
    inputs: Inputs,
    /// `None` where the graph has turned out too wide: asking again would only cost the same time.
    now: Option<WhatIf>,
    /// The graph without what is supposed to be gone, and what that was.
    altered: Option<(BTreeSet<(u32, u32)>, WhatIf)>,
}

/// The prepared graph.
#[derive(Debug, Default)]
pub struct Lab {
    prepared: Option<Prepared>,
}

impl Lab {
    fn prepare(&mut self, model: &Model) -> Result<&mut Prepared, WhatIfError> {
        let strengths = strengths(model).0;
        let calls = model.calls.iter().zip(strengths);
        let edges = calls.map(|(c, strength)| (c.client as u32, c.server as u32, strength)).collect();
        let leak = model.leak.unwrap_or(0.0).clamp(0.0, 1.0);
        let inputs = Inputs { edges, services: model.services.len(), leak };
        let fresh = match self.prepared.take() {
            Some(mut known) if known.inputs.services == inputs.services && same(known.inputs.leak, leak) => {
                let calls = |i: &Inputs| i.edges.iter().map(|e| (e.0, e.1)).collect::<Vec<_>>();
                if known.inputs == inputs {
                    Some(known)
                } else if calls(&known.inputs) == calls(&inputs) {
                    if let Some(now) = &mut known.now {
                        for &(client, server, strength) in &inputs.edges {
                            now.set_edge(CallEdge { client, server, strength })?;
                        }
                    }
                    known.altered = None;
                    known.inputs = inputs.clone();
                    Some(known)
                } else {
                    None
                }
            }
            _ => None,
        };
        let prepared = match fresh {
            Some(prepared) => prepared,
            None => Prepared { now: Some(what_if(&inputs)?), inputs, altered: None },
        };
        Ok(self.prepared.insert(prepared))
    }

    /// Works out what every later question needs; for a moment when nobody waits.
    pub fn warm_up(&mut self, model: &Model) {
        if !model.services.is_empty() && !model.calls.is_empty() {
            // A graph that is refused is refused again, and said, when it is asked.
            let _ = self.reach(model, 0);
        }
    }

    /// Blast radius of `root` as things are; exact unless the graph is too wide.
    ///
    /// # Errors
    /// A note, where the graph itself is refused.
    pub fn reach(&mut self, model: &Model, root: usize) -> Result<Reach, Note> {
        let prepared = self.prepare(model).map_err(refused)?;
        let Prepared { inputs, now, .. } = prepared;
        if let Some(graph) = now {
            match exact(graph, root).map_err(refused)? {
                Some(reach) => return Ok(reach),
                None => *now = None,
            }
        }
        bound(inputs, &BTreeSet::new(), root).map_err(refused)
    }

    fn reach_without(&mut self, model: &Model, root: usize, gone: BTreeSet<(u32, u32)>) -> Result<Reach, Note> {
        let prepared = self.prepare(model).map_err(refused)?;
        let Prepared { inputs, now, altered } = prepared;
        let Some(now) = now else { return bound(inputs, &gone, root).map_err(refused) };
        if altered.as_ref().is_none_or(|(known, _)| *known != gone) {
            let mut without = match altered.take() {
                Some((known, mut without)) => {
                    let back =
                        inputs.edges.iter().filter(|e| known.contains(&(e.0, e.1)) && !gone.contains(&(e.0, e.1)));
                    for &(client, server, strength) in back {
                        without.set_edge(CallEdge { client, server, strength }).map_err(refused)?;
                    }
                    without
                }
                None => now.clone(),
            };
            // Of strength nothing rather than removed: the prepared order stays.
            for &(client, server) in &gone {
                without.set_edge(CallEdge { client, server, strength: 0.0 }).map_err(refused)?;
            }
            *altered = Some((gone, without));
        }
        let answer = altered.as_mut().map_or(Ok(None), |(_, without)| exact(without, root)).map_err(refused)?;
        if let Some(reach) = answer {
            return Ok(reach);
        }
        let gone = altered.take().map(|a| a.0).unwrap_or_default();
        bound(inputs, &gone, root).map_err(refused)
    }

    /// What follows from `suppositions`; `None` where they are empty or name nothing there is.
    pub fn suppose(&mut self, model: &Model, inference: &Inference, suppositions: &Suppositions) -> Option<Hypothesis> {
        let find = |key: &Key| model.find(key);
        let failed = suppositions.failed.as_ref().and_then(find);
        let healthy: BTreeSet<usize> = suppositions.healthy.iter().filter_map(find).collect();
        let drained = suppositions.drained.iter().filter_map(find);
        let cut = suppositions.cut.iter().filter_map(|(a, b)| Some((find(a)?, find(b)?)));
        let fallback = drained.chain(cut.map(|c| c.1)).next();
        if failed.is_none() && healthy.is_empty() && fallback.is_none() {
            return None;
        }
        let mut hypothesis = Hypothesis::default();
        if !healthy.is_empty() {
            hypothesis.root_cause = vec![None; model.services.len()];
            for ranked in &inference.incidents {
                let ranked = without_anomaly(model, ranked, &healthy, &mut hypothesis.notes);
                for (service, p) in ranked.causes.iter().filter_map(|&(s, p)| Some((s?, p))) {
                    let slot = &mut hypothesis.root_cause[service];
                    *slot = Some(slot.map_or(p, |known: f64| known.max(p)));
                }
                hypothesis.incidents.push(ranked);
            }
        }
        let incidents = if healthy.is_empty() { &inference.incidents } else { &hypothesis.incidents };
        let likeliest = incidents.first().and_then(|r| r.causes.first()).and_then(|c| c.0);
        let Some(root) = failed.or(likeliest).or(fallback) else { return Some(hypothesis) };
        let now = self.reach(model, root);
        let then = if suppositions.alters_graph() {
            let gone = model
                .calls
                .iter()
                .filter(|c| suppositions.cuts(&model.services[c.client].key, &model.services[c.server].key));
            let gone = gone.map(|c| (c.client as u32, c.server as u32)).collect();
            hypothesis.reach_now = now.ok();
            self.reach_without(model, root, gone)
        } else {
            if failed.is_none() {
                hypothesis.reach_now.clone_from(&inference.reach);
            }
            now
        };
        match then {
            Ok(reach) => hypothesis.reach = Some(reach),
            Err(note) => hypothesis.notes.push(note),
        }
        Some(hypothesis)
    }
}

fn refused(error: impl std::fmt::Display) -> Note {
    Note::new("refused").with("what", error.to_string())
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn call_edges(inputs: &Inputs) -> Vec<CallEdge> {
    inputs.edges.iter().map(|&(client, server, strength)| CallEdge { client, server, strength }).collect()
}

fn what_if(inputs: &Inputs) -> Result<WhatIf, WhatIfError> {
    let services = inputs.services;
    // Only blast radii are asked of it, which read neither priors nor evidence.
    let (leak, none) = (vec![inputs.leak; services], vec![0.0; services]);
    WhatIf::new(services as u32, &call_edges(inputs), leak, 1.0, none.clone(), none)
}

/// The exact blast radius; `None` where the graph is too wide for it.
fn exact(graph: &mut WhatIf, root: usize) -> Result<Option<Reach>, WhatIfError> {
    match graph.blast_radius(root as u32) {
        Ok(hit) => Ok(Some(Reach { root, hit, exact: true })),
        Err(WhatIfError::Inference(InferenceError::TooWide { .. })) => Ok(None),
        Err(other) => Err(other),
    }
}

/// An upper bound of it, without the calls that are gone.
fn bound(inputs: &Inputs, gone: &BTreeSet<(u32, u32)>, root: usize) -> Result<Reach, WhatIfError> {
    let edges: Vec<_> = call_edges(inputs).into_iter().filter(|e| !gone.contains(&(e.client, e.server))).collect();
    let graph = CallGraph::new(inputs.services as u32, &edges)?;
    let hit = blast_radius_bound(&graph, &vec![inputs.leak; inputs.services], root as u32)?;
    Ok(Reach { root, hit, exact: false })
}

/// An incident's posterior, knowing that `healthy` services are not anomalous.
fn without_anomaly(model: &Model, ranked: &Ranked, healthy: &BTreeSet<usize>, notes: &mut Vec<Note>) -> Ranked {
    let Some(incident) = model.incidents.iter().find(|i| i.id == ranked.incident) else { return ranked.clone() };
    if !incident.roots.iter().any(|r| healthy.contains(&r.0)) {
        return ranked.clone();
    }
    let answer = incident_question(model, incident, &strengths(model).0).and_then(|mut question| {
        for (evidence, root) in question.evidence.iter_mut().zip(&incident.roots) {
            if healthy.contains(&root.0) {
                *evidence = f64::NEG_INFINITY;
            }
        }
        let priors = (question.no_fault_prior, &question.priors);
        single_fault(&question.graph, &question.leak, priors.0, priors.1, &question.evidence)
            .map_err(|e| Obstacle::Engine(e.to_string()))
    });
    match answer {
        Ok(answer) => {
            let posterior = answer.posterior();
            let mut causes: Vec<_> =
                incident.roots.iter().zip(&posterior.root_cause).map(|(r, &p)| (Some(r.0), p)).collect();
            causes.push((None, posterior.no_fault));
            causes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            Ranked { causes, difference: None, ..ranked.clone() }
        }
        Err(obstacle) => {
            notes.push(obstacle.note("uncomputed", &incident.id));
            ranked.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tests::{chain, model};
    use quoll_blast_radius::blast_radius;

    fn key(name: &str) -> Key {
        Key { namespace: None, name: name.to_owned() }
    }

    fn suppose(suppositions: &Suppositions) -> Option<Hypothesis> {
        let model = model(&chain());
        let inference = Inference::of(&model, &mut Lab::default());
        Lab::default().suppose(&model, &inference, suppositions)
    }

    #[test]
    fn a_failed_service_reaches_its_callers() {
        let then = suppose(&Suppositions { failed: Some(key("cart")), ..Suppositions::default() }).unwrap();
        let reach = then.reach.unwrap();
        assert_eq!(reach.root, 1);
        assert!((reach.hit[3] - 0.8).abs() < 1e-8);
        assert!(then.incidents.is_empty(), "posteriors stay");
    }

    #[test]
    fn a_healthy_root_hands_the_blame_on() {
        let then = suppose(&Suppositions { healthy: [key("db")].into(), ..Suppositions::default() }).unwrap();
        assert_eq!(then.root_cause[2], Some(0.0));
        let ranked: Vec<_> = then.incidents[0].causes.iter().map(|c| c.0).collect();
        assert_eq!(ranked, [None, Some(1), Some(3), Some(0), Some(2)], "{:?}", then.incidents);
        let sum: f64 = then.incidents[0].causes.iter().map(|c| c.1).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert_eq!(then.reach, None, "most likely nothing is at fault any more");
    }

    #[test]
    fn draining_and_cutting_shorten_the_reach_of_the_root() {
        let drained = suppose(&Suppositions { drained: [key("cart")].into(), ..Suppositions::default() }).unwrap();
        let cut = Suppositions { cut: [(key("web"), key("cart"))].into(), ..Suppositions::default() };
        assert_eq!(drained.reach, suppose(&cut).unwrap().reach, "web is the only one that calls cart");
        let (now, then) = (drained.reach_now.unwrap(), drained.reach.unwrap());
        assert!(now.hit[3] > 0.7 && then.hit[3] < 1e-6);
        assert_eq!(now.hit[1], then.hit[1], "cart itself still calls db");
    }

    #[test]
    fn a_lab_asked_repeatedly_answers_like_a_fresh_one() {
        let model = model(&chain());
        let inference = Inference::of(&model, &mut Lab::default());
        let mut lab = Lab::default();
        let all = [
            Suppositions { cut: [(key("web"), key("cart"))].into(), ..Suppositions::default() },
            Suppositions { drained: [key("db")].into(), ..Suppositions::default() },
            Suppositions {
                failed: Some(key("auth")),
                cut: [(key("web"), key("auth"))].into(),
                ..Suppositions::default()
            },
            Suppositions { failed: Some(key("db")), ..Suppositions::default() },
        ];
        for suppositions in all.iter().chain(&all) {
            assert_eq!(
                lab.suppose(&model, &inference, suppositions),
                Lab::default().suppose(&model, &inference, suppositions)
            );
        }
    }

    #[test]
    fn reach_has_the_engines_bits() {
        let model = model(&chain());
        let edges = [(1, 2, 0.9), (3, 0, 0.5), (3, 1, 0.8)];
        let edges: Vec<_> = edges.map(|(client, server, strength)| CallEdge { client, server, strength }).to_vec();
        let graph = CallGraph::new(4, &edges).unwrap();
        let mut lab = Lab::default();
        for root in [2, 0, 1, 2] {
            let expected = blast_radius(&graph, &[model.leak.unwrap(); 4], root as u32).unwrap();
            assert_eq!(lab.reach(&model, root).unwrap().hit, expected);
        }
    }

    #[test]
    fn services_that_are_gone_suppose_nothing() {
        assert_eq!(suppose(&Suppositions { failed: Some(key("ghost")), ..Suppositions::default() }), None);
        assert!(Suppositions::default().is_empty());
    }
}
