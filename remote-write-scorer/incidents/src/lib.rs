//! Evidence, topology and incidents: which service, how sure, and who is next.
//!
//! [`Incidents`] holds the state of one scope; [`Incidents::tick`] takes in a closed step with its scores
//! and gives a [`Diagnosis`]. From measurement to diagnosis:
//! - `evidence`: one log likelihood ratio per service, from its score, its callers' errors, failed connects
//!   and latencies, and its presence;
//! - `topology`: who calls whom, and how strongly an anomaly travels;
//! - `component`: which services belong to one incident, and what that makes of exactness;
//! - `alias`, `resources`: links without calls, to what a name may stand for and to hosts;
//! - `filter`: from the posterior of one tick to the prior of the next;
//! - `track`: when an incident opens, closes, merges and splits;
//! - `learning`, `past`: what incidents and users teach;
//! - `account`: the incident in plain words.
//!
//! # Guarantees
//! - The written posterior of an incident is the engine's on the written priors, evidence, strengths and
//!   leak, bit for bit ([`IncidentDiagnosis`]).
//! - Event time only, no clock and no hash map: the same steps give the same diagnoses, also across
//!   [`Incidents::snapshot`] and [`Incidents::restore`].
//! - Any input gives a diagnosis: values that are not numbers are no evidence.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod account;
mod alias;
mod component;
mod config;
mod diagnosis;
mod engine;
mod evidence;
mod filter;
mod learning;
mod names;
mod observe;
mod past;
mod report;
mod resources;
mod scene;
mod shown;
mod snapshot;
mod stored;
mod telling;
mod topology;
mod track;

pub use account::{Account, Alternative, Cause, ChangeNote, Next, Sign, Similar};
pub use config::{ConfigError, IncidentsConfig};
pub use diagnosis::{
    BlastRadius, ClosedIncident, Diagnosis, EdgeDiagnosis, IncidentDiagnosis, IncidentId, ServiceDiagnosis,
};
pub use engine::Incidents;
pub use past::{Feedback, FeedbackError, PastIncident};
pub use resources::HOST_NAMESPACE;
pub use snapshot::{RestoreError, Snapshot};
