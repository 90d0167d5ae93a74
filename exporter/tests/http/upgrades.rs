//! Connections that leave HTTP by a 101.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use crate::common::nginx::Nginx;
use crate::common::{Page, can_load, connect, loopback};
use crate::pair::Pair;
use crate::{CLASSES, GET, OK, UPGRADED, address, agent, check};

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
fn a_proxy_passes_on_what_follows_an_upgrade() {
    if !can_load() {
        return;
    }
    let agent = agent(78, &["gate", "chat"]);
    let (address, chat) = (address(78, 2), TcpListener::bind((loopback(78, 3), 0)).unwrap());
    let server = format!(
        "location /chat {{ proxy_pass http://{}; proxy_bind {}; proxy_http_version 1.1;\n\
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}",
        chat.local_addr().unwrap(),
        address.ip()
    );
    let _nginx = Nginx::start_with(address, "", &server, |_| {});
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
    let mut client = connect(loopback(78, 1), address).unwrap();
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
    let upgraded = |page: &Page, edge, reporter| page.edge(UPGRADED, edge, reporter) == 1.0;
    let ends = [("web", "gate"), ("gate", "chat")].map(|edge| [(edge, "client"), (edge, "server")]);
    let page = agent.page_at_last(|page| ends.as_flattened().iter().all(|(edge, end)| upgraded(page, *edge, end)));
    for (edge, reporter) in ends.as_flattened() {
        assert!(upgraded(&page, *edge, reporter), "{edge:?} {reporter}");
    }
    let asked = |edge| CLASSES.iter().map(|class| page.requests(edge, "server", class)).sum::<f64>();
    assert_eq!(asked(("web", "gate")) + asked(("gate", "chat")), 0.0);
}
