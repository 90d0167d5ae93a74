//! One scope's state behind the windows, and how it is stored and resumed.

use std::sync::Arc;

use quoll_detect::Detector;
use quoll_identity::Scope;
use quoll_incidents::Incidents;

use crate::history::History;
use crate::incident_log::IncidentLog;
use crate::outputs::{Outputs, Share};
use crate::snapshot::{EngineScope, Inference, StoredScope};

/// See the module.
pub(super) struct ScopeEngine {
    pub(super) scope: Arc<Scope>,
    pub(super) detector: Option<Detector>,
    pub(super) incidents: Incidents,
    pub(super) outputs: Outputs,
    pub(super) history: History,
    pub(super) log: IncidentLog,
    pub(super) services: u64,
    pub(super) last_end_ms: i64,
    pub(super) last_written_ms: i64,
}

impl ScopeEngine {
    pub(super) fn store(&self) -> EngineScope<'_> {
        let inference = Inference { incidents: self.incidents.snapshot(), log: self.log.clone() };
        EngineScope {
            scope: &self.scope,
            last_end_ms: self.last_end_ms,
            last_written_ms: self.last_written_ms,
            inference: serde_json::to_string(&inference).unwrap_or_default(),
            alive: self.outputs.alive(),
            detector: self.detector.as_ref().map(Detector::state),
            history: &self.history,
        }
    }

    pub(super) fn resume(&mut self, stored: StoredScope, detector: Option<&mut Detector>, share: Share) {
        (self.last_end_ms, self.last_written_ms) = (stored.last_end_ms, stored.last_written_ms);
        self.outputs = Outputs::resume(stored.alive, share);
        self.history = stored.history;
        let inference = serde_json::from_str::<Inference>(&stored.inference).map_err(|error| error.to_string());
        let resumed = inference.and_then(|inference| {
            self.log = inference.log;
            self.incidents.restore(inference.incidents).map_err(|error| error.to_string())
        });
        if let Err(reason) = resumed {
            tracing::warn!(reason, "stored incidents are not used");
        }
        let Some(detector) = detector else { return };
        if stored.detector.is_some_and(|stored| detector.resume(stored)) {
            return;
        }
        // Another model: it sees the last steps anew.
        self.history.show(detector);
    }
}
