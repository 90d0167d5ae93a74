//! Adam (Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1).

use serde::{Deserialize, Serialize};

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Moments of one group of parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Adam {
    first: Vec<f32>,
    second: Vec<f32>,
    updates: i32,
}

impl Adam {
    /// For `count` parameters.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count], updates: 0 }
    }

    /// Whether these are the moments of `count` parameters.
    #[must_use]
    pub fn fits(&self, count: usize) -> bool {
        self.first.len() == count && self.second.len() == count
    }

    /// One update of `parameters` against `gradient`, which is scaled by `gradient_scale` first.
    pub fn update(&mut self, parameters: &mut [f32], gradient: &[f32], gradient_scale: f32, rate: f32) {
        self.updates = self.updates.saturating_add(1);
        let first_bias = 1.0 - BETA1.powi(self.updates);
        let second_bias = 1.0 - BETA2.powi(self.updates);
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((parameter, gradient), (first, second)) in parameters.iter_mut().zip(gradient).zip(moments) {
            let gradient = gradient * gradient_scale;
            *first = BETA1 * *first + (1.0 - BETA1) * gradient;
            *second = BETA2 * *second + (1.0 - BETA2) * gradient * gradient;
            *parameter -= rate * (*first / first_bias) / ((*second / second_bias).sqrt() + EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_a_bowl() {
        let mut x = [3.0_f32, -2.0];
        let mut adam = Adam::new(2);
        for _ in 0..2000 {
            let gradient = [x[0] - 1.0, 10.0 * (x[1] - 0.5)];
            adam.update(&mut x, &gradient, 1.0, 0.01);
        }
        assert!((x[0] - 1.0).abs() < 1e-3 && (x[1] - 0.5).abs() < 1e-3, "{x:?}");
    }
}
