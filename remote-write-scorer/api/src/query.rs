//! `GET /api/v1/{graph,services,incidents}`, and the way to `explain`: the newest tick of one scope.
//!
//! The scope is chosen by `tenant=` and `partition=name=value[,name=value]`; without them it is the first
//! one. An unknown scope is 404; before the first tick the answer is an empty graph that says so.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::view::{ModelView, Published, ScopeKey, ScopeView};
use crate::{Api, answer, explain};

pub(crate) type Parameters = HashMap<String, String>;

#[derive(Serialize)]
struct Graph<'a> {
    model: &'a ModelView,
    #[serde(flatten)]
    scope: &'a ScopeView,
}

pub(crate) fn routes(api: &Api) -> BoxedFilter<(Response,)> {
    let published = Arc::clone(&api.published);
    warp::path!("api" / "v1" / String)
        .and(warp::get())
        .and(warp::query::<Parameters>())
        .and_then(move |what: String, parameters: Parameters| {
            let published = published.load_full();
            async move { answer_to(&what, &published, &parameters).ok_or_else(warp::reject::not_found) }
        })
        .boxed()
}

/// `None` where there is no such query.
fn answer_to(what: &str, published: &Published, parameters: &Parameters) -> Option<Response> {
    let respond: fn(&Published, &ScopeView, &Parameters) -> Response = match what {
        "graph" => |published, scope, _| answer::json(&Graph { model: &published.model, scope }),
        "services" => |published, scope, _| {
            answer::json(&serde_json::json!({
                "tick_ms": scope.tick_ms, "model": published.model, "services": scope.services,
            }))
        },
        "incidents" => |_, scope, _| {
            answer::json(&serde_json::json!({
                "tick_ms": scope.tick_ms, "incidents": scope.incidents, "closed": scope.closed_incidents,
            }))
        },
        "explain" => |_, scope, parameters| explain::answer(scope, parameters),
        "write" => return Some(answer::only("POST")),
        _ => return None,
    };
    Some(match scope(published, parameters) {
        Ok(scope) => respond(published, &scope, parameters),
        Err(reason) => answer::text(StatusCode::NOT_FOUND, &reason),
    })
}

pub(crate) fn scope(published: &Published, parameters: &Parameters) -> Result<Arc<ScopeView>, String> {
    if !parameters.contains_key("tenant") && !parameters.contains_key("partition") {
        return Ok(published.scopes.values().next().cloned().unwrap_or_default());
    }
    let partition = parameters.get("partition").map_or("", String::as_str);
    let pairs = partition.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').ok_or("partition must be name=value[,name=value]")?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let partition = pairs.collect::<Result<BTreeMap<_, _>, &str>>()?;
    let key = ScopeKey { tenant: parameters.get("tenant").cloned().unwrap_or_default(), partition };
    published.scopes.get(&key).cloned().ok_or_else(|| "no such scope".to_owned())
}
