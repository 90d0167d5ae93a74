//! What a sample costs: nanoseconds per push and per series and step, and bytes per series.
//!
//! `cargo run --release -p quoll-features --example push [SERVICES] [STEP_MS] [SCRAPE_MS]`

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a measurement, not a service")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use quoll_features::{FeatureSet, ScopeWindows, SeriesRef};

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<i64>().expect("a number"));
    let services = arguments.next().unwrap_or(1000);
    let step_ms = arguments.next().unwrap_or(15_000);
    let scrape_ms = arguments.next().unwrap_or(15_000);
    let mut windows = ScopeWindows::new(Arc::new(FeatureSet::preset("quoll").expect("the preset")), step_ms);
    let begin = Instant::now();
    let mut series: Vec<SeriesRef> = Vec::new();
    for service in 0..services {
        let name = format!("service-{service}");
        let client = format!("service-{}", service / 2);
        for metric in ["quoll_cpu_usage_seconds_total", "quoll_memory_working_set_bytes", "quoll_open_file_descriptors"]
        {
            for instance in ["a", "b", "c"] {
                let labels = [("__name__", metric), ("instance", instance), ("service_name", &name)];
                series.extend(windows.bind(&labels));
            }
        }
        for reporter in ["client", "server"] {
            for metric in ["quoll_http_request_duration_seconds_count", "quoll_http_request_duration_seconds_sum"] {
                for status in ["2xx", "5xx"] {
                    let labels = [
                        ("__name__", metric),
                        ("client", &client),
                        ("instance", "a"),
                        ("reporter", reporter),
                        ("server", &name),
                        ("status_class", status),
                    ];
                    series.extend(windows.bind(&labels));
                }
            }
            let labels = [
                ("__name__", "quoll_tcp_connects_total"),
                ("client", &client),
                ("instance", "a"),
                ("reporter", reporter),
                ("server", &name),
            ];
            series.extend(windows.bind(&labels));
        }
    }
    let bound = begin.elapsed();
    let (mut total, mut pushes, mut steps, mut out) = (Duration::ZERO, 0_u64, 0_u64, Vec::new());
    for round in 0..40_i64 {
        let at = 1_700_000_000_000 + round * scrape_ms + 3_700;
        let value = f64::from(u32::try_from(round).unwrap()) * 10.0;
        let begin = Instant::now();
        for &bound in &series {
            windows.push(bound, at, value);
        }
        windows.close(&mut out);
        let took = begin.elapsed();
        if round >= 5 {
            total += took;
            pushes += series.len() as u64;
            steps += out.len() as u64;
        }
        out.clear();
    }
    let stats = windows.stats();
    let count = series.len() as f64;
    println!("series                          {:>12}", series.len());
    println!("bind, ns per series             {:>12.0}", bound.as_nanos() as f64 / count);
    println!("push with steps, ns per sample  {:>12.1}", total.as_nanos() as f64 / pushes as f64);
    println!("steps closed                    {steps:>12}");
    println!("heap bytes per series           {:>12.1}", stats.heap_bytes as f64 / count);
    // Without closing: the pure push.
    let base = 1_700_000_000_000 + 50 * scrape_ms;
    let end = base - base.rem_euclid(step_ms) + step_ms;
    for &bound in &series {
        windows.push(bound, end, 1e6);
    }
    let begin = Instant::now();
    let rounds = 20_i64;
    for round in 0..rounds {
        let at = end + 1 + round;
        for &bound in &series {
            windows.push(bound, at, 1e6);
        }
    }
    println!("push alone, ns per sample       {:>12.1}", begin.elapsed().as_nanos() as f64 / (count * rounds as f64));
    let stats = windows.stats();
    assert_eq!((stats.late, stats.out_of_order, stats.duplicates), (0, 0, 0));
}
