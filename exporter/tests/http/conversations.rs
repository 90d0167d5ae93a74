//! Conversations written by hand, of which it is known what each call says.

use crate::common::can_load;
use crate::pair::Pair;
use crate::{GET, NONE, OK, agent, check};

/// A conversation, after which the server has answered so many by class.
type Conversation = (&'static str, fn(&mut Pair), [f64; 5]);

const CONVERSATIONS: &[Conversation] = &[
    ("interim", interim, [7.0, 0.0, 4.0, 3.0, 0.0]),
    ("bodies", bodies, [6.0, 0.0, 6.0, 0.0, 0.0]),
    ("cut", cut, [14.0, 0.0, 13.0, 0.0, 0.0]),
    ("bytes", bytes, [3.0, 0.0, 0.0, 0.0, 0.0]),
    ("vectored", vectored, [4.0, 0.0, 0.0, 4.0, 0.0]),
    ("in-a-row", in_a_row, [32.0, 8.0, 8.0, 0.0, 0.0]),
    ("overlapping", overlapping, [12.0, 0.0, 0.0, 0.0, 0.0]),
    ("unanswered", unanswered, [2.0, 0.0, 0.0, 0.0, 3.0]),
    ("sent", sent, [8.0, 0.0, 0.0, 0.0, 0.0]),
    ("tunnel", tunnel, [1.0, 0.0, 1.0, 0.0, 0.0]),
];

fn interim(pair: &mut Pair) {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    for _ in 0..4 {
        pair.ask("POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        pair.answer("HTTP/1.1 100 Continue\r\n\r\n");
        pair.ask("body");
        pair.answer("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        pair.ask(GET);
        pair.answer(HINTS);
        pair.answer(NONE);
    }
    for _ in 0..3 {
        pair.ask(GET);
        pair.answer(&format!("{HINTS}HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"));
        pair.ask(GET);
        pair.answer(OK);
    }
}

/// In calls of their own, and like messages.
fn bodies(pair: &mut Pair) {
    for _ in 0..3 {
        let post = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", GET.len());
        pair.say(true, &[post.as_bytes(), GET.as_bytes()]);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", GET.len() + OK.len());
        pair.say(false, &[head.as_bytes(), GET.as_bytes(), OK.as_bytes()]);
        // Sizes of chunks in calls of their own, as their data.
        let chunked = b"PATCH / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        pair.say(true, &[chunked, b"1b\r\n", GET.as_bytes(), b"\r\n", b"0\r\n\r\n"]);
        let chunked = b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n";
        pair.say(false, &[chunked, b"29\r\n", OK.as_bytes(), b"\n\r\n0\r\n\r\n"]);
        pair.ask("DELETE / HTTP/1.1\r\n\r\n");
        pair.answer("HTTP/1.1 204 No Content\r\n\r\n");
        pair.ask("HEAD / HTTP/1.1\r\n\r\n");
        pair.answer("HTTP/1.1 404 Not Found\r\nContent-Length: 7000\r\n\r\n");
    }
}

fn cut(pair: &mut Pair) {
    let get = GET.as_bytes();
    for cut in 1..get.len() {
        // The rest of it byte by byte.
        let mut pieces = vec![&get[..cut]];
        pieces.extend(get[cut..].chunks(1));
        pair.say(true, &pieces);
        let answer = if cut % 2 == 0 { NONE } else { OK };
        let (first, rest) = answer.as_bytes().split_at(1 + cut % 20);
        pair.say(false, &[first, rest]);
    }
    pair.ask(GET);
    pair.answer(OK);
}

fn bytes(pair: &mut Pair) {
    for _ in 0..3 {
        pair.say(true, &GET.as_bytes().chunks(1).collect::<Vec<_>>());
        pair.say(false, &OK.as_bytes().chunks(1).collect::<Vec<_>>());
    }
}

fn vectored(pair: &mut Pair) {
    for _ in 0..4 {
        pair.vectored(true, &["G", "ET /a HT", "TP/1.1\r\nHost: a\r\n", "\r\n"]);
        pair.vectored(false, &["HTTP/1.", "1 20", "0 OK\r\nContent-Length: 4\r\n\r", "\nbody"]);
        pair.vectored(true, &["POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\n", "body"]);
        pair.vectored(false, &["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", ""]);
    }
}

/// Several requests in one call, answered in one and in several.
fn in_a_row(pair: &mut Pair) {
    let moved = "HTTP/1.1 301 Moved\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n";
    let row =
        [GET, "HEAD / HTTP/1.1\r\n\r\n", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", GET, GET, GET].concat();
    let answers = [OK, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", moved, NONE, OK, OK];
    for _ in 0..4 {
        pair.ask(&row);
        pair.answer(&answers.concat());
        pair.ask(&row);
        for answer in answers {
            pair.answer(answer);
        }
    }
}

/// The next request before the answer, in calls of their own: up to eight are remembered.
fn overlapping(pair: &mut Pair) {
    pair.ask(GET);
    pair.ask(GET);
    pair.answer(OK);
    pair.ask(GET);
    pair.say(false, &[OK.as_bytes(), OK.as_bytes()]);
    pair.ask(GET);
    pair.answer(OK);
    for _ in 0..8 {
        pair.ask(GET);
    }
    pair.answer(&OK.repeat(8));
}

fn unanswered(pair: &mut Pair) {
    pair.ask(&GET.repeat(5));
    pair.answer(&OK.repeat(2));
    pair.client.shutdown(std::net::Shutdown::Both).unwrap();
    pair.server.shutdown(std::net::Shutdown::Both).unwrap();
}

/// Bodies that no program writes.
fn sent(pair: &mut Pair) {
    let body = [b'x'; 10_000];
    for _ in 0..2 {
        pair.ask("POST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n");
        pair.send_file(true, &body);
        pair.answer("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
        pair.send_file(false, &body);
        // The same while answers are followed: by length, and in chunks.
        pair.ask(&GET.repeat(3));
        pair.answer("HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n");
        pair.send_file(false, &body);
        pair.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n");
        pair.send_file(false, &body);
        pair.answer("\r\n0\r\n\r\n");
        pair.answer(OK);
    }
}

fn tunnel(pair: &mut Pair) {
    pair.ask("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n");
    pair.answer("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
    pair.ask("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nProxy-Authorization: x\r\n\r\n");
    pair.answer("HTTP/1.1 200 Connection established\r\n\r\n");
    for _ in 0..3 {
        pair.ask(GET);
        pair.answer(OK);
    }
}

#[test]
fn conversations_count_exactly_however_calls_cut_them() {
    if !can_load() {
        return;
    }
    let names: Vec<&str> = CONVERSATIONS.iter().map(|(name, ..)| *name).collect();
    let agent = agent(71, &names);
    let pairs: Vec<Pair> = CONVERSATIONS
        .iter()
        .zip(2..)
        .map(|((_, converse, _), host)| {
            let mut pair = Pair::new(71, host);
            converse(&mut pair);
            pair
        })
        .collect();
    for (name, _, expected) in CONVERSATIONS {
        check(&agent, name, *expected);
    }
    drop(pairs);
    for (name, _, expected) in CONVERSATIONS {
        check(&agent, name, *expected);
    }
}
