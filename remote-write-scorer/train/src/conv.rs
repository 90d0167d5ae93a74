//! One convolution over time: forward, backward, and its gradient.
//!
//! Activations of a batch have shape [channels, windows x length], so that each pass is a single matrix
//! product over `im2col`. Padding is `kernel / 2` zeros on both sides of each window. A layer may double
//! its input in time first (nearest neighbour) and may end in a rectifier; both are part of the layer, so
//! that nothing is materialised twice.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeError};

use crate::random::Random;

/// Shape of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels in.
    pub inputs: usize,
    /// Channels out.
    pub outputs: usize,
    /// Taps, odd.
    pub kernel: usize,
    /// Steps between outputs.
    pub stride: usize,
    /// Whether the input is doubled in time first.
    pub doubled: bool,
    /// Whether negative outputs become zero.
    pub rectified: bool,
}

impl Shape {
    /// Length of the output for an input of `length` steps.
    #[must_use]
    pub fn out_length(&self, length: usize) -> usize {
        let length = if self.doubled { 2 * length } else { length };
        (length + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    /// Numbers in the layer.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.outputs * (self.inputs * self.kernel + 1)
    }
}

/// A layer with its weights and what the backward pass needs of the last forward pass.
#[derive(Debug, Clone)]
pub struct Conv {
    /// Its shape.
    pub shape: Shape,
    /// [outputs, inputs x kernel], row-major.
    pub weight: Vec<f32>,
    /// [outputs].
    pub bias: Vec<f32>,
    /// Gradient of the weights.
    pub weight_gradient: Vec<f32>,
    /// Gradient of the biases.
    pub bias_gradient: Vec<f32>,
    columns: Vec<f32>,
    output: Vec<f32>,
    length: usize,
    windows: usize,
}

impl Conv {
    /// With random weights: He's initialisation (He et al., "Delving deep into rectifiers", 2015) before a
    /// rectifier, half its variance otherwise.
    #[must_use]
    pub fn new(shape: Shape, random: &mut Random) -> Self {
        let fan_in = (shape.inputs * shape.kernel) as f32;
        let deviation = (if shape.rectified { 2.0 } else { 1.0 } / fan_in).sqrt();
        let count = shape.outputs * shape.inputs * shape.kernel;
        Self {
            shape,
            weight: (0..count).map(|_| deviation * random.noise()).collect(),
            bias: vec![0.0; shape.outputs],
            weight_gradient: vec![0.0; count],
            bias_gradient: vec![0.0; shape.outputs],
            columns: Vec::new(),
            output: Vec::new(),
            length: 0,
            windows: 0,
        }
    }

    /// The input step behind output step `t` at tap `tap`, if it is not padding.
    fn source(&self, t: usize, tap: usize) -> Option<usize> {
        let virtual_length = if self.shape.doubled { 2 * self.length } else { self.length };
        let at = (t * self.shape.stride + tap).checked_sub(self.shape.kernel / 2)?;
        if at >= virtual_length {
            return None;
        }
        Some(if self.shape.doubled { at / 2 } else { at })
    }

    /// Output for `input` of shape [inputs, windows x length]; [outputs, windows x out_length].
    ///
    /// # Errors
    /// A shape error where `input` has another size.
    pub fn forward(&mut self, input: &[f32], windows: usize, length: usize) -> Result<&[f32], ShapeError> {
        (self.windows, self.length) = (windows, length);
        let Shape { inputs, outputs, kernel, rectified, .. } = self.shape;
        let out_length = self.shape.out_length(length);
        let wide = windows * out_length;
        let mut columns = std::mem::take(&mut self.columns);
        columns.clear();
        columns.resize(inputs * kernel * wide, 0.0);
        for channel in 0..inputs {
            let row_in = &input[channel * windows * length..(channel + 1) * windows * length];
            for tap in 0..kernel {
                let row = &mut columns[(channel * kernel + tap) * wide..(channel * kernel + tap + 1) * wide];
                for t in 0..out_length {
                    let Some(source) = self.source(t, tap) else { continue };
                    for window in 0..windows {
                        row[window * out_length + t] = row_in[window * length + source];
                    }
                }
            }
        }
        self.columns = columns;
        self.output.clear();
        for bias in &self.bias {
            self.output.resize(self.output.len() + wide, *bias);
        }
        general_mat_mul(
            1.0,
            &ArrayView2::from_shape((outputs, inputs * kernel), &self.weight)?,
            &ArrayView2::from_shape((inputs * kernel, wide), &self.columns)?,
            1.0,
            &mut ArrayViewMut2::from_shape((outputs, wide), &mut self.output)?,
        );
        if rectified {
            for value in &mut self.output {
                *value = value.max(0.0);
            }
        }
        Ok(&self.output)
    }

    /// From the gradient of the output of the last forward pass (overwritten where rectified) to the
    /// gradients of weights and biases (replaced) and, where `input_gradient` is given, of the input.
    ///
    /// # Errors
    /// A shape error where `gradient` has another size.
    pub fn backward(&mut self, gradient: &mut [f32], input_gradient: Option<&mut Vec<f32>>) -> Result<(), ShapeError> {
        let Shape { inputs, outputs, kernel, rectified, .. } = self.shape;
        let (windows, length) = (self.windows, self.length);
        let out_length = self.shape.out_length(length);
        let wide = windows * out_length;
        if rectified {
            for (g, y) in gradient.iter_mut().zip(&self.output) {
                if *y <= 0.0 {
                    *g = 0.0;
                }
            }
        }
        for (bias, row) in self.bias_gradient.iter_mut().zip(gradient.chunks_exact(wide.max(1))) {
            *bias = row.iter().sum();
        }
        let gradient = ArrayView2::from_shape((outputs, wide), &*gradient)?;
        general_mat_mul(
            1.0,
            &gradient,
            &ArrayView2::from_shape((inputs * kernel, wide), &self.columns)?.t(),
            0.0,
            &mut ArrayViewMut2::from_shape((outputs, inputs * kernel), &mut self.weight_gradient)?,
        );
        let Some(input_gradient) = input_gradient else { return Ok(()) };
        let mut columns = std::mem::take(&mut self.columns);
        general_mat_mul(
            1.0,
            &ArrayView2::from_shape((outputs, inputs * kernel), &self.weight)?.t(),
            &gradient,
            0.0,
            &mut ArrayViewMut2::from_shape((inputs * kernel, wide), &mut columns)?,
        );
        input_gradient.clear();
        input_gradient.resize(inputs * windows * length, 0.0);
        for channel in 0..inputs {
            let row_in = &mut input_gradient[channel * windows * length..(channel + 1) * windows * length];
            for tap in 0..kernel {
                let row = &columns[(channel * kernel + tap) * wide..(channel * kernel + tap + 1) * wide];
                for t in 0..out_length {
                    let Some(source) = self.source(t, tap) else { continue };
                    for window in 0..windows {
                        row_in[window * length + source] += row[window * out_length + t];
                    }
                }
            }
        }
        self.columns = columns;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: usize = 3;
    const LENGTH: usize = 8;

    fn random_vec(n: usize, random: &mut Random) -> Vec<f32> {
        (0..n).map(|_| random.noise()).collect()
    }

    /// `sum(direction * output)`, in double precision.
    fn objective(conv: &mut Conv, input: &[f32], direction: &[f32]) -> f64 {
        let output = conv.forward(input, WINDOWS, LENGTH).unwrap();
        output.iter().zip(direction).map(|(y, d)| f64::from(*y) * f64::from(*d)).sum()
    }

    /// Every gradient of one layer against central finite differences. The layer is piecewise linear, so
    /// the difference is exact up to rounding unless a rectifier's kink lies inside the step; biases keep
    /// the outputs of the rectified case away from it.
    fn check(shape: Shape) {
        let mut random = Random::new(11);
        let mut conv = Conv::new(shape, &mut random);
        conv.bias = (0..shape.outputs).map(|i| if i % 2 == 0 { 30.0 } else { -30.0 }).collect();
        let input = random_vec(shape.inputs * WINDOWS * LENGTH, &mut random);
        let direction = random_vec(shape.outputs * WINDOWS * shape.out_length(LENGTH), &mut random);
        objective(&mut conv, &input, &direction);
        let mut input_gradient = Vec::new();
        conv.backward(&mut direction.clone(), Some(&mut input_gradient)).unwrap();
        let (weights, biases) = (conv.weight_gradient.clone(), conv.bias_gradient.clone());
        let step = 0.25_f32;
        let close = |analytic: f32, up: f64, down: f64, what: &str| {
            let numeric = (up - down) / (2.0 * f64::from(step));
            let error = (f64::from(analytic) - numeric).abs();
            assert!(error < 2e-3 * (1.0 + numeric.abs()), "{shape:?} {what}: {analytic} {numeric}");
        };
        for (i, analytic) in weights.iter().enumerate() {
            let kept = conv.weight[i];
            conv.weight[i] = kept + step;
            let up = objective(&mut conv, &input, &direction);
            conv.weight[i] = kept - step;
            let down = objective(&mut conv, &input, &direction);
            conv.weight[i] = kept;
            close(*analytic, up, down, "weight");
        }
        for (i, analytic) in biases.iter().enumerate() {
            let kept = conv.bias[i];
            conv.bias[i] = kept + step;
            let up = objective(&mut conv, &input, &direction);
            conv.bias[i] = kept - step;
            let down = objective(&mut conv, &input, &direction);
            conv.bias[i] = kept;
            close(*analytic, up, down, "bias");
        }
        for (i, analytic) in input_gradient.iter().enumerate() {
            let mut moved = input.clone();
            moved[i] += step;
            let up = objective(&mut conv, &moved, &direction);
            moved[i] -= 2.0 * step;
            let down = objective(&mut conv, &moved, &direction);
            close(*analytic, up, down, "input");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences_for_every_kind_of_layer() {
        for (kernel, stride) in [(5, 2), (5, 1), (3, 1), (1, 1)] {
            for doubled in [false, true] {
                for rectified in [false, true] {
                    check(Shape { inputs: 3, outputs: 4, kernel, stride, doubled, rectified });
                }
            }
        }
    }
}
