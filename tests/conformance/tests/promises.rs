//! Nothing acknowledged is lost, and nothing is written back twice or differently, however often the process is killed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::time::Duration;

use quoll_conformance::recorder::{Recorded, recorder};
use quoll_conformance::scorer::{Scorer, V1, request, shop};
use quoll_conformance::{now_ms, wait_for};

const SECONDS: i64 = 60;

/// Sends the stream, killing the scorer before the seconds named, and returns the last view and what it wrote back.
fn run(start_ms: i64, kills: &[i64]) -> (serde_json::Value, Recorded) {
    let directory = tempfile::tempdir().unwrap();
    let (port, recorded) = recorder();
    let mut scorer = Scorer::start(directory.path(), Some(port), "");
    let mut acknowledged = 0.0;
    for second in 0..SECONDS {
        if kills.contains(&second) {
            scorer.kill_and_restart();
            assert_eq!(scorer.metric("quoll_scorer_replayed_samples_total"), acknowledged);
        }
        let series = shop(second, start_ms + second * 1000);
        assert_eq!(scorer.post(&V1, &request(&series)).0, 204);
        acknowledged += series.len() as f64;
    }
    let last = start_ms + (SECONDS - 3) * 1000;
    let view = wait_for("the last tick", Duration::from_secs(20), || {
        let view = scorer.json("/api/v1/graph");
        (view["tick_ms"].as_i64()? >= last).then_some(view)
    });
    assert!(scorer.process.terminate(), "ends well");
    let recorded = recorded.lock().unwrap().clone();
    (view, recorded)
}

#[test]
fn kills_at_any_moment_change_neither_windows_nor_results() {
    let start_ms = (now_ms() - 120_000) / 1000 * 1000;
    let (view, written) = run(start_ms, &[]);
    assert!(written.len() > 300, "{} samples written back", written.len());
    let (killed_view, killed_written) = run(start_ms, &[1, 20, 21, 47]);
    for part in ["tick_ms", "services", "edges", "incidents", "leak"] {
        assert_eq!(killed_view[part], view[part], "{part}");
    }
    let missing: Vec<_> = written.iter().filter(|(key, bits)| killed_written.get(*key) != Some(*bits)).collect();
    assert!(missing.is_empty(), "{} of {} samples differ: {:?}", missing.len(), written.len(), missing.first());
    assert_eq!(killed_written.len(), written.len());
}
