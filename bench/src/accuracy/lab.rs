//! Our recipe over a data set, through the code that runs live: closed steps in, scores of the ONNX network out.
//! Only the reader differs.
//!
//! What does not depend on the seed is done once: the encoded history and the linear forecast. Entities are
//! scored by themselves, each by a detector of its own, since no score depends on another service.

use std::path::Path;

use anyhow::{Context, Result};
use quoll_detect::calibration::{Calibration, MODEL_FILE};
use quoll_detect::detector::{Scorer, budget_probability};
use quoll_detect::metadata::Metadata;
use quoll_detect::runtime::{NEWEST, OnnxNetwork, Reconstruct};
use quoll_detect::window::SEEN;
use quoll_detect::{Detector, Recipe, ScoreError, ServiceScore};
use quoll_features::{ClosedStep, Direction, FeatureSpec, Presence, Role, SeenBy, ServiceStep};
use quoll_identity::Service;
use quoll_train::calibrate::calibrate;
use quoll_train::fit::{Fitted, fit};
use quoll_train::history::{ServiceHistory, gather};
use quoll_train::ridge::{self, Forecaster};
use quoll_train::train::complete;
use quoll_train::{Progress, TrainOptions, TrainedModel, onnx};

use super::dataset::{Entity, Matrix};

/// The digest that stands for the features of a data set.
const PRESET: &str = "labelled data";

/// Steps of the training part that a detector sees before the test part begins.
const WARM_UP: usize = 75;

/// The two outputs over an entity's test part; 0 and the least number where there is no score.
#[derive(Debug, Clone, PartialEq)]
pub struct Outputs {
    /// The stable score, for ranking.
    pub scores: Vec<f64>,
    /// The alarm: minus the logarithm of the rolling-calibrated tail probability over the budgeted one, so that
    /// above 0 is an alarm at the score budget.
    pub alarms: Vec<f64>,
}

/// A data set ready for training and scoring.
pub struct Lab<'a> {
    entities: &'a [Entity],
    services: Vec<Service>,
    step_ms: i64,
    features: Vec<FeatureSpec>,
    histories: Vec<ServiceHistory>,
    onnxruntime: Option<&'a Path>,
}

/// Features of unknown meaning: any deviation counts, none is too small.
fn features(count: usize) -> Vec<FeatureSpec> {
    (0..count)
        .map(|i| FeatureSpec {
            name: format!("feature_{i:02}").into(),
            unit: "1".into(),
            direction: Direction::Both,
            min_deviation: 0.0,
            seen_by: SeenBy::Itself,
            role: Role::Symptom,
        })
        .collect()
}

fn service_step(service: &Service, matrix: &Matrix, row: usize) -> ServiceStep {
    let values = matrix.row(row).iter().map(|v| f64::from(*v)).collect();
    ServiceStep::new(service.clone(), values, Presence::Present)
}

/// The training parts as steps, aligned at their ends.
fn history(entities: &[Entity], services: &[Service], step_ms: i64) -> Vec<ClosedStep> {
    let longest = entities.iter().map(|e| e.train.rows).max().unwrap_or(0);
    let mut named: Vec<(&Service, &Matrix)> = services.iter().zip(entities.iter().map(|e| &e.train)).collect();
    named.sort_by(|a, b| a.0.cmp(b.0));
    let at = |t: usize| {
        let row = |matrix: &Matrix| (t + matrix.rows).checked_sub(longest);
        let seen = named.iter().filter_map(|(service, matrix)| Some(service_step(service, matrix, row(matrix)?)));
        seen.collect()
    };
    let step = |t| ClosedStep { end_ms: step_ms * (t as i64 + 1), step_ms, services: at(t), edges: Vec::new() };
    (0..longest).map(step).collect()
}

impl<'a> Lab<'a> {
    /// Encodes the history.
    ///
    /// # Errors
    /// An entity without a name, or a history that training refuses.
    pub fn new(entities: &'a [Entity], step_ms: i64, onnxruntime: Option<&'a Path>) -> Result<Self> {
        let name = |e: &Entity| Service::new(None, &e.name).context("an entity without a name");
        let services = entities.iter().map(name).collect::<Result<Vec<_>>>()?;
        let features = features(entities.first().map_or(0, |e| e.train.columns));
        let held_out = TrainOptions::default().held_out;
        let histories = gather(&history(entities, &services, step_ms), &features, held_out)?;
        Ok(Self { entities, services, step_ms, features, histories, onnxruntime })
    }

    /// Names of the features, in order.
    pub fn feature_names(&self) -> Vec<String> {
        self.features.iter().map(|f| f.name.to_string()).collect()
    }

    /// The linear forecast; no seed is in it.
    ///
    /// # Errors
    /// It has no solution.
    pub fn forecaster(&self, recipe: &Recipe) -> Result<Forecaster> {
        Ok(ridge::fit(&self.histories, self.features.len(), recipe.channels)?)
    }

    /// A network.
    ///
    /// # Errors
    /// Training diverges.
    pub fn fit(&self, options: &TrainOptions, progress: &mut dyn FnMut(usize, usize)) -> Result<Fitted> {
        let mut told = |p: Progress| {
            if let Progress::Update { done, of, .. } = p {
                progress(done, of);
            }
        };
        Ok(fit(&self.histories, self.features.len(), options, None, &mut told)?)
    }

    /// A whole model, written to `directory`.
    ///
    /// # Errors
    /// Measuring the held-out part or writing fails.
    pub fn model(
        &self,
        fitted: Fitted,
        forecaster: Forecaster,
        options: &TrainOptions,
        directory: &Path,
    ) -> Result<TrainedModel> {
        let identity = (PRESET, self.step_ms);
        let model =
            complete(fitted, &self.histories, &self.features, forecaster, options, identity, &mut |_: Progress| ())?;
        model.save(directory)?;
        Ok(model)
    }

    /// Scores the test part of an entity with the model in `directory`; `seen` gets every score with its step.
    ///
    /// # Errors
    /// Loading or scoring fails.
    pub fn score(
        &self,
        directory: &Path,
        entity: usize,
        seen: &mut dyn FnMut(usize, &ServiceScore),
    ) -> Result<Outputs> {
        let mut detector = Detector::load_for(directory, &self.features, PRESET, self.step_ms, self.onnxruntime)?;
        for step in self.warm_up(entity) {
            detector.observe(&step)?;
        }
        let budget = budget_probability(self.step_ms, detector.score_budget_per_day());
        self.collect(entity, budget, seen, &mut |step| Ok(detector.score(step)?))
    }

    /// The calibration under another recipe, of a network whose answers are remembered.
    ///
    /// # Errors
    /// Measuring the held-out part fails.
    pub fn calibrate(
        &self,
        network: &mut Remembered,
        forecaster: Forecaster,
        options: &TrainOptions,
    ) -> Result<Calibration> {
        network.rewind();
        let identity = ("", self.step_ms);
        let silent = &mut |_: Progress| ();
        Ok(calibrate(&self.histories, &self.features, network, forecaster, options, identity, silent)?)
    }

    /// As [`Self::score`], with a calibration and a network whose answers are remembered.
    ///
    /// # Errors
    /// Scoring fails.
    pub fn score_with(&self, calibration: Calibration, network: &mut Remembered, entity: usize) -> Result<Outputs> {
        network.rewind();
        let budget = budget_probability(self.step_ms, calibration.score_budget_per_day);
        let mut scorer = Scorer::new(self.features.clone(), self.step_ms, calibration);
        for step in self.warm_up(entity) {
            scorer.observe(&step)?;
        }
        self.collect(entity, budget, &mut |_, _| (), &mut |step| Ok(scorer.score(step, network)?))
    }

    /// The network as ONNX Runtime runs it.
    ///
    /// # Errors
    /// Writing or loading fails.
    pub fn runtime(&self, fitted: &Fitted, directory: &Path) -> Result<OnnxNetwork> {
        let metadata = Metadata::new(self.step_ms, &self.features, PRESET, "");
        let path = directory.join(MODEL_FILE);
        std::fs::write(&path, onnx::encode(&fitted.network, &metadata))?;
        Ok(OnnxNetwork::load(&path, &metadata, self.features.len(), self.onnxruntime)?)
    }

    fn warm_up(&self, entity: usize) -> impl Iterator<Item = ClosedStep> {
        let rows = self.entities[entity].train.rows;
        let train = &self.entities[entity].train;
        let before = (rows.saturating_sub(WARM_UP)..rows).map(move |row| (row, row as i64 - rows as i64));
        before.map(move |(row, after)| self.step(entity, train, row, after))
    }

    /// A row of an entity, `after` steps from the end of the history (below 0 in it), on the history's clock: a
    /// row belongs to its hour of the day.
    fn step(&self, entity: usize, matrix: &Matrix, row: usize, after: i64) -> ClosedStep {
        let services = vec![service_step(&self.services[entity], matrix, row)];
        let longest = self.entities.iter().map(|e| e.train.rows).max().unwrap_or(0) as i64;
        let end_ms = self.step_ms * (longest + after + 1);
        ClosedStep { end_ms, step_ms: self.step_ms, services, edges: Vec::new() }
    }

    fn collect(
        &self,
        entity: usize,
        budget: f64,
        seen: &mut dyn FnMut(usize, &ServiceScore),
        score: &mut dyn FnMut(&ClosedStep) -> Result<Vec<ServiceScore>>,
    ) -> Result<Outputs> {
        let Entity { test, gap, .. } = &self.entities[entity];
        let mut outputs = Outputs { scores: vec![0.0; test.rows], alarms: vec![f64::MIN; test.rows] };
        for row in 0..test.rows {
            for score in score(&self.step(entity, test, row, (gap + row) as i64))? {
                outputs.scores[row] = score.score;
                outputs.alarms[row] = budget.ln() - score.tail_probability.ln();
                seen(row, &score);
            }
        }
        Ok(outputs)
    }
}

/// A network whose answers to a sequence of calls are kept, and given again when the same sequence comes again:
/// variants of the recipe that do not change the network need not run it.
pub struct Remembered {
    network: Box<dyn Reconstruct + Send>,
    kept: Vec<Vec<f32>>,
    next: usize,
    complete: bool,
}

impl Remembered {
    /// Remembers nothing yet.
    pub fn new(network: impl Reconstruct + Send + 'static) -> Self {
        Self { network: Box::new(network), kept: Vec::new(), next: 0, complete: false }
    }

    /// The sequence begins again; after the first time it is known.
    fn rewind(&mut self) {
        self.complete = !self.kept.is_empty();
        self.next = 0;
    }
}

impl Reconstruct for Remembered {
    fn reconstruct(&mut self, images: &[f32], windows: usize, output: &mut Vec<f32>) -> Result<(), ScoreError> {
        if !self.complete {
            self.network.reconstruct(images, windows, output)?;
            self.kept.push(output.clone());
            return Ok(());
        }
        let (kept, wanted) = (self.kept.get(self.next), images.len() / SEEN * NEWEST);
        let wrong = ScoreError::OutputShape { found: kept.map_or(0, Vec::len), wanted };
        output.clone_from(kept.filter(|kept| kept.len() == wanted).ok_or(wrong)?);
        self.next += 1;
        Ok(())
    }
}
