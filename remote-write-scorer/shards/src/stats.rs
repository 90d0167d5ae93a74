//! What the root counts of its leaves.

use std::sync::Arc;

/// One leaf, as of now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeafStatus {
    /// Name.
    pub name: Arc<str>,
    /// Whether the last step had its report.
    pub reporting: bool,
    /// End of the newest step it reported, in milliseconds since the epoch.
    pub newest_ms: Option<i64>,
    /// Services that it reported last.
    pub services: u64,
    /// Steps that closed without it.
    pub missed_steps: u64,
    /// Reports that came after their step was closed.
    pub late_steps: u64,
    /// Reports that did not come whole.
    pub lost_steps: u64,
}

impl LeafStatus {
    /// What was counted, without what is so now.
    #[must_use]
    pub fn counts(&self) -> Self {
        Self { reporting: false, newest_ms: None, services: 0, ..self.clone() }
    }

    /// Of the same leaf, in another scope too.
    pub fn add(&mut self, other: &Self) {
        // A leaf need not have series of every scope.
        self.reporting |= other.reporting;
        self.newest_ms = self.newest_ms.max(other.newest_ms);
        self.services += other.services;
        self.missed_steps += other.missed_steps;
        self.late_steps += other.late_steps;
        self.lost_steps += other.lost_steps;
    }
}

/// What is wrong with reports as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AssemblyStats {
    /// Series refused: of a leaf that is not one of this root's, or of another step.
    pub refused_series: u64,
    /// Services and edges that two leaves reported in one step; the first of the two counts.
    pub conflicts: u64,
}

impl AssemblyStats {
    /// Those of another scope too.
    pub fn add(&mut self, other: Self) {
        self.refused_series += other.refused_series;
        self.conflicts += other.conflicts;
    }
}
