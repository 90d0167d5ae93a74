//! Largest difference between the engine and a file of exact posteriors, per quantity.
//!
//! `cargo xtask check-reference FILE.jsonl[.gz]`; the fields are described in `blast-radius/fixtures/README.md`.
//! Exits with 1 where a quantity differs by more than 1e-9.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use quoll_blast_radius::{CallEdge, CallGraph, Network};
use serde_json::Value;

const TOLERANCE: f64 = 1e-9;

fn number(value: &Value) -> Result<f64> {
    value.as_f64().with_context(|| format!("{value} is not a number"))
}

fn numbers(value: &Value) -> Result<Vec<f64>> {
    value.as_array().with_context(|| format!("{value} is not a list"))?.iter().map(number).collect()
}

fn edges(value: &Value) -> Result<Vec<CallEdge>> {
    let list = value.as_array().context("dag_edges is not a list")?;
    (list.iter())
        .map(|edge| {
            let id = |place: usize| -> Result<u32> {
                let id = edge[place].as_u64().with_context(|| format!("{edge} is not an edge"))?;
                Ok(u32::try_from(id)?)
            };
            Ok(CallEdge { client: id(0)?, server: id(1)?, strength: number(&edge[2])? })
        })
        .collect()
}

/// Largest differences so far.
#[derive(Default)]
struct Differences {
    rows: Vec<(&'static str, f64, String, usize)>,
}

impl Differences {
    fn take(&mut self, quantity: &'static str, network: &str, ours: &[f64], theirs: &[f64]) -> Result<()> {
        if ours.len() != theirs.len() {
            bail!("network {network}: {quantity} has {} entries, {} expected", theirs.len(), ours.len());
        }
        let place = self.rows.iter().position(|row| row.0 == quantity).unwrap_or_else(|| {
            self.rows.push((quantity, 0.0, String::new(), 0));
            self.rows.len() - 1
        });
        let row = &mut self.rows[place];
        for (a, b) in ours.iter().zip(theirs) {
            // Not a number must count as a difference, hence not `max`.
            let difference = (a - b).abs();
            if difference.is_nan() || difference > row.1 {
                row.1 = if difference.is_nan() { f64::INFINITY } else { difference };
                network.clone_into(&mut row.2);
            }
            row.3 += 1;
        }
        Ok(())
    }
}

fn check(line: &str, differences: &mut Differences) -> Result<()> {
    let reference: Value = serde_json::from_str(line)?;
    let name = reference["id"].to_string();
    let services = u32::try_from(reference["n"].as_u64().context("n is not a number")?)?;
    let graph = CallGraph::new(services, &edges(&reference["dag_edges"])?)?;
    let network = Network::new(graph, numbers(&reference["prior"])?, numbers(&reference["leak"])?)?;
    let mut likelihood = Vec::new();
    for pair in reference["lik"].as_array().context("lik is not a list")? {
        likelihood.push([number(&pair[0])?, number(&pair[1])?]);
    }
    let posterior = network.posterior(&likelihood)?;
    differences.take("post_F", &name, &posterior.fault, &numbers(&reference["post_F"])?)?;
    differences.take("post_A", &name, &posterior.anomalous, &numbers(&reference["post_A"])?)?;
    // A network may carry posteriors only.
    if !reference["log_evidence"].is_null() {
        let evidence = number(&reference["log_evidence"])?;
        differences.take("log_evidence", &name, &[posterior.log_evidence], &[evidence])?;
    }
    for (root, hits) in (0..).zip(reference["blast"].as_array().into_iter().flatten()) {
        differences.take("blast", &name, &network.blast_radius(root)?, &numbers(hits)?)?;
    }
    Ok(())
}

fn main() -> Result<ExitCode> {
    let [file] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|arguments: Vec<String>| {
        anyhow::anyhow!("one argument expected, FILE.jsonl or FILE.jsonl.gz, not {}", arguments.len())
    })?;
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    let mut differences = Differences::default();
    let mut networks = 0;
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        check(line, &mut differences).with_context(|| format!("{file}, line {}", number + 1))?;
        networks += 1;
    }
    if networks == 0 {
        bail!("{file} holds no network");
    }
    println!("{networks} networks, engine version {}", quoll_blast_radius::ENGINE_VERSION);
    println!("{:<14} {:>10} {:>20}  network", "quantity", "values", "largest difference");
    let mut passed = true;
    for (quantity, difference, network, values) in &differences.rows {
        println!("{quantity:<14} {values:>10} {difference:>20.3e}  {network}");
        passed &= *difference <= TOLERANCE;
    }
    println!("{} (limit {TOLERANCE:e})", if passed { "agrees" } else { "DIFFERS" });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
