//! A small HTTP server for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// From path and body to status and text.
type Answer = dyn Fn(&str, &[u8]) -> (u16, String);

/// Answers every request on a loopback port with what `answer` makes of path and body. The threads end with
/// the test's process.
///
/// # Panics
/// Where no port is free.
pub fn serve(answer: impl Fn(&str, &[u8]) -> (u16, String) + Send + Sync + 'static) -> u16 {
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
        let (mut request, mut length) = (String::new(), 0);
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, text) = answer(request.split(' ').nth(1).unwrap_or("/"), &body);
        let length = text.len();
        let mut connection = connection;
        // In one piece: many small ones wait for one another.
        connection.write_all(format!("HTTP/1.1 {status} X\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes())?;
    }
}
