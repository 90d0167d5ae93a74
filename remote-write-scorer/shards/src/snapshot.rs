//! An assembly between two runs: stored as a whole, restored exactly.
//!
//! Handles are given anew, as those of windows are: series are bound again by their labels, which the caller
//! keeps. Steps that are closed and not taken yet are not stored: take them first.

use std::sync::Arc;

use quoll_features::{FeatureSet, Limits, SeriesRef};
use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::assembly::Assembly;
use crate::config::LeavesConfig;
use crate::part::Reporter;

/// Why a stored assembly cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It is of another step.
    #[error("stored reports are of a step of {found} ms, this is {wanted} ms")]
    Step {
        /// Stored step.
        found: i64,
        /// Step in use.
        wanted: i64,
    },
}

/// One scope's reports, as stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredAssembly {
    step_ms: i64,
    closed_ms: i64,
    clock_ms: i64,
    /// Handle and time of the newest sample.
    series: Vec<(u32, i64)>,
    leaves: Vec<StoredLeaf>,
    reporters: Vec<(Arc<str>, Reporter)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredLeaf {
    name: Arc<str>,
    expected: bool,
    newest_ms: Option<i64>,
    told_ms: Option<i64>,
    services: Vec<Service>,
    reporting: bool,
    counts: [u64; 3],
}

impl Assembly {
    /// The state as it is, to be stored.
    #[must_use]
    pub fn store(&self) -> StoredAssembly {
        let names = self.config.names();
        let bound = (0..).zip(&self.slots).zip(&self.newest_ms);
        StoredAssembly {
            step_ms: self.step_ms,
            closed_ms: self.closed_ms,
            clock_ms: self.clock_ms,
            series: bound
                .filter(|((_, slot), _)| slot.is_some())
                .map(|((handle, _), &newest)| (handle, newest))
                .collect(),
            leaves: (names.iter().zip(&self.leaves))
                .map(|(name, leaf)| StoredLeaf {
                    name: Arc::clone(name),
                    expected: leaf.expected,
                    newest_ms: leaf.newest_ms,
                    told_ms: leaf.told_ms,
                    services: leaf.services.iter().map(|service| Service::clone(service)).collect(),
                    reporting: leaf.reporting,
                    counts: [leaf.missed, leaf.late, leaf.lost],
                })
                .collect(),
            reporters: (self.reporters.iter())
                .map(|reporter| (Arc::clone(&names[reporter.leaf]), reporter.clone()))
                .collect(),
        }
    }

    /// An assembly that goes on from a stored one. `labels` gives the labels of a stored handle, as they were
    /// bound. Returns the new handle of each stored one too. Leaves that are no longer listed are left out.
    ///
    /// # Errors
    /// Each case of [`RestoreError`].
    pub fn restore<'a>(
        set: Arc<FeatureSet>,
        step_ms: i64,
        config: LeavesConfig,
        limits: Limits,
        stored: StoredAssembly,
        mut labels: impl FnMut(SeriesRef) -> Option<Vec<(&'a str, &'a str)>>,
    ) -> Result<(Self, Vec<(SeriesRef, SeriesRef)>), RestoreError> {
        if stored.step_ms != step_ms {
            return Err(RestoreError::Step { found: stored.step_ms, wanted: step_ms });
        }
        let mut assembly = Self::new(set, step_ms, config, limits);
        (assembly.closed_ms, assembly.clock_ms) = (stored.closed_ms, stored.clock_ms);
        let mut handles = Vec::with_capacity(stored.series.len());
        for (handle, newest_ms) in stored.series {
            let Some(bound) = labels(SeriesRef(handle)).and_then(|labels| assembly.bind(&labels).ok()?) else {
                continue;
            };
            assembly.newest_ms[bound.0 as usize] = newest_ms;
            handles.push((SeriesRef(handle), bound));
        }
        handles.sort_unstable();
        let anew = |old: u32| {
            let at = handles.binary_search_by_key(&old, |(old, _)| old.0).ok()?;
            handles.get(at).map(|(_, new)| new.0)
        };
        for kept in stored.leaves {
            let Some(index) = assembly.config.names().iter().position(|name| *name == kept.name) else { continue };
            let leaf = &mut assembly.leaves[index];
            (leaf.expected, leaf.newest_ms, leaf.told_ms) = (kept.expected, kept.newest_ms, kept.told_ms);
            leaf.services = kept.services.into_iter().map(Arc::new).collect();
            leaf.reporting = kept.reporting;
            [leaf.missed, leaf.late, leaf.lost] = kept.counts;
        }
        for (name, mut reporter) in stored.reporters {
            let Some(leaf) = assembly.config.names().iter().position(|known| *known == name) else { continue };
            for part in reporter.open.values_mut().chain(reporter.whole.values_mut()) {
                part.samples = part.samples.iter().filter_map(|&(old, value)| Some((anew(old)?, value))).collect();
            }
            reporter.leaf = leaf;
            let known =
                assembly.reporters.iter_mut().find(|known| known.leaf == leaf && known.process == reporter.process);
            match known {
                Some(known) => (known.open, known.whole) = (reporter.open, reporter.whole),
                None => assembly.reporters.push(reporter),
            }
        }
        Ok((assembly, handles))
    }
}
