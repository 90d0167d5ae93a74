//! The other ends: a scrape target, Prometheus, and a remote-write receiver that records.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use quoll_prometheus_protocol::{snappy, v1};

use crate::process::{Process, free_port};
use crate::wait_for;

/// From path and body to status and text.
type Answer = dyn Fn(&str, &[u8]) -> (u16, String);

/// Answers every request on a loopback port with what `answer` makes of path and body. The threads end with
/// the test's process.
///
/// # Panics
/// Where no port is free.
pub fn serve(answer: impl Fn(&str, &[u8]) -> (u16, String) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let _ = converse(&connection, &*answer);
            });
        }
    });
    port
}

fn converse(connection: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let (mut request, mut length) = (String::new(), 0);
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, text) = answer(request.split(' ').nth(1).unwrap_or("/"), &body);
        let length = text.len();
        let mut connection = connection;
        write!(
            connection,
            "HTTP/1.1 {status} X\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\r\n{text}"
        )?;
    }
}

/// Samples that a recording receiver got, by labels and timestamp: value bits.
pub type Recorded = BTreeMap<(String, i64), u64>;

/// A remote-write 1.0 receiver that takes everything, and remembers it.
///
/// # Panics
/// (In its thread) on a body that prost does not read, or on one sample with two values.
pub fn recorder() -> (u16, Arc<Mutex<Recorded>>) {
    let recorded = Arc::new(Mutex::new(Recorded::new()));
    let to = Arc::clone(&recorded);
    let port = serve(move |_, body| {
        let mut buffer = Vec::new();
        let body = snappy::decompress(body, &mut buffer, 1 << 26).unwrap();
        let mut recorded = to.lock().unwrap();
        for series in v1::WriteRequest::decode(body).unwrap().timeseries {
            let labels: Vec<String> = series.labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
            for sample in series.samples {
                let before = recorded.insert((labels.join(","), sample.timestamp), sample.value.to_bits());
                assert!(before.is_none_or(|bits| bits == sample.value.to_bits()), "two values of {labels:?}");
            }
        }
        (204, String::new())
    });
    (port, recorded)
}

/// A Prometheus of the system's package.
#[derive(Debug)]
pub struct Prometheus {
    _process: Process,
    /// Its port.
    pub port: u16,
}

impl Prometheus {
    /// Starts one in `directory` with this configuration, taking remote writes.
    ///
    /// # Panics
    /// Where it is not installed or does not get ready.
    #[must_use]
    pub fn start(directory: &Path, configuration: &str) -> Self {
        std::fs::create_dir_all(directory).unwrap();
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        let port = free_port();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--web.enable-remote-write-receiver".to_owned(),
        ];
        let process = Process::start(Path::new("prometheus"), &arguments, directory.join("log"));
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait_for("Prometheus", Duration::from_secs(30), || ureq::get(&ready).call().ok());
        Self { _process: process, port }
    }

    /// The samples of an instant query: labels and value.
    ///
    /// # Panics
    /// Where Prometheus does not answer.
    #[must_use]
    pub fn query(&self, query: &str, at_ms: i64) -> Vec<(serde_json::Value, f64)> {
        let mut answer = ureq::get(&format!("http://127.0.0.1:{}/api/v1/query", self.port))
            .query("query", query)
            .query("time", format!("{}.{:03}", at_ms / 1000, at_ms % 1000))
            .call()
            .unwrap();
        let answer: serde_json::Value = answer.body_mut().read_json().unwrap();
        let samples = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let read = |sample: serde_json::Value| {
            let value = sample["value"][1].as_str().unwrap().parse().unwrap();
            (sample["metric"].clone(), value)
        };
        samples.into_iter().map(read).collect()
    }
}
