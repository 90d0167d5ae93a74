//! Nothing acknowledged is lost, and nothing is written back twice or differently, however often the process is
//! killed: windows, scores, incidents and every sample written back are those of a run without kills.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quoll_conformance::model::{onnxruntime, shop_model};
use quoll_conformance::recorder::{Recorded, recorder};
use quoll_conformance::scorer::{Scorer, V1, request};
use quoll_conformance::shop::{FAULT_AT, FAULT_SECONDS, failing_shop};
use quoll_conformance::{now_ms, wait_for};

/// Seconds of the stream between two kills.
const SECONDS_PER_ROUND: i64 = 10;

/// Sends `seconds` of the stream while the process is killed `rounds` times, each after another short while, and
/// returns the last view and what it wrote back.
fn run(start_ms: i64, seconds: i64, rounds: u32) -> (serde_json::Value, Recorded) {
    let directory = tempfile::tempdir().unwrap();
    let (port, recorded) = recorder();
    let configuration = format!(
        "snapshot_every: 100ms\nmodel_dir: {}\nonnxruntime: {}\n\
         remote_write:\n  min_backoff: 10ms\n  max_backoff: 100ms\n\
         incidents:\n  max_backlog_seconds: 7200.0\n",
        shop_model().display(),
        onnxruntime().display()
    );
    let mut scorer = Scorer::start(directory.path(), Some(port), &configuration);
    let mut kills = (0..rounds).map(|round| (i64::from(round) * SECONDS_PER_ROUND + 1, 7 * u64::from(round) % 90));
    let mut next = kills.next();
    for second in 0..seconds {
        if let Some((_, delay)) = next.filter(|(at, _)| *at == second) {
            kill_while_sending(&mut scorer, second, start_ms, Duration::from_millis(delay));
            next = kills.next();
        }
        let series = failing_shop(second, start_ms + second * 1000);
        assert_eq!(scorer.post(&V1, &request(&series)).0, 204);
    }
    assert_eq!(next, None, "every kill had its time");
    let last = start_ms + (seconds - 3) * 1000;
    let view = wait_for("the last tick", || {
        let view = scorer.json("/api/v1/graph");
        (view["tick_ms"].as_i64()? >= last).then_some(view)
    });
    wait_for("the queue to drain", || (scorer.metric("quoll_scorer_queue_samples") == 0.0).then_some(()));
    assert!(scorer.process.terminate(), "ends well");
    let recorded = recorded.lock().unwrap().clone();
    (view, recorded)
}

/// Sends on, until the process is gone in the midst of it. What it did not acknowledge is sent again, as every
/// sender does.
fn kill_while_sending(scorer: &mut Scorer, from: i64, start_ms: i64, delay: Duration) {
    let killed = Arc::new(AtomicBool::new(false));
    let killer = {
        let (id, killed) = (scorer.process.id(), Arc::clone(&killed));
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            let done = std::process::Command::new("kill").args(["-9", &id.to_string()]).status().unwrap();
            assert!(done.success());
            killed.store(true, Ordering::SeqCst);
        })
    };
    let mut second = from;
    while !killed.load(Ordering::SeqCst) && second < from + SECONDS_PER_ROUND - 2 {
        let series = failing_shop(second, start_ms + second * 1000);
        match scorer.try_post(&V1, &request(&series)) {
            Some(status) => assert_eq!(status, 204),
            None => break,
        }
        second += 1;
    }
    killer.join().unwrap();
    scorer.kill_and_restart();
}

#[test]
fn kills_at_any_moment_change_neither_windows_nor_results() {
    let rounds = std::env::var("QUOLL_KILL_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let seconds = (i64::from(rounds) * SECONDS_PER_ROUND).max(FAULT_AT + FAULT_SECONDS + 40) + 5;
    let start_ms = (now_ms() - seconds * 1000 - 300_000) / 1000 * 1000;
    let (view, written) = run(start_ms, seconds, 0);
    assert!(written.len() > 300, "{} samples written back", written.len());
    let has = |name: &str| written.keys().any(|(labels, _)| labels.contains(&format!("__name__={name:?}")));
    assert!(has("quoll_anomaly_score"), "there are scores");
    assert!(has("quoll_root_cause_probability"), "there was an incident");
    let started = Instant::now();
    let (killed_view, killed_written) = run(start_ms, seconds, rounds);
    eprintln!("{rounds} kills in {:.1} s", started.elapsed().as_secs_f64());
    let missing: Vec<_> = written.iter().filter(|(key, bits)| killed_written.get(*key) != Some(*bits)).collect();
    assert!(missing.is_empty(), "{} of {} samples differ: {:?}", missing.len(), written.len(), missing.first());
    let more: Vec<_> = killed_written.keys().filter(|key| !written.contains_key(*key)).collect();
    assert!(more.is_empty(), "{} samples more, from {:?} to {:?}", more.len(), more.first(), more.last());
    for part in ["tick_ms", "services", "edges", "incidents", "closed_incidents", "leak"] {
        assert_eq!(killed_view[part], view[part], "{part}");
    }
}

#[test]
fn every_series_that_ends_gets_one_stale_marker() {
    let seconds = FAULT_AT + FAULT_SECONDS + 40;
    let start_ms = (now_ms() - seconds * 1000 - 300_000) / 1000 * 1000;
    let (_, written) = run(start_ms, seconds, 3);
    let stale = 0x7ff0_0000_0000_0002_u64;
    let mut series = std::collections::BTreeMap::<&str, Vec<u64>>::new();
    for ((labels, _), bits) in &written {
        series.entry(labels).or_default().push(*bits);
    }
    let mut ended = 0;
    let last_tick = written.keys().map(|(_, timestamp)| *timestamp).max().unwrap();
    for (labels, samples) in &series {
        for pair in samples.windows(2) {
            assert!(pair[0] != stale || pair[1] != stale, "two markers in a row: {labels}");
        }
        let last = written.keys().filter(|(of, _)| of == labels).map(|(_, timestamp)| *timestamp).max().unwrap();
        assert!(last == last_tick || samples.last() == Some(&stale), "{labels} ended at {last} without a marker");
        ended += usize::from(samples.last() == Some(&stale));
    }
    assert!(ended > 0, "some series ended");
}
