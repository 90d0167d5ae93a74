//! The exporter against the real kernel: every number is compared with what the test itself sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use common::{
    Agent, BODY, Namespaces, Page, ask, can_load, connect, loopback, read_message, request, response, serve, wait_until,
};
use quoll_exporter::agent::SourceChoice;
use quoll_exporter::kernel::Settings;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

fn two_services(test: u8) -> String {
    format!(
        "services:\n  - {{name: web, match: [{{address: {}}}]}}\n  - {{name: api, match: [{{address: {}}}]}}\n",
        loopback(test, 1),
        loopback(test, 2)
    )
}

const EDGE: (&str, &str) = ("web", "api");

#[test]
fn connections_bytes_and_requests_are_what_was_sent() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 5;
    const STATUSES: [u16; 6] = [200, 204, 301, 404, 500, 503];
    let agent = Agent::start(SourceChoice::Ebpf, &two_services(1));
    let listener = TcpListener::bind((loopback(1, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(listener, CONNECTIONS);
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| connect(loopback(1, 1), address).unwrap()).collect();
    for client in &mut clients {
        for status in STATUSES {
            ask(client, status);
        }
    }
    let asked: usize = STATUSES.iter().map(|status| request(*status).len()).sum::<usize>() * CONNECTIONS;
    let answered: usize = STATUSES.iter().map(|status| response(*status).len()).sum::<usize>() * CONNECTIONS;
    let check = |page: &Page| {
        for (reporter, sent, received) in [("client", asked, answered), ("server", answered, asked)] {
            let value = |metric| page.edge(metric, EDGE, reporter);
            assert_eq!(value("tcp_connects_total"), CONNECTIONS as f64, "{reporter}");
            assert_eq!(value("tcp_sent_bytes_total"), sent as f64, "{reporter}");
            assert_eq!(value("tcp_received_bytes_total"), received as f64, "{reporter}");
            assert_eq!(value("tcp_resets_total"), 0.0, "{reporter}");
            for (class, count) in [("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2), ("none", 0)] {
                let requests = page.requests(EDGE, reporter, class);
                assert_eq!(requests, (count * CONNECTIONS) as f64, "{reporter} {class}");
            }
        }
        assert_eq!(page.edge("tcp_connect_duration_seconds_count", EDGE, "client"), CONNECTIONS as f64);
    };
    // While the pool lives: the last acknowledgement may be delayed by 40 ms.
    let page = agent.page_when(|page| page.edge("tcp_sent_bytes_total", EDGE, "server") == answered as f64);
    check(&page);
    for reporter in ["client", "server"] {
        assert_eq!(page.edge("tcp_active_connections", EDGE, reporter), CONNECTIONS as f64);
        assert_eq!(page.edge("tcp_connection_duration_seconds_count", EDGE, reporter), 0.0);
    }
    drop(clients);
    server.join().unwrap();
    // And after it: FIN and SYN are no payload.
    let page = agent.page_when(|page| ended(page, "client") + ended(page, "server") == 2.0 * CONNECTIONS as f64);
    check(&page);
    for reporter in ["client", "server"] {
        assert_eq!(page.edge("tcp_active_connections", EDGE, reporter), 0.0);
        assert_eq!(ended(&page, reporter), CONNECTIONS as f64);
        assert!(page.edge("tcp_rtt_seconds_count", EDGE, reporter) >= CONNECTIONS as f64);
    }
}

/// One request per connection, this many times.
fn short_connections(test: u8, connections: usize) {
    let listener = TcpListener::bind((loopback(test, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            read_message(&mut stream, 0).unwrap();
            stream.write_all(response(200).as_bytes()).unwrap();
        }
    });
    for _ in 0..connections {
        ask(&mut connect(loopback(test, 1), address).unwrap(), 200);
    }
    server.join().unwrap();
}

fn ended(page: &Page, reporter: &str) -> f64 {
    page.edge("tcp_connection_duration_seconds_count", EDGE, reporter)
}

#[test]
fn short_connections_are_counted_one_by_one_by_either_kind_of_hook() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 300;
    for raw_only in [false, true] {
        let settings = Settings { raw_only, ..Settings::default() };
        let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(2), settings);
        short_connections(2, CONNECTIONS);
        let page = agent.page_when(|page| ended(page, "client") + ended(page, "server") == 2.0 * CONNECTIONS as f64);
        for (reporter, sent) in [("client", request(200)), ("server", response(200))] {
            let sent = (sent.len() * CONNECTIONS) as f64;
            assert_eq!(page.edge("tcp_connects_total", EDGE, reporter), CONNECTIONS as f64, "{reporter}");
            assert_eq!(page.requests(EDGE, reporter, "2xx"), CONNECTIONS as f64, "{reporter}");
            assert_eq!(page.edge("tcp_sent_bytes_total", EDGE, reporter), sent, "{reporter}");
        }
    }
}

#[test]
fn what_does_not_fit_into_the_ring_is_counted_as_lost() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 300;
    let settings = Settings { ring_bytes: 4096, ..Settings::default() };
    let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(8), settings);
    short_connections(8, CONNECTIONS);
    let lost = |page: &Page| page.get("exporter_events_dropped_total{event=\"connection_end\"}");
    let page = agent.page_when(|page| ended(page, "client") + ended(page, "server") + lost(page) >= 600.0);
    assert!(lost(&page) > 0.0);
    // Other connections of this machine may be among the lost, never among the counted.
    assert!(ended(&page, "client") + ended(&page, "server") + lost(&page) >= 2.0 * CONNECTIONS as f64);
    assert!(ended(&page, "client") <= CONNECTIONS as f64);
}

#[test]
fn an_answer_that_was_read_after_the_last_look_is_in_the_next_one() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &two_services(13));
    let listener = TcpListener::bind((loopback(13, 2), 0)).unwrap();
    let mut client = connect(loopback(13, 1), listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for asked in 1..=3 {
        client.write_all(request(200).as_bytes()).unwrap();
        read_message(&mut server, 0).unwrap();
        server.write_all(response(200).as_bytes()).unwrap();
        // All bytes have come, and been acknowledged; nothing else of this connection will ever move.
        let moved =
            |page: &Page| ["sent", "received"].map(|way| page.edge(&format!("tcp_{way}_bytes_total"), EDGE, "server"));
        let bytes = [response(200), request(200)].map(|text| (asked * text.len()) as f64);
        let page = agent.page_when(|page| moved(page) == bytes);
        assert_eq!((moved(&page), page.requests(EDGE, "client", "2xx")), (bytes, (asked - 1) as f64));
        agent.page();
        read_message(&mut client, BODY).unwrap();
        assert_eq!(agent.page().requests(EDGE, "client", "2xx"), asked as f64);
    }
}

#[test]
fn refusals_resets_and_unanswered_requests_are_told_apart() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, &two_services(3));
    let listener = TcpListener::bind((loopback(3, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    // The server reads the request and closes without an answer.
    let server = serve(listener, 1);
    let mut client = connect(loopback(3, 1), address).unwrap();
    client.write_all(request(0).as_bytes()).unwrap();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
    drop(client);
    server.join().unwrap();
    // The listener is gone now, but its address is remembered as the service's.
    for _ in 0..3 {
        assert!(connect(loopback(3, 1), address).is_err());
    }
    // The server closes with the request unread: the kernel sends a reset.
    let listener = TcpListener::bind((loopback(3, 2), 0)).unwrap();
    let mut client = connect(loopback(3, 1), listener.local_addr().unwrap()).unwrap();
    client.write_all(request(200).as_bytes()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    thread::sleep(Duration::from_millis(20));
    drop(accepted);
    assert!(client.read(&mut [0; 16]).is_err());
    drop(client);

    let page = agent.page_when(|page| page.edge("tcp_resets_total", EDGE, "server") == 1.0);
    let refused = page.edge_with("tcp_connect_failures_total", EDGE, "client", ",reason=\"refused\"");
    assert_eq!(refused, 3.0);
    assert_eq!(page.edge("tcp_connects_total", EDGE, "client"), 5.0);
    assert_eq!(page.edge("tcp_connects_total", EDGE, "server"), 2.0);
    assert_eq!(page.edge("tcp_resets_total", EDGE, "client"), 1.0);
    assert_eq!(page.edge("tcp_resets_total", EDGE, "server"), 1.0);
    // The client saw two requests without an answer; the server read only one of them.
    assert_eq!(page.requests(EDGE, "client", "none"), 2.0);
    assert_eq!(page.requests(EDGE, "server", "none"), 1.0);
}

#[test]
fn both_address_families_and_dual_stack_listeners_are_seen() {
    if !can_load() {
        return;
    }
    let services = two_services(5) + "  - {name: six, match: [{address: '::1'}]}\n";
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let listener = TcpListener::bind("[::]:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = serve(listener, 2);
    // The server's end has IPv4-mapped addresses, the client's plain IPv4.
    let mut mapped = connect(loopback(5, 1), SocketAddr::from((loopback(5, 2), port))).unwrap();
    ask(&mut mapped, 200);
    let mut six = std::net::TcpStream::connect(("::1", port)).unwrap();
    ask(&mut six, 404);
    drop((mapped, six));
    server.join().unwrap();
    let page = agent.page_when(|page| {
        [EDGE, ("six", "six")].iter().all(|edge| page.edge("tcp_connects_total", *edge, "server") >= 1.0)
    });
    for reporter in ["client", "server"] {
        assert_eq!(page.edge("tcp_connects_total", EDGE, reporter), 1.0, "{reporter}");
        assert_eq!(page.requests(EDGE, reporter, "2xx"), 1.0, "{reporter}");
        assert_eq!(page.requests(("six", "six"), reporter, "4xx"), 1.0, "{reporter}");
        let sent = page.edge("tcp_sent_bytes_total", ("six", "six"), reporter);
        assert_eq!(sent, if reporter == "client" { request(404).len() } else { response(404).len() } as f64);
    }
}

#[test]
fn connections_made_before_the_start_count_from_the_start() {
    if !can_load() {
        return;
    }
    let listener = TcpListener::bind((loopback(4, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let keep = listener.try_clone().unwrap();
    let server = serve(listener, 1);
    let mut client = connect(loopback(4, 1), address).unwrap();
    ask(&mut client, 200);
    let agent = Agent::start(SourceChoice::Ebpf, &two_services(4));
    for status in [200, 503] {
        ask(&mut client, status);
    }
    let asked = (request(200).len() + request(503).len()) as f64;
    let page = agent.page_when(|page| page.edge("tcp_received_bytes_total", EDGE, "server") == asked);
    for reporter in ["client", "server"] {
        assert_eq!(page.edge("tcp_connects_total", EDGE, reporter), 0.0, "{reporter}");
        assert_eq!(page.edge("tcp_active_connections", EDGE, reporter), 1.0, "{reporter}");
        assert_eq!(page.requests(EDGE, reporter, "2xx"), 1.0, "{reporter}");
        assert_eq!(page.requests(EDGE, reporter, "5xx"), 1.0, "{reporter}");
    }
    assert_eq!(page.edge("tcp_sent_bytes_total", EDGE, "client"), asked);
    let port = keep.local_addr().unwrap().port();
    assert!(page.has(&format!("listener_accept_queue_limit{{service_name=\"api\",port=\"{port}\"}}")));
    drop(client);
    server.join().unwrap();
}

#[test]
fn pools_and_accept_queues_are_seen_across_network_namespaces() {
    if !can_load() {
        return;
    }
    const WAITING: usize = 3;
    let namespaces = Namespaces::make("k");
    let services = format!(
        "services:\n  - {{name: api, namespace: t, match: [{{netns: {}}}]}}\n  - {{name: web, match: [{{netns: {}}}]}}\n",
        namespaces.inode(0),
        namespaces.inode(1)
    );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let address = SocketAddr::new(namespaces.addresses[0], 0);
    let listener = namespaces.inside(0, move || TcpListener::bind(address).unwrap());
    let address = listener.local_addr().unwrap();
    let port = address.port();
    let second = listener.try_clone().unwrap();
    let server = serve(listener, 1);
    let open = move || std::net::TcpStream::connect(address).unwrap();
    let mut pool = namespaces.inside(1, open);
    let edge = |page: &Page, metric: &str, reporter: &str| {
        page.get(&format!(
            "{metric}{{client=\"web\",server=\"api\",server_service_namespace=\"t\",reporter=\"{reporter}\"}}"
        ))
    };
    let mut received = 0.0;
    for _ in 0..3 {
        ask(&mut pool, 200);
        received += response(200).len() as f64;
        let page = agent.page_when(|page| edge(page, "tcp_received_bytes_total", "client") == received);
        assert_eq!(edge(&page, "tcp_received_bytes_total", "client"), received);
        assert_eq!(edge(&page, "tcp_active_connections", "server"), 1.0);
    }
    // Nobody accepts these.
    let waiting: Vec<_> = (0..WAITING).map(|_| namespaces.inside(1, open)).collect();
    let queue = |metric: &str| format!("{metric}{{service_name=\"api\",service_namespace=\"t\",port=\"{port}\"}}");
    let page = agent.page_when(|page| page.get(&queue("listener_accept_queue_length")) == WAITING as f64);
    assert_eq!(page.get(&queue("listener_accept_queue_length")), WAITING as f64);
    assert_eq!(
        page.get(&queue("listener_accept_queue_limit")),
        4096.0_f64.min(page.get(&queue("listener_accept_queue_limit")))
    );
    assert_eq!(page.get(&queue("listener_drops_total")), 0.0);
    drop((pool, waiting, second));
    server.join().unwrap();
}

#[test]
fn a_full_accept_queue_shows_as_overflows_there_and_timeouts_here() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("o");
    let services = format!(
        "services:\n  - {{name: api, match: [{{netns: {}}}]}}\n  - {{name: web, match: [{{netns: {}}}]}}\n",
        namespaces.inode(0),
        namespaces.inode(1)
    );
    let server = namespaces.addresses[0];
    // A backlog of 1 lets two connections wait.
    let listener = namespaces.inside(0, move || {
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        rustix::net::bind(&socket, &SocketAddr::new(server, 0)).unwrap();
        rustix::net::listen(&socket, 1).unwrap();
        TcpListener::from(socket)
    });
    let address = listener.local_addr().unwrap();
    let inhabitant = namespaces.inhabitant(0);
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let attempt = move || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
        let _ = rustix::net::connect(&socket, &address);
        socket
    };
    let attempts: Vec<_> = (0..4).map(|_| namespaces.inside(1, attempt)).collect();
    let labels = format!("{{service_name=\"api\",port=\"{}\"}}", address.port());
    let page = agent.page_when(|page| {
        let queue = |metric: &str| page.get(&format!("{metric}{labels}"));
        queue("listener_accept_queue_length") == 2.0 && queue("listener_overflows_total") >= 2.0
    });
    let queue = |metric: &str| page.get(&format!("{metric}{labels}"));
    assert_eq!(queue("listener_accept_queue_length"), 2.0);
    assert_eq!(queue("listener_accept_queue_limit"), 1.0);
    assert!(queue("listener_drops_total") >= 2.0);
    assert!(queue("listener_overflows_total") >= 2.0);
    // What the kernel tells through sock_diag, from inside the namespace.
    let (length, limit) = namespaces.sock_diag(0, address.port());
    assert_eq!((queue("listener_accept_queue_length"), queue("listener_accept_queue_limit")), (length, limit));
    // The two that got no answer ask again; then the program gives up.
    wait_until("repeated SYNs", || namespaces.asked_again(1) == 2);
    drop((attempts, inhabitant));
    let timeouts = |page: &Page| page.edge_with("tcp_connect_failures_total", EDGE, "client", ",reason=\"timeout\"");
    let page = agent.page_when(|page| timeouts(page) == 2.0);
    assert_eq!(timeouts(&page), 2.0);
    assert_eq!(page.edge("tcp_connects_total", EDGE, "client"), 4.0);
}

#[test]
fn changed_services_rename_what_is_open() {
    if !can_load() {
        return;
    }
    let agent = Agent::start(SourceChoice::Ebpf, "services: []\n");
    let listener = TcpListener::bind((loopback(6, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = serve(listener, 1);
    let mut client = connect(loopback(6, 1), address).unwrap();
    ask(&mut client, 200);
    assert_eq!(agent.page().requests(EDGE, "client", "2xx"), 0.0);
    std::fs::write(&agent.services, two_services(6)).unwrap();
    agent.page();
    ask(&mut client, 404);
    let page = agent.page_when(|page| page.requests(EDGE, "client", "4xx") == 1.0);
    assert_eq!(page.requests(EDGE, "client", "4xx"), 1.0);
    // A version with an error leaves the last good one in force.
    std::fs::write(&agent.services, "servces: []\n").unwrap();
    ask(&mut client, 404);
    let page = agent.page_when(|page| page.requests(EDGE, "client", "4xx") == 2.0);
    assert_eq!(page.requests(EDGE, "client", "4xx"), 2.0);
    drop(client);
    server.join().unwrap();
}

#[test]
fn procfs_sees_open_connections_and_queues_without_ebpf() {
    let agent = Agent::start(SourceChoice::Procfs, &two_services(7));
    let listener = TcpListener::bind((loopback(7, 2), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let clients: Vec<_> = (0..3).map(|_| connect(loopback(7, 1), address).unwrap()).collect();
    let accepted = listener.accept().unwrap();
    let port = address.port();
    let queue = format!("listener_accept_queue_length{{service_name=\"api\",port=\"{port}\"}}");
    let page = agent.page_when(|page| page.get(&queue) == 2.0);
    assert_eq!(page.edge("tcp_connects_total", EDGE, "client"), 3.0);
    assert_eq!(page.edge("tcp_active_connections", EDGE, "client"), 3.0);
    assert_eq!(page.get(&queue), 2.0);
    // What cannot be seen is absent, not zero.
    assert!(!page.has("tcp_sent_bytes_total{client=\"web\",server=\"api\",reporter=\"client\"}"));
    assert!(!page.has(&format!("listener_accept_queue_limit{{service_name=\"api\",port=\"{port}\"}}")));
    drop((clients, accepted, listener));
    let page = agent.page_when(|page| page.edge("tcp_active_connections", EDGE, "client") == 0.0);
    assert_eq!(page.edge("tcp_active_connections", EDGE, "client"), 0.0);
}

/// Cgroups of the unified hierarchy and of the CPU controller under different names, with a process in
/// them that may use a tenth of a core.
struct Throttled {
    folders: Vec<std::path::PathBuf>,
    child: std::process::Child,
    name: String,
}

impl Throttled {
    /// `None` where this machine has no CPU controller to give away.
    fn start() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let mount = |kind: &str, option: &str| {
            let line = mounts.lines().find(|line| {
                let fields: Vec<&str> = line.split(' ').collect();
                fields[2] == kind && (option.is_empty() || fields[3].split(',').any(|one| one == option))
            });
            line.map(|line| std::path::PathBuf::from(line.split(' ').nth(1).unwrap()))
        };
        let name = format!("qx{}throttled", std::process::id());
        let unified = mount("cgroup2", "")?.join(&name);
        let mut folders = vec![unified.clone()];
        let v1 = mount("cgroup", "cpu").map(|root| root.join(format!("{name}-elsewhere")));
        folders.extend(v1.clone());
        for folder in &folders {
            std::fs::create_dir_all(folder).unwrap();
        }
        let limited = match &v1 {
            Some(folder) => std::fs::write(folder.join("cpu.cfs_quota_us"), "10000"),
            None => std::fs::write(unified.join("cpu.max"), "10000 100000"),
        };
        if limited.is_err() {
            folders.iter().for_each(|folder| std::fs::remove_dir(folder).unwrap());
            return None;
        }
        let child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        for folder in &folders {
            std::fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        Some(Self { folders, child, name })
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for folder in &self.folders {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

#[test]
fn throttling_is_read_where_the_controller_is_and_named_where_the_process_is() {
    if !can_load() {
        return;
    }
    let Some(throttled) = Throttled::start() else {
        eprintln!("skipped: no CPU controller can be given to a cgroup of this test");
        return;
    };
    let agent = Agent::start(SourceChoice::Procfs, "services: []\n");
    let value = |page: &Page, metric: &str| page.get(&format!("{metric}{{service_name=\"{}\"}}", throttled.name));
    let page = agent.page_when(|page| value(page, "cpu_throttled_seconds_total") > 0.0);
    assert!(value(&page, "cpu_throttled_seconds_total") > 0.0);
    assert!(value(&page, "cpu_usage_seconds_total") > 0.0);
    assert!(value(&page, "memory_working_set_bytes") > 100_000.0);
    assert!(value(&page, "open_file_descriptors") >= 3.0);
    assert!(value(&page, "service_start_time_seconds") > 1e9);
}

#[test]
fn an_edge_has_the_same_rate_at_both_ends_in_one_namespace_or_two() {
    if !can_load() {
        return;
    }
    const CONNECTIONS: usize = 200;
    let namespaces = Namespaces::make("r");
    let services = two_services(9)
        + &format!(
            "  - {{name: far-api, match: [{{netns: {}}}]}}\n  - {{name: far-web, match: [{{netns: {}}}]}}\n",
            namespaces.inode(0),
            namespaces.inode(1)
        );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    short_connections(9, CONNECTIONS);
    let server = namespaces.addresses[0];
    let listener = namespaces.inside(0, move || TcpListener::bind(SocketAddr::new(server, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    let accepting = thread::spawn(move || (0..CONNECTIONS).for_each(|_| drop(listener.accept().unwrap())));
    namespaces.inside(1, move || {
        for _ in 0..CONNECTIONS {
            std::net::TcpStream::connect(address).unwrap();
        }
    });
    accepting.join().unwrap();
    let edges = [EDGE, ("far-web", "far-api")];
    let ends = |page: &Page| {
        let count = |edge, reporter| page.edge("tcp_connects_total", edge, reporter);
        edges.map(|edge| [count(edge, "client"), count(edge, "server")])
    };
    // Whichever end a reader takes, or has, the rate is the same.
    let expected = [[CONNECTIONS as f64; 2]; 2];
    let page = agent.page_when(|page| ends(page) == expected);
    assert_eq!(ends(&page), expected);
    // The other end's report goes to the same edge: nobody is seen twice under two names.
    assert_eq!(page.edge("tcp_connects_total", ("unknown", "far-api"), "server"), 0.0);
    assert_eq!(page.edge("tcp_connects_total", ("far-web", "unknown"), "client"), 0.0);
}

#[test]
fn an_address_that_nobody_has_is_unreachable() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("u");
    let nobody: std::net::IpAddr = match namespaces.addresses[0] {
        std::net::IpAddr::V4(v4) => std::net::Ipv4Addr::from(u32::from(v4) + 98).into(),
        other => other,
    };
    let services = format!(
        "services:\n  - {{name: api, match: [{{address: {nobody}}}]}}\n  - {{name: web, match: [{{netns: {}}}]}}\n",
        namespaces.inode(1)
    );
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let error = namespaces.inside(1, move || std::net::TcpStream::connect((nobody, 80)).unwrap_err());
    assert_eq!(error.raw_os_error(), Some(libc::EHOSTUNREACH));
    let count = |page: &Page| page.edge_with("tcp_connect_failures_total", EDGE, "client", ",reason=\"unreachable\"");
    let page = agent.page_when(|page| count(page) == 1.0);
    assert_eq!((count(&page), page.edge("tcp_connects_total", EDGE, "client")), (1.0, 1.0));
}

#[test]
fn without_loops_in_the_kernel_http_is_still_seen() {
    if !can_load() {
        return;
    }
    use quoll_ebpf_abi::protocols::{Protocol, Protocols};
    let protocols = Protocols { follows: 0, ..Protocols::of(&[Protocol::Http1, Protocol::Dns]) };
    let settings = Settings { protocols, ..Settings::default() };
    let agent = Agent::start_with(SourceChoice::Ebpf, &two_services(12), settings);
    short_connections(12, 20);
    let page = agent.page_when(|page| ended(page, "client") + ended(page, "server") == 40.0);
    assert_eq!(page.requests(EDGE, "client", "2xx"), 20.0);
    assert_eq!(page.requests(EDGE, "server", "2xx"), 20.0);
}
