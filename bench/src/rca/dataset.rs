//! PetShop's directory form: any directory below which lie scenarios.
//!
//! A scenario is a directory with `graph.csv` (an adjacency matrix, callers in rows), perhaps
//! `noissue/metrics.csv` (normal operation), and incidents anywhere below, each a directory with
//! `metrics.csv` and `target.json`. A `metrics.csv` has four header rows (service, metric, statistic, the
//! name of the time) and one row per step: seconds since the epoch, then values, empty where missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// One service's measurements, one value per step; NaN where missing.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Mean latency, in seconds.
    pub latency: Vec<f64>,
    /// Requests in the step.
    pub requests: Vec<f64>,
    /// Share of requests that went well, in per cent.
    pub availability: Vec<f64>,
}

/// One `metrics.csv`.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Start of each step, in seconds since the epoch.
    pub seconds: Vec<f64>,
    pub services: BTreeMap<String, Columns>,
}

/// One labelled incident.
#[derive(Debug, Clone)]
pub struct Incident {
    pub name: String,
    pub table: Table,
    /// The service whose service level was breached: where traversal starts.
    pub alerting: String,
    pub root: String,
}

/// One deployment.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub name: String,
    /// Callers and callees.
    pub calls: Vec<(String, String)>,
    pub history: Option<Table>,
    pub incidents: Vec<Incident>,
}

impl Scenario {
    /// Every service named anywhere in the scenario, sorted.
    pub fn services(&self) -> Vec<String> {
        let mut all: BTreeSet<&String> = self.calls.iter().flat_map(|(a, b)| [a, b]).collect();
        all.extend(self.history.iter().flat_map(|table| table.services.keys()));
        all.extend(self.incidents.iter().flat_map(|incident| incident.table.services.keys()));
        all.into_iter().cloned().collect()
    }
}

/// Reads every scenario below `directory`, in the order of their paths.
pub fn load(directory: &Path) -> Result<Vec<Scenario>> {
    let mut files = Vec::new();
    walk(directory, &mut files)?;
    files.sort();
    let mut scenarios = Vec::new();
    for graph in files.iter().filter(|file| file.ends_with("graph.csv")) {
        let root = graph.parent().context("a file has a directory")?;
        let name = root.strip_prefix(directory).unwrap_or(root).display().to_string();
        let history = root.join("noissue").join("metrics.csv");
        let history = history.is_file().then(|| read_table(&history)).transpose()?;
        let mut incidents = Vec::new();
        for target in files.iter().filter(|file| file.starts_with(root) && file.ends_with("target.json")) {
            let at = target.parent().context("a file has a directory")?;
            let label: serde_json::Value = serde_json::from_slice(&std::fs::read(target)?)?;
            let text = |part: &str| label[part]["node"].as_str().map(str::to_owned);
            incidents.push(Incident {
                name: at.strip_prefix(directory).unwrap_or(at).display().to_string(),
                table: read_table(&at.join("metrics.csv"))?,
                alerting: text("target").with_context(|| format!("{}: no target.node", target.display()))?,
                root: text("root_cause").with_context(|| format!("{}: no root_cause.node", target.display()))?,
            });
        }
        scenarios.push(Scenario { name, calls: read_graph(graph)?, history, incidents });
    }
    ensure!(!scenarios.is_empty(), "{}: no graph.csv below", directory.display());
    ensure!(scenarios.iter().any(|s| s.history.is_some()), "{}: no noissue/metrics.csv below", directory.display());
    Ok(scenarios)
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn read_graph(path: &Path) -> Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(path)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().context("graph.csv is empty")?.split(',').skip(1).collect();
    let mut calls = Vec::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut cells = line.split(',');
        let caller = cells.next().unwrap_or_default();
        for (callee, cell) in header.iter().zip(cells) {
            if cell.parse::<f64>().is_ok_and(|value| value > 0.0) && caller != *callee {
                calls.push((caller.to_owned(), (*callee).to_owned()));
            }
        }
    }
    Ok(calls)
}

fn read_table(path: &Path) -> Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines = text.lines();
    let mut header = || lines.next().map(|line| line.split(',').skip(1).collect::<Vec<_>>());
    let (Some(services), Some(metrics), Some(statistics), Some(_)) = (header(), header(), header(), header()) else {
        bail!("{}: four header rows expected", path.display());
    };
    let mut table = Table::default();
    for line in lines.filter(|line| !line.is_empty()) {
        let mut cells = line.split(',');
        table.seconds.push(cells.next().unwrap_or_default().parse().with_context(|| path.display().to_string())?);
        for (((service, metric), statistic), cell) in services.iter().zip(&metrics).zip(&statistics).zip(cells) {
            let columns = table.services.entry((*service).to_owned()).or_default();
            let column = match (*metric, *statistic) {
                ("latency", "Average") => &mut columns.latency,
                ("requests", "Sum") => &mut columns.requests,
                ("availability", "Average") => &mut columns.availability,
                _ => continue,
            };
            column.push(cell.parse().unwrap_or(f64::NAN));
        }
    }
    let steps = table.seconds.len();
    for columns in table.services.values_mut() {
        for column in [&mut columns.latency, &mut columns.requests, &mut columns.availability] {
            column.resize(steps, f64::NAN);
        }
    }
    Ok(table)
}
