//! gRPC against an independent witness: tonic at both ends, which counts its calls by status and takes their times.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp)]

mod common;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use common::latency::Times;
use common::{Agent, Page, can_load, loopback};
use futures_util::{StreamExt, stream};
use quoll_ebpf_abi::protocols::http2::GRPC_STATUSES;
use quoll_exporter::agent::SourceChoice;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::{self, uri::PathAndQuery};
use tonic::codegen::{BoxFuture, BoxStream, Context, Poll, Service};
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

const DURATION: &str = "rpc_request_duration_seconds";
const COUNT: &str = "rpc_request_duration_seconds_count";
/// What OpenTelemetry holds against a server, and those of them that have no series of their own.
const FAILED: [&str; 7] =
    ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "other"];
/// Statuses without a series of their own.
const REST: [&str; 2] = ["other", "other_client"];
/// Calls whose times are compared.
const PROBES: usize = 100;
/// How long every other one of them is held back at least.
const HELD_BACK: Duration = Duration::from_millis(20);

/// Messages are bytes. The first of a request's is the status to end with, the second is [`AT_ONCE`] or other.
type Message = Vec<u8>;
const AT_ONCE: u8 = 0;
const LATE: u8 = 1;
const NEVER: u8 = 2;

#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Message;
    type Decode = Message;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Message;
    type Error = Status;
    fn encode(&mut self, item: Message, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Message;
    type Error = Status;
    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Message>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining()).to_vec()))
    }
}

/// The server; tells when a call came that will never be answered.
#[derive(Clone, Default)]
struct Echo(Arc<Notify>);

impl Echo {
    async fn status(self, message: Message) -> Result<(), Status> {
        match message[1] {
            AT_ONCE => {}
            LATE => tokio::time::sleep(HELD_BACK).await,
            _ => {
                self.0.notify_one();
                std::future::pending::<()>().await;
            }
        }
        match i32::from(message[0]) {
            0 => Ok(()),
            code => Err(Status::new(Code::from(code), "as was asked for")),
        }
    }
}

impl UnaryService<Message> for Echo {
    type Response = Message;
    type Future = BoxFuture<Response<Message>, Status>;
    fn call(&mut self, request: Request<Message>) -> Self::Future {
        let status = self.clone().status(request.into_inner());
        Box::pin(async { status.await.map(|()| Response::new(vec![b'x'; 2000])) })
    }
}

/// Ten messages, then the status.
impl ServerStreamingService<Message> for Echo {
    type Response = Message;
    type ResponseStream = BoxStream<Message>;
    type Future = BoxFuture<Response<BoxStream<Message>>, Status>;
    fn call(&mut self, request: Request<Message>) -> Self::Future {
        let status = self.clone().status(request.into_inner());
        let messages = stream::iter((0..10).map(|_| Ok(vec![b'y'; 500])));
        let end = stream::once(status).filter_map(async |status| status.err().map(Err));
        Box::pin(async { Ok(Response::new(Box::pin(messages.chain(end)) as BoxStream<Message>)) })
    }
}

/// A message for each, until one says how to end.
impl StreamingService<Message> for Echo {
    type Response = Message;
    type ResponseStream = BoxStream<Message>;
    type Future = BoxFuture<Response<BoxStream<Message>>, Status>;
    fn call(&mut self, request: Request<Streaming<Message>>) -> Self::Future {
        let answers = request.into_inner().map(|message| match message?[0] {
            0 => Ok(vec![b'z'; 100]),
            code => Err(Status::new(Code::from(i32::from(code)), "as was asked for")),
        });
        Box::pin(async { Ok(Response::new(Box::pin(answers) as BoxStream<Message>)) })
    }
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain);
            Ok(match request.uri().path() {
                "/test.Echo/One" => grpc.unary(echo, request).await,
                "/test.Echo/Many" => grpc.server_streaming(echo, request).await,
                _ => grpc.streaming(echo, request).await,
            })
        })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

/// Serves in the background; gives the address.
fn serve(echo: Echo, host: u8) -> SocketAddr {
    let incoming = TcpIncoming::bind((loopback(71, host), 0).into()).unwrap().with_nodelay(Some(true));
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(echo).serve_with_incoming(incoming));
    address
}

async fn client(address: SocketAddr) -> Client<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.local_address(Some(loopback(71, 1).into()));
    Client::new(endpoint.connect().await.unwrap())
}

/// How a call ended, as the client has it.
async fn call(mut client: Client<Channel>, method: &'static str, message: Message) -> Code {
    client.ready().await.unwrap();
    let path = PathAndQuery::from_static(method);
    let outcome = match method {
        "/test.Echo/One" => client.unary(Request::new(message), path, Plain).await.map(|_| ()),
        "/test.Echo/Many" => match client.server_streaming(Request::new(message), path, Plain).await {
            Ok(answer) => read(answer).await,
            Err(status) => Err(status),
        },
        _ => {
            let messages = stream::iter([vec![0], vec![0], message]);
            match client.streaming(Request::new(messages), path, Plain).await {
                Ok(answer) => read(answer).await,
                Err(status) => Err(status),
            }
        }
    };
    outcome.map_or_else(|status| status.code(), |()| Code::Ok)
}

async fn read(answer: Response<Streaming<Message>>) -> Result<(), Status> {
    let mut messages = answer.into_inner();
    while messages.message().await?.is_some() {}
    Ok(())
}

fn counted(page: &Page, server: &str, reporter: &str, status: &str) -> f64 {
    let server = format!("server=\"{server}\"");
    let reporter = format!("reporter=\"{reporter}\"");
    page.sum(COUNT, &["client=\"asks\"", "system=\"grpc\"", &server, &reporter, &format!("status=\"{status}\"")])
}

fn class(status: &str) -> &'static str {
    match status {
        "OK" => "good",
        _ if FAILED.contains(&status) => "failed",
        _ => "the client's",
    }
}

/// Calls by class.
fn by_class<'a>(calls: impl IntoIterator<Item = (&'a str, f64)>) -> BTreeMap<&'static str, f64> {
    let mut all = BTreeMap::from(["good", "failed", "the client's"].map(|class| (class, 0.0)));
    calls.into_iter().for_each(|(status, count)| *all.entry(class(status)).or_default() += count);
    all
}

#[test]
fn statuses_and_latencies_agree_with_tonic() {
    if !can_load() {
        return;
    }
    let service = |name, host| format!("  - {{name: {name}, match: [{{address: {}}}]}}\n", loopback(71, host));
    let services = format!("services:\n{}{}{}", service("asks", 1), service("tells", 2), service("waits", 3));
    let agent = Agent::start(SourceChoice::Ebpf, &services);
    let before = agent.page();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (witnessed, times) = runtime.block_on(async {
        let echo = Echo::default();
        let (tells, waits) = (serve(echo.clone(), 2), serve(echo.clone(), 3));
        (calls(client(tells).await, &echo.0).await, probe(client(waits).await).await)
    });
    assert!(witnessed.len() == 17 && witnessed.values().all(|count| *count >= 5.0), "{witnessed:?}");
    let reporters = ["client", "server"];
    let expected = by_class(witnessed.iter().map(|(status, count)| (*status, *count)));
    let statuses = || GRPC_STATUSES.into_iter().chain(REST);
    let seen = |page: &Page, reporter| by_class(statuses().map(|name| (name, counted(page, "tells", reporter, name))));
    let page = agent.page_at_last(|page| {
        reporters.iter().all(|reporter| {
            let seen = seen(page, reporter);
            expected.iter().all(|(class, count)| seen[class] >= *count)
                && counted(page, "waits", reporter, "OK") >= PROBES as f64
        })
    });
    for reporter in reporters {
        assert_eq!(seen(&page, reporter), expected, "{reporter}");
        let shown: Vec<(&str, f64)> =
            statuses().map(|name| (name, counted(&page, "tells", reporter, name))).filter(|one| one.1 > 0.0).collect();
        println!("{reporter}: {shown:?}, tonic: {witnessed:?}");
        assert!(shown.len() <= 5 && REST.iter().all(|rest| shown.iter().any(|(name, _)| name == rest)), "{shown:?}");
        // A status that has a series has all its calls there.
        for (status, count) in shown.iter().filter(|(status, _)| !REST.contains(status)) {
            assert_eq!(*count, witnessed[status], "{reporter} {status}");
        }
    }
    assert_eq!(page.sum("exporter_requests_untimed_total", &["reason=\"edge_full\""]), 0.0);
    let all: f64 = witnessed.values().sum::<f64>() + PROBES as f64;
    for reporter in reporters {
        let reporter = format!("reporter=\"{reporter}\"");
        assert_eq!(page.sum(COUNT, &["client=\"asks\"", &reporter]), all, "no other statuses");
    }
    assert_eq!(page.sum("http_request_duration_seconds_count", &["client=\"asks\""]), 0.0);

    times.assert_agree(&agent, &before, DURATION, &["server=\"waits\""]);
}

/// Calls of all kinds and statuses, many at once over one connection; gives how they ended.
async fn calls(client: Client<Channel>, arrived: &Notify) -> BTreeMap<&'static str, f64> {
    let methods = ["/test.Echo/One", "/test.Echo/Many", "/test.Echo/Both"];
    let tasks = (0..600).map(|number| {
        let status = (number / 3 % GRPC_STATUSES.len()) as u8;
        let late = if number % 50 == 0 { LATE } else { AT_ONCE };
        tokio::spawn(call(client.clone(), methods[number % 3], vec![status, late]))
    });
    let mut ended = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        *ended.entry(GRPC_STATUSES[task.await.unwrap() as usize]).or_default() += 1.0;
    }
    for _ in 0..5 {
        tokio::select! {
            code = call(client.clone(), "/test.Echo/One", vec![0, NEVER]) => panic!("answered with {code}"),
            () = arrived.notified() => *ended.entry(GRPC_STATUSES[Code::Cancelled as usize]).or_default() += 1.0,
        }
    }
    // One more, so that what was cancelled has been said.
    assert_eq!(call(client, methods[0], vec![0, AT_ONCE]).await, Code::Ok);
    *ended.entry(GRPC_STATUSES[0]).or_default() += 1.0;
    ended
}

/// Calls in turn, with what both ends know of how long each took.
async fn probe(client: Client<Channel>) -> Times {
    let mut times = Times::default();
    for number in 0..PROBES {
        let (wait, held_back) = if number % 2 == 0 { (AT_ONCE, 0.0) } else { (LATE, HELD_BACK.as_secs_f64()) };
        let began = Instant::now();
        assert_eq!(call(client.clone(), "/test.Echo/One", vec![0, wait]).await, Code::Ok);
        times.add(held_back, began.elapsed().as_secs_f64());
    }
    times
}
