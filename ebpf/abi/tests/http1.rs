//! HTTP/1.1 through the entrance that the kernel side uses, however calls cut it, and with the calls left out that
//! the kernel side does not look at.

use quoll_ebpf_abi::protocols::method::METHODS;
use quoll_ebpf_abi::protocols::{
    Call, Counted, Exchange, HEADER, Memory, PlainLoop, Protocol, Protocols, Slice, http1, may_begin, method, recognise,
};
use quoll_ebpf_abi::requests::{CLASSES, RequestStats, Unparsed, Untimed};

/// One end of a connection, and the process that has it.
struct End {
    exchange: Option<Exchange>,
    is_server: bool,
    is_decrypted: bool,
    /// Of requests, and of answers; numbers that wrap around soon.
    positions: [u32; 2],
    is_followed: bool,
    now: u64,
    counted: Counted,
}

const START: [u32; 2] = [u32::MAX - 100, u32::MAX - 50];

impl End {
    fn new(is_server: bool) -> Self {
        let counted = Counted::default();
        Self { exchange: None, is_server, is_decrypted: false, positions: START, is_followed: false, now: 0, counted }
    }

    /// A call; without `is_seen`, one of those that are never looked at.
    fn call(&mut self, is_request: bool, bytes: &[u8], is_seen: bool) {
        let length = bytes.len() as u32;
        let mut head = [0; HEADER];
        let known = bytes.len().min(HEADER);
        head[..known].copy_from_slice(&bytes[..known]);
        let was_at = self.positions;
        let own = usize::from(!is_request);
        self.positions[own] = self.positions[own].wrapping_add(length);
        self.now += 1_000_000;
        let all = Protocols::of(&[Protocol::Http1]);
        if !is_seen || (!may_begin(all, &head, length) && !self.is_followed && !self.is_decrypted) {
            return;
        }
        let is_first = was_at == START && http1::is_cut_request(&head, length);
        if self.exchange.is_none() && is_request && (recognise(all, &head, length, is_request).is_some() || is_first) {
            let mut exchange = Exchange::BLANK;
            exchange.take_up(Protocol::Http1, self.is_server, self.is_decrypted);
            self.exchange = Some(exchange);
        }
        let Some(exchange) = &mut self.exchange else { return };
        let call = Call {
            now_ns: self.now,
            is_outgoing: is_request != self.is_server,
            length,
            head: &head,
            bytes: Slice::new(bytes, |_, _, _| panic!("nothing is sent")),
            is_decrypted: self.is_decrypted,
            answer_sequence: 0,
            position: self.positions[own],
            other_position: self.positions[1 - own],
        };
        let counted = exchange.call::<PlainLoop, _>(call, &mut Memory::default());
        self.is_followed |= exchange.is_framed();
        for (total, more) in self.counted.untimed.iter_mut().zip(counted.untimed) {
            *total += more;
        }
        self.counted.unparsed = self.counted.unparsed.or(counted.unparsed);
    }

    fn classes(&self) -> [u32; CLASSES] {
        self.exchange
            .map_or([0; CLASSES], |exchange| core::array::from_fn(|class| exchange.stats.of_class(class) as u32))
    }

    fn end(&mut self) {
        let answers = self.positions[1].wrapping_add(1);
        if let Some(exchange) = &mut self.exchange {
            let counted = exchange.end(self.now, answers, RequestStats::observe_within);
            for (total, more) in self.counted.untimed.iter_mut().zip(counted.untimed) {
                *total += more;
            }
        }
    }
}

/// Both ends of a plain connection, and both of one within TLS.
fn ends() -> [End; 4] {
    let tls = |is_server| End { is_decrypted: true, ..End::new(is_server) };
    [End::new(false), End::new(true), tls(false), tls(true)]
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: a\r\nCookie: c=d\r\nTE: trailers\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKS: &str = "Transfer-Encoding: chunked\r\n\r\n19;x=\"y\"\r\nHTTP/1.1 500 no answer   \r\n3\r\nyes\r\n0\r\nContent-Length: 9\r\n\r\n";

/// Who asks, what is said, and what answers there are by status once it was said.
fn turns() -> Vec<(bool, String, [u32; CLASSES])> {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}");
    let length = |body: &str| post(&format!("content-LENGTH:{}\t\r\nX: y\r\n", body.len()), body);
    vec![
        (true, GET.into(), [0; 5]),
        (false, OK.into(), [1, 0, 0, 0, 0]),
        // A body that is like a request, and one that is like an answer.
        (true, length(GET), [0; 5]),
        (false, format!("HTTP/1.1 404 No\r\nContent-Length: {}\r\n\r\n{OK}", OK.len()), [0, 0, 1, 0, 0]),
        (true, format!("PUT / HTTP/1.1\r\nContent-Type: a\r\n{CHUNKS}"), [0; 5]),
        (false, format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\n{CHUNKS}"), [1, 0, 0, 0, 0]),
        // All sorts in a row.
        (
            true,
            [&GET.repeat(3), &length("1234"), "\r\nHEAD / HTTP/1.1\r\n\r\n", GET, "PROPFIND / HTTP/1.1\r\n\r\n"]
                .concat(),
            [0; 5],
        ),
        (
            false,
            [
                OK,
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 Nothing\r\n\r\n",
                &format!("HTTP/1.1 500 Oops\r\n{CHUNKS}"),
                "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
                OK,
                "HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n",
            ]
            .concat(),
            [4, 1, 1, 1, 0],
        ),
        (true, GET.into(), [0; 5]),
        (false, OK.into(), [1, 0, 0, 0, 0]),
    ]
}

fn check(cuts: impl Fn(&[u8]) -> Vec<usize>, what: &str) {
    for (number, end) in ends().iter_mut().enumerate() {
        let mut expected = [0; CLASSES];
        for (asks, text, classes) in turns() {
            let mut rest = text.as_bytes();
            for length in cuts(rest) {
                let (call, after) = rest.split_at(length);
                end.call(asks, call, true);
                rest = after;
            }
            expected.iter_mut().zip(classes).for_each(|(sum, more)| *sum += more);
            assert_eq!(end.classes(), expected, "{what}, end {number}, after {text:?}");
        }
        assert_eq!(end.counted, Counted::default(), "{what}, end {number}");
    }
}

#[test]
fn messages_count_the_same_wherever_calls_cut_them_at_both_ends_and_within_tls() {
    check(|text| vec![text.len()], "whole");
    let longest = turns().iter().map(|(_, text, _)| text.len()).max().unwrap();
    // The very first bytes of a connection within TLS are recognised if the method is whole.
    for cut in 4..longest {
        check(
            |text| [cut.min(text.len()), text.len().saturating_sub(cut)].into_iter().filter(|n| *n > 0).collect(),
            &format!("cut at {cut}"),
        );
    }
    for size in 4..40 {
        check(|text| text.chunks(size).map(<[u8]>::len).collect(), &format!("in pieces of {size}"));
    }
}

#[test]
fn messages_may_come_byte_by_byte() {
    for is_server in [false, true] {
        let mut end = End::new(is_server);
        let mut expected = [0; CLASSES];
        for (asks, text, classes) in turns() {
            for byte in text.as_bytes().chunks(1) {
                end.call(asks, byte, true);
            }
            expected.iter_mut().zip(classes).for_each(|(sum, more)| *sum += more);
            assert_eq!(end.classes(), expected, "{text:?}");
        }
        assert_eq!(end.counted, Counted::default());
        // From the first byte on: each byte took a millisecond, the last of the answer's first line among them.
        let sum_ns = end.exchange.unwrap().stats.sum_of_class(0);
        assert!(sum_ns >= (GET.len() as u64 + 11) * 1_000_000, "{sum_ns}");
    }
}

#[test]
fn each_request_of_a_row_is_timed_by_the_calls_that_asked_and_answered_it() {
    for mut end in ends() {
        end.call(true, GET.repeat(2).as_bytes(), true);
        end.now += 10_000_000;
        end.call(true, GET.as_bytes(), true);
        end.now += 100_000_000;
        end.call(false, OK.repeat(2).as_bytes(), true);
        end.call(false, OK.as_bytes(), true);
        let stats = end.exchange.unwrap().stats;
        // Asked at 1, 1 and 12 ms; answered at 113, 113 and 114.
        assert_eq!(stats.sum_of_class(0), (112 + 112 + 102) * 1_000_000);
        assert_eq!((end.classes(), end.counted), ([3, 0, 0, 0, 0], Counted::default()));
    }
}

#[test]
fn each_answer_counts_by_the_method_of_its_own_request() {
    for row in [
        ["GET", "PUT", "HEAD", "GET", "POST"],
        ["DELETE", "PATCH", "OPTIONS", "TRACE", "DELETE"],
        ["GET", "PROPFIND", "GET", "PATCH", "LOCK"],
    ] {
        // The status tells what it is the answer to.
        let asked = row.map(|method| format!("{method} /a HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answered: [String; 5] = core::array::from_fn(|number| {
            let length = if row[number] == "HEAD" { 7 } else { 0 };
            format!("HTTP/1.1 {} X\r\nContent-Length: {length}\r\n\r\n", 200 + 100 * (number % 4))
        });
        let texts = [(true, GET.into()), (false, OK.into()), (true, asked.concat()), (false, answered.concat())];
        // One of no usual method is believed behind another in the same call.
        let least = if row.contains(&"LOCK") { asked.concat().len() } else { 1 };
        for size in (least..=asked.concat().len()).step_by(3) {
            for mut end in ends() {
                // The first bytes of a connection within TLS are recognised if the method is whole.
                if size < 4 && end.is_decrypted {
                    continue;
                }
                for (asks, text) in &texts {
                    text.as_bytes().chunks(size).for_each(|call| end.call(*asks, call, true));
                }
                let stats = end.exchange.unwrap().stats;
                let mut expected = [[0; CLASSES]; METHODS];
                expected[usize::from(method::GET)][0] += 1;
                for (number, name) in row.iter().enumerate() {
                    expected[usize::from(method::of(name.as_bytes()))][number % 4] += 1;
                }
                let mut counts = [[0; CLASSES]; METHODS];
                for cell in stats.cells() {
                    counts[usize::from(cell.method)][usize::from(cell.class)] += cell.count;
                }
                assert_eq!((counts, end.counted), (expected, Counted::default()), "in pieces of {size}");
                assert!(stats.sums().all(|sum| expected[usize::from(sum.method)][usize::from(sum.class)] > 0));
            }
        }
    }
}

#[test]
fn bodies_that_are_not_seen_are_stepped_over_and_heads_are_not() {
    for is_server in [false, true] {
        let body = [b'x'; 3000];
        let mut end = End::new(is_server);
        for _ in 0..4 {
            // Sent by the kernel: no call has these bytes.
            end.call(true, b"POST / HTTP/1.1\r\nContent-Length: 6000\r\n\r\n", true);
            end.call(true, &body, false);
            end.call(true, &body, true);
            end.call(true, GET.as_bytes(), true);
            end.call(false, b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n", true);
            end.call(false, &body, false);
            end.call(false, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nbb8\r\n", true);
            end.call(false, &body, false);
            end.call(false, b"\r\n0\r\n\r\n", true);
        }
        assert_eq!((end.classes(), end.counted), ([8, 0, 0, 0, 0], Counted::default()));
        end.call(true, GET.repeat(2).as_bytes(), true);
        end.call(false, OK.as_bytes(), false);
        end.call(false, OK.as_bytes(), true);
        assert_eq!((end.classes()[0], end.counted.unparsed), (8, Some(Unparsed::Lost)));
        assert_eq!(end.counted.untimed[Untimed::Unrecognised as usize], 2);
    }
}

#[test]
fn an_answer_that_was_not_seen_is_not_taken_from_the_next_request() {
    for is_server in [false, true] {
        let mut end = End::new(is_server);
        end.call(true, GET.as_bytes(), true);
        end.call(false, OK.as_bytes(), false);
        end.call(true, GET.as_bytes(), true);
        end.call(false, b"HTTP/1.1 503 Oops\r\n\r\n", true);
        assert_eq!(end.classes(), [0, 0, 0, 1, 0]);
        assert_eq!(end.counted, Counted { untimed: [0, 1], unparsed: None });
        assert_eq!(end.exchange.unwrap().stats.sum_of_class(3), 1_000_000);
    }
}

#[test]
fn switching_protocols_and_tunnels_end_what_is_looked_at() {
    for (asked, answered, classes, upgraded) in [
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n\r\n", [0; 5], 1),
        ("CONNECT a:443 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Go\r\nContent-Length: 5\r\n\r\n", [1, 0, 0, 0, 0], 0),
    ] {
        // Alone, and in a row with another.
        for before in [0, 1] {
            for mut end in ends() {
                end.call(true, [GET.repeat(before), asked.into()].concat().as_bytes(), true);
                end.call(false, [OK.repeat(before), answered.into()].concat().as_bytes(), true);
                for _ in 0..3 {
                    end.call(true, GET.as_bytes(), true);
                    end.call(false, OK.as_bytes(), true);
                }
                let mut expected = classes;
                expected[0] += before as u32;
                assert_eq!((end.classes(), end.counted), (expected, Counted::default()), "{asked:?}");
                let stats = end.exchange.unwrap().stats;
                assert_eq!((stats.upgraded, stats.given_up), (upgraded, 0));
            }
        }
    }
    // A proxy that refuses goes on with HTTP.
    for mut end in ends() {
        end.call(true, b"CONNECT a:443 HTTP/1.1\r\n\r\n", true);
        end.call(false, b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", true);
        end.call(true, GET.as_bytes(), true);
        end.call(false, OK.as_bytes(), true);
        assert_eq!((end.classes(), end.counted), ([1, 0, 1, 0, 0], Counted::default()));
    }
}

#[test]
fn what_is_no_http_ends_the_following_and_says_so() {
    for (asked, answered) in [
        ("POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", ""),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", ""),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", ""),
        (
            "GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nnonsense, and more",
        ),
        ("GET / HTTP/1.1\r\n\r\nand then nonsense", ""),
    ] {
        for mut end in ends() {
            end.call(true, asked.as_bytes(), true);
            if !answered.is_empty() {
                end.call(false, answered.as_bytes(), true);
            }
            assert_eq!(end.counted.unparsed, Some(Unparsed::Lost), "{asked:?}");
            assert_eq!(end.counted.untimed, [0, 1], "{asked:?}");
            // Bad, then good: nothing more is counted on it.
            end.call(true, GET.as_bytes(), true);
            end.call(false, OK.as_bytes(), true);
            assert_eq!(end.classes()[0], u32::from(!answered.is_empty()));
        }
    }
    // What only began like a method was never HTTP.
    let mut end = End::new(true);
    for byte in "HELO mail\r\nMAIL".as_bytes().chunks(1) {
        end.call(true, byte, true);
    }
    assert_eq!((end.classes(), end.counted), ([0; 5], Counted::default()));
}

#[test]
fn a_body_until_the_connections_end_is_followed_to_there() {
    for mut end in ends() {
        end.call(true, GET.repeat(2).as_bytes(), true);
        end.call(false, b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n", true);
        for _ in 0..5 {
            end.call(false, OK.as_bytes(), true);
        }
        end.end();
        // Nothing came of the second.
        assert_eq!((end.classes(), end.counted), ([1, 0, 0, 0, 1], Counted::default()));
    }
}

#[test]
fn requests_in_a_row_that_got_no_answer_are_told_from_those_that_did() {
    for mut end in ends() {
        end.call(true, GET.repeat(5).as_bytes(), true);
        end.call(false, OK.repeat(2).as_bytes(), true);
        end.end();
        assert_eq!((end.classes(), end.counted), ([2, 0, 0, 0, 3], Counted::default()));
    }
}

#[test]
fn an_answer_may_be_read_before_the_call_that_asked_has_ended() {
    let mut end = End::new(false);
    end.call(true, GET.as_bytes(), true);
    end.call(false, OK.as_bytes(), true);
    for _ in 0..3 {
        // The bytes are written, the call goes on.
        end.positions[0] = end.positions[0].wrapping_add(GET.len() as u32);
        end.call(false, OK.as_bytes(), true);
        end.positions[0] = end.positions[0].wrapping_sub(GET.len() as u32);
        end.call(true, GET.as_bytes(), true);
        end.call(true, GET.as_bytes(), true);
        end.call(false, OK.as_bytes(), true);
    }
    assert_eq!((end.classes(), end.counted), ([4, 0, 0, 0, 0], Counted { untimed: [3, 0], unparsed: None }));
}

#[test]
fn a_body_that_is_like_an_answer_is_none_where_nothing_was_asked() {
    for mut end in ends() {
        for _ in 0..3 {
            end.call(true, b"PUT / HTTP/1.1\r\nContent-Length: 9\r\n\r\n", true);
            end.call(true, b"some body", true);
            end.call(false, b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n", true);
            end.call(false, OK.as_bytes(), true);
        }
        assert_eq!((end.classes(), end.counted), ([3, 0, 0, 0, 0], Counted::default()));
    }
}

/// Bad, then good, and cut at any place: nothing that is said breaks it, and no more is counted than was asked.
#[test]
fn nothing_is_counted_that_was_not_asked_whatever_is_said() {
    let mut random = 7_u64;
    let mut draw = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize
    };
    let turns = turns();
    for _ in 0..20_000 {
        let mut end = End::new(draw().is_multiple_of(2));
        end.is_decrypted = draw().is_multiple_of(4);
        let mut said = 0;
        for _ in 0..draw() % 12 {
            let (_, text, _) = &turns[draw() % turns.len()];
            let mut bytes = text.clone().into_bytes();
            for _ in 0..draw() % 3 {
                let place = draw() % bytes.len();
                bytes[place] = draw() as u8;
            }
            bytes.drain(..draw() % bytes.len());
            said += bytes.len();
            end.call(draw().is_multiple_of(2), &bytes, !draw().is_multiple_of(8));
        }
        end.end();
        let timed: u32 = end.classes().iter().sum();
        assert!((timed + end.counted.untimed.iter().sum::<u32>()) as usize <= said / 4);
    }
}
