//! The image of one service, kept up to date step by step.
//!
//! Shape [channels x features, steps] = [3 F, 26]; row `c * F + f` is feature `f` as the trailing mean
//! over 1, 5 or 15 steps (three sampling windows over one history). The newest step is the last column.
//! Before 26 steps have been seen the left columns are missing. The network is trained on images of 60 steps; the
//! columns that errors are taken from depend on the newest 26 alone.
//!
//! Trailing means are recomputed from the last 15 raw values, so that rounding never accumulates and an
//! image depends on nothing older than 40 steps. Cost of a push: about 20 F operations.
//! Memory: [`Window::bytes`].

use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, Scaling, to_f32};

/// Columns of an image that the network is trained on.
pub const STEPS: usize = 60;

/// Columns of an image that is scored: all that the newest [`crate::runtime::NEWEST`] of a reconstruction depend on.
pub const SEEN: usize = 26;

/// One step of an image.
#[derive(Debug, Clone, Copy)]
pub struct Column<'a> {
    codes: &'a [i16],
    step: usize,
}

impl Column<'_> {
    /// The code in row `row`: channel times features plus feature.
    #[must_use]
    pub fn code(&self, row: usize) -> i16 {
        self.codes[row * SEEN + self.step]
    }
}

/// Steps under the trailing mean of each channel.
pub const CHANNEL_STEPS: [usize; 3] = [1, 5, 15];

/// Number of channels.
pub const CHANNELS: usize = CHANNEL_STEPS.len();

/// Raw values kept for the longest trailing mean.
const RAW_STEPS: usize = CHANNEL_STEPS[CHANNELS - 1];

/// Features whose sums run side by side, for the processor's vector units.
const LANES: usize = 16;

/// The last [`SEEN`] encoded steps of one service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Window {
    features: usize,
    /// Ring of raw values, [RAW_STEPS, features]; NaN where missing.
    raw: Box<[f32]>,
    /// Rings of codes, [CHANNELS x features, SEEN]: an image is these rows, turned to begin with the oldest.
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
            codes: vec![MISSING; SEEN * CHANNELS * features].into_boxed_slice(),
            pushed: 0,
        }
    }

    /// Bytes one window of `features` features takes.
    #[must_use]
    pub fn bytes(features: usize) -> usize {
        size_of::<Self>() + features * (RAW_STEPS * size_of::<f32>() + SEEN * CHANNELS * size_of::<i16>())
    }

    /// Whether it is one for `features` features: one stored by another version may not be.
    #[must_use]
    pub fn fits(&self, features: usize) -> bool {
        self.features == features
            && self.raw.len() == RAW_STEPS * features
            && self.codes.len() == SEEN * CHANNELS * features
    }

    /// Adds the newest step: one value and one scaling per feature.
    pub fn push(&mut self, values: &[f64], scaling: &[Scaling]) {
        let features = self.features;
        let raw_row = (self.pushed % RAW_STEPS as u64) as usize;
        let code_row = (self.pushed % SEEN as u64) as usize;
        for (slot, value) in self.raw[raw_row * features..(raw_row + 1) * features].iter_mut().zip(values) {
            *slot = if value.is_finite() { *value as f32 } else { f32::NAN };
        }
        self.pushed += 1;
        for from in (0..features).step_by(LANES) {
            let lanes = LANES.min(features - from);
            let (mut sums, mut counts) = ([0.0_f64; LANES], [0_u32; LANES]);
            let mut channel = 0;
            for back in 0..RAW_STEPS {
                let row = if back <= raw_row { raw_row - back } else { raw_row + RAW_STEPS - back };
                let start = row * features + from;
                for ((sum, count), value) in sums.iter_mut().zip(&mut counts).zip(&self.raw[start..start + lanes]) {
                    let seen = value.is_finite();
                    *sum += if seen { f64::from(*value) } else { 0.0 };
                    *count += u32::from(seen);
                }
                if back + 1 == CHANNEL_STEPS[channel] {
                    for lane in 0..lanes {
                        let code = match counts[lane] {
                            0 => MISSING,
                            count => scaling[from + lane].encode(sums[lane] / f64::from(count)),
                        };
                        self.codes[(channel * features + from + lane) * SEEN + code_row] = code;
                    }
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
        if back >= SEEN { MISSING } else { self.column(back).code(channel * self.features + feature) }
    }

    /// The column `back` steps before the newest, below [`SEEN`].
    #[must_use]
    pub fn column(&self, back: usize) -> Column<'_> {
        // Columns not seen yet are missing in the ring.
        let newest = (self.pushed % SEEN as u64) as usize + SEEN - 1;
        Column { codes: &self.codes, step: newest.saturating_sub(back) % SEEN }
    }

    /// Writes the image, row-major [CHANNELS x features, SEEN], zeros where missing.
    pub fn write_image(&self, image: &mut [f32]) {
        // Steps not seen yet are missing in the ring, and so zero on the left of the image.
        let oldest = (self.pushed % SEEN as u64) as usize;
        for (row, codes) in image.chunks_exact_mut(SEEN).zip(self.codes.chunks_exact(SEEN)) {
            let (newer, older) = codes.split_at(oldest);
            let (left, right) = row.split_at_mut(SEEN - oldest);
            left.iter_mut().zip(older).for_each(|(pixel, code)| *pixel = to_f32(*code));
            right.iter_mut().zip(newer).for_each(|(pixel, code)| *pixel = to_f32(*code));
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
        assert_eq!(window.code(25, 0, 0), expect(54.0));
        assert_eq!(window.code(26, 0, 0), MISSING);
        assert_eq!(window.code(0, 0, 1), MISSING);
        assert_eq!(window.code(0, 1, 1), expect(4.0));
    }

    #[test]
    fn every_pixel_is_the_trailing_mean_of_its_step_however_many_features_and_steps_there_are() {
        const FEATURES: usize = LANES + 3;
        let scaling: Vec<Scaling> =
            (0..FEATURES).map(|feature| Scaling { centre: feature as f64, scale: 2.0 }).collect();
        let value = |step: usize, feature: usize| match (step * 7 + feature * 13) % 17 {
            0 => f64::NAN,
            rest => rest as f64 * 0.5 - feature as f64,
        };
        let mut window = Window::new(FEATURES);
        let mut image = vec![9.0; CHANNELS * FEATURES * SEEN];
        for steps in 1..=140_usize {
            let values: Vec<f64> = (0..FEATURES).map(|feature| value(steps - 1, feature)).collect();
            window.push(&values, &scaling);
            if !matches!(steps, 1 | 14 | 25 | 26 | 27 | 140) {
                continue;
            }
            window.write_image(&mut image);
            for (channel, length) in CHANNEL_STEPS.iter().enumerate() {
                for feature in 0..FEATURES {
                    for back in 0..SEEN {
                        let seen: Vec<f64> = (back..back + length)
                            .filter_map(|back| steps.checked_sub(back + 1))
                            .map(|step| f64::from(value(step, feature) as f32))
                            .filter(|value| value.is_finite())
                            .collect();
                        let code = if back >= steps || seen.is_empty() {
                            MISSING
                        } else {
                            scaling[feature].encode(seen.iter().sum::<f64>() / seen.len() as f64)
                        };
                        assert_eq!(window.code(back, channel, feature), code, "{steps} {channel} {feature} {back}");
                        let pixel = image[(channel * FEATURES + feature) * SEEN + SEEN - 1 - back];
                        assert_eq!(pixel, to_f32(code), "{steps} {channel} {feature} {back}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_young_image_is_zero_on_the_left_and_its_newest_step_is_last() {
        let mut window = Window::new(2);
        window.push(&[1.0, 2.0], &unit());
        let mut image = vec![9.0; 6 * SEEN];
        window.write_image(&mut image);
        assert_eq!(image[SEEN - 2], 0.0);
        assert!((image[SEEN - 1] - 2.0_f32.ln()).abs() < 1e-3);
        assert!((image[2 * SEEN - 1] - 3.0_f32.ln()).abs() < 1e-3);
    }

    #[test]
    fn a_window_of_another_size_does_not_fit() {
        let mut window = Window::new(2);
        assert!(window.fits(2) && !window.fits(3));
        window.codes = vec![MISSING; STEPS * CHANNELS * 2].into_boxed_slice();
        assert!(!window.fits(2));
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
