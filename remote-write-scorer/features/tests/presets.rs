//! Sets that ship, sets that users write, and what their mistakes are told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use common::Feed;
use quoll_features::{Direction, FeatureSet, PresetError, Role, SeenBy, is_own_output};

#[test]
fn the_quoll_preset_has_the_documented_features() {
    let set = FeatureSet::preset("quoll").unwrap();
    let names: Vec<&str> = set.features.iter().map(|spec| &*spec.name).collect();
    assert_eq!(
        names,
        [
            "cpu_cores",
            "memory_bytes",
            "cpu_throttled_ratio",
            "open_file_descriptors",
            "accept_queue_ratio",
            "listener_overflows_per_second",
            "requests_per_second",
            "request_latency_seconds",
            "error_ratio",
            "caller_request_latency_seconds",
            "caller_error_ratio",
            "caller_connect_failure_ratio",
            "caller_handshake_seconds",
            "caller_retransmit_ratio",
        ]
    );
    let traffic: Vec<&str> =
        set.features.iter().filter(|spec| spec.role == Role::Traffic).map(|spec| &*spec.name).collect();
    assert_eq!(traffic, ["requests_per_second"]);
    let latency = &set.features[7];
    assert_eq!((latency.direction, latency.seen_by), (Direction::Up, SeenBy::Itself));
    assert_eq!((&*latency.unit, latency.min_deviation), ("seconds", 0.005));
    assert!(set.features.iter().all(|spec| spec.min_deviation > 0.0));
}

#[test]
fn the_allow_list_is_exactly_what_rules_name_and_nothing_that_quoll_writes() {
    let set = FeatureSet::preset("quoll").unwrap();
    let metrics: Vec<&str> = set.metrics().collect();
    assert!(metrics.is_sorted());
    assert_eq!(metrics.len(), 24, "{metrics:?}");
    assert!(set.selects("quoll_tcp_connects_total") && !set.selects("quoll_tcp_rtt_seconds_sum"));
    assert!(metrics.iter().all(|metric| !is_own_output(metric)));
}

#[test]
fn series_are_selected_by_name_and_labels() {
    let mut feed = Feed::new(1000);
    assert!(feed.bind("quoll_tcp_rtt_seconds_sum client=a server=b reporter=client").is_none());
    assert!(feed.bind("quoll_memory_working_set_bytes instance=x").is_none(), "it names no service");
    assert!(feed.bind("quoll_tcp_connects_total client=a server=external reporter=client").is_none());
    assert!(feed.bind("quoll_tcp_connects_total client=a server=b reporter=somebody").is_none());
    let one = feed.bind("quoll_tcp_connects_total client=external server=b reporter=server").unwrap();
    assert_eq!(feed.bind("quoll_tcp_connects_total client=external server=b reporter=server"), Some(one));
    assert_ne!(feed.bind("quoll_tcp_connects_total client=external server=c reporter=server"), Some(one));
}

#[test]
fn the_hash_follows_the_rules_and_not_the_layout() {
    let yaml = FeatureSet::preset_yaml("quoll").unwrap();
    let hash = FeatureSet::preset("quoll").unwrap().hash();
    assert_eq!(hash.len(), 32);
    assert_eq!(FeatureSet::from_yaml(&format!("# a comment\n{yaml}\n")).unwrap().hash(), hash);
    for (from, to) in [("min_deviation: 0.1", "min_deviation: 0.2"), ("reporter: server", "reporter: client")] {
        let changed = yaml.replacen(from, to, 1);
        assert_ne!(changed, yaml);
        assert_ne!(FeatureSet::from_yaml(&changed).unwrap().hash(), hash, "{from}");
    }
}

#[test]
fn a_database_that_is_slow_or_fails_is_seen_in_its_own_requests_and_in_those_of_its_callers() {
    let mut feed = Feed::new(1000);
    for t in 1..=8_i32 {
        let (at, n) = (i64::from(t) * 1000, f64::from(t));
        // From the fifth second on each query takes ten times as long, and one in four fails.
        let later = (n - 4.0).max(0.0);
        for reporter in ["client", "server"] {
            let edge = format!("client=cart server=db reporter={reporter} system=postgresql");
            let (count, sum) = ("quoll_db_request_duration_seconds_count", "quoll_db_request_duration_seconds_sum");
            feed.push(&format!("{count} {edge} status=ok"), at, 100.0 * n - 25.0 * later);
            feed.push(&format!("{sum} {edge} status=ok"), at, 0.2 * n + 1.8 * later);
            if later > 0.0 {
                feed.push(&format!("{count} {edge} status=error"), at, 25.0 * later);
                feed.push(&format!("{sum} {edge} status=error"), at, 0.0);
            }
        }
        feed.push("quoll_memory_working_set_bytes service_name=idle", at, 1.0);
    }
    for (end_ms, latency, errors) in [(3000, 0.002, 0.0), (7000, 0.02, 0.25)] {
        let near = |value: f64, wanted: f64| assert!((value - wanted).abs() < 1e-9, "{end_ms}: {value}, not {wanted}");
        near(feed.value(end_ms, "db", "requests_per_second"), 100.0);
        for of in ["", "caller_"] {
            near(feed.value(end_ms, "db", &format!("{of}request_latency_seconds")), latency);
            near(feed.value(end_ms, "db", &format!("{of}error_ratio")), errors);
        }
        let edge = feed.edge(end_ms, "cart", "db").clone();
        near(edge.requests_per_second, 100.0);
        near(edge.errors_per_second, 100.0 * errors);
        near(edge.latency_seconds, latency);
        // Whoever answers nothing at all has no rate of it, not one of zero.
        assert!(feed.value(end_ms, "idle", "requests_per_second").is_nan());
    }
}

#[test]
fn a_name_that_does_not_exist_is_no_error_of_its_resolver_and_a_cancelled_call_none_of_its_server() {
    let mut feed = Feed::new(1000);
    for t in 1..=5_i32 {
        let (at, n) = (i64::from(t) * 1000, f64::from(t));
        for (family, labels) in [
            ("dns", ["status=noerror", "status=nxdomain", "status=servfail", "status=none"]),
            (
                "rpc",
                [
                    "system=grpc status=OK",
                    "system=grpc status=CANCELLED",
                    "system=grpc status=UNAVAILABLE",
                    "system=grpc status=INTERNAL",
                ],
            ),
        ] {
            for labels in labels {
                let edge = format!("client=web server={family} reporter=client {labels}");
                feed.push(&format!("quoll_{family}_request_duration_seconds_count {edge}"), at, n * 10.0);
            }
        }
    }
    for server in ["dns", "rpc"] {
        assert_eq!(feed.value(3000, server, "caller_error_ratio"), 0.5, "{server}");
        assert_eq!(feed.edge(3000, "web", server).errors_per_second, 20.0, "{server}");
    }
}

/// What the exporter has no place for on an edge it counts as `other` where it failed, and as `other_client` where it did not.
#[test]
fn errors_without_a_series_of_their_own_are_errors_and_answers_without_one_are_none() {
    let mut feed = Feed::new(1000);
    let families = ["http", "rpc", "db", "dns"];
    for t in 1..=5_i32 {
        let (at, n) = (i64::from(t) * 1000, f64::from(t));
        for (family, (label, good)) in
            families.iter().zip([("status_class", "2xx"), ("status", "OK"), ("status", "ok"), ("status", "noerror")])
        {
            for (status, rate) in [(good, 5.0), ("other", 2.0), ("other_client", 1.0)] {
                for reporter in ["client", "server"] {
                    let edge = format!("client=web server={family} reporter={reporter} {label}={status}");
                    feed.push(&format!("quoll_{family}_request_duration_seconds_count {edge}"), at, n * rate);
                }
            }
        }
    }
    for server in families {
        for feature in ["error_ratio", "caller_error_ratio"] {
            assert_eq!(feed.value(3000, server, feature), 0.25, "{server} {feature}");
        }
        assert_eq!(feed.edge(3000, "web", server).errors_per_second, 2.0, "{server}");
    }
}

const MINIMAL: &str = "
service_labels: { app: { name: app } }
features:
  - { name: heap, unit: bytes, direction: up, min_deviation: 0, seen_by: itself, service: app, value: [{ gauge: heap_bytes }] }
";

#[test]
fn a_set_of_ones_own_needs_a_few_lines() {
    let mut feed = Feed::of(FeatureSet::from_yaml(MINIMAL).unwrap(), 1000);
    for t in 1..=5 {
        feed.push("heap_bytes app=web pod=1", t * 1000, 3.0);
        feed.push("heap_bytes app=web pod=2", t * 1000, 4.0);
    }
    assert_eq!(feed.value(3000, "web", "heap"), 7.0);
}

#[test]
fn a_mesh_with_requests_only_gives_edges_ratios_and_scaled_latency() {
    // As Istio names things: milliseconds, codes, no namespaces needed here.
    let yaml = "
service_labels: { server: { name: destination_workload } }
not_services: [unknown]
breakdown_labels: [response_code]
edges:
  client: { name: source_workload }
  server: { name: destination_workload }
  reporter: { label: reporter, client: source, server: destination }
  requests: [{ rate: istio_requests_total }]
  errors: [{ rate: istio_requests_total, match: { response_code: ['500', '503'] } }]
  latency: [{ rate: istio_request_duration_milliseconds_sum, scale: 0.001 }]
features:
  - name: latency_seconds
    unit: seconds
    direction: up
    min_deviation: 0.005
    seen_by: itself
    service: server
    value: [{ rate: istio_request_duration_milliseconds_sum, scale: 0.001, match: { reporter: destination } }]
    per: [{ rate: istio_requests_total, match: { reporter: destination } }]
";
    let mut feed = Feed::of(FeatureSet::from_yaml(yaml).unwrap(), 1000);
    for t in 1..=5_i32 {
        let (at, n) = (i64::from(t) * 1000, f64::from(t));
        for reporter in ["source", "destination"] {
            let edge = format!("source_workload=a destination_workload=b reporter={reporter}");
            feed.push(&format!("istio_requests_total {edge} response_code=200"), at, n * 90.0);
            feed.push(&format!("istio_requests_total {edge} response_code=503"), at, n * 10.0);
            feed.push(&format!("istio_request_duration_milliseconds_sum {edge} response_code=200"), at, n * 2000.0);
        }
    }
    assert_eq!(feed.value(3000, "b", "latency_seconds"), 0.02);
    let edge = feed.edge(3000, "a", "b").clone();
    assert_eq!((edge.requests_per_second, edge.errors_per_second), (100.0, 10.0));
    assert!((edge.latency_seconds - 0.02).abs() < 1e-12);
    assert_eq!(edge.connects_per_second, 0.0);
}

#[test]
fn mistakes_are_answered_with_what_to_write_instead() {
    let told = |from: &str, to: &str| {
        let yaml = MINIMAL.replacen(from, to, 1);
        assert_ne!(yaml, MINIMAL, "{from}");
        FeatureSet::from_yaml(&yaml).unwrap_err().to_string()
    };
    for (from, to, expected) in [
        ("gauge: heap_bytes", "gauge: quoll_anomaly_score", "written by Quoll itself"),
        ("gauge: heap_bytes", "rate: 'quoll:edge:rate'", "written by Quoll itself"),
        ("gauge: heap_bytes", "gauge: a, rate: b", "exactly one of `gauge: METRIC`"),
        ("gauge: heap_bytes", "scale: 2", "exactly one of `gauge: METRIC`"),
        ("gauge: heap_bytes", "gauge: 'heap bytes'", "cannot name a metric"),
        ("gauge: heap_bytes", "gauge: heap_bytes, scale: 0", "scale is 0"),
        ("gauge: heap_bytes", "gauge: heap_bytes, match: { x: [] }", "nothing can pass"),
        ("service: app", "service: pod", "`service_labels` has: app"),
        ("min_deviation: 0", "min_deviation: -1", "must be finite and not negative"),
        ("min_deviation: 0", "min_deviation: .nan", "must be finite and not negative"),
        ("direction: up", "direction: sideways", "sideways"),
        ("unit: bytes", "units: bytes", "units"),
        ("value: [{ gauge: heap_bytes }]", "value: []", "list of terms is empty"),
        ("features:", "breakdown_labels: [app]\nfeatures:", "cannot be in `breakdown_labels`"),
        ("{ app: { name: app } }", "{}", "`service_labels` has 0 entries"),
        ("value: [{ gauge: heap_bytes }]", "value: [{ gauge: x }], per: [{ rate: x }]", "a level or a counter"),
    ] {
        let message = told(from, to);
        assert!(message.contains(expected), "{to}: {message}");
    }
    assert!(matches!(FeatureSet::preset("istoi"), Err(PresetError::Unknown { .. })));
    let doubled = MINIMAL.to_owned() + MINIMAL.lines().last().unwrap();
    assert!(matches!(FeatureSet::from_yaml(&doubled), Err(PresetError::Duplicate { .. })));
}

/// The first block of YAML below a heading of the documentation that holds `holds`.
fn documented(holds: &str) -> String {
    let text = include_str!("../../../docs/presets.md");
    let mut blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.find(|block| block.contains(holds)).unwrap().to_owned()
}

#[test]
fn the_documented_example_of_ones_own_metrics_works_beside_presets() {
    let set = FeatureSet::from_yaml(&documented("jobs_waiting")).unwrap();
    assert!(set.selects("quoll_tcp_connects_total") && set.selects("container_file_descriptors"));
    let mut feed = Feed::of(set, 1000);
    for t in 1..=5_i32 {
        let at = i64::from(t) * 1000;
        feed.push("jobs_done_total app=mailer namespace=shop outcome=ok", at, f64::from(t) * 9.0);
        if t > 2 {
            feed.push("jobs_done_total app=mailer namespace=shop outcome=failed", at, f64::from(t - 2));
        }
        feed.push("jobs_waiting app=mailer namespace=shop", at, 12.0);
        feed.push("quoll_memory_working_set_bytes service_name=mailer service_namespace=shop", at, 5e7);
    }
    assert_eq!(feed.value(4000, "mailer", "job_failure_ratio"), 0.1);
    assert_eq!(feed.value(4000, "mailer", "jobs_waiting"), 12.0);
    assert_eq!(feed.value(4000, "mailer", "memory_bytes"), 5e7, "one service, by two sources");
}

#[test]
fn every_preset_is_documented_and_every_documented_limit_is_the_one_in_use() {
    let text = include_str!("../../../docs/presets.md");
    for name in FeatureSet::preset_names() {
        assert!(text.contains(&format!("| `{name}`")), "{name}");
    }
    let limits = quoll_features::Limits::default();
    assert_eq!((limits.series, limits.services, limits.edges), (4_000_000, 50_000, 500_000));
    assert!(text.contains("4,000,000 series, 50,000 services and 500,000 edges"));
}
