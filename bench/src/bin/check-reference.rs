//! Largest difference between the engine and a file of exact posteriors, per quantity, natively and in WASM.
//!
//! `cargo xtask check-reference FILE.jsonl[.gz] [--wasm|--native]`; the fields are described in
//! `blast-radius/fixtures/README.md`. The same questions go to the engine as a WASM module under node, whose
//! answers must have the bits of the native ones. Without an option that is done where the tools for it
//! are (`scripts/setup`); with `--wasm` they must be; with `--native` it is left out.
//! Exits with 1 where a quantity differs by more than 1e-9 from the file, or in any bit from WASM.

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use quoll_bench::wasm::{Build, Module};
use quoll_blast_radius::{CallEdge, CallGraph, Network};
use quoll_blast_radius_wasm::{BITS, Question, SIZES, VERSION, answer};
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

/// One network of the file: the question to the engine, its native answer taken into account.
fn check(line: &str, differences: &mut Differences) -> Result<Question> {
    let reference: Value = serde_json::from_str(line)?;
    let name = reference["id"].to_string();
    let services = u32::try_from(reference["n"].as_u64().context("n is not a number")?)?;
    let mut likelihood = Vec::new();
    for pair in reference["lik"].as_array().context("lik is not a list")? {
        likelihood.push([number(&pair[0])?, number(&pair[1])?]);
    }
    let (edges, prior) = (edges(&reference["dag_edges"])?, numbers(&reference["prior"])?);
    let leak = numbers(&reference["leak"])?;
    let network = Network::new(CallGraph::new(services, &edges)?, prior.clone(), leak.clone())?;
    let posterior = network.posterior(&likelihood)?;
    differences.take("post_F", &name, &posterior.fault, &numbers(&reference["post_F"])?)?;
    differences.take("post_A", &name, &posterior.anomalous, &numbers(&reference["post_A"])?)?;
    // A network may carry posteriors only.
    if !reference["log_evidence"].is_null() {
        let evidence = number(&reference["log_evidence"])?;
        differences.take("log_evidence", &name, &[posterior.log_evidence], &[evidence])?;
    }
    let blasts = reference["blast"].as_array();
    for (root, hits) in (0..).zip(blasts.into_iter().flatten()) {
        differences.take("blast", &name, &network.blast_radius(root)?, &numbers(hits)?)?;
    }
    Ok(Question::Network { services, edges, prior, leak, likelihood, blasts: blasts.is_some() })
}

/// Whether WASM gives the native answers, bit for bit, and the known bits of this version.
fn compare(module: &Module, mut questions: Vec<Question>) -> Result<bool> {
    let known = questions.len();
    questions.extend(SIZES.map(|services| Question::Fingerprint { services }));
    let answers = module.ask(&questions, 1)?;
    let (mut values, mut different) = (0, 0);
    for (question, there) in questions.iter().zip(&answers) {
        let here = answer(&question.request());
        if here.len() == 1 || here.len() != there.values.len() {
            bail!("{} numbers natively, {} in WASM, for {question:?}", here.len(), there.values.len());
        }
        values += here.len() - 1;
        different += here.iter().zip(&there.values).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    }
    let pinned = answers[known..].iter().zip(BITS).all(|(answer, bits)| {
        let [_, high, low] = answer.values[..] else { return false };
        high.to_bits() == ((bits >> 32) as f64).to_bits() && low.to_bits() == ((bits & 0xffff_ffff) as f64).to_bits()
    });
    println!("WASM under node: {different} of {values} numbers differ in a bit from the native ones");
    println!("WASM under node: the bits of version {VERSION} are {}", if pinned { "met" } else { "NOT MET" });
    Ok(different == 0 && pinned)
}

const USAGE: &str = "\
Largest difference between the engine and a file of exact posteriors

Usage: cargo xtask check-reference FILE [--wasm | --native]

  FILE       FILE.jsonl or FILE.jsonl.gz, such as blast-radius/fixtures/noisy_or_reference.jsonl.gz
  --wasm     fail where the WASM build cannot be asked, too; by default it is left out, and said so
  --native   do not ask the WASM build";

fn main() -> Result<ExitCode> {
    let (options, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let [file] = <[String; 1]>::try_from(files).map_err(|files| {
        anyhow::anyhow!("one file expected, FILE.jsonl or FILE.jsonl.gz, not {}\n\n{USAGE}", files.len())
    })?;
    let (mut demanded, mut left_out) = (false, false);
    for option in &options {
        match option.as_str() {
            "--wasm" => demanded = true,
            "--native" => left_out = true,
            other => bail!("unknown option {other}\n\n{USAGE}"),
        }
    }
    if demanded && left_out {
        bail!("--wasm and --native exclude each other");
    }
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {file}"))?;
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    let mut differences = Differences::default();
    let mut questions = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        questions.push(check(line, &mut differences).with_context(|| format!("{file}, line {}", number + 1))?);
    }
    if questions.is_empty() {
        bail!("{file} holds no network");
    }
    println!("{} networks, engine version {}", questions.len(), quoll_blast_radius::ENGINE_VERSION);
    println!("{:<14} {:>10} {:>20}  network", "quantity", "values", "largest difference");
    let mut passed = true;
    for (quantity, difference, network, values) in &differences.rows {
        println!("{quantity:<14} {values:>10} {difference:>20.3e}  {network}");
        passed &= *difference <= TOLERANCE;
    }
    println!("{} (limit {TOLERANCE:e})", if passed { "agrees" } else { "DIFFERS" });
    if !left_out {
        match Module::build()? {
            Build::Ready(module) => passed &= compare(&module, questions)?,
            Build::Missing(what) if demanded => bail!("{what}"),
            Build::Missing(what) => println!("WASM left out: {what}"),
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
