//! Exact elimination over the noisy-OR network.
//!
//! # Variables
//! Two per service: `A_i` (anomalous or not) and `O_i`, the OR over what may make it so: its own fault
//! or leak, and each callee's anomaly as far as the edge carries it. One factor per edge, over `O_i` and
//! one callee `A_j`, says with which probability this callee contributes; so a service with hundreds of
//! callees costs no more than hundreds of small factors, never a table over all of them (Zhang and Poole,
//! "Exploiting causal independence in Bayesian network inference", JAIR 5, 1996; Díez and Galán, 2003).
//!
//! # Arithmetic
//! A table over `O_i` is of one of two kinds. A **contribution** holds at `z` the weight of the partial OR
//! being `z`; two of them combine by `out[a | b] += x[a] y[b]`. The **reader**, there is exactly one per
//! service, holds at `z` the value if everything not yet combined ORs to `z`; it takes in a contribution
//! by `out[z] += x[a] y[a | z]`. Both add and multiply only, where the usual signed factorisation
//! subtracts nearly equal numbers. `A_i` and `O_i` are joined by the reader `[z = A_i]`.
//!
//! # Cycles
//! Nodes are the services, and those that [`crate::unrolled`] adds for the services on cycles.
//!
//! # Passes
//! [`Plan`] fixes the order (min-fill, ties by degree, then id) and every index once per graph. A run
//! goes through the operations forwards for the value and backwards for its derivative with respect to
//! every input, which is every marginal at once.

mod builder;
mod indices;
mod order;
mod plan;
mod state;

pub(crate) use plan::{Inputs, Outcome, Plan};
pub(crate) use state::State;
