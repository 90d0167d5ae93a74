//! The control interface: HTTP and JSON on loopback.
//!
//! Each request becomes a question to the supervisor's loop, which answers one after the other,
//! so that what it says is consistent. Errors are `{"error": TEXT}` with status 400, 404 or 409.

use std::convert::Infallible;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use warp::Filter;
use warp::http::StatusCode;

use super::faults::{FaultError, Request};

/// Largest body of a request.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// What is asked.
#[derive(Debug)]
pub enum Question {
    /// `GET /topology`.
    Topology,
    /// `GET /stats`.
    Stats,
    /// `GET /faults`.
    Faults,
    /// `POST /faults`.
    Inject(Request),
    /// `DELETE /faults/{id}`.
    Repair(String),
    /// `DELETE /faults`.
    RepairAll,
}

/// Status and body.
pub type Answer = (StatusCode, Value);
/// A question with the way back.
pub type Asked = (Question, oneshot::Sender<Answer>);

/// The answer that tells an error.
pub fn refusal(error: &FaultError) -> Answer {
    let status = match error {
        FaultError::UnknownService { .. } | FaultError::UnknownFault(_) => StatusCode::NOT_FOUND,
        FaultError::Twice { .. } => StatusCode::CONFLICT,
        _ => StatusCode::BAD_REQUEST,
    };
    (status, json!({ "error": error.to_string() }))
}

/// Serves until dropped.
pub async fn serve(listener: TcpListener, questions: mpsc::Sender<Asked>) {
    let ask = move |question| {
        let questions = questions.clone();
        async move { Ok::<_, Infallible>(reply(ask(questions, question).await)) }
    };
    let get = |question: fn() -> Question| {
        let ask = ask.clone();
        move || ask(question())
    };
    let ready = warp::path!("-" / "ready").and(warp::get()).map(|| reply((StatusCode::OK, json!({ "ready": true }))));
    let topology = warp::path!("topology").and(warp::get()).and_then(get(|| Question::Topology));
    let stats = warp::path!("stats").and(warp::get()).and_then(get(|| Question::Stats));
    let list = warp::path!("faults").and(warp::get()).and_then(get(|| Question::Faults));
    let repair_all = warp::path!("faults").and(warp::delete()).and_then(get(|| Question::RepairAll));
    let repair = {
        let ask = ask.clone();
        warp::path!("faults" / String).and(warp::delete()).and_then(move |id| ask(Question::Repair(id)))
    };
    let inject = warp::path!("faults")
        .and(warp::post())
        .and(warp::body::content_length_limit(MAX_BODY_BYTES))
        .and(warp::body::bytes())
        .and_then(move |body: bytes::Bytes| {
            let ask = ask.clone();
            async move {
                match serde_json::from_slice(&body) {
                    Ok(request) => ask(Question::Inject(request)).await,
                    Err(error) => Ok(reply(refusal(&FaultError::Shape(error.to_string())))),
                }
            }
        });
    let routes = ready.or(topology).or(stats).or(list).or(repair_all).or(repair).or(inject);
    warp::serve(routes).incoming(listener).run().await;
}

async fn ask(questions: mpsc::Sender<Asked>, question: Question) -> Answer {
    let (sender, answer) = oneshot::channel();
    let stopping = || (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": "shutting down" }));
    if questions.send((question, sender)).await.is_err() {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

fn reply((status, body): Answer) -> impl warp::Reply + use<> {
    warp::reply::with_status(warp::reply::json(&body), status)
}
