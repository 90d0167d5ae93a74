//! Raw samples out of Prometheus, through the same windows as live ones.
//!
//! A range-vector selector as an instant query (`metric[150s]`) returns samples as they were stored, with
//! their own timestamps; a range query would resample them. One query per selected metric, at one common
//! time. All samples are then pushed in order of time, so that steps close as they would have live.
//! What Prometheus has lost stays lost: stale markers are not part of an answer, a series that ended is
//! one without samples.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quoll_features::{ClosedStep, FeatureSet, ScopeWindows, SeriesRef};
use serde::Deserialize;

/// Most bytes of one answer that are read.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// How long one query may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why the history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Prometheus cannot be reached, or did not answer in time.
    #[error("cannot ask Prometheus at {url} ({reason}); --prometheus URL says where it is")]
    Http {
        /// Where.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The address is none.
    #[error("'{url}' is no address of a Prometheus; write --prometheus http://HOST:PORT, or https")]
    Address {
        /// What was given.
        url: String,
    },
    /// The answer is not one of Prometheus.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// What to read.
#[derive(Debug, Clone)]
pub struct Source {
    /// Where Prometheus answers, such as `http://127.0.0.1:9090`.
    pub url: String,
    /// `X-Scope-OrgID`, for senders with tenants.
    pub tenant: Option<String>,
    /// Label matchers that every series must meet, such as `cluster="a"`; may be empty.
    pub matchers: String,
    /// How far back, in milliseconds.
    pub range_ms: i64,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The steps, oldest first.
    pub steps: Vec<ClosedStep>,
    /// Series that some rule selects.
    pub series: usize,
    /// Samples of those.
    pub samples: usize,
}

/// Reads the last `range` up to now; `progress` gets the metrics done, and how many there are.
///
/// # Errors
/// [`ReadError`] for the first query that fails.
pub fn read(
    source: &Source,
    set: &Arc<FeatureSet>,
    step_ms: i64,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<History, ReadError> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false).build().into();
    if !["http://", "https://"].iter().any(|scheme| source.url.starts_with(scheme)) {
        return Err(ReadError::Address { url: source.url.clone() });
    }
    let metrics: Vec<&str> = set.metrics().collect();
    let mut windows = ScopeWindows::new(Arc::clone(set), step_ms);
    let mut samples: Vec<(i64, SeriesRef, f64)> = Vec::new();
    let mut series_count = 0;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    for (done, metric) in metrics.iter().enumerate() {
        let query = format!("{metric}{{{}}}[{}ms]", source.matchers, source.range_ms);
        let answer = ask(&agent, source, &query, now)?;
        for mut series in answer.data.map(|d| d.result).unwrap_or_default() {
            // A matrix has names that the selector gave; the series is bound as remote write would.
            series.metric.entry("__name__".to_owned()).or_insert_with(|| (*metric).to_owned());
            let labels: Vec<(&str, &str)> = series.metric.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let Some(bound) = windows.bind(&labels) else { continue };
            series_count += 1;
            samples.extend(
                series
                    .values
                    .iter()
                    .filter_map(|(seconds, value)| Some(((seconds * 1000.0).round() as i64, bound, number(value)?))),
            );
        }
        progress(done + 1, metrics.len());
    }
    samples.sort_by_key(|(timestamp, series, _)| (*timestamp, *series));
    let mut steps = Vec::new();
    let mut last = i64::MIN;
    for (timestamp, series, value) in &samples {
        // Closing between two timestamps, never between two samples of one scrape.
        if *timestamp > last {
            windows.close(&mut steps);
            last = *timestamp;
        }
        windows.push(*series, *timestamp, *value);
    }
    windows.close(&mut steps);
    Ok(History { steps, series: series_count, samples: samples.len() })
}

/// A sample value in Prometheus' notation.
fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok(),
    }
}

fn ask(agent: &ureq::Agent, source: &Source, query: &str, time: f64) -> Result<Answer, ReadError> {
    let url = format!("{}/api/v1/query", source.url.trim_end_matches('/'));
    let failed = |error: ureq::Error| ReadError::Http {
        url: source.url.clone(),
        reason: match error {
            ureq::Error::Io(error) => error.to_string(),
            other => other.to_string(),
        },
    };
    let odd = |reason: String| ReadError::Answer { url: format!("{url}?query={query}"), reason };
    let mut request = agent.get(&url).query("query", query).query("time", format!("{time:.3}"));
    if let Some(tenant) = &source.tenant {
        request = request.header("X-Scope-OrgID", tenant);
    }
    let mut response = request.call().map_err(failed)?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec().map_err(failed)?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|e| {
        let start = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let line = start.lines().next().unwrap_or_default().trim();
        odd(format!("status {status}, and no answer of a Prometheus ({e}): {line}; --prometheus URL says where it is"))
    })?;
    match &answer.error {
        Some(reason) => Err(odd(format!("status {status}: {reason}"))),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn numbers_are_read_in_prometheus_notation() {
        assert_eq!(number("1.5e3"), Some(1500.0));
        assert_eq!(number("+Inf"), Some(f64::INFINITY));
        assert!(number("NaN").unwrap().is_nan());
        assert_eq!(number("x"), None);
    }

    #[test]
    fn an_error_of_the_server_is_passed_on_with_the_query() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).unwrap();
            let body = r#"{"status":"error","errorType":"bad_data","error":"parse error here"}"#;
            let head =
                format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        });
        let source = Source { url, tenant: Some("a".to_owned()), matchers: String::new(), range_ms: 1000 };
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let error = ask(&agent, &source, "up[1000ms]", 12.5).err().unwrap().to_string();
        assert!(error.contains("parse error here") && error.contains("up[1000ms]"), "{error}");
        assert!(server.join().unwrap().to_lowercase().contains("x-scope-orgid: a"));
    }
}
