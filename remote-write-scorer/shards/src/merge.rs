//! From the reports of one step to the step as one process would have it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_detect::{Basis, FeatureScore, ServiceScore, detector::anomaly_probability};
use quoll_features::{Change, ClosedStep, EdgeStep, Presence, ServiceStep};
use quoll_identity::{Edge, Service};

use crate::part::Part;
use crate::statement::Statement;

/// Code of a service that is only named.
const NAMED: u8 = 3;

/// State of a leaf's model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ModelState {
    /// There is none: topology only.
    #[default]
    None,
    /// Its tail rests on too little history.
    Provisional,
    /// As it should be.
    Calibrated,
}

impl ModelState {
    /// The number that reports carry.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn of(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Provisional,
            _ => Self::Calibrated,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Provisional => "provisional",
            Self::Calibrated => "calibrated",
        }
    }
}

/// What leaves tell beside the step itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Scores, sorted by service; `None` where no leaf has a model.
    pub scores: Option<Vec<ServiceScore>>,
    /// The worst state among the models of leaves that reported.
    pub model: ModelState,
    /// Leaves that should have reported, and have not.
    pub silent: Vec<Arc<str>>,
}

/// A step put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The step. Services have no values; those of silent leaves are [`Presence::Unknown`].
    pub step: ClosedStep,
    /// Everything else.
    pub told: Told,
}

/// All that one report says of one service.
#[derive(Debug, Default)]
struct Entry {
    presence: Option<u8>,
    hosts: Vec<Arc<str>>,
    change: Option<Change>,
    score: Option<f64>,
    tail: Option<f64>,
    provisional: bool,
    features: BTreeMap<u16, [f64; 4]>,
}

impl Entry {
    fn told(&self) -> bool {
        self.presence.is_some_and(|code| code != NAMED)
    }
}

/// Reports of one step, being put together.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    services: BTreeMap<Arc<Service>, Entry>,
    edges: BTreeMap<Arc<Edge>, [f64; 5]>,
    unknown: Vec<Arc<Service>>,
    models: Vec<ModelState>,
    /// Services and edges that came twice.
    pub conflicts: u64,
}

impl Merge {
    /// Takes in one leaf's report. Returns the services that it tells of, sorted.
    pub fn add<'a>(&mut self, part: &Part, statement: impl Fn(u32) -> Option<&'a Statement>) -> Vec<Arc<Service>> {
        self.models.push(ModelState::of(part.model));
        let mut services: BTreeMap<&Arc<Service>, Entry> = BTreeMap::new();
        let mut edges: BTreeMap<&Arc<Edge>, [f64; 5]> = BTreeMap::new();
        for &(handle, value) in &part.samples {
            let Some(statement) = statement(handle) else { continue };
            match statement {
                Statement::Presence(of) => services.entry(of).or_default().presence = Some(value as u8),
                Statement::Host(of, host) => services.entry(of).or_default().hosts.push(Arc::clone(host)),
                Statement::Change(of, change) => services.entry(of).or_default().change = Some(Change::clone(change)),
                Statement::Score(of) => services.entry(of).or_default().score = Some(value),
                Statement::Tail(of) => services.entry(of).or_default().tail = Some(value),
                Statement::Provisional(of) => services.entry(of).or_default().provisional = value > 0.0,
                Statement::Feature(of, feature, figure) => {
                    let figures = services.entry(of).or_default().features.entry(*feature).or_insert([f64::NAN; 4]);
                    figures[usize::from(*figure)] = value;
                }
                Statement::Edge(of, figure) => {
                    let figures = edges.entry(of).or_insert([0.0, 0.0, 0.0, 0.0, f64::NAN]);
                    figures[usize::from(*figure)] = value;
                }
                Statement::Tick | Statement::Previous | Statement::Samples | Statement::Model => {}
            }
        }
        let mut told = Vec::new();
        for (service, entry) in services {
            if entry.told() {
                told.push(Arc::clone(service));
            }
            match self.services.get_mut(service) {
                None => {
                    self.services.insert(Arc::clone(service), entry);
                }
                Some(_) if !entry.told() => {}
                Some(known) if !known.told() => *known = entry,
                Some(_) => self.conflicts += 1,
            }
        }
        for (edge, figures) in edges {
            if self.edges.contains_key(edge) {
                self.conflicts += 1;
            } else {
                self.edges.insert(Arc::clone(edge), figures);
            }
        }
        told
    }

    /// Notes the services of a leaf that has not reported.
    pub fn miss(&mut self, services: &[Arc<Service>]) {
        self.unknown.extend(services.iter().map(Arc::clone));
    }

    /// The step that ends at `end_ms`.
    pub fn finish(self, end_ms: i64, step_ms: i64, silent: Vec<Arc<str>>) -> Assembled {
        let Self { mut services, edges, unknown, models, .. } = self;
        let mut scores = Vec::new();
        for service in unknown {
            let entry = services.entry(service).or_default();
            if !entry.told() {
                entry.presence = None;
            }
        }
        let mut steps = Vec::with_capacity(services.len());
        for (service, mut entry) in services {
            scores.extend(score(&service, &mut entry));
            entry.hosts.sort_unstable();
            entry.hosts.dedup();
            steps.push(ServiceStep {
                service: Service::clone(&service),
                values: Vec::new(),
                presence: match entry.presence {
                    None => Presence::Unknown,
                    Some(1) => Presence::Vanished,
                    Some(2) => Presence::Idle,
                    Some(_) => Presence::Present,
                },
                hosts: entry.hosts.into(),
                change: entry.change,
            });
        }
        let edge = |(edge, [requests, errors, connects, failures, latency]): (Arc<Edge>, [f64; 5])| EdgeStep {
            edge: Edge::clone(&edge),
            requests_per_second: requests,
            errors_per_second: errors,
            connects_per_second: connects,
            connect_failures_per_second: failures,
            latency_seconds: latency,
        };
        let edges = edges.into_iter().map(edge).collect();
        let scored = models.iter().any(|model| *model != ModelState::None);
        Assembled {
            step: ClosedStep { end_ms, step_ms, services: steps, edges },
            told: Told {
                scores: scored.then_some(scores),
                model: models.into_iter().min().unwrap_or_default(),
                silent,
            },
        }
    }
}

fn score(service: &Arc<Service>, entry: &mut Entry) -> Option<ServiceScore> {
    let (score, tail_probability) = (entry.score?, entry.tail?);
    let features = std::mem::take(&mut entry.features).into_iter();
    Some(ServiceScore {
        service: Service::clone(service),
        score,
        tail_probability,
        anomaly_probability: anomaly_probability(tail_probability),
        provisional: entry.provisional,
        // The leaf writes these itself.
        coverage: f64::NAN,
        calibration_samples: 0,
        features: features
            .map(|(feature, [value, expected, score, basis])| FeatureScore {
                feature: usize::from(feature),
                score,
                value,
                expected,
                basis: Basis::of(basis),
            })
            .collect(),
    })
}
