//! The HTTP side: `/metrics`, `/-/healthy`, `/-/ready`.
//!
//! Healthy means that the process answers; ready, that the agent makes pages. Both are plain text, and
//! nothing here changes any state. Whoever asks for any of them has to be whom the web configuration
//! file wants, if there is one.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::stream;
use quoll_prometheus_protocol::exposition;
use quoll_web_config::{Counters, ServeLimits, Web};
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;
use warp::reply::{Reply, Response};

use crate::agent::AgentHandle;
use crate::exposition::{Kind, Labels, Metric, Page};
use crate::protobuf;

/// Content type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const FRONT_PAGE: &str = "<!doctype html><title>Quoll exporter</title><h1>Quoll exporter</h1>\
                          <p><a href=\"/metrics\">Metrics</a></p>";

/// Time that requests under way have to finish at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Families about the HTTP side.
pub static WEB_METRICS: LazyLock<Vec<Metric>> = LazyLock::new(|| {
    let figures = Counters::default().figures().into_iter();
    let metrics = figures.map(|figure| Metric {
        name: format!("quoll_exporter_{}", figure.name).leak(),
        help: figure.help,
        kind: if figure.counter { Kind::Counter } else { Kind::Gauge },
        labels: "",
    });
    metrics.collect()
});

/// Serves until `shutdown` resolves, then answers what was begun within [`DRAIN`].
pub async fn serve(listener: TcpListener, agent: AgentHandle, web: Web, shutdown: impl Future<Output = ()>) {
    let (scraper, own) = (agent.clone(), web.clone());
    let metrics = warp::path!("metrics").and(warp::header::optional::<String>("accept"));
    let metrics = metrics.and_then(move |accept| metrics_page(scraper.clone(), own.clone(), accept));
    let healthy = warp::path!("-" / "healthy").map(|| "healthy\n".into_response());
    let ready = warp::path!("-" / "ready").and_then(move || ready(agent.clone()));
    let front = warp::path::end().map(|| warp::reply::html(FRONT_PAGE).into_response());
    let routes = warp::get().and(metrics.or(healthy).unify().or(ready).unify().or(front).unify());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let server = quoll_web_config::serve(listener, warp::service(routes), web, ServeLimits::default(), stopped);
    let last = async {
        shutdown.await;
        drop(stop);
        tokio::time::sleep(DRAIN).await;
        tracing::warn!("some requests did not finish in time");
    };
    tokio::select! {
        () = server => {}
        () = last => {}
    }
}

/// Opens the port.
///
/// # Errors
/// Those of `bind(2)`, with the address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow::anyhow!("cannot listen at {address}: {error}"))
}

async fn page(agent: AgentHandle) -> Option<Page> {
    agent.scrape().ok()?.await.ok()
}

async fn metrics_page(agent: AgentHandle, web: Web, accept: Option<String>) -> Result<Response, Infallible> {
    let is_protobuf = accept.is_some_and(|accept| protobuf::is_wanted(&accept));
    let asked = if is_protobuf { agent.scrape_native() } else { agent.scrape() };
    let page = match asked {
        Ok(page) => page.await.ok(),
        Err(_) => None,
    };
    Ok(match page {
        Some(mut page) => {
            for (metric, figure) in WEB_METRICS.iter().zip(web.counters().figures()) {
                page.family(metric).sample(&Labels::default(), figure.value as f64);
            }
            if is_protobuf {
                let chunks = stream::iter(page.into_families().map(protobuf::family).map(Ok::<_, Infallible>));
                let reply = warp::reply::stream(chunks);
                return Ok(warp::reply::with_header(reply, CONTENT_TYPE, exposition::CONTENT_TYPE).into_response());
            }
            let chunks = stream::iter(page.into_text_chunks().map(Ok::<_, Infallible>));
            warp::reply::with_header(warp::reply::stream(chunks), CONTENT_TYPE, TEXT_FORMAT).into_response()
        }
        None => unavailable(),
    })
}

async fn ready(agent: AgentHandle) -> Result<Response, Infallible> {
    Ok(if page(agent).await.is_some() { "ready\n".into_response() } else { unavailable() })
}

fn unavailable() -> Response {
    warp::reply::with_status("the agent has stopped\n", StatusCode::SERVICE_UNAVAILABLE).into_response()
}
