//! What every feature should be now, from all features two steps ago.
//!
//! A linear forecast in encoded units: the inputs are the trailing means of the image (1, 5 and 15 steps)
//! as they stood [`AHEAD`] steps before, the output is the newest value of every feature. One table of
//! weights serves all services; each service adds a correction of its own, which training shrinks toward
//! nothing while the service's history is short. The correction is a [`Table`] of `features x (3 features + 1)`.
//!
//! A feature that was missing two steps ago, or is missing now, has no forecast.

use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, to_f32};
use crate::table::{Table, dot};
use crate::window::{CHANNELS, Window};

/// Steps between the newest input and what is forecast.
pub const AHEAD: usize = 2;

/// Inputs are bounded here, so that one wild feature does not move the forecast of all others.
const INPUT_CAP: f32 = 8.0;

/// Number of inputs for `features` features: the channels of each, and a constant.
#[must_use]
pub fn inputs(features: usize) -> usize {
    CHANNELS * features + 1
}

/// The inputs that stand for a row of codes, [channels x features]; the constant comes last. Channels that are
/// not used are 0.
pub fn write_inputs(codes: impl Iterator<Item = i16>, used: [bool; CHANNELS], inputs: &mut Vec<f32>) {
    inputs.clear();
    inputs.extend(codes.map(|code| to_f32(code).clamp(-INPUT_CAP, INPUT_CAP)));
    let features = inputs.len() / CHANNELS;
    for (channel, used) in inputs.chunks_exact_mut(features.max(1)).zip(used) {
        if !used {
            channel.fill(0.0);
        }
    }
    inputs.push(1.0);
}

/// The weights that all services share, [features, inputs].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Row-major.
    pub weights: Vec<f32>,
}

impl Forecast {
    /// Whether the table is one for `features` features.
    #[must_use]
    pub fn fits(&self, features: usize) -> bool {
        self.weights.len() == features * inputs(features) && self.weights.iter().all(|w| w.is_finite())
    }

    /// Writes the forecast of the newest step of every feature, in encoded units; NaN where there is none.
    /// `inputs` is scratch.
    pub fn predict(
        &self,
        window: &Window,
        own: Option<&Table>,
        used: [bool; CHANNELS],
        scratch: &mut Vec<f32>,
        expected: &mut [f32],
    ) {
        let features = expected.len();
        let column = window.column(AHEAD);
        write_inputs((0..CHANNELS * features).map(|row| column.code(row)), used, scratch);
        let count = scratch.len();
        for (feature, slot) in expected.iter_mut().enumerate() {
            if column.code(feature) == MISSING {
                *slot = f32::NAN;
                continue;
            }
            let at = feature * count..(feature + 1) * count;
            let shared = dot(&self.weights[at], scratch);
            let added = own.map_or(0.0, |own| own.product(feature, scratch));
            *slot = shared + added;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Scaling;

    const ALL: [bool; CHANNELS] = [true; CHANNELS];

    fn window(values: &[[f64; 2]]) -> Window {
        let mut window = Window::new(2);
        for row in values {
            window.push(row, &[Scaling { centre: 0.0, scale: 1.0 }; 2]);
        }
        window
    }

    #[test]
    fn the_forecast_is_that_of_two_steps_ago_and_nothing_newer() {
        let mut forecast = Forecast { weights: vec![0.0; 14] };
        forecast.weights[0] = 1.0; // feature 0 from its own newest mean
        forecast.weights[7 + 6] = 0.5; // feature 1 is a constant
        let mut expected = [0.0; 2];
        forecast.predict(&window(&[[1.0, 0.0], [7.0, 0.0], [9.0, 0.0]]), None, ALL, &mut Vec::new(), &mut expected);
        assert!((expected[0] - 2.0_f32.ln()).abs() < 1e-3);
        assert_eq!(expected[1], 0.5);
        let own = Table::new(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 7);
        forecast.predict(
            &window(&[[1.0, 0.0], [7.0, 0.0], [9.0, 0.0]]),
            Some(&own),
            ALL,
            &mut Vec::new(),
            &mut expected,
        );
        assert!((expected[0] - 2.0_f32.ln() - 2.0).abs() < 1e-3);
    }

    #[test]
    fn what_was_missing_has_no_forecast() {
        let forecast = Forecast { weights: vec![1.0; 14] };
        let mut expected = [0.0; 2];
        forecast.predict(
            &window(&[[f64::NAN, 1.0], [1.0, 1.0], [1.0, 1.0]]),
            None,
            ALL,
            &mut Vec::new(),
            &mut expected,
        );
        assert!(expected[0].is_nan() && expected[1].is_finite());
        forecast.predict(&window(&[[1.0, 1.0]]), None, ALL, &mut Vec::new(), &mut expected);
        assert!(expected.iter().all(|e| e.is_nan()));
    }
}
