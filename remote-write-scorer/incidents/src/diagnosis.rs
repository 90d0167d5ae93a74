//! What a tick says: everything that is written back, shown and explained.

use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::account::Account;

/// Identifier of an incident: `<seconds of the first tick>-<hash of the first root>`, stable for its life.
pub type IncidentId = String;

/// The diagnosis of one scope at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// Event time of the tick: the end of the closed step, in milliseconds since the epoch.
    pub end_ms: i64,
    /// [`quoll_blast_radius::ENGINE_VERSION`].
    pub engine_version: &'static str,
    /// Stable hex of the configuration.
    pub config_hash: String,
    /// Leak of every service at this tick.
    pub leak: f64,
    /// Every known service, sorted.
    pub services: Vec<ServiceDiagnosis>,
    /// Every known edge, sorted.
    pub edges: Vec<EdgeDiagnosis>,
    /// Other names of services, each with the service it is a name of; by name.
    pub aliases: Vec<(Service, Service)>,
    /// Open incidents, by opening time, then id.
    pub incidents: Vec<IncidentDiagnosis>,
    /// Incidents that ended at this tick.
    pub closed: Vec<ClosedIncident>,
}

/// One service at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceDiagnosis {
    /// Which service.
    pub service: Service,
    /// Evidence of this tick, natural logarithm, within plus or minus the cap; 0 where there is none.
    pub log_likelihood_ratio: f64,
    /// Within an incident the predictive prior of "the fault is here"; outside the hazard of one step.
    pub fault_prior: f64,
    /// The open incident whose component this service belongs to.
    pub incident: Option<IncidentId>,
    /// Posterior of "the fault is here", within an incident.
    pub root_cause_probability: Option<f64>,
    /// Log odds of a fault here against no fault, within whatever part of the graph is watched, incident or not.
    /// `None` where nothing is suspected.
    pub suspicion: Option<f64>,
    /// Posterior probability of being anomalous, within an incident; outside, from own evidence alone.
    pub anomaly_probability: f64,
}

/// One edge at one tick.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeDiagnosis {
    /// From whom to whom.
    pub edge: Edge,
    /// Probability that the client is anomalous because the server is.
    pub strength: f64,
    /// Requests per second at this tick (0 where the edge was silent).
    pub requests_per_second: f64,
    /// Share of attempts that failed at this tick: error answers and failed connects.
    pub error_ratio: f64,
}

/// One open incident.
///
/// With the services of the tick whose `incident` is this one, in order, their `fault_prior` and
/// `log_likelihood_ratio`, the edges between them, the tick's `leak` and this `no_fault_prior`,
/// [`quoll_blast_radius::single_fault`] gives `no_fault_probability` and the services'
/// `root_cause_probability`, bit for bit.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentDiagnosis {
    /// Which incident.
    pub id: IncidentId,
    /// Event time of the tick at which it opened.
    pub opened_ms: i64,
    /// Predictive prior of "no fault", before this tick's evidence.
    pub no_fault_prior: f64,
    /// Posterior of "no fault".
    pub no_fault_probability: f64,
    /// Whether the posterior is exact; false where the component was too wide and weak edges were left out.
    pub exact: bool,
    /// Causes with their posterior, likeliest first, ties by name.
    pub roots: Vec<(Service, f64)>,
    /// Whom each of the (at most five) likeliest causes above 0.01 reaches.
    pub blast_radius: Vec<BlastRadius>,
    /// Services that are anomalous because of the likeliest cause, most probable first.
    pub symptoms: Vec<Service>,
    /// What was seen first, why this cause, what else, who is next.
    pub account: Account,
    /// The account in plain sentences with numbers.
    pub explanation: Vec<String>,
}

/// Whom a fault of one service reaches.
#[derive(Debug, Clone, PartialEq)]
pub struct BlastRadius {
    /// The cause.
    pub root: Service,
    /// Services with the probability of being hit, likeliest first; the cause itself and those below 0.01 left out.
    pub hits: Vec<(Service, f64)>,
}

/// An incident that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClosedIncident {
    /// Which incident.
    pub id: IncidentId,
    /// Event time of the tick at which it opened.
    pub opened_ms: i64,
    /// Event time of the tick at which it ended.
    pub closed_ms: i64,
    /// The likeliest cause when it was last above one half, else the likeliest at the end.
    #[serde(with = "crate::stored::service")]
    pub root: Service,
    /// The incident it was merged into, if it ended that way.
    pub merged_into: Option<IncidentId>,
}
