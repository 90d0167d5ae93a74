//! Accuracy on labelled data: metrics, data sets, peers, and our recipe through the code that runs live.

pub mod ablation;
pub mod baselines;
pub mod dataset;
pub mod faults;
pub mod figures;
pub mod lab;
pub mod metrics;
pub mod plot;
pub mod practice;
pub mod work;
