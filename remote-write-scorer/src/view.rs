//! Turns a tick into what the HTTP interface shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_api::view::{
    BlastView, ClosedIncidentView, EdgeView, FeatureName, FeatureValue, FeaturesView, IncidentView, Likely, ScopeKey,
    ScopeView, ServiceName, ServiceView,
};
use quoll_detect::{FeatureScore, ServiceScore};
use quoll_features::{ClosedStep, FeatureSet, FeatureSpec, Presence, ServiceStep};
use quoll_identity::{Scope, Service};
use quoll_incidents::{Diagnosis, IncidentDiagnosis, ServiceDiagnosis};

/// The name of a scope in queries.
pub fn scope_key(scope: &Scope) -> ScopeKey {
    ScopeKey {
        tenant: scope.tenant.to_string(),
        partition: scope.partition.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    }
}

/// The whole view of a scope after a tick.
pub fn scope_view(
    scope: &Scope,
    set: &FeatureSet,
    step: &ClosedStep,
    scores: Option<&[ServiceScore]>,
    diagnosis: &Diagnosis,
    closed: impl IntoIterator<Item = ClosedIncidentView>,
) -> ScopeView {
    let score: BTreeMap<&Service, &ServiceScore> =
        scores.unwrap_or_default().iter().map(|score| (&score.service, score)).collect();
    let name = |feature: &FeatureSpec| FeatureName { name: feature.name.clone(), unit: feature.unit.clone() };
    let names: Arc<[FeatureName]> = set.features.iter().map(name).collect();
    let observed = step.services.iter().map(|service| {
        let found = diagnosis.services.binary_search_by(|other| other.service.cmp(&service.service));
        let found = found.ok().and_then(|index| diagnosis.services.get(index));
        service_view(service, &names, score.get(&service.service).copied(), found)
    });
    // Hosts and names that only their callers know have no values of their own.
    let others = diagnosis.services.iter().filter(|other| {
        other.incident.is_some()
            && step.services.binary_search_by(|service| service.service.cmp(&other.service)).is_err()
    });
    let others = others.map(|other| {
        let silent = ServiceStep::new(other.service.clone(), Vec::new(), Presence::Present);
        service_view(&silent, &names, None, Some(other))
    });
    let mut services: Vec<ServiceView> = observed.chain(others).collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    ScopeView {
        scope: scope_key(scope),
        tick_ms: Some(diagnosis.end_ms),
        step_ms: step.step_ms,
        engine_version: diagnosis.engine_version.to_owned(),
        config_hash: diagnosis.config_hash.clone(),
        leak: diagnosis.leak,
        services,
        edges: diagnosis
            .edges
            .iter()
            .map(|edge| EdgeView {
                client: edge.edge.client.name.clone(),
                client_namespace: edge.edge.client.namespace.clone(),
                server: edge.edge.server.name.clone(),
                server_namespace: edge.edge.server.namespace.clone(),
                requests_per_second: edge.requests_per_second,
                error_ratio: edge.error_ratio,
                strength: edge.strength,
            })
            .collect(),
        incidents: diagnosis.incidents.iter().map(incident_view).collect(),
        closed_incidents: closed.into_iter().collect(),
        silent_leaves: Vec::new(),
    }
}

fn service_view(
    step: &ServiceStep,
    names: &Arc<[FeatureName]>,
    score: Option<&ServiceScore>,
    diagnosis: Option<&ServiceDiagnosis>,
) -> ServiceView {
    let place = |index: usize| u32::try_from(index).unwrap_or(u32::MAX);
    let values = match score {
        Some(score) => {
            let value = |part: &FeatureScore| FeatureValue {
                feature: place(part.feature),
                value: part.value,
                expected: part.expected,
                basis: part.expected.is_finite().then(|| part.basis.name()),
                score: part.score,
            };
            score.features.iter().map(value).collect()
        }
        None => {
            let observed = step.values.iter().enumerate().filter(|(_, value)| value.is_finite());
            let value = |(index, &value): (usize, &f64)| FeatureValue {
                feature: place(index),
                value,
                expected: f64::NAN,
                basis: None,
                score: f64::NAN,
            };
            observed.map(value).collect()
        }
    };
    let features = FeaturesView { names: Arc::clone(names), values };
    ServiceView {
        namespace: step.service.namespace.clone(),
        name: step.service.name.clone(),
        presence: match step.presence {
            Presence::Present => "present",
            Presence::Vanished => "vanished",
            Presence::Idle => "idle",
            Presence::Unknown => "unknown",
        },
        score: score.map(|score| score.score),
        provisional: score.map(|score| score.provisional),
        anomaly_probability: score
            .map(|score| score.anomaly_probability)
            .or(diagnosis.map(|diagnosis| diagnosis.anomaly_probability))
            .unwrap_or(0.0),
        log_likelihood_ratio: diagnosis.map_or(0.0, |diagnosis| diagnosis.log_likelihood_ratio),
        fault_prior: diagnosis.map_or(0.0, |diagnosis| diagnosis.fault_prior),
        root_cause_probability: diagnosis.and_then(|diagnosis| diagnosis.root_cause_probability),
        incident: diagnosis.and_then(|diagnosis| diagnosis.incident.clone()),
        features,
    }
}

pub fn service_name(service: &Service) -> ServiceName {
    ServiceName { namespace: service.namespace.clone(), name: service.name.clone() }
}

fn likely(services: &[(Service, f64)]) -> Vec<Likely> {
    let views = services.iter().map(|(service, probability)| Likely {
        namespace: service.namespace.clone(),
        name: service.name.clone(),
        probability: *probability,
    });
    views.collect()
}

fn incident_view(incident: &IncidentDiagnosis) -> IncidentView {
    IncidentView {
        id: incident.id.clone(),
        opened_ms: incident.opened_ms,
        no_fault_prior: incident.no_fault_prior,
        no_fault_probability: incident.no_fault_probability,
        roots: likely(&incident.roots),
        symptoms: incident.symptoms.iter().map(service_name).collect(),
        blast_radius: incident
            .blast_radius
            .iter()
            .map(|blast| BlastView { root: service_name(&blast.root), hits: likely(&blast.hits) })
            .collect(),
        account: incident.account.clone(),
        explanation: incident.explanation.clone(),
    }
}
