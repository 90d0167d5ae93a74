//! What every feature should be now, from all features two steps ago.
//!
//! A linear forecast in encoded units: the inputs are the trailing means of the image (1, 5 and 15 steps)
//! as they stood [`AHEAD`] steps before, the output is the newest value of every feature. One table of
//! weights serves all services; each service adds a correction of its own, which training shrinks toward
//! nothing while the service's history is short. The correction is held in 8 bits per weight with one scale
//! per feature: `features x (3 features + 1)` bytes and four per feature.
//!
//! A feature that was missing two steps ago, or is missing now, has no forecast.

use serde::{Deserialize, Serialize};

use crate::encoding::{MISSING, to_f32};
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

/// What one service adds to the shared weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correction {
    /// Per feature: what one unit of its weights stands for.
    pub scale: Vec<f32>,
    /// [features, inputs], row-major; two hexadecimal digits each in the file.
    #[serde(with = "hexadecimal")]
    pub weights: Vec<i8>,
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
        own: Option<&Correction>,
        used: [bool; CHANNELS],
        scratch: &mut Vec<f32>,
        expected: &mut [f32],
    ) {
        let features = expected.len();
        let row = (0..CHANNELS).flat_map(|c| (0..features).map(move |f| (c, f)));
        write_inputs(row.map(|(channel, feature)| window.code(AHEAD, channel, feature)), used, scratch);
        let count = scratch.len();
        for (feature, slot) in expected.iter_mut().enumerate() {
            if window.code(AHEAD, 0, feature) == MISSING {
                *slot = f32::NAN;
                continue;
            }
            let at = feature * count..(feature + 1) * count;
            let shared: f32 = self.weights[at.clone()].iter().zip(&*scratch).map(|(w, x)| w * x).sum();
            let added = own.map_or(0.0, |own| {
                let sum: f32 = own.weights[at].iter().zip(&*scratch).map(|(w, x)| f32::from(*w) * x).sum();
                own.scale[feature] * sum
            });
            *slot = shared + added;
        }
    }
}

impl Correction {
    /// Rounds `weights` to 8 bits, with one scale per row of `inputs` weights.
    #[must_use]
    pub fn new(weights: &[f32], inputs: usize) -> Self {
        let mut correction = Self { scale: Vec::new(), weights: Vec::with_capacity(weights.len()) };
        for row in weights.chunks(inputs.max(1)) {
            let largest = row.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
            let unit = if largest > 0.0 && largest.is_finite() { largest / 127.0 } else { 1.0 };
            correction.scale.push(unit);
            correction.weights.extend(row.iter().map(|w| (w / unit).round() as i8));
        }
        correction
    }

    /// Whether it is one for `features` features.
    #[must_use]
    pub fn fits(&self, features: usize) -> bool {
        self.scale.len() == features
            && self.weights.len() == features * inputs(features)
            && self.scale.iter().all(|s| s.is_finite())
    }
}

/// Bytes as hexadecimal text: a number each would make the file four times as long.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &[i8], serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let text: String = bytes
            .iter()
            .flat_map(|byte| [digit(byte.cast_unsigned() >> 4), digit(byte.cast_unsigned() & 15)])
            .collect();
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text
            .chars()
            .map(|c| c.to_digit(16).map(|d| d as u8).ok_or_else(|| D::Error::custom(format!("`{c}` is no hex digit"))))
            .collect::<Result<Vec<u8>, _>>()?;
        if digits.len() % 2 != 0 {
            return Err(D::Error::custom(format!("{} hex digits: an even number is needed", digits.len())));
        }
        Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]).cast_signed()).collect())
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
        let own = Correction::new(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 7);
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

    #[test]
    fn a_correction_survives_the_file_and_is_refused_when_damaged() {
        let own = Correction::new(&[0.5, -1.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.1, -0.1, 0.0, 0.0, 0.0, 0.0, 0.0], 7);
        assert!(own.fits(2) && !own.fits(3));
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Correction>(&text).unwrap(), own);
        assert!(serde_json::from_str::<Correction>(r#"{"scale":[1.0],"weights":"0g"}"#).is_err());
        assert!(serde_json::from_str::<Correction>(r#"{"scale":[1.0],"weights":"012"}"#).is_err());
    }
}
