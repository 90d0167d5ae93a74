//! Real senders into the scorer: what a peer scraped and stored itself is what the scorer has in its windows.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use quoll_conformance::http::serve;
use quoll_conformance::peer::{Prometheus, VictoriaMetrics, Vmagent};
use quoll_conformance::scorer::{Scorer, V1, request};
use quoll_conformance::security::{PASSWORD, Security, USER};
use quoll_conformance::shop::{exposition, shop};
use quoll_conformance::{now_ms, wait_for};

/// A scrape every second of the target.
fn scrape(target: u16) -> String {
    format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [{{ job_name: shop, static_configs: [{{ targets: ['127.0.0.1:{target}'] }}] }}]\n"
    )
}

/// Waits for a tick with everything in it, and compares memory of each service with what `stored` gives for it.
fn agrees(scorer: &Scorer, stored: impl Fn(&str, i64) -> Vec<(serde_json::Value, f64)>) {
    let view = wait_for("a tick with all services and edges", || {
        let view = scorer.json("/api/v1/graph");
        let features = |service: &serde_json::Value| !service["features"].as_array().unwrap().is_empty();
        let services = view["services"].as_array().unwrap();
        (services.len() == 3 && services.iter().all(features) && view["edges"].as_array().unwrap().len() == 2)
            .then_some(view)
    });
    let tick_ms = view["tick_ms"].as_i64().unwrap();
    for service in view["services"].as_array().unwrap() {
        let name = service["name"].as_str().unwrap();
        let features = service["features"].as_array().unwrap();
        let memory = features.iter().find(|feature| feature["name"] == "memory_bytes").unwrap();
        let query = format!("quoll_memory_working_set_bytes{{service_name={name:?}}}");
        let value = memory["value"].as_f64().unwrap();
        // It may have the sample of this tick later than the scorer.
        wait_for(&format!("the peer's own value of {name} at {tick_ms} to be {value}"), || {
            stored(&query, tick_ms).iter().any(|(_, stored)| *stored == value).then_some(())
        });
    }
    for reason in ["malformed_label", "duplicate_label_name", "too_far_in_future"] {
        let name = format!("quoll_scorer_samples_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(scorer.metric(&name), 0.0, "{reason}");
    }
}

fn remote_write(scorer: &Scorer, more: &str) -> String {
    let url = scorer.url("/api/v1/write");
    format!(
        "remote_write: [{{ url: '{url}', \
         queue_config: {{ batch_send_deadline: 200ms }}{more} }}]\n"
    )
}

#[test]
fn the_newest_prometheus_sends_version_1() {
    let directory = tempfile::tempdir().unwrap();
    let target = serve(|_, _| (200, exposition()));
    let scorer = Scorer::start(&directory.path().join("scorer"), None, "");
    let configuration = scrape(target) + &remote_write(&scorer, "");
    let Some(sending) = Prometheus::start_newest(&directory.path().join("sending"), &configuration) else { return };
    agrees(&scorer, |query, at_ms| sending.query(query, at_ms));
}

#[test]
fn vmagent_sends_as_it_likes_and_victoria_metrics_stores_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let target = serve(|_, _| (200, exposition()));
    let scorer = Scorer::start(&directory.path().join("scorer"), None, "");
    let Some(storing) = VictoriaMetrics::start_newest(&directory.path().join("storing")) else { return };
    let also = format!("-remoteWrite.url={}", storing.write_url());
    let sending = directory.path().join("sending");
    let Some(_sending) = Vmagent::start_newest(&sending, &scrape(target), &scorer.url("/api/v1/write"), &[&also])
    else {
        return;
    };
    agrees(&scorer, |query, at_ms| storing.query(query, at_ms));
}

#[test]
fn the_newest_prometheus_sends_version_2() {
    let directory = tempfile::tempdir().unwrap();
    let target = serve(|_, _| (200, exposition()));
    let scorer = Scorer::start(&directory.path().join("scorer"), None, "");
    let message =
        ", protobuf_message: io.prometheus.write.v2.Request, send_exemplars: true, send_native_histograms: true";
    let configuration = scrape(target) + &remote_write(&scorer, message);
    let Some(sending) = Prometheus::start_newest(&directory.path().join("sending"), &configuration) else { return };
    agrees(&scorer, |query, at_ms| sending.query(query, at_ms));
    assert!(scorer.metric("quoll_scorer_write_requests_v2_total") > 0.0);
    // It counts as failed what an answer does not confirm.
    let failed = "sum(prometheus_remote_storage_samples_failed_total)";
    assert!(sending.query(failed, now_ms()).iter().all(|(_, count)| *count == 0.0));
}

#[test]
fn of_a_pair_one_is_heard_and_the_other_takes_over_when_it_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    // Fifty requests a second on each edge at any moment, whenever it is looked at.
    let steady = || {
        let requests =
            |line: &str| line.rsplit_once(' ').map(|(series, _)| format!("{series} {}\n", now_ms() as f64 / 20.0));
        let lines = exposition();
        let lines = lines.lines().filter(|line| !line.contains("5xx"));
        lines.map(|line| if line.contains("2xx") { requests(line).unwrap() } else { format!("{line}\n") }).collect()
    };
    let target = serve(move |_, _| (200, steady()));
    let scorer = Scorer::start(&directory.path().join("scorer"), None, "ingest: { ha_failover_ms: 5000 }\n");
    let replica = |name: &str| {
        let configuration = scrape(target).replace(
            "scrape_interval: 1s",
            &format!("scrape_interval: 1s, external_labels: {{ cluster: eu, replica: {name} }}"),
        ) + &remote_write(&scorer, "");
        Prometheus::start(&directory.path().join(name), &configuration)
    };
    // Rates of each tick that was seen. One may be off where a scrape was late, the middle one only where replicas were
    // summed.
    let rates = Mutex::new(BTreeMap::<i64, f64>::new());
    let look = || {
        let view = scorer.json("/api/v1/graph");
        let (tick_ms, edges) = (view["tick_ms"].as_i64()?, view["edges"].as_array()?.clone());
        let highest = edges.iter().filter_map(|edge| edge["requests_per_second"].as_f64()).fold(0.0, f64::max);
        if highest > 0.0 {
            rates.lock().unwrap().insert(tick_ms, highest);
        }
        Some(tick_ms)
    };
    let rates_are_single = || {
        let mut seen: Vec<f64> = std::mem::take(&mut *rates.lock().unwrap()).into_values().collect();
        seen.sort_by(f64::total_cmp);
        let middle = seen.get(seen.len() / 2).copied().unwrap_or_default();
        assert!((25.0..75.0).contains(&middle), "{middle} requests a second of {seen:?}");
    };
    let mut first = replica("a");
    agrees(&scorer, |query, at_ms| first.query(query, at_ms));
    let second = replica("b");
    wait_for("samples of the other replica", || {
        look();
        let enough = rates.lock().unwrap().len() >= 8;
        (enough && scorer.metric("quoll_scorer_samples_replica_total") > 40.0).then_some(())
    });
    rates_are_single();
    first.process().kill();
    let killed_ms = now_ms();
    wait_for("the other replica to take over", || (look()? > killed_ms + 15_000).then_some(()));
    rates_are_single();
    agrees(&scorer, |query, at_ms| second.query(query, at_ms));
    // A replica that was stuck for seconds before it was killed is passed over too.
    assert!(scorer.metric("quoll_scorer_replica_failovers_total") >= 1.0);
}

#[test]
fn senders_come_over_tls_with_certificate_and_password_and_nobody_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let security = Security::new(&directory.path().join("security"));
    let target = serve(|_, _| (200, exposition()));
    let scorer = Scorer::start_secured(&directory.path().join("scorer"), "", &security);
    let refused = |agent: &ureq::Agent, password: Option<&str>| {
        let mut post = agent.post(&scorer.url("/api/v1/write"));
        for (name, value) in V1 {
            post = post.header(name, value);
        }
        if let Some(password) = password {
            post = post.header("Authorization", Security::authorization(password));
        }
        post.send(&request(&shop(1, now_ms()))).map(|answer| answer.status().as_u16())
    };
    assert!(refused(&security.agent(false), Some(PASSWORD)).is_err(), "a client without certificate is served");
    assert_eq!(refused(&security.agent(true), Some("wrong")).unwrap(), 401);
    assert_eq!(refused(&security.agent(true), None).unwrap(), 401);
    assert_eq!(scorer.metric("quoll_scorer_samples_selected_total"), 0.0);
    assert_eq!(scorer.metric("quoll_scorer_web_requests_unauthorized_total"), 2.0);

    let (ca, certificate, key) = (security.file("ca.crt"), security.file("client.crt"), security.file("client.key"));
    let credentials = format!(
        ", basic_auth: {{ username: {USER}, password: '{PASSWORD}' }}, \
         tls_config: {{ ca_file: {ca}, cert_file: {certificate}, key_file: {key} }}"
    );
    let configuration = scrape(target) + &remote_write(&scorer, &credentials);
    let sending = Prometheus::start(&directory.path().join("prometheus"), &configuration);
    agrees(&scorer, |query, at_ms| sending.query(query, at_ms));
    drop(sending);

    let scorer = Scorer::start_secured(&directory.path().join("other"), "", &security);
    let Some(storing) = VictoriaMetrics::start_newest(&directory.path().join("storing")) else { return };
    // Flags of a list: the first is for the scorer, the second for the store.
    let flags = [
        format!("-remoteWrite.basicAuth.username={USER},"),
        format!("-remoteWrite.basicAuth.password={PASSWORD},"),
        format!("-remoteWrite.tlsCAFile={ca},"),
        format!("-remoteWrite.tlsCertFile={certificate},"),
        format!("-remoteWrite.tlsKeyFile={key},"),
        format!("-remoteWrite.url={}", storing.write_url()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let to = scorer.url("/api/v1/write");
    let Some(_sending) = Vmagent::start_newest(&directory.path().join("vmagent"), &scrape(target), &to, &flags) else {
        return;
    };
    agrees(&scorer, |query, at_ms| storing.query(query, at_ms));
}

/// What the crate `prometheus_remote_write` makes of the shop at one second.
fn by_the_crate(second: i64, at_ms: i64) -> Vec<u8> {
    use prometheus_remote_write::{Label, Sample, TimeSeries, WriteRequest};
    let timeseries = shop(second, at_ms).into_iter().map(|(labels, timestamp, value)| TimeSeries {
        // It sorts them itself.
        labels: labels.into_iter().rev().map(|(name, value)| Label { name: name.to_owned(), value }).collect(),
        samples: vec![Sample { value, timestamp }],
    });
    WriteRequest { timeseries: timeseries.collect() }.encode_compressed().unwrap()
}

#[test]
fn an_independent_client_in_rust_is_understood() {
    use prometheus_remote_write::{CONTENT_TYPE, HEADER_NAME_REMOTE_WRITE_VERSION, REMOTE_WRITE_VERSION_01};
    let directory = tempfile::tempdir().unwrap();
    let scorer = Scorer::start(directory.path(), None, "");
    let headers = [
        ("Content-Type", CONTENT_TYPE),
        ("Content-Encoding", "snappy"),
        (HEADER_NAME_REMOTE_WRITE_VERSION, REMOTE_WRITE_VERSION_01),
    ];
    let start_ms = now_ms() / 1000 * 1000 - 30_000;
    for second in 0..20 {
        let at_ms = start_ms + second * 1000;
        assert_eq!(scorer.post(&headers, &by_the_crate(second, at_ms)), (204, String::new()));
    }
    let sent = 20.0 * shop(0, 0).len() as f64;
    assert_eq!(scorer.metric("quoll_scorer_samples_selected_total"), sent);
    assert_eq!(scorer.metric("quoll_scorer_series_scattered_total"), 0.0);
    agrees(&scorer, |query, at_ms| {
        let second = (at_ms - start_ms) / 1000;
        let all = shop(second, at_ms).into_iter().filter(|(labels, ..)| query.contains(&format!("{:?}", labels[1].1)));
        all.filter(|(labels, ..)| query.starts_with(&labels[0].1)).map(|(_, _, value)| (().into(), value)).collect()
    });
}
