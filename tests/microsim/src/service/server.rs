//! Serving: accept, queue, work, call, answer.
//!
//! A request holds one of `concurrency` places from start to end, waiting for callees included;
//! up to `queue` more wait for a place, the rest get 503 at once. So a slow callee fills its
//! callers. A needed callee's failure becomes 502, 503 or 504; an optional one's is ignored.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::client::Failure;
use super::{Client, Clients, burn};
use crate::meter::Meter;
use crate::process::ProcessError;
use crate::random::Stream;
use crate::topology::{Endpoint, FanOut, Service};
use crate::wire::{Assignment, FaultSettings};

/// Spread (sigma of the logarithm) of injected latency.
const FAULT_SIGMA: f64 = 0.2;

/// One service, shared by all its connections.
#[derive(Debug)]
pub struct Server {
    address: Ipv4Addr,
    endpoints: BTreeMap<String, Prepared>,
    callers: BTreeMap<Ipv4Addr, Rc<str>>,
    unknown_caller: Rc<str>,
    places: Semaphore,
    waiting: Cell<usize>,
    queue: usize,
    stream: RefCell<Stream>,
    faults: watch::Receiver<FaultSettings>,
    meter: Rc<Meter>,
}

/// An endpoint with everything that does not change from request to request.
#[derive(Debug)]
struct Prepared {
    /// Its place among the service's.
    index: usize,
    endpoint: Endpoint,
    body: Bytes,
    calls: Vec<PreparedCall>,
}

#[derive(Debug)]
struct PreparedCall {
    client: Rc<Client>,
    path: Uri,
    probability: f64,
    optional: bool,
}

impl Server {
    /// The service of `assignment`.
    pub fn new(
        assignment: &Assignment,
        service: &Service,
        meter: &Rc<Meter>,
        clients: impl FnOnce(u64, f64) -> Clients,
        faults: watch::Receiver<FaultSettings>,
    ) -> Rc<Self> {
        let clients = clients(service.call_timeout_ms, service.connection_uses);
        let prepare = |(index, endpoint): (usize, &Endpoint)| {
            let calls = endpoint.calls.iter().filter_map(|call| {
                Some(PreparedCall {
                    client: Rc::clone(clients.get(&call.to)?),
                    path: call.path.parse().ok()?,
                    probability: call.probability,
                    optional: call.optional,
                })
            });
            let prepared = Prepared {
                index,
                endpoint: endpoint.clone(),
                body: Bytes::from(vec![b'.'; endpoint.response_bytes]),
                calls: calls.collect(),
            };
            (endpoint.path.clone(), prepared)
        };
        Rc::new(Self {
            address: assignment.address,
            endpoints: service.endpoints.iter().enumerate().map(prepare).collect(),
            callers: assignment.callers.iter().map(|(&at, name)| (at, name.as_str().into())).collect(),
            unknown_caller: "unknown".into(),
            places: Semaphore::new(service.concurrency),
            waiting: Cell::new(0),
            queue: service.queue,
            stream: RefCell::new(Stream::new(assignment.seed, "server")),
            faults,
            meter: Rc::clone(meter),
        })
    }

    /// Listens with the given backlog and serves from then on.
    ///
    /// # Errors
    /// [`ProcessError::Listen`]: the address is taken or not ours.
    pub fn listen(self: Rc<Self>, port: u16, backlog: u32) -> Result<(), ProcessError> {
        let address = SocketAddrV4::new(self.address, port);
        let open = || {
            let socket = TcpSocket::new_v4()?;
            // A restart must not wait for the old connections' TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(SocketAddr::V4(address))?;
            socket.listen(backlog)
        };
        let listener = open().map_err(|source| ProcessError::Listen { address, source })?;
        tokio::task::spawn_local(self.accept(listener));
        Ok(())
    }

    async fn accept(self: Rc<Self>, listener: TcpListener) {
        let mut faults = self.faults.clone();
        loop {
            let settings = *faults.borrow_and_update();
            if settings.hang {
                if faults.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let pause = Duration::from_secs_f64(settings.accept_interval_seconds.max(0.0));
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => {}
                    changed = faults.changed() => if changed.is_err() { return } else { continue },
                }
            }
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        self.meter.accepted();
                        Rc::clone(&self).serve(stream, peer);
                    }
                    // Out of descriptors, most likely: let some connections end.
                    Err(_) => sleep(Duration::from_millis(50)).await,
                },
                changed = faults.changed() => if changed.is_err() { return },
            }
        }
    }

    fn serve(self: Rc<Self>, stream: TcpStream, peer: SocketAddr) {
        let caller = match peer {
            SocketAddr::V4(peer) => self.callers.get(peer.ip()),
            SocketAddr::V6(_) => None,
        };
        let caller = Rc::clone(caller.unwrap_or(&self.unknown_caller));
        let service = service_fn(move |request| {
            let (server, caller) = (Rc::clone(&self), Rc::clone(&caller));
            async move { Ok::<_, Infallible>(server.answer(&caller, &request).await) }
        });
        tokio::task::spawn_local(async move {
            // Without it, small responses would wait for the peer's delayed acknowledgement.
            drop(stream.set_nodelay(true));
            let connection = hyper::server::conn::http1::Builder::new()
                .header_read_timeout(None)
                .serve_connection(TokioIo::new(stream), service);
            // Callers close connections as they like, also in the middle.
            drop(connection.await);
        });
    }

    async fn answer(&self, caller: &Rc<str>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let in_flight = self.meter.begin(caller, Instant::now());
        let (status, body) = match self.endpoints.get(request.uri().path()) {
            None => (StatusCode::NOT_FOUND, Bytes::new()),
            Some(prepared) => match self.work(prepared).await {
                Ok(()) => (StatusCode::OK, prepared.body.clone()),
                Err(status) => (status, Bytes::new()),
            },
        };
        self.unless_hung().await;
        in_flight.finish(status.as_u16());
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        if self.faults.borrow().accept_interval_seconds > 0.0 {
            // Callers have to come back through the accept queue.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn work(&self, prepared: &Prepared) -> Result<(), StatusCode> {
        self.unless_hung().await;
        let _place = self.place().await?;
        let settings = *self.faults.borrow();
        let is_here = |endpoint: Option<usize>| endpoint.is_none_or(|endpoint| endpoint == prepared.index);
        let (own, injected, fails) = {
            let mut stream = self.stream.borrow_mut();
            let latency = prepared.endpoint.latency;
            (
                stream.log_normal(latency.median_ms, latency.sigma),
                stream.log_normal(
                    if is_here(settings.latency_endpoint) { settings.latency_ms } else { 0.0 },
                    FAULT_SIGMA,
                ),
                stream.chance(if is_here(settings.error_endpoint) { settings.error_share } else { 0.0 }),
            )
        };
        burn(Duration::from_secs_f64(prepared.endpoint.cpu_ms / 1000.0));
        sleep(Duration::from_secs_f64((own + injected) / 1000.0)).await;
        if fails {
            return Err(StatusCode::INTERNAL_SERVER_ERROR);
        }
        self.unless_hung().await;
        self.call_others(prepared).await
    }

    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, StatusCode> {
        /// Leaves the queue also when the caller goes away.
        struct Waiting<'w>(&'w Cell<usize>);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() - 1);
            }
        }

        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        if self.waiting.get() >= self.queue {
            self.meter.shed();
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        self.waiting.set(self.waiting.get() + 1);
        let _waiting = Waiting(&self.waiting);
        self.places.acquire().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }

    async fn call_others(&self, prepared: &Prepared) -> Result<(), StatusCode> {
        let chosen: Vec<&PreparedCall> = {
            let mut stream = self.stream.borrow_mut();
            prepared.calls.iter().filter(|call| stream.chance(call.probability)).collect()
        };
        match prepared.endpoint.fan_out {
            FanOut::Sequential => {
                for call in chosen {
                    let outcome = call.client.call(&call.path).await;
                    verdict(outcome, call.optional)?;
                }
            }
            FanOut::Parallel => {
                let mut running = tokio::task::JoinSet::new();
                for call in chosen {
                    let (client, path, optional) = (Rc::clone(&call.client), call.path.clone(), call.optional);
                    running.spawn_local(async move { verdict(client.call(&path).await, optional) });
                }
                // Leaving early drops the set, which gives up the calls still under way.
                while let Some(ended) = running.join_next().await {
                    ended.map_err(|_| StatusCode::BAD_GATEWAY)??;
                }
            }
        }
        Ok(())
    }

    async fn unless_hung(&self) {
        if self.faults.borrow().hang {
            // The channel only closes with the process.
            drop(self.faults.clone().wait_for(|settings| !settings.hang).await);
        }
    }
}

/// What a callee's outcome means for the caller's own response.
fn verdict(outcome: Result<u16, Failure>, optional: bool) -> Result<(), StatusCode> {
    match outcome {
        _ if optional => Ok(()),
        Ok(503) => Err(StatusCode::SERVICE_UNAVAILABLE),
        Ok(504) | Err(Failure::Timeout) => Err(StatusCode::GATEWAY_TIMEOUT),
        Ok(400..) | Err(Failure::Connect | Failure::Broken) => Err(StatusCode::BAD_GATEWAY),
        Ok(_) => Ok(()),
    }
}
