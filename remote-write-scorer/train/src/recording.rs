//! A recording, through the same receiver and windows as live samples.
//!
//! The recorded form is the scorer's own inbound log (`quoll_ingest::log` documents it): every selected sample
//! in the order of its arrival, with the points at which live steps were closed. So a replay closes the very
//! same steps, and a detector makes the very same scores of them, to the bit. The log is read and left as it
//! is; one that a scorer is writing is read up to its last whole record.
//!
//! A scorer keeps 30 minutes of it by default; `ingest.log.retention_ms` and `ingest.log.max_bytes` make it a
//! recording of days.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quoll_features::{ClosedStep, FeatureSet};
use quoll_identity::Scope;
use quoll_ingest::{IngestConfig, Receiver};

use crate::prometheus::History;

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] quoll_ingest::log::LogError),
    /// Nothing in it closed a step.
    #[error("{} holds no step of the wanted scope; other scopes in it: {found}", path.display())]
    Nothing {
        /// Where.
        path: PathBuf,
        /// What scopes there are.
        found: String,
    },
    /// It holds several scopes, which are never mixed.
    #[error("{} holds several scopes; choose one by --tenant and --partition: {found}", path.display())]
    SeveralScopes {
        /// Where.
        path: PathBuf,
        /// What scopes there are.
        found: String,
    },
}

/// Which scope to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Its tenant; any if `None`.
    pub tenant: Option<&'a str>,
    /// Partition labels it has.
    pub partition: &'a [(String, String)],
}

impl Wanted<'_> {
    fn takes(&self, scope: &Scope) -> bool {
        let has = |(name, value): &(String, String)| {
            scope.partition.iter().any(|(known, found)| **known == **name && **found == **value)
        };
        self.tenant.is_none_or(|tenant| *scope.tenant == *tenant) && self.partition.iter().all(has)
    }
}

fn told(scopes: &BTreeMap<Arc<Scope>, Vec<ClosedStep>>) -> String {
    let one = |scope: &Arc<Scope>| {
        let labels = scope.partition.iter().map(|(name, value)| format!("{name}={value}"));
        let all: Vec<String> = std::iter::once(format!("tenant={}", scope.tenant)).chain(labels).collect();
        format!("({})", all.join(", "))
    };
    if scopes.is_empty() { "none".to_owned() } else { scopes.keys().map(one).collect::<Vec<_>>().join(" ") }
}

/// Replays the recording in a directory.
///
/// # Errors
/// [`RecordingError`].
pub fn read(
    directory: &Path,
    set: &Arc<FeatureSet>,
    step_ms: i64,
    wanted: &Wanted<'_>,
) -> Result<History, RecordingError> {
    let mut scopes: BTreeMap<Arc<Scope>, Vec<ClosedStep>> = BTreeMap::new();
    let stats = Receiver::replay(IngestConfig::default(), Arc::clone(set), step_ms, directory, |closed| {
        let steps = scopes.entry(closed.scope).or_default();
        steps.push(closed.step);
    })?;
    let found = told(&scopes);
    scopes.retain(|scope, _| wanted.takes(scope));
    if scopes.len() > 1 {
        return Err(RecordingError::SeveralScopes { path: directory.to_owned(), found });
    }
    match scopes.pop_first() {
        Some((_, steps)) => {
            Ok(History { steps, series: stats.selected_series as usize, samples: stats.replayed_samples as usize })
        }
        None => Err(RecordingError::Nothing { path: directory.to_owned(), found }),
    }
}
