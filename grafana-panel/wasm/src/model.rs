//! What one tick says: services, calls and incidents, under stable sorted ids.
//!
//! Ids are positions in the sorted list of services (namespace first, absent before present, as in
//! the scorer), so equal data gives equal ids whatever its order. Partial data gives a partial model
//! and a note; nothing here fails. A later duplicate of a series never replaces the first one.

use std::collections::{BTreeMap, BTreeSet};

use crate::notes::Note;
use crate::samples::{Sample, Selection, TICK};

/// A service: optional namespace, then name; the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `None` where the label is absent.
    pub namespace: Option<String>,
    /// Never empty.
    pub name: String,
}

impl Key {
    /// `namespace/name`, or the name alone.
    #[must_use]
    pub fn full(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{namespace}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn from_labels(sample: &Sample<'_>, namespace: &str, name: &str) -> Option<Self> {
        let name = sample.label(name)?.to_owned();
        Some(Self { namespace: sample.label(namespace).map(str::to_owned), name })
    }
}

/// One service at the tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Who it is.
    pub key: Key,
    /// What to call it: the name, with the namespace where names collide.
    pub label: String,
    /// Unitless, above 1 = anomalous; `None` where not scored.
    pub score: Option<f64>,
    /// Probability in [0, 1].
    pub anomaly_probability: Option<f64>,
    /// Evidence, natural log.
    pub log_likelihood_ratio: Option<f64>,
    /// Predictive prior of a fault here, in its incident.
    pub fault_prior: Option<f64>,
    /// The component this is another name of.
    pub alias_of: Option<String>,
    /// What it is, where it is no service (`host`).
    pub kind: Option<String>,
    /// When it last changed (started), seconds since the epoch.
    pub changed_seconds: Option<f64>,
}

/// Calls from one service to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Id of the caller.
    pub client: usize,
    /// Id of the callee.
    pub server: usize,
    /// As written; `None` where the data has no strength.
    pub strength: Option<f64>,
    /// Requests (or connects) per second.
    pub rate: Option<f64>,
    /// Share of failed requests in [0, 1].
    pub error_ratio: Option<f64>,
}

/// One incident as written by the scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// Its label.
    pub id: String,
    /// Hypotheses: id of the service and the written posterior; sorted by service.
    pub roots: Vec<(usize, f64)>,
    /// Written posterior of no fault at all.
    pub no_fault: Option<f64>,
    /// Predictive prior of no fault.
    pub no_fault_prior: Option<f64>,
    /// Services explained by the root, rather than roots.
    pub symptoms: BTreeSet<usize>,
}

/// Everything of one tick.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    /// Sorted by key; the position is the id.
    pub services: Vec<Service>,
    /// Sorted by (client, server), no duplicates, no self calls.
    pub calls: Vec<Call>,
    /// Sorted by id.
    pub incidents: Vec<Incident>,
    /// Probability that a service is anomalous for no modelled reason.
    pub leak: Option<f64>,
    /// Version of the engine that wrote the posteriors.
    pub engine_version: Option<String>,
    /// End of the tick, seconds since the epoch.
    pub tick_seconds: Option<f64>,
    /// What is missing or was left out.
    pub notes: Vec<Note>,
}

#[derive(Default)]
struct Draft {
    score: Option<f64>,
    anomaly_probability: Option<f64>,
    log_likelihood_ratio: Option<f64>,
    fault_prior: Option<f64>,
    alias_of: Option<String>,
}

#[derive(Default)]
struct CallDraft {
    strength: Option<f64>,
    rate: Option<f64>,
    error_ratio: Option<f64>,
}

#[derive(Default)]
struct IncidentDraft {
    roots: BTreeMap<Key, f64>,
    no_fault: Option<f64>,
    no_fault_prior: Option<f64>,
    symptoms: BTreeSet<Key>,
}

/// Keeps the first finite value.
fn first(slot: &mut Option<f64>, value: f64) {
    if slot.is_none() && value.is_finite() {
        *slot = Some(value);
    }
}

impl Model {
    /// Reads one tick from the chosen samples.
    #[must_use]
    pub fn read(selection: Selection<'_>) -> Self {
        let mut services: BTreeMap<Key, Draft> = BTreeMap::new();
        let mut calls: BTreeMap<(Key, Key), CallDraft> = BTreeMap::new();
        let mut incidents: BTreeMap<String, IncidentDraft> = BTreeMap::new();
        let mut model = Self { notes: selection.notes, ..Self::default() };
        let mut unusable = 0_usize;
        let mut starts: BTreeMap<Key, f64> = BTreeMap::new();
        let mut kinds: BTreeMap<Key, String> = BTreeMap::new();
        for sample in &selection.samples {
            let service = || Key::from_labels(sample, "service_namespace", "service_name");
            let call = || {
                let client = Key::from_labels(sample, "client_service_namespace", "client")?;
                let server = Key::from_labels(sample, "server_service_namespace", "server")?;
                (client != server).then_some((client, server))
            };
            let incident = || sample.label("incident").map(str::to_owned);
            let value = sample.value;
            let used = match sample.metric {
                "quoll_anomaly_score" => service().map(|k| first(&mut services.entry(k).or_default().score, value)),
                "quoll_anomaly_probability" => {
                    service().map(|k| first(&mut services.entry(k).or_default().anomaly_probability, value))
                }
                "quoll_evidence_log_likelihood_ratio" => {
                    service().map(|k| first(&mut services.entry(k).or_default().log_likelihood_ratio, value))
                }
                "quoll_fault_prior_probability" => {
                    service().map(|k| first(&mut services.entry(k).or_default().fault_prior, value))
                }
                // The newest start of all its instances; of services that nothing else names, too, it is none.
                "quoll_service_start_time_seconds" => service().map(|k| {
                    if value.is_finite() {
                        let known = starts.entry(k).or_insert(value);
                        *known = known.max(value);
                    }
                }),
                "quoll_service_alias_info" => service().map(|k| {
                    services.entry(k).or_default().alias_of = sample.label("alias_of").map(str::to_owned);
                }),
                "quoll_edge_strength" => call().map(|k| first(&mut calls.entry(k).or_default().strength, value)),
                "quoll_edge_requests_per_second" => call().map(|k| first(&mut calls.entry(k).or_default().rate, value)),
                "quoll_edge_error_ratio" => call().map(|k| first(&mut calls.entry(k).or_default().error_ratio, value)),
                "quoll_root_cause_probability" => incident().zip(service()).map(|(i, k)| {
                    if value.is_finite() {
                        incidents.entry(i).or_default().roots.entry(k).or_insert(value);
                    }
                }),
                "quoll_no_fault_probability" => {
                    incident().map(|i| first(&mut incidents.entry(i).or_default().no_fault, value))
                }
                "quoll_no_fault_prior_probability" => {
                    incident().map(|i| first(&mut incidents.entry(i).or_default().no_fault_prior, value))
                }
                "quoll_symptom" => incident().zip(service()).map(|(i, k)| {
                    if value > 0.0 {
                        incidents.entry(i).or_default().symptoms.insert(k);
                    }
                }),
                "quoll_leak_probability" => {
                    first(&mut model.leak, value);
                    Some(())
                }
                "quoll_inference_info" => {
                    model.engine_version = sample.label("engine_version").map(str::to_owned);
                    Some(())
                }
                TICK => {
                    first(&mut model.tick_seconds, value);
                    Some(())
                }
                // Written blast radii are not read: the panel computes its own, and any other metric is none of ours.
                _ => Some(()),
            };
            unusable += usize::from(used.is_none());
            if let Some((kind, key)) = sample.label("kind").zip(service()) {
                kinds.insert(key, kind.to_owned());
            }
        }
        if unusable > 0 {
            model.notes.push(Note::new("unlabelled").count(unusable));
        }
        model.assemble(services, calls, incidents);
        for service in &mut model.services {
            service.changed_seconds = starts.get(&service.key).copied();
            service.kind = kinds.remove(&service.key);
        }
        model
    }

    fn assemble(
        &mut self,
        mut services: BTreeMap<Key, Draft>,
        calls: BTreeMap<(Key, Key), CallDraft>,
        incidents: BTreeMap<String, IncidentDraft>,
    ) {
        for (client, server) in calls.keys() {
            services.entry(client.clone()).or_default();
            services.entry(server.clone()).or_default();
        }
        for draft in incidents.values() {
            for key in draft.roots.keys().chain(&draft.symptoms) {
                services.entry(key.clone()).or_default();
            }
        }
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        for key in services.keys() {
            *names.entry(key.name.clone()).or_default() += 1;
        }
        let ids: BTreeMap<Key, usize> = services.keys().cloned().enumerate().map(|(id, key)| (key, id)).collect();
        let id = |key: &Key| ids.get(key).copied();
        for (key, draft) in services {
            let unique = names.get(&key.name) == Some(&1);
            let label = if unique { key.name.clone() } else { key.full() };
            let Draft { score, anomaly_probability, log_likelihood_ratio, fault_prior, alias_of } = draft;
            self.services.push(Service {
                key,
                label,
                score,
                anomaly_probability,
                log_likelihood_ratio,
                fault_prior,
                alias_of,
                kind: None,
                changed_seconds: None,
            });
        }
        for ((client, server), CallDraft { strength, rate, error_ratio }) in calls {
            if let (Some(client), Some(server)) = (id(&client), id(&server)) {
                self.calls.push(Call { client, server, strength, rate, error_ratio });
            }
        }
        self.calls.sort_by_key(|c| (c.client, c.server));
        for (name, draft) in incidents {
            let roots: Vec<_> = draft.roots.iter().filter_map(|(k, p)| Some((id(k)?, *p))).collect();
            if roots.is_empty() {
                self.notes.push(Note::new("rootless").with("incident", name));
                continue;
            }
            self.incidents.push(Incident {
                id: name,
                roots,
                no_fault: draft.no_fault,
                no_fault_prior: draft.no_fault_prior,
                symptoms: draft.symptoms.iter().filter_map(id).collect(),
            });
        }
    }

    /// The id of a service.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<usize> {
        self.services.binary_search_by(|s| s.key.cmp(key)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{select, tests::pack};

    fn read(lines: &[&str]) -> Model {
        let (packed, values) = pack(lines);
        Model::read(select(&packed, &values))
    }

    #[test]
    fn ids_do_not_depend_on_the_order_of_series() {
        let lines = [
            "quoll_edge_strength{client=web,server=cart} 0.8",
            "quoll_edge_strength{client=cart,server=db} 0.9",
            "quoll_anomaly_score{service_name=db} 2.5",
            "quoll_root_cause_probability{service_name=db,incident=i1} 0.9",
            "quoll_root_cause_probability{service_name=cart,incident=i1} 0.05",
        ];
        let mut reversed = lines;
        reversed.reverse();
        let model = read(&lines);
        assert_eq!(model, read(&reversed));
        assert_eq!(model.services.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(), ["cart", "db", "web"]);
        assert_eq!(model.calls.iter().map(|c| (c.client, c.server)).collect::<Vec<_>>(), [(0, 1), (2, 0)]);
        assert_eq!(model.incidents[0].roots, [(0, 0.05), (1, 0.9)]);
    }

    #[test]
    fn absent_namespace_sorts_first_and_colliding_names_are_told_apart() {
        let model = read(&[
            "quoll_anomaly_score{service_name=db,service_namespace=shop} 1",
            "quoll_anomaly_score{service_name=db} 2",
            "quoll_anomaly_score{service_name=web,service_namespace=shop} 0",
        ]);
        assert_eq!(model.services.iter().map(|s| s.label.as_str()).collect::<Vec<_>>(), ["db", "shop/db", "web"]);
    }

    #[test]
    fn nan_duplicates_self_calls_and_missing_labels_do_no_harm() {
        let model = read(&[
            "quoll_anomaly_score{service_name=a} NaN",
            "quoll_anomaly_score{service_name=a} 1.5",
            "quoll_anomaly_score{service_name=a} 9",
            "quoll_anomaly_score{} 3",
            "quoll_edge_strength{client=a,server=a} 0.5",
            "quoll_no_fault_probability{incident=ghost} 0.5",
            "quoll_something_new{service_name=z} 1",
        ]);
        assert_eq!(model.services.len(), 1);
        assert_eq!(model.services[0].score, Some(1.5));
        assert!(model.calls.is_empty() && model.incidents.is_empty());
        assert_eq!(model.notes.iter().map(|n| n.id).collect::<Vec<_>>(), ["unlabelled", "rootless"]);
    }

    #[test]
    fn nothing_gives_an_empty_model() {
        assert_eq!(read(&[]), Model::default());
    }
}
