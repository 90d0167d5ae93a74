//! Load for the exporter's bench: services that call one another over loopback, some of them per process,
//! since a process may hold no more than some thousand descriptors, and a namespace per process.
//!
//! Each service has an address of its own in 127.80.0.0/16 and those above, at which it listens and from which it calls; so
//! connections spread over many destinations, and no pair of addresses runs out of ports (one destination
//! has 28,000 of them, and each stays in TIME_WAIT for a minute). The process is told what to do on its
//! standard input, line by line, and answers each line with one on its standard output:
//!
//! | Line | Does | Answers |
//! |---|---|---|
//! | `open COUNT` | opens connections that stay, spread over the edges | how many are open |
//! | `connect RATE SECONDS` | makes connections one after the other: connect, 64 bytes, close | made, seconds taken |
//! | `request SECONDS` | requests on the first open connections, one after the other | answered, seconds taken |
//! | `request2 SECONDS` | the same by HTTP/2, on connections made for it | answered, seconds taken |

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, acceptfrom_with, bind, connect, listen, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where every service listens.
const PORT: u16 = 8000;
/// Connections that wait to be accepted at one listener.
const BACKLOG: i32 = 4096;
/// Open connections that requests go over.
pub const REQUESTED: usize = 64;
const REQUEST: &[u8] = b"GET /bench HTTP/1.1\r\nHost: bench\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Header blocks (RFC 7541) of the first request, which names `:authority` and `user-agent`, and of those that follow it.
const FIRST_BLOCK: &[u8] = b"\x82\x84\x86\x41\x05bench\x7a\x05bench";
const NEXT_BLOCK: &[u8] = &[0x82, 0x84, 0x86, 0xbf, 0xbe];
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// System calls of one connection of `connect`, both ends: socket, bind, connect, write, close; accept,
/// epoll_ctl, two of epoll_wait and read, close.
pub const CALLS_PER_CONNECTION: f64 = 12.0;

/// Who calls whom.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Services.
    pub services: usize,
    /// Pairs of caller and called.
    pub edges: usize,
    /// Number of this process; it decides the services' names and addresses.
    pub part: usize,
}

impl Shape {
    /// The address of a service.
    #[must_use]
    pub fn address(&self, service: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 80 + self.part as u8, (service / 250) as u8, (service % 250) as u8 + 1)
    }

    /// Caller and called of an edge; all pairs differ as long as there are fewer edges than half the pairs.
    #[must_use]
    pub fn edge(&self, number: usize) -> (usize, usize) {
        let number = number % self.edges.max(1);
        let caller = number % self.services;
        (caller, (caller + 1 + number / self.services) % self.services)
    }

    /// Its services' entries in the exporter's `services.yaml`.
    #[must_use]
    pub fn rules(&self) -> String {
        let rule = |service| {
            let Self { part, .. } = self;
            format!("  - {{name: service-{part}-{service:03}, match: [{{address: {}}}]}}\n", self.address(service))
        };
        (0..self.services).map(rule).collect()
    }
}

/// Serves and calls as the standard input says, until it ends.
///
/// # Errors
/// Where a socket, or a descriptor for it, cannot be had.
pub fn run(shape: Shape) -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let mut listeners = Vec::new();
    for service in 0..shape.services {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
        bind(&socket, &SocketAddrV4::new(shape.address(service), PORT))?;
        listen(&socket, BACKLOG)?;
        listeners.push(socket);
    }
    thread::spawn(move || serve(listeners));

    let mut open = Vec::new();
    let mut next = 0;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words.get(place).and_then(|word| word.parse::<f64>().ok()).unwrap_or_default();
        let began = Instant::now();
        let count = match words.first().copied().unwrap_or_default() {
            "open" => {
                while open.len() < number(1) as usize {
                    open.push(call(shape, open.len())?);
                }
                open.len()
            }
            "connect" => {
                let mut made = 0;
                while began.elapsed().as_secs_f64() < number(2) {
                    let due = began + Duration::from_secs_f64(made as f64 / number(1));
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    rustix::io::write(call(shape, next)?, &PAYLOAD)?;
                    made += 1;
                    next += 1;
                }
                made
            }
            "request" => {
                let mut answered = 0;
                let mut answer = [0; 256];
                while began.elapsed().as_secs_f64() < number(1) {
                    for connection in open.iter().take(REQUESTED) {
                        rustix::io::write(connection, REQUEST)?;
                        rustix::io::read(connection, &mut answer)?;
                        answered += 1;
                    }
                }
                answered
            }
            "request2" => request_by_http2(shape, Duration::from_secs_f64(number(1)))?,
            other => anyhow::bail!("unknown command '{other}'"),
        };
        let mut out = io::stdout().lock();
        writeln!(out, "{count} {}", began.elapsed().as_secs_f64())?;
        out.flush()?;
    }
    Ok(())
}

/// Gives how many requests were answered.
fn request_by_http2(shape: Shape, length: Duration) -> io::Result<usize> {
    let connections = (0..REQUESTED).map(|edge| call(shape, edge)).collect::<io::Result<Vec<_>>>()?;
    let (mut answered, mut answer, mut stream) = (0, [0; 256], 1);
    for connection in &connections {
        rustix::io::write(connection, &[PREFACE, SETTINGS].concat())?;
        rustix::io::read(connection, &mut answer)?;
    }
    let began = Instant::now();
    while began.elapsed() < length {
        let block = if stream == 1 { FIRST_BLOCK } else { NEXT_BLOCK };
        let request = frame(1, 5, stream, block);
        for connection in &connections {
            rustix::io::write(connection, &request)?;
            rustix::io::read(connection, &mut answer)?;
            answered += 1;
        }
        stream += 2;
    }
    Ok(answered)
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

fn call(shape: Shape, edge: usize) -> io::Result<OwnedFd> {
    let (caller, called) = shape.edge(edge);
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrV4::new(shape.address(caller), 0))?;
    connect(&socket, &SocketAddrV4::new(shape.address(called), PORT))?;
    Ok(socket)
}

/// Accepts, reads until the other side closes, and answers requests.
fn serve(listeners: Vec<OwnedFd>) -> io::Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let watch = |socket: &OwnedFd| {
        let data = epoll::EventData::new_u64(socket.as_raw_fd() as u64);
        epoll::add(&poll, socket, data, epoll::EventFlags::IN)
    };
    let listeners: HashMap<u64, OwnedFd> = listeners.into_iter().map(|one| (one.as_raw_fd() as u64, one)).collect();
    for listener in listeners.values() {
        watch(listener)?;
    }
    let mut accepted: HashMap<u64, OwnedFd> = HashMap::new();
    let mut buffer = [0; 1024];
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let key = event.data.u64();
            if let Some(listener) = listeners.get(&key) {
                while let Ok(socket) = acceptfrom_with(listener, SocketFlags::NONBLOCK).map(|(socket, _)| socket) {
                    watch(&socket)?;
                    accepted.insert(socket.as_raw_fd() as u64, socket);
                }
                continue;
            }
            let Some(socket) = accepted.get(&key) else { continue };
            match rustix::io::read(socket, &mut buffer) {
                Ok(count) if buffer[..count].starts_with(b"GET") => {
                    rustix::io::write(socket, RESPONSE)?;
                }
                Ok(count) if buffer[..count].starts_with(PREFACE) => {
                    rustix::io::write(socket, SETTINGS)?;
                }
                Ok(count @ 9..) if buffer[..count].starts_with(&[0, 0]) => {
                    let stream = u32::from_be_bytes([buffer[5], buffer[6], buffer[7], buffer[8]]);
                    rustix::io::write(socket, &[frame(1, 4, stream, &[0x88]), frame(0, 1, stream, b"ok")].concat())?;
                }
                Ok(0) | Err(_) => {
                    accepted.remove(&key);
                }
                Ok(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn edges_are_pairs_of_different_services() {
        let shape = Shape { services: 200, edges: 1000, part: 0 };
        let edges: BTreeSet<_> = (0..1000).map(|number| shape.edge(number)).collect();
        assert_eq!(edges.len(), 1000);
        assert!(edges.iter().all(|(caller, called)| caller != called));
        assert_eq!(shape.edge(1000), shape.edge(0));
    }
}
