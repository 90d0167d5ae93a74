//! Live and replayed from a recording: the same steps, and the same scores to the bit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::onnxruntime;
use quoll_detect::{Detector, ServiceScore};
use quoll_features::{ClosedStep, FeatureSet};
use quoll_ingest::{IngestConfig, Receiver};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_train::random::Random;
use quoll_train::recording::{RecordingError, Wanted, read};
use quoll_train::{TrainOptions, train};

const STEP_MS: i64 = 1000;
const NOW_MS: i64 = 1_700_000_000_000;

/// One scrape of a small shop as a remote-write body; one pod misses scrapes, another restarts.
fn body(second: i64, cluster: &str, random: &mut Random, totals: &mut [f64; 5]) -> Vec<u8> {
    let mut encoder = WriteRequestEncoder::new();
    for (service, total) in totals.iter_mut().enumerate() {
        *total += 40.0 + 5.0 * f64::from(random.noise());
        if service == 3 && second == 90 {
            *total = 0.0;
        }
        if service == 2 && second % 7 == 0 {
            continue;
        }
        let (name, caller) = (format!("service-{service}"), format!("service-{}", service / 2));
        let at = NOW_MS + second * 1000 + service as i64 * 37;
        let own = |metric| vec![("__name__", metric), ("cluster", cluster), ("service_name", name.as_str())];
        encoder.push(&own("quoll_memory_working_set_bytes"), &[(at, 1e8 + 1e6 * f64::from(random.noise()))]);
        encoder.push(&own("quoll_cpu_usage_seconds_total"), &[(at, *total / 100.0)]);
        for (metric, value) in [("count", *total), ("sum", *total * 0.01)] {
            let metric = format!("quoll_http_request_duration_seconds_{metric}");
            let labels = [
                ("__name__", metric.as_str()),
                ("client", caller.as_str()),
                ("cluster", cluster),
                ("reporter", "server"),
                ("server", name.as_str()),
                ("status_class", "2xx"),
            ];
            encoder.push(&labels, &[(at, value)]);
        }
    }
    encoder.finish()
}

fn set() -> Arc<FeatureSet> {
    Arc::new(FeatureSet::preset("quoll").unwrap())
}

/// Sends a stream to a receiver that logs to `directory`; the steps it closed live.
fn live(directory: &Path, seconds: i64, clusters: &[&str]) -> Vec<ClosedStep> {
    let mut receiver = Receiver::open(IngestConfig::default(), set(), STEP_MS, directory, |_| ()).unwrap();
    let mut steps = Vec::new();
    for cluster in clusters {
        let (mut random, mut totals) = (Random::new(7), [0.0; 5]);
        for second in 0..seconds {
            let request = body(second, cluster, &mut random, &mut totals);
            receiver.write("", quoll_ingest::Body::V1(&request), NOW_MS + second * 1000).unwrap();
            steps.extend(receiver.take_closed().into_iter().map(|closed| closed.step));
        }
    }
    steps
}

fn bits(scores: &[Vec<ServiceScore>]) -> String {
    // Every digit of every number.
    format!("{scores:?}")
}

#[test]
fn a_recording_replays_to_the_same_steps_and_the_same_scores() {
    let directory = tempfile::tempdir().unwrap();
    let live = live(directory.path(), 200, &["a"]);
    assert!(live.len() > 190);
    let replayed = read(directory.path(), &set(), STEP_MS, &Wanted::default()).unwrap();
    assert_eq!(format!("{live:?}"), format!("{:?}", replayed.steps));
    assert_eq!(replayed.series, 20);
    // Reading leaves the recording as it is.
    let again = read(directory.path(), &set(), STEP_MS, &Wanted::default()).unwrap();
    assert_eq!(format!("{again:?}"), format!("{replayed:?}"));

    let model = train(&replayed.steps[..150], &set(), &TrainOptions::default(), &mut |_| ()).unwrap();
    let model_dir = tempfile::tempdir().unwrap();
    model.save(model_dir.path()).unwrap();
    let score = |steps: &[ClosedStep]| -> Vec<Vec<ServiceScore>> {
        let mut detector = Detector::load(model_dir.path(), &set(), STEP_MS, Some(&onnxruntime())).unwrap();
        steps.iter().map(|step| detector.score(step).unwrap()).collect()
    };
    let (live, replayed) = (score(&live), score(&replayed.steps));
    assert!(live.iter().flatten().count() > 300, "something was scored");
    assert_eq!(bits(&live), bits(&replayed));
}

#[test]
fn one_scope_of_a_recording_is_read_and_the_others_are_named() {
    let directory = tempfile::tempdir().unwrap();
    live(directory.path(), 20, &["a", "b"]);
    let error = read(directory.path(), &set(), STEP_MS, &Wanted::default()).unwrap_err();
    assert!(
        matches!(error, RecordingError::SeveralScopes { .. }) && error.to_string().contains("cluster=b"),
        "{error}"
    );
    let partition = [("cluster".to_owned(), "b".to_owned())];
    let one = read(directory.path(), &set(), STEP_MS, &Wanted { tenant: None, partition: &partition }).unwrap();
    assert!(one.steps.len() >= 18);
    let partition = [("cluster".to_owned(), "c".to_owned())];
    let none = read(directory.path(), &set(), STEP_MS, &Wanted { tenant: None, partition: &partition }).unwrap_err();
    assert!(none.to_string().contains("cluster=a"), "{none}");
    let nowhere = read(Path::new("/nowhere"), &set(), STEP_MS, &Wanted::default()).unwrap_err();
    assert!(nowhere.to_string().contains("/nowhere"), "{nowhere}");
}
