//! Memory stays where it is while services, series and incidents come and go. Long: `scripts/soak memory` runs it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::time::{Duration, Instant};

use quoll_conformance::model::{onnxruntime, shop_model};
use quoll_conformance::now_ms;
use quoll_conformance::recorder::recorder;
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_conformance::shop::shop;

/// Shops side by side.
const SHOPS: i64 = 20;
/// After so many seconds of the stream, a shop is replaced by a new one of another name.
const LIFETIME_SECONDS: i64 = 120;
/// Event time at which the stream begins, before now: the scorer takes nothing older than two hours.
const BACKLOG_SECONDS: i64 = 100 * 60;

/// All shops at one second; each has its own generation, so that one of them is replaced every few seconds.
fn street(second: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let mut all = Vec::new();
    for number in 0..SHOPS {
        let age = second + number * LIFETIME_SECONDS / SHOPS;
        let generation = age / LIFETIME_SECONDS;
        for (mut labels, at, value) in shop(age % LIFETIME_SECONDS, timestamp_ms) {
            for (name, text) in &mut labels {
                if ["service_name", "client", "server"].contains(name) {
                    text.push_str(&format!("-{number}-{generation}"));
                }
            }
            all.push((labels, at, value));
        }
    }
    all
}

#[test]
#[ignore = "long; scripts/soak runs it"]
fn memory_stays_flat_while_services_come_and_go() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").map_or(30.0, |minutes| minutes.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (port, recorded) = recorder();
    let configuration = format!(
        "snapshot_every: 30s\nmodel_dir: {}\nonnxruntime: {}\nremote_write:\n  max_age: 4h\n",
        shop_model().display(),
        onnxruntime().display()
    );
    let scorer = Scorer::start(directory.path(), Some(port), &configuration);
    let (started, length) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut second, start_ms) = (0, now_ms() / 1000 * 1000 - BACKLOG_SECONDS * 1000);
    let (mut after_a_third, mut samples, mut told) = (None, 0_usize, Instant::now());
    while started.elapsed() < length {
        let at_ms = start_ms + second * 1000;
        if at_ms > now_ms() {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        }
        assert_eq!(scorer.post(&V1, &request(&street(second, at_ms))).0, 204);
        second += 1;
        // What waits to be scored takes memory that is no leak: no faster than the engine.
        while second % 10 == 0 && scorer.metric("quoll_scorer_steps_pending") > 10.0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        // As fast as it may, but spread over the whole time.
        let due = length.mul_f64(second as f64 / (BACKLOG_SECONDS as f64 + minutes * 60.0));
        std::thread::sleep(due.saturating_sub(started.elapsed()).min(Duration::from_millis(200)));
        samples += std::mem::take(&mut *recorded.lock().unwrap()).len();
        let kib = scorer.resident_kib();
        if after_a_third.is_none() && started.elapsed() > length / 3 {
            after_a_third = Some(kib);
        }
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            eprintln!(
                "{:>5.1} min: {:>6} s of event time, {kib} KiB resident, {} series, {samples} results",
                started.elapsed().as_secs_f64() / 60.0,
                second,
                scorer.metric("quoll_scorer_series_selected"),
            );
        }
    }
    let (before, after) = (after_a_third.unwrap(), scorer.resident_kib());
    let shops = second * SHOPS / LIFETIME_SECONDS;
    eprintln!("{shops} shops of 3 services came and went; {before} KiB after a third, {after} KiB at the end");
    assert!(after as f64 <= before as f64 * 1.1 + 4096.0, "memory grew from {before} to {after} KiB");
    assert!(samples > 1000, "{samples} results");
}
