//! The scorer of all services of one scope.

use std::collections::BTreeMap;
use std::path::Path;

use quoll_features::{ClosedStep, FeatureSet, FeatureSpec, ServiceStep};
use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::basis::Basis;
use crate::calibration::{CALIBRATION_FILE, Calibration, MODEL_FILE, Profile};
use crate::encoding::Scaling;
use crate::error::{ModelError, ScoreError};
use crate::expected::Expected;
use crate::metadata::Metadata;
use crate::rate::{Crossing, Rate};
use crate::runtime::{NEWEST, OnnxNetwork, Reconstruct};
use crate::score::{Means, Output, PARTS, Ratios, feature_errors, raw_score, worst_share};
use crate::tail::Tail;
use crate::window::{CHANNELS, SEEN, STEPS, Window};

/// Least share of observed feature-steps for a score.
pub const MIN_COVERAGE: f64 = 0.3;

/// Steps of own history before a service that training did not see is scored.
const MIN_UNSEEN_HISTORY: u64 = STEPS as u64;

/// Held-out samples from which a service's own tail is used rather than the pooled one.
const MIN_OWN_TAIL: u64 = 2_000;

/// Blocks of a service's own held-out part from which its own threshold is used rather than the pooled one.
const MIN_OWN_BLOCKS: u64 = 48;

/// Assumed share of anomalous steps in [`ServiceScore::anomaly_probability`].
const ANOMALOUS_SHARE: f64 = 0.01;

/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;

/// Images reconstructed at a time.
const BATCH: usize = crate::runtime::MAX_BATCH;

/// One feature's part in a score.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureScore {
    /// Index into the feature set.
    pub feature: usize,
    /// How far off it is, over the held-out 99th percentile of that, see [`crate::score`].
    pub score: f64,
    /// What was observed, in the feature's unit.
    pub value: f64,
    /// What was expected by the part of the score that contributes most to `score`, in the feature's unit.
    pub expected: f64,
    /// What that rests on.
    pub basis: Basis,
}

/// One service at one step.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceScore {
    /// Whose score this is.
    pub service: Service,
    /// Above 1 = anomalous at the score budget; stable, for ranking and evidence.
    pub score: f64,
    /// P(a score at least this high | normal operation), in (0, 1], on the threshold that follows the
    /// service's realised rate: an alarm is a probability below [`budget_probability`].
    pub tail_probability: f64,
    /// P(anomalous | score), in [0, 1].
    pub anomaly_probability: f64,
    /// Whether the score budget lies beyond the held-out samples, so that 1.0 is an extrapolation.
    pub provisional: bool,
    /// Share of observed feature-steps among those this service normally has, in [0, 1].
    pub coverage: f64,
    /// Held-out samples behind the tail probability.
    pub calibration_samples: u64,
    /// The observed features, in the order of the set.
    pub features: Vec<FeatureScore>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Index into the calibration's services; `None` = unseen in training. Found anew after a restart.
    #[serde(skip)]
    pub(crate) profile: Option<usize>,
    pub(crate) window: Window,
    means: Means,
    alarm_means: Means,
    rate: Rate,
    alert_rate: Rate,
}

/// Everything but the network: shared by the live detector and by tests with another network.
#[derive(Debug)]
pub struct Scorer {
    pub(crate) features: Vec<FeatureSpec>,
    pub(crate) step_ms: i64,
    pub(crate) calibration: Calibration,
    pub(crate) index: BTreeMap<Service, usize>,
    pub(crate) states: BTreeMap<Service, State>,
    realised: Realised,
    images: Vec<f32>,
    reconstructions: Vec<f32>,
}

/// P(anomalous) for a tail probability: the bound `-e p ln p` on the Bayes factor in favour of "normal"
/// (Sellke, Bayarri & Berger, "Calibration of p values for testing precise null hypotheses", 2001) with
/// one step in a hundred anomalous beforehand.
#[must_use]
pub fn anomaly_probability(tail_probability: f64) -> f64 {
    let p = tail_probability.clamp(1e-300, 1.0);
    let factor = if p < (-1.0_f64).exp() { -std::f64::consts::E * p * p.ln() } else { 1.0 };
    1.0 / (1.0 + factor * (1.0 - ANOMALOUS_SHARE) / ANOMALOUS_SHARE)
}

impl Scorer {
    /// A scorer without history.
    #[must_use]
    pub fn new(features: Vec<FeatureSpec>, step_ms: i64, calibration: Calibration) -> Self {
        let index = calibration.services.iter().enumerate().filter_map(|(i, s)| Some((s.service()?, i))).collect();
        Self {
            features,
            step_ms,
            calibration,
            index,
            states: BTreeMap::new(),
            realised: Realised::default(),
            images: Vec::new(),
            reconstructions: Vec::new(),
        }
    }

    /// Takes a step into the history without scoring it.
    ///
    /// # Errors
    /// [`ScoreError::Step`] and [`ScoreError::Features`]; the history is then unchanged.
    pub fn observe(&mut self, step: &ClosedStep) -> Result<(), ScoreError> {
        self.check(step)?;
        for ServiceStep { service, values, .. } in &step.services {
            self.push(service, values, None);
        }
        Ok(())
    }

    fn check(&self, step: &ClosedStep) -> Result<(), ScoreError> {
        if step.step_ms != self.step_ms {
            return Err(ScoreError::Step { found: step.step_ms, wanted: self.step_ms });
        }
        let wanted = self.features.len();
        match step.services.iter().find(|s| s.values.len() != wanted) {
            Some(odd) => {
                Err(ScoreError::Features { service: odd.service.to_string(), found: odd.values.len(), wanted })
            }
            None => Ok(()),
        }
    }

    /// Takes one step of one service into its history, and writes its image, if one is wanted.
    fn push(&mut self, service: &Service, values: &[f64], image: Option<&mut [f32]>) {
        let (calibration, features) = (&self.calibration, self.features.len());
        let take = |state: &mut State| {
            state.window.push(values, &profile(calibration, state.profile).scaling);
            if let Some(image) = image {
                state.window.write_image(image);
                calibration.recipe.blank(image);
            }
        };
        if let Some(state) = self.states.get_mut(service) {
            return take(state);
        }
        let mut state = State {
            profile: self.index.get(service).copied(),
            window: Window::new(features),
            means: Means::default(),
            alarm_means: Means::default(),
            rate: Rate::default(),
            alert_rate: Rate::default(),
        };
        take(&mut state);
        self.states.insert(service.clone(), state);
    }

    /// Scores a step. Services with too little coverage are left out.
    ///
    /// # Errors
    /// As [`Self::observe`], and those of the network: the step is in the history then, and nothing is scored.
    pub fn score(&mut self, step: &ClosedStep, network: &mut dyn Reconstruct) -> Result<Vec<ServiceScore>, ScoreError> {
        self.check(step)?;
        let rows = CHANNELS * self.features.len();
        let mut scores = Vec::with_capacity(step.services.len());
        let mut scratch = Scratch::new(self.features.len());
        let (mut images, mut failed) = (std::mem::take(&mut self.images), None);
        for batch in step.services.chunks(BATCH) {
            images.resize(batch.len() * rows * SEEN, 0.0);
            for (slot, service) in images.chunks_mut((rows * SEEN).max(1)).zip(batch) {
                self.push(&service.service, &service.values, Some(slot));
            }
            if failed.is_none() {
                failed = network.reconstruct(&images, batch.len(), &mut self.reconstructions).err();
            }
            if failed.is_some() {
                continue;
            }
            for (service, reconstruction) in batch.iter().zip(self.reconstructions.chunks((rows * NEWEST).max(1))) {
                let Some(state) = self.states.get_mut(&service.service) else { continue };
                scores.extend(judge(
                    &self.features,
                    (step.end_ms, self.step_ms),
                    &self.calibration,
                    state,
                    service,
                    reconstruction,
                    (&mut scratch, &mut self.realised),
                ));
            }
        }
        self.images = images;
        failed.map_or(Ok(scores), Err)
    }

    /// Forgets services for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&Service) -> bool) {
        self.states.retain(|service, _| keep(service));
    }

    /// Bytes of history per service, map and calibration excluded.
    #[must_use]
    pub fn bytes_per_service(&self) -> usize {
        let features = self.features.len();
        size_of::<State>() - size_of::<Window>() + Window::bytes(features)
    }
}

fn profile(calibration: &Calibration, index: Option<usize>) -> &Profile {
    index.and_then(|i| calibration.services.get(i)).map_or(&calibration.pooled, |s| &s.profile)
}

/// How often thresholds that follow the realised rate were crossed since the model was loaded, an hour of
/// crossing counted once per service.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Realised {
    /// Crossings of the score budget's threshold by all services.
    pub crossings: u64,
    /// Crossings of the alert budget's threshold by all services.
    pub alert_crossings: u64,
    /// Scored time of all services, in days.
    pub service_days: f64,
}

/// Reused from service to service.
struct Scratch {
    expected: Expected,
    errors: Vec<f64>,
    ratios: Ratios,
    counted: Vec<f64>,
}

impl Scratch {
    fn new(features: usize) -> Self {
        Self {
            expected: Expected::new(features),
            errors: vec![f64::NAN; PARTS * features],
            ratios: Ratios::new(features),
            counted: Vec::new(),
        }
    }
}

/// The score of one service from the reconstruction of its image.
fn judge(
    features: &[FeatureSpec],
    (end_ms, step_ms): (i64, i64),
    calibration: &Calibration,
    state: &mut State,
    step: &ServiceStep,
    reconstruction: &[f32],
    (scratch, realised): (&mut Scratch, &mut Realised),
) -> Option<ServiceScore> {
    let profile = profile(calibration, state.profile);
    let recipe = &calibration.recipe;
    let coverage = state.window.coverage(&profile.normal);
    let too_young = state.profile.is_none() && state.window.pushed() < MIN_UNSEEN_HISTORY;
    let Scratch { expected, errors, ratios, counted } = scratch;
    let (mut ranking, mut alarms) = (None, None);
    if coverage >= MIN_COVERAGE && !too_young {
        expected.update(&state.window, end_ms, calibration.known(profile));
        feature_errors(&state.window, reconstruction, expected, features, errors);
        ratios.update(recipe, errors, &profile.error_scale);
        [ranking, alarms] = [Output::Ranking, Output::Alarms]
            .map(|output| worst_share(ratios.of(output), features, recipe.share(output), counted));
    }
    let means = state.means.push(ranking, profile.ranking.usual, &recipe.paces);
    let alarm_means = state.alarm_means.push(alarms, profile.alarms.usual, &recipe.paces);
    let raw = raw_score(&means?, &profile.ranking.mean_scale, &recipe.paces);
    let fast = ..recipe.alarm_means;
    let alarm = raw_score(&alarm_means?[fast], &profile.alarms.mean_scale[fast], &recipe.paces[fast]);
    let tail = if profile.tail.samples >= MIN_OWN_TAIL { &profile.tail } else { &calibration.pooled.tail };
    let blocks = if profile.block_tail.samples >= MIN_OWN_BLOCKS { profile } else { &calibration.pooled };
    let level = |of: &Tail, per_day| of.level(block_probability(step_ms, blocks.block_steps, per_day));
    let per_day = calibration.score_budget_per_day;
    let budget = budget_probability(step_ms, per_day);
    let provisional = budget * (tail.samples as f64) < 1.0;
    let score = raw / level(&blocks.block_tail, per_day);
    let factor = state.rate.factor();
    let threshold = level(&blocks.alarm_block_tail, per_day);
    // The budgeted probability is where the moving threshold is.
    let tail_probability = if blocks.block_steps > 1 {
        let of_block = blocks.alarm_block_tail.probability(alarm / factor);
        step_probability(of_block, block_probability(step_ms, blocks.block_steps, per_day), budget)
    } else {
        // Too short a history for hours: many steps, of all services if need be, tell more than few.
        tail.probability(alarm / threshold / factor * tail.level(budget))
    };
    let crossing = state.rate.push(alarm > threshold * factor, step_ms, per_day, !provisional);
    realised.crossings += u64::from(crossing == Crossing::New);
    let per_day = calibration.alert_budget_per_day;
    let alert = alarm > level(&blocks.alarm_block_tail, per_day) * state.alert_rate.factor();
    let enough = budget_probability(step_ms, per_day) * (tail.samples as f64) >= 1.0;
    let crossing = state.alert_rate.push(alert, step_ms, per_day, enough);
    realised.alert_crossings += u64::from(crossing == Crossing::New);
    realised.service_days += step_ms as f64 / DAY_MS;
    // The ratios of alarms are those that are shown: they count everything.
    let shown = ratios.of(Output::Alarms).iter().enumerate().filter(|(_, ratio)| ratio.is_finite());
    let scored = shown.map(|(feature, ratio)| {
        let reconstructed = reconstruction[feature * NEWEST + NEWEST - 1];
        let (expected, basis) = expected.shown(ratios.leading(feature), &state.window, feature, reconstructed);
        let expected = plausible(&profile.scaling[feature], expected, step.values[feature]);
        FeatureScore { feature, score: *ratio, value: step.values[feature], expected, basis }
    });
    Some(ServiceScore {
        service: step.service.clone(),
        score,
        tail_probability,
        anomaly_probability: anomaly_probability(tail_probability),
        provisional,
        coverage,
        calibration_samples: tail.samples,
        features: scored.collect(),
    })
}

/// What was expected, in the feature's unit. The parts know nothing of counts and shares: what neither is nor usually is
/// below zero is not expected to be.
fn plausible(scaling: &Scaling, expected: f32, value: f64) -> f64 {
    let decoded = scaling.decode(expected);
    if value >= 0.0 && scaling.centre >= 0.0 { decoded.max(0.0) } else { decoded }
}

/// The per-step probability that a budget of crossings per day stands for.
#[must_use]
pub fn budget_probability(step_ms: i64, per_day: f64) -> f64 {
    (per_day * (step_ms.max(1) as f64) / DAY_MS).clamp(1e-12, 1.0)
}

/// The probability that the largest score of a block of steps is past the threshold which stands for a
/// budget of crossings per day: scores past it come in bursts, and a burst is one crossing.
#[must_use]
pub fn block_probability(step_ms: i64, block_steps: u32, per_day: f64) -> f64 {
    budget_probability(step_ms.saturating_mul(i64::from(block_steps)), per_day).min(0.5)
}

/// What a probability of the largest score of a block says of a step: the power of its complement that makes
/// `in_block`, what the budget is for a block, `budget`, what it is for a step. Normal operation crosses a level as
/// rarely as its bursts do, however many steps of a burst are past it.
#[must_use]
pub fn step_probability(of_block: f64, in_block: f64, budget: f64) -> f64 {
    let power = (-budget).ln_1p() / (-in_block).ln_1p();
    -(power * (-of_block).ln_1p()).exp_m1()
}

/// Scores closed steps with a trained model.
#[derive(Debug)]
pub struct Detector {
    pub(crate) scorer: Scorer,
    network: OnnxNetwork,
}

impl Detector {
    /// Loads a model directory. `onnxruntime` is the library; see [`crate::runtime::library_path`] for
    /// where it is looked for otherwise.
    ///
    /// # Errors
    /// Every case of [`ModelError`]: unreadable files, a missing or too old ONNX Runtime, a model made for
    /// another step or other features.
    pub fn load(
        model_dir: &Path,
        set: &FeatureSet,
        step_ms: i64,
        onnxruntime: Option<&Path>,
    ) -> Result<Self, ModelError> {
        Self::load_for(model_dir, &set.features, &set.hash(), step_ms, onnxruntime)
    }

    /// As [`Self::load`], for features that come from elsewhere than a set of rules.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_for(
        model_dir: &Path,
        features: &[FeatureSpec],
        preset_hash: &str,
        step_ms: i64,
        onnxruntime: Option<&Path>,
    ) -> Result<Self, ModelError> {
        let calibration = Calibration::load(model_dir)?;
        let wanted = Metadata::new(step_ms, features, preset_hash, &calibration.training_id);
        let network = OnnxNetwork::load(&model_dir.join(MODEL_FILE), &wanted, features.len(), onnxruntime)?;
        let profiles = calibration.services.iter().map(|s| &s.profile).chain([&calibration.pooled]);
        for profile in profiles {
            if !calibration.fits(profile, features.len()) {
                return Err(ModelError::Mismatch {
                    path: model_dir.join(CALIBRATION_FILE),
                    what: "features",
                    found: profile.scaling.len().to_string(),
                    wanted: features.len().to_string(),
                });
            }
        }
        Ok(Self { scorer: Scorer::new(features.to_vec(), step_ms, calibration), network })
    }

    /// Scores a step. Services with too little coverage are left out of the result.
    ///
    /// # Errors
    /// [`ScoreError`]: a step of another length or with other features, or a failed inference.
    pub fn score(&mut self, step: &ClosedStep) -> Result<Vec<ServiceScore>, ScoreError> {
        self.scorer.score(step, &mut self.network)
    }

    /// Features per service.
    #[must_use]
    pub fn features(&self) -> usize {
        self.scorer.features.len()
    }

    /// Takes one past step of one service, a value per feature, into its history, so that a model loaded late
    /// scores at once: show it the last 75. Images are made of single precision, so nothing is lost by it.
    pub fn recall(&mut self, service: &Service, values: &[f32]) {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
        self.scorer.push(service, &values, None);
    }

    /// Takes a step into the history without scoring it.
    ///
    /// # Errors
    /// [`ScoreError::Step`] and [`ScoreError::Features`].
    pub fn observe(&mut self, step: &ClosedStep) -> Result<(), ScoreError> {
        self.scorer.observe(step)
    }

    /// Forgets services for which `keep` is false.
    pub fn retain(&mut self, keep: impl FnMut(&Service) -> bool) {
        self.scorer.retain(keep);
    }

    /// Whether the pooled score budget lies beyond the held-out samples.
    #[must_use]
    pub fn provisional(&self) -> bool {
        let calibration = &self.scorer.calibration;
        let budget = budget_probability(self.scorer.step_ms, calibration.score_budget_per_day);
        budget * (calibration.pooled.tail.samples as f64) < 1.0
    }

    /// How often alarms were raised since the model was loaded.
    #[must_use]
    pub fn realised(&self) -> Realised {
        self.scorer.realised
    }

    /// Crossings per service and day that the scores are normalised to.
    #[must_use]
    pub fn score_budget_per_day(&self) -> f64 {
        self.scorer.calibration.score_budget_per_day
    }

    /// Crossings per service and day of the threshold that is rare enough to notify of.
    #[must_use]
    pub fn alert_budget_per_day(&self) -> f64 {
        self.scorer.calibration.alert_budget_per_day
    }

    /// Names the training run behind the model.
    #[must_use]
    pub fn training_id(&self) -> &str {
        &self.scorer.calibration.training_id
    }

    /// Bytes of history per service.
    #[must_use]
    pub fn bytes_per_service(&self) -> usize {
        self.scorer.bytes_per_service()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_or_share_is_expected_to_be_below_zero() {
        let scaling = |centre| Scaling { centre, scale: 1.0 };
        assert_eq!(plausible(&scaling(0.1), -1.0, 0.0), 0.0);
        assert!((plausible(&scaling(3.0), -0.5, 2.0) - scaling(3.0).decode(-0.5)).abs() < 1e-12);
        assert!(plausible(&scaling(-4.0), -1.0, -3.0) < -4.0, "what is below zero may be expected to be");
    }

    #[test]
    fn a_block_as_rare_as_budgeted_makes_steps_as_rare_as_budgeted_and_rarer_ones_rarer() {
        for (step_ms, block_steps) in [(60_000, 60), (300_000, 12), (1_000, 1)] {
            for per_day in [0.1, 1.0, 1_000.0] {
                let budget = budget_probability(step_ms, per_day);
                let in_block = block_probability(step_ms, block_steps, per_day);
                let step = |of_block| step_probability(of_block, in_block, budget);
                assert!((step(in_block) / budget - 1.0).abs() < 1e-9, "{step_ms} {per_day}");
                assert_eq!(step(1.0), 1.0);
                let rising: Vec<f64> = [1e-12, 1e-6, 1e-3, 0.1, 0.9, 0.999].map(step).to_vec();
                assert!(rising[0] > 0.0 && rising.windows(2).all(|w| w[0] <= w[1]), "{rising:?}");
            }
        }
    }
}
