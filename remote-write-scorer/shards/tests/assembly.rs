//! When the root's steps close, and what they say of leaves that are silent, late or many.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use quoll_detect::{Basis, FeatureScore, ServiceScore};
use quoll_features::{Change, ChangeKind, ClosedStep, EdgeStep, FeatureSet, Limits, Presence, SeriesRef, ServiceStep};
use quoll_identity::{Edge, Scope, Service};
use quoll_shards::report::Labels;
use quoll_shards::{Assembled, Assembly, LeavesConfig, ModelState, Report, report};

const STEP_MS: i64 = 1000;
const GRACE_MS: i64 = 5000;

fn set() -> Arc<FeatureSet> {
    static PRESET: LazyLock<Arc<FeatureSet>> = LazyLock::new(|| Arc::new(FeatureSet::preset("quoll").unwrap()));
    Arc::clone(&PRESET)
}

fn service(name: &str) -> Service {
    Service::new(Some("shop"), name).unwrap()
}

fn present(name: &str) -> ServiceStep {
    let mut step = ServiceStep::new(service(name), vec![1.0 / 3.0], Presence::Present);
    step.hosts = ["node-a".into(), "node-b".into()].into();
    step
}

/// Only named by an edge.
fn named(name: &str) -> ServiceStep {
    ServiceStep::new(service(name), vec![f64::NAN], Presence::Present)
}

fn edge(client: &str, server: &str) -> EdgeStep {
    EdgeStep {
        edge: Edge { client: service(client), server: service(server) },
        requests_per_second: 0.1 + 0.2,
        errors_per_second: 0.0,
        connects_per_second: 1e-300,
        connect_failures_per_second: 0.0,
        latency_seconds: f64::NAN,
    }
}

fn score(name: &str, score: f64) -> ServiceScore {
    ServiceScore {
        service: service(name),
        score,
        tail_probability: 0.1,
        anomaly_probability: quoll_detect::detector::anomaly_probability(0.1),
        provisional: true,
        coverage: 1.0,
        calibration_samples: 7,
        features: vec![FeatureScore {
            feature: 3,
            score,
            value: 2.0 / 3.0,
            expected: f64::NAN,
            basis: Basis::OtherFeatures,
        }],
    }
}

/// `a` has the cart, which calls the store; `b` has the store.
fn step_of(leaf: &str, end_ms: i64) -> ClosedStep {
    let (services, edges) = match leaf {
        "a" => (vec![present("cart")], vec![]),
        _ => (vec![named("cart"), present("store")], vec![edge("cart", "store")]),
    };
    ClosedStep { end_ms, step_ms: STEP_MS, services, edges }
}

fn report_of(leaf: &str, process: &str, step: &ClosedStep, previous_ms: Option<i64>) -> Vec<(Labels, f64)> {
    let told = step.services.iter().filter(|service| service.values.iter().any(|value| !value.is_nan()));
    let scores: Vec<ServiceScore> = told.map(|service| score(&service.service.name, 1.5)).collect();
    let scope = &Scope::default();
    let set = &set();
    let mut out = Vec::new();
    let report_of =
        Report { leaf, process, scope, step, previous_ms, model: ModelState::Provisional, scores: &scores, set };
    report(&report_of, &mut |labels, value| out.push((labels, value)));
    out
}

struct Root {
    assembly: Assembly,
    bound: BTreeMap<u32, Vec<(String, String)>>,
    steps: Vec<Assembled>,
}

fn leaves() -> LeavesConfig {
    LeavesConfig::new(&["a".to_owned(), "b".to_owned()], GRACE_MS).unwrap()
}

impl Root {
    fn new() -> Self {
        Self {
            assembly: Assembly::new(set(), STEP_MS, leaves(), Limits::default()),
            bound: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    fn bind(&mut self, labels: &[(String, String)]) -> Option<SeriesRef> {
        let borrowed: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (&**name, &**value)).collect();
        let bound = self.assembly.bind(&borrowed).unwrap()?;
        self.bound.insert(bound.0, labels.to_vec());
        Some(bound)
    }

    fn take(&mut self, samples: &[(Labels, f64)], timestamp_ms: i64) {
        for (labels, value) in samples {
            if let Some(series) = self.bind(labels) {
                self.assembly.push(series, timestamp_ms, *value);
            }
        }
        self.assembly.close(&mut self.steps);
    }

    /// A leaf reports steps one after another.
    fn report(&mut self, leaf: &str, seconds: impl IntoIterator<Item = i64>) {
        for second in seconds {
            let end_ms = second * STEP_MS;
            self.take(&report_of(leaf, "p", &step_of(leaf, end_ms), Some(end_ms - STEP_MS)), end_ms);
        }
    }

    fn ends(&self) -> Vec<i64> {
        self.steps.iter().map(|step| step.step.end_ms / STEP_MS).collect()
    }

    fn presence(&self, at: usize, name: &str) -> Option<Presence> {
        let services = &self.steps[at].step.services;
        services.iter().find(|step| step.service == service(name)).map(|step| step.presence)
    }

    fn status(&self, name: &str) -> quoll_shards::LeafStatus {
        self.assembly.leaves().find(|leaf| *leaf.name == *name).unwrap()
    }

    /// Whether a report would be held back.
    fn early(&mut self, leaf: &str, second: i64) -> bool {
        let end_ms = second * STEP_MS;
        let samples = report_of(leaf, "p", &step_of(leaf, end_ms), Some(end_ms - STEP_MS));
        samples.iter().any(|(labels, value)| {
            let bound = self.bind(labels).unwrap();
            self.assembly.gives_up_with(bound, *value)
        })
    }

    fn restored(&self) -> Self {
        let stored = postcard::to_stdvec(&self.assembly.store()).unwrap();
        let stored = postcard::from_bytes(&stored).unwrap();
        let find = |series: SeriesRef| {
            Some(self.bound.get(&series.0)?.iter().map(|(name, value)| (&**name, &**value)).collect::<Vec<_>>())
        };
        let (assembly, handles) = Assembly::restore(set(), STEP_MS, leaves(), Limits::default(), stored, find).unwrap();
        let bound = handles.iter().map(|(old, new)| (new.0, self.bound[&old.0].clone())).collect();
        Self { assembly, bound, steps: Vec::new() }
    }
}

#[test]
fn a_step_is_the_sum_of_its_reports_to_the_bit() {
    let mut root = Root::new();
    let mut changed = step_of("a", 1000);
    changed.services[0].change = Some(Change { kind: ChangeKind::Image, text: "image cart:1 -> cart:2".into() });
    root.take(&report_of("a", "p", &changed, None), 1000);
    assert!(root.steps.is_empty(), "b has not reported yet");
    root.report("b", [1]);
    let Assembled { step, told } = &root.steps[0];
    assert_eq!((step.end_ms, step.step_ms), (1000, STEP_MS));
    let cart = ServiceStep { values: vec![], ..changed.services[0].clone() };
    let store = ServiceStep { values: vec![], ..present("store") };
    assert_eq!(step.services, [cart, store]);
    let [found] = &step.edges[..] else { panic!("{step:?}") };
    assert_eq!(found.requests_per_second.to_bits(), (0.1_f64 + 0.2).to_bits());
    assert_eq!(found.connects_per_second, 1e-300);
    assert!(found.latency_seconds.is_nan() && found.errors_per_second == 0.0);
    let scores = told.scores.as_ref().unwrap();
    assert_eq!(scores.iter().map(|score| &*score.service.name).collect::<Vec<_>>(), ["cart", "store"]);
    assert_eq!((scores[0].score, scores[0].tail_probability), (1.5, 0.1));
    assert_eq!(scores[0].anomaly_probability, score("cart", 1.5).anomaly_probability);
    assert!(scores[0].provisional && scores[0].features[0].value == 2.0 / 3.0 && scores[0].features[0].feature == 3);
    assert_eq!((told.model, told.silent.len()), (ModelState::Provisional, 0));
}

#[test]
fn a_dead_leaf_delays_one_step_and_its_services_are_unknown_until_it_is_back() {
    let mut root = Root::new();
    root.report("a", 1..=3);
    root.report("b", 1..=3);
    root.report("a", 4..=9);
    assert_eq!(root.ends(), [1, 2, 3], "within the grace");
    root.report("a", [10]);
    assert_eq!(root.ends(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "the others do not wait again");
    assert_eq!(root.presence(3, "store"), Some(Presence::Unknown));
    assert_eq!(root.presence(3, "cart"), Some(Presence::Present));
    assert_eq!(&*root.steps[3].told.silent[0], "b");
    assert_eq!(root.steps[3].told.scores.as_ref().unwrap().len(), 1, "no score of the unknown");
    assert!(!root.status("b").reporting && root.status("b").missed_steps == 7);
    // What it says of closed steps comes too late; from then on it is waited for.
    root.report("b", 4..=10);
    assert_eq!(root.status("b").late_steps, 7);
    root.report("a", [11]);
    assert_eq!(root.ends().last(), Some(&10));
    root.report("b", [11]);
    assert_eq!(root.presence(10, "store"), Some(Presence::Present));
    assert!(root.status("b").reporting);
}

#[test]
fn services_of_a_leaf_that_is_gone_for_an_hour_are_forgotten() {
    let mut root = Root::new();
    root.report("a", 1..=3);
    root.report("b", 1..=3);
    root.report("a", (4..=3700).step_by(4));
    assert_eq!(root.presence(root.steps.len() - 30, "store"), Some(Presence::Unknown));
    assert_eq!(root.presence(root.steps.len() - 1, "store"), None);
}

#[test]
fn a_report_counts_as_a_whole_or_not_at_all() {
    let mut root = Root::new();
    root.report("a", 1..=2);
    root.report("b", [1]);
    let second = report_of("b", "p", &step_of("b", 2000), Some(1000));
    // Whatever is missing, the report is not whole; what is sent twice counts once.
    root.take(&second[1..], 2000);
    root.take(&second[1..], 2000);
    assert_eq!(root.ends(), [1]);
    root.report("a", [3]);
    root.report("b", [3]);
    assert_eq!(root.ends(), [1, 2, 3]);
    assert_eq!(root.presence(1, "store"), Some(Presence::Unknown));
    assert_eq!(root.status("b").lost_steps, 1);
    assert_eq!(root.presence(2, "store"), Some(Presence::Present));
}

#[test]
fn what_a_leaf_has_nothing_to_say_of_is_gone_and_not_unknown() {
    let mut root = Root::new();
    root.report("a", 1..=4);
    root.report("b", [1]);
    // Its windows were silent from 2 to 3.
    root.take(&report_of("b", "p", &step_of("b", 4000), Some(1000)), 4000);
    assert_eq!(root.ends(), [1, 2, 3, 4]);
    assert_eq!(root.presence(1, "store"), None);
    assert_eq!((root.status("b").missed_steps, root.status("b").lost_steps), (0, 0));
}

#[test]
fn a_leaf_without_series_of_this_scope_is_waited_for_once() {
    let mut root = Root::new();
    root.report("a", 1..=6);
    assert!(root.steps.is_empty());
    root.report("a", 7..=9);
    assert_eq!(root.ends(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert!(root.steps.iter().all(|step| step.told.silent.is_empty()), "it is not known to belong here");
}

#[test]
fn a_sender_far_ahead_of_a_leaf_that_is_alive_can_be_held_back() {
    let mut root = Root::new();
    root.report("a", 1..=6);
    assert!(!root.early("a", 6) && root.early("a", 7) && !root.early("b", 1));
    root.report("b", 1..=6);
    assert!(!root.early("a", 7) && !root.early("a", 60), "nothing is open that would wait");
}

#[test]
fn two_processes_of_one_leaf_are_one_leaf_that_is_there_while_either_is() {
    let mut root = Root::new();
    for second in 1..=4 {
        root.report("a", [second]);
        let step = step_of("b", second * STEP_MS);
        if second != 2 {
            root.take(&report_of("b", "p", &step, Some((second - 1) * STEP_MS)), second * STEP_MS);
        }
        if second != 3 {
            root.take(&report_of("b", "q", &step, Some((second - 1) * STEP_MS)), second * STEP_MS);
        }
    }
    assert_eq!(root.ends(), [1, 2, 3, 4]);
    assert!((0..4).all(|at| root.presence(at, "store") == Some(Presence::Present)));
    assert!(root.steps.iter().all(|step| step.step.edges.len() == 1), "never twice");
    let status = root.status("b");
    assert_eq!((status.late_steps, status.missed_steps), (0, 0));
    assert_eq!(root.assembly.assembly_stats().conflicts, 0);
}

#[test]
fn a_service_that_two_leaves_report_is_counted_and_not_mixed() {
    let mut root = Root::new();
    root.report("a", [1]);
    let both = ClosedStep { services: vec![present("cart"), present("store")], ..step_of("b", 1000) };
    root.take(&report_of("b", "p", &both, None), 1000);
    assert_eq!(root.assembly.assembly_stats().conflicts, 1);
    assert_eq!(root.steps[0].step.services.len(), 2);
    assert_eq!(root.steps[0].told.scores.as_ref().unwrap().len(), 2);
}

#[test]
fn leaves_of_another_root_or_another_step_and_raw_series_are_refused() {
    let mut root = Root::new();
    assert!(root.bind(&report_of("c", "p", &step_of("a", 1000), None)[0].0).is_none());
    let other = ClosedStep { step_ms: 15_000, ..step_of("a", 15_000) };
    root.take(&report_of("a", "p", &other, None), 15_000);
    assert_eq!(root.assembly.assembly_stats().refused_series, 2);
    let raw = [("__name__", "quoll_tcp_connects_total"), ("client", "a"), ("server", "b")];
    assert_eq!(root.assembly.bind(&raw), Ok(None));
    assert!(root.steps.is_empty());
}

#[test]
fn a_restored_assembly_goes_on_as_the_stored_one() {
    let mut root = Root::new();
    root.report("a", 1..=4);
    root.report("b", 1..=2);
    let third = report_of("b", "p", &step_of("b", 3000), Some(2000));
    root.take(&third[..2], 3000);
    let mut restored = root.restored();
    root.steps.clear();
    for root in [&mut root, &mut restored] {
        root.take(&third[2..], 3000);
        root.report("b", [4]);
        root.report("a", 5..=20);
    }
    assert_eq!(root.ends().len(), 18);
    assert_eq!(format!("{:?}", restored.steps), format!("{:?}", root.steps));
    assert_eq!(restored.status("b"), root.status("b"));
}

#[test]
fn silent_series_give_their_memory_back_and_may_return() {
    let mut root = Root::new();
    root.report("a", [1]);
    root.report("b", [1]);
    root.report("b", [400]);
    root.report("b", [800]);
    let mut gone = Vec::new();
    root.assembly.take_forgotten(&mut gone);
    assert!(gone.len() >= 6, "{gone:?}");
    root.report("a", [801]);
    root.report("b", [801]);
    assert_eq!(root.presence(root.steps.len() - 1, "cart"), Some(Presence::Present));
}
