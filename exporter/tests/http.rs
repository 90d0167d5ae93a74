//! HTTP/1.1 in all the ways that it may be written, read by the real kernel.
//!
//! Witnesses are conversations written by hand, call by call, of which it is known what each says; nginx, which
//! writes down what it answered; and programs that count for themselves. Counts must be exact, at both ends, and
//! every one of them is of an edge that only this test has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::nginx::{Nginx, Wrk};
use common::{Agent, Page, can_load, connect, loopback, wait_until};
use quoll_exporter::agent::SourceChoice;

const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "none"];
const DURATION: &str = "http_request_duration_seconds";
const UPGRADED: &str = "http_upgraded_connections_total";

/// A service `web` at the first address of a test, and others by name at the next ones. None is called like its program, as
/// those of others are.
fn agent(test: u8, servers: &[&str]) -> Agent {
    let names = ["web"].iter().chain(servers).zip(1..);
    let service = |(name, host)| format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", loopback(test, host));
    let services = format!("services:\n{}", names.map(service).collect::<String>());
    Agent::start(SourceChoice::Ebpf, &services)
}

fn address(test: u8, host: u8) -> SocketAddr {
    TcpListener::bind((loopback(test, host), 0)).unwrap().local_addr().unwrap()
}

/// Two ends of a connection in one thread: whatever one writes is read by the other before anything else happens.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    fn new(test: u8, host: u8) -> Self {
        let listener = TcpListener::bind((loopback(test, host), 0)).unwrap();
        let client = connect(loopback(test, 1), listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        Self { client, server }
    }

    fn ends(&mut self, asks: bool) -> (&mut TcpStream, &mut TcpStream) {
        if asks { (&mut self.client, &mut self.server) } else { (&mut self.server, &mut self.client) }
    }

    /// One call to write and one to read per piece.
    fn say(&mut self, asks: bool, pieces: &[&[u8]]) {
        let (from, to) = self.ends(asks);
        for piece in pieces {
            assert_eq!(from.write(piece).unwrap(), piece.len());
            to.read_exact(&mut vec![0; piece.len()]).unwrap();
        }
    }

    fn ask(&mut self, text: &str) {
        self.say(true, &[text.as_bytes()]);
    }

    fn answer(&mut self, text: &str) {
        self.say(false, &[text.as_bytes()]);
    }

    /// All pieces by one writev and one readv.
    fn vectored(&mut self, asks: bool, pieces: &[&str]) {
        let (from, to) = self.ends(asks);
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece.as_bytes())).collect();
        assert_eq!(from.write_vectored(&slices).unwrap(), length);
        let mut buffers: Vec<Vec<u8>> = pieces.iter().map(|piece| vec![0; piece.len()]).collect();
        let mut slices: Vec<IoSliceMut> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        assert_eq!(to.read_vectored(&mut slices).unwrap(), length);
    }

    /// A file's bytes, moved by the kernel from one end to the other; none of them passes through a program.
    fn send_file(&mut self, asks: bool, bytes: &[u8]) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let (from, to) = self.ends(asks);
        let mut offset = 0;
        while offset < bytes.len() as u64 {
            rustix::fs::sendfile(&*from, &file, Some(&mut offset), bytes.len()).unwrap();
        }
        to.read_exact(&mut vec![0; bytes.len()]).unwrap();
    }
}

/// Requests by class, of one server as both ends have them.
fn counted(page: &Page, server: &str) -> [[f64; 5]; 2] {
    ["client", "server"].map(|end| CLASSES.map(|class| page.requests(("web", server), end, class)))
}

/// Waits for these counts at both ends.
fn check(agent: &Agent, server: &str, expected: [f64; 5]) {
    let page = agent.page_at_last(|page| counted(page, server) == [expected; 2]);
    assert_eq!(counted(&page, server), [expected; 2], "{server}");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const NONE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

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

#[test]
fn upgraded_connections_are_counted_as_such_and_then_not_looked_at() {
    if !can_load() {
        return;
    }
    let agent = agent(72, &["chat"]);
    let mut pairs: Vec<Pair> = (0..3).map(|_| Pair::new(72, 2)).collect();
    for pair in &mut pairs {
        pair.ask(GET);
        pair.answer(OK);
        pair.ask("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        pair.answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        // What WebSocket carries may look like anything; a program may write a frame's head and payload apart.
        for _ in 0..5 {
            pair.say(true, &[&[0x81, 0x9a], GET.as_bytes()]);
            pair.say(false, &[&[0x81, 0x2a], OK.as_bytes()]);
        }
    }
    check(&agent, "chat", [3.0, 0.0, 0.0, 0.0, 0.0]);
    let page = agent.page();
    for reporter in ["client", "server"] {
        assert_eq!(page.edge(UPGRADED, ("web", "chat"), reporter), 3.0, "{reporter}");
    }
    drop(pairs);
    check(&agent, "chat", [3.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn requests_in_a_row_are_timed_one_by_one() {
    if !can_load() {
        return;
    }
    const HELD_BACK: Duration = Duration::from_millis(20);
    let agent = agent(73, &["row"]);
    let mut pair = Pair::new(73, 2);
    let (mut least, began) = (0.0, Instant::now());
    for _ in 0..3 {
        pair.ask(&GET.repeat(4));
        for number in 0..4 {
            thread::sleep(HELD_BACK);
            least += HELD_BACK.as_secs_f64() * f64::from(number + 1);
            pair.answer(OK);
        }
    }
    let most = began.elapsed().as_secs_f64() * 4.0;
    check(&agent, "row", [12.0, 0.0, 0.0, 0.0, 0.0]);
    let page = agent.page();
    for reporter in ["client", "server"] {
        let label = ",status_class=\"2xx\"";
        let sum = page.edge_with(&format!("{DURATION}_sum"), ("web", "row"), reporter, label);
        // Each answer waits once more than the one before; the calls themselves take a moment.
        assert!((0.9 * least..most).contains(&sum), "{reporter}: {sum} s, of {least} to {most}");
    }
}

#[test]
fn more_than_can_be_remembered_are_counted_as_not_timed() {
    if !can_load() {
        return;
    }
    const UNTIMED: &str = "exporter_requests_untimed_total{protocol=\"http\",reason=\"pipelined\"}";
    let agent = agent(74, &["many"]);
    let before = agent.page();
    let mut pair = Pair::new(74, 2);
    // In calls of their own: eight are remembered, what follows is not timed until all are answered.
    for _ in 0..20 {
        pair.ask(GET);
    }
    for _ in 0..20 {
        pair.answer(OK);
    }
    pair.ask(GET);
    pair.answer(OK);
    check(&agent, "many", [9.0, 0.0, 0.0, 0.0, 0.0]);
    // Others of this machine may have more.
    assert!(agent.page().get(UNTIMED) - before.get(UNTIMED) >= 24.0);
}

/// Requests that wrk counted, of a script.
fn wrk(address: SocketAddr, path: &str, script: &str) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script.lua");
    std::fs::write(&file, script).unwrap();
    let more = ["-d", "1s", "-s", file.to_str().unwrap()];
    Wrk::run(4, &more, &format!("http://{address}{path}")).requests
}

/// As nginx reports them, whoever asked.
fn served(page: &Page, class: &str) -> f64 {
    let labels = ["server=\"pages\"", "reporter=\"server\"", &format!("status_class=\"{class}\"")];
    page.sum(&format!("{DURATION}_count"), &labels)
}

const ROW: usize = 16;
const LARGE: usize = 200_000;

/// Static files by sendfile; `/gzip` in chunks.
fn files(folder: &Path) {
    std::fs::write(folder.join("large"), "some text\n".repeat(LARGE / 10)).unwrap();
    std::fs::write(folder.join("small"), "some text\n").unwrap();
    std::fs::create_dir(folder.join("gzip")).unwrap();
    std::fs::write(folder.join("gzip/text"), "some text\n".repeat(5_000)).unwrap();
    std::fs::create_dir(folder.join("put")).unwrap();
}

const SERVER: &str = "log_not_found off; if_modified_since before; location /gzip { gzip on; gzip_min_length 1; gzip_types *; } location /put { dav_methods PUT; }";

#[test]
fn what_nginx_answered_in_every_way_agrees_with_what_it_wrote_down() {
    if !can_load() {
        return;
    }
    let agent = agent(75, &["pages"]);
    let address = address(75, 2);
    let nginx = Nginx::start_with(address, "sendfile on; tcp_nopush on;", SERVER, files);
    let row = |path: &str| {
        format!(
            "init = function() local r = wrk.format('GET', '{path}'); row = r:rep({ROW}) end request = function() return row end"
        )
    };
    // Kept alive, a connection each, and in a row: by length, in chunks, and large ones.
    wrk(address, "/small", "wrk.headers['Connection'] = 'close'");
    wrk(address, "/gzip/text", "wrk.headers['Accept-Encoding'] = 'gzip'");
    let in_rows = wrk(address, "/small", &row("/small")) + wrk(address, "/none", &row("/none"));
    wrk(address, "/large", &row("/large"));
    assert!(in_rows > 10.0 * ROW as f64, "wrk asked {in_rows} times in rows");
    // One by one: HEAD, what has not changed, a part, a part that is not there.
    let mut client = connect(loopback(75, 1), address).unwrap();
    let mut answer = [0; 4096];
    for (method, more) in [
        ("HEAD", ""),
        ("GET", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"),
        ("HEAD", "Range: bytes=5-9\r\n"),
        ("GET", "Range: bytes=900000-\r\n"),
    ] {
        for _ in 0..25 {
            write!(client, "{method} /large HTTP/1.1\r\nHost: a\r\n{more}\r\n").unwrap();
            let mut seen = 0;
            while !String::from_utf8_lossy(&answer[..seen]).contains("\r\n\r\n") {
                let count = client.read(&mut answer[seen..]).unwrap();
                assert!(count > 0, "{method} {more}");
                seen += count;
            }
            // The page that says why the last one fails.
            let text = String::from_utf8_lossy(&answer[..seen]).into_owned();
            if text.starts_with("HTTP/1.1 416") {
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
                client.read_exact(&mut vec![0; length.parse::<usize>().unwrap() - body.len()]).unwrap();
            }
        }
    }
    // Rows of all sorts, at both ends exact.
    let mixed = ["GET /large", "HEAD /large", "GET /none", "GET /small"];
    let mixed: String = mixed.iter().map(|line| format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    for _ in 0..20 {
        client.write_all(mixed.as_bytes()).unwrap();
        let (mut seen, mut chunk) = (Vec::new(), [0; 65_536]);
        while seen.len() < LARGE || !seen.ends_with(b"\r\n\r\nsome text\n") {
            let count = client.read(&mut chunk).unwrap();
            assert!(count > 0);
            seen.extend_from_slice(&chunk[..count]);
        }
    }
    check(&agent, "pages", [110.0, 25.0, 45.0, 0.0, 0.0]);

    // What wrk did not wait for at its end: it has four connections, and there are three runs of rows. nginx may still
    // be at it, and the two are not read in one moment.
    let room = |answered: f64| 0.001 * answered + 3.0 * 4.0 * ROW as f64;
    let apart = |page: &Page| {
        [("2xx", 2), ("4xx", 4)].map(|(class, status)| {
            let answered = nginx.answered(status);
            assert!(answered > 100.0, "{answered} of {class}");
            ((served(page, class) - answered).abs(), room(answered))
        })
    };
    let is_near = |page: &Page| apart(page).iter().all(|(apart, room)| apart <= room);
    let page = agent.page_at_last(is_near);
    let apart = apart(&page);
    println!("2xx: {}; 4xx: {}; apart and room for it: {apart:?}", served(&page, "2xx"), served(&page, "4xx"));
    assert!(apart.iter().all(|(apart, room)| apart <= room), "{apart:?} apart");
    assert_eq!((served(&page, "3xx"), served(&page, "5xx")), (nginx.answered(3), 0.0));
}

/// Output of a program that must succeed.
fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).stderr(Stdio::inherit()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} (scripts/setup installs it): {error}"));
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_that_waits_for_leave_and_a_proxy_that_upgrades_count_exactly() {
    if !can_load() {
        return;
    }
    let agent = agent(76, &["gate", "chat"]);
    let (address, chat) = (address(76, 2), TcpListener::bind((loopback(76, 3), 0)).unwrap());
    let server = format!(
        "{SERVER} location /chat {{ proxy_pass http://{}; proxy_bind {}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        chat.local_addr().unwrap(),
        address.ip()
    );
    let nginx = Nginx::start_with(address, "client_max_body_size 10m;", &server, files);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![b'x'; 300_000]).unwrap();
    let file = file.to_str().unwrap();
    // Each over one connection: by length, then in chunks, both with leave to go on.
    let from = loopback(76, 1).to_string();
    let urls: Vec<String> = (0..5).map(|number| format!("http://{address}/put/{number}")).collect();
    for more in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let mut args = vec!["-s", "--interface", &from, "-H", "Expect: 100-continue", "-w", "%{http_code}\n"];
        args.extend(more);
        urls.iter().for_each(|url| args.extend(["-T", file, url]));
        let codes = output("curl", &args);
        assert_eq!(codes.lines().filter(|code| code.starts_with("20")).count(), 5, "{codes}");
    }
    wait_until("nginx writes down the last one", || nginx.asked("PUT") == 10.0);

    // nginx passes on what follows a 101 in both directions.
    let answering = thread::spawn(move || {
        let (mut stream, _) = chat.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.extend(byte);
        }
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        for _ in 0..3 {
            stream.read_exact(&mut vec![0; GET.len()]).unwrap();
            stream.write_all(OK.as_bytes()).unwrap();
        }
    });
    let mut client = connect(loopback(76, 1), address).unwrap();
    client
        .write_all(
            GET.replace("\r\nHost", "\r\nConnection: upgrade\r\nUpgrade: websocket\r\nHost")
                .replace("GET /", "GET /chat")
                .as_bytes(),
        )
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        seen.extend(byte);
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    for _ in 0..3 {
        client.write_all(GET.as_bytes()).unwrap();
        client.read_exact(&mut vec![0; OK.len()]).unwrap();
    }
    answering.join().unwrap();
    check(&agent, "gate", [10.0, 0.0, 0.0, 0.0, 0.0]);
    let page = agent.page();
    for (edge, reporter) in
        [("web", "gate"), ("gate", "chat")].into_iter().flat_map(|edge| [(edge, "client"), (edge, "server")])
    {
        assert_eq!(page.edge(UPGRADED, edge, reporter), 1.0, "{edge:?} {reporter}");
    }
    let asked: f64 = CLASSES.iter().map(|class| page.requests(("gate", "chat"), "server", class)).sum();
    assert_eq!(asked, 0.0);
}

/// Serves and asks over kept connections: 10 times plain, 10 times with a body in chunks, 10 times with leave to send
/// one, and 10 times what is not there. Arguments: the client's address, the server's.
const NODE: &str = r#"
const http = require('http');
const [from, to] = process.argv.slice(1);
const server = http.createServer((asked, answer) => {
  asked.on('data', () => {}).on('end', () => {
    if (asked.url === '/none') { answer.writeHead(404); return answer.end(); }
    if (asked.url === '/hints') answer.writeEarlyHints({ link: '</a.css>; rel=preload' });
    answer.write('some'); answer.end(' text');
  });
});
const ask = (agent, port, method, path, headers, body) => new Promise((resolve, reject) => {
  const request = http.request({ agent, host: to, port, localAddress: from, method, path, headers }, answer => {
    answer.on('data', () => {}).on('end', resolve);
  });
  request.on('error', reject);
  if (headers.Expect) { request.on('continue', () => request.end(body)); request.flushHeaders(); }
  else if (body) { request.write(body); setImmediate(() => request.end(body)); }
  else request.end();
});
server.listen(0, to, async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 }), { port } = server.address();
  for (let number = 0; number < 10; number++) {
    await ask(agent, port, 'GET', '/hints', {});
    await ask(agent, port, 'POST', '/', {}, 'GET / HTTP/1.1\r\n\r\n');
    await ask(agent, port, 'PUT', '/', { Expect: '100-continue', 'Content-Length': 4 }, 'body');
    await ask(agent, port, 'HEAD', '/none', {});
  }
  agent.destroy(); server.close();
});
"#;

/// The same.
const PYTHON: &str = r#"
import http.client, http.server, sys, threading
start, to = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while int(self.rfile.readline(), 16): self.rfile.readline(); self.rfile.readline()
            self.rfile.readline()
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            for part in (b"4\r\n", b"text", b"\r\n0\r\n\r\n"): self.wfile.write(part)
    do_POST = do_PUT = do_HEAD = do_GET
server = http.server.ThreadingHTTPServer((to, 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
client = http.client.HTTPConnection(to, server.server_address[1], source_address=(start, 0))
def ask(method, path, body=None, headers={}, chunked=False):
    client.request(method, path, body, headers, encode_chunked=chunked)
    client.getresponse().read()
for _ in range(10):
    ask("GET", "/")
    ask("POST", "/", iter([b"\n", b"\n"]), {"Transfer-Encoding": "chunked"}, True)
    ask("PUT", "/", b"body")
    ask("HEAD", "/none")
client.close()
server.shutdown()
"#;

#[test]
fn programs_of_other_languages_count_exactly() {
    if !can_load() {
        return;
    }
    let agent = agent(77, &["by-node", "by-python"]);
    let [from, node, python] = [1, 2, 3].map(|host| loopback(77, host).to_string());
    output("node", &["-e", NODE, &from, &node]);
    output("python3", &["-c", PYTHON, &from, &python]);
    for server in ["by-node", "by-python"] {
        check(&agent, server, [30.0, 0.0, 10.0, 0.0, 0.0]);
    }
}
