//! The choices of the score, in one place.
//!
//! There is one recipe for all data: [`Recipe::default`], chosen as `docs/model.md` tells. A model carries the
//! recipe that it was calibrated with, since error quantiles and thresholds of one are wrong under another.
//! Other values exist for `bench accuracy --ablation`, which shows what each choice is worth.

use serde::{Deserialize, Serialize};

use crate::score::{Output, RELATIONS};
use crate::window::{CHANNELS, SEEN, STEPS};

/// Number of exponential means of the instant score.
pub const MEANS: usize = 4;

/// What is expected, how it is weighed and how fast it is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Which trailing means are used, by autoencoder and forecast; the first one always is.
    pub channels: [bool; CHANNELS],
    /// How many of the image's newest steps the autoencoder sees, at most [`STEPS`].
    pub image_steps: usize,
    /// Weight of the squared ratio of the forecast; 0 leaves the part out.
    pub forecast_weight: f64,
    /// Weight of the squared ratio of the autoencoder.
    pub autoencoder_weight: f64,
    /// Weight of the squared ratio of the distance from the usual level.
    pub level_weight: f64,
    /// Whether the usual level is that of the hour of the day.
    pub season: bool,
    /// Weight of the squared ratio of the relations, in alarms only.
    pub relation_weight: f64,
    /// Smallest quantile of the relations' errors: residuals of what moves together are far smaller than the
    /// spread of either.
    pub relation_floor: f64,
    /// Whether each service corrects the shared forecast.
    pub own_forecast: bool,
    /// A part's ratio counts in full up to here: past it more is hardly worse, and one wild feature does not
    /// stand for ever in the slower means.
    pub ratio_cap: f64,
    /// Smallest error quantile, in signed-log units: expecting normal operation better than a third of its own
    /// spread earns no finer alarm.
    pub error_floor: f64,
    /// Whether an error is held against its own feature and service, or against all errors of its part.
    pub error_per_feature: bool,
    /// Share of the symptom features that the instant score averages over, the worst ones.
    pub worst_share: f64,
    /// The same of the instant score that alarms come from.
    pub alarm_share: f64,
    /// Weight of the newest instant score in each mean; 0 leaves the mean out.
    pub paces: [f64; MEANS],
    /// How many of the means, from the first, alarms come from: the slow ones linger after a repair, and would
    /// count as one false alarm an hour.
    pub alarm_means: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            channels: [true; CHANNELS],
            image_steps: STEPS,
            forecast_weight: 1.0,
            autoencoder_weight: 0.2,
            level_weight: 0.25,
            season: true,
            relation_weight: 0.6,
            relation_floor: 0.1,
            own_forecast: true,
            ratio_cap: 4.0,
            error_floor: 0.3,
            error_per_feature: true,
            worst_share: 0.25,
            alarm_share: 0.15,
            paces: [0.8, 0.3, 0.1, 0.04],
            alarm_means: 2,
        }
    }
}

impl Recipe {
    /// Share of the symptom features that an output averages over.
    #[must_use]
    pub fn share(&self, output: Output) -> f64 {
        match output {
            Output::Ranking => self.worst_share,
            Output::Alarms => self.alarm_share,
        }
    }

    /// Smallest error quantile of row `part` of the errors.
    #[must_use]
    pub fn floor(&self, part: usize) -> f64 {
        if part == RELATIONS { self.relation_floor } else { self.error_floor }
    }

    /// Whether every number is in its range, so that scores are finite.
    #[must_use]
    pub fn valid(&self) -> bool {
        let weights = [self.forecast_weight, self.autoencoder_weight, self.level_weight];
        let share = |share: f64| share > 0.0 && share <= 1.0;
        self.channels[0]
            && (1..=STEPS).contains(&self.image_steps)
            && weights.iter().all(|w| w.is_finite() && *w >= 0.0)
            && weights.iter().sum::<f64>() > 0.0
            && self.ratio_cap > 0.0
            && self.relation_weight.is_finite()
            && self.relation_weight >= 0.0
            && self.error_floor > 0.0
            && self.relation_floor > 0.0
            && share(self.worst_share)
            && share(self.alarm_share)
            && self.paces.iter().all(|p| (0.0..=1.0).contains(p))
            && (1..=MEANS).contains(&self.alarm_means)
            && self.paces[..self.alarm_means].iter().any(|p| *p > 0.0)
    }

    /// Zeroes what the recipe does not look at in an image, row-major [CHANNELS x features, SEEN].
    pub fn blank(&self, image: &mut [f32]) {
        let rows = image.len() / SEEN;
        let features = rows / CHANNELS;
        if self.image_steps < SEEN {
            for row in image.chunks_exact_mut(SEEN) {
                row[..SEEN - self.image_steps].fill(0.0);
            }
        }
        for (rows, used) in image.chunks_exact_mut((features * SEEN).max(1)).zip(self.channels) {
            if !used {
                rows.fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_valid_and_one_without_parts_is_not() {
        assert!(Recipe::default().valid());
        let none = Recipe { forecast_weight: 0.0, autoencoder_weight: 0.0, level_weight: 0.0, ..Recipe::default() };
        assert!(!none.valid());
        assert!(!Recipe { paces: [0.0; MEANS], ..Recipe::default() }.valid());
        assert!(!Recipe { error_floor: f64::NAN, ..Recipe::default() }.valid());
    }

    #[test]
    fn what_is_not_looked_at_is_zero() {
        let mut image = vec![1.0; CHANNELS * 2 * SEEN];
        Recipe::default().blank(&mut image);
        assert!(image.iter().all(|x| *x == 1.0));
        Recipe { channels: [true, false, true], image_steps: 10, ..Recipe::default() }.blank(&mut image);
        assert_eq!(image.iter().sum::<f32>(), 2.0 * 2.0 * 10.0);
        assert_eq!((image[SEEN - 11], image[SEEN - 10], image[2 * SEEN + SEEN - 1]), (0.0, 1.0, 0.0));
    }
}
