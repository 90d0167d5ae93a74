//! Windows that are stored and restored in the middle of a stream go on as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;

use common::{Feed, STALE};
use proptest::prelude::*;
use quoll_features::{FeatureSet, RestoreError, ScopeWindows, SeriesRef, StoredWindows};

const SERIES: [&str; 9] = [
    "quoll_cpu_usage_seconds_total service_name=a instance=x",
    "quoll_cpu_usage_seconds_total service_name=a instance=y",
    "quoll_memory_working_set_bytes service_name=a instance=x",
    "quoll_memory_working_set_bytes service_name=b instance=x",
    "quoll_http_request_duration_seconds_count client=a server=b reporter=client status_class=2xx",
    "quoll_http_request_duration_seconds_count client=a server=b reporter=client status_class=5xx",
    "quoll_http_request_duration_seconds_sum client=a server=b reporter=client status_class=2xx",
    "quoll_service_info service_name=a image=one instance=x",
    "quoll_tcp_connects_total client=a server=b reporter=client",
];

fn labels(series: &str) -> Vec<(&str, &str)> {
    let (name, others) = series.split_once(' ').unwrap();
    let mut labels: Vec<_> = others.split(' ').map(|word| word.split_once('=').unwrap()).collect();
    labels.push(("__name__", name));
    labels.sort_unstable();
    labels
}

/// Through bytes and back, with every handle given anew.
fn restart(feed: &mut Feed, bound: &HashMap<SeriesRef, &'static str>) {
    feed.close();
    let bytes = postcard::to_stdvec(&feed.windows.store()).unwrap();
    let stored: StoredWindows = postcard::from_bytes(&bytes).unwrap();
    let set = Arc::clone(feed.windows.feature_set());
    let step_ms = feed.step_ms();
    let (windows, _) =
        ScopeWindows::restore(set, step_ms, stored, |old| bound.get(&old).map(|series| labels(series))).unwrap();
    feed.windows = windows;
}

fn run(samples: &[(usize, i64, f64)], restarts: &[bool], sweeps: &[bool], step_ms: i64) -> String {
    let mut feed = Feed::new(step_ms);
    let mut bound = HashMap::new();
    let mut forgotten = Vec::new();
    for (at, &(series, timestamp_ms, value)) in samples.iter().enumerate() {
        if restarts.get(at).copied().unwrap_or(false) {
            restart(&mut feed, &bound);
            bound.clear();
        }
        if sweeps.get(at).copied().unwrap_or(false) {
            feed.windows.take_forgotten(&mut forgotten);
            for gone in forgotten.drain(..) {
                bound.remove(&gone);
            }
        }
        if let Some(handle) = feed.bind(SERIES[series]) {
            bound.insert(handle, SERIES[series]);
            feed.windows.push(handle, timestamp_ms, value);
        }
        for name in SERIES {
            // All handles are needed for a restart, those of series that were bound before the last one too.
            if bound.len() < SERIES.len()
                && let Some(handle) = feed.bind(name)
            {
                bound.insert(handle, name);
            }
        }
    }
    feed.close();
    format!("{:?}", feed.steps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_restart_anywhere_changes_no_bit_of_any_step(
        moves in proptest::collection::vec(
            (0..SERIES.len(), prop_oneof![20 => 0_i64..400, 4 => -2000_i64..3000, 1 => -400_000_i64..400_000],
                prop_oneof![20 => (0_u32..1000).prop_map(f64::from), 1 => Just(STALE), 1 => Just(f64::NAN)]),
            1..300,
        ),
        restarts in proptest::collection::vec(proptest::bool::weighted(0.05), 300),
        sweeps in proptest::collection::vec(proptest::bool::weighted(0.02), 300),
        step_ms in prop_oneof![Just(1000_i64), Just(15_000)],
    ) {
        let mut now = 1_700_000_000_000;
        let samples: Vec<_> = moves.into_iter().map(|(series, advance, value)| {
            if advance.abs() < 500 {
                now += advance;
                (series, now, value)
            } else {
                (series, now + advance, value)
            }
        }).collect();
        prop_assert_eq!(run(&samples, &[], &sweeps, step_ms), run(&samples, &restarts, &sweeps, step_ms));
    }
}

#[test]
fn windows_of_another_step_or_of_other_features_are_refused() {
    let feed = Feed::new(1000);
    let set = || Arc::new(FeatureSet::preset("quoll").unwrap());
    let refused = ScopeWindows::restore(set(), 2000, feed.windows.store(), |_| None).unwrap_err();
    assert_eq!(refused, RestoreError::Step { found: 1000, wanted: 2000 });
    let other = include_str!("../presets/quoll.yaml").replacen("min_deviation: ", "min_deviation: 1", 1);
    let other = Arc::new(FeatureSet::from_yaml(&other).unwrap());
    let refused = ScopeWindows::restore(other, 1000, feed.windows.store(), |_| None).unwrap_err();
    assert!(matches!(refused, RestoreError::Features { .. }));
}
