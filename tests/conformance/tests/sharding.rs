//! Two leaves and a root give what one process gives: every sample written back, to the bit, and the same view.

#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp)]

use std::path::Path;

use quoll_conformance::http::serve;
use quoll_conformance::model::{onnxruntime, shop_model};
use quoll_conformance::peer::{Prometheus, Vmagent};
use quoll_conformance::process::free_port;
use quoll_conformance::recorder::{Recorded, recorder};
use quoll_conformance::scorer::{Labels, Scorer, V1, request};
use quoll_conformance::shop::{FAULT_AT, FAULT_SECONDS, exposition, failing_shop, shop};
use quoll_conformance::{now_ms, wait_for};
use serde_json::Value;

const LAST: i64 = FAULT_AT + FAULT_SECONDS + 40;
/// Long enough for an incident.
const SHORT: i64 = FAULT_AT + 25;

const FAST: &str = "remote_write: { min_backoff: 10ms, max_backoff: 100ms }\n";

/// The failing shop with more services behind `front`: vmagent's shares depend on the leaves' addresses, and among so many
/// each leaf has some.
fn wide(second: i64, timestamp_ms: i64) -> Vec<(Labels, i64, f64)> {
    let mut series = failing_shop(second, timestamp_ms);
    for number in 0..12 {
        let name = format!("page-{number}");
        let label = |name: &'static str, value: &str| (name, value.to_owned());
        let memory = vec![label("__name__", "quoll_memory_working_set_bytes"), label("service_name", &name)];
        series.push((memory, timestamp_ms, 1e7 + ((second * 17 + number) % 31) as f64 * 1e4));
        let calls = vec![
            label("__name__", "quoll_http_request_duration_seconds_count"),
            label("client", "front"),
            label("reporter", "client"),
            label("server", &name),
            label("status_class", "2xx"),
        ];
        series.push((calls, timestamp_ms, (second * (10 + number)) as f64));
    }
    series
}

/// Which leaf a series goes to: the service it describes, or an edge's server, decides.
fn leaf_of(labels: &Labels) -> usize {
    let owner = labels.iter().find(|(name, _)| *name == "service_name" || *name == "server").unwrap();
    usize::from(owner.1 == "cart")
}

fn scoring() -> String {
    format!("snapshot_every: 100ms\nmodel_dir: {}\nonnxruntime: {}\n", shop_model().display(), onnxruntime().display())
}

const INCIDENTS: &str = "incidents: { max_backlog_seconds: 7200.0 }\n";

/// Two leaves and their root.
struct Shards {
    root: Scorer,
    leaves: [Scorer; 2],
}

impl Shards {
    /// Each writes back to a port of its own: root, leaf a, leaf b.
    fn start(directory: &Path, ports: [u16; 3], grace: &str) -> Self {
        Self::start_with(directory, ports, grace, "")
    }

    /// As [`Shards::start`], with more settings for all three.
    fn start_with(directory: &Path, ports: [u16; 3], grace: &str, more: &str) -> Self {
        let root = format!(
            "role: root\nsharding: {{ leaves: [a, b], grace: {grace} }}\nsnapshot_every: 100ms\n{FAST}{INCIDENTS}{more}"
        );
        let root = Scorer::start(&directory.join("root"), Some(ports[0]), &root);
        let leaf = |name: &str, port: u16| {
            let url = root.url("/api/v1/write");
            let to_root = format!("url: '{url}', min_backoff: 10ms, max_backoff: 100ms");
            let sharding = format!("role: leaf\nsharding: {{ leaf: {name}, root: {{ {to_root} }} }}\n");
            Scorer::start(&directory.join(name), Some(port), &format!("{}{sharding}{FAST}{more}", scoring()))
        };
        let leaves = [leaf("a", ports[1]), leaf("b", ports[2])];
        Self { root, leaves }
    }

    fn drain(&self) {
        for leaf in &self.leaves {
            for queue in ["quoll_scorer_report_queue_samples", "quoll_scorer_queue_samples"] {
                wait_for(queue, || (leaf.metric(queue) == 0.0).then_some(()));
            }
        }
        drain(&self.root);
    }
}

fn drain(scorer: &Scorer) {
    wait_for("the queue to drain", || (scorer.metric("quoll_scorer_queue_samples") == 0.0).then_some(()));
}

fn tick_at(scorer: &Scorer, end_ms: i64) -> Value {
    wait_for("the last tick", || {
        let view = scorer.json("/api/v1/graph");
        (view["tick_ms"].as_i64()? >= end_ms).then_some(view)
    })
}

/// The view without what depends on who holds the features, with numbers as they are.
fn inferred(view: &Value) -> Value {
    let mut view = view.clone();
    for service in view["services"].as_array_mut().unwrap() {
        service.as_object_mut().unwrap().remove("features");
    }
    view.as_object_mut().unwrap().retain(|part, _| part != "model");
    view
}

/// What is sent at a second, with this timestamp.
type Stream = fn(i64, i64) -> Vec<(Labels, i64, f64)>;

/// What one process makes of a stream.
fn whole(start_ms: i64, seconds: i64, stream: Stream) -> (Value, Recorded) {
    let directory = tempfile::tempdir().unwrap();
    let (port, recorded) = recorder();
    let scorer = Scorer::start(directory.path(), Some(port), &format!("{}{FAST}{INCIDENTS}", scoring()));
    for second in 0..seconds {
        let series = stream(second, start_ms + second * 1000);
        assert_eq!(scorer.post(&V1, &request(&series)).0, 204);
    }
    let view = tick_at(&scorer, start_ms + (seconds - 3) * 1000);
    drain(&scorer);
    (view, recorded.lock().unwrap().clone())
}

fn start_ms() -> i64 {
    (now_ms() - LAST * 1000 - 300_000) / 1000 * 1000
}

fn assert_same(found: &Recorded, wanted: &Recorded, until_ms: i64) {
    let early = |recorded: &Recorded| -> Recorded {
        recorded.iter().filter(|((_, at), _)| *at <= until_ms).map(|(key, bits)| (key.clone(), *bits)).collect()
    };
    let (found, wanted) = (early(found), early(wanted));
    let off: Vec<_> = wanted.iter().filter(|(key, bits)| found.get(*key) != Some(*bits)).collect();
    let first =
        off.first().map(|(key, bits)| (key, f64::from_bits(**bits), found.get(*key).map(|b| f64::from_bits(*b))));
    assert!(off.is_empty(), "{} of {} samples differ, first {first:?}", off.len(), wanted.len());
    let more: Vec<_> = found.keys().filter(|key| !wanted.contains_key(*key)).collect();
    assert!(more.is_empty(), "{} samples more, from {:?}", more.len(), more.first());
}

#[test]
fn two_leaves_and_a_root_write_what_one_process_writes_though_each_is_killed() {
    let start_ms = start_ms();
    let (view, written) = whole(start_ms, LAST, failing_shop);
    let has = |name: &str| written.keys().any(|(labels, _)| labels.contains(&format!("__name__={name:?}")));
    for name in ["quoll_anomaly_score", "quoll_feature_value", "quoll_root_cause_probability", "quoll_symptom"] {
        assert!(has(name), "{name} is among what one process writes");
    }

    let directory = tempfile::tempdir().unwrap();
    let recorders = [recorder(), recorder(), recorder()];
    let mut shards = Shards::start(directory.path(), [recorders[0].0, recorders[1].0, recorders[2].0], "30s");
    for second in 0..LAST {
        match second {
            40 | 120 => shards.leaves[0].kill_and_restart(),
            60 => shards.leaves[1].kill_and_restart(),
            80 | 130 | 170 => shards.root.kill_and_restart(),
            _ => {}
        }
        let mut parts = [Vec::new(), Vec::new()];
        for series in failing_shop(second, start_ms + second * 1000) {
            parts[leaf_of(&series.0)].push(series);
        }
        for (leaf, part) in shards.leaves.iter().zip(parts) {
            assert_eq!(leaf.post(&V1, &request(&part)).0, 204);
        }
    }
    let last_ms = start_ms + (LAST - 8) * 1000;
    let found = tick_at(&shards.root, last_ms);
    shards.drain();
    let mut union = Recorded::new();
    for (_, recorded) in &recorders {
        for (key, bits) in recorded.lock().unwrap().iter() {
            assert!(union.insert(key.clone(), *bits).is_none(), "written by two: {key:?}");
        }
    }
    assert_same(&union, &written, last_ms);
    for leaf in ["a", "b"] {
        for figure in ["missed", "late", "lost"] {
            let name = format!("quoll_scorer_leaf_{figure}_steps_total{{leaf=\"{leaf}\"}}");
            assert_eq!(shards.root.metric(&name), 0.0, "{name}");
        }
    }
    assert_eq!(shards.root.metric("quoll_scorer_leaf_conflicts_total"), 0.0);
    if found["tick_ms"] == view["tick_ms"] {
        assert_eq!(inferred(&found), inferred(&view));
    }
    assert_eq!(found["closed_incidents"], view["closed_incidents"]);
}

/// A relabelling as the repository ships it.
fn relabelling(preset: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../provisioning/sharding/relabel/{preset}.yml"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn vmagent_in_front_that_shards_by_url_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let recorders = [recorder(), recorder(), recorder()];
    let shards = Shards::start(directory.path(), [recorders[0].0, recorders[1].0, recorders[2].0], "30s");
    let rules = directory.path().join("relabel.yml");
    std::fs::write(&rules, relabelling("quoll")).unwrap();
    let more = [
        &format!("-remoteWrite.url={}", shards.leaves[1].url("/api/v1/write")),
        // Several would overtake one another with a stream that is faster than time.
        "-remoteWrite.queues=1",
        "-remoteWrite.shardByURL",
        "-remoteWrite.shardByURL.labels=quoll_owner",
        &format!("-remoteWrite.relabelConfig={}", rules.display()),
    ];
    let first = shards.leaves[0].url("/api/v1/write");
    let Some(agent) = Vmagent::start_newest(&directory.path().join("agent"), "{}\n", &first, &more) else { return };

    let start_ms = start_ms();
    let (_, written) = whole(start_ms, SHORT, wide);
    let http: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    for second in 0..SHORT {
        let mut post = http.post(&format!("http://127.0.0.1:{}/api/v1/write", agent.port));
        for (name, value) in V1 {
            post = post.header(name, value);
        }
        let body = request(&wide(second, start_ms + second * 1000));
        assert_eq!(post.send(&body[..]).unwrap().status().as_u16(), 204);
    }
    let last_ms = start_ms + (SHORT - 8) * 1000;
    let _ = tick_at(&shards.root, last_ms);
    shards.drain();
    let incident = |(labels, _): &&(String, i64)| labels.contains("quoll_root_cause_probability");
    assert!(written.keys().any(|key| incident(&key)), "there was an incident");
    let mut union = Recorded::new();
    for (_, recorded) in &recorders {
        union.extend(recorded.lock().unwrap().clone());
    }
    assert_same(&union, &written, last_ms);
    for leaf in &shards.leaves {
        assert!(leaf.metric("quoll_scorer_series_selected") > 0.0, "both have a share");
    }
}

#[test]
fn prometheus_in_front_that_relabels_by_hashmod_gives_the_same_scores() {
    let directory = tempfile::tempdir().unwrap();
    let target = serve(|_, _| (200, exposition()));
    let ports = [recorder().0, recorder().0, recorder().0];
    let shards = Shards::start(&directory.path().join("shards"), ports, "30s");
    let one =
        Scorer::start(&directory.path().join("one"), Some(recorder().0), &format!("{}{FAST}{INCIDENTS}", scoring()));
    let rules: String = relabelling("quoll").lines().map(|line| format!("      {line}\n")).collect();
    // One shard for each: several would overtake one another, and a step may close before all of it is there.
    let mut configuration = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs: [{{ job_name: shop, static_configs: [{{ targets: ['127.0.0.1:{target}'] }}] }}]\n\
         remote_write:\n  - url: '{}'\n    queue_config: {{ batch_send_deadline: 200ms, max_shards: 1 }}\n",
        one.url("/api/v1/write")
    );
    for (shard, leaf) in shards.leaves.iter().enumerate() {
        configuration += &format!(
            "  - url: '{}'\n    queue_config: {{ batch_send_deadline: 200ms, max_shards: 1 }}\n    write_relabel_configs:\n{rules}\
             \x20     - {{ source_labels: [quoll_owner], action: hashmod, modulus: 2, target_label: quoll_shard }}\n\
             \x20     - {{ source_labels: [quoll_shard], action: keep, regex: '{shard}' }}\n\
             \x20     - {{ action: labeldrop, regex: quoll_(owner|shard) }}\n",
            leaf.url("/api/v1/write")
        );
    }
    let _sending = Prometheus::start(&directory.path().join("sending"), &configuration);
    let (mut compared, mut last) = (0, 0);
    wait_for("five equal ticks with scores", || {
        let view = shards.root.json("/api/v1/graph");
        let tick = view["tick_ms"].as_i64()?;
        let services = view["services"].as_array()?;
        let edges = view["edges"].as_array()?;
        let scored = services.iter().filter(|service| !service["score"].is_null()).count();
        if tick == last || scored < 3 || edges.len() < 2 {
            return None;
        }
        last = tick;
        let wanted = tick_at(&one, tick);
        if wanted["tick_ms"] == view["tick_ms"] {
            // One scraped sample may still be under way to one of them when a step closes, but not five in a row.
            compared =
                if inferred(&wanted)["services"] == inferred(&view)["services"] && wanted["edges"] == view["edges"] {
                    compared + 1
                } else {
                    0
                };
        }
        (compared == 5).then_some(())
    });
    for leaf in &shards.leaves {
        assert!(leaf.metric("quoll_scorer_series_selected") > 0.0, "both have a share");
    }
    assert_eq!(shards.root.metric("quoll_scorer_leaf_conflicts_total"), 0.0);
}

#[test]
fn services_of_a_dead_leaf_are_unknown_and_the_root_says_so_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let ports = [recorder().0, recorder().0, recorder().0];
    let mut shards = Shards::start(directory.path(), ports, "8s");
    let start_ms = start_ms();
    let send = |shards: &Shards, seconds: std::ops::Range<i64>, to: &[usize]| {
        for second in seconds {
            let series = failing_shop(second, start_ms + second * 1000);
            for &leaf in to {
                let part: Vec<_> = series.iter().filter(|series| leaf_of(&series.0) == leaf).cloned().collect();
                assert_eq!(shards.leaves[leaf].post(&V1, &request(&part)).0, 204);
            }
        }
    };
    let service = |view: &Value, name: &str| -> Value {
        view["services"].as_array().unwrap().iter().find(|service| service["name"] == name).cloned().unwrap()
    };
    assert!(shards.root.get("/-/ready").unwrap().contains("leaf a has never reported"));
    send(&shards, 0..60, &[0, 1]);
    let view = tick_at(&shards.root, start_ms + 55_000);
    assert_eq!(service(&view, "cart")["presence"], "present");
    assert!(service(&view, "cart")["score"].is_number());
    assert!(service(&view, "cart")["log_likelihood_ratio"].as_f64().unwrap() < 0.0, "it speaks for health");

    shards.leaves[1].process.kill();
    send(&shards, 60..85, &[0]);
    let view = tick_at(&shards.root, start_ms + 66_000);
    let cart = service(&view, "cart");
    assert_eq!(cart["presence"], "unknown");
    assert_eq!((&cart["score"], &cart["log_likelihood_ratio"]), (&Value::Null, &Value::from(0.0)));
    assert_eq!(view["silent_leaves"], serde_json::json!(["b"]));
    assert_eq!(service(&view, "front")["presence"], "present");
    let ready = shards.root.get("/-/ready").unwrap();
    assert!(ready.starts_with("ready") && ready.contains("leaf b"), "{ready}");
    assert_eq!(shards.root.metric("quoll_scorer_leaf_reporting{leaf=\"b\"}"), 0.0);
    assert!(shards.root.metric("quoll_scorer_leaf_missed_steps_total{leaf=\"b\"}") > 0.0);

    shards.leaves[1].kill_and_restart();
    send(&shards, 60..85, &[1]);
    send(&shards, 85..95, &[0, 1]);
    let view = tick_at(&shards.root, start_ms + 91_000);
    assert_eq!(service(&view, "cart")["presence"], "present");
    assert_eq!(view["silent_leaves"], serde_json::json!([]));
    assert!(shards.root.metric("quoll_scorer_leaf_late_steps_total{leaf=\"b\"}") > 0.0);
}

#[test]
fn tenants_go_through_leaves_and_root_apart_and_are_forgotten_when_their_senders_are_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (port, recorded) = recorder();
    let ports = [port, recorder().0, recorder().0];
    let idle = "ingest: { limits: { idle_scope_seconds: 120 } }\n";
    let shards = Shards::start_with(&directory.path().join("shards"), ports, "30s", idle);
    let one = format!("{}{FAST}{INCIDENTS}{idle}", scoring());
    let one = Scorer::start(&directory.path().join("one"), Some(recorder().0), &one);
    let start_ms = start_ms() - 300_000;
    // One of them gets into trouble, which is none of the other.
    let streams: [(&str, Stream); 2] = [("east", shop), ("west", failing_shop)];
    let send = |(tenant, stream): (&str, Stream), seconds: std::ops::Range<i64>| {
        let headers = [&V1[..], &[("X-Scope-OrgID", tenant)]].concat();
        for second in seconds {
            let series = stream(second, start_ms + second * 1000);
            assert_eq!(one.post(&headers, &request(&series)).0, 204);
            for (leaf, scorer) in shards.leaves.iter().enumerate() {
                let part: Vec<_> = series.iter().filter(|series| leaf_of(&series.0) == leaf).cloned().collect();
                assert_eq!(scorer.post(&headers, &request(&part)).0, 204);
            }
        }
    };
    let view = |scorer: &Scorer, tenant: &str| -> Option<Value> {
        serde_json::from_str(&scorer.get(&format!("/api/v1/graph?tenant={tenant}"))?).ok()
    };
    let both_at = |tenant: &str, end_ms: i64| {
        wait_for(&format!("the same tick of {tenant}"), || {
            let (root, one) = (view(&shards.root, tenant)?, view(&one, tenant)?);
            (root["tick_ms"].as_i64()? >= end_ms && root["tick_ms"] == one["tick_ms"]).then_some((root, one))
        })
    };
    streams.into_iter().for_each(|stream| send(stream, 0..SHORT));
    for (tenant, _) in streams {
        let (root, one) = both_at(tenant, start_ms + (SHORT - 8) * 1000);
        assert_eq!(inferred(&root), inferred(&one), "{tenant}");
        assert_eq!(root["scope"]["tenant"], tenant);
        assert_eq!(root["incidents"].as_array().unwrap().len(), usize::from(tenant == "west"), "of {tenant}");
    }

    // One of them sends no more.
    send(streams[0], SHORT..SHORT + 300);
    let _ = both_at("east", start_ms + (SHORT + 290) * 1000);
    for scorer in [&shards.root, &shards.leaves[0], &shards.leaves[1], &one] {
        wait_for("a scope to be forgotten", || (scorer.metric("quoll_scorer_scopes") == 1.0).then_some(()));
        let scopes = scorer.json("/api/v1/scopes");
        let tenants: Vec<&Value> = scopes.as_array().unwrap().iter().map(|scope| &scope["tenant"]).collect();
        assert_eq!(tenants, ["east"]);
        assert_eq!(scorer.get("/api/v1/graph?tenant=west"), None);
    }
    // It comes back as a new one.
    send(streams[1], SHORT + 300..SHORT + 320);
    send(streams[0], SHORT + 300..SHORT + 320);
    let (root, one) = both_at("west", start_ms + (SHORT + 310) * 1000);
    assert_eq!(inferred(&root)["edges"], inferred(&one)["edges"]);
    let of = |tenant: &str| {
        recorded.lock().unwrap().keys().any(|(labels, _)| labels.contains(&format!("tenant={tenant:?}")))
    };
    wait_for("results of both", || (of("east") && of("west")).then_some(()));
}

#[test]
fn a_changed_role_starts_cold_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let root = "role: root\nsharding: { leaves: [a] }\nsnapshot_every: 100ms\n";
    let start_ms = start_ms();
    let mut all = Scorer::start(directory.path(), None, "snapshot_every: 100ms\n");
    for second in 0..20 {
        assert_eq!(all.post(&V1, &request(&shop(second, start_ms + second * 1000))).0, 204);
    }
    let _ = tick_at(&all, start_ms + 15_000);
    // Its last snapshot is of windows.
    assert!(all.process.terminate(), "ends well");
    let root = Scorer::start(directory.path(), None, root);
    assert!(root.process.log().contains("another role"), "{}", root.process.log());
    assert_eq!(root.post(&V1, &request(&shop(30, start_ms + 30_000))).0, 204);
    assert_eq!(root.metric("quoll_scorer_samples_selected_total"), 0.0, "raw series are not its input");
    drop(root);
    let leaf = format!(
        "role: leaf\nsharding: {{ leaf: a, root: {{ url: 'http://127.0.0.1:{}/api/v1/write' }} }}\n",
        free_port()
    );
    let leaf = Scorer::start(directory.path(), None, &leaf);
    for second in 40..50 {
        assert_eq!(leaf.post(&V1, &request(&shop(second, start_ms + second * 1000))).0, 204);
    }
    let view = tick_at(&leaf, start_ms + 45_000);
    assert_eq!(view["services"].as_array().unwrap().len(), 3);
}
