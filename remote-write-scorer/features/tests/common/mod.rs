//! A sender of samples for tests.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod exposition;

use std::sync::{Arc, LazyLock};

use quoll_features::{ClosedStep, EdgeStep, FeatureSet, ScopeWindows, SeriesRef, ServiceStep};

/// The stale marker.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

pub struct Feed {
    pub windows: ScopeWindows,
    step_ms: i64,
    pub steps: Vec<ClosedStep>,
}

impl Feed {
    pub fn new(step_ms: i64) -> Self {
        static PRESET: LazyLock<Arc<FeatureSet>> = LazyLock::new(|| Arc::new(FeatureSet::preset("quoll").unwrap()));
        Self { windows: ScopeWindows::new(Arc::clone(&PRESET), step_ms), step_ms, steps: Vec::new() }
    }

    pub fn of(set: FeatureSet, step_ms: i64) -> Self {
        Self { windows: ScopeWindows::new(Arc::new(set), step_ms), step_ms, steps: Vec::new() }
    }

    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// `metric{a="b",c="d"}` in a short form: `metric a=b c=d`.
    pub fn bind(&mut self, series: &str) -> Option<SeriesRef> {
        let mut words = series.split(' ');
        let mut labels = vec![("__name__", words.next().unwrap())];
        labels.extend(words.map(|word| word.split_once('=').unwrap()));
        labels.sort_unstable();
        self.windows.bind(&labels)
    }

    pub fn push(&mut self, series: &str, timestamp_ms: i64, value: f64) {
        let bound = self.bind(series).unwrap_or_else(|| panic!("not selected: {series}"));
        self.windows.push(bound, timestamp_ms, value);
    }

    pub fn close(&mut self) -> &[ClosedStep] {
        self.windows.close(&mut self.steps);
        &self.steps
    }

    pub fn step(&mut self, end_ms: i64) -> &ClosedStep {
        self.close();
        let ends: Vec<i64> = self.steps.iter().map(|step| step.end_ms).collect();
        self.steps
            .iter()
            .find(|step| step.end_ms == end_ms)
            .unwrap_or_else(|| panic!("step {end_ms} is not among {ends:?}"))
    }

    pub fn service(&mut self, end_ms: i64, name: &str) -> &ServiceStep {
        let step = self.step(end_ms);
        step.services
            .iter()
            .find(|service| *service.service.name == *name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", step.services))
    }

    pub fn value(&mut self, end_ms: i64, service: &str, feature: &str) -> f64 {
        let at = self
            .windows
            .feature_set()
            .features
            .iter()
            .position(|spec| *spec.name == *feature)
            .unwrap_or_else(|| panic!("no feature {feature}"));
        self.service(end_ms, service).values[at]
    }

    pub fn edge(&mut self, end_ms: i64, client: &str, server: &str) -> &EdgeStep {
        let step = self.step(end_ms);
        step.edges
            .iter()
            .find(|edge| *edge.edge.client.name == *client && *edge.edge.server.name == *server)
            .unwrap_or_else(|| panic!("no {client} to {server} in {:?}", step.edges))
    }
}
