//! Memory stays where it is while services, hosts, series and incidents come and go. Long: `scripts/soak memory` runs
//! it, with a scorer built as for users.
//!
//! Event time runs as fast as the scorer can, days of it in half an hour, and every few seconds of it services of names
//! never seen before take the place of others. What were kept of each of them would thus add up to many times what
//! the assertion lets pass, while a table that doubles once is far below it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::time::{Duration, Instant};

use quoll_conformance::model::{onnxruntime, shop_model};
use quoll_conformance::now_ms;
use quoll_conformance::recorder::counter;
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_conformance::shop::{failing_shop, shop};

/// Shops side by side, of three services each.
const SHOPS: i64 = 20;
/// Every so many of them fails in the last half minute of its life.
const FAILING: i64 = 4;
/// After so many seconds of the stream, a shop is replaced by a new one of another name.
const LIFETIME_SECONDS: i64 = 120;
/// Event time at which the stream begins, before now.
const BACKLOG_DAYS: i64 = 60;
/// Steps that may wait to be scored, and results that may wait to be sent: what waits takes memory that is no leak.
const WAITING_STEPS: f64 = 20.0;
const WAITING_RESULTS: f64 = 300_000.0;
/// Of the whole run, how long memory may still settle, and how many parts the rest has.
const SETTLING: f64 = 1.0 / 3.0;
const PARTS: usize = 4;

/// A shop's series at one second of its life: names, hosts and versions of its own, and a series that nothing selects.
fn own_shop(number: i64, generation: i64, age: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let mut series = if number % FAILING == 0 { failing_shop(age, timestamp_ms) } else { shop(age, timestamp_ms) };
    for (labels, _, _) in &mut series {
        for (name, text) in &mut *labels {
            if ["service_name", "client", "server"].contains(name) {
                text.push_str(&format!("-{number}-{generation}"));
            }
        }
        if labels.iter().any(|(name, _)| *name == "service_name") {
            labels.insert(1, ("node", format!("node-{}-{generation}", number / 4)));
        }
    }
    let info = vec![
        ("__name__", "quoll_service_info".to_owned()),
        ("image", format!("front:{}", age / 45)),
        ("service_name", format!("front-{number}-{generation}")),
    ];
    series.push((info, timestamp_ms, 1.0));
    series.push((vec![("__name__", format!("other_{number}_{generation}"))], timestamp_ms, 1.0));
    series
}

/// All shops at one second; each has its own generation, so that one of them is replaced every few seconds.
fn street(second: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let shop = |number: i64| {
        let age = second + number * LIFETIME_SECONDS / SHOPS;
        own_shop(number, age / LIFETIME_SECONDS, age % LIFETIME_SECONDS, timestamp_ms)
    };
    (0..SHOPS).flat_map(shop).collect()
}

/// Services that have gone by a second of the stream.
fn gone(second: i64) -> i64 {
    second * SHOPS / LIFETIME_SECONDS * 3
}

#[test]
#[ignore = "long; scripts/soak runs it"]
fn memory_stays_flat_while_services_come_and_go() {
    let minutes: f64 = std::env::var("SOAK_MINUTES").map_or(30.0, |minutes| minutes.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let (port, sent) = counter();
    let configuration = format!(
        "snapshot_every: 10s\nmodel_dir: {}\nonnxruntime: {}\nremote_write: {{ max_age: 2400h }}\n\
         ingest:\n  past_limit_ms: {}\n  limits: {{ idle_series_seconds: 30 }}\n  log: {{ retention_ms: 10000 }}\n\
         incidents: {{ max_backlog_seconds: 10000000.0 }}\n",
        shop_model().display(),
        onnxruntime().display(),
        (BACKLOG_DAYS + 1) * 86_400_000,
    );
    let scorer = Scorer::start(directory.path(), Some(port), &configuration);
    let (started, length) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let (mut second, start_ms) = (0, now_ms() / 1000 * 1000 - BACKLOG_DAYS * 86_400_000);
    // Of each part: the least and the most resident memory, and the services gone at its end.
    let mut parts = [(u64::MAX, 0_u64, 0_i64); PARTS];
    let mut told = Instant::now();
    while started.elapsed() < length && second < BACKLOG_DAYS * 86_400 {
        let at_ms = start_ms + second * 1000;
        assert_eq!(scorer.post(&V1, &request(&street(second, at_ms))).0, 204);
        second += 1;
        if second % 20 != 0 {
            continue;
        }
        while scorer.metric("quoll_scorer_steps_pending") > WAITING_STEPS
            || scorer.metric("quoll_scorer_queue_samples") > WAITING_RESULTS
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        let kib = scorer.resident_kib();
        let passed = started.elapsed().as_secs_f64() / length.as_secs_f64();
        if passed > SETTLING {
            let part = ((passed - SETTLING) / (1.0 - SETTLING) * PARTS as f64) as usize;
            let (least, most, services) = &mut parts[part.min(PARTS - 1)];
            (*least, *most, *services) = (kib.min(*least), kib.max(*most), gone(second));
        }
        if told.elapsed() > Duration::from_secs(15) {
            told = Instant::now();
            eprintln!(
                "{:>5.1} min: {:>7} s of event time, {:>6} services gone, {kib} KiB resident, {} series, {} services, \
                 {} scopes, {} incidents, {} bytes of results",
                started.elapsed().as_secs_f64() / 60.0,
                second,
                gone(second),
                scorer.metric("quoll_scorer_series_selected"),
                scorer.metric("quoll_scorer_window_services"),
                scorer.metric("quoll_scorer_scopes"),
                scorer.metric("quoll_scorer_incidents_opened_total"),
                sent.load(std::sync::atomic::Ordering::Relaxed),
            );
        }
    }
    for (part, (least, most, services)) in parts.iter().enumerate() {
        eprintln!("part {} of {PARTS}: {least} to {most} KiB, {services} services gone by its end", part + 1);
    }
    let ((_, before, gone_before), (after, _, gone_after)) = (parts[0], parts[PARTS - 1]);
    assert!(scorer.metric("quoll_scorer_incidents_opened_total") > 10.0, "there were incidents");
    assert!(sent.load(std::sync::atomic::Ordering::Relaxed) > 1000, "results were sent");
    assert!(gone_after - gone_before > 1000, "too slow a machine: {} services went", gone_after - gone_before);
    // The least of the last part above the most of the first one: whatever waits for a moment is in neither.
    let grown = after as f64 - before as f64;
    let per_service = grown.max(0.0) * 1024.0 / (gone_after - gone_before) as f64;
    eprintln!("{grown} KiB more, {per_service:.0} bytes for each service that went");
    assert!(grown <= 0.1 * before as f64, "memory grew from {before} to {after} KiB, {per_service:.0} bytes a service");
}
