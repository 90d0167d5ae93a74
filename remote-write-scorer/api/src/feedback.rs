//! `POST /api/v1/incidents/{id}/feedback`: what a user says about an incident.
//!
//! The body is `{"verdict": "not_an_incident"}` or `{"verdict": "cause", "service": {"name": "cart"}}`, where
//! `namespace` is added for a service that has one. Scopes are chosen as in queries.
//!
//! | Answer | When |
//! |---|---|
//! | 200 | learned; one line says what follows from it |
//! | 400 | not such a body |
//! | 403 | neither authenticated nor from this machine |
//! | 404 | no such incident, service or scope |

use std::sync::Arc;

use bytes::Bytes;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::query::{self, Parameters};
use crate::view::Feedback;
use crate::{Api, answer, guard};

/// Largest body.
const MAX_BYTES: u64 = 4096;

pub(crate) fn route(api: &Api) -> BoxedFilter<(Response,)> {
    let (host, published) = (Arc::clone(&api.host), Arc::clone(&api.published));
    warp::path!("api" / "v1" / "incidents" / String / "feedback")
        .and(warp::post())
        .and(guard::state_change())
        .and(warp::query::<Parameters>())
        .and(warp::body::content_length_limit(MAX_BYTES))
        .and(warp::body::bytes())
        .then(move |id: String, parameters: Parameters, body: Bytes| {
            let (host, published) = (Arc::clone(&host), Arc::clone(&published));
            async move {
                let feedback: Feedback = match serde_json::from_slice(&body) {
                    Ok(feedback) => feedback,
                    Err(error) => return answer::text(StatusCode::BAD_REQUEST, &format!("no feedback: {error}")),
                };
                let scope = match query::scope(&published.load(), &parameters) {
                    Ok(scope) => scope.scope.clone(),
                    Err(reason) => return answer::text(StatusCode::NOT_FOUND, &reason),
                };
                match tokio::task::spawn_blocking(move || host.feedback(scope, id, feedback)).await {
                    Ok(Ok(outcome)) => answer::text(StatusCode::OK, &outcome),
                    Ok(Err(reason)) => answer::text(StatusCode::NOT_FOUND, &reason),
                    Err(_) => answer::text(StatusCode::INTERNAL_SERVER_ERROR, "feedback failed"),
                }
            }
        })
        .boxed()
}
