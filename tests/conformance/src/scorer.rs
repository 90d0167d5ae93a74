//! The scorer under test.

use std::path::{Path, PathBuf};

use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::{CONTENT_TYPE_V2, EXEMPLARS_WRITTEN, HISTOGRAMS_WRITTEN, SAMPLES_WRITTEN, snappy};

use crate::process::{Process, free_port, scorer_binary};
use crate::security::{PASSWORD, Security};
use crate::wait_for;

/// A `quoll-scorer serve`.
#[derive(Debug)]
pub struct Scorer {
    /// The process.
    pub process: Process,
    /// Its port.
    pub port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    agent: ureq::Agent,
    /// Where it is reached, and by whom.
    scheme: &'static str,
    authorization: Option<String>,
}

impl Scorer {
    /// Starts one with its data in `directory` and a step of one second, and waits until it is ready.
    ///
    /// # Panics
    /// Where it does not get ready.
    #[must_use]
    pub fn start(directory: &Path, write_to: Option<u16>, configuration: &str) -> Self {
        Self::launch(directory, write_to, configuration, None)
    }

    /// As [`Scorer::start`], behind TLS, client certificates and a password.
    ///
    /// # Panics
    /// Where it does not get ready.
    #[must_use]
    pub fn start_secured(directory: &Path, configuration: &str, security: &Security) -> Self {
        Self::launch(directory, None, configuration, Some(security))
    }

    fn launch(directory: &Path, write_to: Option<u16>, configuration: &str, security: Option<&Security>) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join("scorer.yaml");
        std::fs::write(&file, configuration).unwrap();
        let port = free_port();
        let mut arguments: Vec<String> = vec!["serve".into(), "--step".into(), "1s".into()];
        arguments.extend(["--config".into(), file.display().to_string()]);
        arguments.extend(["--listen".into(), format!("127.0.0.1:{port}")]);
        arguments.extend(["--data-dir".into(), directory.join("data").display().to_string()]);
        if let Some(peer) = write_to {
            arguments.extend(["--remote-write-url".into(), format!("http://127.0.0.1:{peer}/api/v1/write")]);
        }
        if let Some(security) = security {
            arguments.extend(["--web-config-file".into(), security.file("web.yml")]);
        }
        let process = Process::start(scorer_binary(), &arguments, directory.join("log"));
        let plain = || ureq::Agent::config_builder().max_idle_connections(0).http_status_as_error(false).build().into();
        let scorer = Self {
            process,
            port,
            directory: directory.to_owned(),
            arguments,
            agent: security.map_or_else(plain, |security| security.agent(true)),
            scheme: if security.is_some() { "https" } else { "http" },
            authorization: security.map(|_| Security::authorization(PASSWORD)),
        };
        scorer.wait_ready();
        scorer
    }

    fn wait_ready(&self) {
        wait_for("the scorer", || self.get("/-/ready"));
    }

    /// Ends it with SIGKILL and starts it again on the same data.
    ///
    /// # Panics
    /// Where it does not get ready.
    pub fn kill_and_restart(&mut self) {
        self.process.kill();
        self.process = Process::start(scorer_binary(), &self.arguments, self.directory.join("log"));
        self.wait_ready();
    }

    /// The address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    fn send(&self, headers: &[(&str, &str)], body: &[u8]) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
        let mut request = self.agent.post(&self.url("/api/v1/write"));
        let own = self.authorization.iter().map(|value| ("Authorization", value.as_str()));
        for (name, value) in headers.iter().copied().chain(own) {
            request = request.header(name, value);
        }
        request.send(body)
    }

    /// The text of a page, if it answers with 200.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<String> {
        let mut request = self.agent.get(&self.url(path));
        if let Some(value) = &self.authorization {
            request = request.header("Authorization", value);
        }
        let mut answer = request.call().ok().filter(|answer| answer.status() == 200)?;
        answer.body_mut().read_to_string().ok()
    }

    /// A page as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    pub fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(path).unwrap()).unwrap()
    }

    /// The value of one of its own metrics.
    ///
    /// # Panics
    /// Where there is no such metric.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.get("/metrics").unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name}")).parse().unwrap()
    }

    /// Posts a body to the write path and returns status and answer.
    ///
    /// # Panics
    /// Where there is no answer.
    #[must_use]
    pub fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut answer = self.send(headers, body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default())
    }

    /// Posts a body to the write path; the status, or `None` where no answer came.
    #[must_use]
    pub fn try_post(&self, headers: &[(&str, &str)], body: &[u8]) -> Option<u16> {
        self.send(headers, body).ok().map(|answer| answer.status().as_u16())
    }

    /// As [`Scorer::post`], with the written-counts headers of the answer: samples, histograms, exemplars.
    ///
    /// # Panics
    /// Where there is no answer, or a count is no number.
    #[must_use]
    pub fn post_counted(&self, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Option<[u64; 3]>) {
        let mut answer = self.send(headers, body).unwrap();
        let counts = [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN]
            .map(|name| answer.headers().get(name).map(|count| count.to_str().unwrap().parse().unwrap()));
        let present = counts.iter().flatten().count();
        assert!(present == 0 || present == 3, "all counts or none: {counts:?}");
        let counts = (present == 3).then(|| counts.map(Option::unwrap));
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default(), counts)
    }

    /// Resident memory in KiB.
    ///
    /// # Panics
    /// Where the process is gone.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Headers of remote write 1.0.
pub const V1: [(&str, &str); 3] = [
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];

/// Headers of remote write 2.0.
pub const V2: [(&str, &str); 3] =
    [("Content-Type", CONTENT_TYPE_V2), ("Content-Encoding", "snappy"), ("X-Prometheus-Remote-Write-Version", "2.0.0")];

/// Labels of a series, sorted by name.
pub type Labels = Vec<(&'static str, String)>;

/// A compressed 1.0 request of one sample per series.
///
/// # Panics
/// Never on bodies of less than 4 GiB.
#[must_use]
pub fn request(series: &[(Labels, i64, f64)]) -> Vec<u8> {
    let mut encoder = WriteRequestEncoder::new();
    for (labels, timestamp, value) in series {
        encoder.push(labels, &[(*timestamp, *value)]);
    }
    snappy::compress(encoder.as_bytes()).unwrap()
}
