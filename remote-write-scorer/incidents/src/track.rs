//! The life of one incident: from a suspicion to an end.

use std::collections::BTreeMap;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::account::Sign;
use crate::config::IncidentsConfig;
use crate::diagnosis::IncidentId;
use crate::past::Feedback;
use crate::stored::{service, services};

/// Signs remembered.
const SIGNS: usize = 6;
/// A service that is anomalous with at least this probability is hit.
const HIT_ABOVE: f64 = 0.5;

/// A component that is watched; an incident once it is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Track {
    pub(crate) open: Option<Open>,
    /// The likeliest cause at the last tick.
    #[serde(with = "service")]
    pub(crate) root: Service,
    /// The last cause that was likelier than not, while open.
    #[serde(with = "service")]
    pub(crate) named: Service,
    pub(crate) first_ms: i64,
    /// What was anomalous first.
    #[serde(with = "service")]
    pub(crate) first: Service,
    /// The first few that were, in order.
    pub(crate) signs: Vec<Sign>,
    /// Each service that was odd, at its worst moment, the first of equal ones; by service. Not in older snapshots.
    #[serde(default)]
    pub(crate) worst: Vec<Sign>,
    /// Who was probably anomalous at some time, and since when.
    #[serde(with = "services")]
    pub(crate) hits: BTreeMap<Service, i64>,
    /// What a user said.
    pub(crate) feedback: Option<Feedback>,
    /// Successive ticks with "no fault" unlikely, likely, and with an anomaly that the cause does not reach.
    pub(crate) unlikely_ticks: u32,
    pub(crate) likely_ticks: u32,
    pub(crate) unexplained_ticks: u32,
    /// Cut off from another incident because that one's cause does not reach it.
    pub(crate) apart: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) id: IncidentId,
    pub(crate) opened_ms: i64,
}

impl Track {
    pub(crate) fn new(first: Sign) -> Self {
        let (first_ms, sign) = (first.at_ms, first.clone());
        let first = first.service;
        Self {
            open: None,
            root: first.clone(),
            named: first.clone(),
            first_ms,
            worst: vec![sign.clone()],
            signs: vec![sign],
            hits: BTreeMap::new(),
            feedback: None,
            first,
            unlikely_ticks: 0,
            likely_ticks: 0,
            unexplained_ticks: 0,
            apart: false,
        }
    }

    /// Order in which tracks lay claim to services: open ones by age, then the others.
    pub(crate) fn seniority(&self) -> (bool, i64, i64, Service) {
        (self.open.is_none(), self.open.as_ref().map_or(0, |open| open.opened_ms), self.first_ms, self.first.clone())
    }

    /// A service at its worst moment, where it was odd at this tick, or at any before and was hit.
    pub(crate) fn worst(&self, service: &Service) -> Option<&Sign> {
        let at = self.worst.binary_search_by(|sign| sign.service.cmp(service)).ok()?;
        self.worst.get(at)
    }

    /// Keeps the worse of what is known of a service and this, the earlier of equals.
    fn note_worst(&mut self, sign: &Sign) {
        match self.worst.binary_search_by(|known| known.service.cmp(&sign.service)) {
            Ok(at) => {
                let known = &mut self.worst[at];
                if sign.evidence.total_cmp(&known.evidence).then(known.at_ms.cmp(&sign.at_ms)).is_gt() {
                    known.clone_from(sign);
                }
            }
            Err(at) => self.worst.insert(at, sign.clone()),
        }
    }

    /// Notes a member's sign, if it is odd, and the probability that it is anomalous.
    pub(crate) fn note(&mut self, service: &Service, sign: Option<Sign>, anomalous: f64, end_ms: i64) {
        match sign {
            // One odd step of a service that has nothing to do with it is no sign.
            None if !self.hits.contains_key(service) => {
                self.signs.retain(|sign| sign.service != *service);
                self.worst.retain(|sign| sign.service != *service);
            }
            None => {}
            Some(sign) => {
                self.note_worst(&sign);
                if self.signs.len() < SIGNS && !self.signs.iter().any(|known| known.service == *service) {
                    self.signs.push(sign);
                }
            }
        }
        if anomalous > HIT_ABOVE && !self.hits.contains_key(service) {
            self.hits.insert(service.clone(), end_ms);
        }
    }

    /// Takes in another that turned out to have the same cause: what it saw first, whom it hit, what was said of it.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (service, &at_ms) in &other.hits {
            let hit = self.hits.entry(service.clone()).or_insert(at_ms);
            *hit = at_ms.min(*hit);
        }
        for sign in &other.signs {
            match self.signs.iter_mut().find(|known| known.service == sign.service) {
                Some(known) if known.at_ms > sign.at_ms => *known = sign.clone(),
                Some(_) => {}
                None => self.signs.push(sign.clone()),
            }
        }
        self.signs.sort_by_key(|sign| sign.at_ms);
        self.signs.truncate(SIGNS);
        for sign in &other.worst {
            self.note_worst(sign);
        }
        if self.feedback.is_none() {
            self.feedback.clone_from(&other.feedback);
        }
    }

    /// Takes in the posterior of a tick; says whether the incident ended.
    pub(crate) fn advance(
        &mut self,
        no_fault: f64,
        same_root: bool,
        supported: bool,
        may_open: bool,
        end_ms: i64,
        config: &IncidentsConfig,
    ) -> bool {
        if self.open.is_some() {
            self.likely_ticks = if no_fault > config.close_above { self.likely_ticks + 1 } else { 0 };
            return self.likely_ticks >= config.close_ticks;
        }
        let unlikely = no_fault < config.open_below && supported && may_open;
        // A cause that just changed has not stood for a tick yet.
        let before = if same_root { self.unlikely_ticks } else { 0 };
        self.unlikely_ticks = if unlikely { before + 1 } else { 0 };
        if self.unlikely_ticks >= config.open_ticks {
            let id = format!("{}-{:08x}", self.first_ms.div_euclid(1000), short_hash(&self.root.to_string()));
            self.open = Some(Open { id, opened_ms: end_ms });
            self.likely_ticks = 0;
        }
        false
    }
}

/// FNV-1a, 32 bits (Fowler, Noll & Vo): stable across versions and machines.
fn short_hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits.
pub(crate) fn long_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
