//! The scorer's metrics about itself.

use quoll_api::{Exposition, Kind};
use quoll_ingest::{IngestStats, Refusal, Rejection};
use quoll_queue::QueueStats;
use quoll_shards::LeafStatus;
use quoll_web_config::Counters;

use crate::engine::EngineStats;

/// All metrics with their help texts, as they stand before anything has happened.
pub fn reference() -> String {
    let web = Counters::default();
    let queue = Some(&QueueStats::default());
    render(&IngestStats::default(), &EngineStats::default(), [queue, queue], &web)
}

/// All metrics as of now; the queues are those of results and of a leaf's reports.
pub fn render(ingest: &IngestStats, engine: &EngineStats, queues: [Option<&QueueStats>; 2], web: &Counters) -> String {
    let mut exposition = Exposition::default();
    exposition
        .family("quoll_scorer_build_info", Kind::Gauge, "Version of the scorer; always 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("engine_version", quoll_blast_radius::ENGINE_VERSION)], 1.0);
    receiving(&mut exposition, ingest);
    inbound_log(&mut exposition, ingest);
    scoring(&mut exposition, engine);
    leaves(&mut exposition, ingest);
    let [results, reports] = queues;
    if let Some(queue) = results {
        sending(&mut exposition, queue, "quoll_scorer_queue_", ["Results", "result"]);
    }
    if let Some(queue) = reports {
        sending(&mut exposition, queue, "quoll_scorer_report_queue_", ["Samples of reports", "report"]);
    }
    for figure in web.figures() {
        let kind = if figure.counter { Kind::Counter } else { Kind::Gauge };
        exposition.single(format!("quoll_scorer_{}", figure.name), kind, figure.help, figure.value as f64);
    }
    exposition.finish()
}

fn receiving(to: &mut Exposition, stats: &IngestStats) {
    let counters: [(&'static str, &str, u64); 18] = [
        ("quoll_scorer_write_requests_total", "Write requests taken, wholly or in part.", stats.requests),
        ("quoll_scorer_received_compressed_bytes_total", "Bytes of write requests as sent.", stats.compressed_bytes),
        ("quoll_scorer_received_decoded_bytes_total", "Bytes of write requests, decompressed.", stats.decoded_bytes),
        ("quoll_scorer_samples_selected_total", "Samples that entered the windows.", stats.selected_samples),
        ("quoll_scorer_samples_ignored_total", "Samples of series that no rule selects.", stats.ignored_samples),
        ("quoll_scorer_samples_replica_total", "Samples of replicas that are not elected.", stats.replica_samples),
        ("quoll_scorer_samples_native_total", "Native histograms accepted.", stats.histogram_samples),
        ("quoll_scorer_exemplars_total", "Exemplars accepted, which are not kept.", stats.exemplars),
        ("quoll_scorer_metadata_total", "Metadata entries accepted, which are not kept.", stats.metadata),
        ("quoll_scorer_write_requests_v2_total", "Write requests taken, of remote write 2.0.", stats.requests_v2),
        ("quoll_scorer_samples_late_total", "Samples that came after their step was closed.", stats.late_samples),
        ("quoll_scorer_samples_duplicate_total", "Samples of a time already known.", stats.duplicate_samples),
        ("quoll_scorer_samples_out_of_order_total", "Samples older than one known.", stats.out_of_order_samples),
        ("quoll_scorer_samples_unusable_total", "Samples that windows could not take.", stats.unusable_samples),
        ("quoll_scorer_replica_failovers_total", "Times that another replica took over.", stats.failovers),
        ("quoll_scorer_series_first_seen_total", "Series taken apart on first sight.", stats.first_sights),
        ("quoll_scorer_series_forgotten_total", "Idle series forgotten to make room.", stats.forgotten_series),
        (
            "quoll_scorer_series_scattered_total",
            "Series whose labels do not stand together, decoded the slow way.",
            stats.scattered_series,
        ),
    ];
    for (name, help, value) in counters {
        to.single(name, Kind::Counter, help, value as f64);
    }
    to.family("quoll_scorer_samples_rejected_total", Kind::Counter, "Samples rejected, by reason.");
    for (reason, count) in Rejection::ALL.into_iter().zip(stats.rejected_samples) {
        to.sample(&[("reason", reason.as_str())], count as f64);
    }
    to.family("quoll_scorer_write_requests_refused_total", Kind::Counter, "Write requests refused, by reason.");
    for (reason, count) in Refusal::ALL.into_iter().zip(stats.refused_requests) {
        to.sample(&[("reason", reason.as_str())], count as f64);
    }
    to.single("quoll_scorer_tenants", Kind::Gauge, "Tenants known.", stats.tenants as f64);
    let in_flight = stats.in_flight_bytes as f64;
    to.single("quoll_scorer_in_flight_bytes", Kind::Gauge, "Bytes that write requests under way hold.", in_flight);
    to.single("quoll_scorer_series", Kind::Gauge, "Series known, ignored ones included.", stats.series as f64);
    let selected = stats.selected_series as f64;
    to.single("quoll_scorer_series_selected", Kind::Gauge, "Series that feed windows.", selected);
    to.single("quoll_scorer_window_bytes", Kind::Gauge, "Heap memory of the windows.", stats.window_bytes as f64);
    let services = stats.window_services as f64;
    to.single("quoll_scorer_window_services", Kind::Gauge, "Services that the windows know.", services);
    let edges = stats.window_edges as f64;
    to.single("quoll_scorer_window_edges", Kind::Gauge, "Edges that the windows know.", edges);
    to.single("quoll_scorer_scopes", Kind::Gauge, "Tenants and partitions known.", stats.scopes as f64);
    let newest = stats.newest_ms as f64 / 1000.0;
    to.single("quoll_scorer_newest_sample_timestamp_seconds", Kind::Gauge, "Newest event time received.", newest);
    to.single("quoll_scorer_steps_closed_total", Kind::Counter, "Steps closed.", stats.closed_steps as f64);
    let pending = stats.pending_steps as f64;
    to.single("quoll_scorer_steps_pending", Kind::Gauge, "Closed steps waiting for scoring.", pending);
}

fn inbound_log(to: &mut Exposition, stats: &IngestStats) {
    let counter = Kind::Counter;
    to.single("quoll_scorer_inbound_log_bytes", Kind::Gauge, "Inbound log on disk.", stats.log_bytes as f64);
    to.single("quoll_scorer_inbound_log_segments", Kind::Gauge, "Files of the inbound log.", stats.log_segments as f64);
    let overflow = stats.log_overflow_segments as f64;
    to.single("quoll_scorer_inbound_log_overflows_total", counter, "Segments deleted for size.", overflow);
    let damaged = stats.log_damaged_bytes as f64;
    to.single("quoll_scorer_inbound_log_damaged_bytes_total", counter, "Damaged bytes left out at start.", damaged);
    let replayed = stats.replayed_samples as f64;
    to.single("quoll_scorer_replayed_samples_total", counter, "Samples replayed at start.", replayed);
}

fn scoring(to: &mut Exposition, stats: &EngineStats) {
    let metrics: [(&'static str, Kind, &str, f64); 23] = [
        ("quoll_scorer_ticks_total", Kind::Counter, "Steps handled.", stats.ticks as f64),
        ("quoll_scorer_scores_total", Kind::Counter, "Scores made.", stats.scores as f64),
        ("quoll_scorer_results_total", Kind::Counter, "Results put into the queue.", stats.results as f64),
        (
            "quoll_scorer_ticks_withheld_total",
            Kind::Counter,
            "Ticks not written back, as their time was not after that of the last.",
            stats.withheld_ticks as f64,
        ),
        (
            "quoll_scorer_score_crossings_total",
            Kind::Counter,
            "Scores rising above 1, an hour of one service counted once; 86,400 times their rate over that of the scored seconds is what the budget asks for.",
            stats.score_crossings as f64,
        ),
        (
            "quoll_scorer_score_service_seconds_total",
            Kind::Counter,
            "Scored time of all services together.",
            stats.score_service_days * 86_400.0,
        ),
        (
            "quoll_scorer_score_budget_crossings_per_day",
            Kind::Gauge,
            "Crossings per service and day that were asked for.",
            stats.score_budget_per_day,
        ),
        (
            "quoll_scorer_alert_crossings_total",
            Kind::Counter,
            "Scores rising above the threshold that the alert budget stands for, an hour of one service counted once.",
            stats.alert_crossings as f64,
        ),
        (
            "quoll_scorer_alert_budget_crossings_per_day",
            Kind::Gauge,
            "Crossings of that threshold per service and day that were asked for; incidents opened are to stay below it too.",
            stats.alert_budget_per_day,
        ),
        ("quoll_scorer_incidents_opened_total", Kind::Counter, "Incidents opened.", stats.incidents_opened as f64),
        ("quoll_scorer_score_failures_total", Kind::Counter, "Steps not scored.", stats.failed_scores as f64),
        ("quoll_scorer_append_failures_total", Kind::Counter, "Batches not queued.", stats.failed_appends as f64),
        ("quoll_scorer_snapshots_total", Kind::Counter, "Snapshots taken.", stats.snapshots as f64),
        ("quoll_scorer_snapshot_seconds", Kind::Gauge, "Time that the last snapshot took.", stats.snapshot_seconds),
        ("quoll_scorer_replayed_steps_total", Kind::Counter, "Steps replayed at start.", stats.replayed_steps as f64),
        ("quoll_scorer_models_loaded_total", Kind::Counter, "Models loaded.", stats.models_loaded as f64),
        ("quoll_scorer_models_refused_total", Kind::Counter, "Models refused.", stats.models_refused as f64),
        ("quoll_scorer_model_loaded", Kind::Gauge, "Whether a model is in use.", f64::from(u8::from(stats.has_model))),
        ("quoll_scorer_services", Kind::Gauge, "Services at the last tick.", stats.services as f64),
        ("quoll_scorer_incidents_open", Kind::Gauge, "Open incidents.", stats.open_incidents as f64),
        ("quoll_scorer_tick_duration_seconds", Kind::Gauge, "Time that the last tick took.", stats.tick_seconds),
        ("quoll_scorer_lag_seconds", Kind::Gauge, "Wall clock minus event time at the last tick.", stats.lag_seconds),
        (
            "quoll_scorer_last_tick_timestamp_seconds",
            Kind::Gauge,
            "Event time of the last tick.",
            stats.last_tick_seconds,
        ),
    ];
    for (name, kind, help, value) in metrics {
        to.single(name, kind, help, value);
    }
}

fn leaves(to: &mut Exposition, stats: &IngestStats) {
    type Figure = fn(&LeafStatus) -> f64;
    let metrics: [(&'static str, Kind, &str, Figure); 6] = [
        (
            "quoll_scorer_leaf_reporting",
            Kind::Gauge,
            "Whether the last step had this leaf's report, and the leaf is not behind the others.",
            |leaf| f64::from(u8::from(leaf.reporting)),
        ),
        (
            "quoll_scorer_leaf_last_tick_timestamp_seconds",
            Kind::Gauge,
            "End of the newest step that this leaf reported; 0 before the first.",
            |leaf| leaf.newest_ms.unwrap_or(0) as f64 / 1000.0,
        ),
        ("quoll_scorer_leaf_services", Kind::Gauge, "Services that this leaf reported last.", |leaf| {
            leaf.services as f64
        }),
        ("quoll_scorer_leaf_missed_steps_total", Kind::Counter, "Steps closed without this leaf's report.", |leaf| {
            leaf.missed_steps as f64
        }),
        (
            "quoll_scorer_leaf_late_steps_total",
            Kind::Counter,
            "Reports of this leaf that came after their step was closed.",
            |leaf| leaf.late_steps as f64,
        ),
        (
            "quoll_scorer_leaf_lost_steps_total",
            Kind::Counter,
            "Reports of this leaf that did not come whole.",
            |leaf| leaf.lost_steps as f64,
        ),
    ];
    for (name, kind, help, figure) in metrics {
        to.family(name, kind, help);
        for leaf in &stats.leaves {
            to.sample(&[("leaf", &leaf.name)], figure(leaf));
        }
    }
    to.single(
        "quoll_scorer_leaf_series_refused_total",
        Kind::Counter,
        "Series of reports refused: of a leaf that is not listed, or of another step.",
        stats.assembly.refused_series as f64,
    );
    to.single(
        "quoll_scorer_leaf_conflicts_total",
        Kind::Counter,
        "Services and edges that two leaves reported in one step.",
        stats.assembly.conflicts as f64,
    );
}

/// A queue's metrics; `what` is sent, many and one of it.
fn sending(to: &mut Exposition, stats: &QueueStats, prefix: &str, [many, one]: [&str; 2]) {
    let metrics: [(&'static str, Kind, String, f64); 14] = [
        (
            "appended_samples_total",
            Kind::Counter,
            format!("{many} written to the outbound log."),
            stats.appended_samples as f64,
        ),
        ("sent_samples_total", Kind::Counter, format!("{many} that the peer took."), stats.sent_samples as f64),
        (
            "too_old_samples_total",
            Kind::Counter,
            format!("{many} dropped for their age."),
            stats.dropped_too_old_samples as f64,
        ),
        (
            "overflow_samples_total",
            Kind::Counter,
            format!("{many} dropped for want of room."),
            stats.dropped_overflow_samples as f64,
        ),
        (
            "refused_samples_total",
            Kind::Counter,
            format!("{many} that the peer refused for ever."),
            stats.refused_samples as f64,
        ),
        ("requests_total", Kind::Counter, "Requests that the peer took.".into(), stats.requests_ok as f64),
        ("retries_total", Kind::Counter, "Requests tried again.".into(), stats.requests_retried as f64),
        ("damaged_bytes_total", Kind::Counter, "Damaged bytes cut off at start.".into(), stats.truncated_bytes as f64),
        (
            "fallbacks_total",
            Kind::Counter,
            "Times that the peer did not prove that it stored remote write 2.0, and was sent 1.0.".into(),
            stats.fallbacks as f64,
        ),
        (
            "protocol_version",
            Kind::Gauge,
            "Remote write that the peer last took: 1 or 2.".into(),
            f64::from(stats.version),
        ),
        ("samples", Kind::Gauge, format!("{many} waiting."), stats.pending_samples as f64),
        ("bytes", Kind::Gauge, format!("Outbound log of {one}s on disk."), stats.pending_bytes as f64),
        ("oldest_seconds", Kind::Gauge, format!("Age of the oldest {one} waiting."), stats.oldest_pending_seconds),
        (
            "last_success_timestamp_seconds",
            Kind::Gauge,
            "When the peer last took a request.".into(),
            stats.last_success_ms as f64 / 1000.0,
        ),
    ];
    for (name, kind, help, value) in metrics {
        to.single(format!("{prefix}{name}"), kind, &help, value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_help_of_each_queue_says_what_waits_in_it() {
        let reference = super::reference();
        let of = |prefix: &str| -> Vec<&str> {
            let lines = reference.lines().filter_map(|line| line.strip_prefix("# HELP ")?.strip_prefix(prefix));
            lines.filter_map(|line| Some(line.split_once(' ')?.1)).collect()
        };
        let (results, reports) = (of("quoll_scorer_queue_"), of("quoll_scorer_report_queue_"));
        assert_eq!((results.len(), reports.len()), (14, 14));
        let of_results = |help: &&&str| help.contains("Result") || help.contains("result");
        assert_eq!(reports.iter().find(of_results), None);
        assert_eq!(results.iter().filter(of_results).count(), 8);
        assert_eq!(reports.iter().filter(|help| help.contains("report")).count(), 8);
    }

    #[test]
    fn every_metric_of_the_scorer_that_guides_rules_and_dashboards_name_exists() {
        let reference = super::reference();
        let known: Vec<&str> =
            reference.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut paths = vec![root.join("README.md"), root.join("provisioning/README.md")];
        for folder in ["docs", "dashboards", "provisioning/prometheus/rules"] {
            let files = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
            paths.extend(files.filter(|path| path.is_file()));
        }
        let mut seen = 0;
        for path in paths {
            let text = std::fs::read_to_string(&path).unwrap();
            let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            for used in words.filter(|word| word.starts_with("quoll_scorer_")) {
                // `quoll_scorer_web_*`.
                let part = used.ends_with('_') && known.iter().any(|name| name.starts_with(used));
                assert!(part || known.contains(&used), "{}: {used}", path.display());
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
