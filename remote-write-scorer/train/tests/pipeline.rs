//! Training and scoring together, through ONNX Runtime, on a made-up shop.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::path::Path;

use common::onnxruntime;
use quoll_detect::runtime::{NEWEST, OnnxNetwork, Reconstruct};
use quoll_detect::window::{CHANNELS, SEEN};
use quoll_detect::{Detector, ServiceScore};
use quoll_features::{ClosedStep, Direction, FeatureSpec, Presence, Role, SeenBy, ServiceStep};
use quoll_identity::Service;
use quoll_train::network::Network;
use quoll_train::random::Random;
use quoll_train::{Checkpoint, Progress, TrainOptions, TrainedModel, onnx, train_for, train_resumable};

const SERVICES: usize = 12;
const LATENCY: usize = 1;
const ERRORS: usize = 2;
const CPU: usize = 3;
const GONE: usize = 5;
const FEATURES: usize = 14;
const PRESET: &str = "made-up";

fn features() -> Vec<FeatureSpec> {
    let spec = |name: &str, unit: &str, direction, min_deviation, role| FeatureSpec {
        name: name.into(),
        unit: unit.into(),
        direction,
        min_deviation,
        seen_by: SeenBy::Itself,
        role,
    };
    vec![
        spec("requests", "requests/s", Direction::Both, 1.0, Role::Traffic),
        spec("latency", "seconds", Direction::Up, 0.002, Role::Symptom),
        spec("errors", "ratio", Direction::Up, 0.01, Role::Symptom),
        spec("cpu", "cores", Direction::Up, 0.02, Role::Symptom),
        spec("memory", "bytes", Direction::Up, 1e6, Role::Symptom),
        spec("connect_failures", "ratio", Direction::Up, 0.01, Role::Symptom),
        spec("caller_latency", "seconds", Direction::Up, 0.002, Role::Symptom),
        spec("never", "1", Direction::Both, 0.0, Role::Symptom),
        spec("throttled", "ratio", Direction::Up, 0.05, Role::Symptom),
        spec("descriptors", "descriptors", Direction::Up, 20.0, Role::Symptom),
        spec("queue", "ratio", Direction::Up, 0.1, Role::Symptom),
        spec("overflows", "events/s", Direction::Up, 0.5, Role::Symptom),
        spec("caller_errors", "ratio", Direction::Up, 0.03, Role::Symptom),
        spec("retransmits", "ratio", Direction::Up, 0.01, Role::Symptom),
    ]
}

fn service(i: usize) -> Service {
    Service::new(Some("shop"), &format!("service-{i:02}")).unwrap()
}

/// Seconds of a shop under a load with rhythm and noise.
fn shop(steps: usize, seed: u64) -> Vec<ClosedStep> {
    let mut random = Random::new(seed);
    (0..steps)
        .map(|t| {
            let rhythm = 1.0 + 0.3 * (t as f64 / 20.0).sin();
            let services = (0..SERVICES)
                .map(|i| {
                    let mut noise = |size: f64| 1.0 + size * f64::from(random.noise());
                    let base = 10.0 + 3.0 * i as f64;
                    let latency = (0.005 + 0.002 * i as f64) * noise(0.15) * (0.8 + 0.2 * rhythm);
                    let values = vec![
                        base * rhythm * noise(0.1),
                        latency,
                        0.0,
                        0.002 * base * rhythm * noise(0.15),
                        3e7 + 1e5 * noise(0.5),
                        0.0,
                        latency * noise(0.05) + 0.001,
                        f64::NAN,
                        0.0,
                        40.0 * noise(0.1),
                        0.0,
                        0.0,
                        0.0,
                        0.001 * noise(0.5),
                    ];
                    ServiceStep::new(service(i), values, Presence::Present)
                })
                .collect();
            ClosedStep { end_ms: 1_000 * (t as i64 + 1), step_ms: 1_000, services, edges: Vec::new() }
        })
        .collect()
}

fn trained(steps: &[ClosedStep], seed: u64) -> TrainedModel {
    let options = TrainOptions { seed, ..TrainOptions::default() };
    train_for(steps, &features(), PRESET, &options, &mut |_| ()).unwrap()
}

fn detector(model: &TrainedModel) -> Detector {
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    Detector::load_for(dir.path(), &features(), PRESET, 1_000, Some(&onnxruntime())).unwrap()
}

fn run(model: &TrainedModel, steps: &[ClosedStep]) -> Vec<Vec<ServiceScore>> {
    let mut detector = detector(model);
    steps.iter().map(|step| detector.score(step).unwrap()).collect()
}

#[test]
fn three_minutes_of_a_shop_find_its_faults_within_three_steps() {
    let mut steps = shop(240, 1);
    let model = trained(&steps[..150], 1);
    assert!(model.summary.provisional);
    for (back, step) in steps[200..].iter_mut().enumerate() {
        let slow = &mut step.services[3].values;
        slow[LATENCY] *= 6.0;
        slow[LATENCY + 5] *= 6.0;
        step.services[7].values[ERRORS] = 0.3;
        step.services[8].values[CPU] += 0.6;
        if back > 1 {
            step.services[9].values[..GONE].fill(f64::NAN);
        }
        step.services[9].values[GONE] = 1.0;
    }
    let scores = run(&model, &steps);
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for (faulty, what) in [(3, "latency"), (7, "errors"), (8, "cpu"), (9, "crash")] {
        let score = |t: usize| scores[t].iter().find(|s| s.service == service(faulty)).map_or(0.0, |s| s.score);
        early.push((what, score(202)));
        late.push((what, score(210)));
        let named = scores[203].iter().find(|s| s.service == service(faulty)).unwrap();
        assert!(named.tail_probability < 1e-4 && named.anomaly_probability > 0.5, "{what}: {named:?}");
    }
    assert!(early.iter().all(|(_, score)| *score > 1.5), "third step: {early:?}, eleventh: {late:?}");
    assert!(late.iter().all(|(_, score)| *score > 1.7), "third step: {early:?}, eleventh: {late:?}");
    // What is shown as expected is not what the fault made of it, when it begins and as long as it lasts.
    for t in [200, 201, 203, 215, 239] {
        let slow = scores[t].iter().find(|s| s.service == service(3)).unwrap();
        let latency = slow.features.iter().find(|f| f.feature == LATENCY).unwrap();
        assert!(latency.score > 1.0 && latency.expected < 0.7 * latency.value, "{t}: {latency:?}");
    }
    let healthy = scores[150..].iter().flatten().filter(|s| [0, 1, 2, 4, 5, 6, 10, 11].contains(&name(s)));
    let above = healthy.filter(|s| s.score > 1.0).count();
    assert!(above <= 5, "{above} of 720 healthy steps above 1");
}

fn name(score: &ServiceScore) -> usize {
    score.service.name.trim_start_matches("service-").parse().unwrap()
}

#[test]
fn a_standing_fault_does_not_become_normal() {
    let mut steps = shop(1_400, 1);
    let model = trained(&steps[..150], 1);
    for step in &mut steps[200..] {
        step.services[3].values[LATENCY] *= 6.0;
        step.services[7].values[ERRORS] = 0.3;
    }
    let scores = run(&model, &steps);
    for faulty in [3, 7] {
        let of = |t: usize| scores[t].iter().find(|s| s.service == service(faulty)).map_or(0.0, |s| s.score);
        let lowest = (210..1_400).map(of).fold(f64::INFINITY, f64::min);
        assert!(lowest > 1.0, "{faulty}: {lowest} in 1200 steps, {} at first and {} at last", of(210), of(1_399));
    }
}

#[test]
fn an_alarm_ends_soon_after_its_fault_while_the_stable_score_lingers() {
    let mut steps = shop(320, 1);
    let model = trained(&steps[..150], 1);
    for step in &mut steps[200..260] {
        step.services[3].values[LATENCY] *= 6.0;
        step.services[3].values[LATENCY + 5] *= 6.0;
    }
    let scores = run(&model, &steps);
    let of = |t: usize| scores[t].iter().find(|s| s.service == service(3)).unwrap();
    assert!((203..260).all(|t| of(t).tail_probability < 1e-3));
    let calm = (260..320).find(|t| of(*t).tail_probability > 0.01).unwrap();
    let low = (260..320).find(|t| of(*t).score < 1.0).unwrap();
    assert!(calm <= 276 && calm < low, "alarm ended {} steps after the repair, score {}", calm - 260, low - 260);
}

#[test]
fn traffic_alone_is_no_symptom_and_improvement_is_none_either() {
    let mut steps = shop(240, 2);
    let model = trained(&steps[..150], 1);
    for step in &mut steps[200..] {
        step.services[3].values[0] *= 0.2;
        step.services[4].values[LATENCY] *= 0.3;
    }
    let scores = run(&model, &steps);
    let above = scores[200..].iter().flatten().filter(|s| [3, 4].contains(&name(s)) && s.score > 1.0).count();
    assert!(above <= 4, "{above} of 80");
}

#[test]
fn truncating_a_stream_leaves_earlier_scores_bit_equal() {
    let steps = shop(200, 3);
    let model = trained(&steps[..120], 1);
    let whole = run(&model, &steps);
    let part = run(&model, &steps[..160]);
    assert_eq!(whole[..160], part[..]);
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let steps = shop(100, 4);
    let model = trained(&steps, 1);
    assert_eq!(model, trained(&steps, 1));
    assert_ne!(model.onnx, trained(&steps, 2).onnx);
}

#[test]
fn a_killed_training_goes_on_from_its_last_checkpoint_and_ends_with_the_same_bits() {
    let steps = shop(100, 4);
    let (features, options) =
        (features(), TrainOptions { min_updates: 80, max_updates: 80, ..TrainOptions::default() });
    let whole = train_for(&steps, &features, PRESET, &options, &mut |_| ()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint { every_updates: 20, ..Checkpoint::of_model(dir.path()) };
    let killed = std::panic::catch_unwind(|| {
        train_resumable(&steps, &features, PRESET, &options, Some(&checkpoint), &mut |progress| {
            assert!(!matches!(progress, Progress::Update { done: 73, .. }), "killed");
        })
    });
    assert!(killed.is_err());
    let run = |steps: &[ClosedStep], options: &TrainOptions| {
        let (mut resumed, mut updates) = (None, 0);
        let model =
            train_resumable(steps, &features, PRESET, options, Some(&checkpoint), &mut |progress| match progress {
                Progress::Resumed { done, .. } => resumed = Some(done),
                Progress::Update { .. } => updates += 1,
                _ => (),
            });
        (model.unwrap(), resumed, updates)
    };
    // Another run, and a damaged checkpoint, begin at the beginning.
    let kept = std::fs::read(&checkpoint.path).unwrap();
    assert_eq!(run(&steps, &TrainOptions { seed: 2, ..options.clone() }).1, None);
    assert_eq!(run(&steps[1..], &options).1, None);
    let mut damaged = kept.clone();
    damaged[kept.len() / 2] ^= 1;
    std::fs::write(&checkpoint.path, damaged).unwrap();
    assert_eq!(run(&steps, &options).1, None);
    std::fs::write(&checkpoint.path, kept).unwrap();
    let (model, resumed, updates) = run(&steps, &options);
    assert_eq!((resumed, updates), (Some(60), whole.summary.updates - 60));
    assert_eq!(model, whole);
}

#[test]
fn the_onnx_network_equals_the_trained_one_and_so_does_one_for_whole_images() {
    let model = trained(&shop(100, 5), 1);
    let mut random = Random::new(9);
    let mut network = Network::new(FEATURES, &mut random);
    let metadata = quoll_detect::metadata::Metadata::new(1_000, &features(), PRESET, "id");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.onnx");
    let windows = 150;
    let images: Vec<f32> = (0..windows * CHANNELS * FEATURES * SEEN).map(|_| 2.0 * random.noise()).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    network.reconstruct(&images, windows, &mut ours).unwrap();
    assert_eq!(ours.len(), images.len() / SEEN * NEWEST);
    for (version, bytes) in
        [("now", onnx::encode(&network, &metadata)), ("before", onnx::encode_whole(&network, &metadata))]
    {
        std::fs::write(&path, bytes).unwrap();
        let mut loaded = OnnxNetwork::load(&path, &metadata, FEATURES, Some(&onnxruntime())).unwrap();
        loaded.reconstruct(&images, windows, &mut theirs).unwrap();
        assert_eq!(ours.len(), theirs.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs() / (1.0 + a.abs())).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{version}: {worst}");
    }
    assert!(model.onnx.len() > 10_000);
}

#[test]
fn a_model_for_another_step_or_other_features_is_refused_with_both_values() {
    let model = trained(&shop(60, 6), 1);
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let load = |features: &[FeatureSpec], hash, step| {
        Detector::load_for(dir.path(), features, hash, step, Some(&onnxruntime())).unwrap_err().to_string()
    };
    let error = load(&features(), PRESET, 15_000);
    assert!(error.contains("`1000`") && error.contains("`15000`"), "{error}");
    let error = load(&features()[1..], PRESET, 1_000);
    assert!(error.contains("requests[requests/s]"), "{error}");
    let error = load(&features(), "other", 1_000);
    assert!(error.contains("`made-up`") && error.contains("`other`"), "{error}");
}

#[test]
fn a_missing_library_names_the_ways_out_in_one_line() {
    let model = trained(&shop(60, 6), 1);
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let missing = Path::new("/nowhere/libonnxruntime.so");
    let error = Detector::load_for(dir.path(), &features(), PRESET, 1_000, Some(missing)).unwrap_err().to_string();
    assert!(error.contains("--onnxruntime") && !error.contains('\n'), "{error}");
}

#[test]
fn constant_and_empty_features_give_finite_scores() {
    let mut steps = shop(200, 7);
    for step in &mut steps {
        for service in &mut step.services {
            service.values = vec![5.0; FEATURES];
        }
    }
    let model = trained(&steps[..150], 1);
    steps[190].services[0].values[..6].copy_from_slice(&[f64::MAX, f64::INFINITY, f64::MIN, -1.0, 0.0, f64::NAN]);
    for score in run(&model, &steps).iter().flatten() {
        assert!(score.score.is_finite() && score.score >= 0.0, "{score:?}");
        assert!(score.tail_probability > 0.0 && score.tail_probability <= 1.0);
        assert!(score.features.iter().all(|f| f.score.is_finite() && f.expected.is_finite()));
    }
}

#[test]
fn a_service_unseen_in_training_is_scored_after_some_history_of_its_own() {
    let steps = shop(150, 8);
    let model = trained(&steps, 1);
    let mut later = shop(100, 9);
    for step in &mut later {
        step.services[0].service = Service::new(None, "new").unwrap();
        step.services.sort_by(|a, b| a.service.cmp(&b.service));
    }
    let scores = run(&model, &later);
    let seen = |t: usize| scores[t].iter().any(|s| &*s.service.name == "new");
    assert!(!seen(20) && seen(80));
}
