//! What a tick writes back, with exactly the names and labels that dashboards, rules and the panel read.
//!
//! One tick's series carry one timestamp. No label set occurs twice. Values that are not finite are left
//! out: an absent series says the same and cannot spoil a sum. A series that was written at the last tick
//! and has nothing to say at this one gets a staleness marker, so that a closed incident ends at once.
//!
//! A leaf and its root share the work: together they write what one process would, each series by one of them.

use std::collections::{BTreeMap, BTreeSet};

use quoll_detect::ServiceScore;
use quoll_features::FeatureSet;
use quoll_identity::{Edge, Scope, Service};
use quoll_incidents::{Diagnosis, IncidentDiagnosis, ServiceDiagnosis};
use quoll_prometheus_protocol::staleness::stale_marker;
use quoll_queue::OutSeries;
use serde::{Deserialize, Serialize};

type Labels = Vec<(String, String)>;
type Given<'a> = (&'a str, Option<&'a str>);

/// Which of the series a process writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Share {
    /// All of them.
    #[default]
    All,
    /// A leaf's: what scores are made of.
    Details,
    /// A root's: everything else.
    Rest,
}

impl Share {
    /// Whether it has the metric of a service at this place.
    fn has(self, place: usize) -> bool {
        let detail = DETAILS.contains(&place) || place >= OF_SERVICE.len();
        match self {
            Self::All => true,
            Self::Details => detail,
            Self::Rest => !detail,
        }
    }
}

/// Metrics with one series per service.
const OF_SERVICE: [&str; 6] = [
    "quoll_anomaly_score",
    "quoll_anomaly_probability",
    "quoll_feature_coverage_ratio",
    "quoll_calibration_samples",
    "quoll_evidence_log_likelihood_ratio",
    "quoll_fault_prior_probability",
];

/// Those of them that are details of a score.
const DETAILS: [usize; 2] = [2, 3];

/// Metrics with one series per service and feature.
const OF_FEATURE: [&str; 3] = ["quoll_feature_anomaly_score", "quoll_feature_value", "quoll_feature_expected"];

/// Metrics with one series per edge.
const OF_EDGE: [&str; 3] = ["quoll_edge_strength", "quoll_edge_requests_per_second", "quoll_edge_error_ratio"];

/// Which of the metrics of one service or edge are there, a bit for each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Present(Box<[u64]>);

impl Present {
    fn of(values: &[f64]) -> Self {
        let words = values.chunks(64).map(|chunk| {
            chunk.iter().enumerate().fold(0, |word, (bit, value)| word | (u64::from(value.is_finite()) << bit))
        });
        Self(words.collect())
    }

    fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

/// The series of a tick, without their values. Those of services and edges, of which a fleet has hundreds of
/// thousands, are a bit each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Alive {
    services: BTreeMap<Service, Present>,
    edges: BTreeMap<Edge, Present>,
    others: BTreeSet<Labels>,
}

/// Writes the series of one tick.
struct Tick<'a> {
    scope: &'a Scope,
    set: &'a FeatureSet,
    share: Share,
    timestamp_ms: i64,
    alive: Alive,
    sink: &'a mut dyn FnMut(OutSeries),
}

/// All labels of a series: sorted, none of them empty, no name twice.
fn labels(scope: &Scope, name: &str, given: &[Given<'_>]) -> Labels {
    let own = given.iter().filter_map(|&(name, value)| Some((name, value?)));
    let partition = scope.partition.iter().map(|(name, value)| (&**name, &**value));
    let tenant = Some(&*scope.tenant).filter(|tenant| !tenant.is_empty()).map(|tenant| ("tenant", tenant));
    let all = own.chain(partition).chain(tenant).chain([("__name__", name)]).filter(|(_, value)| !value.is_empty());
    let mut labels: Labels = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    labels.sort_unstable();
    labels.dedup_by(|a, b| a.0 == b.0);
    labels
}

fn of_service(service: &Service) -> [Given<'_>; 2] {
    [("service_name", Some(&*service.name)), ("service_namespace", service.namespace.as_deref())]
}

fn of_edge(edge: &Edge) -> [Given<'_>; 4] {
    [
        ("client", Some(&*edge.client.name)),
        ("client_service_namespace", edge.client.namespace.as_deref()),
        ("server", Some(&*edge.server.name)),
        ("server_service_namespace", edge.server.namespace.as_deref()),
    ]
}

/// Name and feature of the metric of a service at this place.
fn metric_of_service(set: &FeatureSet, place: usize) -> Option<(&'static str, Option<&str>)> {
    let Some(beyond) = place.checked_sub(OF_SERVICE.len()) else { return Some((OF_SERVICE[place], None)) };
    let feature = set.features.get(beyond / OF_FEATURE.len())?;
    Some((OF_FEATURE[beyond % OF_FEATURE.len()], Some(&feature.name)))
}

impl Tick<'_> {
    fn write(&mut self, labels: Labels, value: f64) {
        (self.sink)(OutSeries { labels, timestamp_ms: self.timestamp_ms, value });
    }

    /// A series of neither a service's nor an edge's own.
    fn put(&mut self, name: &str, given: &[Given<'_>], value: f64) {
        if !value.is_finite() {
            return;
        }
        let labels = labels(self.scope, name, given);
        if self.alive.others.insert(labels.clone()) {
            self.write(labels, value);
        }
    }

    fn service(&mut self, name: &str, service: &Service, more: &[Given<'_>], value: f64) {
        self.put(name, &[&of_service(service), more].concat(), value);
    }

    /// The series at `place` of a service.
    fn of_service(&mut self, service: &Service, place: usize, value: f64) {
        let set = self.set;
        let Some((name, feature)) = metric_of_service(set, place) else { return };
        let [own, namespace] = of_service(service);
        self.write(labels(self.scope, name, &[own, namespace, ("feature", feature)]), value);
    }

    fn of_edge(&mut self, edge: &Edge, place: usize, value: f64) {
        self.write(labels(self.scope, OF_EDGE[place], &of_edge(edge)), value);
    }

    fn edges(&mut self, diagnosis: &Diagnosis) {
        for edge in &diagnosis.edges {
            let values = [edge.strength, edge.requests_per_second, edge.error_ratio];
            if self.alive.edges.insert(edge.edge.clone(), Present::of(&values)).is_some() {
                continue;
            }
            for (place, value) in values.into_iter().enumerate().filter(|(_, value)| value.is_finite()) {
                self.of_edge(&edge.edge, place, value);
            }
        }
    }

    /// What the score and the network say of each service. One too young or too silent for a score still has what
    /// the network says of it.
    fn services(&mut self, scores: &[ServiceScore], diagnosis: &Diagnosis) {
        type Said<'a> = (Option<&'a ServiceScore>, Option<&'a ServiceDiagnosis>);
        let mut said: BTreeMap<&Service, Said<'_>> = BTreeMap::new();
        for score in scores {
            said.entry(&score.service).or_default().0 = Some(score);
        }
        for service in &diagnosis.services {
            said.entry(&service.service).or_default().1 = Some(service);
        }
        let mut values = vec![f64::NAN; OF_SERVICE.len() + OF_FEATURE.len() * self.set.features.len()];
        for (service, (score, diagnosis)) in said {
            values.fill(f64::NAN);
            if let Some(diagnosis) = diagnosis {
                values[1] = diagnosis.anomaly_probability;
                values[4] = diagnosis.log_likelihood_ratio;
                values[5] = diagnosis.fault_prior;
            }
            if let Some(score) = score {
                values[0] = score.score;
                values[1] = score.anomaly_probability;
                values[2] = score.coverage;
                values[3] = score.calibration_samples as f64;
                for part in &score.features {
                    let place = OF_SERVICE.len() + OF_FEATURE.len() * part.feature;
                    if let Some(slots) = values.get_mut(place..place + OF_FEATURE.len()) {
                        slots.copy_from_slice(&[part.score, part.value, part.expected]);
                    }
                }
            }
            for (_, value) in values.iter_mut().enumerate().filter(|(place, _)| !self.share.has(*place)) {
                *value = f64::NAN;
            }
            for (place, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
                self.of_service(service, place, *value);
            }
            self.alive.services.insert(service.clone(), Present::of(&values));
        }
    }

    fn incident(&mut self, incident: &IncidentDiagnosis) {
        let id = ("incident", Some(&*incident.id));
        self.put("quoll_no_fault_prior_probability", &[id], incident.no_fault_prior);
        self.put("quoll_no_fault_probability", &[id], incident.no_fault_probability);
        for blast in &incident.blast_radius {
            for (hit, probability) in &blast.hits {
                self.service("quoll_blast_radius_probability", hit, &root(&blast.root), *probability);
            }
        }
        if let Some((cause, _)) = incident.roots.first() {
            for symptom in &incident.symptoms {
                self.service("quoll_symptom", symptom, &[&root(cause)[..], &[id]].concat(), 1.0);
            }
        }
    }

    fn inference(&mut self, diagnosis: &Diagnosis) {
        for service in &diagnosis.services {
            if let (Some(incident), Some(probability)) = (&service.incident, service.root_cause_probability) {
                let incident = [("incident", Some(&**incident))];
                self.service("quoll_root_cause_probability", &service.service, &incident, probability);
            }
        }
        for incident in &diagnosis.incidents {
            self.incident(incident);
        }
    }

    /// Ends the series that the last tick had and this one has not.
    fn end(&mut self, before: &Alive) {
        let stale = stale_marker();
        for (service, present) in &before.services {
            let now = self.alive.services.get(service).cloned().unwrap_or_default();
            for place in (0..present.0.len() * 64).filter(|&place| present.has(place) && !now.has(place)) {
                self.of_service(service, place, stale);
            }
        }
        for (edge, present) in &before.edges {
            let now = self.alive.edges.get(edge).cloned().unwrap_or_default();
            for place in (0..OF_EDGE.len()).filter(|&place| present.has(place) && !now.has(place)) {
                self.of_edge(edge, place, stale);
            }
        }
        for labels in before.others.iter().filter(|labels| !self.alive.others.contains(*labels)) {
            (self.sink)(OutSeries { labels: labels.clone(), timestamp_ms: self.timestamp_ms, value: stale });
        }
    }
}

fn root(service: &Service) -> [Given<'_>; 2] {
    [("root_service", Some(&*service.name)), ("root_service_namespace", service.namespace.as_deref())]
}

/// Writes ticks of one scope, remembering which series the last one had.
#[derive(Debug, Default)]
pub struct Outputs {
    alive: Alive,
    share: Share,
}

impl Outputs {
    /// Goes on after a tick that had these series.
    pub fn resume(alive: Alive, share: Share) -> Self {
        Self { alive, share }
    }

    /// The series of the last tick.
    pub fn alive(&self) -> &Alive {
        &self.alive
    }

    /// Gives the series of a tick at `timestamp_ms` to `sink`. Without a model (`scores` is `None`) there is only
    /// the graph.
    pub fn tick(
        &mut self,
        scope: &Scope,
        set: &FeatureSet,
        scores: Option<&[ServiceScore]>,
        diagnosis: &Diagnosis,
        timestamp_ms: i64,
        sink: &mut dyn FnMut(OutSeries),
    ) {
        let share = self.share;
        let mut tick = Tick { scope, set, share, timestamp_ms, alive: Alive::default(), sink };
        if share == Share::Details {
            tick.services(scores.unwrap_or_default(), diagnosis);
            tick.end(&self.alive);
            self.alive = tick.alive;
            return;
        }
        tick.edges(diagnosis);
        for (name, of) in &diagnosis.aliases {
            let of = [("alias_of", Some(&*of.name)), ("alias_of_namespace", of.namespace.as_deref())];
            tick.service("quoll_service_alias_info", name, &of, 1.0);
        }
        if let Some(scores) = scores {
            tick.services(scores, diagnosis);
            tick.inference(diagnosis);
        }
        tick.put("quoll_leak_probability", &[], diagnosis.leak);
        let info = [("engine_version", Some(diagnosis.engine_version)), ("config_hash", Some(&*diagnosis.config_hash))];
        tick.put("quoll_inference_info", &info, 1.0);
        tick.put("quoll_inference_tick_timestamp_seconds", &[], diagnosis.end_ms as f64 / 1000.0);
        tick.end(&self.alive);
        self.alive = tick.alive;
    }
}

#[cfg(test)]
mod tests;
