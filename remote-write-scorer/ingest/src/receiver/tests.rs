//! Behaviour of the receiver, over the real windows.

use proptest::prelude::*;
use prost::Message;
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::{snappy, v1, v2};

use super::*;
use crate::stats::Rejection;
use crate::{Format, SharedReceiver};

const NOW: i64 = 1_700_000_000_000;
const STEP: i64 = 1000;

fn set() -> Arc<FeatureSet> {
    Arc::new(FeatureSet::preset("quoll").unwrap())
}

type Labels<'a> = &'a [(&'a str, &'a str)];

fn body(series: &[(Labels<'_>, &[(i64, f64)])]) -> Vec<u8> {
    let mut encoder = WriteRequestEncoder::new();
    for (labels, samples) in series {
        encoder.push(labels, samples);
    }
    encoder.finish()
}

fn memory(service: &str) -> Vec<(&str, &str)> {
    vec![("__name__", "quoll_memory_working_set_bytes"), ("service_name", service)]
}

fn receiver() -> Receiver {
    Receiver::in_memory(IngestConfig::default(), set(), STEP)
}

/// A scrape of three services at each of `seconds`, one request each.
fn stream(seconds: std::ops::Range<i64>) -> Vec<Vec<u8>> {
    let request = |second: i64| {
        let sample = [(NOW + second * 1000, 1e8 + (second * second % 97) as f64)];
        body(&[
            (&memory("a"), &sample),
            (&memory("b"), &sample),
            (&memory("c"), &sample),
            (&[("__name__", "x")], &sample),
        ])
    };
    seconds.map(request).collect()
}

fn shown(steps: &[ClosedScopeStep]) -> Vec<String> {
    steps.iter().map(|step| format!("{step:?}")).collect()
}

#[test]
fn selected_samples_close_steps_and_others_are_ignored() {
    let mut receiver = receiver();
    for request in stream(0..10) {
        let receipt = receiver.write("", Body::V1(&request), NOW).unwrap();
        assert_eq!((receipt.selected, receipt.ignored, receipt.series), (3, 1, 4));
    }
    let steps = receiver.take_closed();
    assert!(steps.len() >= 8, "{} steps", steps.len());
    assert_eq!(steps[3].step.services.len(), 3);
    let stats = receiver.stats();
    assert_eq!((stats.selected_samples, stats.ignored_samples, stats.series, stats.first_sights), (30, 10, 4, 4));
}

#[test]
fn a_malformed_body_changes_nothing_and_a_good_one_after_it_is_taken() {
    let mut receiver = receiver();
    let good = stream(0..1).remove(0);
    let mut bad = good.clone();
    bad.truncate(good.len() - 1);
    assert!(matches!(receiver.write("", Body::V1(&bad), NOW), Err(WriteError::Decode(_))));
    assert_eq!(receiver.stats().selected_samples, 0);
    assert_eq!(receiver.write("", Body::V1(&good), NOW).unwrap().selected, 3);
}

#[test]
fn a_body_that_breaks_off_elects_nobody_and_makes_no_series_scope_or_tenant_known() {
    let mut receiver = receiver();
    let of = |replica: &'static str| {
        let mut labels = memory("a");
        labels.insert(1, ("prometheus_replica", replica));
        labels
    };
    let (first, second) = (of("0"), of("1"));
    receiver.write("", Body::V1(&body(&[(&first, &[(NOW, 1.0)]), (&second, &[(NOW, 1.0)])])), NOW).unwrap();
    let before = receiver.stats();
    let mut new = memory("new");
    new.insert(1, ("cluster", "eu"));
    // The second replica would take over, and a series of a new scope be met, before the body breaks off.
    for series in [vec![(&second[..], &[(NOW + 60_000, 2.0)][..])], vec![(&new[..], &[(NOW, 2.0)][..])]] {
        let mut broken = body(&series);
        broken.extend([0x0a, 9]);
        for tenant in ["", "another"] {
            assert!(matches!(receiver.write(tenant, Body::V1(&broken), NOW), Err(WriteError::Decode(_))));
            assert_eq!(receiver.stats(), before);
        }
    }
    let receipt = receiver.write("", Body::V1(&body(&[(&first, &[(NOW + 1000, 1.0)])])), NOW).unwrap();
    assert_eq!(receipt.selected, 1, "the first replica is still elected");
}

#[test]
fn series_that_nothing_selects_make_no_scope() {
    let mut receiver = receiver();
    receiver.write("", Body::V1(&body(&[(&[("__name__", "x"), ("cluster", "eu")], &[(NOW, 1.0)])])), NOW).unwrap();
    assert_eq!((receiver.stats().series, receiver.stats().scopes), (1, 0));
}

#[test]
fn a_scope_takes_no_more_services_than_allowed_and_says_so() {
    let limits = crate::Limits { services_per_scope: 2, ..Default::default() };
    let mut receiver = Receiver::in_memory(IngestConfig { limits, ..Default::default() }, set(), STEP);
    let names = ["a", "b", "c"].map(memory);
    let sample = [(NOW, 1.0)];
    let all: Vec<(Labels<'_>, &[(i64, f64)])> = names.iter().map(|labels| (&labels[..], &sample[..])).collect();
    for _ in 0..2 {
        let receipt = receiver.write("", Body::V1(&body(&all)), NOW).unwrap();
        assert_eq!((receipt.selected, receipt.rejected[Rejection::ScopeFull as usize]), (2, 1));
    }
    assert_eq!(receiver.stats().window_services, 2);
}

#[test]
fn bad_samples_and_series_are_left_out_counted_and_named() {
    let mut receiver = receiver();
    let at = |ms: i64| [(NOW + ms, 1.0)];
    let request = body(&[
        (&memory("a"), &at(300_001)),
        (&memory("a"), &at(-7_200_001)),
        (&memory("a"), &at(300_000)),
        (&[("service_name", "nameless")], &at(0)),
        (&[("__name__", "x"), ("a", "1"), ("a", "2")], &at(0)),
    ]);
    for _ in 0..2 {
        let receipt = receiver.write("", Body::V1(&request), NOW).unwrap();
        let reasons: Vec<_> = receipt.rejections().map(|(reason, count)| (reason.as_str(), count)).collect();
        let expected = [("too_far_in_future", 1), ("too_old", 1), ("no_metric_name", 1), ("duplicate_label_name", 1)];
        assert_eq!(reasons, expected);
        assert_eq!(receipt.selected, 1);
    }
}

#[test]
fn tenants_and_partitions_have_windows_of_their_own() {
    let mut receiver = receiver();
    let mut eu = memory("a");
    eu.insert(1, ("cluster", "eu"));
    for second in 0..5 {
        let sample = [(NOW + second * 1000, 1.0)];
        receiver.write("one", Body::V1(&body(&[(&memory("a"), &sample), (&eu, &sample)])), NOW).unwrap();
        receiver.write("two", Body::V1(&body(&[(&memory("a"), &sample)])), NOW).unwrap();
    }
    assert_eq!(receiver.stats().scopes, 3);
    let steps = receiver.take_closed();
    assert!(steps.iter().all(|step| step.step.services.len() == 1));
    let partitioned = steps.iter().find(|step| !step.scope.partition.is_empty()).unwrap();
    assert_eq!(&*partitioned.scope.tenant, "one");
    assert_eq!(partitioned.scope.partition[0], (Arc::from("cluster"), Arc::from("eu")));
}

#[test]
fn a_highly_available_pair_gives_the_steps_of_one() {
    let (mut pair, mut single) = (receiver(), receiver());
    let of = |replica: &'static str| {
        let mut labels = memory("a");
        labels.insert(1, ("prometheus_replica", replica));
        labels
    };
    for second in 0..60 {
        let sample = [(NOW + second * 1000, second as f64)];
        single.write("", Body::V1(&body(&[(&memory("a"), &sample)])), NOW).unwrap();
        pair.write("", Body::V1(&body(&[(&of("0"), &sample)])), NOW).unwrap();
        let other = pair.write("", Body::V1(&body(&[(&of("1"), &[(NOW + second * 1000 + 300, 7e9)])])), NOW).unwrap();
        assert_eq!((other.replica, other.selected), (1, 0));
    }
    assert_eq!(shown(&pair.take_closed()), shown(&single.take_closed()));
    // The elected one is killed: the other takes over after 30 s of event time.
    for second in 60..120 {
        pair.write("", Body::V1(&body(&[(&of("1"), &[(NOW + second * 1000 + 300, 1.0)])])), NOW).unwrap();
    }
    assert_eq!(pair.stats().failovers, 1);
    // The newest elected sample is of second 59, so the first one beyond 30 s is that of 89.3 s.
    assert_eq!(pair.stats().replica_samples, 60 + 29);
}

#[test]
fn series_beyond_the_limit_are_rejected_until_idle_ones_make_room() {
    let config = IngestConfig {
        limits: crate::Limits { total_series: 2, idle_series_seconds: 10, ..Default::default() },
        ..Default::default()
    };
    let mut receiver = Receiver::in_memory(config, set(), STEP);
    let one = |name: &str, now: i64| body(&[(&[("__name__", name)], &[(now, 1.0)])]);
    receiver.write("", Body::V1(&one("a", NOW)), NOW).unwrap();
    receiver.write("", Body::V1(&one("b", NOW)), NOW).unwrap();
    let full = receiver.write("", Body::V1(&one("c", NOW)), NOW).unwrap();
    assert_eq!(full.rejected[Rejection::SeriesLimit as usize], 1);
    let later = NOW + 120_000;
    assert_eq!(receiver.write("", Body::V1(&one("c", later)), later).unwrap().ignored, 1);
    assert_eq!(receiver.stats().forgotten_series, 2);
}

#[test]
fn requests_beyond_a_limit_are_refused_whole() {
    let config = IngestConfig {
        limits: crate::Limits { series_per_request: 2, compressed_bytes: 100, ..Default::default() },
        ..Default::default()
    };
    let shared = SharedReceiver::new(Receiver::in_memory(config, set(), STEP));
    let sample = [(NOW, 1.0)];
    let three = body(&[(&memory("a"), &sample), (&memory("b"), &sample), (&memory("c"), &sample)]);
    let three = snappy::compress(&three).unwrap();
    assert!(matches!(shared.write_at("", Format::V1, &three, NOW), Err(WriteError::TooManySeries { limit: 2 })));
    let long = vec![0; 101];
    assert!(matches!(
        shared.write_at("", Format::V1, &long, NOW),
        Err(WriteError::CompressedTooLarge { bytes: 101, limit: 100 })
    ));
    assert_eq!(shared.stats().selected_samples, 0);
}

#[test]
fn senders_are_asked_to_wait_while_too_many_steps_are_pending() {
    let config = IngestConfig { max_pending_steps: 2, ..Default::default() };
    let shared = SharedReceiver::new(Receiver::in_memory(config, set(), STEP));
    let requests: Vec<_> = stream(0..10).iter().map(|body| snappy::compress(body).unwrap()).collect();
    let refused = requests.iter().position(|request| shared.write_at("", Format::V1, request, NOW).is_err()).unwrap();
    assert!(matches!(shared.write_at("", Format::V1, &requests[refused], NOW), Err(WriteError::Busy { .. })));
    assert!(shared.wait_closed(std::time::Duration::ZERO).len() >= 2);
    shared.write_at("", Format::V1, &requests[refused], NOW).unwrap();
}

#[test]
fn series_that_the_windows_forget_are_looked_up_anew() {
    let mut receiver = receiver();
    let sample = |second: i64| [(NOW + second * 1000, 1.0)];
    receiver.write("", Body::V1(&body(&[(&memory("gone"), &sample(0)), (&memory("a"), &sample(0))])), NOW).unwrap();
    for second in 1..1000 {
        receiver.write("", Body::V1(&body(&[(&memory("a"), &sample(second))])), NOW + second * 1000).unwrap();
    }
    assert_eq!(receiver.stats().forgotten_series, 1);
    // Another series may take the freed handle: each must be itself.
    for second in 1000..1010 {
        let both = body(&[(&memory("new"), &sample(second)), (&memory("gone"), &[(NOW + second * 1000, 5.0)])]);
        receiver.write("", Body::V1(&both), NOW + second * 1000).unwrap();
    }
    let steps = receiver.take_closed();
    let last = &steps.last().unwrap().step;
    let find = |name: &str| last.services.iter().find(|service| &*service.service.name == name).unwrap();
    let bytes = set().features.iter().position(|feature| &*feature.name == "memory_bytes").unwrap();
    assert_eq!((find("new").values[bytes], find("gone").values[bytes]), (1.0, 5.0));
}

#[test]
fn what_sends_nothing_is_forgotten_series_tenants_and_replicas() {
    let mut receiver = receiver();
    let idle = i64::from(receiver.config().limits.idle_series_seconds) * 1000;
    for pod in 0..40_i64 {
        let now = NOW + pod * idle;
        let replica = format!("pod-{pod}");
        let mut labels = memory("a");
        labels.insert(1, ("prometheus_replica", &replica));
        let other = pod.to_string();
        let ignored = [("__name__", "x"), ("pod", &*other)];
        let request = body(&[(&labels, &[(now, 1.0)]), (&ignored, &[(now, 1.0)])]);
        assert_eq!(receiver.write("", Body::V1(&request), now).unwrap().selected, 1, "the new pod takes over");
        receiver.write(&other, Body::V1(&body(&[(&ignored, &[(now, 1.0)])])), now).unwrap();
    }
    let stats = receiver.stats();
    assert!(stats.series <= 8 && stats.tenants <= 4, "{stats:?}");
    let most = receiver.scopes.iter().map(|scope| scope.replicas.len()).max();
    assert!(most <= Some(20), "{most:?} replicas");
}

/// One sample of a service in a cluster at a second.
fn in_cluster(cluster: &str, second: i64) -> Vec<u8> {
    let labels = [("__name__", "quoll_memory_working_set_bytes"), ("cluster", cluster), ("service_name", "a")];
    body(&[(&labels, &[(NOW + second * 1000, second as f64)])])
}

#[test]
fn a_scope_whose_senders_are_gone_for_good_is_forgotten_and_the_others_go_on_also_after_a_restart() {
    let mut config = IngestConfig::default();
    config.limits.idle_scope_seconds = 900;
    // One segment, in which numbers come to stand for other scopes.
    config.log.retention_ms = 1 << 40;
    let write = |receiver: &mut Receiver, seconds: std::ops::Range<i64>| {
        for second in seconds.step_by(5) {
            let now = NOW + second * 1000;
            if !(20..3000).contains(&second) {
                receiver.write("", Body::V1(&in_cluster("gone", second)), now).unwrap();
            }
            for _ in 0..2 {
                receiver.write("", Body::V1(&in_cluster("stays", second)), now).unwrap();
            }
        }
    };
    let mut whole = Receiver::in_memory(config.clone(), set(), STEP);
    write(&mut whole, 0..800);
    let before = whole.stats();
    assert_eq!((before.scopes, before.duplicate_samples), (2, 160), "it may still come back");
    write(&mut whole, 800..2000);
    let after = whole.stats();
    assert_eq!((after.scopes, after.selected_series, after.duplicate_samples), (1, 1, 400));
    assert_eq!(whole.scope_index.len(), 1);
    write(&mut whole, 2000..3600);
    assert_eq!(whole.stats().scopes, 2, "back as a new one");

    let directory = tempfile::tempdir().unwrap();
    let open = |steps: &mut Vec<ClosedScopeStep>| {
        Receiver::open(config.clone(), set(), STEP, directory.path(), |step| steps.push(step)).unwrap()
    };
    let mut killed = open(&mut Vec::new());
    write(&mut killed, 0..3300);
    drop(killed);
    let mut steps = Vec::new();
    let mut restarted = open(&mut steps);
    write(&mut restarted, 3300..3600);
    steps.extend(restarted.take_closed());
    let (steps, wanted) = (shown(&steps), shown(&whole.take_closed()));
    let off = steps.iter().zip(&wanted).find(|(step, wanted)| step != wanted);
    assert_eq!((off, steps.len()), (None, wanted.len()));
    assert_eq!(restarted.stats().scopes, 2);
}

/// Runs `requests` with a log, ending the process without any goodbye after `cut` of them, and goes on.
fn with_restart(requests: &[Vec<u8>], cut: usize, segment_bytes: u64) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let mut config = IngestConfig::default();
    config.log.segment_bytes = segment_bytes;
    let open = |replayed: &mut Vec<ClosedScopeStep>| {
        Receiver::open(config.clone(), set(), STEP, directory.path(), |step| replayed.push(step)).unwrap()
    };
    let mut before = open(&mut Vec::new());
    for request in &requests[..cut] {
        before.write("", Body::V1(request), NOW).unwrap();
    }
    let live = shown(&before.take_closed());
    drop(before);
    let mut steps = Vec::new();
    let mut after = open(&mut steps);
    assert_eq!(shown(&steps), live, "the replay closes what was closed live");
    for request in &requests[cut..] {
        after.write("", Body::V1(request), NOW).unwrap();
    }
    steps.extend(after.take_closed());
    shown(&steps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Wherever the process ends, the steps are those of a run without an end.
    #[test]
    fn a_restart_anywhere_gives_the_same_steps(cut in 0_usize..40, segment_bytes in prop_oneof![Just(1_u64), Just(700), Just(1 << 20)]) {
        let requests = stream(0..40);
        let mut uninterrupted = receiver();
        for request in &requests {
            uninterrupted.write("", Body::V1(request), NOW).unwrap();
        }
        prop_assert_eq!(with_restart(&requests, cut, segment_bytes), shown(&uninterrupted.take_closed()));
    }

    #[test]
    fn noise_never_panics_and_never_reaches_the_windows(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let shared = SharedReceiver::new(receiver());
        let _ = shared.write_at("", Format::V1, &noise, NOW);
        let _ = shared.write_at("", Format::V1, &snappy::compress(&noise).unwrap(), NOW);
        prop_assert_eq!(shared.stats().selected_samples, 0);
    }
}

/// The same series and samples as a body of 2.0, encoded by prost.
fn body_v2(series: &[(Labels<'_>, &[(i64, f64)])]) -> Vec<u8> {
    let mut symbols = vec![String::new()];
    let mut reference = |text: &str| {
        let known = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        u32::try_from(known).unwrap()
    };
    let timeseries = series
        .iter()
        .map(|(labels, samples)| v2::TimeSeries {
            labels_refs: labels.iter().flat_map(|(name, value)| [reference(name), reference(value)]).collect(),
            samples: samples
                .iter()
                .map(|&(timestamp, value)| v2::Sample { value, timestamp, start_timestamp: 1 })
                .collect(),
            ..Default::default()
        })
        .collect();
    v2::Request { symbols, timeseries }.encode_to_vec()
}

fn steps(receiver: &mut Receiver) -> String {
    format!("{:?}", receiver.take_closed().iter().map(|closed| &closed.step).collect::<Vec<_>>())
}

#[test]
fn both_versions_give_the_same_steps_and_know_each_other_s_series() {
    let config = IngestConfig::default;
    let mut receivers = [(); 3].map(|()| Receiver::in_memory(config(), set(), STEP));
    for second in 0..20_i64 {
        let at = NOW + second * 1000;
        let services = ["a", "b", "c"].map(memory);
        let samples = [(at, 1e8 + second as f64)];
        let all: Vec<(Labels<'_>, &[(i64, f64)])> = services.iter().map(|s| (&s[..], &samples[..])).collect();
        let (one, two) = (body(&all), body_v2(&all));
        receivers[0].write("", Body::V1(&one), at).unwrap();
        let receipt = receivers[1].write("", Body::V2(&two), at).unwrap();
        assert_eq!((receipt.samples, receipt.selected, receipt.series), (3, 3, 3));
        // A sender may change over at any time.
        let mixed = if second % 3 == 0 { Body::V1(&one) } else { Body::V2(&two) };
        receivers[2].write("", mixed, at).unwrap();
    }
    let expected = steps(&mut receivers[0]);
    assert!(expected.len() > 1000);
    assert_eq!(steps(&mut receivers[1]), expected);
    assert_eq!(steps(&mut receivers[2]), expected);
    assert_eq!(receivers[2].stats().selected_series, 3);
}

#[test]
fn the_same_series_is_known_under_another_table_of_symbols() {
    let mut receiver = Receiver::in_memory(IngestConfig::default(), set(), STEP);
    let (a, b) = (memory("a"), memory("b"));
    let sample = [(NOW, 1.0)];
    receiver.write("", Body::V2(&body_v2(&[(&a, &sample), (&b, &sample)])), NOW).unwrap();
    let later = [(NOW + 1000, 2.0)];
    receiver.write("", Body::V2(&body_v2(&[(&b, &later), (&a, &later)])), NOW).unwrap();
    let stats = receiver.stats();
    assert_eq!((stats.first_sights, stats.series, stats.selected_samples), (2, 2, 4));
}

#[test]
fn a_bad_series_of_version_2_costs_no_other_its_data() {
    let mut receiver = Receiver::in_memory(IngestConfig::default(), set(), STEP);
    let good = body_v2(&[(&memory("a"), &[(NOW, 1.0)])]);
    let mut message = v2::Request::decode(&good[..]).unwrap();
    for bad in [vec![99, 1], vec![1], vec![0, 0]] {
        message.timeseries.insert(0, v2::TimeSeries { labels_refs: bad, ..message.timeseries[0].clone() });
    }
    for _ in 0..2 {
        let receipt = receiver.write("", Body::V2(&message.encode_to_vec()), NOW).unwrap();
        assert_eq!(receipt.selected, 1);
        assert_eq!(receipt.rejected[Rejection::MalformedLabel as usize], 2);
        assert_eq!(receipt.rejected[Rejection::EmptyLabelName as usize], 1);
    }
    message.symbols[0] = "not empty".to_owned();
    let refused = receiver.write("", Body::V2(&message.encode_to_vec()), NOW);
    assert!(matches!(refused, Err(WriteError::FirstSymbol)));
}

#[test]
fn native_histograms_offer_count_and_sum_as_classic_ones_do() {
    let labels = |suffix: &str| -> Vec<(String, String)> {
        let name = format!("quoll_http_request_duration_seconds{suffix}");
        let pairs = [
            ("__name__", name.as_str()),
            ("client", "a"),
            ("reporter", "client"),
            ("server", "b"),
            ("status_class", "2xx"),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    };
    let mut receivers = [(); 3].map(|()| Receiver::in_memory(IngestConfig::default(), set(), STEP));
    for second in 0..20_i64 {
        let at = NOW + second * 1000;
        let (count, sum) = (second * 50, second as f64 * 2.5);
        let mut classic = WriteRequestEncoder::new();
        classic.push(&labels("_count"), &[(at, count as f64)]);
        classic.push(&labels("_sum"), &[(at, sum)]);
        receivers[0].write("", Body::V1(classic.as_bytes()), at).unwrap();

        let histogram = v1::Histogram {
            count: Some(v1::histogram::Count::Int(count.unsigned_abs())),
            sum,
            timestamp: at,
            ..Default::default()
        };
        let label = |(name, value)| v1::Label { name, value };
        let series = v1::TimeSeries {
            labels: labels("").into_iter().map(label).collect(),
            histograms: vec![histogram.clone()],
            ..Default::default()
        };
        let native = v1::WriteRequest { timeseries: vec![series], metadata: Vec::new() }.encode_to_vec();
        let receipt = receivers[1].write("", Body::V1(&native), at).unwrap();
        assert_eq!((receipt.histograms, receipt.samples, receipt.selected), (1, 0, 2));

        let symbols = std::iter::once(String::new()).chain(labels("").into_iter().flat_map(|(n, v)| [n, v])).collect();
        let series =
            v2::TimeSeries { labels_refs: (1..=10).collect(), histograms: vec![histogram], ..Default::default() };
        let native = v2::Request { symbols, timeseries: vec![series] }.encode_to_vec();
        let receipt = receivers[2].write("", Body::V2(&native), at).unwrap();
        assert_eq!((receipt.histograms, receipt.samples, receipt.selected), (1, 0, 2));
    }
    let expected = steps(&mut receivers[0]);
    assert!(expected.contains("requests_per_second: 50.0"), "{expected}");
    assert_eq!(steps(&mut receivers[1]), expected);
    assert_eq!(steps(&mut receivers[2]), expected);
}

#[test]
fn a_tenant_has_its_own_bounds() {
    let mut config = IngestConfig::default();
    config.limits.tenants = 2;
    config.limits.series_per_tenant = 1;
    config.limits.samples_per_second_per_tenant = 1;
    let mut receiver = Receiver::in_memory(config, set(), STEP);
    let one = body(&[(&memory("a"), &[(NOW, 1.0)])]);
    let two = body(&[(&memory("a"), &[(NOW, 1.0)]), (&memory("b"), &[(NOW, 1.0)])]);
    assert_eq!(receiver.write("x", Body::V1(&two), NOW).unwrap().rejected[Rejection::TenantSeriesLimit as usize], 1);
    assert_eq!(receiver.write("y", Body::V1(&one), NOW).unwrap().selected, 1);
    assert!(matches!(receiver.write("z", Body::V1(&one), NOW), Err(WriteError::TooManyTenants { limit: 2 })));
    let mut sent = 0;
    while receiver.write("y", Body::V1(&one), NOW).is_ok() {
        sent += 1;
        assert!(sent < 100, "no rate is kept");
    }
    assert!(matches!(receiver.write("y", Body::V1(&one), NOW), Err(WriteError::TenantRate { limit: 1 })));
    assert!(receiver.write("x", Body::V1(&one), NOW).is_ok(), "another tenant is not concerned");
    assert!(receiver.write("y", Body::V1(&one), NOW + 20_000).is_ok());
}

#[test]
fn samples_and_symbols_of_a_request_are_bounded() {
    let mut config = IngestConfig::default();
    config.limits.samples_per_request = 2;
    config.limits.symbols_per_request = 6;
    let mut receiver = Receiver::in_memory(config, set(), STEP);
    let samples = [(NOW, 1.0), (NOW + 1, 1.0), (NOW + 2, 1.0)];
    let (a, b, c) = (memory("a"), memory("b"), memory("c"));
    let many = body(&[(&a, &samples), (&b, &samples)]);
    assert!(matches!(receiver.write("", Body::V1(&many), NOW), Err(WriteError::TooManySamples { limit: 2 })));
    let symbols = body_v2(&[(&a, &[]), (&b, &[]), (&c, &[])]);
    assert!(matches!(receiver.write("", Body::V2(&symbols), NOW), Err(WriteError::TooManySymbols { limit: 6 })));
}

#[test]
fn requests_under_way_share_their_memory() {
    let config =
        IngestConfig { limits: crate::Limits { in_flight_bytes: 1000, ..Default::default() }, ..Default::default() };
    let shared = SharedReceiver::new(Receiver::in_memory(config, set(), STEP));
    let request = snappy::compress(&body(&[(&memory("a"), &[(NOW, 1.0)])])).unwrap();
    let mut other = shared.in_flight().hold();
    assert!(other.grow(990));
    assert!(matches!(shared.write_at("", Format::V1, &request, NOW), Err(WriteError::InFlight { limit: 1000 })));
    assert_eq!(shared.stats().refused_requests[crate::Refusal::InFlight as usize], 1);
    drop(other);
    shared.write_at("", Format::V1, &request, NOW).unwrap();
    assert_eq!(shared.in_flight().used(), 0);
}
