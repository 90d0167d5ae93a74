//! A small world of services that call one another, with faults that travel along the calls.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_blast_radius::{CallEdge, CallGraph, single_fault};
use quoll_detect::ServiceScore;
use quoll_features::{Change, ChangeKind, ClosedStep, EdgeStep, Presence, ServiceStep};
use quoll_identity::{Edge, Service};
use quoll_incidents::{Diagnosis, Incidents, IncidentsConfig};

/// Event time of the first tick: 2026-01-01.
pub const START_MS: i64 = 1_767_225_600_000;

/// xorshift64* (Vigna, 2016): enough for a simulation, the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

pub fn service(name: &str) -> Service {
    Service::new(None, name).unwrap()
}

/// What is wrong with a service at a tick.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Slow, as its callers see.
    Latency,
    /// Answers half of the requests with errors.
    Errors,
    /// Gone.
    Crash,
}

pub struct World {
    pub calls: Vec<(&'static str, &'static str, f64)>,
    pub names: Vec<&'static str>,
    pub faults: BTreeMap<&'static str, Fault>,
    /// Services whose score is forced to this tail probability.
    pub forced: BTreeMap<&'static str, f64>,
    /// The host that each service runs on.
    pub hosts: BTreeMap<&'static str, &'static str>,
    /// Changes that the next step tells of.
    pub changes: BTreeMap<&'static str, &'static str>,
    pub incidents: Incidents,
    pub tick: i64,
    pub step_ms: i64,
    /// Correlation of a service's normal score from one step to the next.
    pub correlation: f64,
    pub provisional: bool,
    /// Whether the load swings; all calls follow it, so that whoever is called once per request gets equal traffic.
    pub varied: bool,
    /// Other names: the calls of one name's callers to another, seen once more.
    pub twins: BTreeMap<&'static str, &'static str>,
    load: f64,
    random: Random,
    level: BTreeMap<&'static str, f64>,
}

/// Twelve services of a shop.
pub const SHOP: &[(&str, &str, f64)] = &[
    ("gateway", "frontend", 40.0),
    ("frontend", "catalog", 40.0),
    ("frontend", "cart", 16.0),
    ("frontend", "checkout", 8.0),
    ("frontend", "ads", 20.0),
    ("catalog", "catalog-db", 60.0),
    ("cart", "cart-cache", 30.0),
    ("checkout", "cart", 8.0),
    ("checkout", "payment", 8.0),
    ("checkout", "shipping", 8.0),
    ("checkout", "orders-db", 16.0),
    ("payment", "bank", 8.0),
];

impl World {
    pub fn new(calls: &[(&'static str, &'static str, f64)], seed: u64) -> Self {
        let mut names: Vec<&'static str> = calls.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
        names.sort_unstable();
        names.dedup();
        Self {
            calls: calls.to_vec(),
            names,
            faults: BTreeMap::new(),
            forced: BTreeMap::new(),
            hosts: BTreeMap::new(),
            changes: BTreeMap::new(),
            incidents: Incidents::new(IncidentsConfig::default(), 1000).unwrap(),
            tick: 0,
            step_ms: 1000,
            correlation: 0.0,
            provisional: false,
            varied: false,
            twins: BTreeMap::new(),
            load: 1.0,
            random: Random::new(seed),
            level: BTreeMap::new(),
        }
    }

    /// The services that suffer now, each with how its callers see it.
    fn hit(&self) -> BTreeMap<&'static str, Fault> {
        let mut hit = self.faults.clone();
        loop {
            let mut more: Vec<(&'static str, Fault)> = Vec::new();
            for (client, server, rate) in &self.calls {
                let busiest = (self.calls.iter()).filter(|c| c.0 == *client).map(|c| c.2).fold(0.0, f64::max);
                // A callee that few requests need does not show in its caller.
                if let Some(fault) = hit.get(server)
                    && !hit.contains_key(client)
                    && *rate >= 0.2 * busiest
                {
                    let seen = if *fault == Fault::Crash { Fault::Errors } else { *fault };
                    more.push((client, seen));
                }
            }
            if more.is_empty() {
                return hit;
            }
            hit.extend(more);
        }
    }

    /// One step of the world, seen `behind_ms` later.
    pub fn step_late(&mut self, behind_ms: i64) -> Diagnosis {
        self.tick += 1;
        let end_ms = START_MS + self.tick * self.step_ms;
        let hit = self.hit();
        let (mut services, mut scores) = (Vec::new(), Vec::new());
        for &name in &self.names {
            let fresh = self.random.normal();
            let level = self.level.entry(name).or_insert(fresh);
            *level = self.correlation * *level + (1.0 - self.correlation.powi(2)).sqrt() * fresh;
            let crashed = self.faults.get(name) == Some(&Fault::Crash);
            let presence = if crashed { Presence::Vanished } else { Presence::Present };
            let mut seen = ServiceStep::new(service(name), Vec::new(), presence);
            seen.hosts = self.hosts.get(name).iter().map(|host| Arc::from(**host)).collect();
            seen.change = self.changes.remove(name).map(|text| Change { kind: ChangeKind::Image, text: text.into() });
            services.push(seen);
            if crashed {
                continue;
            }
            let p = if let Some(p) = self.forced.get(name) {
                *p
            } else if hit.contains_key(name) {
                1e-6 * self.random.uniform()
            } else {
                0.5 * libm::erfc(*level / std::f64::consts::SQRT_2)
            };
            scores.push(ServiceScore {
                service: service(name),
                // 1.0 is what one step in a day exceeds.
                score: libm::log(p) / libm::log(self.step_ms as f64 / 86_400_000.0),
                tail_probability: p,
                anomaly_probability: 0.0,
                provisional: self.provisional,
                coverage: 1.0,
                calibration_samples: 1000,
                features: Vec::new(),
            });
        }
        let mut edges: Vec<EdgeStep> = (self.calls.iter())
            .map(|(client, server, rate)| {
                let fault = hit.get(server);
                // Callers of a failing caller see fewer calls, not worse ones.
                let rate = if self.faults.get(client) == Some(&Fault::Crash) { 0.0 } else { *rate };
                let slow = if fault == Some(&Fault::Latency) { 10.0 } else { 1.0 };
                EdgeStep {
                    edge: Edge { client: service(client), server: service(server) },
                    requests_per_second: rate,
                    errors_per_second: if fault == Some(&Fault::Errors) { (rate * 0.5).round() } else { 0.0 },
                    connects_per_second: (rate * 0.2).ceil(),
                    connect_failures_per_second: if fault == Some(&Fault::Crash) { (rate * 0.2).ceil() } else { 0.0 },
                    latency_seconds: if rate > 0.0 {
                        0.01 * slow * (0.1 * self.random.normal()).exp()
                    } else {
                        f64::NAN
                    },
                }
            })
            .collect();
        if self.varied {
            let swing = 0.2 * (self.tick as f64 / 60.0).sin() + 0.15 * self.random.normal();
            self.load = (0.5 * self.load + 0.5 * (1.0 + swing)).max(0.3);
            for edge in &mut edges {
                edge.requests_per_second *= self.load;
            }
        }
        for (name, of) in &self.twins {
            let seen: Vec<EdgeStep> = edges.iter().filter(|edge| *edge.edge.server.name == **of).cloned().collect();
            for edge in edges.iter_mut().filter(|edge| *edge.edge.server.name == **name) {
                if let Some(seen) = seen.iter().find(|seen| seen.edge.client == edge.edge.client) {
                    let edge_itself = edge.edge.clone();
                    *edge =
                        EdgeStep { edge: edge_itself, latency_seconds: seen.latency_seconds + 0.001, ..seen.clone() };
                }
            }
        }
        edges.sort_by(|a, b| a.edge.cmp(&b.edge));
        let step = ClosedStep { end_ms, step_ms: self.step_ms, services, edges };
        let diagnosis = self.incidents.tick(&step, &scores, end_ms + behind_ms);
        check(&diagnosis);
        diagnosis
    }

    pub fn step(&mut self) -> Diagnosis {
        self.step_late(0)
    }

    pub fn run(&mut self, ticks: i64) -> Vec<Diagnosis> {
        (0..ticks).map(|_| self.step()).collect()
    }

    /// Quiet steps until evidence is settled; nothing may open.
    pub fn warm_up(&mut self) {
        for diagnosis in self.run(60) {
            assert!(diagnosis.incidents.is_empty(), "{:?}", diagnosis.incidents);
        }
    }
}

/// What is written is what the engine says on the written priors, bit for bit, and is sane.
pub fn check(diagnosis: &Diagnosis) {
    for incident in &diagnosis.incidents {
        let members: Vec<_> = diagnosis.services.iter().filter(|s| s.incident.as_ref() == Some(&incident.id)).collect();
        let place = |s: &Service| members.iter().position(|m| m.service == *s).map(|at| at as u32);
        let edges: Vec<CallEdge> = (diagnosis.edges.iter())
            .filter_map(|e| {
                Some(CallEdge { client: place(&e.edge.client)?, server: place(&e.edge.server)?, strength: e.strength })
            })
            .collect();
        let graph = CallGraph::new(members.len() as u32, &edges).unwrap();
        let leak = vec![diagnosis.leak; members.len()];
        let prior: Vec<f64> = members.iter().map(|m| m.fault_prior).collect();
        let evidence: Vec<f64> = members.iter().map(|m| m.log_likelihood_ratio).collect();
        let answer = single_fault(&graph, &leak, incident.no_fault_prior, &prior, &evidence).unwrap();
        let posterior = answer.posterior();
        assert_eq!(posterior.no_fault.to_bits(), incident.no_fault_probability.to_bits());
        for (member, ours) in members.iter().zip(&posterior.root_cause) {
            assert_eq!(member.root_cause_probability.map(f64::to_bits), Some(ours.to_bits()));
        }
        assert!(!incident.explanation.is_empty() && incident.roots.len() == members.len());
    }
    assert!(diagnosis.services.is_sorted_by(|a, b| a.service < b.service));
    assert!(diagnosis.edges.is_sorted_by(|a, b| a.edge < b.edge));
}
