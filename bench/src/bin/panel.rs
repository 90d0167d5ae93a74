//! The panel beside d3-force and MSAGL, in one page of headless Chromium.
//!
//! `cargo xtask bench panel [--quick]`: layout, frames with everything drawn, what-if until painted, growth
//! over 1,000 refreshes, size of the module. Builds the panel first. `--quick` leaves out the graphs of 5,000
//! and 10,000 services. Needs what `scripts/setup` prepares: the WASM toolchain, the npm packages of
//! `grafana-panel` and `tests/panel`, node and Chromium.
//!
//! What the page measures, and how the peers are asked: `tests/panel/bench/`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use quoll_bench::Report;
use serde_json::Value;

const USAGE: &str = "\
Layout, frames, what-if and growth of the panel in headless Chromium, beside d3-force and MSAGL

Usage: cargo xtask bench panel [--quick]

  --quick   leave out the graphs of 5,000 and 10,000 services";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return Ok(());
    }
    if let Some(unknown) = arguments.iter().find(|a| *a != "--quick") {
        bail!("unknown argument {unknown}\n\n{USAGE}");
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench lies in no repository")?;
    let built = Command::new(repository.join("grafana-panel/build")).status().context("grafana-panel/build")?;
    ensure!(built.success(), "grafana-panel/build failed");
    let mut page = Command::new("node")
        .arg(repository.join("tests/panel/bench/run.mjs"))
        .args(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("node")?;
    let output = page.stdout.take().context("node without an output")?;
    let mut report = Report::new("panel");
    for line in BufReader::new(output).lines() {
        let line: Value = serde_json::from_str(&line?).context("a line of the page that is no JSON")?;
        if let Some(text) = line.get("note").and_then(Value::as_str) {
            report.note(text);
        } else if let Some(name) = line.get("figure").and_then(Value::as_str) {
            report.add(name, line.get("value").and_then(Value::as_f64).unwrap_or(f64::NAN));
        }
    }
    ensure!(page.wait()?.success(), "the page's measurement failed");
    report.print();
    Ok(())
}
