//! Features, edges and presence from raw samples, through the public interface.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use common::{Feed, STALE};
use quoll_features::{ClosedStep, Presence};

const CPU: &str = "quoll_cpu_usage_seconds_total";
const MEMORY: &str = "quoll_memory_working_set_bytes";
const COUNT: &str = "quoll_http_request_duration_seconds_count";
const SUM: &str = "quoll_http_request_duration_seconds_sum";
const CONNECTS: &str = "quoll_tcp_connects_total";
const FAILURES: &str = "quoll_tcp_connect_failures_total";

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * b.abs().max(1.0)
}

#[test]
fn pods_are_summed_and_namespaces_kept_apart() {
    let mut feed = Feed::new(1000);
    for t in 1..=5 {
        let at = t * 1000 - 300;
        let ticks = f64::from(i32::try_from(t).unwrap());
        for (instance, rate) in [("a", 0.5), ("b", 0.25)] {
            feed.push(&format!("{CPU} service_name=cart service_namespace=shop instance={instance}"), at, ticks * rate);
            feed.push(&format!("{MEMORY} service_name=cart service_namespace=shop instance={instance}"), at, 100.0);
        }
        feed.push(&format!("{CPU} service_name=cart instance=a"), at, ticks * 3.0);
    }
    let step = feed.step(3000).clone();
    assert_eq!(step.services.len(), 2, "{:?}", step.services);
    assert_eq!(step.services[0].service.to_string(), "cart");
    assert_eq!(step.services[1].service.to_string(), "shop/cart");
    assert!(close(step.services[0].values[0], 3.0));
    assert!(close(step.services[1].values[0], 0.75));
    assert_eq!(step.services[1].values[1], 200.0);
    assert!(step.services[0].values[1].is_nan(), "no memory was reported");
}

#[test]
fn latency_and_error_ratio_are_over_all_callers_and_status_classes() {
    let mut feed = Feed::new(1000);
    for t in 1..=5_i32 {
        let at = i64::from(t) * 1000 - 300;
        let n = f64::from(t);
        for (client, status, rate, seconds) in
            [("web", "2xx", 80.0, 0.010), ("web", "5xx", 10.0, 0.100), ("external", "2xx", 10.0, 0.040)]
        {
            let labels = format!("client={client} server=cart reporter=server status_class={status}");
            feed.push(&format!("{COUNT} {labels}"), at, n * rate);
            feed.push(&format!("{SUM} {labels}"), at, n * rate * seconds);
        }
    }
    assert!(close(feed.value(3000, "cart", "requests_per_second"), 100.0));
    assert!(close(feed.value(3000, "cart", "request_latency_seconds"), (0.8 + 1.0 + 0.4) / 100.0));
    assert!(close(feed.value(3000, "cart", "error_ratio"), 0.1));
    assert!(feed.value(3000, "cart", "caller_error_ratio").is_nan(), "no client reports");
    let names: Vec<String> = feed.step(3000).services.iter().map(|s| s.service.to_string()).collect();
    assert_eq!(names, ["cart", "web"], "external is nobody");
    assert_eq!(feed.step(3000).edges.len(), 1);
}

/// The exporter may tell HTTP's requests apart by method, from some moment on and at some of its nodes only.
#[test]
fn methods_split_series_and_change_no_feature_and_no_edge() {
    let splits: [&[(&str, f64)]; 2] =
        [&[("", 1.0)], &[(" method=GET", 0.5), (" method=POST", 0.25), (" method=other", 0.25)]];
    let [plain, split] = splits.map(|methods| {
        let mut feed = Feed::new(1000);
        for t in 1..=8_i32 {
            let at = i64::from(t) * 1000 - 300;
            for (reporter, class, rate, since) in [
                ("server", "2xx", 80.0, 0),
                ("server", "5xx", 16.0, 4),
                ("client", "2xx", 80.0, 0),
                ("client", "none", 8.0, 5),
            ] {
                for (method, share) in methods {
                    // What appears later is counted from zero, by each of its methods.
                    let count = f64::from(t - since) * rate * share;
                    let labels = format!("client=web server=cart reporter={reporter}{method} status_class={class}");
                    if t > since {
                        feed.push(&format!("{COUNT} {labels}"), at, count);
                        feed.push(&format!("{SUM} {labels}"), at, count * 0.25);
                    }
                }
            }
        }
        feed.close();
        feed.steps
    });
    assert!(plain.len() >= 6 && plain.len() == split.len());
    let figures = |step: &ClosedStep| {
        let services = step.services.iter().map(|service| (service.service.to_string(), service.values.clone()));
        format!("{:?} {:?}", services.collect::<Vec<_>>(), step.edges)
    };
    for (plain, split) in plain.iter().zip(&split) {
        assert_eq!(figures(plain), figures(split), "at {}", plain.end_ms);
    }
    assert!(plain.iter().any(|step| step.edges.iter().any(|edge| edge.errors_per_second > 0.0)));
}

#[test]
fn the_first_error_is_not_lost() {
    let mut feed = Feed::new(1000);
    let labels = "client=web server=cart reporter=server";
    for t in 1..=6_i32 {
        let at = i64::from(t) * 1000 - 300;
        feed.push(&format!("{COUNT} {labels} status_class=2xx"), at, f64::from(t) * 60.0);
        if t >= 4 {
            feed.push(&format!("{COUNT} {labels} status_class=5xx"), at, 40.0);
        }
    }
    assert_eq!(feed.value(3000, "cart", "error_ratio"), 0.0);
    assert!(close(feed.value(4000, "cart", "error_ratio"), 0.4), "40 errors since the scrape before");
    assert_eq!(feed.value(5000, "cart", "error_ratio"), 0.0);
    assert!(close(feed.edge(4000, "web", "cart").errors_per_second, 40.0));
}

#[test]
fn requests_without_an_answer_are_errors_from_the_first_on() {
    let mut feed = Feed::new(1000);
    let labels = "client=web server=cart reporter=client";
    for t in 1..=6_i32 {
        let at = i64::from(t) * 1000 - 300;
        feed.push(&format!("{COUNT} {labels} status_class=2xx"), at, f64::from(t.min(4)) * 10.0);
        feed.push(&format!("{CONNECTS} {labels}"), at, f64::from(t) * 10.0);
        if t > 4 {
            feed.push(&format!("{COUNT} {labels} status_class=none"), at, f64::from(t - 4) * 10.0);
        }
    }
    assert_eq!(feed.value(4000, "cart", "caller_error_ratio"), 0.0);
    assert_eq!(feed.value(5000, "cart", "caller_error_ratio"), 1.0);
    assert_eq!(feed.edge(5000, "web", "cart").errors_per_second, 10.0);
    assert_eq!(feed.service(5000, "cart").presence, Presence::Present, "its kernel still accepts: it hangs");
}

#[test]
fn what_was_counted_before_anything_was_known_is_not_a_burst() {
    let mut feed = Feed::new(1000);
    for t in 1..=4_i32 {
        let at = i64::from(t) * 1000 - 300;
        for status in ["2xx", "5xx"] {
            let labels = format!("client=web server=cart reporter=server status_class={status}");
            feed.push(&format!("{COUNT} {labels}"), at, 1e9 + f64::from(t));
        }
        if t >= 3 {
            feed.push(&format!("{CPU} service_name=late"), at, 1e6);
        }
    }
    assert!(feed.value(1000, "cart", "error_ratio").is_nan());
    assert!(close(feed.value(2000, "cart", "requests_per_second"), 2.0));
    assert!(feed.value(3000, "late", "cpu_cores").is_nan(), "a new entity's total is its past");
}

#[test]
fn an_edge_is_told_by_its_client_else_its_server_and_never_by_both() {
    let mut feed = Feed::new(1000);
    for t in 1..=5_i32 {
        let at = i64::from(t) * 1000 - 300;
        let n = f64::from(t);
        for (reporter, server, rate) in [("client", "cart", 10.0), ("server", "cart", 9.0), ("server", "pay", 7.0)] {
            let labels = format!("client=web server={server} reporter={reporter}");
            feed.push(&format!("{COUNT} {labels} status_class=2xx"), at, n * rate);
            feed.push(&format!("{SUM} {labels} status_class=2xx"), at, n * rate * 0.02);
            feed.push(&format!("{CONNECTS} {labels}"), at, n * rate * 2.0);
        }
        feed.push(&format!("{CONNECTS} client=web server=db reporter=client"), at, n * 3.0);
        feed.push(&format!("{FAILURES} client=web server=db reporter=client reason=refused"), at, n);
        feed.push(&format!("{CONNECTS} client=cart server=cart reporter=client"), at, n);
    }
    let cart = feed.edge(3000, "web", "cart").clone();
    assert!(close(cart.requests_per_second, 10.0) && close(cart.connects_per_second, 20.0), "{cart:?}");
    assert!(close(cart.latency_seconds, 0.02));
    assert!(close(feed.edge(3000, "web", "pay").requests_per_second, 7.0));
    let db = feed.edge(3000, "web", "db").clone();
    assert!(close(db.requests_per_second, 3.0) && close(db.errors_per_second, 1.0), "connects stand in: {db:?}");
    assert!(db.latency_seconds.is_nan());
    assert_eq!(feed.step(3000).edges.len(), 3, "a service calling itself is no edge");
}

#[test]
fn a_crashed_service_vanishes_while_callers_try_and_a_stopped_one_is_idle() {
    let mut feed = Feed::new(1000);
    for t in 1..=40_i32 {
        let at = i64::from(t) * 1000 - 300;
        let n = f64::from(t);
        for name in ["web", "cart", "batch"] {
            match (name, t) {
                ("web", _) | (_, ..=10) => feed.push(&format!("{CPU} service_name={name}"), at, n),
                (_, 11) => feed.push(&format!("{CPU} service_name={name}"), at, STALE),
                _ => {}
            }
        }
        feed.push(&format!("{CONNECTS} client=web server=cart reporter=client"), at, n * 20.0);
        if t > 10 {
            let failures = format!("{FAILURES} client=web server=cart reporter=client reason=refused");
            feed.push(&failures, at, (n - 10.0) * 20.0);
        }
    }
    assert_eq!(feed.service(10_000, "cart").presence, Presence::Present);
    assert_eq!(feed.service(11_000, "cart").presence, Presence::Vanished);
    assert_eq!(feed.service(30_000, "cart").presence, Presence::Vanished);
    assert!(close(feed.value(11_000, "cart", "caller_connect_failure_ratio"), 1.0));
    assert!(feed.value(11_000, "cart", "cpu_cores").is_nan());
    assert_eq!(feed.service(11_000, "batch").presence, Presence::Idle);
    assert_eq!(feed.service(30_000, "web").presence, Presence::Present);
}

#[test]
fn steps_close_when_all_have_passed_and_else_after_the_grace() {
    let mut feed = Feed::new(1000);
    for t in 1..=4_i64 {
        feed.push(&format!("{MEMORY} service_name=a"), t * 1000 - 500, 1.0);
        feed.push(&format!("{MEMORY} service_name=b"), t * 1000 - 500, 2.0);
    }
    assert_eq!(feed.close().last().unwrap().end_ms, 3000, "both passed 3000");
    feed.push(&format!("{MEMORY} service_name=a"), 4500, 1.0);
    assert_eq!(feed.close().last().unwrap().end_ms, 3000, "b may still come");
    feed.push(&format!("{MEMORY} service_name=a"), 5001, 1.0);
    assert_eq!(feed.close().last().unwrap().end_ms, 4000, "but not for ever");
    assert_eq!(feed.value(4000, "b", "memory_bytes"), 2.0, "its value holds");
}

#[test]
fn one_series_an_hour_ahead_closes_nothing() {
    let mut feed = Feed::new(1000);
    for t in 1..=30_i64 {
        for name in ["a", "b", "c"] {
            feed.push(&format!("{MEMORY} service_name={name}"), t * 1000 - 500, 1.0);
        }
        feed.push(&format!("{MEMORY} service_name=ahead"), 3_600_000 + t * 1000, 9.0);
        let newest = feed.close().last().map_or(0, |step| step.end_ms);
        assert!(newest <= t * 1000, "at {t}: {newest}");
    }
    assert_eq!(feed.close().last().unwrap().end_ms, 29_000);
    assert_eq!(feed.windows.stats().late, 0);
}

#[test]
fn a_series_ahead_from_the_very_first_sample_does_not_set_the_beginning() {
    let mut feed = Feed::new(1000);
    feed.push(&format!("{MEMORY} service_name=ahead"), 3_600_000, 9.0);
    for t in 1..=10_i64 {
        for name in ["a", "b"] {
            feed.push(&format!("{MEMORY} service_name={name}"), t * 1000 - 500, 1.0);
        }
        feed.push(&format!("{MEMORY} service_name=ahead"), 3_600_000 + t * 1000, 9.0);
    }
    assert_eq!(feed.close().first().unwrap().end_ms, 1000);
    assert_eq!(feed.close().last().unwrap().end_ms, 9000);
}

#[test]
fn late_duplicate_and_out_of_order_samples_are_counted_and_harmless() {
    let mut feed = Feed::new(1000);
    for t in 1..=10_i32 {
        let at = i64::from(t) * 1000 - 500;
        for name in ["a", "b", "c"] {
            // From 5 on, b's samples come after everybody else's next ones.
            if name != "b" || t < 5 {
                feed.push(&format!("{CPU} service_name={name}"), at, f64::from(t) * 2.0);
            } else {
                feed.push(&format!("{CPU} service_name=b"), at - 1000, f64::from(t - 1) * 2.0);
            }
        }
        feed.push(&format!("{CPU} service_name=c"), at, 1e9);
        feed.push(&format!("{CPU} service_name=c"), at - 250, 1e9);
    }
    let stats = feed.windows.stats();
    assert_eq!((stats.duplicates, stats.out_of_order), (10 + 1, 10));
    for end_ms in (2000..=8000).step_by(1000) {
        assert!(close(feed.value(end_ms, "b", "cpu_cores"), 2.0), "{end_ms}");
        assert!(close(feed.value(end_ms, "c", "cpu_cores"), 2.0), "{end_ms}");
    }
}

#[test]
fn slow_series_hold_their_value_over_fast_steps() {
    let mut feed = Feed::new(1000);
    for t in 0..=300_i32 {
        let at = i64::from(t) * 1000 + 700;
        feed.push(&format!("{MEMORY} service_name=fast"), at, 1.0);
        if t % 60 == 5 && t < 200 {
            feed.push(&format!("{CPU} service_name=slow"), at, f64::from(t) * 0.5);
        }
    }
    assert!(feed.value(60_000, "slow", "cpu_cores").is_nan(), "one sample is no rate");
    // The last sample is at 185.7 s; 2.5 intervals later is 335.7 s, past the stream's end.
    for end_ms in (67_000..=290_000).step_by(1000) {
        assert!(close(feed.value(end_ms, "slow", "cpu_cores"), 0.5), "{end_ms}");
    }
}

#[test]
fn a_silent_series_is_forgotten_and_its_memory_given_back() {
    let mut feed = Feed::new(1000);
    let mut gone = Vec::new();
    for t in 1..=400_i64 {
        feed.push(&format!("{MEMORY} service_name=stays"), t * 1000 - 500, 1.0);
        if t <= 50 {
            feed.push(&format!("{MEMORY} service_name=leaves"), t * 1000 - 500, 1.0);
        }
    }
    assert_eq!(feed.step(300_000).services.len(), 2);
    assert_eq!(feed.step(360_000).services.len(), 1);
    let leaves = feed.bind(&format!("{MEMORY} service_name=leaves")).unwrap();
    feed.windows.take_forgotten(&mut gone);
    assert_eq!(gone, [leaves]);
    feed.windows.push(leaves, 400_000, 1.0);
    feed.windows.push(leaves, 401_000, 1.0);
    assert_eq!(feed.windows.stats().series, 1, "the handle is dead");
    feed.push(&format!("{MEMORY} service_name=leaves"), 400_500, 1.0);
    assert_eq!(feed.windows.stats().series, 1, "waits for its step");
    for t in 401..=404 {
        feed.push(&format!("{MEMORY} service_name=stays"), t * 1000 - 500, 1.0);
    }
    assert_eq!(feed.windows.stats().series, 2);
}

#[test]
fn endless_churn_keeps_memory_flat() {
    let mut feed = Feed::new(15_000);
    let mut gone = Vec::new();
    let (mut early, mut late) = (0, 0);
    for t in 0..2000_i64 {
        feed.push(&format!("{MEMORY} service_name=stays"), t * 15_000, 1.0);
        for pod in 0..5 {
            // Every pod lives for one scrape only.
            feed.push(&format!("{CPU} service_name=churn instance=pod-{t}-{pod}"), t * 15_000, 1.0);
        }
        feed.windows.take_forgotten(&mut gone);
        feed.steps.clear();
        feed.close();
        let peak = if t < 500 { &mut early } else { &mut late };
        *peak = feed.windows.stats().heap_bytes.max(*peak);
    }
    assert!(gone.len() > 9000, "{}", gone.len());
    // Hash tables double when removals of this random order leave no room,
    // and only then: what churn leaked would be many times one doubling.
    assert!(late <= 2 * early, "{late} > 2 * {early}");
}

#[test]
fn a_gap_in_everything_is_skipped_after_everything_is_forgotten() {
    let mut feed = Feed::new(1000);
    for t in (1..=10_i64).chain(100_000..=100_010) {
        feed.push(&format!("{MEMORY} service_name=a"), t * 1000 - 500, 1.0);
    }
    let steps = feed.close();
    assert!(steps.len() < 330, "{}", steps.len());
    assert!(steps.windows(2).all(|pair| pair[0].end_ms < pair[1].end_ms));
    assert_eq!(feed.value(100_009_000, "a", "memory_bytes"), 1.0);
}

#[test]
fn absurd_times_neither_panic_nor_run_for_ever() {
    let mut feed = Feed::new(1000);
    for &t in &[0, i64::MAX, i64::MIN, 1 << 52, (1 << 52) + 1, 5000, 1 << 51, 6000, (1 << 52) - 5, -5, 1 << 52] {
        feed.push(&format!("{MEMORY} service_name=a"), t, 1.0);
        feed.push(&format!("{CPU} service_name=b"), t, 1.0);
        assert!(feed.close().len() < 10_000);
    }
}

#[test]
fn a_majority_that_falls_silent_does_not_stop_the_clock() {
    let mut feed = Feed::new(1000);
    for t in 1..=120_i64 {
        for n in 0..20 {
            if t <= 20 || n < 4 {
                feed.push(&format!("{MEMORY} service_name=s{n}"), t * 1000 - 500, 1.0);
            }
        }
        if t > 40 {
            let newest = feed.close().last().unwrap().end_ms;
            assert!(newest >= (t - 2) * 1000, "at {t}: {newest}");
        }
    }
    assert!(feed.value(100_000, "s9", "memory_bytes").is_nan());
}

#[test]
fn series_that_begin_with_nan_take_part_from_their_first_number() {
    let mut feed = Feed::new(1000);
    for t in 1..=6_i32 {
        let at = i64::from(t) * 1000 - 500;
        let value = if t <= 2 { f64::NAN } else { f64::from(t) };
        feed.push(&format!("{MEMORY} service_name=a"), at, value);
        feed.push(&format!("{CPU} service_name=a"), at, value);
        feed.push(&format!("{MEMORY} service_name=b"), at, 1.0);
    }
    assert_eq!(feed.step(2000).services.len(), 1);
    assert_eq!(feed.value(4000, "a", "memory_bytes"), 4.0);
    assert_eq!(feed.value(5000, "a", "cpu_cores"), 1.0);
    assert_eq!(feed.windows.stats().not_numbers, 4);
    assert_eq!(feed.close().last().unwrap().end_ms, 5000, "nothing waits for what never began");
}

#[test]
fn ten_thousand_series_take_less_than_300_bytes_each() {
    let mut feed = Feed::new(15_000);
    let mut bound = 0;
    for (at, service) in [1000, 16_000, 31_000].into_iter().flat_map(|at| (0..500).map(move |service| (at, service))) {
        for instance in ["a", "b", "c"] {
            for metric in [CPU, MEMORY, "quoll_open_file_descriptors", "quoll_listener_overflows_total"] {
                feed.push(&format!("{metric} service_name=s{service} instance={instance}"), at, 1.0);
                bound += 1;
            }
        }
        for status in ["2xx", "4xx", "5xx"] {
            for metric in [COUNT, SUM] {
                let edge = format!("client=s{} server=s{service} reporter=client", service / 2);
                feed.push(&format!("{metric} {edge} status_class={status}"), at, 1.0);
                bound += 1;
            }
        }
    }
    assert!(!feed.close().is_empty());
    let bytes = feed.windows.stats().heap_bytes / (bound / 3);
    assert!(bytes < 300, "{bytes} bytes per series");
}

#[test]
fn after_an_outage_of_everything_the_first_step_is_whole() {
    let mut feed = Feed::new(1000);
    for t in (1..=20_i64).chain(60..=70) {
        for n in 0..20 {
            feed.push(&format!("{MEMORY} service_name=cart instance=pod-{n}"), t * 1000, 1.0);
        }
    }
    assert_eq!(feed.windows.stats().late, 0);
    feed.close();
    let values: Vec<f64> = feed.steps.iter().map(|step| step.services[0].values[1]).collect();
    assert!(values.iter().all(|value| value.is_nan() || *value == 20.0), "{values:?}");
}

#[test]
fn a_refused_connect_is_an_error_of_its_edge_beside_the_requests_that_got_through() {
    let mut feed = Feed::new(1000);
    let labels = "client=web server=cart reporter=client";
    for t in 1..=8_i32 {
        let at = i64::from(t) * 1000 - 300;
        // From 4 on a quarter of the connects fail, from 6 on all.
        let connects = f64::from(t) * 20.0;
        let failures = f64::from((t - 3).clamp(0, 2) * 5 + (t - 5).max(0) * 20);
        let answered = connects - failures;
        feed.push(&format!("{COUNT} {labels} status_class=2xx"), at, answered);
        feed.push(&format!("{CONNECTS} {labels}"), at, connects);
        feed.push(&format!("{FAILURES} {labels} reason=refused"), at, failures);
    }
    for (end_ms, requests, errors) in [(3000, 20.0, 0.0), (4000, 20.0, 5.0), (6000, 20.0, 20.0), (7000, 20.0, 20.0)] {
        let edge = feed.edge(end_ms, "web", "cart");
        assert!(
            close(edge.requests_per_second, requests) && close(edge.errors_per_second, errors),
            "{end_ms}: {edge:?}"
        );
    }
}

#[test]
fn hosts_are_the_nodes_of_the_instances_that_report_and_stay_known_after_a_crash() {
    let mut feed = Feed::new(1000);
    for t in 1..=20_i64 {
        let at = t * 1000 - 300;
        for (instance, until) in [("10.0.0.1:9466", 10), ("10.0.0.2:9466", 5)] {
            if t <= until {
                feed.push(&format!("{MEMORY} service_name=cart instance={instance}"), at, 1.0);
            }
        }
        feed.push(&format!("{MEMORY} service_name=web node=node-b instance=10.0.0.3:9466"), at, 1.0);
        feed.push(&format!("{CONNECTS} client=web server=cart reporter=client"), at, 1.0);
    }
    let mut hosts = |end_ms: i64, name: &str| feed.service(end_ms, name).hosts.join(" ");
    assert_eq!(hosts(4000, "cart"), "10.0.0.1 10.0.0.2");
    assert_eq!(hosts(9000, "cart"), "10.0.0.1");
    assert_eq!(hosts(17_000, "cart"), "10.0.0.1", "where it was last seen");
    assert_eq!(hosts(17_000, "web"), "node-b");
}

#[test]
fn a_restart_and_a_new_image_are_told_once_in_the_step_that_shows_them() {
    let mut feed = Feed::new(1000);
    let start = |t: i32| if t < 5 { 100.0 } else { 1_700_000_004.5 };
    for t in 1..=12_i32 {
        let at = 1_700_000_000_000 + i64::from(t) * 1000 - 300;
        feed.push("quoll_service_start_time_seconds service_name=cart", at, start(t));
        let image = if t < 8 { "cart:1" } else { "cart:2" };
        feed.push(&format!("quoll_service_info service_name=cart image={image}"), at, 1.0);
    }
    feed.close();
    let told: Vec<(i64, String)> = (feed.steps.iter())
        .filter_map(|step| Some((step.end_ms - 1_700_000_000_000, step.services[0].change.as_ref()?.text.clone())))
        .collect();
    let expected = [(5000, "an instance was started anew".to_owned()), (8000, "image cart:1 -> cart:2".to_owned())];
    assert_eq!(told, expected);
}
