//! `POST /api/v1/write`: remote write 1.0.
//!
//! | Answer | When |
//! |---|---|
//! | 204 | everything was taken: it is in the log and in the windows |
//! | 400 | the body is malformed (nothing was taken), or some samples were rejected (the others were taken); senders do not try again |
//! | 413 | larger than a limit; nothing was taken |
//! | 415 | not snappy, not protobuf, or a message this receiver does not read, such as 2.0; nothing was taken, so that a sender falls back rather than loses data |
//! | 503 with Retry-After | overloaded, or the log cannot be written; nothing was taken |
//!
//! An absent content type or encoding is taken as that of 1.0, as Prometheus does
//! (`storage/remote/write_handler.go`).

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use quoll_ingest::{Receipt, WriteError};
use quoll_prometheus_protocol::snappy::SnappyError;
use quoll_prometheus_protocol::{PROTO_V1, PROTO_V2};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

use crate::{Api, answer};

/// Longest tenant name, as in Cortex and Mimir.
const MAX_TENANT_BYTES: usize = 150;

pub(crate) fn route(api: &Api) -> BoxedFilter<(Response,)> {
    let api = api.clone();
    warp::path!("api" / "v1" / "write")
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(move |headers: HeaderMap, body| {
            let api = api.clone();
            async move { handle(&api, &headers, body).await.unwrap_or_else(|refusal| refusal) }
        })
        .boxed()
}

async fn handle<B: Buf>(
    api: &Api,
    headers: &HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Response, Response> {
    negotiate(headers).map_err(|reason| answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason))?;
    let tenant = tenant(headers).map_err(|reason| answer::text(StatusCode::BAD_REQUEST, &reason))?.to_owned();
    let Ok(permit) = api.in_flight.clone().try_acquire_owned() else {
        return Err(answer::busy("too many write requests at a time"));
    };
    let body = collect(body, api.receiver.config().limits.compressed_bytes).await?;
    let receiver = api.receiver.clone();
    let written = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        receiver.write(&tenant, &body)
    });
    match written.await {
        Ok(Ok(receipt)) => Ok(answer_taken(&receipt)),
        Ok(Err(error)) => Err(answer_refused(&error)),
        Err(_) => Err(answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled")),
    }
}

async fn collect<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>, limit: usize) -> Result<Vec<u8>, Response> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk =
            chunk.map_err(|error| answer::text(StatusCode::BAD_REQUEST, &format!("body broke off: {error}")))?;
        while chunk.has_remaining() {
            let part = chunk.chunk();
            if bytes.len() + part.len() > limit {
                let reason = format!("request exceeds the limit of {limit} bytes");
                return Err(answer::text(StatusCode::PAYLOAD_TOO_LARGE, &reason));
            }
            bytes.extend_from_slice(part);
            let length = part.len();
            chunk.advance(length);
        }
    }
    Ok(bytes)
}

/// Whether this is remote write 1.0 under snappy.
fn negotiate(headers: &HeaderMap) -> Result<(), String> {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_owned());
    if let Some(encoding) = header("content-encoding")
        && !encoding.eq_ignore_ascii_case("snappy")
    {
        return Err(format!("content encoding {encoding:?} is not supported, only snappy"));
    }
    let Some(content_type) = header("content-type") else { return Ok(()) };
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("content type {media:?} is not supported, only application/x-protobuf"));
    }
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if !name.trim().eq_ignore_ascii_case("proto") || value == PROTO_V1 {
            continue;
        }
        return Err(if value == PROTO_V2 {
            "remote write 2.0 is not supported; send 1.0 (prometheus.WriteRequest)".to_owned()
        } else {
            format!("message {value:?} is not supported, only {PROTO_V1}")
        });
    }
    Ok(())
}

/// The tenant of a request: empty where none is named.
fn tenant(headers: &HeaderMap) -> Result<&str, String> {
    let Some(value) = headers.get("x-scope-orgid") else { return Ok("") };
    let tenant = value.to_str().map_err(|_| "X-Scope-OrgID is not plain text".to_owned())?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    if tenant.len() > MAX_TENANT_BYTES || !tenant.bytes().all(allowed) {
        return Err(format!("X-Scope-OrgID must be at most {MAX_TENANT_BYTES} of A-Z a-z 0-9 ! - _ . * ' ( )"));
    }
    Ok(tenant)
}

fn answer_taken(receipt: &Receipt) -> Response {
    let reasons: Vec<String> =
        receipt.rejections().map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
    if reasons.is_empty() {
        return answer::empty(StatusCode::NO_CONTENT);
    }
    let taken = receipt.selected + receipt.ignored + receipt.replica;
    answer::text(
        StatusCode::BAD_REQUEST,
        &format!("samples rejected: {}; the other {taken} were taken", reasons.join(", ")),
    )
}

fn answer_refused(error: &WriteError) -> Response {
    let reason = error.to_string();
    match error {
        WriteError::CompressedTooLarge { .. }
        | WriteError::TooManySeries { .. }
        | WriteError::Snappy(SnappyError::TooLarge { .. }) => answer::text(StatusCode::PAYLOAD_TOO_LARGE, &reason),
        WriteError::Snappy(_) | WriteError::Decode(_) => answer::text(StatusCode::BAD_REQUEST, &reason),
        WriteError::Busy { .. } => answer::busy(&reason),
        WriteError::Log(_) => {
            tracing::error!(%error, "the inbound log cannot be written; senders are asked to wait");
            answer::busy("samples cannot be stored at the moment")
        }
    }
}
