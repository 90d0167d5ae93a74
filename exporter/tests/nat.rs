//! Peers behind translated addresses, in a network namespace with rules of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use common::{Agent, Namespaces, Page, can_load};
use quoll_exporter::agent::SourceChoice;

const EDGE: (&str, &str) = ("web", "api");
const CONNECTIONS: usize = 50;
/// Nobody has this address; a rule leads on to the server.
const VIRTUAL: &str = "10.96.0.1:80";

/// Both ends under the names that their own addresses have.
fn both_ends(page: &Page, metric: &str) -> [f64; 2] {
    ["client", "server"].map(|reporter| page.edge(metric, EDGE, reporter))
}

/// A server in the first namespace that the second one calls at [`VIRTUAL`], by rules of its own; `more` of them beside.
fn behind_virtual_address(namespaces: &Namespaces, more: &str) -> TcpListener {
    let server = namespaces.addresses[0];
    namespaces.ip(1, &format!("route add 10.96.0.0/16 via {server}"));
    let listener = namespaces.inside(0, move || TcpListener::bind(SocketAddr::new(server, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    namespaces.nft(
        1,
        &format!(
            "table ip nat {{\n\
             chain output {{ type nat hook output priority -100; ip daddr 10.96.0.1 tcp dport 80 dnat to {server}:{port}; }}\n\
             {more}}}\n"
        ),
    );
    listener
}

#[test]
fn a_virtual_address_and_a_masquerade_are_seen_through_from_both_sides() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("n");
    let [server, IpAddr::V4(client)] = namespaces.addresses else { panic!("IPv4 here") };
    let [a, b, c, _] = client.octets();
    let masquerade = Ipv4Addr::new(a, b, c, 77);
    namespaces.ip(1, &format!("addr add {masquerade}/24 dev eth0"));
    let listener = behind_virtual_address(
        &namespaces,
        &format!(
            "chain postrouting {{ type nat hook postrouting priority 100; ip daddr {server} snat to {masquerade}; }}\n"
        ),
    );
    let accepting = thread::spawn(move || {
        let serve = |mut stream: TcpStream| {
            assert!(stream.peer_addr().unwrap().ip() == masquerade, "the rules are not in force");
            thread::spawn(move || while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {})
        };
        let served: Vec<_> = (0..CONNECTIONS + 2).map(|_| serve(listener.accept().unwrap().0)).collect();
        served.into_iter().for_each(|one| one.join().unwrap());
    });
    let call = || TcpStream::connect(VIRTUAL).unwrap();
    let old = namespaces.inside(1, call);
    // By addresses alone: whoever is seen at another one has no name.
    let services = format!(
        "services:\n  - {{name: api, match: [{{address: {server}}}]}}\n  - {{name: web, match: [{{address: {client}}}]}}\n"
    );
    let agent = namespaces.inside(1, move || Agent::start(SourceChoice::Ebpf, &services));
    // One that was there before is known from the dump.
    let page = agent.page();
    assert_eq!(page.edge("tcp_active_connections", EDGE, "client"), 1.0);

    let mut pool = namespaces.inside(1, call);
    pool.write_all(b"0123456789").unwrap();
    for _ in 0..CONNECTIONS {
        namespaces.inside(1, move || drop(call()));
    }
    let made = [CONNECTIONS as f64 + 1.0; 2];
    let seen = |page: &Page| ["tcp_connects_total", "tcp_active_connections"].map(|metric| both_ends(page, metric));
    let page = agent.page_when(|page| seen(page) == [made, [2.0; 2]]);
    assert_eq!(seen(&page), [made, [2.0; 2]]);
    assert_eq!(page.edge("tcp_sent_bytes_total", EDGE, "client"), 10.0);
    for edge in [("web", "unknown"), ("unknown", "api")] {
        for reporter in ["client", "server"] {
            assert_eq!(page.edge("tcp_connects_total", edge, reporter), 0.0, "{edge:?} {reporter}");
        }
    }
    assert_eq!(page.get("exporter_events_dropped_total{event=\"translation\"}"), 0.0);
    drop((old, pool));
    accepting.join().unwrap();
    let page = agent.page_when(|page| both_ends(page, "tcp_active_connections") == [0.0, 0.0]);
    assert_eq!(both_ends(&page, "tcp_active_connections"), [0.0, 0.0]);
}

#[test]
fn rules_of_another_namespace_are_not_seen_through_and_nobody_is_named_wrongly() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("w");
    let [server, client] = namespaces.addresses;
    let listener = behind_virtual_address(&namespaces, "");
    let services = format!(
        "services:\n  - {{name: api, match: [{{address: {server}}}]}}\n  - {{name: web, match: [{{address: {client}}}]}}\n"
    );
    // In its own namespace, which has no rules.
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    for _ in 0..CONNECTIONS {
        let call = namespaces.inside(1, || TcpStream::connect(VIRTUAL).unwrap());
        drop((call, listener.accept().unwrap()));
    }
    // The client knows the virtual address only; the server sees its client as it is, since nobody changed that address.
    let seen = |page: &Page| {
        [("web", "unknown", "client"), ("web", "api", "client"), ("web", "api", "server"), ("unknown", "api", "server")]
            .map(|(client, server, reporter)| page.edge("tcp_connects_total", (client, server), reporter))
    };
    let made = CONNECTIONS as f64;
    let page = agent.page_when(|page| seen(page) == [made, 0.0, made, 0.0]);
    assert_eq!(seen(&page), [made, 0.0, made, 0.0]);
}
