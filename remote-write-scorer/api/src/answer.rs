//! Answers: one line of text, or JSON.

use std::convert::Infallible;

use serde::Serialize;
use warp::Rejection;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use warp::http::{Response as HttpResponse, StatusCode};
use warp::reply::Response;

use crate::guard::Forbidden;

/// Seconds after which a sender that was asked to wait should come back.
const RETRY_AFTER_SECONDS: &str = "1";

pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<bytes::Bytes>) -> Response {
    let mut response = HttpResponse::new(Into::<bytes::Bytes>::into(body).into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

pub(crate) fn text(status: StatusCode, text: &str) -> Response {
    bytes(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// 503 with the time to wait.
pub(crate) fn busy(reason: &str) -> Response {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, reason);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    response
}

/// 405 with the method to use instead.
pub(crate) fn only(method: &'static str) -> Response {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, &format!("only {method} is allowed here"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    response
}

pub(crate) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// The answer where no route took the request.
pub(crate) async fn rejection(rejection: Rejection) -> Result<Response, Infallible> {
    Ok(if let Some(Forbidden(reason)) = rejection.find() {
        text(StatusCode::FORBIDDEN, reason)
    } else if rejection.find::<warp::reject::MethodNotAllowed>().is_some() {
        only("GET")
    } else if rejection.is_not_found() {
        text(StatusCode::NOT_FOUND, "no such page")
    } else {
        text(StatusCode::BAD_REQUEST, "malformed request")
    })
}
