//! What the receiver promises of every body, whatever its version.

use std::sync::{Arc, OnceLock};

use quoll_features::FeatureSet;
use quoll_ingest::{Body, IngestConfig, IngestStats, Receiver};
use quoll_prometheus_protocol::encode::WriteRequestEncoder;

/// Near the times of the seeds.
pub(super) const NOW_MS: i64 = 1_700_000_000_000;

/// Labels of the series of seeds: selected ones, one of a replica, one that nothing selects, ones that break rules.
pub(super) const SERIES: [&[(&str, &str)]; 8] = [
    &[("__name__", "quoll_memory_working_set_bytes"), ("service_name", "a")],
    &[("__name__", "quoll_memory_working_set_bytes"), ("cluster", "eu"), ("replica", "0"), ("service_name", "a")],
    &[("__name__", "quoll_memory_working_set_bytes"), ("cluster", "eu"), ("replica", "1"), ("service_name", "a")],
    &[("__name__", "quoll_http_request_duration_seconds"), ("client", "a"), ("reporter", "client"), ("server", "b")],
    &[("__name__", "apiserver_request_total"), ("code", "200"), ("é", "\"\n")],
    &[("__name__", "x"), ("a", "1"), ("a", "2")],
    &[("nameless", "1")],
    &[],
];

fn receiver() -> Receiver {
    static SET: OnceLock<Arc<FeatureSet>> = OnceLock::new();
    let set = SET.get_or_init(|| Arc::new(FeatureSet::preset("quoll").unwrap()));
    Receiver::in_memory(IngestConfig::default(), Arc::clone(set), 1000)
}

/// What a refused request must leave as it was.
fn state(stats: &IngestStats) -> [u64; 9] {
    [
        stats.requests,
        stats.selected_samples,
        stats.series,
        stats.selected_series,
        stats.first_sights,
        stats.scopes,
        stats.failovers,
        stats.closed_steps,
        stats.newest_ms.cast_unsigned(),
    ]
}

/// A body is taken, and taken again with the same outcome; or it is refused and changes nothing. Either way, what
/// comes after it is received.
pub(super) fn check(body: Body<'_>) {
    let mut receiver = receiver();
    let before = state(&receiver.stats());
    match receiver.write("", body, NOW_MS) {
        Err(_) => assert_eq!(state(&receiver.stats()), before, "a refused request changed something"),
        Ok(first) => {
            assert!(first.samples >= first.selected.saturating_sub(2 * first.histograms));
            let second = receiver.write("", body, NOW_MS).unwrap();
            let accepted = |receipt: &quoll_ingest::Receipt| {
                (receipt.samples, receipt.histograms, receipt.exemplars, receipt.metadata, receipt.rejected)
            };
            assert_eq!(accepted(&second), accepted(&first), "sent again, it is received differently");
        }
    }
    let mut good = WriteRequestEncoder::new();
    for service in ["x", "y", "z"] {
        let labels = [("__name__", "quoll_memory_working_set_bytes"), ("service_name", service)];
        good.push(&labels, &[(NOW_MS + 1, 1.0)]);
    }
    let receipt = receiver.write("other", Body::V1(good.as_bytes()), NOW_MS).unwrap();
    assert_eq!((receipt.selected, receipt.samples), (3, 3), "the request after it");
}
