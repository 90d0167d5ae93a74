//! From raw series to one vector of features per service and step.
//!
//! - [`FeatureSet`]: which features there are and how they are computed, from YAML (a preset or a
//!   user's own).
//! - [`ScopeWindows`]: the state of all series of one scope; takes samples one by one in O(1) and gives
//!   [`ClosedStep`]s.
//!
//! Guarantees: event time only, so that the same sequence of samples gives the same steps to the bit,
//! live or replayed and however it is cut into requests; no sample is taken arbitrarily out of several
//! (all pods, callers, ports and status classes of a service are summed); an edge is told by one of its
//! ends, never by the sum of both; what is missing is NaN, never zero.
//!
//! Failure behaviour: no input makes it panic or grow without bound; what cannot be used is dropped and
//! counted in [`WindowStats`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod addresses;
mod changes;
mod close;
mod compile;
mod elect;
mod error;
mod label_hash;
mod membership;
mod names;
mod pending;
mod presence;
mod preset;
mod registry;
mod rules;
mod sequence;
mod series;
mod snapshot;
mod spec;
mod stats;
mod step;
mod text;
mod votes;
mod windows;

pub use error::PresetError;
pub use label_hash::LabelHasher;
pub use preset::{FeatureSet, is_own_output};
pub use sequence::Sequence;
pub use snapshot::{RestoreError, StoredWindows};
pub use spec::{Direction, FeatureSpec, Role, SeenBy};
pub use stats::WindowStats;
pub use step::{Change, ChangeKind, ClosedStep, EdgeStep, Presence, ServiceStep};
pub use windows::{Full, Limits, ScopeWindows, SeriesRef};
