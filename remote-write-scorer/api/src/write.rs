//! `POST /api/v1/write`: remote write 1.0 and 2.0, under snappy or zstd.
//!
//! | Answer | When |
//! |---|---|
//! | 204 | everything was taken: it is in the log and in the windows |
//! | 400 | the body is malformed (nothing was taken), or some samples were rejected (the others were taken); senders do not try again |
//! | 413 | larger than a limit; nothing was taken |
//! | 415 | a content type or encoding that is not read here; nothing was taken, so that a sender falls back rather than loses data |
//! | 503 with Retry-After | overloaded, the body does not arrive, a tenant is above its rate, or the log cannot be written; nothing was taken |
//!
//! Every answer to a request of 2.0 says how many samples, histograms and exemplars were accepted, none where
//! it was refused; an answer to 1.0 never does. Accepted is what was taken as configured: also samples of
//! series that no rule selects or of a replica that is not elected, and exemplars, none of which are kept.
//!
//! An absent content type or encoding is taken as that of 1.0, as Prometheus does
//! (`storage/remote/write_handler.go`). zstd is what vmagent tries first.

use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use quoll_ingest::in_flight::Held;
use quoll_ingest::{Encoding, Format, Receipt, Refusal, Version, WriteError};
use quoll_prometheus_protocol::{EXEMPLARS_WRITTEN, HISTOGRAMS_WRITTEN, PROTO_V1, PROTO_V2, SAMPLES_WRITTEN};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
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
            async move { answer(&api, &headers, body).await }
        })
        .boxed()
}

/// Handles a request and, where it is of 2.0, adds what was written.
async fn answer<B: Buf>(api: &Api, headers: &HeaderMap, body: impl Stream<Item = Result<B, warp::Error>>) -> Response {
    let version = version(headers);
    let encoding = encoding(headers);
    let is_v2 = version == Ok(Version::V2);
    let outcome = match (version, encoding) {
        (Ok(version), Ok(encoding)) => handle(api, headers, Format { version, encoding }, body).await,
        (Err(reason), _) | (_, Err(reason)) => {
            Err(refused(api, Refusal::UnsupportedMedia, StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason))
        }
    };
    let (mut response, written) = match outcome {
        Ok(receipt) => (answer_taken(&receipt), [receipt.samples, receipt.histograms, receipt.exemplars]),
        Err(refusal) => (refusal, [0; 3]),
    };
    if is_v2 {
        for (name, count) in [SAMPLES_WRITTEN, HISTOGRAMS_WRITTEN, EXEMPLARS_WRITTEN].into_iter().zip(written) {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                response.headers_mut().insert(name, HeaderValue::from(count));
            }
        }
    }
    response
}

fn refused(api: &Api, reason: Refusal, status: StatusCode, text: &str) -> Response {
    api.receiver.refuse(reason);
    if status == StatusCode::SERVICE_UNAVAILABLE { answer::busy(text) } else { answer::text(status, text) }
}

async fn handle<B: Buf>(
    api: &Api,
    headers: &HeaderMap,
    format: Format,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Receipt, Response> {
    let tenant = tenant(headers)
        .map_err(|reason| refused(api, Refusal::TenantName, StatusCode::BAD_REQUEST, &reason))?
        .to_owned();
    let busy = |reason: Refusal, text: &str| refused(api, reason, StatusCode::SERVICE_UNAVAILABLE, text);
    let Ok(permit) = api.in_flight.clone().try_acquire_owned() else {
        return Err(busy(Refusal::InFlight, "too many write requests at a time"));
    };
    let mut held = api.receiver.in_flight().hold();
    let limit = Duration::from_secs(api.receiver.config().limits.body_seconds.into());
    let Ok(body) = tokio::time::timeout(limit, collect(api, body, &mut held)).await else {
        return Err(busy(Refusal::Timeout, &format!("the body did not arrive within {} s", limit.as_secs())));
    };
    let body = body?;
    let receiver = api.receiver.clone();
    let written = tokio::task::spawn_blocking(move || {
        let _until_done = (permit, held);
        receiver.write(&tenant, format, &body)
    });
    match written.await {
        Ok(written) => written.map_err(|error| answer_refused(&error)),
        Err(_) => Err(answer::text(StatusCode::INTERNAL_SERVER_ERROR, "the request could not be handled")),
    }
}

async fn collect<B: Buf>(
    api: &Api,
    body: impl Stream<Item = Result<B, warp::Error>>,
    held: &mut Held,
) -> Result<Vec<u8>, Response> {
    let limits = &api.receiver.config().limits;
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|error| {
            refused(api, Refusal::Malformed, StatusCode::BAD_REQUEST, &format!("body broke off: {error}"))
        })?;
        while chunk.has_remaining() {
            let part = chunk.chunk();
            let limit = limits.compressed_bytes;
            if bytes.len() + part.len() > limit {
                let reason = format!("request exceeds the limit of {limit} bytes");
                return Err(refused(api, Refusal::CompressedBytes, StatusCode::PAYLOAD_TOO_LARGE, &reason));
            }
            if !held.grow(part.len()) {
                let reason = format!("requests under way hold the allowed {} bytes", limits.in_flight_bytes);
                return Err(refused(api, Refusal::InFlight, StatusCode::SERVICE_UNAVAILABLE, &reason));
            }
            bytes.extend_from_slice(part);
            let length = part.len();
            chunk.advance(length);
        }
    }
    Ok(bytes)
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_owned())
}

/// How the body is compressed.
fn encoding(headers: &HeaderMap) -> Result<Encoding, String> {
    match header(headers, "content-encoding") {
        None => Ok(Encoding::Snappy),
        Some(name) if name.eq_ignore_ascii_case("snappy") => Ok(Encoding::Snappy),
        Some(name) if name.eq_ignore_ascii_case("zstd") => Ok(Encoding::Zstd),
        Some(name) => Err(format!("content encoding {name:?} is not supported, only snappy and zstd")),
    }
}

/// Which message the body is.
fn version(headers: &HeaderMap) -> Result<Version, String> {
    let Some(content_type) = header(headers, "content-type") else { return Ok(Version::V1) };
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("content type {media:?} is not supported, only application/x-protobuf"));
    }
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        return match value.trim().trim_matches('"') {
            PROTO_V1 => Ok(Version::V1),
            PROTO_V2 => Ok(Version::V2),
            other => Err(format!("message {other:?} is not supported, only {PROTO_V1} and {PROTO_V2}")),
        };
    }
    Ok(Version::V1)
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
    let taken = receipt.samples + receipt.histograms;
    answer::text(
        StatusCode::BAD_REQUEST,
        &format!("samples rejected: {}; the other {taken} were taken", reasons.join(", ")),
    )
}

fn answer_refused(error: &WriteError) -> Response {
    let reason = error.to_string();
    match error.refusal() {
        Refusal::CompressedBytes | Refusal::DecodedBytes | Refusal::Series | Refusal::Samples | Refusal::Symbols => {
            answer::text(StatusCode::PAYLOAD_TOO_LARGE, &reason)
        }
        Refusal::Malformed | Refusal::Tenants | Refusal::TenantName => answer::text(StatusCode::BAD_REQUEST, &reason),
        Refusal::UnsupportedMedia => answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &reason),
        Refusal::Busy | Refusal::WaitsForLeaf | Refusal::InFlight | Refusal::TenantRate | Refusal::Timeout => {
            answer::busy(&reason)
        }
        Refusal::Log => {
            tracing::error!(%error, "the inbound log cannot be written; senders are asked to wait");
            answer::busy("samples cannot be stored at the moment")
        }
    }
}
