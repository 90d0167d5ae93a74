//! The same samples give the same steps, however they are cut and interleaved, and no sequence of
//! samples makes nonsense of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use common::{Feed, STALE};
use proptest::prelude::*;
use quoll_features::{ClosedStep, FeatureSet, Presence};

const SERIES: [&str; 10] = [
    "quoll_cpu_usage_seconds_total service_name=a instance=x",
    "quoll_cpu_usage_seconds_total service_name=a instance=y",
    "quoll_memory_working_set_bytes service_name=a instance=x",
    "quoll_memory_working_set_bytes service_name=b instance=x",
    "quoll_http_request_duration_seconds_count client=a server=b reporter=client status_class=2xx",
    "quoll_http_request_duration_seconds_count client=a server=b reporter=client status_class=5xx",
    "quoll_http_request_duration_seconds_sum client=a server=b reporter=client status_class=2xx",
    "quoll_http_request_duration_seconds_count client=external server=a reporter=server status_class=2xx",
    "quoll_tcp_connects_total client=a server=b reporter=client",
    "quoll_tcp_connect_failures_total client=a server=b reporter=client reason=refused",
];

/// NaN equals NaN of the same bits here: text of every field, numbers in full.
fn text(steps: &[ClosedStep]) -> String {
    format!("{steps:?}")
}

/// One sample: series, timestamp, value.
type Sample = (usize, i64, f64);

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => (0_u32..1000).prop_map(f64::from),
        1 => Just(STALE),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.0),
        1 => Just(1e300),
    ]
}

/// Any samples in roughly ascending time, with late ones, jumps of the clock and gaps.
fn wild() -> impl Strategy<Value = Vec<Sample>> {
    let advance = prop_oneof![20 => 0_i64..400, 4 => -2000_i64..3000, 1 => -400_000_i64..400_000];
    proptest::collection::vec((0..SERIES.len(), advance, value()), 1..400).prop_map(|steps| {
        let mut now = 1_700_000_000_000;
        steps
            .into_iter()
            .map(|(series, advance, value)| {
                // Small moves last, large ones are of this sample only.
                if advance.abs() < 500 {
                    now += advance;
                }
                (series, if advance.abs() < 500 { now } else { now + advance }, value)
            })
            .collect()
    })
}

fn run(samples: &[Sample], cuts: &[bool], step_ms: i64, take: bool) -> Vec<ClosedStep> {
    let mut feed = Feed::new(step_ms);
    let mut forgotten = Vec::new();
    for (index, &(series, timestamp_ms, value)) in samples.iter().enumerate() {
        feed.push(SERIES[series], timestamp_ms, value);
        if cuts.get(index % cuts.len().max(1)).copied().unwrap_or(false) {
            feed.close();
            if take {
                feed.windows.take_forgotten(&mut forgotten);
            }
        }
    }
    feed.close();
    feed.steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn however_a_stream_is_cut_into_requests_its_steps_are_the_same_to_the_bit(
        samples in wild(),
        cuts in proptest::collection::vec(any::<bool>(), 1..50),
        step_ms in prop_oneof![Just(1000_i64), Just(2000), Just(15_000)],
    ) {
        let whole = run(&samples, &[], step_ms, false);
        prop_assert_eq!(text(&whole), text(&run(&samples, &cuts, step_ms, false)));
        prop_assert_eq!(text(&whole), text(&run(&samples, &cuts, step_ms, true)), "memory given back in between");
    }

    #[test]
    fn no_sequence_of_samples_makes_nonsense(samples in wild()) {
        let steps = run(&samples, &[], 1000, false);
        let features = FeatureSet::preset("quoll").unwrap().features.len();
        for pair in steps.windows(2) {
            prop_assert!(pair[0].end_ms < pair[1].end_ms);
        }
        for step in &steps {
            prop_assert_eq!(step.end_ms % 1000, 0);
            prop_assert!(step.services.is_sorted_by(|a, b| a.service < b.service));
            prop_assert!(step.edges.is_sorted_by(|a, b| a.edge < b.edge));
            for service in &step.services {
                prop_assert_eq!(service.values.len(), features);
                for value in &service.values {
                    prop_assert!(!value.is_infinite(), "{:?}", service);
                }
            }
            for edge in &step.edges {
                let figures = [
                    edge.requests_per_second,
                    edge.errors_per_second,
                    edge.connects_per_second,
                    edge.connect_failures_per_second,
                ];
                prop_assert!(figures.iter().all(|figure| figure.is_finite()), "{:?}", edge);
            }
        }
    }

    #[test]
    fn the_order_within_a_scrape_changes_nothing(
        increments in proptest::collection::vec(proptest::collection::vec(0_u32..100, SERIES.len()), 5..30),
        keys in proptest::collection::vec(any::<u64>(), SERIES.len() * 30),
        offset in 1_i64..1000,
    ) {
        // Whole numbers over whole seconds: sums are exact in any order.
        let rounds = |shuffled: bool| {
            let mut feed = Feed::new(1000);
            let mut totals = [0.0; SERIES.len()];
            for (round, row) in increments.iter().enumerate() {
                let at = 1_700_000_000_000 + i64::try_from(round).unwrap() * 1000 + offset;
                for (total, &increment) in totals.iter_mut().zip(row) {
                    *total += f64::from(increment);
                }
                let mut order: Vec<usize> = (0..SERIES.len()).collect();
                if shuffled {
                    order.sort_by_key(|&series| keys[(round * SERIES.len() + series) % keys.len()]);
                }
                for series in order {
                    feed.push(SERIES[series], at, totals[series]);
                }
            }
            feed.close();
            feed.steps
        };
        let (straight, shuffled) = (rounds(false), rounds(true));
        prop_assert_eq!(text(&straight), text(&shuffled));
        prop_assert!(straight.len() + 2 >= increments.len());
        for step in &straight {
            prop_assert!(step.services.iter().all(|service| service.presence != Presence::Idle));
        }
    }

    #[test]
    fn jitter_and_missed_scrapes_lose_nothing_of_a_counter(
        jitter in proptest::collection::vec(-50_i64..50, 20..60),
        missed in proptest::collection::vec(proptest::bool::weighted(0.1), 60),
        rate in 1_u32..1000,
    ) {
        // A steady counter shows its rate at every step, whenever the scrapes fall.
        let rate = f64::from(rate);
        let mut feed = Feed::new(1000);
        for (n, jitter) in jitter.iter().enumerate() {
            let at = 1_700_000_000_500 + i64::try_from(n).unwrap() * 1000 + jitter;
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let total = (at - 1_700_000_000_000) as f64 / 1000.0 * rate;
            if n < 6 || !missed[n] || missed[n - 1] {
                feed.push(SERIES[0], at, total);
            }
            feed.push(SERIES[3], at, 1.0);
        }
        feed.close();
        let steps = &feed.steps;
        for step in steps.iter().skip(2) {
            let a = step.services.iter().find(|service| *service.service.name == *"a").unwrap();
            prop_assert!((a.values[0] - rate).abs() < 1e-6 * rate, "at {}: {}", step.end_ms, a.values[0]);
        }
    }
}

/// Seven scrapes of two sources that see the same shop, with any of their samples lost or repeated.
fn two_sources(lost: &[bool], late: &[bool]) -> Vec<ClosedStep> {
    use common::exposition::parse;
    let mut feed = Feed::of(FeatureSet::preset("istio, quoll").unwrap(), 15_000);
    let read = |name: &str| parse(&std::fs::read_to_string(format!("tests/fixtures/{name}.prom")).unwrap());
    let lines: Vec<_> = read("istio").into_iter().chain(read("quoll")).collect();
    let at_line =
        |line: &common::exposition::Line| lines.iter().position(|known| std::ptr::eq(known, line)).unwrap_or_default();
    for at in 1..=7 {
        feed.replay(&lines, at, at, |line, at, value| {
            let key = at_line(line) * 7 + usize::try_from(at).unwrap();
            // A counter is known to be new once its siblings reported twice without it: they do.
            (at <= 2 || !lost[key % lost.len()]).then_some(value)
        });
        // Some of the last scrape once more: duplicates, or late where they were lost.
        if at > 1 {
            feed.replay(&lines, at - 1, at - 1, |line, _, value| late[at_line(line) % late.len()].then_some(value));
        }
    }
    feed.close();
    feed.steps
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_lost_or_repeated_no_figure_is_the_sum_of_two_reports(
        lost in proptest::collection::vec(proptest::bool::weighted(0.2), 97),
        late in proptest::collection::vec(proptest::bool::weighted(0.3), 89),
    ) {
        let whole = two_sources(&[false], &[false]);
        let full: Vec<_> = whole.last().unwrap().edges.iter().map(|edge| edge.edge.clone()).collect();
        for step in two_sources(&lost, &late) {
            prop_assert!(step.services.len() <= 6, "{:?}", step.services);
            for edge in &step.edges {
                prop_assert!(full.contains(&edge.edge), "{edge:?}");
                // The busiest edge has 60 requests a second by either report.
                prop_assert!(edge.requests_per_second <= 60.0 + 1e-6, "{edge:?}");
                prop_assert!(edge.errors_per_second <= edge.requests_per_second + 1e-9, "{edge:?}");
            }
        }
    }
}
