//! What a restart goes on from: per scope, the last tick that was written back and the incidents.
//!
//! One JSON file, replaced as a whole (written beside, then renamed), after each tick's results are in the
//! outbound queue. A process that ends between the two writes that tick again, byte for byte.

use std::io::Write;
use std::path::{Path, PathBuf};

use quoll_api::view::{ClosedIncidentView, ScopeKey};
use quoll_incidents::Snapshot;
use serde::{Deserialize, Serialize};

/// State of one scope.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScopeState {
    /// Value of `X-Scope-OrgID`.
    pub tenant: String,
    /// Partition labels.
    pub partition: Vec<(String, String)>,
    /// End of the last step that was handled, in milliseconds since the epoch.
    pub last_end_ms: i64,
    /// Timestamp of the last results.
    pub last_written_ms: i64,
    /// Incidents and topology.
    pub incidents: Snapshot,
    /// Incidents that closed lately, newest first.
    #[serde(default)]
    pub closed: Vec<ClosedIncidentView>,
}

impl ScopeState {
    /// Which scope.
    pub fn key(&self) -> ScopeKey {
        ScopeKey { tenant: self.tenant.clone(), partition: self.partition.iter().cloned().collect() }
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.json")
}

/// Reads the state. A missing file is an empty state; a damaged one is reported, set aside and taken as empty, as
/// the log can be replayed without it.
pub fn load(data_dir: &Path) -> Vec<ScopeState> {
    let path = path(data_dir);
    let Ok(text) = std::fs::read(&path) else { return Vec::new() };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "the stored state cannot be read; starting without");
        let _ = std::fs::rename(&path, path.with_extension("damaged"));
        Vec::new()
    })
}

/// Replaces the state.
///
/// # Errors
/// Where it cannot be written; the one before then stays.
pub fn save(data_dir: &Path, states: &[ScopeState]) -> std::io::Result<()> {
    let path = path(data_dir);
    let beside = path.with_extension("new");
    let text = serde_json::to_vec(states)?;
    std::fs::File::create(&beside)?.write_all(&text)?;
    std::fs::rename(&beside, &path)
}

#[cfg(test)]
mod tests {
    use quoll_incidents::{Incidents, IncidentsConfig};

    use super::*;

    #[test]
    fn what_is_stored_is_read_back_and_a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        assert!(load(directory.path()).is_empty());
        let stored = ScopeState {
            tenant: "t".into(),
            partition: vec![("cluster".into(), "eu".into())],
            last_end_ms: 5,
            last_written_ms: 4,
            incidents: Incidents::new(IncidentsConfig::default(), 1000).unwrap().snapshot(),
            closed: Vec::new(),
        };
        save(directory.path(), std::slice::from_ref(&stored)).unwrap();
        let read = load(directory.path());
        assert_eq!((read[0].key(), read[0].last_end_ms, read[0].last_written_ms), (stored.key(), 5, 4));
        assert_eq!(read[0].incidents, stored.incidents);

        std::fs::write(path(directory.path()), "[{").unwrap();
        assert!(load(directory.path()).is_empty());
        assert!(directory.path().join("state.damaged").is_file());
        save(directory.path(), &[stored]).unwrap();
        assert_eq!(load(directory.path()).len(), 1);
    }
}
