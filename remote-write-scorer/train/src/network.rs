//! The autoencoder: six convolutions over time with a narrow middle.
//!
//! ```text
//! [3 F, 60] -5/2-> [24, 30] -5/2-> [16, 15] -3-> [4, 15] -3-> [16, 15] -x2,5-> [24, 30] -x2,5-> [3 F, 60]
//! ```
//! 60 numbers carry 180 F. About 20 thousand parameters at 20 features: `723 F + 4.3 k`. What cannot be
//! squeezed through the middle, because it never happened in normal operation, is not reconstructed: that
//! is the error the score is made of.

use ndarray::ShapeError;
use quoll_detect::ScoreError;
use quoll_detect::runtime::{NEWEST, Reconstruct};
use quoll_detect::window::{CHANNELS, SEEN, STEPS};
use serde::{Deserialize, Serialize};

use crate::adam::Adam;
use crate::conv::{Conv, Shape};
use crate::random::Random;

const OUTER: usize = 24;
const INNER: usize = 16;
const MIDDLE: usize = 4;

/// Largest Euclidean norm of a gradient that is followed in full.
const GRADIENT_NORM: f32 = 1.0;

/// Weights and moments, all that the next update depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkState {
    /// Weights and biases of each layer.
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    adam: Vec<(Adam, Adam)>,
}

/// The network with its weights.
#[derive(Debug, Clone)]
pub struct Network {
    /// Layers, first to last.
    pub layers: Vec<Conv>,
    features: usize,
    adam: Vec<(Adam, Adam)>,
    gradient: Vec<f32>,
    next_gradient: Vec<f32>,
    transposed: Vec<f32>,
}

impl Network {
    /// With random weights for `features` features.
    #[must_use]
    pub fn new(features: usize, random: &mut Random) -> Self {
        let rows = CHANNELS * features;
        let shape = |inputs, outputs, kernel, stride, doubled, rectified| Shape {
            inputs,
            outputs,
            kernel,
            stride,
            doubled,
            rectified,
        };
        let shapes = [
            shape(rows, OUTER, 5, 2, false, true),
            shape(OUTER, INNER, 5, 2, false, true),
            shape(INNER, MIDDLE, 3, 1, false, false),
            shape(MIDDLE, INNER, 3, 1, false, true),
            shape(INNER, OUTER, 5, 1, true, true),
            shape(OUTER, rows, 5, 1, true, false),
        ];
        let layers: Vec<Conv> = shapes.into_iter().map(|shape| Conv::new(shape, random)).collect();
        let adam = layers.iter().map(|l| (Adam::new(l.weight.len()), Adam::new(l.bias.len()))).collect();
        Self { layers, features, adam, gradient: Vec::new(), next_gradient: Vec::new(), transposed: Vec::new() }
    }

    /// Numbers in the network.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(|l| l.shape.parameters()).sum()
    }

    /// What an interrupted training goes on from.
    #[must_use]
    pub fn state(&self) -> NetworkState {
        let layers = self.layers.iter().map(|l| (l.weight.clone(), l.bias.clone())).collect();
        NetworkState { layers, adam: self.adam.clone() }
    }

    /// Goes on from `state`. Whether it did: not where it is one of another shape; nothing changes then.
    pub fn restore(&mut self, state: &NetworkState) -> bool {
        let fits = |layer: &Conv, (weight, bias): &(Vec<f32>, Vec<f32>), (of_weight, of_bias): &(Adam, Adam)| {
            layer.weight.len() == weight.len()
                && layer.bias.len() == bias.len()
                && of_weight.fits(weight.len())
                && of_bias.fits(bias.len())
        };
        let all = self.layers.iter().zip(&state.layers).zip(&state.adam);
        let counts = state.layers.len() == self.layers.len() && state.adam.len() == self.layers.len();
        if !counts || !all.into_iter().all(|((layer, weights), adam)| fits(layer, weights, adam)) {
            return false;
        }
        for (layer, (weight, bias)) in self.layers.iter_mut().zip(&state.layers) {
            layer.weight.clone_from(weight);
            layer.bias.clone_from(bias);
        }
        self.adam.clone_from(&state.adam);
        true
    }

    /// Output for images of shape [rows, windows x steps].
    ///
    /// # Errors
    /// A shape error where `input` has another size.
    pub fn forward<'a>(&'a mut self, input: &'a [f32], windows: usize) -> Result<&'a [f32], ShapeError> {
        let mut length = STEPS;
        let mut current = input;
        for layer in &mut self.layers {
            let next = layer.shape.out_length(length);
            current = layer.forward(current, windows, length)?;
            length = next;
        }
        Ok(current)
    }

    /// Gradients of all layers from the gradient of the last forward pass's output.
    ///
    /// # Errors
    /// A shape error where `gradient` has another size.
    pub fn backward(&mut self, gradient: &[f32]) -> Result<(), ShapeError> {
        self.gradient.clear();
        self.gradient.extend_from_slice(gradient);
        for (i, layer) in self.layers.iter_mut().enumerate().rev() {
            if i == 0 {
                layer.backward(&mut self.gradient, None)?;
            } else {
                layer.backward(&mut self.gradient, Some(&mut self.next_gradient))?;
                std::mem::swap(&mut self.gradient, &mut self.next_gradient);
            }
        }
        Ok(())
    }

    /// One update of all weights with the gradients of the last backward pass, shortened to a norm of at
    /// most 1 (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013).
    pub fn update(&mut self, rate: f32) {
        let square: f32 =
            self.layers.iter().flat_map(|l| l.weight_gradient.iter().chain(&l.bias_gradient)).map(|g| g * g).sum();
        let scale = if square > GRADIENT_NORM * GRADIENT_NORM { GRADIENT_NORM / square.sqrt() } else { 1.0 };
        for (layer, (weights, biases)) in self.layers.iter_mut().zip(&mut self.adam) {
            weights.update(&mut layer.weight, &layer.weight_gradient, scale, rate);
            biases.update(&mut layer.bias, &layer.bias_gradient, scale, rate);
        }
    }
}

impl Reconstruct for Network {
    fn reconstruct(&mut self, images: &[f32], windows: usize, output: &mut Vec<f32>) -> Result<(), ScoreError> {
        let rows = CHANNELS * self.features;
        output.clear();
        output.resize(windows * rows * NEWEST, 0.0);
        let mut input = std::mem::take(&mut self.transposed);
        // What is older than an image matters to no column that is looked at.
        input.clear();
        input.resize(windows * rows * STEPS, 0.0);
        for window in 0..windows {
            for row in 0..rows {
                let from = (window * rows + row) * SEEN;
                let end = (row * windows + window + 1) * STEPS;
                input[end - SEEN..end].copy_from_slice(&images[from..from + SEEN]);
            }
        }
        let result = self.forward(&input, windows).map(|reconstruction| {
            for window in 0..windows {
                for row in 0..rows {
                    let to = (window * rows + row) * NEWEST;
                    let end = (row * windows + window + 1) * STEPS;
                    output[to..to + NEWEST].copy_from_slice(&reconstruction[end - NEWEST..end]);
                }
            }
        });
        self.transposed = input;
        result.map_err(|e| ScoreError::Inference { windows, reason: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::huber;

    fn loss(network: &mut Network, input: &[f32], windows: usize) -> f64 {
        let output = network.forward(input, windows).unwrap();
        output.iter().zip(input).map(|(y, x)| f64::from(huber(y - x).0)).sum()
    }

    #[test]
    fn the_whole_gradient_agrees_with_finite_differences() {
        let mut random = Random::new(5);
        let mut network = Network::new(2, &mut random);
        let windows = 2;
        let input: Vec<f32> = (0..6 * windows * STEPS).map(|_| random.noise()).collect();
        let output = network.forward(&input, windows).unwrap();
        let gradient: Vec<f32> = output.iter().zip(&input).map(|(y, x)| huber(y - x).1).collect();
        network.backward(&gradient).unwrap();
        let step = 2e-3_f32;
        for layer in 0..network.layers.len() {
            let count = network.layers[layer].weight.len();
            let (mut agreement, mut size) = (0.0_f64, 0.0_f64);
            for i in (0..count).step_by(count / 20) {
                let analytic = f64::from(network.layers[layer].weight_gradient[i]);
                let kept = network.layers[layer].weight[i];
                network.layers[layer].weight[i] = kept + step;
                let up = loss(&mut network, &input, windows);
                network.layers[layer].weight[i] = kept - step;
                let down = loss(&mut network, &input, windows);
                network.layers[layer].weight[i] = kept;
                let numeric = (up - down) / (2.0 * f64::from(step));
                agreement += (analytic - numeric).powi(2);
                size += numeric.powi(2);
            }
            // Rectifiers whose kink lies inside the step cost a little; each layer alone is exact, see `conv`.
            assert!(agreement.sqrt() < 0.04 * size.sqrt(), "layer {layer}: {agreement} of {size}");
        }
    }

    #[test]
    fn about_twenty_thousand_parameters_at_twenty_features() {
        let parameters = Network::new(20, &mut Random::new(1)).parameters();
        assert!((15_000..25_000).contains(&parameters), "{parameters}");
    }
}
