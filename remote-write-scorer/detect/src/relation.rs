//! What the features say of each other: the residual subspace of principal components.
//!
//! Requests, CPU and latency move together; one that moves alone breaks a relation, however far from its limits
//! and however slowly. The newest step is split into what the leading components of normal operation explain and
//! what they do not (Jackson & Mudholkar, "Control procedures for residuals associated with principal component
//! analysis", Technometrics 21, 1979); the second is each feature's residual. The split is linear, so a
//! service needs only a [`Table`] of `features x (features + 1)`, the last column constant. Values past
//! [`INPUT_CAP`] count as that far out for the others and in full for themselves. A missing feature counts as
//! usual for the others and has no residual.

use crate::encoding::{MISSING, to_f32};
use crate::table::Table;
use crate::window::Window;

/// How far out a value is for the residuals of the other features, in encoded units.
pub const INPUT_CAP: f32 = 6.0;

/// Number of inputs for `features` features: each, and a constant.
#[must_use]
pub fn inputs(features: usize) -> usize {
    features + 1
}

/// Writes the residual of every feature at the newest step, in encoded units; NaN where it is missing.
/// `scratch` is overwritten.
pub fn residuals(relations: &Table, window: &Window, scratch: &mut Vec<f32>, residuals: &mut [f32]) {
    scratch.clear();
    let newest = window.column(0);
    scratch.extend((0..residuals.len()).map(|feature| to_f32(newest.code(feature)).clamp(-INPUT_CAP, INPUT_CAP)));
    scratch.push(1.0);
    for (feature, slot) in residuals.iter_mut().enumerate() {
        let code = newest.code(feature);
        let beyond = to_f32(code) - scratch[feature];
        *slot = if code == MISSING { f32::NAN } else { relations.product(feature, scratch) + beyond };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Scaling;

    /// Two features that move together: what they do not share is half their difference.
    fn of(values: [f64; 2]) -> [f32; 2] {
        let relations = Table::new(&[0.5, -0.5, 0.0, -0.5, 0.5, 0.0], inputs(2));
        let mut window = Window::new(2);
        window.push(&values, &[Scaling { centre: 0.0, scale: 1.0 }; 2]);
        let mut found = [0.0; 2];
        residuals(&relations, &window, &mut Vec::new(), &mut found);
        found
    }

    #[test]
    fn moving_together_is_no_residual_and_moving_alone_is() {
        assert!(of([3.0, 3.0]).iter().all(|r| r.abs() < 1e-3));
        let alone = of([3.0, 0.0]);
        assert!((alone[0] - 4.0_f32.ln() / 2.0).abs() < 1e-2 && (alone[1] + 4.0_f32.ln() / 2.0).abs() < 1e-2);
    }

    #[test]
    fn a_missing_feature_has_none_and_a_wild_one_blames_the_others_only_so_far() {
        let found = of([f64::NAN, 3.0]);
        assert!(found[0].is_nan() && found[1].is_finite());
        let wild = of([1e12, 0.0]);
        assert!(wild[0] > 20.0 && (wild[1] + INPUT_CAP / 2.0).abs() < 0.05, "{wild:?}");
    }
}
