//! `/metrics`, `/-/healthy`, `/-/ready` and `POST /-/reload`.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::{Api, answer, exposition, guard};

pub(crate) fn metrics(api: &Api) -> BoxedFilter<(Response,)> {
    let host = Arc::clone(&api.host);
    let metrics = warp::path!("metrics").and(warp::get()).then(move || {
        let host = Arc::clone(&host);
        async move { answer::bytes(StatusCode::OK, exposition::CONTENT_TYPE, host.metrics()) }
    });
    metrics.boxed()
}

pub(crate) fn health(api: &Api) -> BoxedFilter<(Response,)> {
    let healthy =
        warp::path!("-" / "healthy").and(warp::get()).then(|| async { answer::text(StatusCode::OK, "healthy") });
    let host = Arc::clone(&api.host);
    let ready = warp::path!("-" / "ready").and(warp::get()).then(move || {
        let ready = host.ready();
        async move {
            match ready {
                Ok(said) => answer::text(StatusCode::OK, &said),
                Err(reason) => answer::busy(&reason),
            }
        }
    });
    healthy.or(ready).unify().boxed()
}

pub(crate) fn reload(api: &Api) -> BoxedFilter<(Response,)> {
    let host = Arc::clone(&api.host);
    let reload = warp::path!("-" / "reload").and(warp::post()).and(guard::state_change()).then(move || {
        let host = Arc::clone(&host);
        async move {
            match tokio::task::spawn_blocking(move || host.reload()).await {
                Ok(Ok(outcome)) => answer::text(StatusCode::OK, &outcome),
                Ok(Err(reason)) => answer::text(StatusCode::UNPROCESSABLE_ENTITY, &reason),
                Err(_) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "reload failed"),
            }
        }
    });
    reload.boxed()
}
