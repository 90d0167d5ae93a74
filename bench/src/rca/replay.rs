//! Windows through the live evidence and network.
//!
//! Normal operation goes through [`Incidents`] first, so that edges have a history; each window then starts
//! from a copy of that state, after a gap. Nothing of one window is seen by another.

use std::collections::BTreeMap;

use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, EdgeStep, Presence, ServiceStep};
use quoll_identity::{Edge, Service};
use quoll_incidents::{Incidents, IncidentsConfig};

use super::dataset::{Columns, Scenario, Table};
use super::score::Calibration;

/// What is switched off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Without {
    pub aliases: bool,
    pub dynamics: bool,
    pub change_prior: bool,
    pub just_before: bool,
}

/// What a tick says of a scope.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub no_fault: f64,
    /// Probability of "the fault is here" per service, in the order of [`Replay::services`].
    pub services: Vec<f64>,
    /// Evidence per service, for the curious.
    pub evidence: Vec<f64>,
    /// Where an incident is open, the likeliest cause of the surest one.
    pub named: Option<usize>,
}

/// A scenario after its normal operation.
pub struct Replay {
    pub services: Vec<String>,
    names: Vec<Service>,
    calibrations: Vec<Calibration>,
    calls: Vec<(usize, usize)>,
    step_ms: i64,
    state: Incidents,
    end_ms: i64,
}

/// Steps of a gap between what is unrelated.
const GAP_STEPS: i64 = 1000;

impl Replay {
    /// `history` is normal operation, in pieces; `window` the number of steps of an incident.
    pub fn new(scenario: &Scenario, history: &[Table], window: usize, without: Without) -> anyhow::Result<Self> {
        let services = scenario.services();
        let names: Vec<Service> = (services.iter())
            .map(|name| Service::new(None, name).ok_or_else(|| anyhow::anyhow!("a service without a name")))
            .collect::<anyhow::Result<_>>()?;
        let place = |name: &String| services.binary_search(name).ok();
        let calls = scenario.calls.iter().filter_map(|(a, b)| Some((place(a)?, place(b)?))).collect();
        let steps = history.iter().flat_map(|table| table.seconds.windows(2).map(|pair| pair[1] - pair[0]));
        let step_seconds = steps.fold(f64::INFINITY, f64::min);
        let step_ms = (1000.0 * step_seconds) as i64;
        let calibrations = (services.iter())
            .map(|name| {
                let pieces: Vec<Columns> = history.iter().filter_map(|t| t.services.get(name)).cloned().collect();
                Calibration::fit(&pieces, window, step_seconds, !without.just_before)
            })
            .collect();
        let mut config = IncidentsConfig {
            edge_lifetime_seconds: 1e9,
            just_before: !without.just_before,
            ..IncidentsConfig::default()
        };
        if without.aliases {
            config.alias_strength = 0.0;
        }
        if without.change_prior {
            config.change_factor = 1.0;
        }
        if without.dynamics {
            config.evidence_memory_steps = 1.0;
        }
        let state = Incidents::new(config, step_ms)?;
        let mut replay = Self { services, names, calibrations, calls, step_ms, state, end_ms: 0 };
        for table in history {
            let mut state = replay.state.clone();
            let end_ms = replay.run(&mut state, table, window, |_| {});
            (replay.state, replay.end_ms) = (state, end_ms);
        }
        Ok(replay)
    }

    /// The steps of one window, from the state after normal operation.
    pub fn window(&self, table: &Table) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        self.run(&mut self.state.clone(), table, table.seconds.len(), |verdict| verdicts.push(verdict));
        verdicts
    }

    /// Scores of the services at each step of a window; 0 where there is none.
    pub fn scores(&self, table: &Table) -> Vec<Vec<f64>> {
        (0..table.seconds.len())
            .map(|at| {
                (0..self.names.len()).map(|s| self.score(table, s, 0, at).map_or(0.0, |score| score.score)).collect()
            })
            .collect()
    }

    fn score(&self, table: &Table, service: usize, from: usize, at: usize) -> Option<ServiceScore> {
        let columns = table.services.get(&self.services[service])?;
        let until = |column: &[f64]| column[from..=from + at].to_vec();
        let window = Columns {
            latency: until(&columns.latency),
            requests: until(&columns.requests),
            availability: until(&columns.availability),
        };
        self.calibrations[service].score(&self.names[service], &window, at)
    }

    fn run(&self, state: &mut Incidents, table: &Table, window: usize, mut take: impl FnMut(Verdict)) -> i64 {
        let mut end_ms = self.end_ms + GAP_STEPS * self.step_ms;
        for row in 0..table.seconds.len() {
            end_ms += self.step_ms;
            let (from, at) = (row - row % window, row % window);
            let scores: Vec<ServiceScore> =
                (0..self.names.len()).filter_map(|service| self.score(table, service, from, at)).collect();
            let diagnosis = state.tick(&self.step(table, row, end_ms), &scores, end_ms);
            // Components do not share services: their odds make up the odds of the whole.
            let odds: BTreeMap<&Service, (f64, f64)> = (diagnosis.services.iter())
                .map(|s| (&s.service, (s.suspicion.map_or(0.0, f64::exp), s.log_likelihood_ratio)))
                .collect();
            let surest = (diagnosis.incidents.iter())
                .filter_map(|incident| incident.roots.first())
                .max_by(|a, b| a.1.total_cmp(&b.1));
            let of = |service: &Service| odds.get(service).copied().unwrap_or_default();
            let sum = 1.0 + self.names.iter().map(|service| of(service).0).sum::<f64>();
            take(Verdict {
                no_fault: 1.0 / sum,
                services: self.names.iter().map(|service| of(service).0 / sum).collect(),
                evidence: self.names.iter().map(|service| of(service).1).collect(),
                named: surest.and_then(|(cause, _)| self.names.binary_search(cause).ok()),
            });
        }
        end_ms
    }

    /// Metrics are per service here; each caller is taken to have seen its share of them.
    fn step(&self, table: &Table, row: usize, end_ms: i64) -> ClosedStep {
        let value = |service: usize, of: fn(&Columns) -> &Vec<f64>| {
            table.services.get(&self.services[service]).and_then(|c| of(c).get(row)).copied().unwrap_or(f64::NAN)
        };
        let seconds = self.step_ms as f64 / 1000.0;
        let requests = |service| {
            let requests = value(service, |c| &c.requests);
            if requests > 0.0 { requests } else { 0.0 }
        };
        let mut edges: Vec<EdgeStep> = (self.calls.iter())
            .map(|&(client, server)| {
                let callers = self.calls.iter().filter(|call| call.1 == server);
                let all: f64 = callers.map(|call| requests(call.0)).sum();
                let share = if all > 0.0 { requests(client) / all } else { 0.0 };
                let rate = share * requests(server) / seconds;
                let available = value(server, |c| &c.availability);
                EdgeStep {
                    edge: Edge { client: self.names[client].clone(), server: self.names[server].clone() },
                    requests_per_second: rate,
                    errors_per_second: if available >= 0.0 { rate * (1.0 - available / 100.0) } else { f64::NAN },
                    connects_per_second: 0.0,
                    connect_failures_per_second: 0.0,
                    latency_seconds: if rate > 0.0 { value(server, |c| &c.latency) } else { f64::NAN },
                }
            })
            .collect();
        edges.sort_by(|a, b| a.edge.cmp(&b.edge));
        let services = (self.names.iter())
            .map(|service| ServiceStep::new(service.clone(), Vec::new(), Presence::Present))
            .collect();
        ClosedStep { end_ms, step_ms: self.step_ms, services, edges }
    }
}
