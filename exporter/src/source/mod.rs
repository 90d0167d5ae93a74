//! Where connections and listeners come from: the kernel-side programs, or `/proc`.
//!
//! Both give the same records, so that what is made of them does not depend on the source; what a
//! source cannot see is `None`, never zero.

pub mod ebpf;
mod introduce;
pub mod procfs;
mod taken;

use std::net::Ipv6Addr;

use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::Protocol;
use quoll_http2::Tally;

use rustix::thread::CapabilitySet;

use crate::inventory::Inventory;
use crate::net::Endpoint;
use crate::tls::LibraryCounts;
pub use taken::Taken;

/// Who holds a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Inode of the cgroup.
    pub cgroup_id: u64,
    /// Inode of the network namespace.
    pub netns: u32,
}

/// Which end of a connection a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It called `connect`.
    Client,
    /// It was accepted.
    Server,
}

/// A connection that was or is there; two records of one connection have the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64, pub u64);

/// Why a connection could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// No answer in time.
    Timeout,
    /// No way there.
    Unreachable,
    /// Reset while connecting.
    Reset,
    /// Anything else; most often the program gave up at once.
    Other,
}

/// What a connection has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The handshake has not ended.
    Connecting,
    /// In use.
    Open,
    /// It never came to be.
    Failed(Failure),
    /// It ended.
    Ended {
        /// By a reset, sent or received.
        by_reset: bool,
    },
}

/// Totals since the connection began, where the source sees them.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Payload bytes that the peer acknowledged.
    pub sent_bytes: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// Requests.
    pub requests: Option<RequestStats>,
    /// Whether a round of them is over, and they begin at zero after this.
    pub is_round_over: bool,
    /// Requests that the kernel side does not time itself.
    pub tallies: Vec<Tally>,
}

/// One report of one end of a connection.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which connection.
    pub id: ConnectionId,
    /// Who holds this end.
    pub owner: Owner,
    /// Who holds the other, where known.
    pub peer: Option<Owner>,
    /// Process that connected or listened, and the one at the other end, where known; else 0.
    pub processes: [u32; 2],
    /// This end's address and port.
    pub local: Endpoint,
    /// The other end's.
    pub remote: Endpoint,
    /// Which end this is; unknown for connections that were there before us.
    pub role: Option<Role>,
    /// It is no connection, but datagrams between two peers; only its requests count.
    pub is_datagram: bool,
    /// It was there before us, so its totals say nothing about our time.
    pub preexisting: bool,
    /// What it has come to.
    pub phase: Phase,
    /// How long the handshake took, at its client.
    pub connect_seconds: Option<f64>,
    /// How long it has been established.
    pub open_seconds: Option<f64>,
    /// Smoothed round-trip time.
    pub rtt_seconds: Option<f64>,
    /// Anything was counted since the last report.
    pub has_moved: bool,
    /// Totals; `None` where the source sees none.
    pub counters: Option<Counters>,
}

/// A listening socket.
#[derive(Debug, Clone, Copy)]
pub struct Listening {
    /// Tells sockets apart.
    pub id: ConnectionId,
    /// Who holds it.
    pub owner: Owner,
    /// Process that listens; 0 where unknown.
    pub process: u32,
    /// Where it listens; the unspecified address stands for all.
    pub local: Endpoint,
    /// Connections waiting to be accepted.
    pub queue_length: u32,
    /// How many may wait; `None` where the source cannot see it.
    pub queue_limit: Option<u32>,
    /// Attempts dropped at this socket so far; `None` where the source cannot see it.
    pub drops: Option<u32>,
}

/// The kinds of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// The kernel-side programs.
    Ebpf,
    /// `/proc` and the sockets' tables in it.
    Procfs,
}

impl SourceKind {
    /// As on the command line and in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Procfs => "procfs",
        }
    }
}

/// What a source lost, by what it was.
pub type Losses = Vec<(&'static str, u64)>;

/// How many, of which protocol, and why.
pub type Skipped = (Protocol, &'static str, u64);

/// A source; used by one thread.
pub trait Source {
    /// Which it is.
    fn kind(&self) -> SourceKind;

    /// Reports what ended since the last call, or the first part of it; gives whether there may be more.
    fn ended(&mut self, receive: &mut dyn FnMut(Report)) -> bool;

    /// Reports everything that is open. Comes after [`Self::listening`]. Unless it is asked for all, a source may leave
    /// out what did not move since the last call.
    ///
    /// # Errors
    /// Where the source cannot be read at all.
    fn live(&mut self, at_all: bool, receive: &mut dyn FnMut(Report)) -> anyhow::Result<()>;

    /// All listening sockets.
    ///
    /// # Errors
    /// Where the source cannot be read at all.
    fn listening(&mut self, inventory: &Inventory) -> anyhow::Result<Vec<Listening>>;

    /// Whether it can be read with the capabilities in effect now.
    fn can_be_read(&self) -> bool;

    /// Looks for the TLS libraries of these processes, given by number and start in clock ticks.
    fn follow_libraries(&mut self, _processes: &mut dyn Iterator<Item = (u32, u64)>) {}

    /// Capabilities that it takes, for life, to look into them.
    fn library_needs(&self) -> CapabilitySet {
        CapabilitySet::empty()
    }

    /// How many TLS libraries there are by what is done about them; `None` where none is looked for.
    fn libraries(&self) -> Option<LibraryCounts> {
        None
    }

    /// Connections that went on in TLS of which nothing can be read, and whose protocol is not known.
    fn encrypted(&self) -> u64 {
        0
    }

    /// What was lost since the start.
    fn losses(&self) -> Losses;

    /// Changes of connections that the kernel did not tell of; they are made good when the connection ends.
    fn unseen(&self) -> u64 {
        0
    }

    /// Requests that were seen and not timed since the start.
    fn untimed(&self) -> Vec<Skipped> {
        Vec::new()
    }

    /// Connections whose requests are not looked at any more, since the start.
    fn unparsed(&self) -> Vec<Skipped> {
        Vec::new()
    }
}

/// The address from its 16 bytes.
#[must_use]
pub fn endpoint(address: [u8; 16], port: u16) -> Endpoint {
    Endpoint { address: Ipv6Addr::from(address), port }
}
