//! Settings of evidence and incidents; each has a default.

use serde::{Deserialize, Serialize};

/// Settings of [`crate::Incidents`]. Times are in seconds of event time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IncidentsConfig {
    /// How often a service fails by itself, per day.
    pub fault_rate_per_service_per_day: f64,
    /// How long a fault lasts on average, in seconds: sets the recovery probability per step.
    pub mean_fault_seconds: f64,
    /// Largest evidence for "anomalous" per service and tick, natural logarithm.
    pub evidence_cap: f64,
    /// Largest evidence for "normal" per service and tick, natural logarithm (a positive number).
    pub healthy_evidence: f64,
    /// Time over which the evidence of successive steps counts as one observation, in seconds: scores of
    /// neighbouring steps share most of their window and are not independent. At least one step.
    pub evidence_correlation_seconds: f64,
    /// A service counts as anomalous, and draws an incident around it, above this evidence.
    pub anomalous_above: f64,
    /// An incident opens when P(no fault) has been below this ...
    pub open_below: f64,
    /// ... for this many successive ticks.
    pub open_ticks: u32,
    /// It closes when P(no fault) has been above this ...
    pub close_above: f64,
    /// ... for this many successive ticks.
    pub close_ticks: u32,
    /// Edges without calls for this long are forgotten, in seconds.
    pub edge_lifetime_seconds: f64,
    /// Time constant of the smoothing of request rates on edges, in seconds; at least three steps.
    pub edge_smoothing_seconds: f64,
    /// No incident opens at a tick older than this, in seconds (backlog after an outage).
    pub max_backlog_seconds: f64,
}

impl Default for IncidentsConfig {
    fn default() -> Self {
        Self {
            fault_rate_per_service_per_day: 1.0 / 30.0,
            mean_fault_seconds: 1800.0,
            evidence_cap: 8.0,
            healthy_evidence: 3.0,
            evidence_correlation_seconds: 15.0,
            anomalous_above: 1.0,
            open_below: 0.5,
            open_ticks: 2,
            close_above: 0.9,
            close_ticks: 5,
            edge_lifetime_seconds: 300.0,
            edge_smoothing_seconds: 60.0,
            max_backlog_seconds: 300.0,
        }
    }
}

/// A setting out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{setting} is {value}, must be {must}")]
pub struct ConfigError {
    /// Which setting.
    pub setting: &'static str,
    /// Its value.
    pub value: f64,
    /// What it must be.
    pub must: &'static str,
}

impl IncidentsConfig {
    /// Checks every setting against its range.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive: &[(&'static str, f64)] = &[
            ("fault_rate_per_service_per_day", self.fault_rate_per_service_per_day),
            ("mean_fault_seconds", self.mean_fault_seconds),
            ("evidence_cap", self.evidence_cap),
            ("healthy_evidence", self.healthy_evidence),
            ("evidence_correlation_seconds", self.evidence_correlation_seconds),
            ("anomalous_above", self.anomalous_above),
            ("open_ticks", f64::from(self.open_ticks)),
            ("close_ticks", f64::from(self.close_ticks)),
            ("edge_lifetime_seconds", self.edge_lifetime_seconds),
            ("edge_smoothing_seconds", self.edge_smoothing_seconds),
            ("max_backlog_seconds", self.max_backlog_seconds),
        ];
        for &(setting, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ConfigError { setting, value, must: "above 0 and finite" });
            }
        }
        for (setting, value) in [("open_below", self.open_below), ("close_above", self.close_above)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(ConfigError { setting, value, must: "between 0 and 1, both excluded" });
            }
        }
        for (setting, value) in [("evidence_cap", self.evidence_cap), ("healthy_evidence", self.healthy_evidence)] {
            if value > 20.0 {
                return Err(ConfigError { setting, value, must: "at most 20" });
            }
        }
        if self.open_below >= self.close_above {
            let (setting, value) = ("open_below", self.open_below);
            return Err(ConfigError { setting, value, must: "below close_above, or incidents would flap" });
        }
        Ok(())
    }
}
