//! Transitions of a connection that the kernel does not tell of.
//!
//! It leaves a program out where it would interrupt itself on one CPU, which nobody can bring about at will. What that
//! leaves behind, the test makes itself, in the map of the running programs: a connection that is not there, since its
//! beginning was not seen, and one that still is, since its end was not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use aya::maps::{HashMap, Map, MapData, MapInfo};
use bytemuck::{Pod, bytes_of, pod_read_unaligned};
use common::{Agent, Page, can_load, connect, loopback};
use quoll_ebpf_abi::{Connection, Listener};
use quoll_exporter::agent::SourceChoice;
use rustix::net::connect_unspec;

const EDGE: (&str, &str) = ("web", "api");
const MADE: &str = "tcp_connects_total";
const OPEN: &str = "tcp_active_connections";
const TIMED: &str = "tcp_connection_duration_seconds_count";
const CONNECTION: usize = size_of::<Connection>();
const LISTENER: usize = size_of::<Listener>();
const PAYLOAD: &[u8] = b"0123456789";

/// A map of the programs that this process runs, by the addresses of sockets.
fn own_map<const BYTES: usize>(name: &str) -> HashMap<MapData, u64, [u8; BYTES]> {
    let is_named = |id: &u32| MapInfo::from_id(*id).is_ok_and(|info| info.name_as_str() == Some(name));
    let id_of = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).ok()?;
        text.lines().find_map(|line| line.strip_prefix("map_id:"))?.trim().parse().ok()
    };
    let id = fs::read_dir("/proc/self/fdinfo").unwrap().flatten().filter_map(id_of).find(is_named).expect(name);
    HashMap::try_from(Map::HashMap(MapData::from_id(id).unwrap())).unwrap()
}

fn entries<T: Pod, const BYTES: usize>(map: &HashMap<MapData, u64, [u8; BYTES]>) -> Vec<(u64, T)> {
    map.iter().flatten().map(|(socket, bytes)| (socket, pod_read_unaligned(&bytes))).collect()
}

/// A new listener, with the address of its socket.
fn other_socket() -> (TcpListener, u64) {
    let listener = TcpListener::bind((loopback(43, 3), 0)).unwrap();
    let own = entries::<Listener, LISTENER>(&own_map("LISTENERS")).into_iter();
    let own = own.filter(|(_, listener)| listener.process == std::process::id());
    (listener, own.max_by_key(|(_, listener)| listener.start_ns).unwrap().0)
}

struct Test {
    agent: Agent,
    listener: TcpListener,
    connections: HashMap<MapData, u64, [u8; CONNECTION]>,
}

impl Test {
    fn start() -> Self {
        let rules = [("web", 1), ("api", 2)]
            .map(|(name, host)| format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", loopback(43, host)));
        let agent = Agent::start(SourceChoice::Ebpf, &format!("services:\n{}", rules.concat()));
        let listener = TcpListener::bind((loopback(43, 2), 0)).unwrap();
        Self { agent, listener, connections: own_map("CONNECTIONS") }
    }

    fn open(&self) -> [TcpStream; 2] {
        let client = connect(loopback(43, 1), self.listener.local_addr().unwrap()).unwrap();
        [client, self.listener.accept().unwrap().0]
    }

    /// The client's and the server's entry of a connection.
    fn ends(&self, client: &TcpStream) -> [(u64, Connection); 2] {
        let [near, far] = [client.local_addr(), client.peer_addr()].map(|address| address.unwrap().port());
        let all = entries::<Connection, CONNECTION>(&self.connections);
        [(near, far), (far, near)].map(|(local, remote)| {
            let is_it = |(_, entry): &&(u64, Connection)| {
                entry.is_over == 0 && (entry.local_port, entry.remote_port) == (local, remote)
            };
            *all.iter().find(is_it).unwrap()
        })
    }

    /// Puts an entry where nobody took it away; what is there of an end that was seen does not count.
    fn leave(&mut self, socket: u64, entry: Connection) {
        let known = self.connections.get(&socket, 0).ok().map(|known| pod_read_unaligned::<Connection>(&known));
        assert!(known.is_none_or(|known| known.is_over == 1), "somebody is there");
        // It was there for a while.
        let entry = Connection { start_ns: entry.start_ns - 5_000_000_000, ..entry };
        self.connections.insert(socket, <[u8; CONNECTION]>::try_from(bytes_of(&entry)).unwrap(), 0).unwrap();
    }

    /// Waits for what the client and the server count: connections made, those open, and those with a known duration.
    fn expect(&self, made: [f64; 2], open: [f64; 2], timed: [f64; 2]) {
        let counted = |page: &Page| [MADE, OPEN, TIMED].map(|metric| counts(page, metric));
        let expected = [made, open, timed];
        let page = self.agent.page_at_last(|page| counted(page) == expected);
        assert_eq!(counted(&page), expected);
    }
}

fn counts(page: &Page, metric: &str) -> [f64; 2] {
    ["client", "server"].map(|end| page.edge(metric, EDGE, end))
}

#[test]
fn what_the_kernel_does_not_tell_of_is_made_good() {
    if !can_load() {
        return;
    }
    let mut test = Test::start();

    // Of neither end was the beginning seen: they count at their end, with their bytes, and nobody knows how long they took.
    let [mut client, mut server] = test.open();
    for (socket, _) in test.ends(&client) {
        test.connections.remove(&socket).unwrap();
    }
    client.write_all(PAYLOAD).unwrap();
    drop(client);
    assert_eq!(server.read_to_end(&mut Vec::new()).unwrap(), PAYLOAD.len());
    drop(server);
    test.expect([1.0; 2], [0.0; 2], [0.0; 2]);
    let page = test.agent.page();
    let bytes = PAYLOAD.len() as f64;
    assert_eq!(counts(&page, "tcp_sent_bytes_total"), [bytes, 0.0]);
    assert_eq!(counts(&page, "tcp_received_bytes_total"), [0.0, bytes]);
    assert_eq!(counts(&page, "tcp_connect_duration_seconds_count"), [0.0; 2]);

    // Of neither was the end seen, and the memory of their sockets is that of others, which listen.
    let [client, server] = test.open();
    test.expect([2.0; 2], [1.0; 2], [0.0; 2]);
    let others = [other_socket(), other_socket()];
    for ((_, entry), (_, socket)) in test.ends(&client).into_iter().zip(&others) {
        test.leave(*socket, entry);
    }
    test.expect([3.0; 2], [1.0; 2], [0.0; 2]);
    drop((client, server, others));
    test.expect([3.0; 2], [0.0; 2], [1.0; 2]);

    // The client's was not seen, and its memory is that of its next connection.
    let [client, server] = test.open();
    let [(socket, entry), _] = test.ends(&client);
    connect_unspec(&client).unwrap();
    drop(server);
    test.expect([4.0; 2], [0.0; 2], [2.0; 2]);
    test.leave(socket, entry);
    rustix::net::connect(&client, &test.listener.local_addr().unwrap()).unwrap();
    let server = test.listener.accept().unwrap();
    assert_eq!(test.ends(&client)[0].0, socket);
    test.expect([6.0, 5.0], [1.0; 2], [2.0; 2]);
    drop((client, server));
    test.expect([6.0, 5.0], [0.0; 2], [3.0; 2]);
}
