//! Which histogram of an edge a request belongs to.
//!
//! An edge and reporter has few histograms, and there are more statuses than that. So statuses are of three
//! classes, and of each class there is one place into which all go that find none of their own:
//!
//! | Class | | Place for the rest |
//! |---|---|---|
//! | good | answered as was wished; one status of each protocol | itself |
//! | client | an answer that is for the client to act on: a redirection, a refusal, what does not exist | `other_client` |
//! | failed | the server's fault, or no answer at all | `other` |
//!
//! Failed ones are those that OpenTelemetry's conventions hold against a server
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>, `.../http/http-spans/`), and those without an answer. With
//! methods, a request whose method finds no place first goes to its status with the method `other`, which HTTP's five
//! always have.
//!
//! Guarantees, whatever comes in whatever order:
//! - Of a protocol that is shown at all, each good and each failed request is in a histogram of its class. One of class
//!   client is, too, unless the edge speaks several protocols and has no place left; then it is counted as without.
//! - A protocol for which there are not two places left, one for good requests and one for failed ones, is not shown on the
//!   edge at all: half of it would be a ratio of errors that is wrong.
//! - HTTP's, databases' and DNS's statuses all have their own place where the edge speaks nothing else.
//! - What a place holds it holds for ever. Once a kind went to the place for the rest it stays there, since places
//!   that are free and not reserved only become fewer.

use quoll_ebpf_abi::protocols::{OK, Protocol, method};
use quoll_http2::Kind;

/// Histograms of requests of one edge and reporter: each has twelve series, and together they stay within 60.
pub const MAX_HISTOGRAMS: usize = 5;
/// The same where HTTP's are told apart by method: 240.
pub const MAX_HISTOGRAMS_BY_METHOD: usize = 20;

/// Index of the status of failed requests without a place of their own.
pub const OTHER: u8 = 0xff;
/// Index of that of requests of class client.
pub const OTHER_CLIENT: u8 = 0xfe;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Answered as was wished.
    Good,
    /// An answer that is for the client to act on.
    Client,
    /// The server's fault, or no answer.
    Failed,
}

impl Class {
    /// All.
    pub const ALL: [Self; 3] = [Self::Good, Self::Client, Self::Failed];

    /// That of a status.
    #[must_use]
    pub fn of(protocol: Protocol, status: u8) -> Self {
        match (protocol, status) {
            (_, OTHER) => Self::Failed,
            (_, OTHER_CLIENT) => Self::Client,
            (_, OK) => Self::Good,
            // 3xx, 4xx; nxdomain.
            (Protocol::Http1 | Protocol::Http2, 1 | 2) | (Protocol::Dns, 1) => Self::Client,
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            (Protocol::Grpc, 2 | 4 | 12..=15) => Self::Failed,
            (Protocol::Grpc, _) => Self::Client,
            _ => Self::Failed,
        }
    }
}

/// Label value of a status; `None` where there is no such.
#[must_use]
pub fn status_name(protocol: Protocol, status: u8) -> Option<&'static str> {
    match status {
        OTHER => Some("other"),
        OTHER_CLIENT => Some("other_client"),
        _ => protocol.statuses().get(usize::from(status)).copied().filter(|name| !name.is_empty()),
    }
}

/// A protocol's own statuses of a class.
fn statuses(protocol: Protocol, class: Class) -> impl Iterator<Item = u8> + Clone {
    let all = 0..protocol.statuses().len() as u8;
    all.filter(move |status| status_name(protocol, *status).is_some() && Class::of(protocol, *status) == class)
}

/// The places of one edge and reporter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a, T> {
    /// Those taken, in order.
    pub(super) taken: &'a [(Kind, T)],
    /// How many there are.
    pub(super) room: usize,
}

impl<T> Places<'_, T> {
    /// The place for requests of a kind, taken or free; `None` where there is none for it.
    pub(super) fn of(&self, kind: Kind) -> Option<Kind> {
        if self.is_taken(kind) {
            return Some(kind);
        }
        let (protocol, _, status) = kind;
        let rest = self.rest(protocol, status);
        let own = [kind, (protocol, method::OTHER, status)];
        let own = own.into_iter().find(|place| *place != rest && (self.is_taken(*place) || self.fits(*place, true)));
        own.or_else(|| (self.is_taken(rest) || self.fits(rest, false)).then_some(rest))
    }

    fn is_taken(&self, place: Kind) -> bool {
        self.taken.binary_search_by_key(&place, |(known, _)| *known).is_ok()
    }

    /// Whether HTTP's statuses each have a place for the rest of their methods.
    fn keeps_each(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Http1 && self.room == MAX_HISTOGRAMS_BY_METHOD
    }

    /// Where those of a status go that find no place of their own.
    fn rest(&self, protocol: Protocol, status: u8) -> Kind {
        let class = Class::of(protocol, status);
        let is_alone = statuses(protocol, class).nth(1).is_none();
        let rest = match class {
            _ if is_alone || self.keeps_each(protocol) => status,
            Class::Client => OTHER_CLIENT,
            Class::Good | Class::Failed => OTHER,
        };
        (protocol, method::OTHER, rest)
    }

    /// Whether a place may be taken without taking one that others must have; with `sparing`, nor one that they should have.
    fn fits(&self, place: Kind, sparing: bool) -> bool {
        let speaks = |protocol| place.0 == protocol || self.taken.iter().any(|((known, ..), _)| *known == protocol);
        let spoken = Protocol::ALL.into_iter().filter(|protocol| speaks(*protocol));
        let must = |class: &Class| sparing || *class != Class::Client;
        let reserved = spoken.flat_map(|protocol| {
            Class::ALL.into_iter().filter(must).map(move |class| self.reserved(protocol, class, place))
        });
        self.taken.len() + 1 + reserved.sum::<usize>() <= self.room
    }

    /// Places that a class will want once `place` is taken.
    fn reserved(&self, protocol: Protocol, class: Class, place: Kind) -> usize {
        let is_taken = |status| {
            let one = (protocol, method::OTHER, status);
            one == place || self.is_taken(one)
        };
        let missing = statuses(protocol, class).filter(|status| !is_taken(*status));
        match missing.clone().next() {
            _ if self.keeps_each(protocol) => missing.count(),
            Some(status) if !is_taken(self.rest(protocol, status).2) => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
