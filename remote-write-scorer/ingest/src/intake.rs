//! What the samples of one scope go into: windows over raw series, or, at a root, the reports of its leaves.

use std::sync::Arc;

use quoll_features::{ClosedStep, FeatureSet, Full, Limits, ScopeWindows, SeriesRef, StoredWindows, WindowStats};
use quoll_shards::wire::PREFIX;
use quoll_shards::{Assembled, Assembly, LeavesConfig, StoredAssembly, Told};
use serde::{Deserialize, Serialize};

/// What all scopes are made of.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) set: Arc<FeatureSet>,
    pub(crate) step_ms: i64,
    /// The leaves, at a root.
    pub(crate) leaves: Option<LeavesConfig>,
}

/// The state behind one scope's samples.
#[derive(Debug)]
pub(crate) enum Intake {
    Windows(Box<ScopeWindows>),
    Leaves(Box<Assembly>),
}

/// The same, as stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StoredIntake<'a> {
    Windows(Box<StoredWindows<'a>>),
    Leaves(StoredAssembly),
}

/// Why a stored state cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Windows of other features or another step.
    #[error(transparent)]
    Windows(#[from] quoll_features::RestoreError),
    /// Reports of another step.
    #[error(transparent)]
    Leaves(#[from] quoll_shards::RestoreError),
    /// Of a root, and this is none, or the other way round.
    #[error("it is of another role: a root holds reports of leaves, the others hold windows")]
    Role,
}

type Handles = Vec<(SeriesRef, SeriesRef)>;

impl Plan {
    /// Whether series of this name are wanted at all.
    pub(crate) fn selects(&self, metric: &str) -> bool {
        match &self.leaves {
            None => self.set.selects(metric),
            Some(_) => metric.starts_with(PREFIX),
        }
    }

    pub(crate) fn intake(&self, limits: Limits) -> Intake {
        let set = Arc::clone(&self.set);
        match &self.leaves {
            None => Intake::Windows(Box::new(ScopeWindows::with_limits(set, self.step_ms, limits))),
            Some(leaves) => Intake::Leaves(Box::new(Assembly::new(set, self.step_ms, leaves.clone(), limits))),
        }
    }

    pub(crate) fn restore<'a>(
        &self,
        stored: StoredIntake<'_>,
        limits: Limits,
        labels: impl FnMut(SeriesRef) -> Option<Vec<(&'a str, &'a str)>>,
    ) -> Result<(Intake, Handles), RestoreError> {
        let set = Arc::clone(&self.set);
        match (stored, &self.leaves) {
            (StoredIntake::Windows(stored), None) => {
                let (mut windows, handles) = ScopeWindows::restore(set, self.step_ms, *stored, labels)?;
                windows.set_limits(limits);
                Ok((Intake::Windows(Box::new(windows)), handles))
            }
            (StoredIntake::Leaves(stored), Some(leaves)) => {
                let (assembly, handles) = Assembly::restore(set, self.step_ms, leaves.clone(), limits, stored, labels)?;
                Ok((Intake::Leaves(Box::new(assembly)), handles))
            }
            _ => Err(RestoreError::Role),
        }
    }
}

/// Steps as they close, kept between calls for their memory.
#[derive(Debug, Default)]
pub(crate) struct Closing {
    steps: Vec<ClosedStep>,
    assembled: Vec<Assembled>,
}

impl Intake {
    pub(crate) fn try_bind(&mut self, labels: &[(&str, &str)]) -> Result<Option<SeriesRef>, Full> {
        match self {
            Self::Windows(windows) => windows.try_bind(labels),
            Self::Leaves(assembly) => assembly.bind(labels),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        match self {
            Self::Windows(windows) => windows.push(series, timestamp_ms, value),
            Self::Leaves(assembly) => assembly.push(series, timestamp_ms, value),
        }
    }

    /// Hands over the steps that closed since the last call.
    pub(crate) fn close(&mut self, closing: &mut Closing, mut take: impl FnMut(ClosedStep, Option<Told>)) {
        match self {
            Self::Windows(windows) => {
                windows.close(&mut closing.steps);
                closing.steps.drain(..).for_each(|step| take(step, None));
            }
            Self::Leaves(assembly) => {
                assembly.close(&mut closing.assembled);
                closing.assembled.drain(..).for_each(|Assembled { step, told }| take(step, Some(told)));
            }
        }
    }

    pub(crate) fn take_forgotten(&mut self, out: &mut Vec<SeriesRef>) {
        match self {
            Self::Windows(windows) => windows.take_forgotten(out),
            Self::Leaves(assembly) => assembly.take_forgotten(out),
        }
    }

    pub(crate) fn stats(&self) -> WindowStats {
        match self {
            Self::Windows(windows) => windows.stats(),
            Self::Leaves(assembly) => assembly.stats(),
        }
    }

    pub(crate) fn assembly(&self) -> Option<&Assembly> {
        match self {
            Self::Windows(_) => None,
            Self::Leaves(assembly) => Some(assembly),
        }
    }

    pub(crate) fn store(&self) -> StoredIntake<'_> {
        match self {
            Self::Windows(windows) => StoredIntake::Windows(Box::new(windows.store())),
            Self::Leaves(assembly) => StoredIntake::Leaves(assembly.store()),
        }
    }
}
