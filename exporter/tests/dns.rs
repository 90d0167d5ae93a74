//! DNS by UDP and TCP against independent witnesses: dnsmasq, which says what it found, and queries counted by their
//! sender, however it reads the responses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::latency::{HELD_BACK, Times};
use common::witness::{Running, free_port, services, untimed, wait_for, witness};
use common::{Agent, PATIENCE, Page, can_load, connect, loopback};
use quoll_exporter::agent::SourceChoice;

/// Queries whose times are compared.
const PROBES: usize = 60;
const STATUSES: [&str; 5] = ["noerror", "nxdomain", "servfail", "error", "none"];

/// A query for an address.
fn query(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

fn dns(page: &Page, reporter: &str, status: &str) -> f64 {
    page.edge_with("dns_request_duration_seconds_count", ("probe", "db"), reporter, &format!(",status=\"{status}\""))
}

/// dnsmasq, which knows one good name and that others of its domain do not exist, and asks another server for those below
/// `late`.
fn resolver(program: &Path, ip: Ipv4Addr, late: SocketAddr) -> (Running, SocketAddr) {
    let address = SocketAddr::from((ip, free_port(ip)));
    let running = Running(
        Command::new(program)
            .args(["--no-daemon", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--bind-interfaces"])
            .args(["--user=root", "--local=/example/", "--address=/good.example/192.0.2.7", "--cache-size=0"])
            .arg(format!("--server=/late/{}#{}", late.ip(), late.port()))
            .arg(format!("--listen-address={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait_for(address);
    (running, address)
}

#[test]
fn dns_queries_over_tcp_agree_with_what_a_resolver_was_asked() {
    if !can_load() {
        return;
    }
    let Some(server) = witness("dnsmasq") else { return };
    let agent = Agent::start(SourceChoice::Ebpf, &services(55));
    let (_server, address) = resolver(&server, loopback(55, 2), SocketAddr::from((loopback(55, 3), 53)));
    let (mut good, mut bad) = (0, 0);
    // Many on one connection, then one on each of many; the length in one call with the query, or before it.
    for connection in 0..30_u16 {
        let mut stream = connect(loopback(55, 1), address).unwrap();
        stream.set_nodelay(true).unwrap();
        for number in 0..if connection < 2 { 50 } else { 1 } {
            let id = 100 * connection + number;
            let message = query(id, if id % 5 == 0 { "bad.example" } else { "good.example" });
            let length = (message.len() as u16).to_be_bytes();
            if connection % 2 == 0 {
                stream.write_all(&[&length[..], &message].concat()).unwrap();
            } else {
                stream.write_all(&length).unwrap();
                stream.write_all(&message).unwrap();
            }
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..2], id.to_be_bytes());
            let is_good = answer[3] & 0xf == 0;
            assert_eq!(is_good, id % 5 != 0, "the resolver's own outcome");
            *if is_good { &mut good } else { &mut bad } += 1;
        }
    }
    for reporter in ["client", "server"] {
        let page = agent.page_at_last(|page| dns(page, reporter, "noerror") == f64::from(good));
        for (status, count) in [("noerror", good), ("nxdomain", bad), ("error", 0), ("servfail", 0), ("none", 0)] {
            assert_eq!(dns(&page, reporter, status), f64::from(count), "{reporter} {status}");
        }
        assert_eq!(untimed(&page, "dns"), 0.0);
    }
}

#[test]
fn dns_queries_agree_with_what_a_resolver_was_asked() {
    if !can_load() {
        return;
    }
    let Some(server) = witness("dnsmasq") else { return };
    let agent = Agent::start(SourceChoice::Ebpf, &services(53));
    let late = UdpSocket::bind((loopback(53, 3), 0)).unwrap();
    let (_server, address) = resolver(&server, loopback(53, 2), late.local_addr().unwrap());
    let socket = UdpSocket::bind((loopback(53, 1), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 512];
    const QUERIES: u16 = 1000;
    for id in 0..QUERIES {
        // One in ten names does not exist, and one is nobody's to answer.
        let name = match id % 10 {
            0 => "bad.example",
            1 => "elsewhere.test",
            _ => "good.example",
        };
        socket.send_to(&query(id, name), address).unwrap();
        let (length, _) = socket.recv_from(&mut answer).unwrap();
        assert!(length > 12 && answer[..2] == id.to_be_bytes());
    }
    let hundredth = f64::from(QUERIES) / 100.0;
    for reporter in ["client", "server"] {
        let page = agent.page_at_last(|page| dns(page, reporter, "noerror") == 80.0 * hundredth);
        for (status, percent) in
            [("noerror", 80.0), ("nxdomain", 10.0), ("error", 10.0), ("servfail", 0.0), ("none", 0.0)]
        {
            assert_eq!(dns(&page, reporter, status), percent * hundredth, "{reporter} {status}");
        }
        assert!(!page.has(&format!("tcp_connects_total{{client=\"probe\",server=\"db\",reporter=\"{reporter}\"}}")));
    }
    latencies_of_a_resolver_agree_with_its_client(&agent, &socket, address, late);
}

/// Queries that the resolver hands on to one which takes a known time for each.
fn latencies_of_a_resolver_agree_with_its_client(
    agent: &Agent,
    socket: &UdpSocket,
    address: SocketAddr,
    late: UdpSocket,
) {
    let answering = thread::spawn(move || {
        let mut message = [0; 512];
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..PROBES {
            let (length, peer) = late.recv_from(&mut message).unwrap();
            thread::sleep(Duration::from_secs_f64(HELD_BACK[number % HELD_BACK.len()]));
            // It is a response now, and has none of what was asked for.
            message[2] |= 0x80;
            late.send_to(&message[..length], peer).unwrap();
        }
    });
    let before = agent.page();
    let mut times = Times::default();
    for number in 0..PROBES {
        let began = Instant::now();
        socket.send_to(&query(number as u16, "some.late"), address).unwrap();
        let mut answer = [0; 512];
        socket.recv_from(&mut answer).unwrap();
        times.add(HELD_BACK[number % HELD_BACK.len()], began.elapsed().as_secs_f64());
        assert_eq!((answer[..2].to_vec(), answer[3] & 0xf), ((number as u16).to_be_bytes().to_vec(), 0));
    }
    answering.join().unwrap();
    let labels = ["client=\"probe\"", "server=\"db\"", "status=\"noerror\""];
    times.assert_agree(agent, &before, "dns_request_duration_seconds", &labels);
}

/// Reads a response as programs do that do not ask who sent it.
fn read_by(way: u16, socket: &UdpSocket, into: &mut [u8]) -> usize {
    match way % 3 {
        0 => socket.recv(into).unwrap(),
        1 => rustix::io::read(socket, into).unwrap(),
        _ => {
            let (head, rest) = into.split_at_mut(3);
            rustix::io::readv(socket, &mut [std::io::IoSliceMut::new(head), std::io::IoSliceMut::new(rest)]).unwrap()
        }
    }
}

#[test]
fn a_response_is_found_by_its_socket_where_nobody_asks_who_sent_it() {
    if !can_load() {
        return;
    }
    let Some(server) = witness("dnsmasq") else { return };
    let agent = Agent::start(SourceChoice::Ebpf, &services(57));
    let (_server, address) = resolver(&server, loopback(57, 2), SocketAddr::from((loopback(57, 3), 53)));
    let socket = UdpSocket::bind((loopback(57, 1), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    const QUERIES: u16 = 300;
    let mut answer = [0; 512];
    for id in 0..QUERIES {
        socket.send_to(&query(id, if id % 3 == 0 { "bad.example" } else { "good.example" }), address).unwrap();
        let length = read_by(id, &socket, &mut answer);
        assert!(length > 12 && answer[..2] == id.to_be_bytes());
    }
    // Several at once, answered in any order.
    for id in 0..QUERIES {
        socket.send_to(&query(id, "good.example"), address).unwrap();
        if id % 10 == 9 {
            for way in 0..10 {
                assert!(read_by(way, &socket, &mut answer) > 12);
            }
        }
    }
    let expected = [500.0, 100.0, 0.0, 0.0, 0.0];
    let both = |page: &Page| ["client", "server"].map(|reporter| STATUSES.map(|status| dns(page, reporter, status)));
    let page = agent.page_at_last(|page| both(page) == [expected; 2]);
    assert_eq!(both(&page), [expected; 2]);
    assert_eq!(untimed(&page, "dns"), 0.0);
}

/// Some resolvers ask all their servers at once by one identifier, and take the first response.
/// The exporter forgets a pair of peers after twenty looks without anything new; what was counted before stays.
#[test]
fn a_pair_that_was_forgotten_counts_on() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &services(79));
    let [client, server] = [1, 2].map(|host| UdpSocket::bind((loopback(79, host), 0)).unwrap());
    let mut asked = 0;
    for round in 1..=3_u16 {
        for id in 0..4 * round {
            let mut message = query(id, "good.example");
            client.send_to(&message, server.local_addr().unwrap()).unwrap();
            server.recv_from(&mut [0; 512]).unwrap();
            message[2] |= 0x80;
            server.send_to(&message, client.local_addr().unwrap()).unwrap();
            client.recv_from(&mut [0; 512]).unwrap();
            asked += 1;
        }
        let is_all = |page: &Page| ["client", "server"].iter().all(|end| dns(page, end, "noerror") == f64::from(asked));
        let page = agent.page_at_last(is_all);
        assert!(is_all(&page), "{asked} {}", agent.text());
        for _ in 0..50 {
            let page = agent.page();
            assert!(is_all(&page), "{asked} {}", agent.text());
        }
    }
}

#[test]
fn of_two_servers_asked_alike_each_response_is_its_own_or_nobodys() {
    if !can_load() {
        return;
    }
    const QUERIES: u16 = 20;
    let [probe, one, two] = [1, 2, 3].map(|host| loopback(58, host));
    let service =
        |(name, address): (&str, Ipv4Addr)| format!("  - {{name: {name}, match: [{{address: {address}}}]}}\n");
    let services: String = [("probe", probe), ("db", one), ("other", two)].map(service).concat();
    let agent = Agent::start(SourceChoice::Ebpf, &format!("services:\n{services}"));
    let first = UdpSocket::bind((one, 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let servers = [first, UdpSocket::bind((two, port)).unwrap()];
    let socket = UdpSocket::bind((probe, 0)).unwrap();
    let mut message = [0; 512];
    let mut ask = |id: u16, asks_who: bool| {
        for server in &servers {
            socket.send_to(&query(id, "some.test"), server.local_addr().unwrap()).unwrap();
        }
        for (server, outcome) in servers.iter().zip([0, 3]).rev() {
            let (length, peer) = server.recv_from(&mut message).unwrap();
            message[2] |= 0x80;
            message[3] |= outcome;
            server.send_to(&message[..length], peer).unwrap();
            if asks_who {
                socket.recv_from(&mut message).unwrap();
            } else {
                read_by(id, &socket, &mut message);
            }
        }
    };
    for id in 0..QUERIES {
        ask(id, true);
    }
    for id in QUERIES..2 * QUERIES {
        ask(id, false);
    }
    let [half, all] = [f64::from(QUERIES), f64::from(2 * QUERIES)];
    let counts = |page: &Page| {
        [
            ("client", "noerror"),
            ("client", "nxdomain"),
            ("client", "none"),
            ("server", "noerror"),
            ("server", "nxdomain"),
        ]
        .map(|(reporter, status)| {
            ["db", "other"].map(|server| {
                let label = format!(",status=\"{status}\"");
                page.edge_with("dns_request_duration_seconds_count", ("probe", server), reporter, &label)
            })
        })
    };
    let expected = [[half, 0.0], [0.0, half], [half, half], [all, 0.0], [0.0, all]];
    let page = agent.page_at_last(|page| counts(page) == expected);
    assert_eq!(counts(&page), expected);
}
