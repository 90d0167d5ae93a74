//! A remote-write receiver that answers by script.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prost::Message;
use quoll_prometheus_protocol::{snappy, v1};
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
    /// (labels, timestamp, value) of every sample.
    pub fn samples(&self) -> Vec<Sample> {
        let mut buffer = Vec::new();
        let bytes = snappy::decompress(&self.body, &mut buffer, 1 << 26).unwrap();
        let request = v1::WriteRequest::decode(bytes).unwrap();
        let mut all = Vec::new();
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
        let url = format!("http://{}/api/v1/write", listener.local_addr().unwrap());
        let inner =
            Arc::new(Mutex::new(Inner { script: script.iter().copied().collect(), otherwise, requests: Vec::new() }));
        let of_thread = Arc::clone(&inner);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inner = Arc::clone(&of_thread);
                std::thread::spawn(move || serve(stream, &inner));
            }
        });
        Self { url, inner }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.inner.lock().unwrap().requests.clone()
    }
}

fn serve(stream: TcpStream, inner: &Mutex<Inner>) {
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
        let (status, headers) = {
            let mut inner = inner.lock().unwrap();
            let answer = inner.script.pop_front();
            let answer =
                answer.or_else(|| inner.otherwise.as_ref().map(|otherwise| otherwise(&request))).unwrap_or((204, ""));
            inner.requests.push(request);
            answer
        };
        if status == 0 {
            // Hangs up without an answer.
            return;
        }
        let text = if status == 204 { "" } else { "because the script says so\n" };
        let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{text}", text.len());
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

/// Waits until `done`, at most 20 seconds.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "waited 20 s for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
