//! From closed steps to a calibrated anomaly score per service.
//!
//! The path of one step, the same live, in replay, in training's held-out part and in benches:
//!
//! 1. [`encoding`]: each value becomes a signed-log robust z-score with a centre and scale frozen per
//!    service and model; nothing is ever normalised inside an image, which would erase level.
//! 2. [`window`]: the image of a service, [3 channels x features, 26 steps], kept incrementally.
//! 3. [`runtime`]: the autoencoder reconstructs the images of all services in batches.
//! 4. [`expected`]: the newest step as it should be, from what was two steps ago ([`forecast`]), at this hour of
//!    the day ([`season`]) and by what the other features say ([`relation`]).
//! 5. [`score`]: how far all these expectations are off becomes two raw scores, for ranking and for alarms.
//! 6. [`tail`] and [`calibration`]: the raw score becomes a multiple of the score budget's threshold and
//!    the probability of seeing it in normal operation.
//! 7. [`rate`]: a service that crosses its threshold more or less often than budgeted moves it, slowly.
//!
//! The choices behind it are in [`recipe`].
//!
//! Guarantees: a score depends on nothing after its step; the same steps give the same bits; input
//! values, however odd, give no panic and no infinity. A model made for another step or other features
//! is refused, naming both values.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod basis;
pub mod calibration;
pub mod detector;
pub mod encoding;
pub mod error;
pub mod expected;
pub mod forecast;
pub mod metadata;
pub mod rate;
pub mod recipe;
pub mod relation;
pub mod runtime;
pub mod score;
pub mod season;
pub mod snapshot;
pub mod stats;
pub mod table;
pub mod tail;
pub mod window;

pub use basis::Basis;
pub use detector::{Detector, FeatureScore, Realised, ServiceScore};
pub use error::{ModelError, ScoreError};
pub use recipe::Recipe;
