//! The state between two runs: stored as a whole, restored exactly.

use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::alias::quiet::{Pair, Stream};
use crate::engine::{Incidents, ServiceState};
use crate::learning::Learned;
use crate::past::Past;
use crate::stored::service;
use crate::topology::{StoredEdge, Topology};
use crate::track::Track;

const SNAPSHOT_VERSION: u32 = 4;

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
    watched: Vec<Pair>,
    past: Past,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct StoredState {
    #[serde(with = "service")]
    service: Service,
    in_incident: bool,
    state: ServiceState,
    #[serde(default, skip_serializing_if = "is_new")]
    stream: Stream,
}

fn is_new(stream: &Stream) -> bool {
    *stream == Stream::default()
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
        let present =
            (self.topology.names.iter().zip(&self.services).enumerate()).filter_map(|(number, (name, state))| {
                Some(StoredState {
                    service: name.clone(),
                    in_incident: self.in_incident[number],
                    state: state.clone()?,
                    stream: self.streams[number].clone(),
                })
            });
        let absent = self.absent.iter().map(|(name, state)| StoredState {
            service: name.clone(),
            in_incident: false,
            state: state.clone(),
            stream: Stream::default(),
        });
        let mut services: Vec<StoredState> = present.chain(absent).collect();
        services.sort_by(|a, b| a.service.cmp(&b.service));
        Snapshot {
            version: SNAPSHOT_VERSION,
            step_ms: self.step_ms,
            ticks: self.ticks,
            last_end_ms: self.last_end_ms,
            edges: self.topology.store(),
            services,
            tracks: self.tracks.clone(),
            learned: self.learned.clone(),
            aliases: self.aliases.iter().cloned().collect(),
            watched: self.watched.clone(),
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
        self.watched = snapshot.watched;
        self.past = snapshot.past;
        // All are in the topology at first; the next tick finds out who is not.
        self.topology.number(snapshot.services.iter().map(|stored| &stored.service));
        let n = self.topology.names.len();
        (self.services, self.in_incident, self.streams) = (vec![None; n], vec![false; n], vec![Stream::default(); n]);
        self.absent = Vec::new();
        for stored in snapshot.services {
            if let Ok(number) = self.topology.names.binary_search(&stored.service) {
                self.services[number] = Some(stored.state);
                self.in_incident[number] = stored.in_incident;
                self.streams[number] = stored.stream;
            }
        }
        Ok(())
    }
}
