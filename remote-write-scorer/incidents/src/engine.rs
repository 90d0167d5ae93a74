//! The state of one scope, and its tick.

use quoll_blast_radius::ENGINE_VERSION;
use quoll_detect::ServiceScore;
use quoll_features::ClosedStep;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, IncidentsConfig};
use crate::diagnosis::Diagnosis;

/// Everything known about one scope's topology and incidents.
#[derive(Debug, Clone)]
pub struct Incidents {
    config: IncidentsConfig,
    step_ms: i64,
}

/// The state of an [`Incidents`], to be stored and restored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    step_ms: i64,
}

/// Why a snapshot was refused; the state is then what it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by an incompatible version.
    #[error("snapshot version {version}, this is version {expected}")]
    Version {
        /// Version of the snapshot.
        version: u32,
        /// Version of this code.
        expected: u32,
    },
    /// Written with another step.
    #[error("snapshot of a step of {step_ms} ms, running with {expected} ms")]
    Step {
        /// Step of the snapshot.
        step_ms: i64,
        /// Step of this state.
        expected: i64,
    },
}

const SNAPSHOT_VERSION: u32 = 1;

impl Incidents {
    /// An empty state; `step_ms` is the length of a step in milliseconds.
    ///
    /// # Errors
    /// A setting out of its range, or a step that is not positive.
    pub fn new(config: IncidentsConfig, step_ms: i64) -> Result<Self, ConfigError> {
        config.check()?;
        if step_ms <= 0 {
            return Err(ConfigError { setting: "step_ms", value: step_ms as f64, must: "above 0" });
        }
        Ok(Self { config, step_ms })
    }

    /// Takes in one closed step and the scores of its services. `now_ms` is the wall clock (in a replay,
    /// the step's own end): a step older than the backlog limit opens no incident.
    pub fn tick(&mut self, step: &ClosedStep, _scores: &[ServiceScore], _now_ms: i64) -> Diagnosis {
        Diagnosis {
            end_ms: step.end_ms,
            engine_version: ENGINE_VERSION,
            config_hash: String::new(),
            leak: 0.01 * self.config.fault_rate_per_service_per_day,
            services: Vec::new(),
            edges: Vec::new(),
            incidents: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// The state, to be stored.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { version: SNAPSHOT_VERSION, step_ms: self.step_ms }
    }

    /// Replaces the state by a stored one.
    ///
    /// # Errors
    /// A snapshot of another version or step; the state is then unchanged.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<(), RestoreError> {
        if snapshot.version != SNAPSHOT_VERSION {
            return Err(RestoreError::Version { version: snapshot.version, expected: SNAPSHOT_VERSION });
        }
        if snapshot.step_ms != self.step_ms {
            return Err(RestoreError::Step { step_ms: snapshot.step_ms, expected: self.step_ms });
        }
        Ok(())
    }
}
