//! The state between two runs: stored as a whole, restored exactly.

use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::engine::{Incidents, ServiceState};
use crate::learning::Learned;
use crate::past::Past;
use crate::stored::service;
use crate::topology::{StoredEdge, Topology};
use crate::track::Track;

const SNAPSHOT_VERSION: u32 = 3;

/// The state of an [`Incidents`], to be stored and restored; restoring is exact to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    step_ms: i64,
    ticks: u64,
    last_end_ms: i64,
    edges: Vec<StoredEdge>,
    services: Vec<StoredState>,
    tracks: Vec<Track>,
    learned: Learned,
    aliases: Vec<Edge>,
    past: Past,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredState {
    #[serde(with = "service")]
    service: Service,
    in_incident: bool,
    state: ServiceState,
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

impl Incidents {
    /// The state, to be stored.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: SNAPSHOT_VERSION,
            step_ms: self.step_ms,
            ticks: self.ticks,
            last_end_ms: self.last_end_ms,
            edges: self.topology.store(),
            services: (self.services.iter())
                .map(|(service, state)| StoredState {
                    service: service.clone(),
                    in_incident: self.in_incident.contains(service),
                    state: state.clone(),
                })
                .collect(),
            tracks: self.tracks.clone(),
            learned: self.learned.clone(),
            aliases: self.aliases.iter().cloned().collect(),
            past: self.past.clone(),
        }
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
        self.ticks = snapshot.ticks;
        self.last_end_ms = snapshot.last_end_ms;
        self.topology = Topology::restore(snapshot.edges);
        self.tracks = snapshot.tracks;
        self.learned = snapshot.learned;
        self.aliases = snapshot.aliases.into_iter().collect();
        self.past = snapshot.past;
        self.in_incident = snapshot.services.iter().filter(|s| s.in_incident).map(|s| s.service.clone()).collect();
        self.services = snapshot.services.into_iter().map(|s| (s.service, s.state)).collect();
        Ok(())
    }
}
