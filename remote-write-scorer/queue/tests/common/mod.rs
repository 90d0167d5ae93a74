//! A remote-write receiver that answers by script.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;
use quoll_prometheus_protocol::{snappy, v1, v2};
use quoll_queue::OutSeries;

/// Labels, timestamp, value.
pub type Sample = (Vec<(String, String)>, i64, f64);

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub at: Instant,
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    /// Whether it says that it is remote write 2.0.
    pub fn is_v2(&self) -> bool {
        self.head.to_ascii_lowercase().contains("x-prometheus-remote-write-version: 2.0.0\r\n")
    }

    /// (labels, timestamp, value) of every sample.
    pub fn samples(&self) -> Vec<Sample> {
        let mut buffer = Vec::new();
        let bytes = snappy::decompress(&self.body, &mut buffer, 1 << 26).unwrap();
        let mut all = Vec::new();
        if self.is_v2() {
            let request = v2::Request::decode(bytes).unwrap();
            let symbol = |index: u32| request.symbols[index as usize].clone();
            for series in &request.timeseries {
                let pairs = series.labels_refs.chunks(2);
                let labels: Vec<(String, String)> = pairs.map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
                assert_eq!(series.metadata.unwrap().r#type, v1::MetricType::Gauge as i32);
                all.extend(series.samples.iter().map(|sample| (labels.clone(), sample.timestamp, sample.value)));
            }
            return all;
        }
        let request = v1::WriteRequest::decode(bytes).unwrap();
        for series in request.timeseries {
            let labels: Vec<(String, String)> = series.labels.into_iter().map(|l| (l.name, l.value)).collect();
            all.extend(series.samples.iter().map(|sample| (labels.clone(), sample.timestamp, sample.value)));
        }
        all
    }
}

/// How the peer answers a request.
pub type Answer = Box<dyn Fn(&Request) -> (u16, &'static str) + Send>;

#[derive(Default)]
struct Inner {
    script: VecDeque<(u16, &'static str)>,
    otherwise: Option<Answer>,
    requests: Vec<Request>,
    /// Whether it counts what it wrote, as receivers of 2.0 do.
    counts: bool,
}

/// A peer on a free port of loopback; its threads end with the test process.
pub struct Peer {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

impl Peer {
    /// Answers with the script's (status, extra header lines) one after the other, then 204.
    pub fn scripted(script: &[(u16, &'static str)]) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), script, None)
    }

    /// Answers as the function says.
    pub fn answering(answer: Answer) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").unwrap(), &[], Some(answer))
    }

    fn start(listener: TcpListener, script: &[(u16, &'static str)], otherwise: Option<Answer>) -> Self {
        Self::serving("http", listener, script, otherwise, Some)
    }

    /// Over TLS, with the name `localhost`. A connection whose handshake fails is hung up.
    pub fn over_tls(config: rustls::ServerConfig) -> Self {
        let config = Arc::new(config);
        let accept = move |mut stream: TcpStream| {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            connection.complete_io(&mut stream).ok()?;
            Some(rustls::StreamOwned::new(connection, stream))
        };
        Self::serving("https", TcpListener::bind("127.0.0.1:0").unwrap(), &[], None, accept)
    }

    fn serving<S: Read + Write + Send + 'static>(
        scheme: &str,
        listener: TcpListener,
        script: &[(u16, &'static str)],
        otherwise: Option<Answer>,
        accept: impl Fn(TcpStream) -> Option<S> + Send + 'static,
    ) -> Self {
        let host = if scheme == "https" { "localhost" } else { "127.0.0.1" };
        let url = format!("{scheme}://{host}:{}/api/v1/write", listener.local_addr().unwrap().port());
        let inner = Arc::new(Mutex::new(Inner {
            script: script.iter().copied().collect(),
            otherwise,
            requests: Vec::new(),
            counts: true,
        }));
        let of_thread = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = Arc::clone(&of_thread);
                let Some(stream) = accept(stream) else { continue };
                std::thread::spawn(move || serve(stream, &inner));
            }
        });
        Self { url, inner }
    }

    /// From here on as a receiver that knows nothing of 2.0.
    pub fn without_counts(self) -> Self {
        self.inner.lock().unwrap().counts = false;
        self
    }

    pub fn requests(&self) -> Vec<Request> {
        self.inner.lock().unwrap().requests.clone()
    }
}

fn serve(stream: impl Read + Write, inner: &Mutex<Inner>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let request = Request { at: Instant::now(), head, body };
        let (request_is_v2, samples) = (request.is_v2(), request.samples().len());
        let (status, headers, spec_2) = {
            let mut inner = inner.lock().unwrap();
            let answer = inner.script.pop_front();
            let answer =
                answer.or_else(|| inner.otherwise.as_ref().map(|otherwise| otherwise(&request))).unwrap_or((204, ""));
            inner.requests.push(request);
            (answer.0, answer.1, inner.counts)
        };
        if status == 0 {
            // Hangs up without an answer.
            return;
        }
        let counts = if (200..300).contains(&status) && spec_2 && request_is_v2 {
            format!("X-Prometheus-Remote-Write-Samples-Written: {samples}\r\n")
        } else {
            String::new()
        };
        let text = if status == 204 { "" } else { "because the script says so\n" };
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}{counts}Content-Length: {}\r\n\r\n{text}", text.len());
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

pub fn series(name: &str, id: usize, timestamp_ms: i64, value: f64) -> OutSeries {
    let labels = vec![("__name__".to_owned(), name.to_owned()), ("id".to_owned(), format!("{id:05}"))];
    OutSeries { labels, timestamp_ms, value }
}

/// How long anything is waited for: a machine may be slow or busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `done`, at most [`PATIENCE`].
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
