use quoll_ebpf_abi::protocols::Protocol;
use quoll_ebpf_abi::protocols::method::{self, METHODS};
use quoll_http2::{Kind, Tally};

use super::*;
use crate::net::canonical;
use crate::rules::Rules;
use crate::source::{Counters, Failure, Owner, endpoint};

fn directory() -> Directory {
    let rules =
        "services:\n  - {name: a, match: [{address: 127.77.0.1}]}\n  - {name: b, match: [{address: 127.77.0.2}]}\n";
    Directory::new(Rules::parse(rules).unwrap(), true)
}

fn report(id: u64, phase: Phase, sent_bytes: u64) -> Report {
    let address = |text: &str| canonical(text.parse().unwrap()).octets();
    Report {
        id: ConnectionId(id, 0),
        owner: Owner { cgroup_id: u64::MAX, netns: 1 },
        peer: None,
        processes: [0, 0],
        local: endpoint(address("127.77.0.1"), 4000),
        remote: endpoint(address("127.77.0.2"), 80),
        role: Some(Role::Client),
        is_datagram: false,
        preexisting: false,
        phase,
        connect_seconds: Some(0.001),
        open_seconds: Some(1.0),
        rtt_seconds: Some(0.001),
        has_moved: true,
        counters: Some(Counters { sent_bytes, ..Counters::default() }),
    }
}

const ENDED: Phase = Phase::Ended { by_reset: false };

fn only(edges: &Edges) -> &EdgeTotals {
    assert_eq!(edges.book.totals.len(), 1);
    &edges.book.totals[0].1
}

#[test]
fn totals_do_not_depend_on_how_often_a_connection_is_looked_at() {
    let directory = directory();
    let mut watched = Edges::default();
    for sent in [10, 30, 30] {
        watched.begin_look(true);
        watched.take(&report(1, Phase::Open, sent), &directory);
        watched.end_look(&HashSet::new());
    }
    assert_eq!((only(&watched).sent_bytes, only(&watched).active), (30, 1));
    watched.take(&report(1, ENDED, 50), &directory);
    let mut unwatched = Edges::default();
    unwatched.take(&report(1, ENDED, 50), &directory);
    for edges in [&watched, &unwatched] {
        assert_eq!((only(edges).connects, only(edges).sent_bytes), (1, 50));
    }
    watched.begin_look(true);
    watched.end_look(&HashSet::new());
    assert_eq!(only(&watched).active, 0);
}

#[test]
fn connections_that_were_there_before_count_only_what_they_do_now() {
    let directory = directory();
    let mut edges = Edges::default();
    for sent in [1_000_000, 1_000_010] {
        edges.take(&Report { preexisting: true, ..report(1, Phase::Open, sent) }, &directory);
    }
    assert_eq!((only(&edges).connects, only(&edges).sent_bytes), (0, 10));
}

#[test]
fn a_connection_shown_twice_in_one_look_is_active_once() {
    let directory = directory();
    let mut edges = Edges::default();
    edges.begin_look(true);
    for sent in [10, 12] {
        edges.take(&report(1, Phase::Open, sent), &directory);
    }
    edges.end_look(&HashSet::new());
    assert_eq!((only(&edges).active, only(&edges).sent_bytes), (1, 12));
}

#[test]
fn connections_beyond_the_last_edge_are_counted_under_other() {
    let mut edges = Edges::new(Lifetimes::default(), 3);
    for number in 0..1000 {
        let rules = format!("services: [{{name: job-{number}, match: [{{address: 127.77.0.1}}]}}]\n");
        let directory = Directory::new(Rules::parse(&rules).unwrap(), true);
        edges.take(&report(number, ENDED, 5), &directory);
    }
    assert_eq!((edges.book.totals.len(), edges.limited()), (4, 997));
    let (key, other) = edges.book.totals.last().unwrap();
    assert_eq!((key.client.to_string(), key.server.to_string()), ("other".into(), "other".into()));
    assert_eq!((other.connects, other.sent_bytes), (997, 5 * 997));
}

#[test]
fn failures_count_as_connects_too() {
    let directory = directory();
    let mut edges = Edges::default();
    edges.take(&report(1, Phase::Failed(Failure::Refused), 0), &directory);
    edges.take(&report(2, Phase::Failed(Failure::Timeout), 0), &directory);
    assert_eq!(only(&edges).connects, 2);
    assert_eq!(only(&edges).failures, [1, 1, 0, 0, 0]);
}

#[test]
fn connections_whose_end_was_lost_are_forgotten_in_time() {
    let directory = directory();
    let mut edges = Edges::default();
    edges.begin_look(true);
    edges.take(&report(1, Phase::Open, 1), &directory);
    edges.end_look(&HashSet::new());
    for _ in 0..2 {
        edges.begin_look(true);
        edges.end_look(&HashSet::new());
    }
    assert!(edges.known.is_empty());
}

#[test]
fn idle_edges_end_and_those_in_use_keep_their_totals() {
    let directory = directory();
    let mut edges = Edges::default();
    let start = Instant::now();
    let reversed = |report: Report| Report { local: report.remote, remote: report.local, ..report };
    edges.begin_look(true);
    edges.take(&report(1, ENDED, 5), &directory);
    edges.take(&reversed(report(2, Phase::Open, 7)), &directory);
    edges.end_look_at(&HashSet::new(), start + IDLE_AFTER / 2);
    assert_eq!(edges.book.totals.len(), 2);
    for later in [2, 3] {
        edges.begin_look(true);
        edges.take(&reversed(report(2, Phase::Open, 7 * u64::from(later))), &directory);
        edges.end_look_at(&HashSet::new(), start + IDLE_AFTER * later);
    }
    assert_eq!(only(&edges).sent_bytes, 21);
    assert_eq!((edges.book.index.len(), only(&edges).active), (1, 1));
    edges.take(&reversed(report(2, ENDED, 30)), &directory);
    assert_eq!((only(&edges).sent_bytes, only(&edges).connects), (30, 1));
}

#[test]
fn edges_of_a_service_that_is_gone_end_sooner_and_churn_leaves_nothing() {
    let mut edges = Edges::default();
    let start = Instant::now();
    for number in 0..500 {
        let name = format!("job-{number}");
        let rules = format!("services: [{{name: {name}, match: [{{address: 127.77.0.1}}]}}]\n");
        let directory = Directory::new(Rules::parse(&rules).unwrap(), true);
        edges.begin_look(true);
        edges.take(&report(number, ENDED, 5), &directory);
        let gone = Service::new(None, &name).unwrap();
        edges.end_look_at(&HashSet::from([gone.clone()]), start);
        assert_eq!(edges.book.totals.len(), 1, "it may come back");
        edges.begin_look(true);
        edges.end_look_at(&HashSet::from([gone]), start + GONE_AFTER + Duration::from_secs(60));
        assert!(edges.book.totals.is_empty() && edges.book.index.is_empty() && edges.known.is_empty());
    }
    assert!(edges.book.totals.capacity() < 8);
}

#[test]
fn what_does_not_move_stays_active_between_looks_at_all() {
    let directory = directory();
    let mut edges = Edges::default();
    assert!(edges.must_look_at_all());
    edges.begin_look(true);
    edges.take(&report(1, Phase::Open, 10), &directory);
    edges.end_look(&HashSet::new());
    assert!(!edges.must_look_at_all());
    for _ in 0..5 {
        edges.begin_look(false);
        edges.end_look(&HashSet::new());
        assert_eq!(only(&edges).active, 1);
    }
    edges.rename();
    assert!(edges.must_look_at_all());
    edges.take(&report(1, ENDED, 10), &directory);
    assert_eq!((only(&edges).active, only(&edges).connects), (0, 1));
}

#[test]
fn an_open_connection_moves_to_its_new_edge_with_the_names() {
    let mut edges = Edges::default();
    let named = |name: &str| {
        let rules = format!("services: [{{name: {name}, match: [{{address: 127.77.0.1}}]}}]\n");
        Directory::new(Rules::parse(&rules).unwrap(), true)
    };
    for name in ["before", "after"] {
        edges.rename();
        edges.begin_look(true);
        edges.take(&report(1, Phase::Open, 10), &named(name));
        edges.end_look(&HashSet::new());
    }
    let active: Vec<_> = edges.iter().map(|(key, totals)| (key.client.name.to_string(), totals.active)).collect();
    assert_eq!(active, [("before".to_owned(), 0), ("after".to_owned(), 1)]);
}

/// One connection over which each kind of requests came twice, each of which took so many nanoseconds.
fn requests(kinds: &[Kind], duration_ns: u64) -> Report {
    let mut tallies = Vec::new();
    for kind in [kinds, kinds].concat() {
        Tally::of(&mut tallies, kind).observe(duration_ns);
    }
    Report { counters: Some(Counters { tallies, ..Counters::default() }), ..report(1, ENDED, 0) }
}

fn limited(edges: &Edges) -> Vec<(Protocol, u64)> {
    edges.requests_limited().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn a_method_without_a_place_is_counted_as_other_with_its_status() {
    let directory = directory();
    let all: Vec<Kind> =
        (0..METHODS as u8).flat_map(|method| (0..5).map(move |class| (Protocol::Http1, method, class))).collect();
    let mut edges = Edges::default().with_methods();
    assert!(edges.by_method() && !Edges::default().by_method());
    for id in 1..3 {
        edges.take(&Report { id: ConnectionId(id, 0), ..requests(&all, 2_000_000) }, &directory);
    }
    let shown = &only(&edges).requests;
    assert_eq!(shown.len(), MAX_HISTOGRAMS_BY_METHOD);
    for class in 0..5 {
        assert!(shown.iter().any(|(kind, _)| *kind == (Protocol::Http1, method::OTHER, class)));
        let of_class = shown.iter().filter(|((.., known), _)| *known == class);
        assert_eq!(of_class.map(|(_, histogram)| histogram.count()).sum::<u64>(), 4 * METHODS as u64);
    }
    assert_eq!(limited(&edges), []);
}

#[test]
fn a_protocol_without_places_is_counted_by_its_name() {
    let directory = directory();
    let of = |protocol, statuses: &[u8]| -> Vec<Kind> {
        statuses.iter().map(|status| (protocol, method::OTHER, *status)).collect()
    };
    let mut edges = Edges::default();
    let http = of(Protocol::Http1, &[0, 1, 2, 3, 4]);
    edges.take(&requests(&http, 2_000_000), &directory);
    let both = [http.clone(), of(Protocol::Dns, &[0, 2])].concat();
    edges.take(&Report { id: ConnectionId(2, 0), ..requests(&both, 2_000_000) }, &directory);
    let shown = &only(&edges).requests;
    assert_eq!(shown.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), http);
    assert!(shown.iter().all(|(_, histogram)| histogram.count() == 4 && (histogram.sum() - 0.008).abs() < 1e-9));
    assert_eq!(limited(&edges), [(Protocol::Dns, 4)]);
}
