//! How fast the queue takes and delivers: samples per second through disk, one connection and a peer
//! that answers 204 to everything.
//!
//! `cargo run --release -p quoll-queue --example throughput [TICKS] [SAMPLES_PER_TICK]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement, not a service")]

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use quoll_queue::{OutSeries, Queue, QueueConfig};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a number"));
    let ticks = arguments.next().unwrap_or(100);
    let samples = arguments.next().unwrap_or(10_000);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/api/v1/write", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    let dir = std::env::temp_dir().join(format!("quoll-queue-throughput-{}", std::process::id()));
    let queue = Queue::open(QueueConfig::new(url, &dir)).expect("a queue");
    let begin = Instant::now();
    let mut appending = Duration::ZERO;
    for tick in 0..ticks {
        let timestamp_ms = now_ms();
        let batch: Vec<OutSeries> = (0..samples)
            .map(|id| OutSeries {
                labels: vec![
                    ("__name__".to_owned(), "quoll_feature_anomaly_score".to_owned()),
                    ("feature".to_owned(), "request_latency_seconds".to_owned()),
                    ("service_name".to_owned(), format!("service-{id}")),
                ],
                timestamp_ms,
                value: id as f64 + tick as f64 / 7.0,
            })
            .collect();
        let before = Instant::now();
        queue.append(batch).expect("room");
        appending += before.elapsed();
    }
    while queue.stats().pending_samples > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let total = (ticks * samples) as f64;
    println!("appended, samples per second     {:>12.0}", total / appending.as_secs_f64());
    println!("delivered, samples per second    {:>12.0}", total / begin.elapsed().as_secs_f64());
    println!("append, ms per tick              {:>12.2}", appending.as_secs_f64() * 1000.0 / ticks as f64);
    println!("requests                         {:>12}", queue.stats().requests_ok);
    queue.shutdown(Duration::from_secs(1));
    std::fs::remove_dir_all(dir).expect("to tidy up");
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn serve(stream: std::net::TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut body = Vec::new();
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        if reader.read_exact(&mut body).is_err() || reader.get_mut().write_all(b"HTTP/1.1 204 OK\r\n\r\n").is_err() {
            return;
        }
    }
}
