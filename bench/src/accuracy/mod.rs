//! Accuracy on labelled data: metrics, data sets, peers.

pub mod baselines;
pub mod dataset;
pub mod linear;
pub mod metrics;
pub mod practice;
pub mod recipe;
