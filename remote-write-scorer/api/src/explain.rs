//! `GET /api/v1/explain?incident=ID`: the account of an incident, open or past.
//!
//! JSON, or with `format=text` the same in plain sentences, one a line. Without `incident` it is the oldest
//! open one; where there is none, the answer says so.

use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::answer;
use crate::query::Parameters;
use crate::view::{Account, Feedback, ScopeView, ServiceName};

#[derive(Serialize)]
struct Explanation<'a> {
    id: &'a str,
    open: bool,
    opened_ms: i64,
    closed_ms: Option<i64>,
    root: Option<ServiceName>,
    account: &'a Account,
    explanation: &'a [String],
    feedback: Option<&'a Feedback>,
}

pub(crate) fn answer(scope: &ScopeView, parameters: &Parameters) -> Response {
    let text = match parameters.get("format").map_or("json", String::as_str) {
        "json" => false,
        "text" => true,
        other => return answer::text(StatusCode::BAD_REQUEST, &format!("format {other:?} is not json or text")),
    };
    let Some(found) = find(scope, parameters.get("incident").map(String::as_str)) else {
        let reason = match parameters.get("incident") {
            Some(_) => "no such incident",
            None => "no incident is open; ask about a past one with ?incident=ID",
        };
        return answer::text(StatusCode::NOT_FOUND, reason);
    };
    if text { answer::text(StatusCode::OK, &found.explanation.join("\n")) } else { answer::json(&found) }
}

fn find<'a>(scope: &'a ScopeView, id: Option<&str>) -> Option<Explanation<'a>> {
    let open = scope.incidents.iter().find(|incident| id.is_none_or(|id| incident.id == id)).map(|open| Explanation {
        id: &open.id,
        open: true,
        opened_ms: open.opened_ms,
        closed_ms: None,
        root: open.roots.first().map(|r| ServiceName { namespace: r.namespace.clone(), name: r.name.clone() }),
        account: &open.account,
        explanation: &open.explanation,
        feedback: None,
    });
    open.or_else(|| {
        let past = scope.closed_incidents.iter().find(|incident| id == Some(incident.id.as_str()))?;
        Some(Explanation {
            id: &past.id,
            open: false,
            opened_ms: past.opened_ms,
            closed_ms: Some(past.closed_ms),
            root: Some(past.root.clone()),
            account: &past.account,
            explanation: &past.explanation,
            feedback: past.feedback.as_ref(),
        })
    })
}
