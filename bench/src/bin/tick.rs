//! `cargo xtask bench tick [--services N]`: one tick of [`Incidents`], from a closed step and its scores to the
//! diagnosis, of a fleet that is calm and of one with three incidents.
//!
//! The live code path runs: topology, evidence of every edge and service, components, inference, incidents, what
//! is learned, and the diagnosis with its accounts. The fleet is a service-like graph in domains of 25; a fault
//! shows at every service that its calls carry it to. Figures are processor time of this one thread, so that a
//! busy machine counts little; the median of the ticks is told, and beside it the longest.

use anyhow::{Result, ensure};
use clap::Parser;
use quoll_bench::Report;
use quoll_bench::graphs::service_like;
use quoll_blast_radius::CallEdge;
use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, EdgeStep, Presence, ServiceStep};
use quoll_identity::{Edge, Service};
use quoll_incidents::{Incidents, IncidentsConfig};
use quoll_train::random::Random;
use rustix::time::{ClockId, clock_gettime};

const STEP_MS: i64 = 15_000;
/// 2026-01-01.
const START_MS: i64 = 1_767_225_600_000;
/// Services of one domain, as the graph has them.
const DOMAIN: u32 = 25;
/// A call with at least this strength carries trouble.
const CARRIES: f64 = 0.5;

#[derive(Parser)]
struct Arguments {
    /// Services of the fleet
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Ticks that are measured of each kind
    #[arg(long, default_value_t = 30)]
    ticks: usize,
    /// Calm ticks before, in which edges and traffic are learned
    #[arg(long, default_value_t = 80)]
    warm_up: usize,
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The fleet, its names in order, and who is in trouble.
struct Fleet {
    names: Vec<Service>,
    /// Sorted by their names.
    calls: Vec<(Edge, usize, usize, f64)>,
    hit: Vec<bool>,
    random: Random,
    tick: i64,
}

impl Fleet {
    fn new(services: u32) -> Result<Self> {
        let graph = service_like(services, 12, 1);
        let name = |service: u32| {
            Service::new(Some(&format!("domain-{:04}", service / DOMAIN)), &format!("service-{:02}", service % DOMAIN))
        };
        let names: Vec<Service> = (0..services).filter_map(name).collect();
        ensure!(names.is_sorted() && names.len() == services as usize, "names out of order");
        let mut calls: Vec<(Edge, usize, usize, f64)> = (graph.iter())
            .map(|&CallEdge { client, server, strength }| {
                let (client, server) = (client as usize, server as usize);
                (Edge { client: names[client].clone(), server: names[server].clone() }, client, server, strength)
            })
            .collect();
        calls.sort_by(|a, b| a.0.cmp(&b.0));
        calls.dedup_by(|a, b| a.0 == b.0);
        let hit = vec![false; names.len()];
        Ok(Self { names, calls, hit, random: Random::new(1), tick: 0 })
    }

    /// A fault of `root`, which shows at all whom strong calls carry it to.
    fn fault(&mut self, root: usize) {
        self.hit[root] = true;
        loop {
            let before = self.hit.iter().filter(|hit| **hit).count();
            for (_, client, server, strength) in &self.calls {
                // The gateway calls every domain, and needs no one of them for most of its requests.
                if self.hit[*server] && *strength >= CARRIES && *client != 0 {
                    self.hit[*client] = true;
                }
            }
            if self.hit.iter().filter(|hit| **hit).count() == before {
                return;
            }
        }
    }

    fn step(&mut self) -> (ClosedStep, Vec<ServiceScore>) {
        self.tick += 1;
        let services =
            self.names.iter().map(|name| ServiceStep::new(name.clone(), Vec::new(), Presence::Present)).collect();
        let mut edges = Vec::with_capacity(self.calls.len());
        for (edge, _, server, strength) in &self.calls {
            let rate = 20.0 * strength * (1.0 + 0.1 * f64::from(self.random.noise()));
            edges.push(EdgeStep {
                edge: edge.clone(),
                requests_per_second: rate,
                errors_per_second: if self.hit[*server] { 0.3 * rate } else { 0.0 },
                connects_per_second: 0.1 * rate,
                connect_failures_per_second: 0.0,
                latency_seconds: 0.01 * (0.1 * f64::from(self.random.noise())).exp(),
            });
        }
        let mut scores = Vec::with_capacity(self.names.len());
        for (service, hit) in self.names.iter().zip(&self.hit) {
            let chance = f64::from(self.random.uniform());
            let p = if *hit { 1e-6 * chance } else { chance.max(1e-3) };
            scores.push(ServiceScore {
                service: service.clone(),
                score: if *hit { 2.0 } else { 0.3 },
                tail_probability: p,
                anomaly_probability: 1.0 - p,
                provisional: false,
                coverage: 1.0,
                calibration_samples: 10_000,
                features: Vec::new(),
            });
        }
        let end_ms = START_MS + self.tick * STEP_MS;
        (ClosedStep { end_ms, step_ms: STEP_MS, services, edges }, scores)
    }
}

/// Processor milliseconds of each tick, and the incidents open at the last.
fn run(state: &mut Incidents, fleet: &mut Fleet, ticks: usize) -> (Vec<f64>, usize) {
    let mut open = 0;
    let times = (0..ticks)
        .map(|_| {
            let (step, scores) = fleet.step();
            let started = cpu_seconds();
            let diagnosis = state.tick(&step, &scores, step.end_ms);
            let taken = 1000.0 * (cpu_seconds() - started);
            open = diagnosis.incidents.len();
            taken
        })
        .collect();
    (times, open)
}

fn tell(report: &mut Report, name: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    report.add(&format!("ms_{name}"), times.get(times.len() / 2).copied().unwrap_or(f64::NAN));
    report.add(&format!("ms_{name}_max"), times.last().copied().unwrap_or(f64::NAN));
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.services >= 4 * DOMAIN, "at least {} services", 4 * DOMAIN);
    let mut fleet = Fleet::new(arguments.services)?;
    let mut state = Incidents::new(IncidentsConfig::default(), STEP_MS)?;
    let mut report = Report::new("tick");
    report.note(&format!("{} services, {} edges; processor milliseconds a tick", fleet.names.len(), fleet.calls.len()));
    run(&mut state, &mut fleet, arguments.warm_up);
    let (calm, open) = run(&mut state, &mut fleet, arguments.ticks);
    ensure!(open == 0, "{open} incidents in a calm fleet");
    tell(&mut report, "calm", calm);
    // The databases of three domains far from one another.
    let domains = fleet.names.len() / DOMAIN as usize;
    for third in 0..3 {
        let domain = (2 * third + 1) * domains / 6;
        fleet.fault(3 + domain * DOMAIN as usize);
    }
    report.note(&format!("{} services in trouble", fleet.hit.iter().filter(|hit| **hit).count()));
    run(&mut state, &mut fleet, 10);
    let (busy, open) = run(&mut state, &mut fleet, arguments.ticks);
    report.add("incidents", open as f64);
    tell(&mut report, "three_incidents", busy);
    let started = cpu_seconds();
    let snapshot = serde_json::to_vec(&state.snapshot())?;
    report.add("snapshot_ms", 1000.0 * (cpu_seconds() - started));
    report.add("snapshot_bytes", snapshot.len() as f64);
    report.print();
    Ok(())
}
