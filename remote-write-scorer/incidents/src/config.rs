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
    /// How many steps of evidence count together. The evidence of earlier steps fades with the factor
    /// `1 - 1 / evidence_memory_steps` per step, because the scores of neighbouring steps share most of their
    /// window: a score that stays where it is must not become certainty. At least 1.
    pub evidence_memory_steps: f64,
    /// A service counts as anomalous, and draws an incident around it, above this evidence.
    pub anomalous_above: f64,
    /// An incident opens when P(no fault) has been below this ...
    pub open_below: f64,
    /// ... for this many successive ticks with the same likeliest cause, the evidence of each of them speaking
    /// for a fault.
    pub open_ticks: u32,
    /// It closes when P(no fault) has been above this ...
    pub close_above: f64,
    /// ... for this many successive ticks.
    pub close_ticks: u32,
    /// Edges without calls for this long are forgotten, in seconds.
    pub edge_lifetime_seconds: f64,
    /// Time constant of the smoothing of request rates on edges, in seconds; at least three steps.
    pub edge_smoothing_seconds: f64,
    /// After this many successive ticks in which an anomaly cannot come from the likeliest cause, it is a
    /// second incident.
    pub split_ticks: u32,
    /// Whether a latency must also be above what it was just before to speak against a service.
    pub just_before: bool,
    /// Probability, to start with, that a suspect that only its callers know is another name of a suspect with
    /// the same caller; 0 looks for no aliases.
    pub alias_strength: f64,
    /// Probability, to start with, that a service suffers when its host is at fault.
    pub resource_strength: f64,
    /// By how much a change (a new image, a restart) makes a fault of that service likelier at first ...
    pub change_factor: f64,
    /// ... and for how long, in seconds, fading.
    pub change_seconds: f64,
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
            evidence_memory_steps: 4.0,
            anomalous_above: 1.0,
            open_below: 0.5,
            open_ticks: 3,
            close_above: 0.9,
            close_ticks: 5,
            edge_lifetime_seconds: 300.0,
            edge_smoothing_seconds: 60.0,
            split_ticks: 6,
            just_before: true,
            alias_strength: 0.25,
            resource_strength: 0.8,
            change_factor: 20.0,
            change_seconds: 1800.0,
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
            ("anomalous_above", self.anomalous_above),
            ("open_ticks", f64::from(self.open_ticks)),
            ("close_ticks", f64::from(self.close_ticks)),
            ("split_ticks", f64::from(self.split_ticks)),
            ("edge_lifetime_seconds", self.edge_lifetime_seconds),
            ("edge_smoothing_seconds", self.edge_smoothing_seconds),
            ("max_backlog_seconds", self.max_backlog_seconds),
            ("change_seconds", self.change_seconds),
        ];
        for &(setting, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ConfigError { setting, value, must: "above 0 and finite" });
            }
        }
        if !(self.evidence_memory_steps >= 1.0 && self.evidence_memory_steps.is_finite()) {
            let (setting, value) = ("evidence_memory_steps", self.evidence_memory_steps);
            return Err(ConfigError { setting, value, must: "at least 1 and finite" });
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
        for (setting, value) in [("alias_strength", self.alias_strength), ("resource_strength", self.resource_strength)]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(ConfigError { setting, value, must: "from 0 to 1" });
            }
        }
        if !(1.0..=1000.0).contains(&self.change_factor) {
            let (setting, value) = ("change_factor", self.change_factor);
            return Err(ConfigError { setting, value, must: "from 1 to 1000" });
        }
        if self.open_below >= self.close_above {
            let (setting, value) = ("open_below", self.open_below);
            return Err(ConfigError { setting, value, must: "below close_above, or incidents would flap" });
        }
        Ok(())
    }
}
