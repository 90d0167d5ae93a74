//! Calls to one other service over a pool of keep-alive connections.
//!
//! A connection is retired after a random number of requests, so that new connections are part
//! of the normal traffic. A call has one time limit, connecting included; on expiry its
//! connection is closed at once. A request is sent again only when it certainly was not sent,
//! because the pooled connection had closed before; there are no other retries.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::counted::Counted;
use crate::meter::Meter;
use crate::random::Stream;
use crate::report::Outbound;

/// Most connections kept idle; busier moments open more and close them again.
const MAX_IDLE: usize = 32;

/// Why a call gave no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, or no way there.
    Connect,
    /// The time limit passed.
    Timeout,
    /// The connection broke before the whole response was there.
    Broken,
}

/// What a client needs to know.
#[derive(Debug)]
pub struct Settings {
    pub caller: String,
    pub callee: String,
    pub address: SocketAddrV4,
    /// Address to connect from, where the routes alone would not give the caller's own.
    pub source: Option<Ipv4Addr>,
    pub timeout: Duration,
    /// Mean requests per connection.
    pub connection_uses: f64,
    /// Seed of the connections' lengths of life.
    pub seed: u64,
    pub meter: Rc<Meter>,
}

/// Calls one other service.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    callee: Rc<str>,
    host: HeaderValue,
    agent: HeaderValue,
    idle: RefCell<Vec<Connection>>,
    stream: RefCell<Stream>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinHandle<()>,
    uses_left: u32,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Dropping the driver closes the socket, whatever it was in the middle of.
        self.driver.abort();
    }
}

/// Counts a call as abandoned when it is dropped before its end.
struct UnderWay<'c>(&'c Client);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.count(|edge| edge.abandoned += 1);
    }
}

impl Client {
    pub fn new(settings: Settings) -> Self {
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unnamed"));
        Self {
            callee: settings.callee.as_str().into(),
            host: header(&settings.callee),
            agent: header(&settings.caller),
            idle: RefCell::default(),
            stream: RefCell::new(Stream::new(settings.seed, &format!("client of {}", settings.callee))),
            settings,
        }
    }

    /// Asks for `path`; gives the status once the whole response was read.
    pub async fn call(&self, path: &Uri) -> Result<u16, Failure> {
        let begun = Instant::now();
        let under_way = UnderWay(self);
        let connecting = Cell::new(false);
        self.count(|edge| edge.calls += 1);
        let attempt = tokio::time::timeout(self.settings.timeout, self.attempt(path, &connecting));
        let outcome = attempt.await.unwrap_or(Err(Failure::Timeout));
        std::mem::forget(under_way);
        self.count(|edge| {
            edge.latency.record(begun.elapsed());
            match outcome {
                Ok(status) => edge.responses.record(status),
                Err(Failure::Connect) => edge.connect_failures += 1,
                Err(Failure::Broken) => edge.broken += 1,
                Err(Failure::Timeout) => {
                    edge.timeouts += 1;
                    edge.connect_timeouts += u64::from(connecting.get());
                }
            }
        });
        outcome
    }

    async fn attempt(&self, path: &Uri, connecting: &Cell<bool>) -> Result<u16, Failure> {
        loop {
            let pooled = self.idle.borrow_mut().pop();
            let reused = pooled.is_some();
            let mut connection = match pooled {
                Some(connection) => connection,
                None => {
                    connecting.set(true);
                    let connection = self.connect().await.map_err(|_| Failure::Connect)?;
                    connecting.set(false);
                    connection
                }
            };
            if connection.sender.ready().await.is_err() {
                if reused {
                    continue;
                }
                return Err(Failure::Broken);
            }
            self.count(|edge| edge.requests += 1);
            let response = match connection.sender.send_request(self.request(path)).await {
                Ok(response) => response,
                Err(error) if reused && error.is_canceled() => {
                    self.count(|edge| edge.requests -= 1);
                    continue;
                }
                Err(_) => return Err(Failure::Broken),
            };
            let status = response.status().as_u16();
            let close = response.headers().get(CONNECTION).is_some_and(|value| value == "close");
            let mut body = response.into_body();
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| Failure::Broken)?;
            }
            connection.uses_left = connection.uses_left.saturating_sub(1);
            let mut idle = self.idle.borrow_mut();
            if !close && connection.uses_left > 0 && idle.len() < MAX_IDLE {
                idle.push(connection);
            }
            return Ok(status);
        }
    }

    fn request(&self, path: &Uri) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.clone();
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(USER_AGENT, self.agent.clone());
        request
    }

    async fn connect(&self) -> io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.settings.source {
            socket.bind(SocketAddr::from((source, 0)))?;
        }
        let stream = socket.connect(SocketAddr::V4(self.settings.address)).await?;
        stream.set_nodelay(true)?;
        self.count(|edge| edge.connects += 1);
        let callee = Rc::clone(&self.callee);
        let stream = Counted { stream, callee, meter: Rc::clone(&self.settings.meter) };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::task::spawn_local(async move {
            // A broken connection shows at its sender.
            drop(connection.await);
        });
        let uses_left = self.stream.borrow_mut().geometric(self.settings.connection_uses);
        Ok(Connection { sender, driver, uses_left })
    }

    fn count(&self, change: impl FnOnce(&mut Outbound)) {
        self.settings.meter.edge(&self.settings.callee, change);
    }
}
