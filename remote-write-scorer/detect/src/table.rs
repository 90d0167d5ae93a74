//! A table of weights in 8 bits each, with one scale per row: what a service has of its own.
//!
//! A weight is off by at most 1/254 of the largest of its row. Bytes: one per weight and four per row. In the
//! file a weight is two hexadecimal digits.

use serde::{Deserialize, Serialize};

/// Row-major.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Per row: what one unit of its weights stands for.
    scale: Vec<f32>,
    #[serde(with = "hexadecimal")]
    weights: Vec<i8>,
}

impl Table {
    /// Rounds `weights`, rows of `columns` each.
    #[must_use]
    pub fn new(weights: &[f32], columns: usize) -> Self {
        let mut table = Self { scale: Vec::new(), weights: Vec::with_capacity(weights.len()) };
        for row in weights.chunks(columns.max(1)) {
            let largest = row.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
            let unit = if largest > 0.0 && largest.is_finite() { largest / 127.0 } else { 1.0 };
            table.scale.push(unit);
            table.weights.extend(row.iter().map(|w| (w / unit).round() as i8));
        }
        table
    }

    /// Whether it has this shape, and finite numbers.
    #[must_use]
    pub fn fits(&self, rows: usize, columns: usize) -> bool {
        self.scale.len() == rows && self.weights.len() == rows * columns && self.scale.iter().all(|s| s.is_finite())
    }

    fn row(&self, row: usize) -> (f32, &[i8]) {
        let columns = self.weights.len() / self.scale.len().max(1);
        (self.scale[row], &self.weights[row * columns..(row + 1) * columns])
    }

    /// One weight.
    #[must_use]
    pub fn weight(&self, row: usize, column: usize) -> f32 {
        let (scale, weights) = self.row(row);
        scale * f32::from(weights[column])
    }

    /// A row times `inputs`.
    #[must_use]
    pub fn product(&self, row: usize, inputs: &[f32]) -> f32 {
        let (scale, weights) = self.row(row);
        scale * dot(weights, inputs)
    }
}

/// Sums that run side by side, for the processor's vector units.
const LANES: usize = 8;

/// The sum of products of as many as the shorter one has.
pub(crate) fn dot<W: Copy + Into<f32>>(weights: &[W], inputs: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (weights, inputs) = (weights.chunks(LANES), inputs.chunks(LANES));
    for (weights, inputs) in weights.zip(inputs) {
        for ((sum, weight), input) in sums.iter_mut().zip(weights).zip(inputs) {
            let weight: f32 = (*weight).into();
            *sum += weight * input;
        }
    }
    sums.iter().sum()
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

    #[test]
    fn a_table_multiplies_as_its_weights_to_a_254th_of_the_largest() {
        let weights = [0.5, -1.0, 0.25, 0.0, 3.0, 0.01];
        let table = Table::new(&weights, 3);
        for (at, weight) in weights.iter().enumerate() {
            let largest = if at < 3 { 1.0 } else { 3.0 };
            assert!((table.weight(at / 3, at % 3) - weight).abs() <= largest / 253.0);
        }
        let product = table.product(0, &[1.0, 2.0, 4.0]);
        assert!((product - (0.5 - 2.0 + 1.0)).abs() < 0.03, "{product}");
    }

    #[test]
    fn a_table_survives_the_file_and_is_refused_when_damaged() {
        let own = Table::new(&[0.5, -1.0, 0.25, 0.0, 0.0, 0.1], 3);
        assert!(own.fits(2, 3) && !own.fits(3, 2) && !own.fits(3, 3));
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&text).unwrap(), own);
        assert!(serde_json::from_str::<Table>(r#"{"scale":[1.0],"weights":"0g"}"#).is_err());
        assert!(serde_json::from_str::<Table>(r#"{"scale":[1.0],"weights":"012"}"#).is_err());
    }
}
