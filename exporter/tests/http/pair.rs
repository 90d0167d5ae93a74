//! Both ends of a connection in one thread.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::common::{connect, loopback};

/// Two ends of a connection in one thread: whatever one writes is read by the other before anything else happens.
pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Pair {
    pub fn new(test: u8, host: u8) -> Self {
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
    pub fn say(&mut self, asks: bool, pieces: &[&[u8]]) {
        let (from, to) = self.ends(asks);
        for piece in pieces {
            assert_eq!(from.write(piece).unwrap(), piece.len());
            to.read_exact(&mut vec![0; piece.len()]).unwrap();
        }
    }

    pub fn ask(&mut self, text: &str) {
        self.say(true, &[text.as_bytes()]);
    }

    pub fn answer(&mut self, text: &str) {
        self.say(false, &[text.as_bytes()]);
    }

    /// All pieces by one writev and one readv.
    pub fn vectored(&mut self, asks: bool, pieces: &[&str]) {
        let (from, to) = self.ends(asks);
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        let slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece.as_bytes())).collect();
        assert_eq!(from.write_vectored(&slices).unwrap(), length);
        let mut buffers: Vec<Vec<u8>> = pieces.iter().map(|piece| vec![0; piece.len()]).collect();
        let mut slices: Vec<IoSliceMut> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        assert_eq!(to.read_vectored(&mut slices).unwrap(), length);
    }

    /// A file's bytes, moved by the kernel from one end to the other; none of them passes through a program.
    pub fn send_file(&mut self, asks: bool, bytes: &[u8]) {
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
