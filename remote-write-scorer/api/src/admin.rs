//! `/metrics`, `/-/healthy`, `/-/ready` and `POST /-/reload`.

use std::net::SocketAddr;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, StatusCode, Uri};
use warp::reply::Response;

use crate::{Api, answer, exposition};

pub(crate) fn routes(api: &Api) -> BoxedFilter<(Response,)> {
    let host = Arc::clone(&api.host);
    let metrics = warp::path!("metrics").and(warp::get()).then(move || {
        let host = Arc::clone(&host);
        async move { answer::bytes(StatusCode::OK, exposition::CONTENT_TYPE, host.metrics()) }
    });
    let healthy =
        warp::path!("-" / "healthy").and(warp::get()).then(|| async { answer::text(StatusCode::OK, "healthy") });
    let host = Arc::clone(&api.host);
    let ready = warp::path!("-" / "ready").and(warp::get()).then(move || {
        let ready = host.ready();
        async move {
            match ready {
                Ok(()) => answer::text(StatusCode::OK, "ready"),
                Err(reason) => answer::busy(&reason),
            }
        }
    });
    let host = Arc::clone(&api.host);
    let reload = warp::path!("-" / "reload")
        .and(warp::post())
        .and(warp::addr::remote())
        .and(warp::header::headers_cloned())
        .then(move |peer: Option<SocketAddr>, headers: HeaderMap| {
            let host = Arc::clone(&host);
            async move { reload(host, peer, &headers).await }
        });
    metrics.or(healthy).unify().or(ready).unify().or(reload).unify().boxed()
}

async fn reload(host: Arc<dyn crate::Host>, peer: Option<SocketAddr>, headers: &HeaderMap) -> Response {
    if let Err(reason) = may_change_state(peer, headers) {
        return answer::text(StatusCode::FORBIDDEN, reason);
    }
    match tokio::task::spawn_blocking(move || host.reload()).await {
        Ok(Ok(outcome)) => answer::text(StatusCode::OK, &outcome),
        Ok(Err(reason)) => answer::text(StatusCode::UNPROCESSABLE_ENTITY, &reason),
        Err(_) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "reload failed"),
    }
}

/// State is changed from this machine only, and not by a page of another site that a browser on this machine
/// happens to show: browsers name that site in `Origin`.
fn may_change_state(peer: Option<SocketAddr>, headers: &HeaderMap) -> Result<(), &'static str> {
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        return Err("allowed from this machine only");
    }
    let Some(origin) = headers.get("origin") else { return Ok(()) };
    let host = headers.get("host").and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let own =
        origin.as_ref().and_then(Uri::authority).map(warp::http::uri::Authority::as_str) == host && host.is_some();
    if own { Ok(()) } else { Err("refused for pages of other sites") }
}
