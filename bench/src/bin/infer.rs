//! Posterior over {no fault, fault at k} and blast radius of the five likeliest causes.
//!
//! `cargo xtask bench infer [PETSHOP] [--pgmpy PYTHON]`, where PETSHOP is PetShop's archive (`.tar.xz`) or one of
//! its `graph.csv`; without it a generated graph of the same size stands in, and the output says so. The same
//! questions go to the engine as a WASM module under node, where the tools for it are. PYTHON is one that
//! has pgmpy (`README.md` of this crate); without it there is no comparison, and the output says so.

use std::io::{Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quoll_bench::Report;
use quoll_bench::graphs::{entangled, service_like};
use quoll_bench::wasm::{Build, Module};
use quoll_blast_radius::{
    CallEdge, CallGraph, InferenceError, Network, Reach, SingleFault, WhatIf, blast_radius, reach, single_fault,
};
use quoll_blast_radius_wasm::{Question, answer};
use serde_json::{Value, json};

/// Runs of which the median counts.
const RUNS: usize = 15;
/// One fault per 30 days at steps of 15 s.
const PRIOR: f64 = 5.8e-6;

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

fn question(case: &Case, graph: &CallGraph) -> Result<Question> {
    let n = case.services as usize;
    Ok(Question::Tick {
        services: case.services,
        edges: case.edges.clone(),
        leak: vec![0.01 * PRIOR * (-8f64).exp(); n],
        no_fault_prior: 1.0 - PRIOR * f64::from(case.services),
        fault_prior: vec![PRIOR; n],
        log_likelihood_ratio: evidence(graph, case.services - 1)?,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What is done where exact elimination ends.
fn past_the_width(graph: &CallGraph, question: &Question) -> Result<String> {
    let Question::Tick { leak, no_fault_prior, fault_prior, log_likelihood_ratio, services, .. } = question else {
        bail!("not a tick")
    };
    let posterior = match single_fault(graph, leak, *no_fault_prior, fault_prior, log_likelihood_ratio)? {
        SingleFault::Exact(_) => "exact on each fault's ancestors".to_owned(),
        SingleFault::Restricted(answer) => {
            format!("on each fault's ancestors, log odds within {:.1e}", answer.log_odds_error)
        }
        SingleFault::Approximate(answer) => format!("approximate, {} edges left out", answer.edges_ignored),
    };
    let reach = match reach(graph, leak, services - 1)? {
        Reach::Exact(_) => "exact".to_owned(),
        Reach::Restricted(answer) => format!("within {:.1e}", answer.error),
        Reach::AtMost(_) => "an upper bound".to_owned(),
    };
    Ok(format!("past the width limit: {posterior}; blast radius {reach}"))
}

/// What a tick needs, natively and in WASM: putting the graph in order, which may change at every tick, the
/// posterior, and whom the five likeliest causes reach.
fn measure(case: &Case, module: Option<&Module>, report: &mut Report) -> Result<()> {
    let graph = CallGraph::new(case.services, &case.edges)?;
    let question = question(case, &graph)?;
    let request = question.request();
    let mut times = Vec::new();
    let mut values = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        values = answer(&request);
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    // One, whether exact, width, no fault, the root causes.
    let (Some(&[_, exact, width, _]), Some(&found)) = (values.first_chunk(), values.get(3 + case.services as usize))
    else {
        bail!("{}: the engine refused the question", case.what)
    };
    report.note(&format!(
        "{}: {} services, {} edges, {} deferred; posterior {}; fault at its place with {found:.3}",
        case.what,
        case.services,
        case.edges.len(),
        graph.deferred_edges().len(),
        if exact > 0.0 { format!("exact, width {width}") } else { past_the_width(&graph, &question)? },
    ));
    report.add(&format!("ms_{}", case.name), median(times));
    if let Some(module) = module {
        let there = module.ask(&[question], RUNS as u32)?.pop().context("no answer")?;
        let same = values.len() == there.values.len()
            && values.iter().zip(&there.values).all(|(a, b)| a.to_bits() == b.to_bits());
        if !same {
            bail!("{}: WASM and native answers differ", case.what);
        }
        report.add(&format!("wasm_ms_{}", case.name), median(there.milliseconds));
    }
    Ok(())
}

/// One service's evidence set to something else, and the posterior again, on a graph that was asked before.
fn what_if(case: &Case, report: &mut Report) -> Result<()> {
    let n = case.services as usize;
    let graph = CallGraph::new(case.services, &case.edges)?;
    let evidence = evidence(&graph, case.services - 1)?;
    let (none, leak) = (1.0 - PRIOR * f64::from(case.services), vec![0.01 * PRIOR * (-8f64).exp(); n]);
    let mut what_if = WhatIf::new(case.services, &case.edges, leak, none, vec![PRIOR; n], evidence)?;
    what_if.posterior()?;
    let mut times = Vec::new();
    for run in 0..RUNS as u32 {
        let start = Instant::now();
        what_if.set_evidence(case.services / 2 + run, 5.0)?;
        what_if.posterior()?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let work = what_if.work();
    report.note(&format!(
        "one piece of evidence changed: {} of {} table operations again",
        work.repeated, work.operations
    ));
    report.add(&format!("what_if_ms_{}", case.name), median(times));
    Ok(())
}

/// All fault posteriors of the network of many faults, which pgmpy can express, by both.
fn against_pgmpy(case: &Case, python: &str, report: &mut Report) -> Result<()> {
    let n = case.services as usize;
    let graph = CallGraph::new(case.services, &case.edges)?;
    let evidence = evidence(&graph, case.services - 1)?;
    let likelihood: Vec<[f64; 2]> =
        evidence.iter().map(|ratio| [(-ratio.max(0.0)).exp(), ratio.min(0.0).exp()]).collect();
    let (prior, leak) = (vec![0.01; n], vec![1e-6; n]);
    let edges: Vec<_> = graph.dag_edges().iter().map(|e| json!([e.client, e.server, e.strength])).collect();
    let task =
        json!({"services": n, "edges": edges, "prior": prior, "leak": leak, "likelihood": likelihood, "runs": 3});
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pgmpy/posterior.py");
    let mut peer = Command::new(python)
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {python}"))?;
    peer.stdin.take().context("python has no input")?.write_all(task.to_string().as_bytes())?;
    let output = peer.wait_with_output()?;
    if !output.status.success() {
        bail!("{python} {} ended with {}", script.display(), output.status);
    }
    let result: Value = serde_json::from_slice(&output.stdout)?;
    let list =
        |name: &str| -> Vec<f64> { result[name].as_array().into_iter().flatten().filter_map(Value::as_f64).collect() };

    let mut times = Vec::new();
    let mut fault = Vec::new();
    for _ in 0..RUNS {
        let (graph, prior, leak) = (graph.clone(), prior.clone(), leak.clone());
        let start = Instant::now();
        fault = Network::new(graph, prior, leak)?.posterior(&likelihood)?.fault;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    let theirs = list("fault");
    if theirs.len() != n {
        bail!("pgmpy gives {} posteriors for {n} services", theirs.len());
    }
    let difference = fault.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let (ours, pgmpy) = (median(times), median(list("milliseconds")));
    report.note(&format!(
        "all fault posteriors of {}: pgmpy {pgmpy:.1} ms, here {ours:.4} ms; largest difference {difference:.1e}",
        case.what
    ));
    report.add("pgmpy_difference_petshop", difference);
    report.add("ratio_vs_pgmpy_petshop", pgmpy / ours);
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

const USAGE: &str = "\
Milliseconds of inference on graphs of 40 to 10,000 services, natively and in WASM

Usage: cargo xtask bench infer [PETSHOP] [--pgmpy PYTHON]

  PETSHOP          PetShop's archive (.tar.xz) or one of its graph.csv; without it a graph of its size is made
  --pgmpy PYTHON   a python with pgmpy 1.1.2, the peer (bench/README.md says how to get one)";

fn main() -> Result<()> {
    let (mut path, mut python) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            "--pgmpy" => python = Some(arguments.next().context("--pgmpy needs the path of a python")?),
            option if option.starts_with("--") => bail!("unknown option {option}\n\n{USAGE}"),
            _ if path.is_none() => path = Some(argument),
            _ => bail!("one path expected at most, that of PetShop"),
        }
    }
    let (what, services, edges) = match &path {
        None => {
            ("a generated graph of PetShop's size (no path to PetShop given)".to_owned(), 40, service_like(40, 12, 1))
        }
        Some(path) => {
            let (services, edges) = petshop(path)?;
            ("PetShop's graph".to_owned(), services, edges)
        }
    };
    let mut report = Report::new("infer");
    report.note(&format!("engine version {}, median of {RUNS}, milliseconds", quoll_blast_radius::ENGINE_VERSION));
    let module = match Module::build()? {
        Build::Ready(module) => Some(module),
        Build::Missing(reason) => {
            report.note(&format!("WASM left out: {reason}"));
            None
        }
    };
    let mut cases = vec![Case { name: "petshop", what, services, edges }];
    for (name, services) in [("20", 20), ("200", 200), ("1000", 1000), ("10000", 10_000)] {
        cases.push(Case { name, what: "service-like".to_owned(), services, edges: service_like(services, 12, 1) });
    }
    for (name, services, calls) in [("entangled_100", 100, 2), ("entangled_400", 400, 8)] {
        let (what, edges) = (format!("without domains, {calls} calls each"), entangled(services, calls, 1));
        cases.push(Case { name, what, services, edges });
    }
    for case in &cases {
        measure(case, module.as_ref(), &mut report)?;
        if case.name == "1000" {
            what_if(case, &mut report)?;
        }
    }
    match (&python, cases.first()) {
        (Some(python), Some(case)) => against_pgmpy(case, python, &mut report)?,
        _ => report.note("pgmpy left out: no --pgmpy PYTHON (bench/README.md says how to set it up)"),
    }
    report.print();
    Ok(())
}
