//! A real Prometheus on both sides: it scrapes a target and sends to the scorer, which writes back to another.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use quoll_conformance::http::serve;
use quoll_conformance::peer::Prometheus;
use quoll_conformance::scorer::Scorer;
use quoll_conformance::shop::exposition;
use quoll_conformance::wait_for;

#[test]
fn what_prometheus_sends_is_scored_and_what_is_written_back_reads_equal() {
    let directory = tempfile::tempdir().unwrap();
    let target = serve(|_, _| (200, exposition()));
    let receiving = Prometheus::start(&directory.path().join("receiving"), "{}\n");
    let scorer = Scorer::start(&directory.path().join("scorer"), Some(receiving.port), "");
    let sending = Prometheus::start(
        &directory.path().join("sending"),
        &format!(
            "global: {{ scrape_interval: 1s, external_labels: {{ cluster: eu, replica: a }} }}\n\
             scrape_configs: [{{ job_name: shop, static_configs: [{{ targets: ['127.0.0.1:{target}'] }}] }}]\n\
             remote_write: [{{ url: 'http://127.0.0.1:{}/api/v1/write', queue_config: {{ batch_send_deadline: 200ms }} }}]\n",
            scorer.port
        ),
    );

    let view = wait_for("a tick with all services and edges", || {
        let view = scorer.json("/api/v1/graph");
        let features = |service: &serde_json::Value| !service["features"].as_array().unwrap().is_empty();
        let services = view["services"].as_array().unwrap();
        (services.len() == 3 && services.iter().all(features) && view["edges"].as_array().unwrap().len() == 2)
            .then_some(view)
    });
    assert_eq!(view["model"]["state"], "none");
    assert_eq!(view["scope"]["partition"]["cluster"], "eu");
    let tick_ms = view["tick_ms"].as_i64().unwrap();

    // What was sent: the memory of each service, as the sending Prometheus has it at the step's end.
    for service in view["services"].as_array().unwrap() {
        let name = service["name"].as_str().unwrap();
        let features = service["features"].as_array().unwrap();
        let memory = features.iter().find(|feature| feature["name"] == "memory_bytes").unwrap();
        let query = format!("quoll_memory_working_set_bytes{{service_name={name:?}}}");
        let stored = sending.query(&query, tick_ms);
        assert_eq!(stored.len(), 1);
        assert_eq!(memory["value"].as_f64().unwrap(), stored[0].1, "memory of {name}");
    }

    // What is written back, as the receiving one has it: name, labels, time and value.
    // The time of the tick is the last of its results; before it comes, those of an earlier tick are found.
    wait_for("the results in Prometheus", || {
        let tick = receiving.query("quoll_inference_tick_timestamp_seconds", tick_ms);
        tick.first().is_some_and(|(_, seconds)| *seconds == tick_ms as f64 / 1000.0).then_some(())
    });
    let found = receiving.query("quoll_edge_requests_per_second", tick_ms);
    assert_eq!(found.len(), 2);
    for edge in view["edges"].as_array().unwrap() {
        let (labels, value) = found.iter().find(|(labels, _)| labels["client"] == edge["client"]).unwrap();
        assert_eq!(*value, edge["requests_per_second"].as_f64().unwrap());
        assert_eq!(labels["server"], edge["server"]);
        assert_eq!(labels["cluster"], "eu");
        assert!(labels.get("replica").is_none());
    }
    assert_eq!(scorer.metric("quoll_scorer_queue_refused_samples_total"), 0.0);
}
