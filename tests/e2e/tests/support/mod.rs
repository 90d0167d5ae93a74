//! What the tests of provisioning and dashboards share: programs, metric names, a real Prometheus.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quoll_e2e::clients::{Http, Prometheus};
use quoll_e2e::process::{Program, Supervisor};

/// The checkout.
pub fn root() -> PathBuf {
    quoll_e2e::checkout::root()
}

/// Runs a system program and returns its output; fails the test where it fails.
pub fn succeeds(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program} cannot be run ({error}); run scripts/setup"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}:\n{text}");
    text
}

/// Files of a folder with that end of the name, as text for a command line.
pub fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found: Vec<String> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(end))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no *{end} in {folder}");
    found
}

/// Series that the exporter may give (histograms by their base name): the list in its guide, which a test of its own
/// holds against what it prints.
pub fn exporter_metrics() -> BTreeSet<String> {
    let guide = std::fs::read_to_string(root().join("docs/exporter.md")).unwrap();
    let list = guide.split("```text\n# collector").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let names = list.lines().filter(|line| line.starts_with("quoll_")).filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

/// Series that the scorer writes back.
pub const SCORER_OUTPUTS: &[&str] = &[
    "quoll_anomaly_score",
    "quoll_anomaly_probability",
    "quoll_feature_anomaly_score",
    "quoll_feature_value",
    "quoll_feature_expected",
    "quoll_feature_coverage_ratio",
    "quoll_calibration_samples",
    "quoll_edge_strength",
    "quoll_edge_requests_per_second",
    "quoll_edge_error_ratio",
    "quoll_service_alias_info",
    "quoll_evidence_log_likelihood_ratio",
    "quoll_fault_prior_probability",
    "quoll_no_fault_prior_probability",
    "quoll_root_cause_probability",
    "quoll_no_fault_probability",
    "quoll_blast_radius_probability",
    "quoll_symptom",
    "quoll_leak_probability",
    "quoll_inference_info",
    "quoll_inference_tick_timestamp_seconds",
];

/// Names of metrics in an expression: whatever begins with `quoll_`.
pub fn metrics_of(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))
        .filter(|word| word.starts_with("quoll_"))
        .map(str::to_owned)
        .collect()
}

/// Names that may be used: those above, and what the scorer beside this test prints, where it is built.
pub fn known_metrics() -> BTreeSet<String> {
    let mut known = exporter_metrics();
    known.extend(SCORER_OUTPUTS.iter().map(|name| (*name).to_owned()));
    known.extend(printed_metrics("quoll-scorer").into_iter().flatten());
    known
}

/// A binary of the product; `None` where it is not built beside this test.
pub fn product(binary: &str) -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_BIN_EXE_demo")).parent()?.join(binary)).filter(|path| path.is_file())
}

/// What `BINARY --print-metrics` names; `None` where it is not built beside this test.
pub fn printed_metrics(binary: &str) -> Option<BTreeSet<String>> {
    let output = Command::new(product(binary)?).arg("--print-metrics").output().unwrap();
    assert!(output.status.success(), "{binary} --print-metrics");
    Some(metrics_of(&String::from_utf8_lossy(&output.stdout)))
}

/// Whether `used` is one of `known`, or a part of a histogram that is.
pub fn is_known(known: &BTreeSet<String>, used: &str) -> bool {
    known.contains(used)
        || ["_sum", "_count", "_bucket"]
            .iter()
            .any(|part| used.strip_suffix(part).is_some_and(|base| base.ends_with("_seconds") && known.contains(base)))
}

/// A Prometheus without targets, to ask about expressions.
pub struct Oracle {
    /// Its API.
    pub prometheus: Prometheus,
    _supervisor: Supervisor,
    _folder: tempfile::TempDir,
}

impl Oracle {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("prometheus.yml"), "{}").unwrap();
        let path = quoll_e2e::checkout::system_program(&["prometheus"]).unwrap();
        let mut supervisor = Supervisor::new(PathBuf::from(env!("CARGO_BIN_EXE_demo")), folder.path().to_path_buf());
        let program = Program::new(
            "prometheus",
            path,
            [
                format!("--config.file={}/prometheus.yml", folder.path().display()),
                format!("--storage.tsdb.path={}/data", folder.path().display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ],
        );
        supervisor.start(&program).unwrap();
        let prometheus = Prometheus(Http::local(port));
        supervisor.wait_ready(Duration::from_secs(30), || prometheus.ready()).unwrap();
        Self { prometheus, _supervisor: supervisor, _folder: folder }
    }

    /// What is wrong with an expression, if anything is.
    pub fn refuses(&self, expression: &str) -> Option<String> {
        self.prometheus.0.get("/api/v1/format_query", &[("query", expression)]).err().map(|error| error.to_string())
    }
}
