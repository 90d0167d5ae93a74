//! Our recipe over a data set, through the code that runs live: closed steps in, scores of the ONNX
//! network out. Only the reader differs.

use std::path::Path;

use anyhow::{Context, Result};
use quoll_detect::Detector;
use quoll_detect::detector::budget_probability;
use quoll_features::{ClosedStep, Direction, FeatureSpec, Presence, Role, SeenBy, ServiceStep};
use quoll_identity::Service;
use quoll_train::{Progress, Summary, TrainOptions, train_for};

use super::dataset::{Entity, Matrix};

/// The digest that stands for the features of a data set.
const PRESET: &str = "labelled data";

/// Steps of the training part that a detector sees before the test part begins.
const WARM_UP: usize = 75;

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

fn service(entity: &Entity) -> Result<Service> {
    Service::new(None, &entity.name).with_context(|| "an entity without a name".to_owned())
}

/// Rows of all entities as steps. `part` picks the matrix; shorter ones are aligned at the end where
/// `at_end`, at the start otherwise.
fn steps(entities: &[Entity], step_ms: i64, part: fn(&Entity) -> &Matrix, at_end: bool) -> Result<Vec<ClosedStep>> {
    let longest = entities.iter().map(|e| part(e).rows).max().unwrap_or(0);
    let mut named = entities.iter().map(|e| Ok((service(e)?, part(e)))).collect::<Result<Vec<_>>>()?;
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let services = |t: usize| {
        named
            .iter()
            .filter_map(|(service, matrix)| {
                let row = if at_end { (t + matrix.rows).checked_sub(longest)? } else { t };
                let values = (row < matrix.rows).then(|| matrix.row(row))?.iter().map(|v| f64::from(*v)).collect();
                Some(ServiceStep::new(service.clone(), values, Presence::Present))
            })
            .collect()
    };
    Ok((0..longest)
        .map(|t| ClosedStep { end_ms: step_ms * (t as i64 + 1), step_ms, services: services(t), edges: Vec::new() })
        .collect())
}

/// The two outputs over every entity's test part, and how training went.
pub struct Scored {
    /// The stable score, for ranking.
    pub scores: Vec<Vec<f64>>,
    /// The alarm: minus the logarithm of the rolling-calibrated tail probability over the budgeted one, so
    /// that above 0 is an alarm at the score budget.
    pub alarms: Vec<Vec<f64>>,
    /// The training.
    pub summary: Summary,
}

/// Scores of every entity's test part, in the order of `entities`; 0 where there is no score.
///
/// # Errors
/// Training, writing, loading or scoring fails.
pub fn run(
    entities: &[Entity],
    step_ms: i64,
    seed: u64,
    onnxruntime: Option<&Path>,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Scored> {
    let features = features(entities.first().map_or(0, |e| e.train.columns));
    let history = steps(entities, step_ms, |e| &e.train, true)?;
    let options = TrainOptions { seed, ..TrainOptions::default() };
    let model = train_for(&history, &features, PRESET, &options, &mut |p| match p {
        Progress::Update { done, of, .. } => progress("training", done, of),
        Progress::Calibrated { done, of } => progress("calibrating", done, of),
        _ => {}
    })?;
    let dir = tempfile::tempdir()?;
    model.save(dir.path())?;
    let mut detector = Detector::load_for(dir.path(), &features, PRESET, step_ms, onnxruntime)?;
    for step in &history[history.len().saturating_sub(WARM_UP)..] {
        detector.observe(step)?;
    }
    let mut scores: Vec<Vec<f64>> = entities.iter().map(|e| vec![0.0; e.test.rows]).collect();
    let mut alarms: Vec<Vec<f64>> = entities.iter().map(|e| vec![f64::MIN; e.test.rows]).collect();
    let budget = budget_probability(step_ms, detector.score_budget_per_day()).ln();
    let test = steps(entities, step_ms, |e| &e.test, false)?;
    for (t, step) in test.iter().enumerate() {
        for score in detector.score(step)? {
            if let Some(i) = entities.iter().position(|e| *e.name == *score.service.name) {
                scores[i][t] = score.score;
                alarms[i][t] = budget - score.tail_probability.ln();
            }
        }
        progress("scoring", t + 1, test.len());
    }
    Ok(Scored { scores, alarms, summary: model.summary })
}
