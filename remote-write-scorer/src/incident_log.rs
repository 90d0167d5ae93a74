//! Incidents as the interface tells of them: open ones with their last account, and the latest that ended.

use std::collections::{BTreeMap, VecDeque};

use quoll_api::view::{Account, ClosedIncidentView, Feedback};
use quoll_incidents::Diagnosis;
use serde::{Deserialize, Serialize};

use crate::view::service_name;

/// Closed incidents kept, per scope.
const CLOSED_INCIDENTS: usize = 50;

/// One scope's incidents.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IncidentLog {
    closed: VecDeque<ClosedIncidentView>,
    open: BTreeMap<String, Told>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Told {
    account: Account,
    explanation: Vec<String>,
    feedback: Option<Feedback>,
}

impl IncidentLog {
    /// Incidents that ended, newest first.
    pub fn closed(&self) -> impl Iterator<Item = &ClosedIncidentView> {
        self.closed.iter()
    }

    /// Number of open incidents.
    pub fn open(&self) -> u64 {
        self.open.len() as u64
    }

    /// Keeps the last account of every open incident, and moves those that ended to the list of these. How many
    /// are new.
    pub fn note(&mut self, diagnosis: &Diagnosis) -> u64 {
        for closed in &diagnosis.closed {
            let Told { account, explanation, feedback } = self.open.remove(&closed.id).unwrap_or_default();
            self.closed.push_front(ClosedIncidentView {
                id: closed.id.clone(),
                opened_ms: closed.opened_ms,
                closed_ms: closed.closed_ms,
                root: service_name(&closed.root),
                merged_into: closed.merged_into.clone(),
                account,
                explanation,
                feedback,
            });
            tracing::info!(incident = %closed.id, root = %closed.root, "incident closed");
        }
        self.closed.truncate(CLOSED_INCIDENTS);
        let mut opened = 0;
        for incident in &diagnosis.incidents {
            let known = self.open.contains_key(&incident.id);
            let told = self.open.entry(incident.id.clone()).or_default();
            opened += u64::from(!known);
            // While it fades there is less and less to tell: what is kept is from when it was there.
            if !known || incident.no_fault_probability < 0.5 {
                told.account = incident.account.clone();
                told.explanation.clone_from(&incident.explanation);
            }
            if let (false, Some((root, probability))) = (known, incident.roots.first()) {
                tracing::info!(incident = %incident.id, %root, probability, "incident opened");
            }
        }
        self.open.retain(|id, _| diagnosis.incidents.iter().any(|incident| incident.id == *id));
        opened
    }

    /// Keeps what a user said, with the incident.
    pub fn feedback(&mut self, incident: &str, feedback: Feedback) {
        if let Some(told) = self.open.get_mut(incident) {
            told.feedback = Some(feedback);
        } else if let Some(closed) = self.closed.iter_mut().find(|closed| closed.id == incident) {
            closed.feedback = Some(feedback);
        }
    }
}
