//! Scoring: from a closed step to the scores of all its services, on one thread.
//!
//! The live code path runs: windows take the step, images are written, the network reconstructs them through
//! ONNX Runtime in batches, errors become scores. The model is trained here, on a short history of a made-up
//! fleet with the product's own preset; its accuracy does not matter, its size and shape are the product's.
//!
//! `first_score_ms_warm` is what a restart pays before the first scores: loading the model, reading what a
//! snapshot holds of the detector, scoring the first step of `--first` services. The scores are those that a
//! detector gives which was there all along. ONNX Runtime's library itself is loaded already; how long that takes
//! is shown beside it, and so is a restart that replays the history.
//!
//! Rates are per second of processor time of this one thread, so that a busy machine does not count against
//! anyone; the first score is wall time.
//!
//! Shown beside, in the same run: the network alone in calls of different sizes, the trainer's own network
//! (im2col and matrix products in Rust) doing the same, and everything but the network.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;
use quoll_bench::Report;
use quoll_detect::calibration::{Calibration, MODEL_FILE};
use quoll_detect::detector::Scorer;
use quoll_detect::metadata::Metadata;
use quoll_detect::runtime::{MAX_BATCH, NEWEST, OnnxNetwork, Reconstruct};
use quoll_detect::snapshot::StoredDetector;
use quoll_detect::window::{CHANNELS, SEEN};
use quoll_detect::{Detector, ScoreError};
use quoll_features::{ClosedStep, FeatureSet, Presence, ServiceStep};
use quoll_identity::Service;
use quoll_train::network::Network;
use quoll_train::random::Random;
use quoll_train::{Progress, TrainOptions, train};
use rustix::time::{ClockId, clock_gettime};

const STEP_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000 - 1_700_000_000_000 % STEP_MS;
/// What a replay takes into the windows: as much as the scorer keeps.
const HISTORY_STEPS: usize = 75;
const TRAINED_SERVICES: usize = 60;
const TRAINED_STEPS: usize = 160;

#[derive(Parser)]
struct Arguments {
    /// Services in a pass
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// Services of the first score after a restart
    #[arg(long, default_value_t = 1_000)]
    first: usize,
    /// Passes; the median is told
    #[arg(long, default_value_t = 7)]
    passes: usize,
    /// ONNX Runtime's library
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Steps of a fleet: every feature around a level of its own, a tenth of them missing as where there is no
/// traffic.
struct Fleet {
    services: Vec<Service>,
    levels: Vec<f64>,
    features: usize,
    random: Random,
    step: i64,
}

impl Fleet {
    fn new(services: usize, features: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let names = (0..services).filter_map(|at| Service::new(Some("fleet"), &format!("service-{at:05}"))).collect();
        let levels = (0..services * features)
            .map(|at| if at % 10 == 9 { f64::NAN } else { f64::from(random.noise()).exp() })
            .collect();
        Self { services: names, levels, features, random, step: 0 }
    }

    fn step(&mut self) -> ClosedStep {
        self.step += 1;
        let services = self.services.iter().zip(self.levels.chunks(self.features)).map(|(service, levels)| {
            let values = levels.iter().map(|level| level * (1.0 + 0.1 * f64::from(self.random.noise()))).collect();
            ServiceStep::new(service.clone(), values, Presence::Present)
        });
        let services = services.collect();
        ClosedStep { end_ms: START_MS + self.step * STEP_MS, step_ms: STEP_MS, services, edges: Vec::new() }
    }
}

/// A network that answers at once: what is left is everything else.
struct Silent;

impl Reconstruct for Silent {
    fn reconstruct(&mut self, images: &[f32], _: usize, output: &mut Vec<f32>) -> Result<(), ScoreError> {
        output.clear();
        output.resize(images.len() / SEEN * NEWEST, 0.0);
        Ok(())
    }
}

fn images_per_second(network: &mut dyn Reconstruct, images: &[f32], image: usize, batch: usize) -> anyhow::Result<f64> {
    let mut output = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..5 {
        let started = cpu_seconds();
        for images in images.chunks(batch * image) {
            network.reconstruct(images, images.len() / image, &mut output)?;
        }
        rates.push((images.len() / image) as f64 / (cpu_seconds() - started));
    }
    Ok(median(rates))
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.services > 0 && arguments.first > 0 && arguments.passes > 0, "counts must be above 0");
    let mut report = Report::new("score");
    let set = Arc::new(FeatureSet::preset("quoll")?);
    let features = set.features.len();
    let library = arguments.onnxruntime.as_deref();

    let mut history = Fleet::new(TRAINED_SERVICES, features, 1);
    let steps: Vec<ClosedStep> = (0..TRAINED_STEPS).map(|_| history.step()).collect();
    report.note(&format!("training a model of {features} features on {TRAINED_SERVICES} services (not measured)"));
    let options = TrainOptions { min_updates: 50, max_updates: 50, ..TrainOptions::default() };
    let model = train(&steps, &set, &options, &mut |_: Progress| ())?;
    let directory = tempfile::tempdir()?;
    model.save(directory.path())?;

    let started = Instant::now();
    let load = || Detector::load(directory.path(), &set, STEP_MS, library).context("see scripts/setup");
    let mut detector = load()?;
    report.note(&format!(
        "ONNX Runtime's library and the model, first load: {:.0} ms",
        started.elapsed().as_secs_f64() * 1e3
    ));

    // Full passes.
    let mut fleet = Fleet::new(arguments.services, features, 2);
    for _ in 0..HISTORY_STEPS {
        detector.observe(&fleet.step())?;
    }
    let mut seconds = Vec::new();
    for _ in 0..arguments.passes {
        let step = fleet.step();
        let started = cpu_seconds();
        let scores = detector.score(&step)?;
        seconds.push(cpu_seconds() - started);
        ensure!(scores.len() == arguments.services, "{} of {} services scored", scores.len(), arguments.services);
    }
    let pass = median(seconds);
    let per_service = pass / arguments.services as f64;
    report.add("services_per_second_core", 1.0 / per_service);
    report.add("seconds_10k_services", per_service * 10_000.0);
    report.add("bytes_per_service", detector.bytes_per_service() as f64);
    drop(detector);

    // A restart.
    let (mut from_snapshot, mut by_replay, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..5 {
        let mut fleet = Fleet::new(arguments.first, features, 3);
        let history: Vec<ClosedStep> = (0..HISTORY_STEPS).map(|_| fleet.step()).collect();
        let first = fleet.step();
        let started = Instant::now();
        let mut detector = load()?;
        for step in &history {
            detector.observe(step)?;
        }
        let snapshot = postcard::to_stdvec(&detector.state())?;
        let replayed = detector.score(&first)?;
        by_replay.push(started.elapsed().as_secs_f64() * 1e3);
        bytes = snapshot.len();
        let started = Instant::now();
        let mut detector = load()?;
        let stored: StoredDetector = postcard::from_bytes(&snapshot)?;
        ensure!(detector.resume(stored), "the snapshot was refused");
        let scores = detector.score(&first)?;
        from_snapshot.push(started.elapsed().as_secs_f64() * 1e3);
        ensure!(scores.len() == arguments.first, "{} of {} services scored", scores.len(), arguments.first);
        ensure!(scores == replayed, "a score after a snapshot differs");
    }
    report.note(&format!(
        "restart: model, snapshot of {} bytes per service, first step of {} services",
        bytes / arguments.first,
        arguments.first
    ));
    report.note(&format!("  with {HISTORY_STEPS} steps of history instead of a snapshot: {:.0} ms", median(by_replay)));
    report.add("first_score_ms_warm", median(from_snapshot));

    // What the time goes into.
    let calibration = Calibration::load(directory.path())?;
    let mut scorer = Scorer::new(set.features.clone(), STEP_MS, calibration.clone());
    let mut fleet = Fleet::new(arguments.services, features, 4);
    for _ in 0..HISTORY_STEPS {
        scorer.observe(&fleet.step())?;
    }
    let mut others = Vec::new();
    for _ in 0..arguments.passes {
        let step = fleet.step();
        let started = cpu_seconds();
        scorer.score(&step, &mut Silent)?;
        others.push(cpu_seconds() - started);
    }
    let without = median(others);
    report.note(&format!(
        "of a pass, everything but the network: {:.1} us per service ({:.0} %)",
        without / arguments.services as f64 * 1e6,
        100.0 * without / pass
    ));
    let wanted = Metadata::new(STEP_MS, &set.features, &set.hash(), &calibration.training_id);
    let mut network = OnnxNetwork::load(&directory.path().join(MODEL_FILE), &wanted, features, library)?;
    let image = CHANNELS * features * SEEN;
    let mut random = Random::new(5);
    let images: Vec<f32> = (0..2048 * image).map(|_| random.noise()).collect();
    for batch in [1, 64, MAX_BATCH] {
        let rate = images_per_second(&mut network, &images, image, batch)?;
        report.note(&format!("network alone, {batch:>3} images a call: {rate:>8.0} images/s"));
    }
    let mut own = Network::new(features, &mut random);
    let rate = images_per_second(&mut own, &images, image, 64)?;
    report.note(&format!("peer: the trainer's own network, 64 a call: {rate:>8.0} images/s"));
    report.print();
    Ok(())
}
