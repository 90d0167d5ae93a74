//! From raw series to one vector of features per service and step.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod spec;
mod step;

use std::sync::Arc;

pub use spec::{Direction, FeatureSpec, Role, SeenBy};
pub use step::{ClosedStep, EdgeStep, Presence, ServiceStep};

/// Why a feature set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// There is no preset of that name.
    #[error("no preset `{name}`; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

/// An ordered set of features and the rules that compute them.
#[derive(Debug, Clone)]
pub struct FeatureSet {
    /// The features in the order of every value vector.
    pub features: Vec<FeatureSpec>,
}

impl FeatureSet {
    /// A preset that ships with Quoll.
    ///
    /// # Errors
    /// [`PresetError::Unknown`] for a name that no preset has.
    pub fn preset(name: &str) -> Result<Self, PresetError> {
        if name != "quoll" {
            return Err(PresetError::Unknown { name: name.to_owned(), known: "quoll".to_owned() });
        }
        Ok(Self { features: Vec::new() })
    }

    /// Features and rules of a user's own YAML.
    ///
    /// # Errors
    /// Every way in which the text is not a usable set.
    pub fn from_yaml(yaml: &str) -> Result<Self, PresetError> {
        let _ = yaml;
        Ok(Self { features: Vec::new() })
    }

    /// Stable hex digest over all features and rules; equal sets have equal digests on every machine.
    #[must_use]
    pub fn hash(&self) -> String {
        String::new()
    }
}

/// A series bound by [`ScopeWindows::bind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// All series state of one scope.
#[derive(Debug)]
pub struct ScopeWindows {
    set: Arc<FeatureSet>,
    step_ms: i64,
}

impl ScopeWindows {
    /// Empty windows that close steps of `step_ms` milliseconds.
    #[must_use]
    pub fn new(set: Arc<FeatureSet>, step_ms: i64) -> Self {
        Self { set, step_ms }
    }

    /// The handle of the series with these labels (sorted by name, `__name__` included); `None` where no
    /// rule selects it. Labels that were bound before give the same handle.
    pub fn bind(&mut self, labels: &[(&str, &str)]) -> Option<SeriesRef> {
        let _ = (labels, &self.set, self.step_ms);
        None
    }

    /// Takes one sample. O(1), no allocation.
    pub fn push(&mut self, series: SeriesRef, timestamp_ms: i64, value: f64) {
        let _ = (series, timestamp_ms, value);
    }

    /// Closes, in order, every step that is complete in event time.
    pub fn close(&mut self, out: &mut Vec<ClosedStep>) {
        let _ = out;
    }
}
