//! What nginx writes down of its answers to wrk, to curl that waits for leave, and to rows.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::common::nginx::{Nginx, Wrk};
use crate::common::{Page, can_load, connect, loopback, wait_until};
use crate::{DURATION, address, agent, check, output};

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

#[test]
fn curl_that_waits_for_leave_to_send_counts_exactly() {
    if !can_load() {
        return;
    }
    let agent = agent(76, &["gate"]);
    let address = address(76, 2);
    let nginx = Nginx::start_with(address, "client_max_body_size 10m;", SERVER, files);
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
    check(&agent, "gate", [10.0, 0.0, 0.0, 0.0, 0.0]);
}
