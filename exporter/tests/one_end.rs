//! Edges of which this host sees one end only: the other is no socket of the kernel but a few lines that speak
//! TCP by hand, as a host elsewhere would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use common::{Agent, Namespaces, Page, can_load};
use quoll_exporter::agent::SourceChoice;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto, socket_with,
};

const CONNECTIONS: usize = 60;
const PAYLOAD: &[u8] = b"0123456789";
/// Nobody listens there, but to the far host it is a server's.
const FAR_PORT: u16 = 7777;

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// The parts of a segment that matter here (RFC 9293 section 3.1).
#[derive(Debug, Clone, Copy)]
struct Segment {
    source: u16,
    target: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    payload_bytes: u32,
}

impl Segment {
    /// From an IPv4 packet.
    fn parse(packet: &[u8]) -> Self {
        let long = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
        let short = |bytes: &[u8]| u16::from_be_bytes(bytes[..2].try_into().unwrap());
        let header = usize::from(packet[0] & 15) * 4;
        let tcp = &packet[header..];
        let payload = usize::from(short(&packet[2..])) - header - usize::from(tcp[12] >> 4) * 4;
        Self {
            source: short(tcp),
            target: short(&tcp[2..]),
            sequence: long(&tcp[4..]),
            acknowledged: long(&tcp[8..]),
            flags: tcp[13],
            payload_bytes: payload as u32,
        }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What acknowledges all of it.
    fn next(self) -> u32 {
        let flags = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.payload_bytes).wrapping_add(flags)
    }

    /// A header without payload, with its checksum.
    fn bytes(self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.target.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledged.to_be_bytes());
        bytes.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        let pseudo = [&from.octets()[..], &to.octets(), &[0, 6, 0, bytes.len() as u8], &bytes].concat();
        let mut sum: u32 = pseudo.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        bytes[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        bytes
    }
}

/// A host elsewhere: an address of a namespace, whose own answers a rule holds back.
struct FarHost {
    socket: OwnedFd,
    address: Ipv4Addr,
    peer: Ipv4Addr,
}

impl FarHost {
    /// To be called inside of its namespace.
    fn new(address: Ipv4Addr, peer: Ipv4Addr) -> Self {
        let socket =
            socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap();
        bind(&socket, &SocketAddrV4::new(address, 0)).unwrap();
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(20))).unwrap();
        Self { socket, address, peer }
    }

    fn send(&self, segment: Segment) {
        let bytes = segment.bytes(self.address, self.peer);
        sendto(&self.socket, &bytes, SendFlags::empty(), &SocketAddrV4::new(self.peer, 0)).unwrap();
    }

    fn receive(&self) -> Segment {
        let mut packet = [0; 2048];
        let (count, _) = recv(&self.socket, &mut packet[..], RecvFlags::empty()).expect("no answer");
        Segment::parse(&packet[..count])
    }

    /// Accepts, acknowledges and closes until so many connections have ended.
    fn serve(&self, connections: usize) {
        let mut ended = 0;
        while ended < connections {
            let asked = self.receive();
            if asked.target != FAR_PORT || (asked.flags == ACK && asked.payload_bytes == 0) {
                continue;
            }
            let flags = ACK | asked.flags & (SYN | FIN);
            let sequence = if asked.has(SYN) { 1000 } else { asked.acknowledged };
            self.send(Segment {
                source: FAR_PORT,
                target: asked.source,
                sequence,
                acknowledged: asked.next(),
                flags,
                payload_bytes: 0,
            });
            ended += usize::from(asked.has(FIN));
        }
    }

    /// Connects from this port, and closes.
    fn call(&self, source: u16, target: u16) {
        let mut own = Segment { source, target, sequence: 5000, acknowledged: 0, flags: SYN, payload_bytes: 0 };
        self.send(own);
        // The server's SYN is answered with a FIN, its FIN with nothing but the acknowledgement.
        for (awaited, answer) in [(SYN, ACK | FIN), (FIN, ACK)] {
            let theirs = loop {
                let segment = self.receive();
                if segment.target == source && segment.has(awaited) {
                    break segment;
                }
            };
            own = Segment { sequence: own.next(), acknowledged: theirs.next(), flags: answer, ..own };
            self.send(own);
        }
    }
}

/// Keeps the namespace's kernel from refusing what the far host answers.
fn hold_back_resets(namespaces: &Namespaces, end: usize) {
    namespaces.nft(
        end,
        "table ip far {\n chain output {\n type filter hook output priority 0;\n tcp flags & rst == rst drop\n }\n}\n",
    );
}

#[test]
fn an_edge_has_the_same_rate_whether_both_ends_are_seen_or_one() {
    if !can_load() {
        return;
    }
    let namespaces = Namespaces::make("e");
    let [IpAddr::V4(server), IpAddr::V4(client)] = namespaces.addresses else { panic!("IPv4 here") };
    let near = |host: u8| Ipv4Addr::new(server.octets()[0], server.octets()[1], server.octets()[2], host);
    let far = [near(11), near(12)];
    for (end, address) in far.iter().enumerate() {
        namespaces.ip(end, &format!("addr add {address}/24 dev eth0"));
        hold_back_resets(&namespaces, end);
    }
    let rules = [("api", server), ("web", client), ("far-api", far[0]), ("far-web", far[1])]
        .map(|(name, address)| format!("  - {{name: {name}, match: [{{address: {address}}}]}}\n"));
    let agent = Agent::start(SourceChoice::Ebpf, &format!("services:\n{}", rules.concat()));

    let listener = namespaces.inside(0, move || TcpListener::bind(SocketAddrV4::new(server, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let accepting = thread::spawn(move || {
        for _ in 0..2 * CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let call = move |to: Ipv4Addr, port: u16| {
        move || {
            for _ in 0..CONNECTIONS {
                let mut stream = TcpStream::connect(SocketAddr::from((to, port))).unwrap();
                stream.write_all(PAYLOAD).unwrap();
            }
        }
    };
    // Both ends, then the client's only, then the server's only.
    namespaces.inside(1, call(server, port));
    let far_server = namespaces.inside(0, move || FarHost::new(far[0], client));
    let serving = thread::spawn(move || far_server.serve(CONNECTIONS));
    namespaces.inside(1, call(far[0], FAR_PORT));
    serving.join().unwrap();
    let far_client = namespaces.inside(1, move || FarHost::new(far[1], server));
    (0..CONNECTIONS as u16).for_each(|number| far_client.call(20_000 + number, port));
    accepting.join().unwrap();

    // What a reader takes: the client's report, else the server's.
    let rate = |page: &Page, edge: (&str, &str)| {
        let labels = |reporter| {
            format!("tcp_connects_total{{client=\"{}\",server=\"{}\",reporter=\"{reporter}\"}}", edge.0, edge.1)
        };
        let reporter = if page.has(&labels("client")) { "client" } else { "server" };
        (reporter, page.edge("tcp_connects_total", edge, reporter))
    };
    let edges = [("web", "api"), ("web", "far-api"), ("far-web", "api")];
    let rates = |page: &Page| edges.map(|edge| rate(page, edge));
    let made = CONNECTIONS as f64;
    let expected = [("client", made), ("client", made), ("server", made)];
    let page = agent.page_when(|page| rates(page) == expected);
    assert_eq!(rates(&page), expected);
    assert_eq!(page.edge("tcp_connects_total", ("web", "api"), "server"), made);
    assert!(!page.has("tcp_connects_total{client=\"web\",server=\"far-api\",reporter=\"server\"}"));
    for edge in &edges[..2] {
        assert_eq!(page.edge("tcp_sent_bytes_total", *edge, "client"), made * PAYLOAD.len() as f64, "{edge:?}");
    }
}
