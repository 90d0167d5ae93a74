//! A connection's calls, as the kernel side sees them.
//!
//! An input is calls in turn, the client's first: a byte of length, then so many bytes; lengths of 255 say
//! that the same end goes on. Promises, at both ends: no arithmetic overflows and no index is out of bounds; what is
//! counted was asked, HTTP's by as many of its method as its client said at most; and a good request that follows on a new
//! connection is counted as it is, though the kernel side uses the same working memory for it. HTTP's requests are counted the same with methods and without, while all find room.

use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::http1::scan::WINDOW_BYTES;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece};
use quoll_ebpf_abi::protocols::{
    Bytes, Call, Exchange, HEADER, Memory, PlainLoop, Protocol, Protocols, Slice, may_begin, method, recognise,
};
use quoll_ebpf_abi::requests::CLASSES;

/// What is sent to user space: a piece, the head of its frame, and its bytes.
pub type Sent = (Http2Piece, [u8; FRAME_HEAD_BYTES], Vec<u8>);

fn keep(sent: &mut Vec<Sent>, piece: &Http2Piece, header: &[u8; HEADER], bytes: &[u8]) -> bool {
    let mut head = [0; FRAME_HEAD_BYTES];
    head.copy_from_slice(&header[..FRAME_HEAD_BYTES]);
    sent.push((*piece, head, bytes.to_vec()));
    true
}

/// An input of these calls.
pub fn join(calls: &[&[u8]]) -> Vec<u8> {
    calls.iter().flat_map(|call| [&[call.len() as u8][..], call].concat()).collect()
}

/// Bytes of a kernel side that tells methods apart, or does not.
struct Told<B> {
    bytes: B,
    is_alike: bool,
}

impl<B> Told<B> {
    fn counted(&self, method: u8) -> u8 {
        if self.is_alike { method::OTHER } else { method }
    }
}

impl<B: Bytes> Bytes for Told<B> {
    fn left(&self) -> u32 {
        self.bytes.left()
    }
    fn read(&mut self, count: u32, into: &mut [u8]) -> bool {
        self.bytes.read(count, into)
    }
    fn fill(&mut self, count: u32, into: &mut [u64; WINDOW_BYTES as usize / 8]) -> bool {
        self.bytes.fill(count, into)
    }
    fn advance(&mut self, count: u32) {
        self.bytes.advance(count);
    }
    fn next(&mut self) -> bool {
        self.bytes.next()
    }
    fn tail(&self) -> [u8; 8] {
        self.bytes.tail()
    }
    fn send(&mut self, piece: &Http2Piece, header: &[u8; HEADER]) -> bool {
        self.bytes.send(piece, header)
    }
    fn observe(&self, stats: &mut RequestStats, method: u8, class: u8, duration_ns: u64) {
        stats.observe_within(self.counted(method), class, duration_ns);
    }
    fn remembered(&self, method: u8) -> u8 {
        if method::matters(method) { method } else { self.counted(method) }
    }
}

/// What one end counted.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    /// By status.
    timed: [u64; CLASSES],
    untimed: [u64; 2],
    is_parsed: bool,
}

/// Goes through an input at both ends; gives what each sent.
pub fn read(protocol: Protocol, input: &[u8]) -> [Vec<Sent>; 2] {
    [false, true].map(|is_server| {
        let (mut sent, mut again) = (Vec::new(), Vec::new());
        let [told, alike] = [false, true].map(|is_alike| {
            let sent = if is_alike { &mut again } else { &mut sent };
            one_end(protocol, input, is_server, is_alike, sent)
        });
        // Of rows of many methods fewer requests are remembered.
        if [&told, &alike].iter().all(|one| one.untimed == [0; 2] && one.is_parsed) {
            assert_eq!(told, alike, "methods change what is counted");
        }
        sent
    })
}

/// Goes through an input at one end.
fn one_end(protocol: Protocol, input: &[u8], is_server: bool, is_alike: bool, sent: &mut Vec<Sent>) -> Counted {
    let all = Protocols::of(&Protocol::ALL);
    let mut positions = [0_u32; 2];
    let (mut exchange, mut memory) = (Exchange::BLANK, Memory::default());
    exchange.take_up(protocol, is_server, false);
    let mut counted = Counted { timed: [0; CLASSES], untimed: [0; 2], is_parsed: true };
    let mut take = |more: quoll_ebpf_abi::protocols::Counted| {
        counted.untimed.iter_mut().zip(more.untimed).for_each(|(sum, more)| *sum += u64::from(more));
        counted.is_parsed &= more.unparsed.is_none();
    };
    let mut said = Vec::new();
    let (mut rest, mut is_client, mut now_ns, mut bytes) = (input, true, 0, 0_u64);
    while let Some((length, after)) = rest.split_first() {
        let (call, after) = after.split_at((*length as usize).min(after.len()));
        rest = after;
        now_ns += 1_000_000;
        bytes += call.len() as u64;
        if is_client {
            said.extend_from_slice(call);
        }
        let mut head = [0; HEADER];
        let known = call.len().min(HEADER);
        head[..known].copy_from_slice(&call[..known]);
        let size = call.len() as u32;
        positions[usize::from(is_client)] += size;
        if recognise(all, &head, size, is_client).is_some() {
            assert!(may_begin(all, &head, size), "a beginning that would not have been looked at");
        }
        if size > 0 {
            let send = |piece: &Http2Piece, header: &[u8; HEADER], bytes: &[u8]| keep(sent, piece, header, bytes);
            let call = Call {
                now_ns,
                is_outgoing: is_client != is_server,
                length: size,
                head: &head,
                bytes: Told { bytes: Slice::new(call, send), is_alike },
                is_decrypted: false,
                answer_sequence: bytes as u32,
                position: positions[usize::from(is_client)],
                other_position: positions[usize::from(!is_client)],
            };
            let counted = exchange.call::<PlainLoop, _>(call, &mut memory);
            assert!(counted.untimed.iter().all(|count| u64::from(*count) <= bytes));
            take(counted);
        }
        if *length != u8::MAX {
            is_client = !is_client;
        }
    }
    take(exchange.end(now_ns, bytes as u32, |stats, method, class, duration_ns| {
        stats.observe_within(if is_alike { method::OTHER } else { method }, class, duration_ns);
    }));
    check(protocol, &exchange.stats, &said, now_ns);
    let timed: u64 = exchange.stats.cells().map(|cell| u64::from(cell.count)).sum();
    assert!(timed + u64::from(exchange.stats.without_cell) <= bytes, "more was counted than there were bytes");
    if let Some(good) = good(protocol) {
        follow(protocol, is_server, good, &mut memory);
    }
    // What finds no cell counts by its method no more than by none.
    if exchange.stats.without_cell > 0 {
        counted.is_parsed = false;
    }
    counted.timed = std::array::from_fn(|class| exchange.stats.of_class(class));
    counted
}

/// Methods and sums are those of what was said.
fn check(protocol: Protocol, stats: &RequestStats, said: &[u8], now_ns: u64) {
    for (number, name) in method::NAMES.iter().enumerate().skip(1) {
        let of_method = stats.cells().filter(|cell| usize::from(cell.method) == number);
        let count: u64 = of_method.map(|cell| u64::from(cell.count)).sum();
        let most = said.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
        assert!(count <= most as u64, "{count} of {name}, which was said {most} times");
        assert!(count == 0 || protocol == Protocol::Http1, "{name} of {protocol:?}");
    }
    for sum in stats.sums() {
        let alike = stats.cells().filter(|cell| (cell.method, cell.class) == (sum.method, sum.class));
        let count: u64 = alike.map(|cell| u64::from(cell.count)).sum();
        assert!(sum.sum_ns <= count * now_ns, "{sum:?} of {count} requests within {now_ns} ns");
    }
}

/// A request and its answer, which is a good one. What HTTP/2 counts is known to user space only.
fn good(protocol: Protocol) -> Option<[&'static [u8]; 2]> {
    match protocol {
        Protocol::Http1 => Some([b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]),
        Protocol::Postgres => Some([b"Q\0\0\0\x0dselect 1\0", b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I"]),
        Protocol::Mysql => Some([b"\x09\0\0\0\x03select 1", b"\x07\0\0\x01\0\0\0\x02\0\0\0"]),
        Protocol::Redis => Some([b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"]),
        Protocol::Dns => Some([
            b"\0\x11\x12\x34\x01\0\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
            b"\0\x11\x12\x34\x81\x80\0\x01\0\0\0\0\0\0\0\0\x01\0\x01",
        ]),
        Protocol::Http2 | Protocol::Grpc => None,
    }
}

/// Goes through a request and its answer on a connection of its own, and sees that it is counted.
fn follow(protocol: Protocol, is_server: bool, good: [&[u8]; 2], memory: &mut Memory) {
    let mut exchange = Exchange::BLANK;
    exchange.take_up(protocol, is_server, false);
    let mut positions = [0; 2];
    for (bytes, is_request) in good.into_iter().zip([true, false]) {
        let mut head = [0; HEADER];
        let known = bytes.len().min(HEADER);
        head[..known].copy_from_slice(&bytes[..known]);
        let length = bytes.len() as u32;
        positions[usize::from(is_request)] = length;
        let call = Call {
            now_ns: 1,
            is_outgoing: is_request != is_server,
            length,
            head: &head,
            bytes: Slice::new(bytes, |_, _, _| true),
            is_decrypted: false,
            answer_sequence: 0,
            position: length,
            other_position: positions[usize::from(!is_request)],
        };
        let counted = exchange.call::<PlainLoop, _>(call, memory);
        assert!(counted.untimed == [0; 2] && counted.unparsed.is_none(), "a good one after it is not timed");
    }
    assert_eq!((exchange.stats.of_class(0), exchange.stats.cells().count()), (1, 1), "a good one after it");
}
