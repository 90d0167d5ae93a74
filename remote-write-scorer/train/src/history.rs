//! The history of each service as the live window encodes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_detect::encoding::{MISSING, Scaling, to_f32};
use quoll_detect::window::{CHANNELS, STEPS, Window};
use quoll_features::{ClosedStep, FeatureSpec};
use quoll_identity::Service;

use crate::error::TrainError;
use crate::random::Random;

/// Fewest observed steps of a service that is trained on.
pub const MIN_STEPS: usize = 30;

/// Share of steps in which a service must have a feature for it to be one the service normally has.
const NORMAL_SHARE: f64 = 0.5;

/// One service over the whole history.
#[derive(Debug)]
pub struct ServiceHistory {
    /// Whose.
    pub service: Service,
    /// Raw values, [steps, features]; NaN where missing.
    pub values: Vec<f64>,
    /// Codes, [steps, channels x features].
    pub codes: Vec<i16>,
    /// Per feature.
    pub scaling: Vec<Scaling>,
    /// Per feature: whether the service normally has it.
    pub normal: Vec<bool>,
    /// When each step ended, Unix time; shared by all services.
    pub ends_ms: Arc<[i64]>,
    /// Number of steps.
    pub steps: usize,
    /// Steps before this one are trained on, from it on they are held out.
    pub held_out_from: usize,
}

/// Checks the steps and gathers them by service. Centre and scale come from all steps, the held-out ones
/// included: they are order statistics, and a service in production freezes them on all it has, too.
///
/// # Errors
/// [`TrainError::TooShort`], [`TrainError::BadHistory`] and [`TrainError::NoUsableService`].
pub fn gather(
    history: &[ClosedStep],
    features: &[FeatureSpec],
    held_out: f64,
) -> Result<Vec<ServiceHistory>, TrainError> {
    if features.is_empty() {
        return Err(TrainError::NoFeatures);
    }
    if history.len() < MIN_STEPS {
        return Err(TrainError::TooShort { found: history.len(), wanted: MIN_STEPS });
    }
    for pair in history.windows(2) {
        let what = if pair[0].step_ms != pair[1].step_ms {
            "its length differs from the one before"
        } else if pair[0].end_ms >= pair[1].end_ms {
            "it does not follow the one before"
        } else {
            continue;
        };
        return Err(TrainError::BadHistory { end_ms: pair[1].end_ms, what });
    }
    let count = features.len();
    let mut values: BTreeMap<&Service, Vec<f64>> = BTreeMap::new();
    for (i, step) in history.iter().enumerate() {
        for service in &step.services {
            if service.values.len() != count {
                return Err(TrainError::BadHistory { end_ms: step.end_ms, what: "it has another number of features" });
            }
            let rows = values.entry(&service.service).or_default();
            // A service that appears later, or is away for a while, has missing values there.
            rows.resize(i * count, f64::NAN);
            rows.extend_from_slice(&service.values);
        }
    }
    let services = values.len();
    let ends_ms: Arc<[i64]> = history.iter().map(|step| step.end_ms).collect();
    let held_out_from = history.len() - ((history.len() as f64 * held_out).ceil() as usize).min(history.len() - 1);
    let usable: Vec<ServiceHistory> = values
        .into_iter()
        .filter_map(|(service, mut rows)| {
            rows.resize(history.len() * count, f64::NAN);
            ServiceHistory::new(service.clone(), rows, features, &ends_ms, held_out_from)
        })
        .collect();
    if usable.is_empty() {
        return Err(TrainError::NoUsableService { services, wanted: MIN_STEPS });
    }
    Ok(usable)
}

impl ServiceHistory {
    fn new(
        service: Service,
        values: Vec<f64>,
        features: &[FeatureSpec],
        ends_ms: &Arc<[i64]>,
        held_out_from: usize,
    ) -> Option<Self> {
        let (count, steps) = (features.len(), ends_ms.len());
        let observed = values.chunks(count).filter(|row| row.iter().any(|v| v.is_finite())).count();
        if observed < MIN_STEPS {
            return None;
        }
        let column = |feature: usize| values.iter().skip(feature).step_by(count).copied();
        let scaling: Vec<Scaling> =
            features.iter().enumerate().map(|(f, spec)| Scaling::fit(column(f), spec.min_deviation)).collect();
        let normal = (0..count)
            .map(|f| column(f).filter(|v| v.is_finite()).count() as f64 >= NORMAL_SHARE * observed as f64)
            .collect();
        let mut window = Window::new(count);
        let mut codes = Vec::with_capacity(steps * CHANNELS * count);
        for row in values.chunks(count) {
            window.push(row, &scaling);
            for channel in 0..CHANNELS {
                codes.extend((0..count).map(|feature| window.code(0, channel, feature)));
            }
        }
        Some(Self { service, values, codes, scaling, normal, ends_ms: Arc::clone(ends_ms), steps, held_out_from })
    }

    /// The encoded value of `feature` at `step`; `None` where it is missing.
    #[must_use]
    pub fn value(&self, step: usize, feature: usize) -> Option<f32> {
        let code = self.codes[step * CHANNELS * self.scaling.len() + feature];
        (code != MISSING).then(|| to_f32(code))
    }

    /// Writes the image whose newest step is `end` into place `slot` of a batch: `clean` has shape
    /// [rows, windows x steps], `observed` is 1 where a number was observed and 0 where it was not.
    pub fn write_window(&self, end: usize, slot: usize, windows: usize, clean: &mut [f32], observed: &mut [f32]) {
        let rows = CHANNELS * self.scaling.len();
        for row in 0..rows {
            let start = (row * windows + slot) * STEPS;
            for column in 0..STEPS {
                let code = (end + 1 + column)
                    .checked_sub(STEPS)
                    .and_then(|step| self.codes.get(step * rows + row))
                    .copied()
                    .unwrap_or(MISSING);
                clean[start + column] = to_f32(code);
                observed[start + column] = f32::from(u8::from(code != MISSING));
            }
        }
    }
}

/// How a denoising autoencoder's input differs from what it has to give back (Vincent et al., "Extracting
/// and composing robust features with denoising autoencoders", ICML 2008).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spoiling {
    /// Standard deviation of the noise on what was observed, in signed-log units.
    pub noise: f32,
    /// Probability that a feature is hidden altogether.
    pub hide: f32,
}

impl Spoiling {
    /// The input for `windows` clean images of shape [rows, windows x steps]; 0 where nothing was observed.
    pub fn apply(self, clean: &[f32], observed: &[f32], windows: usize, random: &mut Random, input: &mut Vec<f32>) {
        input.clear();
        let noisy = |(x, seen): (&f32, &f32)| if *seen > 0.0 { x + self.noise * random.noise() } else { 0.0 };
        input.extend(clean.iter().zip(observed).map(noisy));
        let features = clean.len() / (CHANNELS * STEPS * windows.max(1));
        for window in 0..windows {
            for feature in 0..features {
                if random.uniform() >= self.hide {
                    continue;
                }
                for channel in 0..CHANNELS {
                    let start = ((channel * features + feature) * windows + window) * STEPS;
                    input[start..start + STEPS].fill(0.0);
                }
            }
        }
    }
}
