//! A small HTTP server for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request: path, header lines as they came, body.
#[derive(Debug)]
pub struct Request<'a> {
    /// Path and query.
    pub path: &'a str,
    /// Lines of the head but the first.
    pub headers: Vec<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Request<'_> {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let mut pairs = self.headers.iter().filter_map(|line| line.split_once(':'));
        pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    }
}

/// From a request to status and text.
type Answer = dyn Fn(&Request<'_>) -> (u16, String);

/// Answers every request on a loopback port with what `answer` makes of path and body. The threads end with
/// the test's process.
///
/// # Panics
/// Where no port is free.
pub fn serve(answer: impl Fn(&str, &[u8]) -> (u16, String) + Send + Sync + 'static) -> u16 {
    serve_requests(move |request| answer(request.path, &request.body))
}

/// As [`serve`], for answers that depend on headers.
///
/// # Panics
/// Where no port is free.
pub fn serve_requests(answer: impl Fn(&Request<'_>) -> (u16, String) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let _ = converse(&connection, &*answer);
            });
        }
    });
    port
}

fn converse(connection: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let (mut request, mut headers) = (String::new(), Vec::new());
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            headers.push(header);
        }
        let mut request = Request { path: request.split(' ').nth(1).unwrap_or("/"), headers, body: Vec::new() };
        request.body.resize(request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0), 0);
        reader.read_exact(&mut request.body)?;
        let (status, text) = answer(&request);
        let length = text.len();
        let mut connection = connection;
        // In one piece: many small ones wait for one another.
        connection.write_all(format!("HTTP/1.1 {status} X\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes())?;
    }
}
