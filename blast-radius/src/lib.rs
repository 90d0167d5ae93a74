//! Bayesian network over a call graph: root-cause posteriors and blast radii.
//!
//! # The network
//! Service `i` has an intrinsic fault `F_i` and is anomalous or not, `A_i`. Its parents are the services
//! it calls, and a callee's anomaly reaches its caller with the edge's strength:
//!
//! ```text
//! P(A_i = 0 | F_i, A) = (1 - leak_i) (1 - F_i) Π over callees j (1 - strength_ij A_j)      (noisy-OR)
//! ```
//!
//! Evidence enters as one likelihood ratio per service.
//!
//! A call that would close a cycle ([`CallGraph`]) reaches its caller from the step before, for one turn round the
//! cycle, in every answer of this crate; the documentation of `unrolled.rs` has the definition.
//!
//! A resource is a node like any other: a host is a callee of everything that runs on it, with the strength
//! with which its fault shows there. Its fault then reaches all of them and their callers, and services of
//! one host that fail together point at the host, whether or not it has evidence of its own.
//!
//! # Guarantees
//! - **Exact, or an error**: a function that cannot be exact within its limits returns
//!   [`InferenceError::TooWide`]; an approximation has a type of its own. [`single_fault`] tries in this order:
//!   the whole graph; each fault on its ancestors ([`restricted_single_fault`]: exact without leaks, else with
//!   a bound on what they add); a graph with weak edges left out ([`ApproximateSingleFaultPosterior`], no bound).
//!   [`reach`] tries the whole graph; the root's ancestors ([`RestrictedReach`], with a bound); and gives an upper
//!   bound of each hit where these are too wide still ([`Reach::AtMost`]).
//! - **Bounded**: tables over 20 variables at most and 2^22 multiplications a pass, at most about 350 MiB beside
//!   the graph. Past that, [`InferenceError::TooWide`] says what it took.
//! - **Bit-equal everywhere**: no I/O, no clock, no hash map; every sum has a fixed order; the only
//!   transcendental functions are those of the pinned `libm`. Native code and WASM give the same bits.
//! - **No panic on any input**: whatever is out of range is a typed error carrying the value.
//! - **No cancellation**: the elimination only adds and multiplies non-negative numbers of unlimited
//!   exponent, so small posteriors are as accurate, relatively, as large ones.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

extern crate alloc;

mod ancestors;
mod blast;
pub mod dynamics;
mod elimination;
mod error;
mod graph;
mod inference;
mod network;
mod restricted;
mod single_fault;
mod unrolled;
mod what_if;
mod wide;

pub use blast::{Reach, RestrictedReach, blast_radius, blast_radius_bound, reach};
pub use error::{GraphError, InferenceError};
pub use graph::{CallEdge, CallGraph};
pub use inference::Inference;
pub use network::{Network, Posterior};
pub use restricted::{RestrictedSingleFaultPosterior, restricted_single_fault};
pub use single_fault::{
    ApproximateSingleFaultPosterior, SingleFault, SingleFaultPosterior, single_fault, single_fault_posterior,
};
pub use what_if::{WhatIf, WhatIfError, Work};

/// Version of the engine's arithmetic: two engines of equal version give bit-equal results.
///
/// Changes whenever any result may change in any bit, independently of the crate's version.
pub const ENGINE_VERSION: &str = "3";
