//! Incidents that ended, and what users say about incidents.

use std::collections::VecDeque;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::account::Similar;
use crate::diagnosis::IncidentId;
use crate::engine::Incidents;

/// Incidents remembered.
const REMEMBERED: usize = 200;
/// Past incidents told of, and how much they must have in common.
const TOLD: usize = 3;
const ALIKE: f64 = 0.5;

/// What a user says about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Feedback {
    /// This was the cause.
    Cause {
        /// Which service.
        service: Service,
    },
    /// Nothing was wrong.
    NotAnIncident,
}

/// Why feedback is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedbackError {
    /// Neither open nor remembered.
    #[error("there is no incident {0:?} (the last {REMEMBERED} are remembered)")]
    UnknownIncident(String),
    /// The service does not exist in this scope.
    #[error("there is no service {0}")]
    UnknownService(Service),
}

/// An incident that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PastIncident {
    /// Which incident.
    pub id: IncidentId,
    /// Event time at which it opened.
    pub opened_ms: i64,
    /// Event time at which it ended.
    pub closed_ms: i64,
    /// The cause that was named.
    pub root: Service,
    /// Who was hit, the cause included, sorted.
    pub hit: Vec<Service>,
    /// What a user said.
    pub feedback: Option<Feedback>,
    /// The incident that it turned out to be part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<IncidentId>,
}

/// All that are remembered, newest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Past {
    incidents: VecDeque<PastIncident>,
}

impl Past {
    pub(crate) fn extend(&mut self, incidents: impl IntoIterator<Item = PastIncident>) {
        for incident in incidents {
            self.incidents.push_front(incident);
        }
        self.incidents.truncate(REMEMBERED);
    }

    /// The incident that this one is part of, itself as a rule.
    fn whole<'a>(&'a self, id: &'a str) -> &'a str {
        let merged = |id: &str| self.incidents.iter().find(|past| past.id == id)?.merged_into.as_deref();
        let mut whole = id;
        for _ in 0..self.incidents.len() {
            match merged(whole) {
                Some(into) => whole = into,
                None => break,
            }
        }
        whole
    }

    /// Past incidents that hit the same services; those that were none according to users, and those that were part
    /// of others, are left out.
    pub(crate) fn similar(&self, root: Option<&Service>, hit: &[Service]) -> Vec<Similar> {
        let mut similar: Vec<Similar> = (self.incidents.iter().filter(|past| past.merged_into.is_none()))
            .filter_map(|past| {
                let cause = match &past.feedback {
                    Some(Feedback::NotAnIncident) => return None,
                    Some(Feedback::Cause { service }) => service,
                    None => &past.root,
                };
                let both = past.hit.iter().filter(|service| hit.binary_search(service).is_ok()).count();
                let either = past.hit.len() + hit.len() - both;
                let alike = if either > 0 { both as f64 / either as f64 } else { 0.0 };
                let same_cause = root == Some(cause);
                (alike >= ALIKE || (same_cause && both > 0)).then(|| Similar {
                    id: past.id.clone(),
                    opened_ms: past.opened_ms,
                    seconds: (past.closed_ms - past.opened_ms) as f64 / 1000.0,
                    root: cause.clone(),
                    alike,
                })
            })
            .collect();
        // Newest first among equals: the sort is stable.
        similar.sort_by(|a, b| b.alike.total_cmp(&a.alike));
        similar.truncate(TOLD);
        similar
    }
}

impl Incidents {
    /// Incidents that ended, newest first.
    pub fn past(&self) -> impl Iterator<Item = &PastIncident> {
        self.past.incidents.iter()
    }

    /// Takes in what a user says about an open or past incident, and says what follows from it.
    ///
    /// "Not an incident" ends it, and for some days evidence against the service it named counts less. A cause
    /// that is confirmed fails more often from now on and its evidence counts in full; while the incident
    /// is open, it is also the likeliest cause. What is said of an incident that was merged into another is taken as
    /// said of that one.
    ///
    /// # Errors
    /// An incident or a service that is not known.
    pub fn feedback(&mut self, id: &str, feedback: Feedback) -> Result<String, FeedbackError> {
        let now_ms = self.last_end_ms;
        let id = &*self.past.whole(id).to_owned();
        if let Feedback::Cause { service } = &feedback
            && !self.knows(service)
            && !self.past.incidents.iter().any(|past| past.hit.binary_search(service).is_ok())
        {
            return Err(FeedbackError::UnknownService(service.clone()));
        }
        let open = self.tracks.iter_mut().find(|track| track.open.as_ref().is_some_and(|open| open.id == id));
        if let Some(track) = open {
            let root = track.named.clone();
            track.feedback = Some(feedback.clone());
            return Ok(match feedback {
                Feedback::NotAnIncident => {
                    self.learned.refute(&root, now_ms);
                    format!("incident {id} ends at the next step; evidence against {root} counts less for some days")
                }
                Feedback::Cause { service } => {
                    format!("{service} is taken for the cause of incident {id}, and learned as such when it ends")
                }
            });
        }
        let Some(past) = self.past.incidents.iter_mut().find(|past| past.id == id) else {
            return Err(FeedbackError::UnknownIncident(id.to_owned()));
        };
        if past.feedback.as_ref() == Some(&feedback) {
            return Ok(format!("that is known of incident {id}"));
        }
        past.feedback = Some(feedback.clone());
        let root = past.root.clone();
        Ok(match feedback {
            Feedback::NotAnIncident => {
                self.learned.refute(&root, now_ms);
                format!("evidence against {root} counts less for some days")
            }
            Feedback::Cause { service } => {
                self.learned.confirm(&root, &service, now_ms);
                format!("{service} is learned as the cause of incident {id}")
            }
        })
    }
}
