//! Beyond the limits: each request that is seen is timed, or counted as not timed with its reason; none twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use common::{Agent, Page, can_load, connect, loopback, read_message};
use quoll_ebpf_abi::protocols::{Protocol, Protocols};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;

const EDGE: (&str, &str) = ("web", "api");
/// Others on this machine may say something of the same protocol meanwhile, which is counted too: then it is measured
/// again.
const MEASUREMENTS: usize = 5;

fn two_services(test: u8) -> String {
    let [web, api] = [1, 2].map(|host| loopback(test, host));
    format!(
        "services:\n  - {{name: web, match: [{{address: {web}}}]}}\n  - {{name: api, match: [{{address: {api}}}]}}\n"
    )
}

/// A connection with so many statuses and durations that its counts are handed over while it lives.
#[test]
fn rounds_of_counts_make_up_all_requests_of_a_connection() {
    if !can_load() {
        return;
    }
    const STATUSES: [(u16, &str); 4] = [(200, "2xx"), (301, "3xx"), (404, "4xx"), (500, "5xx")];
    const MILLISECONDS: [u64; 7] = [0, 1, 2, 4, 8, 16, 32];
    const TURNS: usize = 3;
    let agent = Agent::start(SourceChoice::Ebpf, &two_services(71));
    let listener = TcpListener::bind((loopback(71, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        for _ in 0..TURNS {
            for milliseconds in MILLISECONDS {
                for (status, _) in STATUSES {
                    read_message(&mut stream, 0).unwrap();
                    thread::sleep(Duration::from_millis(milliseconds));
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            }
        }
    });
    let mut client = connect(loopback(71, 1), address).unwrap();
    let mut asked = 0.0;
    let all_are = |page: &Page, expected: f64| {
        let counts =
            ["client", "server"].map(|reporter| STATUSES.map(|(_, class)| page.requests(EDGE, reporter, class)));
        counts == [[expected; STATUSES.len()]; 2]
    };
    for _ in 0..TURNS {
        for _ in MILLISECONDS {
            for _ in STATUSES {
                client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
                read_message(&mut client, 0).unwrap();
            }
            asked += 1.0;
            // Looks come between rounds, too.
            agent.page();
        }
        let page = agent.page_at_last(|page| all_are(page, asked));
        assert!(all_are(&page, asked), "{asked}: {}", agent.text());
    }
    server.join().unwrap();
    drop(client);
    let ended = |page: &Page| page.edge("tcp_connection_duration_seconds_count", EDGE, "client");
    let page = agent.page_at_last(|page| ended(page) == 1.0);
    assert_eq!(ended(&page), 1.0);
    assert!(all_are(&page, asked), "{asked}: {}", agent.text());
    let waited: u64 = MILLISECONDS.iter().sum();
    let least = waited as f64 / 1000.0 * TURNS as f64;
    for (_, class) in STATUSES {
        let sum =
            page.edge_with("http_request_duration_seconds_sum", EDGE, "client", &format!(",status_class=\"{class}\""));
        assert!(sum >= least, "{class}: {sum} s of {least} at least");
    }
}

/// Requests at both ends that were timed, and those that were not for want of room.
fn timed_and_skipped(page: &Page, family: &str, protocol: Protocol) -> (f64, f64) {
    let edge = [format!("client=\"{}\"", EDGE.0), format!("server=\"{}\"", EDGE.1)];
    let timed = page.sum(&format!("{family}_request_duration_seconds_count"), &[edge[0].as_str(), edge[1].as_str()]);
    let name = protocol.name();
    (timed, page.get(&format!("exporter_requests_untimed_total{{protocol=\"{name}\",reason=\"no_room\"}}")))
}

/// Measures until nobody else's requests are among the skipped, and checks that some were timed and some skipped.
fn assert_all_are_accounted_for(all: f64, measure: impl Fn() -> (f64, f64)) {
    let mut last = (0.0, 0.0);
    for _ in 0..MEASUREMENTS {
        last = measure();
        let (timed, skipped) = last;
        assert!(timed > 0.0 && skipped > 0.0 && timed + skipped >= all, "{last:?} of {all}");
        if timed + skipped == all {
            return;
        }
    }
    panic!("{last:?} are more than {all}");
}

fn ping(stream: &mut TcpStream) {
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
}

#[test]
fn requests_of_connections_without_room_are_counted_one_by_one() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 8;
    const REQUESTS: usize = 25;
    // Room for both ends of two.
    let settings = Settings { exchanges: 4, protocols: Protocols::of(&[Protocol::Redis]), ..Settings::default() };
    assert_all_are_accounted_for((2 * CONNECTIONS * REQUESTS) as f64, || {
        let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(72), settings);
        let listener = TcpListener::bind((loopback(72, 2), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let serve = |mut stream: TcpStream| {
                let mut request = [0; 14];
                while stream.read_exact(&mut request).is_ok() {
                    stream.write_all(b"+PONG\r\n").unwrap();
                }
            };
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let (stream, _) = listener.accept().unwrap();
                    thread::spawn(move || serve(stream))
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(loopback(72, 1), address).unwrap()).collect();
        for _ in 0..REQUESTS {
            clients.iter_mut().for_each(ping);
        }
        drop(clients);
        server.join().unwrap();
        let ended = |page: &Page| {
            let ended = |reporter| page.edge("tcp_connection_duration_seconds_count", EDGE, reporter);
            ended("client") + ended("server")
        };
        let page = agent.page_at_last(|page| ended(page) == 2.0 * CONNECTIONS as f64);
        timed_and_skipped(&page, "db", Protocol::Redis)
    });
}

/// All end at once, and the ring has room for a tenth of them. Ends whose memory others take meanwhile are lost with
/// what was not read of them, and that is counted.
#[test]
fn requests_of_ends_that_find_no_room_arrive_later_or_are_counted_as_lost() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 400;
    let settings =
        Settings { ring_bytes: 1 << 16, protocols: Protocols::of(&[Protocol::Redis]), ..Settings::default() };
    let all = (2 * CONNECTIONS) as f64;
    let mut last = (0.0, 0.0);
    for _ in 0..MEASUREMENTS {
        let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(74), settings);
        let listener = TcpListener::bind((loopback(74, 2), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let both = || (connect(loopback(74, 1), address).unwrap(), listener.accept().unwrap().0);
        let mut pairs = Vec::new();
        for _ in 0..CONNECTIONS {
            let (mut client, mut server) = both();
            client.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
            server.read_exact(&mut [0; 14]).unwrap();
            server.write_all(b"+PONG\r\n").unwrap();
            client.read_exact(&mut [0; 7]).unwrap();
            pairs.push((client, server));
        }
        drop(pairs);
        // These take the memory of those.
        let _others: Vec<_> = (0..CONNECTIONS).map(|_| both()).collect();
        let count = |page: &Page| timed_and_skipped(page, "db", Protocol::Redis);
        last = count(&agent.page_at_last(|page| {
            let (timed, skipped) = count(page);
            timed + skipped >= all
        }));
        assert!(last.0 > 0.0 && last.0 + last.1 >= all, "{last:?} of {all}");
        if last.0 + last.1 == all {
            return;
        }
    }
    panic!("{last:?} are more than {all}");
}

#[test]
fn dns_queries_without_room_are_counted_one_by_one() {
    if !can_load() {
        return;
    }
    const QUERIES: u16 = 40;
    let settings = Settings { datagrams: 8, protocols: Protocols::of(&[Protocol::Dns]), ..Settings::default() };
    assert_all_are_accounted_for(2.0 * f64::from(QUERIES), || {
        let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(73), settings);
        let server = UdpSocket::bind((loopback(73, 2), 0)).unwrap();
        let client = UdpSocket::bind((loopback(73, 1), 0)).unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let mut message = [0; 64];
        let mut waiting = Vec::new();
        // All of them are asked before the first is answered.
        for id in 0..QUERIES {
            let [high, low] = id.to_be_bytes();
            client.send(&[high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1]).unwrap();
            let (length, from) = server.recv_from(&mut message).unwrap();
            waiting.push((message[..length].to_vec(), from));
        }
        for (mut answer, from) in waiting {
            answer[2] |= 0x80;
            server.send_to(&answer, from).unwrap();
            client.recv(&mut message).unwrap();
        }
        // All is counted within the calls; a look brings it here.
        timed_and_skipped(&agent.page(), "dns", Protocol::Dns)
    });
}
