//! The routes as a client sees them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quoll_api::view::{Account, ClosedIncidentView, Feedback, ScopeKey, ScopeView, ServiceName};
use quoll_api::{Api, Host, Published, Surface};
use quoll_features::FeatureSet;
use quoll_ingest::{IngestConfig, Receiver, SharedReceiver};
use quoll_prometheus_protocol::snappy;
use quoll_web_config::Peer;
use warp::http::StatusCode;

struct Fake;

impl Host for Fake {
    fn metrics(&self) -> String {
        "x 1\n".to_owned()
    }

    fn ready(&self) -> Result<String, String> {
        Err("not yet".to_owned())
    }

    fn reload(&self) -> Result<String, String> {
        Ok("loaded".to_owned())
    }

    fn feedback(&self, _: ScopeKey, incident: String, feedback: Feedback) -> Result<String, String> {
        if incident == "1-a" { Ok(format!("{feedback:?}")) } else { Err("there is no such incident".to_owned()) }
    }
}

fn api(console_dir: Option<PathBuf>) -> Api {
    let set = Arc::new(FeatureSet::preset("quoll").unwrap());
    let receiver = Arc::new(SharedReceiver::new(Receiver::in_memory(IngestConfig::default(), set, 1000)));
    Api::new(receiver, Arc::new(ArcSwap::from_pointee(Published::default())), Arc::new(Fake), console_dir)
}

async fn get(api: &Api, path: &str) -> (StatusCode, String, String) {
    let response = warp::test::request().path(path).reply(&api.routes(Surface::ALL)).await;
    let header = |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    (response.status(), header("content-type"), String::from_utf8_lossy(response.body()).into_owned())
}

#[tokio::test]
async fn console_files_are_served_with_their_types_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let console = directory.path().join("console");
    std::fs::create_dir(&console).unwrap();
    for (name, text) in [("index.html", "<p>graph"), ("quoll_bg.wasm", "\0asm"), ("console.js", "1")] {
        std::fs::write(console.join(name), text).unwrap();
    }
    std::fs::write(directory.path().join("secret"), "s").unwrap();
    let api = api(Some(console));
    for path in ["/", "/console/", "/console/index.html"] {
        let (status, kind, body) = get(&api, path).await;
        assert_eq!((status, kind.as_str(), body.as_str()), (StatusCode::OK, "text/html; charset=utf-8", "<p>graph"));
    }
    // Named relative to the page, whether it was served at / or at /console/.
    assert_eq!(get(&api, "/quoll_bg.wasm").await.1, "application/wasm");
    assert_eq!(get(&api, "/console/quoll_bg.wasm").await.1, "application/wasm");
    assert_eq!(get(&api, "/console").await.0, StatusCode::PERMANENT_REDIRECT);
    for path in ["/console/../secret", "/../secret", "/console/%2e%2e/secret", "/console//etc/passwd", "/nothing"] {
        assert_eq!(get(&api, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn without_a_console_a_page_says_how_to_get_it() {
    let (status, _, body) = get(&api(None), "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains("--console-dir"));
}

#[tokio::test]
async fn state_is_changed_from_this_machine_and_from_no_foreign_page() {
    let routes = api(None).routes(Surface::ALL);
    let reload = |peer: &str, origin: Option<&str>| {
        let request = warp::test::request().method("POST").path("/-/reload").header("host", "127.0.0.1:9467");
        let peer = Peer { address: peer.parse().unwrap(), user: None, certificate: false };
        let request = request.extension(peer);
        let request = if let Some(origin) = origin { request.header("origin", origin) } else { request };
        let routes = routes.clone();
        async move { request.reply(&routes).await.status() }
    };
    assert_eq!(reload("127.0.0.1:5", None).await, StatusCode::OK);
    assert_eq!(reload("[::1]:5", Some("http://127.0.0.1:9467")).await, StatusCode::OK);
    assert_eq!(reload("127.0.0.1:5", Some("http://evil.example")).await, StatusCode::FORBIDDEN);
    assert_eq!(reload("127.0.0.1:5", Some("null")).await, StatusCode::FORBIDDEN);
    assert_eq!(reload("192.0.2.1:5", None).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn no_answer_lets_another_origin_read_it() {
    let routes = api(None).routes(Surface::ALL);
    for path in ["/", "/metrics", "/api/v1/graph", "/-/healthy"] {
        let response = warp::test::request().path(path).header("origin", "http://evil.example").reply(&routes).await;
        assert!(response.headers().get("access-control-allow-origin").is_none(), "{path}");
    }
}

#[tokio::test]
async fn a_scope_is_chosen_by_tenant_and_partition() {
    let api = api(None);
    let key = |tenant: &str, cluster: &str| ScopeKey {
        tenant: tenant.into(),
        partition: [("cluster".to_owned(), cluster.to_owned())].into(),
    };
    let mut published = Published::default();
    for (tick, scope) in [key("", "eu"), key("", "us"), key("t", "eu")].into_iter().enumerate() {
        let view = ScopeView { scope: scope.clone(), tick_ms: i64::try_from(tick).ok(), ..Default::default() };
        published.scopes.insert(scope, Arc::new(view));
    }
    api.published.store(Arc::new(published));
    for (query, tick) in [("", 0), ("?partition=cluster=us", 1), ("?tenant=t&partition=cluster=eu", 2)] {
        let body: serde_json::Value =
            serde_json::from_str(&get(&api, &format!("/api/v1/graph{query}")).await.2).unwrap();
        assert_eq!(body["tick_ms"], tick, "{query}");
    }
    assert_eq!(get(&api, "/api/v1/graph?tenant=x").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&api, "/api/v1/explain").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&api, "/api/v1/explain?incident=x").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get(&api, "/api/v1/incidents").await.0, StatusCode::OK);
}

#[tokio::test]
async fn scopes_are_listed_as_queries_name_them() {
    let api = api(None);
    let key = |value: &str| ScopeKey { tenant: "acme".into(), partition: [("cluster".into(), value.into())].into() };
    let mut published = Published::default();
    for value in ["west", "east"] {
        published.scopes.insert(key(value), Arc::new(ScopeView::default()));
    }
    api.published.store(Arc::new(published));
    let listed: serde_json::Value = serde_json::from_str(&get(&api, "/api/v1/scopes").await.2).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[0]["tenant"], &listed[0]["partition"]), (&"acme".into(), &"cluster=east".into()));
    let query = "/api/v1/graph?tenant=acme&partition=cluster=east";
    assert_eq!(get(&api, query).await.0, StatusCode::OK);
}

#[tokio::test]
async fn past_incidents_are_explained_as_data_and_as_sentences() {
    let api = api(None);
    let past = ClosedIncidentView {
        id: "1-a".into(),
        opened_ms: 1000,
        closed_ms: 2000,
        root: ServiceName { namespace: None, name: "cart".into() },
        merged_into: None,
        account: Account { no_fault_probability: 0.25, ..Account::default() },
        explanation: vec!["First.".into(), "Second.".into()],
        feedback: Some(Feedback::NotAnIncident),
    };
    let mut published = Published::default();
    published
        .scopes
        .insert(ScopeKey::default(), Arc::new(ScopeView { closed_incidents: vec![past], ..ScopeView::default() }));
    api.published.store(Arc::new(published));
    let (status, kind, body) = get(&api, "/api/v1/explain?incident=1-a&format=text").await;
    assert_eq!(
        (status, kind.as_str(), body.as_str()),
        (StatusCode::OK, "text/plain; charset=utf-8", "First.\nSecond.\n")
    );
    let body: serde_json::Value = serde_json::from_str(&get(&api, "/api/v1/explain?incident=1-a").await.2).unwrap();
    assert_eq!((&body["open"], &body["closed_ms"]), (&false.into(), &2000.into()));
    assert_eq!(body["account"]["no_fault_probability"], 0.25);
    assert_eq!(body["feedback"]["verdict"], "not_an_incident");
    for (query, status) in [
        ("", StatusCode::NOT_FOUND),
        ("?incident=2-b", StatusCode::NOT_FOUND),
        ("?incident=1-a&format=html", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(get(&api, &format!("/api/v1/explain{query}")).await.0, status, "{query}");
    }
}

#[tokio::test]
async fn feedback_is_taken_from_this_machine_and_says_what_follows() {
    let api = api(None);
    let post = |id: &str, peer: &str, body: &str| {
        let request = warp::test::request()
            .method("POST")
            .path(&format!("/api/v1/incidents/{id}/feedback"))
            .header("host", "127.0.0.1:9467")
            .extension(Peer { address: peer.parse().unwrap(), user: None, certificate: false })
            .body(body);
        let routes = api.routes(Surface::ALL);
        async move {
            let response = request.reply(&routes).await;
            (response.status(), String::from_utf8_lossy(response.body()).into_owned())
        }
    };
    let cause = r#"{"verdict": "cause", "service": {"name": "cart", "namespace": "shop"}}"#;
    let (status, text) = post("1-a", "127.0.0.1:5", cause).await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("Cause") && text.contains("cart") && text.contains("shop"), "{text}");
    assert_eq!(post("1-a", "127.0.0.1:5", r#"{"verdict": "not_an_incident"}"#).await.0, StatusCode::OK);
    assert_eq!(post("2-b", "127.0.0.1:5", cause).await.0, StatusCode::NOT_FOUND);
    assert_eq!(post("1-a", "192.0.2.1:5", cause).await.0, StatusCode::FORBIDDEN);
    for body in ["", "{}", r#"{"verdict": "cause"}"#, r#"{"verdict": "maybe"}"#] {
        assert_eq!(post("1-a", "127.0.0.1:5", body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn what_is_not_ready_says_so_and_for_how_long_to_wait() {
    let response = warp::test::request().path("/-/ready").reply(&api(None).routes(Surface::ALL)).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
}

#[tokio::test]
async fn writers_beyond_those_in_flight_are_asked_to_wait() {
    let api = api(None);
    let all = api.in_flight.clone().acquire_many_owned(64).await.unwrap();
    let body = snappy::compress(&[]).unwrap();
    let write = || warp::test::request().method("POST").path("/api/v1/write").body(&body);
    let refused = write().reply(&api.routes(Surface::ALL)).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "1");
    drop(all);
    assert_eq!(write().reply(&api.routes(Surface::ALL)).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_listener_serves_its_part_and_health() {
    let api = api(None);
    let all = [("POST", "/api/v1/write"), ("GET", "/metrics"), ("POST", "/-/reload"), ("GET", "/api/v1/graph")];
    let parts = [
        (Surface { write: true, ..Surface::NONE }, 0),
        (Surface { metrics: true, ..Surface::NONE }, 1),
        (Surface { admin: true, ..Surface::NONE }, 2),
        (Surface { read: true, ..Surface::NONE }, 3),
    ];
    for (surface, part) in parts {
        let routes = api.routes(surface);
        for (index, (method, path)) in all.into_iter().enumerate() {
            let status = warp::test::request().method(method).path(path).reply(&routes).await.status();
            let served = !matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(served, index == part, "{surface:?} {path} {status}");
        }
        let health = warp::test::request().path("/-/healthy").reply(&routes).await;
        assert_eq!(health.status(), StatusCode::OK);
    }
}
