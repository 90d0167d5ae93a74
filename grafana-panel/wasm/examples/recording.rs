//! Writes the ticks that the browser tests show: what a scorer writes back for a shop of 13 services,
//! healthy and with a fault at `catalog-db`, as Prometheus exposition and as the answer of `/api/v1/graph`; and
//! ten ticks of that fault from its first sign on, in one exposition, with a comment between them.
//!
//! Natively computed by the engine, so the tests compare WASM with it to the bit.
//!
//! ```text
//! cargo run --example recording -- ../../tests/panel/recorded
//! ```

#![expect(clippy::expect_used, clippy::panic, reason = "a generator of test data stops at the first mistake")]

use std::fmt::Write as _;
use std::path::PathBuf;

use quoll_blast_radius::{CallEdge, CallGraph, ENGINE_VERSION, blast_radius, single_fault_posterior};

/// Sorted, as ids are.
const SERVICES: [&str; 13] = [
    "accounts",
    "accounts-db",
    "cart",
    "cart-cache",
    "catalog",
    "catalog-db",
    "checkout",
    "gateway",
    "inventory",
    "payment",
    "recommend",
    "search",
    "web",
];

/// Caller, callee, strength, requests per second, error ratio when healthy and in the incident.
const CALLS: [(&str, &str, f64, f64, f64, f64); 19] = [
    ("web", "gateway", 0.94, 48.2, 0.001, 0.061),
    ("gateway", "accounts", 0.47, 9.7, 0.0, 0.0),
    ("gateway", "cart", 0.51, 12.4, 0.0, 0.003),
    ("gateway", "catalog", 0.71, 28.9, 0.002, 0.112),
    ("gateway", "checkout", 0.42, 3.1, 0.0, 0.024),
    ("gateway", "search", 0.58, 18.3, 0.0, 0.087),
    ("gateway", "recommend", 0.49, 14.6, 0.0, 0.042),
    ("accounts", "accounts-db", 0.93, 9.6, 0.0, 0.0),
    ("cart", "cart-cache", 0.88, 21.7, 0.0, 0.0),
    ("cart", "inventory", 0.44, 4.2, 0.0, 0.0),
    ("catalog", "catalog-db", 0.95, 61.5, 0.0, 0.184),
    ("catalog", "inventory", 0.41, 8.8, 0.0, 0.001),
    ("checkout", "cart", 0.62, 3.1, 0.0, 0.0),
    ("checkout", "payment", 0.66, 3.0, 0.004, 0.004),
    ("checkout", "inventory", 0.57, 3.0, 0.0, 0.0),
    ("payment", "accounts", 0.78, 3.0, 0.0, 0.0),
    ("recommend", "catalog", 0.83, 13.9, 0.0, 0.121),
    ("recommend", "cart", 0.46, 2.4, 0.0, 0.0),
    ("search", "catalog", 0.89, 18.0, 0.0, 0.139),
];

/// Anomaly score, healthy and in the incident.
const SCORES: [(f64, f64); 13] = [
    (0.31, 0.36),
    (0.22, 0.19),
    (0.41, 0.52),
    (0.18, 0.21),
    (0.36, 3.42),
    (0.27, 3.81),
    (0.48, 0.77),
    (0.39, 2.12),
    (0.25, 0.33),
    (0.52, 0.47),
    (0.33, 2.03),
    (0.29, 2.86),
    (0.44, 1.31),
];

/// Evidence of the incident, natural log, capped at 8.
const EVIDENCE: [f64; 13] = [-2.1, -2.4, -1.6, -2.3, 7.4, 0.9, -0.4, 5.2, -2.0, -1.7, 4.9, 6.3, 1.8];

const INCIDENT: &str = "1763764200-catalog-db";
const STEP_SECONDS: f64 = 2.0;

fn id(name: &str) -> usize {
    SERVICES.iter().position(|s| *s == name).unwrap_or_else(|| panic!("unknown service {name}"))
}

/// One fault per service in 30 days.
const HAZARD: f64 = STEP_SECONDS / (30.0 * 86_400.0);

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: recording FOLDER"));
    for (name, incident) in [("healthy", false), ("incident", true)] {
        let mut prior = [HAZARD; 13];
        if incident {
            // Some ticks old, so it has moved on.
            prior[id("catalog-db")] = 0.31;
            prior[id("catalog")] = 0.12;
            prior[id("search")] = 0.004;
        }
        let evidence = if incident { EVIDENCE } else { EVIDENCE.map(|e| -2.0 - e.abs() * 0.1) };
        let tick = tick(incident, prior, evidence);
        std::fs::write(folder.join(format!("{name}.prom")), tick.0).expect("cannot write");
        std::fs::write(folder.join(format!("{name}.json")), tick.1).expect("cannot write");
    }
    let mut prior = [HAZARD; 13];
    let mut ticks = String::new();
    for step in 1..=10_u32 {
        let evidence = std::array::from_fn(|s| EVIDENCE[s] * f64::from(step) / 10.0 - 0.01 * s as f64);
        let (text, _, posterior) = tick(true, prior, evidence);
        let _ = write!(ticks, "# tick {step}\n{text}");
        // What is believed after a tick, with the next step's hazard, is believed before the next one.
        let no_fault = 1.0 - posterior.iter().sum::<f64>();
        prior = std::array::from_fn(|s| posterior[s] * 0.99 + no_fault * HAZARD);
    }
    std::fs::write(folder.join("ticks.prom"), ticks).expect("cannot write");
}

/// Exposition and graph JSON of one tick, and the posteriors of a fault in them.
fn tick(incident: bool, prior: [f64; 13], evidence: [f64; 13]) -> (String, String, Vec<f64>) {
    let edges: Vec<_> =
        CALLS.iter().map(|c| CallEdge { client: id(c.0) as u32, server: id(c.1) as u32, strength: c.2 }).collect();
    let graph = CallGraph::new(13, &edges).expect("a sound graph");
    let no_fault_prior = 1.0 - prior.iter().sum::<f64>();
    let leak = 0.01 * HAZARD * (-8.0_f64).exp();
    let posterior =
        single_fault_posterior(&graph, &[leak; 13], no_fault_prior, &prior, &evidence).expect("sound evidence");
    let score = |s: usize| if incident { SCORES[s].1 } else { SCORES[s].0 };

    let mut text = String::new();
    let mut gauge = |name: &str, labels: &str, value: f64| {
        let _ = writeln!(text, "{name}{{{labels}}} {value:?}");
    };
    for (s, name) in SERVICES.iter().enumerate() {
        let service = format!("service_name=\"{name}\",service_namespace=\"shop\"");
        gauge("quoll_anomaly_score", &service, score(s));
        gauge("quoll_anomaly_probability", &service, posterior.anomalous[s]);
        gauge("quoll_evidence_log_likelihood_ratio", &service, evidence[s]);
        gauge("quoll_fault_prior_probability", &service, prior[s]);
        if incident {
            let labels = format!("{service},incident=\"{INCIDENT}\"");
            gauge("quoll_root_cause_probability", &labels, posterior.root_cause[s]);
        }
    }
    for call in &CALLS {
        let labels = format!(
            "client=\"{}\",client_service_namespace=\"shop\",server=\"{}\",server_service_namespace=\"shop\"",
            call.0, call.1
        );
        gauge("quoll_edge_strength", &labels, call.2);
        gauge("quoll_edge_requests_per_second", &labels, call.3);
        gauge("quoll_edge_error_ratio", &labels, if incident { call.5 } else { call.4 });
    }
    let root = id("catalog-db");
    let symptoms: Vec<usize> = (0..13).filter(|&s| incident && s != root && SCORES[s].1 > 1.0).collect();
    if incident {
        let label = format!("incident=\"{INCIDENT}\"");
        gauge("quoll_no_fault_prior_probability", &label, no_fault_prior);
        gauge("quoll_no_fault_probability", &label, posterior.no_fault);
        for &s in &symptoms {
            let labels = format!(
                "service_name=\"{}\",service_namespace=\"shop\",root_service=\"catalog-db\",root_service_namespace=\"shop\",{label}",
                SERVICES[s]
            );
            gauge("quoll_symptom", &labels, 1.0);
        }
        for (s, hit) in blast_radius(&graph, &[leak; 13], root as u32).expect("sound").iter().enumerate() {
            if *hit > 0.01 && s != root {
                let labels = format!(
                    "service_name=\"{}\",service_namespace=\"shop\",root_service=\"catalog-db\",root_service_namespace=\"shop\"",
                    SERVICES[s]
                );
                gauge("quoll_blast_radius_probability", &labels, *hit);
            }
        }
    }
    gauge("quoll_leak_probability", "", leak);
    gauge("quoll_inference_info", &format!("engine_version=\"{ENGINE_VERSION}\",config_hash=\"5d1f0c\""), 1.0);
    gauge("quoll_inference_tick_timestamp_seconds", "", 1_763_764_230.0);

    let services: Vec<String> = SERVICES
        .iter()
        .enumerate()
        .map(|(s, name)| {
            let (in_incident, root_cause) = if incident {
                (format!("\"{INCIDENT}\""), format!("{:?}", posterior.root_cause[s]))
            } else {
                ("null".to_owned(), "null".to_owned())
            };
            format!(
                "{{\"namespace\":\"shop\",\"name\":\"{name}\",\"presence\":\"present\",\"score\":{:?},\"provisional\":true,\"anomaly_probability\":{:?},\"log_likelihood_ratio\":{:?},\"fault_prior\":{:?},\"root_cause_probability\":{root_cause},\"incident\":{in_incident},\"features\":[{}]}}",
                score(s), posterior.anomalous[s], evidence[s], prior[s], features(score(s)),
            )
        })
        .collect();
    let calls: Vec<String> = CALLS
        .iter()
        .map(|c| {
            format!(
                "{{\"client\":\"{}\",\"client_namespace\":\"shop\",\"server\":\"{}\",\"server_namespace\":\"shop\",\"requests_per_second\":{:?},\"error_ratio\":{:?},\"strength\":{:?}}}",
                c.0, c.1, c.3, if incident { c.5 } else { c.4 }, c.2
            )
        })
        .collect();
    let name = |s: usize| format!("{{\"namespace\":\"shop\",\"name\":\"{}\"}}", SERVICES[s]);
    let incidents = if incident {
        let symptoms: Vec<String> = symptoms.iter().map(|&s| name(s)).collect();
        format!(
            "{{\"id\":\"{INCIDENT}\",\"opened_ms\":1763764200000,\"no_fault_prior\":{no_fault_prior:?},\"no_fault_probability\":{:?},\"roots\":[],\"symptoms\":[{}],\"blast_radius\":[],\"explanation\":[\"catalog-db: request latency 412 ms where 6.1 ms is expected\",\"catalog fails 11 % of its requests; it depends on catalog-db\",\"accounts, cart and payment do not depend on catalog-db and are normal\"]}}",
            posterior.no_fault,
            symptoms.join(",")
        )
    } else {
        String::new()
    };
    let json = format!(
        "{{\"model\":{{\"state\":\"provisional\",\"message\":\"model provisional: 150 s of history\"}},\"tick_ms\":1763764230000,\"step_ms\":2000,\"engine_version\":\"{ENGINE_VERSION}\",\"config_hash\":\"5d1f0c\",\"leak\":{leak:?},\n\"services\":[{}],\n\"edges\":[{}],\n\"incidents\":[{incidents}]}}\n",
        services.join(",\n"),
        calls.join(",\n")
    );
    (text, json, posterior.root_cause.clone())
}

/// Three features in keeping with a score.
fn features(score: f64) -> String {
    let latency = 0.006 * (1.0 + score * score * 2.0);
    format!(
        "{{\"name\":\"request_latency\",\"unit\":\"seconds\",\"value\":{latency:?},\"expected\":0.0061,\"score\":{score:?}}},{{\"name\":\"cpu_usage\",\"unit\":\"cores\",\"value\":0.041,\"expected\":0.039,\"score\":0.2}},{{\"name\":\"request_rate\",\"unit\":\"requests/s\",\"value\":28.4,\"expected\":null,\"score\":null}}"
    )
}
