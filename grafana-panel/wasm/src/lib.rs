//! Blast-radius panel.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]
pub mod colour; pub mod samples; pub mod model; pub mod layout; pub mod inference; pub mod camera; pub mod stage;
