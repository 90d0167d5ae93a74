//! Segments sent again, and connections reset, against what the kernel counts by itself: of each socket (`ss` has it from
//! `TCP_INFO`) and of each network namespace (`/proc/net/snmp`). Rules in the test's own namespaces drop what is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::{Agent, Namespaces, PATIENCE, Page, can_load};
use quoll_exporter::agent::SourceChoice;
use rustix::net::sockopt::set_socket_linger;

const RETRANSMITS: &str = "tcp_retransmitted_segments_total";
const RESETS: &str = "tcp_resets_total";
const SERVER: usize = 0;
const CLIENT: usize = 1;

fn v4(address: IpAddr) -> Ipv4Addr {
    let IpAddr::V4(address) = address else { panic!("IPv4 here") };
    address
}

fn rules(names: &[(&str, Ipv4Addr)]) -> String {
    let rule = |(name, address): &(&str, Ipv4Addr)| format!("  - {{name: {name}, match: [{{address: {address}}}]}}\n");
    format!("services:\n{}", names.iter().map(rule).collect::<String>())
}

/// What a namespace has counted of TCP under this name.
fn snmp(namespaces: &Namespaces, end: usize, name: &str) -> f64 {
    let text = namespaces.inside(end, || std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap());
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(own, _)| *own == name).unwrap().1.parse().unwrap()
}

/// Segments that the open sockets of a namespace with such a peer sent again.
fn of_sockets(namespaces: &Namespaces, end: usize, peer: &str) -> f64 {
    let text = namespaces.ss(end, &["--info", "--numeric", "state", "connected", peer]);
    // retrans:1/7, the last of which are all.
    let all = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("retrans:")?.split_once('/')?.1.parse::<u32>().ok());
    all.sum::<u32>().into()
}

fn listener(namespaces: &Namespaces, address: Ipv4Addr) -> TcpListener {
    namespaces.inside(SERVER, move || TcpListener::bind((address, 0)).unwrap())
}

fn call(namespaces: &Namespaces, listener: &TcpListener) -> [TcpStream; 2] {
    let to = listener.local_addr().unwrap();
    let client = namespaces.inside(CLIENT, move || TcpStream::connect(to).unwrap());
    [client, listener.accept().unwrap().0]
}

/// Sends so much one way; all of it has come when this returns.
fn transfer([from, to]: [&TcpStream; 2], bytes: usize) {
    let mut from = from.try_clone().unwrap();
    let sending = thread::spawn(move || from.write_all(&vec![b'x'; bytes]).unwrap());
    let mut to = to;
    to.read_exact(&mut vec![0; bytes]).unwrap();
    sending.join().unwrap();
}

#[test]
fn segments_sent_again_are_counted_to_the_last_one_at_the_end_that_sent_them() {
    if !can_load() {
        return;
    }
    const BYTES: usize = 500_000;
    const CONNECTIONS: usize = 2;
    let namespaces = Namespaces::make("r");
    let [api, web] = namespaces.addresses.map(v4);
    let [a, b, c, _] = api.octets();
    let db = Ipv4Addr::new(a, b, c, 3);
    namespaces.ip(SERVER, &format!("addr add {db}/24 dev eth0"));
    // Of what has data, each so-manieth packet is lost, often of many segments: what the client says to both, and what the
    // first server says.
    let lossy = |rules: &str| {
        format!("table ip lossy {{\n chain early {{\n type filter hook prerouting priority -300;\n {rules} }}\n}}\n")
    };
    let lost = |of: String, every: usize| {
        format!("{of} meta length > 200 tcp flags & (syn | fin) == 0 numgen inc mod {every} == 0 counter drop\n")
    };
    let [to_api, to_db] = [(api, 9), (db, 13)].map(|(address, every)| lost(format!("ip daddr {address}"), every));
    namespaces.nft(SERVER, &lossy(&(to_api + &to_db)));
    namespaces.nft(CLIENT, &lossy(&lost(format!("ip saddr {api}"), 11)));

    let agent = Agent::start(SourceChoice::Ebpf, &rules(&[("api", api), ("db", db), ("web", web)]));
    let listeners = [api, db].map(|address| listener(&namespaces, address));
    let mut pairs = Vec::new();
    for listener in &listeners {
        for _ in 0..CONNECTIONS {
            let [client, server] = call(&namespaces, listener);
            transfer([&client, &server], BYTES);
            transfer([&server, &client], BYTES);
            pairs.push([client, server]);
        }
    }

    // While they are open, each edge and end against its sockets, once these stand still.
    let sockets = || {
        [
            (CLIENT, format!("dst {api}")),
            (CLIENT, format!("dst {db}")),
            (SERVER, format!("src {api}")),
            (SERVER, format!("src {db}")),
        ]
        .map(|(end, peer)| of_sockets(&namespaces, end, &peer))
    };
    let counted = |page: &Page| {
        [("api", "client"), ("db", "client"), ("api", "server"), ("db", "server")]
            .map(|(server, reporter)| page.edge(RETRANSMITS, ("web", server), reporter))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (before, seen, after) = (sockets(), counted(&agent.page()), sockets());
        if before == after || Instant::now() > deadline {
            assert_eq!(seen, after);
            assert!(after[..3].iter().all(|again| *again > 0.0), "nothing was lost: {after:?}");
            break;
        }
    }

    // When they are gone, all of a namespace.
    drop(pairs);
    let all = |page: &Page| {
        let counts = counted(page);
        [counts[2] + counts[3], counts[0] + counts[1]]
    };
    let open = |page: &Page| page.sum("tcp_active_connections", &["client=\"web\""]);
    let page = agent.page_at_last(|page| open(page) == 0.0);
    assert_eq!(open(&page), 0.0);
    assert_eq!(all(&page), [SERVER, CLIENT].map(|end| snmp(&namespaces, end, "RetransSegs")));
}

/// Who ends a connection, and how.
#[derive(Clone, Copy)]
enum End {
    Reset { by: usize },
    Orderly,
}

#[test]
fn connections_that_are_reset_by_either_end_are_counted_at_both() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("z");
    let [api, web] = namespaces.addresses.map(v4);
    let agent = Agent::start(SourceChoice::Ebpf, &rules(&[("api", api), ("web", web)]));
    let listener = listener(&namespaces, api);
    let ends = [(End::Reset { by: CLIENT }, 7), (End::Reset { by: SERVER }, 5), (End::Orderly, 4)];
    for (end, count) in ends {
        for _ in 0..count {
            let [mut client, mut server] = call(&namespaces, &listener);
            let (first, second) = match end {
                End::Reset { by: SERVER } => (server, &mut client),
                _ => (client, &mut server),
            };
            if let End::Reset { .. } = end {
                set_socket_linger(&first, Some(Duration::ZERO)).unwrap();
            }
            drop(first);
            match (end, second.read(&mut [0; 1])) {
                (End::Orderly, Ok(0)) => {}
                (End::Reset { .. }, Err(error)) if error.kind() == ErrorKind::ConnectionReset => {}
                (_, other) => panic!("{other:?}"),
            }
        }
    }
    let made: usize = ends.iter().map(|(_, count)| count).sum();
    let ended = |page: &Page| page.sum("tcp_connection_duration_seconds_count", &["client=\"web\""]);
    let page = agent.page_at_last(|page| ended(page) == 2.0 * made as f64);
    let counted = ["server", "client"].map(|reporter| page.edge(RESETS, ("web", "api"), reporter));
    assert_eq!(counted, [SERVER, CLIENT].map(|end| snmp(&namespaces, end, "EstabResets")));
    assert_eq!(counted, [12.0; 2]);
}
