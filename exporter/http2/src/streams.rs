//! The requests of one connection: each stream carries one.
//!
//! An HTTP request lasts from its header block to the one of its final response. A gRPC call lasts until its
//! trailers, which say how it ended, or until something else says so.

use foldhash::HashMap;
use quoll_ebpf_abi::protocols::method;
use quoll_ebpf_abi::requests::CLASS_NONE;

use super::Unparsed;
use super::grpc;
use super::hpack::Field;

/// Streams that may be open at once; servers permit 100 to 250 as a rule.
pub const MOST_OPEN: usize = 1024;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// HTTP, by the indexes of its method and of its status class.
    Http(u8, u8),
    /// gRPC, by its status.
    Grpc(u8),
}

/// A request that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// How.
    pub outcome: Outcome,
    /// From its header block to what ended it.
    pub duration_ns: u64,
}

/// What a header block says, of what matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers {
    method: Option<u8>,
    status: Option<u16>,
    is_grpc: bool,
    grpc_status: Option<u8>,
}

impl Headers {
    /// Takes one more field of the block.
    pub fn add(&mut self, field: Field) {
        match field {
            // Two of them are none (RFC 9113 section 8.3).
            Field::Method(method) => self.method = Some(self.method.map_or(method, |_| method::OTHER)),
            Field::Status(status) => self.status = Some(status),
            Field::ContentType { is_grpc } => self.is_grpc = is_grpc,
            Field::GrpcStatus(status) => self.grpc_status = Some(status),
            Field::Other => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    start_ns: u64,
    method: u8,
    is_grpc: bool,
}

/// The streams of one connection.
#[derive(Debug, Default)]
pub struct Streams {
    open: HashMap<u32, Stream>,
    /// The last stream that the client opened; their numbers rise (RFC 9113 section 5.1.1).
    last: u32,
    /// Outcomes of streams whose request is still to be reported: of a client with several threads, the one
    /// that reads the response may come before the one that wrote the request.
    early: HashMap<u32, Headers>,
}

impl Streams {
    /// Memory held beyond the value itself, nearly.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.open.capacity() * (size_of::<(u32, Stream)>() + 1)
            + self.early.capacity() * (size_of::<(u32, Headers)>() + 1)
    }

    /// Requests that have come and whose end, or whose beginning, is still to come.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.open.len() + self.early.len()
    }

    /// Answers to requests that are still to be reported.
    #[must_use]
    pub fn early(&self) -> usize {
        self.early.len()
    }

    /// A header block from the client.
    ///
    /// # Errors
    /// [`Unparsed::TooMany`], [`Unparsed::Malformed`].
    pub fn request(
        &mut self,
        stream: u32,
        time_ns: u64,
        headers: Headers,
        receive: &mut dyn FnMut(Observed),
    ) -> Result<(), Unparsed> {
        // Streams that a server opened are promised ones.
        if stream.is_multiple_of(2) {
            return Err(Unparsed::Malformed);
        }
        // Trailers of a request.
        if stream <= self.last {
            return Ok(());
        }
        self.last = stream;
        let method = headers.method.unwrap_or(method::OTHER);
        self.open.insert(stream, Stream { start_ns: time_ns, method, is_grpc: headers.is_grpc });
        if let Some(early) = self.early.remove(&stream) {
            self.response(stream, time_ns, false, early, receive)?;
        }
        // The one too many is among those that were open.
        if self.open.len() > MOST_OPEN { Err(Unparsed::TooMany) } else { Ok(()) }
    }

    /// A header block from the server.
    ///
    /// # Errors
    /// [`Unparsed::TooMany`].
    pub fn response(
        &mut self,
        stream: u32,
        time_ns: u64,
        is_end: bool,
        headers: Headers,
        receive: &mut dyn FnMut(Observed),
    ) -> Result<(), Unparsed> {
        let Some(Stream { start_ns, method, is_grpc }) = self.open.get(&stream).copied() else {
            // Trailers of what was counted with its response, or a promised stream.
            if stream <= self.last || stream.is_multiple_of(2) {
                return Ok(());
            }
            let known = self.early.entry(stream).or_default();
            *known = Headers {
                method: None,
                status: headers.status.or(known.status),
                is_grpc: headers.is_grpc || known.is_grpc,
                grpc_status: headers.grpc_status.or(known.grpc_status),
            };
            return if self.early.len() > MOST_OPEN { Err(Unparsed::TooMany) } else { Ok(()) };
        };
        let outcome = if is_grpc {
            match (headers.grpc_status, headers.status) {
                (Some(status), _) => Some(Outcome::Grpc(status)),
                (None, Some(100..=199)) => None,
                (None, Some(200) | None) if !is_end => None,
                (None, status) => Some(Outcome::Grpc(grpc::of_http(status.unwrap_or(200)))),
            }
        } else {
            match headers.status {
                Some(status @ 200..=599) => Some(Outcome::Http(method, (status / 100 - 2) as u8)),
                Some(100..=199) => None,
                // No response at all by RFC 9113 section 8.3.2.
                _ => Some(Outcome::Http(method, CLASS_NONE)),
            }
        };
        if let Some(outcome) = outcome {
            self.open.remove(&stream);
            receive(Observed { outcome, duration_ns: time_ns.saturating_sub(start_ns) });
        }
        Ok(())
    }

    /// Either end gave the stream up.
    pub fn reset(&mut self, stream: u32, code: u32, time_ns: u64, receive: &mut dyn FnMut(Observed)) {
        if let Some(Stream { start_ns, method, is_grpc }) = self.open.remove(&stream) {
            let outcome = if is_grpc { Outcome::Grpc(grpc::of_reset(code)) } else { Outcome::Http(method, CLASS_NONE) };
            receive(Observed { outcome, duration_ns: time_ns.saturating_sub(start_ns) });
        }
    }

    /// The connection ended.
    pub fn end(&mut self, time_ns: u64, receive: &mut dyn FnMut(Observed)) {
        for (_, Stream { start_ns, method, is_grpc }) in self.open.drain() {
            let outcome = if is_grpc { Outcome::Grpc(grpc::UNAVAILABLE) } else { Outcome::Http(method, CLASS_NONE) };
            receive(Observed { outcome, duration_ns: time_ns.saturating_sub(start_ns) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Connection {
        streams: Streams,
        observed: Vec<(Outcome, u64)>,
    }

    impl Connection {
        fn request(&mut self, stream: u32, time_ns: u64, is_grpc: bool) -> Result<(), Unparsed> {
            let headers = Headers { is_grpc, ..Headers::default() };
            let observed = &mut self.observed;
            self.streams.request(stream, time_ns, headers, &mut |one| observed.push((one.outcome, one.duration_ns)))
        }

        fn response(&mut self, stream: u32, time_ns: u64, is_end: bool, status: Option<u16>, grpc: Option<u8>) {
            let headers = Headers { status, grpc_status: grpc, ..Headers::default() };
            let observed = &mut self.observed;
            let receive = &mut |one: Observed| observed.push((one.outcome, one.duration_ns));
            self.streams.response(stream, time_ns, is_end, headers, receive).unwrap();
        }
    }

    #[test]
    fn requests_end_with_their_final_response_in_any_order() {
        let mut connection = Connection::default();
        connection.request(1, 100, false).unwrap();
        connection.request(3, 110, false).unwrap();
        connection.request(5, 120, false).unwrap();
        connection.response(3, 150, false, Some(404), None);
        connection.response(1, 130, false, Some(103), None);
        connection.response(1, 200, true, Some(200), None);
        // Trailers of both sides.
        connection.response(1, 210, true, None, None);
        connection.request(1, 220, false).unwrap();
        connection.response(5, 300, false, Some(0), None);
        let http = |class| Outcome::Http(method::OTHER, class);
        let expected = [(http(2), 40), (http(0), 100), (http(CLASS_NONE), 180)];
        assert_eq!(connection.observed, expected);
        assert!(connection.streams.open.is_empty());
    }

    #[test]
    fn calls_end_with_their_trailers_or_what_stands_for_them() {
        let mut connection = Connection::default();
        for stream in [1, 3, 5, 7] {
            connection.request(stream, 0, true).unwrap();
            connection.response(stream, 10, false, Some(200), None);
        }
        assert_eq!(connection.observed, [], "the call goes on");
        connection.response(1, 20, true, None, Some(0));
        // An error at once: all in one block.
        connection.request(9, 0, true).unwrap();
        connection.response(9, 30, true, Some(200), Some(5));
        // A proxy's own answer; its body follows.
        connection.request(11, 0, true).unwrap();
        connection.response(11, 40, false, Some(503), None);
        // Trailers without a status.
        connection.response(3, 50, true, None, None);
        connection.streams.reset(5, 8, 60, &mut |one| connection.observed.push((one.outcome, one.duration_ns)));
        connection.streams.end(70, &mut |one| connection.observed.push((one.outcome, one.duration_ns)));
        let said: Vec<(u8, u64)> = connection
            .observed
            .iter()
            .map(|(outcome, ns)| match outcome {
                Outcome::Grpc(status) => (*status, *ns),
                Outcome::Http(..) => panic!("not gRPC"),
            })
            .collect();
        assert_eq!(said, [(0, 20), (5, 30), (14, 40), (2, 50), (1, 60), (14, 70)]);
    }

    #[test]
    fn each_request_keeps_its_method_however_it_ends() {
        let mut connection = Connection::default();
        let fields = |methods: &[u8]| {
            let mut headers = Headers::default();
            methods.iter().for_each(|method| headers.add(Field::Method(*method)));
            headers
        };
        // An answer that comes before its request says nothing of its method, nor do trailers.
        connection.response(9, 0, true, Some(200), None);
        let observed = &mut connection.observed;
        let receive = &mut |one: Observed| observed.push((one.outcome, one.duration_ns));
        for (stream, methods) in [
            (1, &[method::GET][..]),
            (3, &[method::PUT]),
            (5, &[]),
            (7, &[method::GET, method::GET]),
            (9, &[method::PATCH]),
        ] {
            connection.streams.request(stream, 0, fields(methods), receive).unwrap();
        }
        connection.streams.request(3, 0, fields(&[method::DELETE]), receive).unwrap();
        for stream in [7, 5, 3] {
            connection.response(stream, 0, true, Some(404), None);
        }
        let observed = &mut connection.observed;
        connection.streams.reset(1, 8, 0, &mut |one| observed.push((one.outcome, one.duration_ns)));
        let expected =
            [(method::PATCH, 0), (method::OTHER, 2), (method::OTHER, 2), (method::PUT, 2), (method::GET, CLASS_NONE)];
        assert_eq!(*observed, expected.map(|(method, class)| (Outcome::Http(method, class), 0)));
    }

    #[test]
    fn requests_that_were_given_up_got_no_answer() {
        let mut connection = Connection::default();
        connection.request(1, 0, false).unwrap();
        connection.request(3, 0, false).unwrap();
        let observed = &mut connection.observed;
        connection.streams.reset(1, 8, 5, &mut |one| observed.push((one.outcome, one.duration_ns)));
        connection.streams.end(9, &mut |one| observed.push((one.outcome, one.duration_ns)));
        let none = Outcome::Http(method::OTHER, CLASS_NONE);
        assert_eq!(*observed, [(none, 5), (none, 9)]);
    }

    #[test]
    fn a_response_may_be_reported_before_its_request() {
        let mut connection = Connection::default();
        connection.response(1, 90, true, Some(503), None);
        connection.response(3, 91, false, Some(200), None);
        connection.response(3, 92, true, None, Some(13));
        connection.request(1, 95, false).unwrap();
        connection.request(3, 95, true).unwrap();
        assert_eq!(connection.observed, [(Outcome::Http(method::OTHER, 3), 0), (Outcome::Grpc(13), 0)]);
        assert!(connection.streams.early.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_the_streams_that_may_be_open() {
        let mut connection = Connection::default();
        for number in 0..MOST_OPEN as u32 {
            connection.request(2 * number + 1, 0, false).unwrap();
        }
        assert_eq!(connection.request(1_000_001, 0, false), Err(Unparsed::TooMany));
        assert_eq!(connection.streams.unfinished(), MOST_OPEN + 1, "the one too many is a request as well");
        assert!(connection.streams.held_bytes() < 100 * MOST_OPEN);
        let mut hasty = Streams::default();
        let mut answer = |stream| hasty.response(stream, 0, true, Headers::default(), &mut |_| {});
        for number in 0..MOST_OPEN as u32 {
            answer(2 * number + 1).unwrap();
        }
        assert_eq!(answer(1_000_001), Err(Unparsed::TooMany));
        assert_eq!((hasty.unfinished(), hasty.early()), (MOST_OPEN + 1, MOST_OPEN + 1));
        assert!(hasty.held_bytes() < 100 * MOST_OPEN);
        let mut churning = Connection::default();
        for number in 0..100_000 {
            churning.request(2 * number + 1, 0, false).unwrap();
            churning.response(2 * number + 1, 1, true, Some(200), None);
        }
        assert!(churning.streams.held_bytes() < 1024);
    }
}
