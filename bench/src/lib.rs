//! Benchmarks with their peers, side by side.
//!
//! Each bench is a binary (`cargo xtask bench NAME`). It shows progress, prints a readable table and ends
//! with one line of JSON; see [`Report`]. Benches run the live code paths: only readers of data differ.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod allocation;
pub mod graphs;
pub mod process;
mod report;
pub mod tcp_load;
pub mod wasm;

pub use report::Report;
