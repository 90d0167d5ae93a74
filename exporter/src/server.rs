//! The HTTP side: `/metrics`, `/-/healthy`, `/-/ready`.
//!
//! Healthy means that the process answers; ready, that the agent makes pages. Both are plain text, and
//! nothing here changes any state.

use std::convert::Infallible;
use std::net::SocketAddr;

use futures_util::stream;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::StatusCode;
use warp::http::header::CONTENT_TYPE;
use warp::reply::{Reply, Response};

use crate::agent::AgentHandle;
use crate::exposition::Page;

/// Content type of the text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const FRONT_PAGE: &str = "<!doctype html><title>Quoll exporter</title><h1>Quoll exporter</h1>\
                          <p><a href=\"/metrics\">Metrics</a></p>";

/// Serves until `shutdown` resolves, then answers what was begun.
pub async fn serve(listener: TcpListener, agent: AgentHandle, shutdown: impl Future<Output = ()> + Send + 'static) {
    let scraper = agent.clone();
    let metrics = warp::path!("metrics").and_then(move || metrics(scraper.clone()));
    let healthy = warp::path!("-" / "healthy").map(|| "healthy\n".into_response());
    let ready = warp::path!("-" / "ready").and_then(move || ready(agent.clone()));
    let front = warp::path::end().map(|| warp::reply::html(FRONT_PAGE).into_response());
    let routes = warp::get().and(metrics.or(healthy).unify().or(ready).unify().or(front).unify());
    warp::serve(routes).incoming(listener).graceful(shutdown).run().await;
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

async fn metrics(agent: AgentHandle) -> Result<Response, Infallible> {
    Ok(match page(agent).await {
        Some(page) => {
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
