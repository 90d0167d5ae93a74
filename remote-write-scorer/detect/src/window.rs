//! The image of one service, kept up to date step by step.
//!
//! Shape [channels x features, steps] = [3 F, 60]; row `c * F + f` is feature `f` as the trailing mean
//! over 1, 5 or 15 steps (three sampling windows over one history). The newest step is the last column.
//! Before 60 steps have been seen the left columns are missing.
//!
//! Trailing means are recomputed from the last 15 raw values, so that rounding never accumulates and an
//! image depends on nothing older than 75 steps. Cost of a push: about 20 F operations.
//! Memory: [`Window::bytes`].

use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, Scaling, to_f32};

/// Columns of an image.
pub const STEPS: usize = 60;

/// Steps under the trailing mean of each channel.
pub const CHANNEL_STEPS: [usize; 3] = [1, 5, 15];

/// Number of channels.
pub const CHANNELS: usize = CHANNEL_STEPS.len();

/// Raw values kept for the longest trailing mean.
const RAW_STEPS: usize = CHANNEL_STEPS[CHANNELS - 1];

/// The last 60 encoded steps of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    features: usize,
    /// Ring of raw values, [RAW_STEPS, features]; NaN where missing.
    raw: Box<[f32]>,
    /// Ring of codes, [STEPS, CHANNELS x features].
    codes: Box<[i16]>,
    /// Steps pushed so far.
    pushed: u64,
}

impl Window {
    /// An empty history.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self {
            features,
            raw: vec![f32::NAN; RAW_STEPS * features].into_boxed_slice(),
            codes: vec![MISSING; STEPS * CHANNELS * features].into_boxed_slice(),
            pushed: 0,
        }
    }

    /// Bytes one window of `features` features takes.
    #[must_use]
    pub fn bytes(features: usize) -> usize {
        size_of::<Self>() + features * (RAW_STEPS * size_of::<f32>() + STEPS * CHANNELS * size_of::<i16>())
    }

    /// Adds the newest step: one value and one scaling per feature.
    pub fn push(&mut self, values: &[f64], scaling: &[Scaling]) {
        let features = self.features;
        let raw_row = (self.pushed % RAW_STEPS as u64) as usize;
        let code_row = (self.pushed % STEPS as u64) as usize;
        for (slot, value) in self.raw[raw_row * features..(raw_row + 1) * features].iter_mut().zip(values) {
            *slot = if value.is_finite() { *value as f32 } else { f32::NAN };
        }
        self.pushed += 1;
        let codes = &mut self.codes[code_row * CHANNELS * features..(code_row + 1) * CHANNELS * features];
        for feature in 0..features {
            let (mut sum, mut count, mut channel) = (0.0, 0_u32, 0);
            for back in 0..RAW_STEPS {
                let row = (raw_row + RAW_STEPS - back) % RAW_STEPS;
                let value = f64::from(self.raw[row * features + feature]);
                if value.is_finite() {
                    sum += value;
                    count += 1;
                }
                if back + 1 == CHANNEL_STEPS[channel] {
                    codes[channel * features + feature] =
                        if count == 0 { MISSING } else { scaling[feature].encode(sum / f64::from(count)) };
                    channel += 1;
                }
            }
        }
    }

    /// Steps pushed so far, missing ones included.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.pushed
    }

    /// The code of feature `feature` in channel `channel`, `back` steps before the newest (0 = newest).
    #[must_use]
    pub fn code(&self, back: usize, channel: usize, feature: usize) -> i16 {
        if back >= STEPS || back as u64 >= self.pushed {
            return MISSING;
        }
        let row = ((self.pushed - 1 - back as u64) % STEPS as u64) as usize;
        self.codes[(row * CHANNELS + channel) * self.features + feature]
    }

    /// Writes the image, row-major [CHANNELS x features, STEPS], zeros where missing.
    pub fn write_image(&self, image: &mut [f32]) {
        let rows = CHANNELS * self.features;
        for step in 0..STEPS {
            let back = STEPS - 1 - step;
            if back as u64 >= self.pushed {
                for row in 0..rows {
                    image[row * STEPS + step] = 0.0;
                }
                continue;
            }
            let ring = ((self.pushed - 1 - back as u64) % STEPS as u64) as usize;
            for (row, code) in self.codes[ring * rows..(ring + 1) * rows].iter().enumerate() {
                image[row * STEPS + step] = to_f32(*code);
            }
        }
    }

    /// Share of observed feature-steps among the last 15 steps of those features that `normal` marks as
    /// ones this service has; 0 where it has none.
    #[must_use]
    pub fn coverage(&self, normal: &[bool]) -> f64 {
        let (mut observed, mut expected) = (0_u32, 0_u32);
        for (feature, _) in normal.iter().enumerate().filter(|(_, normal)| **normal) {
            for row in 0..RAW_STEPS {
                expected += 1;
                observed += u32::from(self.raw[row * self.features + feature].is_finite());
            }
        }
        if expected == 0 { 0.0 } else { f64::from(observed) / f64::from(expected) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> Vec<Scaling> {
        vec![Scaling { centre: 0.0, scale: 1.0 }; 2]
    }

    #[test]
    fn channels_are_trailing_means_over_what_was_observed() {
        let mut window = Window::new(2);
        for step in 0..80 {
            window.push(&[f64::from(step), if step % 2 == 0 { 4.0 } else { f64::NAN }], &unit());
        }
        let expect = |value: f64| (value.ln_1p() * 1024.0).round() as i16;
        assert_eq!(window.code(0, 0, 0), expect(79.0));
        assert_eq!(window.code(0, 1, 0), expect(77.0));
        assert_eq!(window.code(0, 2, 0), expect(72.0));
        assert_eq!(window.code(59, 0, 0), expect(20.0));
        assert_eq!(window.code(60, 0, 0), MISSING);
        assert_eq!(window.code(0, 0, 1), MISSING);
        assert_eq!(window.code(0, 1, 1), expect(4.0));
    }

    #[test]
    fn a_young_image_is_zero_on_the_left_and_its_newest_step_is_last() {
        let mut window = Window::new(2);
        window.push(&[1.0, 2.0], &unit());
        let mut image = vec![9.0; 6 * STEPS];
        window.write_image(&mut image);
        assert_eq!(image[STEPS - 2], 0.0);
        assert!((image[STEPS - 1] - 2.0_f32.ln()).abs() < 1e-3);
        assert!((image[2 * STEPS - 1] - 3.0_f32.ln()).abs() < 1e-3);
    }

    #[test]
    fn coverage_counts_only_what_the_service_normally_has() {
        let mut window = Window::new(2);
        for _ in 0..15 {
            window.push(&[1.0, f64::NAN], &unit());
        }
        assert_eq!(window.coverage(&[true, false]), 1.0);
        assert_eq!(window.coverage(&[true, true]), 0.5);
        assert_eq!(window.coverage(&[false, false]), 0.0);
    }
}
