//! `GET /api/v1/scopes`: the scopes there are, as `tenant=` and `partition=` of the other queries name them.

use std::sync::Arc;

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use crate::{Api, answer};

#[derive(Serialize)]
struct Scope<'a> {
    tenant: &'a str,
    /// `name=value[,name=value]`; empty without partition labels.
    partition: String,
    services: usize,
    incidents: usize,
    tick_ms: Option<i64>,
}

pub(crate) fn route(api: &Api) -> BoxedFilter<(Response,)> {
    let published = Arc::clone(&api.published);
    warp::path!("api" / "v1" / "scopes")
        .and(warp::get())
        .map(move || {
            let published = published.load_full();
            let scope = |(key, view): (&'_ crate::view::ScopeKey, &Arc<crate::view::ScopeView>)| {
                let pairs: Vec<String> = key.partition.iter().map(|(name, value)| format!("{name}={value}")).collect();
                serde_json::json!(Scope {
                    tenant: &key.tenant,
                    partition: pairs.join(","),
                    services: view.services.len(),
                    incidents: view.incidents.len(),
                    tick_ms: view.tick_ms,
                })
            };
            answer::json(&published.scopes.iter().map(scope).collect::<Vec<_>>())
        })
        .boxed()
}
