//! Evidence, topology and incidents: which service, how sure, and who is next.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod component;
mod config;
mod diagnosis;
mod engine;
mod evidence;
mod explain;
mod filter;
mod scene;
mod stored;
mod topology;
mod track;

pub use config::{ConfigError, IncidentsConfig};
pub use diagnosis::{
    BlastRadius, ClosedIncident, Diagnosis, EdgeDiagnosis, IncidentDiagnosis, IncidentId, ServiceDiagnosis,
};
pub use engine::{Incidents, RestoreError, Snapshot};
