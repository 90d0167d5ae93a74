//! Whole conversations through the entrance that the kernel side uses, cut at every place, and bytes that
//! are no conversation.

use quoll_ebpf_abi::protocols::{
    Call, Counted, Exchange, HEADER, Memory, PlainLoop, Protocol, Protocols, Slice, recognise,
};
use quoll_ebpf_abi::requests::{CLASSES, RequestStats};

fn head(bytes: &[u8]) -> [u8; HEADER] {
    let mut head = [0; HEADER];
    let length = bytes.len().min(HEADER);
    head[..length].copy_from_slice(&bytes[..length]);
    head
}

/// One end of a connection.
struct End {
    exchange: Exchange,
    now: u64,
    counted: Counted,
    /// What is said now is decrypted.
    is_decrypted: bool,
    /// Bytes sent and received.
    positions: [u32; 2],
}

impl End {
    fn of(protocol: Protocol, is_server: bool) -> Self {
        let mut exchange = Exchange::BLANK;
        exchange.take_up(protocol, is_server, false);
        Self { exchange, now: 0, counted: Counted::default(), is_decrypted: false, positions: [0; 2] }
    }

    fn call(&mut self, is_outgoing: bool, bytes: &[u8]) {
        self.now += 1_000_000;
        let own = usize::from(!is_outgoing);
        self.positions[own] += bytes.len() as u32;
        let call = Call {
            now_ns: self.now,
            is_outgoing,
            length: bytes.len() as u32,
            head: &head(bytes),
            bytes: Slice::new(bytes, |_, _, _| panic!("none of these protocols sends anything")),
            is_decrypted: self.is_decrypted,
            answer_sequence: 0,
            position: self.positions[own],
            other_position: self.positions[1 - own],
        };
        let counted = self.exchange.call::<PlainLoop, _>(call, &mut Memory::default());
        for (total, more) in self.counted.untimed.iter_mut().zip(counted.untimed) {
            *total += more;
        }
        self.counted.unparsed = self.counted.unparsed.or(counted.unparsed);
    }

    /// In pieces, the first of which has `cut` bytes.
    fn cut(&mut self, is_outgoing: bool, bytes: &[u8], cut: usize) {
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        for part in [first, rest] {
            if !part.is_empty() {
                self.call(is_outgoing, part);
            }
        }
    }

    fn classes(&self) -> [u32; CLASSES] {
        core::array::from_fn(|class| self.exchange.stats.of_class(class) as u32)
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat()
}

fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..3], &[sequence], body].concat()
}

/// What the client says, what the server says, and the answers by status.
type Turn = (Vec<u8>, Vec<u8>, [u32; CLASSES]);

fn conversations() -> Vec<(Protocol, Vec<Turn>)> {
    let ready = message(b'Z', b"I");
    let done = message(b'C', b"SELECT 1\0");
    let error = message(b'E', b"SERROR\0C42703\0\0");
    let prepare = [message(b'P', b"\0select $1\0\0\0"), message(b'B', &[0; 12]), message(b'S', b"")].concat();
    let redis_pipeline = b"*1\r\n$4\r\nPING\r\nPING\r\n*2\r\n$3\r\nGET\r\n$12\r\n*1\r\n$4\r\nPING\r\n".to_vec();
    let redis_answers = b"+PONG\r\n*2\r\n$2\r\n-E\r\n*1\r\n:1\r\n-ERR wrong kind of value for this\r\n".to_vec();
    vec![
        (
            Protocol::Postgres,
            vec![
                (
                    [&[0, 0, 0, 16, 0, 3, 0, 0][..], b"user\0me\0"].concat(),
                    [message(b'R', &[0; 4]), message(b'S', b"a\0\0"), ready.clone()].concat(),
                    [0; CLASSES],
                ),
                (message(b'Q', b"nope\0"), [error.clone(), ready.clone()].concat(), [0, 1, 0, 0, 0]),
                (
                    message(b'Q', b"select 1\0"),
                    [message(b'T', &[0; 30]), message(b'D', &[90; 90]), done.clone(), ready.clone()].concat(),
                    [1, 0, 0, 0, 0],
                ),
                (
                    prepare,
                    [message(b'1', b""), message(b'2', b""), message(b't', &[0; 2]), done, ready.clone()].concat(),
                    [1, 0, 0, 0, 0],
                ),
            ],
        ),
        (
            Protocol::Mysql,
            vec![
                (packet(1, &[7; 60]), packet(2, &[0, 0, 0, 2, 0, 0, 0]), [0; CLASSES]),
                (packet(0, b"\x03nope"), packet(1, b"\xff\x28\x04#42000no"), [0, 1, 0, 0, 0]),
                (packet(0, b"\x0e"), packet(1, &[0, 0, 0, 2, 0, 0, 0]), [1, 0, 0, 0, 0]),
                (packet(0, b"\x19\x01\0\0\0"), vec![], [0; CLASSES]),
                (
                    packet(0, b"\x03select 1"),
                    [packet(1, &[1]), packet(2, &[3; 40]), packet(3, b"\x011"), packet(4, &[0xfe, 0, 0, 2, 0])]
                        .concat(),
                    [1, 0, 0, 0, 0],
                ),
            ],
        ),
        (
            Protocol::Redis,
            vec![
                (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_vec(), b"$-1\r\n".to_vec(), [1, 0, 0, 0, 0]),
                (b"*1\r\n$4\r\nNOPE\r\n".to_vec(), b"-ERR unknown command\r\n".to_vec(), [0, 1, 0, 0, 0]),
                (redis_pipeline, redis_answers, [2, 1, 0, 0, 0]),
                (
                    b"*1\r\n$4\r\nINFO\r\n".to_vec(),
                    b">2\r\n$1\r\nx\r\n:1\r\n%1\r\n+a\r\n$20\r\n-ERR is only content\r\n".to_vec(),
                    [1, 0, 0, 0, 0],
                ),
            ],
        ),
    ]
}

#[test]
fn conversations_count_the_same_wherever_calls_cut_them_and_at_both_ends() {
    for (protocol, turns) in conversations() {
        for is_server in [false, true] {
            for cut in 1..60 {
                let mut end = End::of(protocol, is_server);
                let mut expected = [0; CLASSES];
                for (asked, answered, classes) in &turns {
                    end.cut(!is_server, asked, cut);
                    // A single byte is how PostgreSQL answers a wish for TLS; its first answer is longer.
                    end.cut(is_server, answered, if protocol == Protocol::Postgres { cut.max(2) } else { cut });
                    expected.iter_mut().zip(classes).for_each(|(sum, more)| *sum += more);
                    assert_eq!(end.classes(), expected, "{protocol:?}, server: {is_server}, cut at {cut}");
                }
                assert_eq!(end.counted, Counted::default(), "{protocol:?}, cut at {cut}");
            }
        }
    }
}

#[test]
fn tls_ends_what_is_looked_at_until_somebody_decrypts_it() {
    let record = [23, 3, 3, 0, 40];
    for is_server in [false, true] {
        let asks = !is_server;
        let mut end = End::of(Protocol::Postgres, is_server);
        end.call(asks, &[0, 0, 0, 8, 4, 210, 22, 47]);
        assert!(!end.exchange.encrypt());
        end.call(!asks, b"S");
        assert!(end.exchange.encrypt());
        // What the socket carries counts for nothing, before and after.
        end.call(asks, &record);
        end.call(!asks, &record);
        end.exchange.decrypt();
        end.is_decrypted = true;
        end.call(asks, &[&[0, 0, 0, 15, 0, 3, 0, 0][..], b"user\0x\0"].concat());
        end.call(!asks, &message(b'R', &[0; 4]));
        end.call(asks, &message(b'Q', b"select 1\0"));
        end.is_decrypted = false;
        end.call(!asks, &record);
        end.is_decrypted = true;
        end.call(!asks, &[message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat());
        assert_eq!((end.classes(), end.counted), ([1, 0, 0, 0, 0], Counted::default()), "server: {is_server}");

        let mut end = End::of(Protocol::Mysql, is_server);
        end.call(asks, &packet(1, &[[0x05, 0xae, 0, 0].as_slice(), &[0; 28]].concat()));
        assert!(end.exchange.encrypt());
        end.exchange.decrypt();
        end.is_decrypted = true;
        end.call(asks, &packet(2, &[0x05; 60]));
        end.call(!asks, &packet(3, &[0; 7]));
        end.call(asks, &packet(0, b"\x03select 1"));
        end.call(!asks, &packet(1, &[0xff, 0x48, 0x04]));
        assert_eq!((end.classes(), end.counted), ([0, 1, 0, 0, 0], Counted::default()), "server: {is_server}");
    }
}

#[test]
fn a_tunnel_is_encrypted_once_nothing_is_in_flight() {
    let mut end = End::of(Protocol::Http1, false);
    end.call(true, b"GET / HTTP/1.1\r\n\r\n");
    assert!(!end.exchange.encrypt(), "bytes of a body");
    end.call(false, b"HTTP/1.1 200 OK\r\n\r\n");
    assert!(end.exchange.encrypt());
    end.exchange.decrypt();
    end.is_decrypted = true;
    end.call(true, b"GET / HTTP/1.1\r\n\r\n");
    end.call(false, b"HTTP/1.1 404 Not Found\r\n\r\n");
    assert_eq!((end.classes(), end.counted), ([1, 0, 1, 0, 0], Counted::default()));
    assert!(!end.exchange.encrypt(), "what is decrypted is not encrypted");
}

#[test]
fn a_request_within_tls_has_no_answer_where_no_byte_of_one_was_decrypted() {
    for is_answered in [false, true] {
        let mut end = End::of(Protocol::Http1, false);
        end.exchange.take_up(Protocol::Http1, false, true);
        end.is_decrypted = true;
        end.call(true, b"GET / HTTP/1.1\r\n\r\n");
        if is_answered {
            end.call(false, b"what is no answer");
        }
        // TLS itself says something before the connection ends.
        let counted = end.exchange.end(9_000_000, 77, RequestStats::observe_within);
        assert_eq!(end.classes(), [0, 0, 0, 0, u32::from(!is_answered)]);
        assert_eq!(counted.untimed.iter().sum::<u32>(), u32::from(is_answered));
    }
}

#[test]
fn a_query_whose_length_came_in_a_call_of_its_own_begins_dns_over_tcp() {
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let mut answer = query.to_vec();
    (answer[2], answer[3]) = (0x81, 0x83);
    let of = |bytes: &[u8]| recognise(Protocols::of(&Protocol::ALL), &head(bytes), bytes.len() as u32, true);
    assert_eq!((of(query), of(&with_length(query))), (Some(Protocol::Dns), Some(Protocol::Dns)));
    let mut server = End::of(Protocol::Dns, true);
    server.call(false, query);
    server.call(true, &with_length(&answer));
    for _ in 0..3 {
        server.call(false, &with_length(query)[..2]);
        server.call(false, query);
        server.call(true, &with_length(&answer));
    }
    assert_eq!((server.classes(), server.counted), ([0, 4, 0, 0, 0], Counted::default()));
}

#[test]
fn a_connection_in_its_middle_is_taken_up_at_what_nothing_else_looks_like() {
    let all = Protocols::of(&Protocol::ALL);
    let of = |bytes: &[u8], is_request| recognise(all, &head(bytes), bytes.len() as u32, is_request);
    assert_eq!(of(&message(b'Q', b"select 1\0"), true), Some(Protocol::Postgres));
    assert_eq!(of(&message(b'Q', b"select 1\0"), false), None);
    assert_eq!(of(&message(b'D', b"some row or other"), true), None);
    assert_eq!(of(&packet(0, b"\x03select 1"), true), Some(Protocol::Mysql));
    assert_eq!(of(&packet(1, b"\x03select 1"), true), None);
    assert_eq!(of(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", true), Some(Protocol::Redis));
    assert_eq!(of(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", false), None);
    assert_eq!(of(b"GET / HTTP/1.1\r\n\r\n", true), Some(Protocol::Http1));
    assert_eq!(of(b"EHLO somebody.example\r\n", true), None);
    assert_eq!(of(&[0, 0, 2, 1, 5, 0, 0, 0, 9, 0x82, 0x84], true), Some(Protocol::Http2));
    assert_eq!(of(&[0, 0, 2, 1, 5, 0, 0, 0, 8, 0x82, 0x84], true), None);
}

/// Bad, then good: whatever came before, a new exchange of the same protocol counts.
#[test]
fn no_bytes_break_it_and_nothing_is_counted_that_was_not_asked() {
    let mut random = 7_u64;
    let mut draw = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let turns = conversations();
    for _ in 0..20_000 {
        let (protocol, turns) = &turns[draw() % turns.len()];
        let mut end = End::of(*protocol, draw().is_multiple_of(2));
        for _ in 0..draw() % 8 {
            let (asked, answered, _) = &turns[draw() % turns.len()];
            let mut bytes = if draw().is_multiple_of(2) { asked.clone() } else { answered.clone() };
            for _ in 0..draw() % 4 {
                if !bytes.is_empty() {
                    let place = draw() % bytes.len();
                    bytes[place] = draw() as u8;
                }
            }
            if !bytes.is_empty() {
                end.call(draw().is_multiple_of(2), &bytes);
            }
        }
        let mut fresh = End::of(*protocol, false);
        for (asked, answered, _) in turns {
            fresh.call(true, asked);
            if !answered.is_empty() {
                fresh.call(false, answered);
            }
        }
        assert!(fresh.classes().iter().sum::<u32>() >= 3);
    }
}
