//! Real peers: the system's Prometheus, and the newest releases that `scripts/toolchains/peers` unpacked.
//!
//! A peer that is missing fails the test that asks for it, unless `QUOLL_OFFLINE=1`: then the launcher gives
//! `None`, and the test says that it was left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Process, free_port};
use crate::security::{PASSWORD, Security};
use crate::wait_for;

/// The path of an unpacked peer; `None` only where the network is declared absent.
///
/// # Panics
/// Where it cannot be had.
#[must_use]
pub fn unpacked(program: &str) -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let toolchains = std::env::var_os("QUOLL_TOOLCHAINS").map_or(repository.join("target/toolchains"), PathBuf::from);
    let path = toolchains.join("peers").join(program);
    if path.is_file() {
        return Some(path);
    }
    if std::env::var("QUOLL_OFFLINE").is_ok_and(|value| value == "1") {
        eprintln!("left out, as QUOLL_OFFLINE=1 and {} is missing", path.display());
        return None;
    }
    let fetched = Command::new(repository.join("scripts/toolchains/peers")).status();
    assert!(
        fetched.is_ok_and(|status| status.success()) && path.is_file(),
        "{} is missing and could not be fetched: run scripts/toolchains/peers, or set QUOLL_OFFLINE=1",
        path.display()
    );
    Some(path)
}

/// A Prometheus that takes remote writes of every version it knows.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    /// Its port.
    pub port: u16,
    security: Option<Security>,
}

impl Prometheus {
    /// Starts the system's, 2.42 in Debian 12, in `directory` with this configuration.
    ///
    /// # Panics
    /// Where it is not installed or does not get ready.
    #[must_use]
    pub fn start(directory: &Path, configuration: &str) -> Self {
        Self::launch(Path::new("prometheus"), directory, configuration, &[], None)
    }

    /// Starts the system's behind TLS, client certificates and a password.
    ///
    /// # Panics
    /// Where it is not installed or does not get ready.
    #[must_use]
    pub fn start_secured(directory: &Path, security: Security) -> Self {
        let web = format!("--web.config.file={}", security.file("web.yml"));
        Self::launch(Path::new("prometheus"), directory, "scrape_configs: []\n", &[&web], Some(security))
    }

    /// Starts the newest.
    ///
    /// # Panics
    /// Where it cannot be had or does not get ready.
    #[must_use]
    pub fn start_newest(directory: &Path, configuration: &str) -> Option<Self> {
        let more = [
            "--web.remote-write-receiver.accepted-protobuf-messages=prometheus.WriteRequest",
            "--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request",
            "--enable-feature=native-histograms,exemplar-storage,metadata-wal-records",
        ];
        Some(Self::launch(&unpacked("prometheus")?, directory, configuration, &more, None))
    }

    fn launch(
        program: &Path,
        directory: &Path,
        configuration: &str,
        more: &[&str],
        security: Option<Security>,
    ) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        let port = free_port();
        let mut arguments = vec![
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".to_owned(),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let (program, directory) = (program.to_owned(), directory.to_owned());
        let process = Process::start(&program, &arguments, directory.join("log"));
        let mut started = Self { process, program, arguments, directory, port, security };
        started.wait_ready();
        started
    }

    fn wait_ready(&mut self) {
        wait_for("Prometheus", || {
            self.process.is_alive();
            self.get("/-/ready").call().ok().filter(|answer| answer.status() == 200)
        });
    }

    /// Ends it with SIGKILL and starts it again, on the same data and port.
    ///
    /// # Panics
    /// Where it does not get ready.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = Process::start(&self.program, &self.arguments, self.directory.join("log"));
        self.wait_ready();
    }

    fn url(&self, path: &str) -> String {
        let scheme = if self.security.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
    }

    fn get(&self, path: &str) -> ureq::RequestBuilder<ureq::typestate::WithoutBody> {
        match &self.security {
            None => ureq::get(&self.url(path)),
            Some(security) => {
                let authorization = Security::authorization(PASSWORD);
                security.agent(true).get(&self.url(path)).header("Authorization", authorization)
            }
        }
    }

    /// Where it takes remote writes.
    #[must_use]
    pub fn write_url(&self) -> String {
        self.url("/api/v1/write")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The samples of an instant query: labels and value.
    ///
    /// # Panics
    /// Where Prometheus does not answer.
    #[must_use]
    pub fn query(&self, query: &str, at_ms: i64) -> Vec<(serde_json::Value, f64)> {
        instant_query(self.get("/api/v1/query"), query, at_ms)
    }
}

/// A single-node VictoriaMetrics.
#[derive(Debug)]
pub struct VictoriaMetrics {
    process: Process,
    /// Its port.
    pub port: u16,
}

impl VictoriaMetrics {
    /// Starts the newest in `directory`.
    ///
    /// # Panics
    /// Where it cannot be had or does not get ready.
    #[must_use]
    pub fn start_newest(directory: &Path) -> Option<Self> {
        let program = unpacked("victoria-metrics")?;
        std::fs::create_dir_all(directory).unwrap();
        let port = free_port();
        let arguments = [
            format!("-storageDataPath={}", directory.join("data").display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=1d".to_owned(),
            // Queries see what was just written.
            "-search.latencyOffset=0s".to_owned(),
        ];
        let mut process = Process::start(&program, &arguments, directory.join("log"));
        let ready = format!("http://127.0.0.1:{port}/health");
        wait_for("VictoriaMetrics", || process.is_alive().then(|| ureq::get(&ready).call().ok())?);
        Some(Self { process, port })
    }

    /// Where it takes remote writes.
    #[must_use]
    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port)
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Makes what was written visible to queries.
    ///
    /// # Panics
    /// Where it does not answer.
    pub fn flush(&self) {
        ureq::get(&format!("http://127.0.0.1:{}/internal/force_flush", self.port)).call().unwrap();
    }

    /// The samples of an instant query: labels and value.
    ///
    /// # Panics
    /// Where VictoriaMetrics does not answer.
    #[must_use]
    pub fn query(&self, query: &str, at_ms: i64) -> Vec<(serde_json::Value, f64)> {
        self.flush();
        instant_query(ureq::get(&format!("http://127.0.0.1:{}/api/v1/query", self.port)), query, at_ms)
    }
}

/// A vmagent that scrapes and sends.
#[derive(Debug)]
pub struct Vmagent {
    process: Process,
    /// Its port.
    pub port: u16,
}

impl Vmagent {
    /// Starts the newest in `directory`, with a scrape configuration in Prometheus' format, sending to `url`.
    ///
    /// # Panics
    /// Where it cannot be had or does not get ready.
    #[must_use]
    pub fn start_newest(directory: &Path, configuration: &str, url: &str, more: &[&str]) -> Option<Self> {
        let program = unpacked("vmagent")?;
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join("scrape.yml");
        std::fs::write(&file, configuration).unwrap();
        let port = free_port();
        let mut arguments = vec![
            format!("-promscrape.config={}", file.display()),
            format!("-remoteWrite.url={url}"),
            format!("-remoteWrite.tmpDataPath={}", directory.join("data").display()),
            "-remoteWrite.flushInterval=200ms".to_owned(),
            format!("-httpListenAddr=127.0.0.1:{port}"),
        ];
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut process = Process::start(&program, &arguments, directory.join("log"));
        let ready = format!("http://127.0.0.1:{port}/health");
        wait_for("vmagent", || process.is_alive().then(|| ureq::get(&ready).call().ok())?);
        Some(Self { process, port })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn instant_query(
    request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    query: &str,
    at_ms: i64,
) -> Vec<(serde_json::Value, f64)> {
    let mut answer =
        request.query("query", query).query("time", format!("{}.{:03}", at_ms / 1000, at_ms % 1000)).call().unwrap();
    let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
    let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let read = |sample: serde_json::Value| {
        let value = sample["value"][1].as_str().unwrap().parse().unwrap();
        (sample["metric"].clone(), value)
    };
    samples.into_iter().map(read).collect()
}
