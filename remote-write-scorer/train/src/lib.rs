//! Trains the autoencoder of the anomaly score, calibrates it and writes both as a model directory.
//!
//! One pooled network for all services: a 1-D convolutional autoencoder over time ([`network`]), trained
//! in Rust on the CPU with im2col, GEMM and Adam, denoising, Huber loss. The contiguous last quarter of
//! the history is held out and measures what a normal reconstruction error is ([`calibrate`]), through the
//! very code that scores live. The same history, options and seed give the same bytes on one machine
//! (matrix products use the widest vector instructions the processor has, whose rounding differs), also when the
//! run was ended half-way and goes on from its last [`checkpoint`].
//!
//! Faults inside the history do little harm: centre and scale are medians and quantile ranges, and the
//! windows that reconstruct worst are left out of the later part of training.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod adam;
pub mod calibrate;
pub mod checkpoint;
pub mod command;
pub mod conv;
pub mod digest;
pub mod eigen;
pub mod error;
pub mod fit;
pub mod history;
pub mod loss;
pub mod network;
pub mod onnx;
pub mod options;
pub mod prometheus;
pub mod random;
pub mod recording;
pub mod relation;
pub mod ridge;
pub mod season;
pub mod train;

pub use checkpoint::Checkpoint;
pub use command::{CommandError, TrainArgs, run};
pub use error::TrainError;
pub use options::{Progress, TrainOptions};
pub use train::{Summary, TrainedModel, train, train_for, train_resumable};
