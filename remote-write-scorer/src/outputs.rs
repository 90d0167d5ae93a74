//! What a tick writes back, with exactly the names and labels that dashboards, rules and the panel read.
//!
//! One tick's series carry one timestamp. No label set occurs twice. Values that are not finite are left
//! out: an absent series says the same and cannot spoil a sum. A series that was written at the last tick
//! and has nothing to say at this one gets a staleness marker, so that a closed incident ends at once.

use std::collections::BTreeMap;

use quoll_detect::ServiceScore;
use quoll_features::FeatureSet;
use quoll_identity::{Edge, Scope, Service};
use quoll_incidents::{Diagnosis, IncidentDiagnosis};
use quoll_prometheus_protocol::staleness::stale_marker;
use quoll_queue::OutSeries;

type Labels = Vec<(String, String)>;

/// Collects the series of one tick.
struct Tick<'a> {
    scope: &'a Scope,
    series: BTreeMap<Labels, f64>,
}

impl Tick<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, Option<&str>)], value: f64) {
        if !value.is_finite() {
            return;
        }
        let own = labels.iter().filter_map(|&(name, value)| Some((name, value?)));
        let partition = self.scope.partition.iter().map(|(name, value)| (&**name, &**value));
        let tenant = Some(&*self.scope.tenant).filter(|tenant| !tenant.is_empty()).map(|tenant| ("tenant", tenant));
        let all = own.chain(partition).chain(tenant).chain([("__name__", name)]).filter(|(_, value)| !value.is_empty());
        let mut labels: Labels = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        labels.sort_unstable();
        labels.dedup_by(|a, b| a.0 == b.0);
        self.series.entry(labels).or_insert(value);
    }

    fn service(&mut self, name: &str, service: &Service, more: &[(&str, Option<&str>)], value: f64) {
        let own = [("service_name", Some(&*service.name)), ("service_namespace", service.namespace.as_deref())];
        self.put(name, &[&own, more].concat(), value);
    }

    fn score(&mut self, score: &ServiceScore, set: &FeatureSet) {
        let service = &score.service;
        self.service("quoll_anomaly_score", service, &[], score.score);
        self.service("quoll_anomaly_probability", service, &[], score.anomaly_probability);
        self.service("quoll_feature_coverage_ratio", service, &[], score.coverage);
        self.service("quoll_calibration_samples", service, &[], score.calibration_samples as f64);
        for part in &score.features {
            let Some(feature) = set.features.get(part.feature) else { continue };
            let feature = [("feature", Some(&*feature.name))];
            self.service("quoll_feature_anomaly_score", service, &feature, part.score);
            self.service("quoll_feature_value", service, &feature, part.value);
            self.service("quoll_feature_expected", service, &feature, part.expected);
        }
    }

    fn edge(&mut self, name: &str, edge: &Edge, value: f64) {
        let labels = [
            ("client", Some(&*edge.client.name)),
            ("client_service_namespace", edge.client.namespace.as_deref()),
            ("server", Some(&*edge.server.name)),
            ("server_service_namespace", edge.server.namespace.as_deref()),
        ];
        self.put(name, &labels, value);
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
            let name = &service.service;
            // Services too young or too silent for a score still have what the network says of them.
            self.service("quoll_anomaly_probability", name, &[], service.anomaly_probability);
            self.service("quoll_evidence_log_likelihood_ratio", name, &[], service.log_likelihood_ratio);
            self.service("quoll_fault_prior_probability", name, &[], service.fault_prior);
            if let (Some(incident), Some(probability)) = (&service.incident, service.root_cause_probability) {
                self.service("quoll_root_cause_probability", name, &[("incident", Some(incident))], probability);
            }
        }
        for incident in &diagnosis.incidents {
            self.incident(incident);
        }
    }
}

fn root(service: &Service) -> [(&str, Option<&str>); 2] {
    [("root_service", Some(&*service.name)), ("root_service_namespace", service.namespace.as_deref())]
}

/// Writes ticks of one scope, remembering which series the last one had.
#[derive(Debug, Default)]
pub struct Outputs {
    alive: Vec<Labels>,
}

impl Outputs {
    /// Goes on after a tick that had these series.
    pub fn resume(alive: Vec<Labels>) -> Self {
        Self { alive }
    }

    /// The series of the last tick.
    pub fn alive(&self) -> &[Labels] {
        &self.alive
    }

    /// The series of a tick at `timestamp_ms`. Without a model (`scores` is `None`) there is only the graph.
    pub fn tick(
        &mut self,
        scope: &Scope,
        set: &FeatureSet,
        scores: Option<&[ServiceScore]>,
        diagnosis: &Diagnosis,
        timestamp_ms: i64,
    ) -> Vec<OutSeries> {
        let mut tick = Tick { scope, series: BTreeMap::new() };
        for edge in &diagnosis.edges {
            tick.edge("quoll_edge_strength", &edge.edge, edge.strength);
            tick.edge("quoll_edge_requests_per_second", &edge.edge, edge.requests_per_second);
            tick.edge("quoll_edge_error_ratio", &edge.edge, edge.error_ratio);
        }
        for (name, of) in &diagnosis.aliases {
            let of = [("alias_of", Some(&*of.name)), ("alias_of_namespace", of.namespace.as_deref())];
            tick.service("quoll_service_alias_info", name, &of, 1.0);
        }
        if let Some(scores) = scores {
            for score in scores {
                tick.score(score, set);
            }
            tick.inference(diagnosis);
        }
        tick.put("quoll_leak_probability", &[], diagnosis.leak);
        let info = [("engine_version", Some(diagnosis.engine_version)), ("config_hash", Some(&*diagnosis.config_hash))];
        tick.put("quoll_inference_info", &info, 1.0);
        tick.put("quoll_inference_tick_timestamp_seconds", &[], diagnosis.end_ms as f64 / 1000.0);
        self.finish(tick.series, timestamp_ms)
    }

    fn finish(&mut self, series: BTreeMap<Labels, f64>, timestamp_ms: i64) -> Vec<OutSeries> {
        let gone = self.alive.drain(..).filter(|labels| !series.contains_key(labels));
        let mut out: Vec<OutSeries> =
            gone.map(|labels| OutSeries { labels, timestamp_ms, value: stale_marker() }).collect();
        self.alive = series.keys().cloned().collect();
        out.extend(series.into_iter().map(|(labels, value)| OutSeries { labels, timestamp_ms, value }));
        out
    }
}

#[cfg(test)]
mod tests;
