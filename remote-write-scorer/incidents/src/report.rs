//! From the state after a tick to what is said about it.

use quoll_blast_radius::{ENGINE_VERSION, SingleFault, reach};
use quoll_features::ClosedStep;
use quoll_identity::{Edge, Service};

use crate::diagnosis::{BlastRadius, ClosedIncident, Diagnosis, EdgeDiagnosis, IncidentDiagnosis, ServiceDiagnosis};
use crate::engine::{Incidents, Part};
use crate::filter::log_odds;
use crate::observe::Seen;
use crate::resources::is_host;
use crate::scene::Scene;
use crate::track::Open;

/// Causes of which the reach is shown, and the least probability of a cause or a hit shown.
const ROOTS_SHOWN: usize = 5;
const SHOWN_ABOVE: f64 = 0.01;
/// A service that was anomalous with at least this probability is a symptom.
const SYMPTOM_ABOVE: f64 = 0.5;

impl Incidents {
    pub(crate) fn diagnose(
        &self,
        step: &ClosedStep,
        scene: &Scene,
        seen: &Seen,
        parts: &[Part],
        closed: Vec<ClosedIncident>,
    ) -> Diagnosis {
        // Share of time that a service spends in a fault: what its own evidence alone is weighed with.
        let faulty_share =
            (self.config.fault_rate_per_service_per_day * self.config.mean_fault_seconds / 86_400.0).clamp(1e-9, 0.5);
        let base = libm::log(faulty_share / (1.0 - faulty_share));
        let hazards = self.learned.hazard_factors(&scene.services, step.end_ms, &self.config);
        let mut services: Vec<ServiceDiagnosis> = (scene.services.iter().zip(&scene.evidence).zip(hazards))
            .map(|((service, &evidence), factor)| ServiceDiagnosis {
                service: service.clone(),
                log_likelihood_ratio: evidence,
                fault_prior: self.hazard_times(factor),
                incident: None,
                root_cause_probability: None,
                suspicion: None,
                anomaly_probability: 1.0 / (1.0 + libm::exp(-(evidence + base))),
            })
            .collect();
        let mut incidents = Vec::new();
        for part in parts {
            for (&member, odds) in part.members.iter().zip(log_odds(part.answer.posterior())) {
                services[member].suspicion = Some(odds);
            }
            let Some(open) = part.track.open.as_ref().filter(|_| !self.ended(&part.track)) else { continue };
            let posterior = part.answer.posterior();
            for (at, &member) in part.members.iter().enumerate() {
                let service = &mut services[member];
                service.fault_prior = part.fault_prior[at];
                service.incident = Some(open.id.clone());
                service.root_cause_probability = Some(posterior.root_cause[at]);
                service.anomaly_probability = posterior.anomalous[at];
            }
            incidents.push(self.incident(open, part, scene));
        }
        incidents.sort_by(|a, b| (a.opened_ms, &a.id).cmp(&(b.opened_ms, &b.id)));
        let mut edges: Vec<EdgeDiagnosis> = Vec::with_capacity(scene.strengths.len() + scene.supposed.len());
        edges.extend(self.topology.edges.iter().zip(&scene.strengths).zip(&seen.matched.seen).map(
            |((known, &strength), seen)| {
                let seen = seen.and_then(|at| step.edges.get(at));
                EdgeDiagnosis {
                    edge: known.edge.clone(),
                    strength,
                    requests_per_second: seen.map_or(0.0, |e| e.requests_per_second),
                    error_ratio: seen.map_or(0.0, |e| {
                        let errors = ratio(e.errors_per_second, e.requests_per_second);
                        errors.max(ratio(e.connect_failures_per_second, e.connects_per_second))
                    }),
                }
            },
        ));
        edges.extend(scene.supposed.iter().map(|&(client, server, strength)| EdgeDiagnosis {
            edge: Edge { client: scene.services[client].clone(), server: scene.services[server].clone() },
            strength,
            requests_per_second: 0.0,
            error_ratio: 0.0,
        }));
        if !scene.supposed.is_empty() {
            edges.sort_by(|a, b| a.edge.cmp(&b.edge));
        }
        // A host that nothing is linked to is nobody's business.
        let mut place = 0;
        services.retain(|service| {
            place += 1;
            !is_host(&service.service) || !scene.callers[place - 1].is_empty() || service.incident.is_some()
        });
        Diagnosis {
            end_ms: step.end_ms,
            engine_version: ENGINE_VERSION,
            config_hash: self.config_hash.clone(),
            leak: self.leak(),
            services,
            edges,
            aliases: self.known_aliases(),
            incidents,
            closed,
        }
    }

    fn incident(&self, open: &Open, part: &Part, scene: &Scene) -> IncidentDiagnosis {
        let posterior = part.answer.posterior();
        let mut ranked: Vec<usize> = (0..part.members.len()).collect();
        ranked.sort_by(|&a, &b| posterior.root_cause[b].total_cmp(&posterior.root_cause[a]).then(a.cmp(&b)));
        let name = |at: usize| scene.services[part.members[at]].clone();
        let roots: Vec<(Service, f64)> = ranked.iter().map(|&at| (name(at), posterior.root_cause[at])).collect();
        let blast_radius = (ranked.iter().take(ROOTS_SHOWN))
            .filter(|&&at| posterior.root_cause[at] > SHOWN_ABOVE)
            .map(|&at| self.reach(scene, part.members[at]))
            .collect::<Vec<_>>();
        let symptoms = ranked.first().map_or_else(Vec::new, |&first| {
            let reached = scene.ancestors(part.members[first], Some(&part.members));
            let mut hit: Vec<usize> = (0..part.members.len())
                .filter(|&at| {
                    at != first
                        && posterior.anomalous[at] > SYMPTOM_ABOVE
                        && reached.binary_search(&part.members[at]).is_ok()
                })
                .collect();
            hit.sort_by(|&a, &b| posterior.anomalous[b].total_cmp(&posterior.anomalous[a]).then(a.cmp(&b)));
            hit.into_iter().map(name).collect()
        });
        let exact = matches!(part.answer, SingleFault::Exact(_));
        let account = self.account(scene, part, &roots, &symptoms, &blast_radius);
        IncidentDiagnosis {
            id: open.id.clone(),
            opened_ms: open.opened_ms,
            no_fault_prior: part.no_fault_prior,
            no_fault_probability: posterior.no_fault,
            exact,
            roots,
            blast_radius,
            symptoms,
            explanation: account.sentences(),
            account,
        }
    }

    /// Whom a fault of `root` reaches. Only its callers, direct or not, can be hit but by a leak, so the
    /// rest of the graph is left out. Where even that part is too entangled for exact figures, upper bounds.
    fn reach(&self, scene: &Scene, root: usize) -> BlastRadius {
        let members = scene.ancestors(root, None);
        let hits = (members.binary_search(&root).ok())
            .and_then(|at| {
                let graph = scene.graph(&members).ok()?;
                reach(&graph, &vec![self.leak(); members.len()], at as u32).ok()
            })
            .map_or_else(Vec::new, |reach| reach.hits().to_vec());
        let mut hits: Vec<(Service, f64)> = (members.iter().zip(hits))
            .filter(|(member, hit)| **member != root && *hit > SHOWN_ABOVE)
            .map(|(&member, hit)| (scene.services[member].clone(), hit))
            .collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        BlastRadius { root: scene.services[root].clone(), hits }
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 && part > 0.0 { (part / whole).min(1.0) } else { 0.0 }
}
