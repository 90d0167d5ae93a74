//! The leaf's side: a closed step and its scores as samples.

use quoll_detect::ServiceScore;
use quoll_features::{ChangeKind, ClosedStep, FeatureSet, Presence, ServiceStep};
use quoll_identity::{Edge, Scope, Service};

use crate::merge::ModelState;
use crate::wire::{
    CHANGE, CHANGE_LABELS, EDGES, FEATURE, FEATURES, HOST, HOST_LABEL, LEAF, MODEL, PRESENCE, PREVIOUS, PROCESS,
    PROVISIONAL, SAMPLES, SCORE, STEP, TAIL, TENANT, TICK,
};

/// Scores from here on, or tails below, are reported with the features behind them: an account of an incident may
/// name these.
const TELLING_SCORE: f64 = 1.0;
const TELLING_TAIL: f64 = 0.05;
/// Longest text of a change, in bytes.
const MAX_CHANGE: usize = 512;

/// A series' labels, sorted by name.
pub type Labels = Vec<(String, String)>;

/// Everything that a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Name of the leaf.
    pub leaf: &'a str,
    /// What tells this process from others of the same name.
    pub process: &'a str,
    /// Whose step it is.
    pub scope: &'a Scope,
    /// The step.
    pub step: &'a ClosedStep,
    /// End of the step reported before it, if any.
    pub previous_ms: Option<i64>,
    /// State of the model.
    pub model: ModelState,
    /// Scores of its services.
    pub scores: &'a [ServiceScore],
    /// The features that they are made of.
    pub set: &'a FeatureSet,
}

struct Writer<'a> {
    report: &'a Report<'a>,
    sink: &'a mut dyn FnMut(Labels, f64),
    samples: u64,
}

/// Gives the samples of a report to `sink`; all are to have one timestamp.
pub fn report(report: &Report<'_>, sink: &mut dyn FnMut(Labels, f64)) {
    let mut writer = Writer { report, sink, samples: 0 };
    let mut scores = report.scores.iter().peekable();
    for service in &report.step.services {
        // Both are sorted by service.
        while scores.next_if(|score| score.service < service.service).is_some() {}
        let score = scores.next_if(|score| score.service == service.service);
        writer.service(service, score);
    }
    for edge in &report.step.edges {
        let rates = [
            edge.requests_per_second,
            edge.errors_per_second,
            edge.connects_per_second,
            edge.connect_failures_per_second,
        ];
        for (at, (name, rate)) in EDGES.iter().zip(rates).enumerate() {
            // The first one says that there is an edge.
            if at == 0 || rate != 0.0 {
                writer.edge(name, &edge.edge, rate);
            }
        }
        if !edge.latency_seconds.is_nan() {
            writer.edge(EDGES[4], &edge.edge, edge.latency_seconds);
        }
    }
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let step_ms = report.step.step_ms.to_string();
    writer.put(TICK, &[(STEP, &step_ms)], seconds(report.step.end_ms));
    if let Some(previous_ms) = report.previous_ms {
        writer.put(PREVIOUS, &[], seconds(previous_ms));
    }
    writer.put(MODEL, &[], f64::from(report.model.code()));
    writer.put(SAMPLES, &[], (writer.samples + 1) as f64);
}

impl Writer<'_> {
    fn put(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let Report { leaf, process, scope, .. } = *self.report;
        let partition = scope.partition.iter().map(|(name, value)| (&**name, &**value));
        let fixed = [("__name__", name), (LEAF, leaf), (PROCESS, process), (TENANT, &*scope.tenant)];
        let all = labels.iter().copied().chain(partition).chain(fixed).filter(|(_, value)| !value.is_empty());
        let mut labels: Labels = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        labels.sort_unstable();
        self.samples += 1;
        (self.sink)(labels, value);
    }

    fn of(&mut self, name: &str, service: &Service, more: &[(&str, &str)], value: f64) {
        let namespace = service.namespace.as_deref().unwrap_or_default();
        let own = [("service_name", &*service.name), ("service_namespace", namespace)];
        self.put(name, &[&own, more].concat(), value);
    }

    fn edge(&mut self, name: &str, edge: &Edge, value: f64) {
        let labels = [
            ("client", &*edge.client.name),
            ("client_service_namespace", edge.client.namespace.as_deref().unwrap_or_default()),
            ("server", &*edge.server.name),
            ("server_service_namespace", edge.server.namespace.as_deref().unwrap_or_default()),
        ];
        self.put(name, &labels, value);
    }

    fn service(&mut self, step: &ServiceStep, score: Option<&ServiceScore>) {
        let service = &step.service;
        let known = score.is_some()
            || !step.hosts.is_empty()
            || step.change.is_some()
            || step.values.iter().any(|value| !value.is_nan());
        let presence = match step.presence {
            Presence::Present if known => 0.0,
            Presence::Vanished => 1.0,
            Presence::Idle => 2.0,
            Presence::Present | Presence::Unknown => 3.0,
        };
        self.of(PRESENCE, service, &[], presence);
        for host in &*step.hosts {
            self.of(HOST, service, &[(HOST_LABEL, host)], 1.0);
        }
        if let Some(change) = &step.change {
            let [kind, text] = CHANGE_LABELS;
            let told = &change.text[..change.text.floor_char_boundary(MAX_CHANGE)];
            self.of(CHANGE, service, &[(kind, kind_name(change.kind)), (text, told)], 1.0);
        }
        let Some(score) = score else { return };
        self.of(SCORE, service, &[], score.score);
        self.of(TAIL, service, &[], score.tail_probability);
        if score.provisional {
            self.of(PROVISIONAL, service, &[], 1.0);
        }
        if score.score < TELLING_SCORE && score.tail_probability > TELLING_TAIL {
            return;
        }
        for part in &score.features {
            let Some(feature) = self.report.set.features.get(part.feature) else { continue };
            let basis = f64::from(part.basis.code());
            for (name, value) in FEATURES.iter().zip([part.value, part.expected, part.score, basis]) {
                if !value.is_nan() {
                    self.of(name, service, &[(FEATURE, &feature.name)], value);
                }
            }
        }
    }
}

/// Kinds of changes by their names.
const KINDS: [(ChangeKind, &str); 5] = [
    (ChangeKind::Image, "image"),
    (ChangeKind::Version, "version"),
    (ChangeKind::Executable, "executable"),
    (ChangeKind::Replicas, "replicas"),
    (ChangeKind::Restart, "restart"),
];

fn kind_name(kind: ChangeKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("", |(_, name)| name)
}

/// The kind of this name.
pub(crate) fn kind_of(name: &str) -> Option<ChangeKind> {
    KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
}
