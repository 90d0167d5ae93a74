//! The protocols whose requests are seen: pure functions of the bytes that one call moved.
//!
//! Each protocol has a file here with all that it knows of bytes. Those whose messages carry their
//! lengths implement [`Framing`] and are followed by a [`Walk`] from message to message, however the calls
//! cut them; of HTTP/2 this finds what user space has to see. HTTP/1.1 has lines instead and is followed by a scan
//! ([`http1`]); DNS is recognised by its whole header ([`dns`]).
//!
//! [`Exchange`] is the state per connection and bounded; [`Exchange::call`] is the one entrance for a call's
//! bytes, be they from a system call or decrypted ones.

pub mod dns;
mod exchange;
pub mod http1;
pub mod http2;
pub mod method;
pub mod mysql;
pub mod postgres;
pub mod redis;
mod walk;

pub use exchange::{Beginning, Call, Counted, Exchange};
pub(crate) use walk::place_of;
pub use walk::{Bytes, Event, Framing, HEADER, Lane, Memory, Outcome, PlainLoop, Slice, Step, Steps, Walk};

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/1.0 and 1.1.
    Http1 = 1,
    /// HTTP/2; what it carries counts as HTTP or gRPC.
    Http2 = 2,
    /// PostgreSQL, protocol 3.
    Postgres = 3,
    /// MySQL and MariaDB, protocol 10.
    Mysql = 4,
    /// Redis and what speaks like it, RESP 2 and 3.
    Redis = 5,
    /// DNS over UDP and TCP.
    Dns = 6,
    /// gRPC; no connection speaks it but by HTTP/2.
    Grpc = 7,
}

/// One more than the largest index of a protocol.
pub const PROTOCOLS: usize = 8;

impl Protocol {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Http1, Self::Http2, Self::Postgres, Self::Mysql, Self::Redis, Self::Dns, Self::Grpc];

    /// The protocol of an index.
    #[must_use]
    pub fn of(index: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| *protocol as u8 == index)
    }

    /// As in settings and labels; for databases, OpenTelemetry's `db.system.name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http",
            Self::Http2 => "http2",
            Self::Postgres => "postgresql",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Dns => "dns",
            Self::Grpc => "grpc",
        }
    }

    /// Label values of its statuses, by index; empty ones never occur.
    #[must_use]
    pub fn statuses(self) -> &'static [&'static str] {
        match self {
            Self::Http1 | Self::Http2 => &http1::STATUSES,
            Self::Postgres | Self::Mysql | Self::Redis => &["ok", "error", "", "", "none"],
            Self::Dns => &dns::STATUSES,
            Self::Grpc => &http2::GRPC_STATUSES,
        }
    }

    /// Its bit in a set.
    #[inline(always)]
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// Index of the status of good answers, in the protocols of databases.
pub const OK: u8 = 0;
/// Index of the status of errors, in the protocols of databases.
pub const ERROR: u8 = 1;

/// A set of protocols, as the kernel side is told it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
pub struct Protocols {
    /// [`Protocol::bit`]s.
    pub bits: u32,
    /// 1 where messages can be followed from call to call, which takes Linux 5.17 (`bpf_loop`).
    pub follows: u32,
    /// 1 where HTTP's requests are counted by method.
    pub by_method: u32,
}

impl Protocols {
    /// Of these.
    #[must_use]
    pub fn of(protocols: &[Protocol]) -> Self {
        Self { bits: protocols.iter().fold(0, |bits, protocol| bits | protocol.bit()), follows: 1, by_method: 0 }
    }

    /// Whether one is in it.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, protocol: Protocol) -> bool {
        self.bits & protocol.bit() != 0
    }
}

/// What the first bytes of a call make likely: a reason to find out which socket it was.
///
/// `head` holds `available` bytes of a call that moved `length`; the rest is zero. Continuations of
/// messages look like nothing; they are followed on connections that are known.
#[inline(always)]
#[must_use]
pub fn may_begin(protocols: Protocols, head: &[u8; HEADER], length: u32) -> bool {
    (protocols.has(Protocol::Http1) && http1::may_begin(head, length))
        || (protocols.has(Protocol::Http2) && http2::may_begin(head, length))
        || (protocols.has(Protocol::Redis) && redis::begins(head, length))
        || (protocols.has(Protocol::Postgres) && postgres::may_begin(head, length))
        || (protocols.has(Protocol::Mysql) && mysql::may_begin(head, length))
        || (protocols.has(Protocol::Dns) && (dns::message(head, length).is_some() || dns::begins(head, length)))
}

/// The protocol whose exchange begins with a call of these bytes, if any may.
///
/// Strict: a connection that is seen from its middle is taken up only at a message that nothing else
/// looks like, or not at all. `is_request` tells who sent the bytes.
#[inline(always)]
#[must_use]
pub fn recognise(protocols: Protocols, head: &[u8; HEADER], length: u32, is_request: bool) -> Option<Protocol> {
    if protocols.has(Protocol::Http1) && http1::begins(head, length) {
        return Some(Protocol::Http1);
    }
    if protocols.has(Protocol::Http2) && (http2::begins(head, length, is_request) || http2::is_within(head, length)) {
        return Some(Protocol::Http2);
    }
    if protocols.has(Protocol::Redis) && is_request && redis::begins(head, length) {
        return Some(Protocol::Redis);
    }
    if protocols.has(Protocol::Postgres) && is_request && postgres::begins(head, length) {
        return Some(Protocol::Postgres);
    }
    if protocols.has(Protocol::Mysql) && mysql::begins(head, length, is_request) {
        return Some(Protocol::Mysql);
    }
    if protocols.has(Protocol::Dns) && is_request && dns::begins(head, length) {
        return Some(Protocol::Dns);
    }
    None
}

/// A 32-bit number in network order.
#[inline(always)]
fn be32(bytes: &[u8; HEADER], at: usize) -> u32 {
    let byte = |index: usize| match bytes.get(at + index) {
        Some(byte) => *byte as u32,
        None => 0,
    };
    byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3)
}
