//! Accepts connections and lets requests through to a service.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower_service::Service;

use crate::counters::Counters;
use crate::limits::ServeLimits;
use crate::rate::{Buckets, Rate};
use crate::users::Verdict;
use crate::web::Web;

/// Refusals that may be under way; beyond them connections are closed without an answer.
const REFUSALS: usize = 64;
/// Time that a refused client has to read the answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Pause after the system gave no connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Length: 21\r\n\r\ntoo many connections\n";

/// Who sent a request. Found in the extensions of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The user whose password was right.
    pub user: Option<Arc<str>>,
    /// Whether there was a certificate of the configured authority.
    pub certificate: bool,
}

impl Peer {
    /// Whether it is known who this is: by password or certificate.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.user.is_some() || self.certificate
    }

    /// Whether the request comes from this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// What one listener's connections share.
struct Listener {
    web: Web,
    limits: ServeLimits,
    buckets: Buckets,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    refusals: Semaphore,
}

/// A connection that counts, until it is dropped.
struct Place {
    listener: Arc<Listener>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.listener.web.counters().connections.fetch_sub(1, Ordering::Relaxed);
        let mut by_address = self.listener.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// Serves until `shutdown` resolves, then takes no more connections, and returns when what was begun is
/// answered.
///
/// Several listeners may be served under one [`Web`], each with its own service and limits.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    web: Web,
    limits: ServeLimits,
    shutdown: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let rate = Rate {
        per_second: f64::from(limits.requests_per_second_per_address),
        burst: f64::from(limits.request_burst_per_address),
    };
    let shared = Arc::new(Listener {
        web,
        limits,
        buckets: Buckets::new(rate),
        by_address: Mutex::default(),
        refusals: Semaphore::new(REFUSALS),
    });
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match shared.enter(address) {
            Some(place) => {
                let (shared, service, watcher) = (Arc::clone(&shared), service.clone(), graceful.watcher());
                tokio::spawn(async move {
                    shared.converse(stream, address, service, watcher).await;
                    drop(place);
                });
            }
            None => {
                tokio::spawn(Arc::clone(&shared).refuse(stream));
            }
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

impl Listener {
    /// Counts a connection, if there is room for it.
    fn enter(self: &Arc<Self>, address: SocketAddr) -> Option<Place> {
        let counters = self.web.counters();
        let address = address.ip().to_canonical();
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = by_address.values().sum();
        let count = by_address.get(&address).copied().unwrap_or(0);
        if all >= self.limits.connections || count >= self.limits.connections_per_address {
            Counters::add(&counters.connections_refused);
            return None;
        }
        by_address.insert(address, count + 1);
        Counters::add(&counters.connections);
        Some(Place { listener: Arc::clone(self), address })
    }

    /// Says that there are too many connections, where the client can understand that.
    async fn refuse(self: Arc<Self>, mut stream: TcpStream) {
        let Ok(_place) = self.refusals.try_acquire() else { return };
        if self.web.encrypts() {
            return;
        }
        let answer = async {
            stream.write_all(REFUSAL).await?;
            stream.shutdown().await?;
            // Closing over unread bytes would reset the connection, and the answer with it.
            let mut buffer = [0; 1024];
            while stream.read(&mut buffer).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(REFUSAL_TIME, answer).await;
    }

    async fn converse<S, B>(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, service: S, watcher: Watcher)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Answers are small and wait for nothing.
        let _ = stream.set_nodelay(true);
        let state = self.web.state();
        let mut peer = Peer { address, user: None, certificate: false };
        let Some(tls) = &state.tls else {
            drop(state);
            return self.talk(TokioIo::new(stream), peer, service, watcher).await;
        };
        let limit = Duration::from_secs(self.limits.handshake_seconds.into());
        let Ok(Ok(stream)) = tokio::time::timeout(limit, tls.acceptor.accept(stream)).await else {
            return Counters::add(&self.web.counters().handshakes_failed);
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if !tls.allows(certificate) {
            return Counters::add(&self.web.counters().handshakes_failed);
        }
        peer.certificate = certificate.is_some();
        drop(state);
        self.talk(TokioIo::new(stream), peer, service, watcher).await;
    }

    async fn talk<I, S, B>(self: &Arc<Self>, io: I, peer: Peer, service: S, watcher: Watcher)
    where
        I: Read + Write + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let answer = service_fn(move |request| {
            let (listener, peer, service) = (Arc::clone(self), peer.clone(), service.clone());
            async move { Ok::<_, Infallible>(listener.answer(request, peer, service).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(self.limits.idle_seconds.into()))
            .serve_connection(io, answer);
        // A connection that breaks off or idles too long concerns nobody else.
        let _ = watcher.watch(connection).await;
    }

    async fn answer<S, B>(
        &self,
        mut request: Request<Incoming>,
        mut peer: Peer,
        mut service: S,
    ) -> Response<Either<B, Full<Bytes>>>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    {
        let state = self.web.state();
        let now = Instant::now();
        let mut response = if !self.buckets.admit(peer.address.ip(), now) || !self.web.admit(&state, now) {
            Counters::add(&self.web.counters().rate_limited);
            // Remote-write senders drop what is answered with 429, and keep what is answered with 503.
            let write = request.method() == Method::POST;
            let status = if write { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS };
            denial(status, "too many requests", Some((RETRY_AFTER, "1")))
        } else {
            let verdict = if state.users.is_empty() {
                None
            } else {
                let header = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
                Some(self.web.checker().check(&state.users, header).await)
            };
            match verdict {
                Some(Verdict::Wrong) => {
                    Counters::add(&self.web.counters().unauthorized);
                    denial(StatusCode::UNAUTHORIZED, "unauthorized", Some((WWW_AUTHENTICATE, "Basic")))
                }
                Some(Verdict::Busy) => {
                    let reason = "too many passwords to check";
                    denial(StatusCode::SERVICE_UNAVAILABLE, reason, Some((RETRY_AFTER, "1")))
                }
                verdict => {
                    if let Some(Verdict::User(user)) = verdict {
                        peer.user = Some(user);
                    }
                    request.extensions_mut().insert(peer);
                    match service.call(request).await {
                        Ok(response) => response.map(Either::Left),
                    }
                }
            }
        };
        for (name, value) in &state.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response
    }
}

fn denial<B>(
    status: StatusCode,
    reason: &'static str,
    header: Option<(hyper::header::HeaderName, &'static str)>,
) -> Response<Either<B, Full<Bytes>>> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(format!("{reason}\n")))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Some((name, value)) = header {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
