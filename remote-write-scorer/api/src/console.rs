//! The console's files: `GET /`, `/console/...`, and the same names under `/`, so that a page served at `/`
//! finds what it names relative to itself.
//!
//! Only files within the console directory are served: path parts are plain names without a leading dot, and
//! links that lead out of the directory are not followed.

use std::path::{Path, PathBuf};

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::http::header::{CACHE_CONTROL, HeaderValue, LOCATION};
use warp::path::FullPath;
use warp::reply::Response;

use crate::{Api, answer};

const NO_CONSOLE: &str = "<!doctype html><meta charset=\"utf-8\"><title>Quoll</title>\
<h1>Quoll scorer</h1><p>The console is not installed here: start <code>quoll-scorer serve</code> with \
<code>--console-dir</code> naming the console's build (<code>grafana-panel/build</code> makes it).</p>\
<p>Meanwhile: <a href=\"/api/v1/graph\">graph</a>, <a href=\"/api/v1/incidents\">incidents</a>, \
<a href=\"/metrics\">metrics</a>.</p>";

pub(crate) fn route(api: &Api) -> BoxedFilter<(Response,)> {
    let directory = api.console_dir.clone();
    warp::get()
        .and(warp::path::full())
        .then(move |path: FullPath| {
            let directory = directory.clone();
            async move { serve(directory, path.as_str()).await }
        })
        .boxed()
}

async fn serve(directory: Option<PathBuf>, path: &str) -> Response {
    if path == "/console" {
        let mut response = answer::empty(StatusCode::PERMANENT_REDIRECT);
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/console/"));
        return response;
    }
    let relative = path.strip_prefix("/console/").unwrap_or(path).trim_start_matches('/');
    let relative = if relative.is_empty() { "index.html" } else { relative };
    let Some(directory) = directory else {
        return if relative == "index.html" { page(NO_CONSOLE) } else { missing() };
    };
    let Some(name) = safe(relative) else { return missing() };
    let content_type = content_type(&name);
    match tokio::task::spawn_blocking(move || read_within(&directory, &name)).await {
        Ok(Some(content)) => {
            let mut response = answer::bytes(StatusCode::OK, content_type, content);
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        _ if relative == "index.html" => page(NO_CONSOLE),
        _ => missing(),
    }
}

fn page(html: &'static str) -> Response {
    answer::bytes(StatusCode::OK, "text/html; charset=utf-8", html)
}

fn missing() -> Response {
    answer::text(StatusCode::NOT_FOUND, "no such page")
}

/// The path as parts that cannot lead anywhere else; `None` where it has others.
fn safe(relative: &str) -> Option<PathBuf> {
    let plain = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed)
    };
    relative.split('/').all(plain).then(|| PathBuf::from(relative))
}

fn read_within(directory: &Path, name: &Path) -> Option<Vec<u8>> {
    let directory = directory.canonicalize().ok()?;
    let file = directory.join(name).canonicalize().ok()?;
    if !file.starts_with(&directory) || !file.is_file() {
        return None;
    }
    std::fs::read(file).ok()
}

fn content_type(name: &Path) -> &'static str {
    match name.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "wasm" => "application/wasm",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_directory_is_named() {
        for path in ["../x", "a/../x", ".hidden", "a//b", "a/", "%2e%2e/x", "a\\b", "~", "a/.git/config"] {
            assert_eq!(safe(path), None, "{path}");
        }
        assert_eq!(safe("assets/quoll_bg.wasm"), Some(PathBuf::from("assets/quoll_bg.wasm")));
    }

    #[test]
    fn links_out_of_the_directory_are_not_followed() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        std::fs::write(inside.path().join("open"), "y").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("link")).unwrap();
        assert_eq!(read_within(inside.path(), Path::new("link")), None);
        assert_eq!(read_within(inside.path(), Path::new("open")), Some(b"y".to_vec()));
    }
}
