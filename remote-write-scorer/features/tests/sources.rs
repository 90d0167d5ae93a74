//! The same small shop, as each source reports it: the same services, the same graph, comparable features.
//!
//! Six services: a front end calls a cart, a catalog and orders; orders call a payment; cart and orders share a
//! database, which has no proxy of a mesh. People outside and somebody unknown call the front end; payment
//! calls a bank outside, catalog an address that nobody knows. One payment in ten fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use common::Feed;
use common::exposition::{Line, parse};
use quoll_features::{ClosedStep, FeatureSet, Limits, Presence, ScopeWindows};

/// Who calls whom: requests, errors per second, mean latency, and whether only TCP is to be seen of it.
const CALLS: [(&str, &str, f64, f64, f64, bool); 6] = [
    ("cart", "orders-db", 40.0, 0.0, 0.002, true),
    ("frontend", "cart", 40.0, 0.0, 0.020, false),
    ("frontend", "catalog", 60.0, 0.0, 0.005, false),
    ("frontend", "orders", 10.0, 0.0, 0.080, false),
    ("orders", "orders-db", 20.0, 0.0, 0.004, true),
    ("orders", "payment", 10.0, 1.0, 0.050, false),
];

/// Sources of edges, and whether they see the requests of the database.
const SOURCES: [(&str, bool); 7] = [
    ("quoll", true),
    ("istio", false),
    ("linkerd", false),
    ("service-graph", true),
    ("obi", true),
    ("hubble", false),
    ("coroot", true),
];

fn fixture(name: &str) -> Vec<Line> {
    parse(&std::fs::read_to_string(format!("{}/tests/fixtures/{name}.prom", env!("CARGO_MANIFEST_DIR"))).unwrap())
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1e-3)
}

/// The last closed step of a replay of these fixtures through these presets.
fn step_of(presets: &str, fixtures: &[&str]) -> (FeatureSet, ClosedStep) {
    let set = FeatureSet::preset(presets).unwrap();
    let mut feed = Feed::of(set.clone(), 15_000);
    let lines: Vec<Line> = fixtures.iter().flat_map(|name| fixture(name)).collect();
    feed.replay(&lines, 1, 8, |_, _, value| Some(value));
    feed.close();
    (set, feed.steps.pop().unwrap())
}

fn value(set: &FeatureSet, step: &ClosedStep, service: &str, feature: &str) -> f64 {
    let at = set.features.iter().position(|spec| *spec.name == *feature).unwrap_or_else(|| panic!("no {feature}"));
    let service = step.services.iter().find(|known| *known.service.name == *service);
    service.unwrap_or_else(|| panic!("no service: {:?}", step.services)).values[at]
}

fn edges(step: &ClosedStep) -> Vec<String> {
    step.edges.iter().map(|edge| format!("{} -> {}", edge.edge.client, edge.edge.server)).collect()
}

fn expected_edges() -> Vec<String> {
    CALLS.iter().map(|(client, server, ..)| format!("shop/{client} -> shop/{server}")).collect()
}

#[test]
fn every_source_of_edges_gives_the_same_services_and_the_same_graph() {
    for (source, _) in SOURCES {
        let (_, step) = step_of(source, &[source]);
        let services: Vec<String> = step.services.iter().map(|service| service.service.to_string()).collect();
        let expected =
            ["cart", "catalog", "frontend", "orders", "orders-db", "payment"].map(|name| format!("shop/{name}"));
        assert_eq!(services, expected, "{source}: no external, unknown, virtual or bare ones");
        assert_eq!(edges(&step), expected_edges(), "{source}");
        assert!(step.services.iter().all(|service| service.presence == Presence::Present), "{source}");
    }
}

/// In ambient mode no caller's proxy reports requests, and the callee's place is its waypoint's.
#[test]
fn waypoints_report_requests_as_the_callees_proxies_do() {
    let mut lines = fixture("istio");
    let told = |line: &Line, name: &str, value: &str| line.labels.iter().any(|(n, v)| n == name && v == value);
    let of_requests = |line: &Line| line.labels.iter().any(|(name, _)| name == "response_code");
    lines.retain(|line| !(of_requests(line) && told(line, "reporter", "source")));
    for line in lines.iter_mut().filter(|line| of_requests(line)) {
        for (name, value) in &mut line.labels {
            if name == "reporter" {
                *value = "waypoint".to_owned();
            }
        }
    }
    let set = FeatureSet::preset("istio").unwrap();
    let mut feed = Feed::of(set.clone(), 15_000);
    feed.replay(&lines, 1, 8, |_, _, value| Some(value));
    feed.close();
    let step = feed.steps.pop().unwrap();
    assert_eq!(edges(&step), expected_edges());
    let payment = step.edges.iter().find(|edge| *edge.edge.server.name == *"payment").unwrap();
    assert!(near(payment.requests_per_second, 10.0) && near(payment.errors_per_second, 1.0), "{payment:?}");
    assert!(near(payment.latency_seconds, 0.05), "{payment:?}");
    assert!(near(value(&set, &step, "payment", "error_ratio"), 0.1));
}

#[test]
fn edges_carry_the_same_figures_whoever_reports_them() {
    for (source, sees_database) in SOURCES {
        let (_, step) = step_of(source, &[source]);
        for (edge, (client, server, requests, errors, latency, tcp)) in step.edges.iter().zip(CALLS) {
            let place = format!("{source}: {client} -> {server}: {edge:?}");
            if tcp && !sees_database {
                assert!(edge.connects_per_second > 0.5 && edge.connects_per_second < 5.0, "{place}");
                assert!(near(edge.requests_per_second, edge.connects_per_second), "connects stand in: {place}");
                assert!(edge.errors_per_second == 0.0 && edge.latency_seconds.is_nan(), "{place}");
                continue;
            }
            assert!(near(edge.requests_per_second, requests), "{place}");
            assert!(near(edge.errors_per_second, errors), "{place}");
            assert!(near(edge.latency_seconds, latency), "{place}");
        }
    }
}

#[test]
fn features_of_one_name_have_one_value_whoever_reports_them() {
    let expected = [
        ("cart", "requests_per_second", 40.0),
        ("payment", "error_ratio", 0.1),
        ("payment", "caller_error_ratio", 0.1),
        ("cart", "request_latency_seconds", 0.020),
        ("catalog", "caller_request_latency_seconds", 0.005),
        ("payment", "caller_connect_failure_ratio", 0.0),
        ("cart", "cpu_cores", 0.5),
        ("cart", "memory_bytes", 1e8),
    ];
    for (source, _) in SOURCES {
        let (set, step) = step_of(source, &[source]);
        let mut checked = 0;
        for (service, feature, wanted) in expected {
            if set.features.iter().any(|spec| *spec.name == *feature) {
                let found = value(&set, &step, service, feature);
                // A mesh sees connects of TCP only.
                let unseen = feature == "caller_connect_failure_ratio" && found.is_nan();
                assert!(unseen || near(found, wanted), "{source}: {service} {feature}: {found}");
                checked += 1;
            }
        }
        assert!(checked >= 3, "{source}: {checked} features");
    }
}

#[test]
fn units_and_meanings_agree_between_all_presets() {
    // Those that share no metric go together, and every set compiles.
    for presets in ["quoll, istio, cadvisor, kube-state-metrics, node-exporter", "linkerd, hubble, coroot, obi"] {
        let set = FeatureSet::preset(presets).unwrap();
        assert!(set.features.len() > 10);
    }
    let error = FeatureSet::preset("obi, service-graph").unwrap_err().to_string();
    assert!(error.contains("`traces_service_graph_request") && error.contains("leave one out"), "{error}");
    assert!(FeatureSet::preset("quoll, quoll").is_err());
}

#[test]
fn several_sources_at_once_give_one_graph_whose_figures_are_one_sources() {
    let all = "istio, quoll, cadvisor, kube-state-metrics, hubble";
    let fixtures = ["istio", "quoll", "cadvisor", "kube-state-metrics", "hubble"];
    let (set, step) = step_of(all, &fixtures);
    assert_eq!(step.services.len(), 6, "{:?}", step.services);
    assert_eq!(edges(&step), expected_edges());
    for (edge, (client, server, requests, ..)) in step.edges.iter().zip(CALLS) {
        assert!(near(edge.requests_per_second, requests), "{client} -> {server}: {edge:?}");
        let connects = if client == "cart" { 2.0 } else { edge.connects_per_second };
        assert!(near(edge.connects_per_second, connects), "never the sum: {edge:?}");
    }
    assert!(near(value(&set, &step, "cart", "requests_per_second"), 40.0));
    assert!(near(value(&set, &step, "cart", "cpu_cores"), 0.5), "quoll's or cAdvisor's, not both");
    assert!(near(value(&set, &step, "cart", "unavailable_replicas"), 0.0));
}

#[test]
fn containers_and_pods_are_their_workload_with_hosts_and_without_doubles() {
    for presets in ["cadvisor", "kube-state-metrics"] {
        let (_, step) = step_of(presets, &[presets]);
        let hosts: Vec<String> =
            step.services.iter().map(|s| format!("{} on {}", s.service, s.hosts.join(","))).collect();
        let on = |name: &str, host: &str| format!("shop/{name} on {host}");
        let expected = [
            on("cart", "node-a"),
            on("catalog", "node-b"),
            on("frontend", "node-a"),
            on("orders", "node-b"),
            on("orders-db", "node-b"),
            on("payment", "node-a"),
        ];
        assert_eq!(hosts, expected, "{presets}");
    }
    let (set, step) = step_of("cadvisor", &["cadvisor"]);
    assert!(near(value(&set, &step, "cart", "cpu_cores"), 0.5), "the pod's cgroup is not counted again");
    assert!(near(value(&set, &step, "cart", "memory_bytes"), 1e8));
    let (set, step) = step_of("node-exporter", &["node-exporter"]);
    assert_eq!(step.services[0].service.to_string(), "node/node-a");
    assert!(near(value(&set, &step, "node-a", "cpu_cores"), 0.6));
    assert!(near(value(&set, &step, "node-a", "memory_bytes"), 1e9));
}

#[test]
fn a_new_image_shows_as_one_change_in_every_source_that_knows_images() {
    for (presets, label) in [("quoll", "image"), ("cadvisor", "image"), ("kube-state-metrics", "image")] {
        let mut feed = Feed::of(FeatureSet::preset(presets).unwrap(), 15_000);
        let mut lines = fixture(presets);
        feed.replay(&lines, 1, 6, |_, _, value| Some(value));
        for line in &mut lines {
            for (name, value) in &mut line.labels {
                if name == label && value.contains("cart") {
                    *value = "shop/cart:1.5".to_owned();
                }
            }
        }
        feed.replay(&lines, 7, 12, |_, _, value| Some(value));
        feed.close();
        let changes: Vec<(String, String)> = (feed.steps.iter().flat_map(|step| &step.services))
            .filter_map(|service| Some((service.service.to_string(), service.change.clone()?.text)))
            .collect();
        assert_eq!(changes, [("shop/cart".to_owned(), "image shop/cart:1.4 -> shop/cart:1.5".to_owned())], "{presets}");
    }
}

#[test]
fn the_preferred_source_that_falls_silent_is_replaced_after_five_minutes_and_not_at_once() {
    let set = FeatureSet::preset("istio, quoll").unwrap();
    let mut feed = Feed::of(set, 15_000);
    let (istio, quoll) = (fixture("istio"), fixture("quoll"));
    // Quoll sees twice the traffic, so that the two can be told apart.
    for at in 1..=60 {
        if at <= 20 {
            feed.replay(&istio, at, at, |_, _, value| Some(value));
        }
        feed.replay(&quoll, at, at, |line, _, value| Some(if line.counts { 2.0 * value } else { value }));
    }
    feed.close();
    let seen = |at: usize| {
        let step = &feed.steps[at];
        step.edges.iter().find(|edge| *edge.edge.server.name == *"catalog").unwrap().requests_per_second
    };
    assert!(near(seen(15), 60.0), "{}", seen(15));
    assert!(seen(30) < 100.0, "{}", seen(30));
    assert!(near(seen(55), 120.0), "{}", seen(55));
}

#[test]
fn an_edge_that_nobody_uses_any_more_leaves_the_graph_after_ten_minutes_and_comes_back() {
    let mut feed = Feed::of(FeatureSet::preset("istio").unwrap(), 15_000);
    let lines = fixture("istio");
    // The catalog's counters stand still from step 10 to step 80; they go on being exported.
    let frozen = |line: &Line, at: i64, value: f64| {
        let catalog = line.labels.iter().any(|(name, value)| name == "destination_workload" && value == "catalog");
        let at = if catalog { at.min(10) + (at - 80).max(0) } else { at };
        Some(if line.counts { line.value * f64::from(i32::try_from(at).unwrap()) * 0.015 } else { value })
    };
    feed.replay(&lines, 1, 90, frozen);
    feed.close();
    let has = |at: usize| edges(&feed.steps[at]).contains(&"shop/frontend -> shop/catalog".to_owned());
    assert!(has(5) && has(45), "ten minutes are forty steps");
    assert!(!has(55) && !has(70));
    assert!(has(85));
}

#[test]
fn servers_known_by_address_are_found_in_any_order_and_refused_connects_to_a_virtual_address_too() {
    let set = FeatureSet::preset("coroot").unwrap();
    let mut feed = Feed::of(set, 15_000);
    let mut lines = fixture("coroot");
    // Callers come before listeners.
    lines.sort_by_key(|line| line.labels.iter().any(|(name, _)| name == "listen_addr"));
    let refused = "# TYPE container_net_tcp_failed_connects_total counter
container_net_tcp_failed_connects_total{container_id=\"/k8s/shop/frontend-5d4f8c7b9f-x2k8p/frontend\",node=\"node-a\",destination=\"10.96.0.2:8080\"} 8000
";
    lines.splice(0..0, parse(refused));
    feed.replay(&lines, 1, 8, |_, _, value| Some(value));
    feed.close();
    let step = feed.steps.last().unwrap();
    assert_eq!(edges(step), expected_edges());
    let edge = step.edges.iter().find(|edge| *edge.edge.server.name == *"cart").unwrap();
    assert!(near(edge.connect_failures_per_second, 8.0) && near(edge.connects_per_second, 12.0), "{edge:?}");
    assert!(near(edge.errors_per_second, 8.0) && near(edge.requests_per_second, 48.0), "{edge:?}");
}

#[test]
fn what_is_beyond_the_limits_is_refused_and_counted() {
    let set = std::sync::Arc::new(FeatureSet::preset("quoll").unwrap());
    let limits = Limits { services: 10, edges: 5, series: 60 };
    let mut windows = ScopeWindows::with_limits(set, 1000, limits);
    let mut bound = 0_u64;
    for service in 0..100 {
        let name = format!("s{service}");
        for metric in ["quoll_memory_working_set_bytes", "quoll_open_file_descriptors"] {
            bound += u64::from(windows.bind(&[("__name__", metric), ("service_name", &name)]).is_some());
        }
    }
    assert_eq!((bound, windows.stats().refused), (20, 180), "two series for each of ten services");
}
