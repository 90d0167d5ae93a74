//! Evidence, topology and incidents: which service, how sure, and who is next.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod config;
mod diagnosis;
mod engine;

pub use config::{ConfigError, IncidentsConfig};
pub use diagnosis::{
    BlastRadius, ClosedIncident, Diagnosis, EdgeDiagnosis, IncidentDiagnosis, IncidentId, ServiceDiagnosis,
};
pub use engine::{Incidents, RestoreError, Snapshot};
