//! Posterior over {no fault, fault at k} and blast radius of the five likeliest causes.
//!
//! `cargo xtask bench infer [PETSHOP]`, where PETSHOP is PetShop's archive (`.tar.xz`) or one of its
//! `graph.csv`; without it a generated graph of the same size stands in, and the output says so.

use std::io::Read;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quoll_bench::Report;
use quoll_bench::graphs::service_like;
use quoll_blast_radius::{
    CallEdge, CallGraph, Inference, InferenceError, SingleFault, SingleFaultPosterior, blast_radius, single_fault,
};

/// Runs of which the median counts.
const RUNS: usize = 15;

struct Case {
    name: &'static str,
    what: String,
    services: u32,
    edges: Vec<CallEdge>,
}

/// One incident on a graph: a fault at `root`, its callers anomalous as the strengths have it.
fn evidence(graph: &CallGraph, root: u32) -> Result<Vec<f64>> {
    let hits = match blast_radius(graph, &vec![0.0; graph.services() as usize], root) {
        Ok(hits) => hits,
        // Too wide for exact figures: along the strongest path.
        Err(InferenceError::TooWide { .. }) => strongest_paths(graph, root),
        Err(error) => return Err(error.into()),
    };
    Ok(hits.iter().map(|hit| if *hit > 0.5 { 6.0 } else { -2.0 }).collect())
}

fn strongest_paths(graph: &CallGraph, root: u32) -> Vec<f64> {
    let mut best = vec![0.0; graph.services() as usize];
    best[root as usize] = 1.0;
    for &service in graph.callees_first() {
        for edge in graph.callees(service) {
            let through = edge.strength * best[edge.server as usize];
            if through > best[service as usize] {
                best[service as usize] = through;
            }
        }
    }
    best
}

/// What a tick needs: the posterior, and whom the five likeliest causes reach.
fn diagnose(graph: &CallGraph, leak: &[f64], prior: &[f64], evidence: &[f64]) -> Result<Answer> {
    let none = 1.0 - prior.iter().sum::<f64>();
    let mut ranked: Vec<u32> = (0..graph.services()).collect();
    let mut likeliest = |posterior: &SingleFaultPosterior| {
        let root_cause = &posterior.root_cause;
        ranked.sort_by(|&a, &b| root_cause[b as usize].total_cmp(&root_cause[a as usize]).then(a.cmp(&b)));
        ranked.truncate(5);
        ranked.clone()
    };
    match Inference::new(graph) {
        Ok(inference) => {
            let posterior = inference.single_fault_posterior(leak, none, prior, evidence)?;
            let mut blasts = 0;
            for root in likeliest(&posterior) {
                inference.blast_radius(leak, root)?;
                blasts += 1;
            }
            Ok(Answer { posterior, how: format!("exact, width {}", inference.width()), blasts })
        }
        Err(InferenceError::TooWide { .. }) => {
            let answer = single_fault(graph, leak, none, prior, evidence)?;
            let how = match &answer {
                SingleFault::Exact(_) => "exact".to_owned(),
                SingleFault::Approximate(a) => format!("APPROXIMATE, {} edges left out", a.edges_ignored),
            };
            Ok(Answer { posterior: answer.posterior().clone(), how, blasts: 0 })
        }
        Err(error) => Err(error.into()),
    }
}

struct Answer {
    posterior: SingleFaultPosterior,
    how: String,
    blasts: usize,
}

fn measure(case: &Case, report: &mut Report) -> Result<()> {
    let n = case.services as usize;
    // What is timed includes putting the graph in order: it may change at every tick.
    let graph = CallGraph::new(case.services, &case.edges)?;
    let root = case.services - 1;
    let evidence = evidence(&graph, root)?;
    let prior = vec![5.8e-6; n];
    let leak = vec![0.01 * 5.8e-6 * (-8f64).exp(); n];
    let mut times = Vec::new();
    let mut last = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        let graph = CallGraph::new(case.services, &case.edges)?;
        last = Some(diagnose(&graph, &leak, &prior, &evidence)?);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let answer = last.context("no run")?;
    report.note(&format!(
        "{}: {n} services, {} edges, {} deferred; posterior {}; {} of 5 blast radii exact; fault at its place with {:.3}",
        case.what,
        case.edges.len(),
        graph.deferred_edges().len(),
        answer.how,
        answer.blasts,
        answer.posterior.root_cause[root as usize]
    ));
    report.add(case.name, times[RUNS / 2]);
    Ok(())
}

/// PetShop's `graph.csv`: a square matrix with names in the first row and column, 1 where the row's
/// service and the column's are connected.
fn petshop(path: &str) -> Result<(u32, Vec<CallEdge>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let text = if path.ends_with(".csv") {
        String::from_utf8(bytes)?
    } else {
        let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(&bytes[..]));
        let mut found = None;
        for entry in archive.entries()? {
            let mut entry = entry?;
            if entry.path()?.ends_with("graph.csv") {
                let mut text = String::new();
                entry.read_to_string(&mut text)?;
                found = Some(text);
                break;
            }
        }
        found.with_context(|| format!("{path} holds no graph.csv"))?
    };
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let services = u32::try_from(rows.len())?;
    let mut edges = Vec::new();
    for (client, row) in (0..).zip(&rows) {
        // Names may hold commas only within quotes; there are none in this set.
        let cells: Vec<&str> = row.split(',').skip(1).collect();
        if cells.len() != rows.len() {
            bail!("{path}: row {client} has {} cells, {} expected", cells.len(), rows.len());
        }
        for (server, cell) in (0..).zip(cells) {
            if cell.trim().parse::<f64>()? > 0.0 {
                edges.push(CallEdge { client, server, strength: 0.8 });
            }
        }
    }
    Ok((services, edges))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, services, edges) = match &arguments[..] {
        [] => {
            ("a generated graph of PetShop's size (no path to PetShop given)".to_owned(), 40, service_like(40, 12, 1))
        }
        [path] => {
            let (services, edges) = petshop(path)?;
            ("PetShop's graph".to_owned(), services, edges)
        }
        more => bail!("one argument expected at most, the path of PetShop, not {}", more.len()),
    };
    let mut report = Report::new("infer");
    report.note(&format!("engine version {}, median of {RUNS}, milliseconds", quoll_blast_radius::ENGINE_VERSION));
    let mut cases = vec![Case { name: "ms_petshop", what, services, edges }];
    for (name, services) in [("ms_1000", 1000), ("ms_10000", 10_000)] {
        cases.push(Case { name, what: "service-like".to_owned(), services, edges: service_like(services, 12, 1) });
    }
    for case in &cases {
        measure(case, &mut report)?;
    }
    report.print();
    Ok(())
}
