//! One request to the peer and what its answer means.

use std::time::{Duration, SystemTime};

use ureq::http::{HeaderName, HeaderValue, Uri, header};

use crate::config::QueueConfig;
use crate::error::QueueError;

/// Of an answer's text this much is read and logged.
const MESSAGE_BYTES: u64 = 1 << 10;
/// No peer may make us wait longer than this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// What an answer means for the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 2xx: the peer has it.
    Taken,
    /// The data, or one of its series, is refused for ever (400, 409, 413, 422).
    Refused { status: u16, message: String },
    /// Not now: no answer, 5xx, 429; or an answer that speaks of the peer's set-up and not of the data
    /// (a wrong path or credentials, 3xx and the other 4xx), which somebody may repair.
    Later { reason: String, retry_after: Option<Duration> },
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Peer {
    agent: ureq::Agent,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Peer {
    pub fn new(config: &QueueConfig) -> Result<Self, QueueError> {
        let bad_url = |reason: String| QueueError::Url { url: config.url.clone(), reason };
        let uri: Uri = config.url.parse().map_err(|error| bad_url(format!("{error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad_url("TLS is not built in; put a local proxy in front".to_owned())),
            _ => return Err(bad_url("write it as http://HOST:PORT/api/v1/write".to_owned())),
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad_url("it names no host".to_owned()));
        }
        let mut headers = Vec::with_capacity(config.headers.len());
        for (name, value) in &config.headers {
            let bad = |reason: String| QueueError::Header { name: name.clone(), reason };
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| bad(error.to_string()))?;
            let value = HeaderValue::from_str(value).map_err(|error| bad(error.to_string()))?;
            headers.push((parsed, value));
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .http_status_as_error(false)
            // A redirect would turn the POST into a GET, or send data where nobody said it may go.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("quoll-scorer/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent, uri, headers })
    }

    /// Sends one body by remote write 1.0
    /// (<https://prometheus.io/docs/specs/prw/remote_write_spec/>).
    pub fn send(&self, body: &[u8]) -> Answer {
        let mut request = self
            .agent
            .post(&self.uri)
            .header(header::CONTENT_TYPE, quoll_prometheus_protocol::CONTENT_TYPE_V1)
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", quoll_prometheus_protocol::VERSION_V1);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.send(body) {
            Ok(mut answer) => {
                let status = answer.status().as_u16();
                let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let retry_after = retry_after.and_then(|value| parse_retry_after(value, SystemTime::now()));
                // Read to its end where it is short, so that the connection can be used again.
                let message = answer.body_mut().with_config().limit(MESSAGE_BYTES).lossy_utf8(true).read_to_string();
                classify(status, message.unwrap_or_default().trim(), retry_after)
            }
            Err(error) => Answer::Later { reason: error.to_string(), retry_after: None },
        }
    }
}

fn classify(status: u16, message: &str, retry_after: Option<Duration>) -> Answer {
    match status {
        200..=299 => Answer::Taken,
        400 | 409 | 413 | 422 => Answer::Refused { status, message: message.to_owned() },
        _ => {
            let reason = if message.is_empty() { format!("status {status}") } else { format!("{status}: {message}") };
            Answer::Later { reason, retry_after }
        }
    }
}

/// `Retry-After` as seconds or as an HTTP date (RFC 9110, section 10.2.3), at most
/// [`LONGEST_RETRY_AFTER`].
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(value)?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// An HTTP date in the form that senders must use: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let mut words = date.split(' ');
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = i64::try_from(MONTHS.iter().position(|name| *name == month)?).ok()? + 1;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = words.next()?.split(':').map(|part| part.parse::<i64>().ok().filter(|part| (0..=60).contains(part)));
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if words.next() != Some("GMT") {
        return None;
    }
    // Days since the epoch in the proleptic Gregorian calendar, counting years from March
    // (E. G. Richards, "Calendars", in Explanatory Supplement to the Astronomical Almanac, 2013, 15.11.3).
    let (shifted_year, shifted_month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * shifted_year + shifted_year / 4 - shifted_year / 100
        + shifted_year / 400
        + (153 * shifted_month + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_are_read() {
        let seconds = |text| http_date(text).map(|t| t.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for bad in
            ["", "now", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 1:1:1 GMT"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("86400", now), Some(LONGEST_RETRY_AFTER));
        assert_eq!(parse_retry_after("soon", now), None);
    }

    #[test]
    fn only_answers_about_the_data_are_permanent() {
        for status in [200, 202, 204] {
            assert_eq!(classify(status, "", None), Answer::Taken);
        }
        for status in [400, 409, 413, 422] {
            assert!(matches!(classify(status, "bad", None), Answer::Refused { .. }), "{status}");
        }
        for status in [301, 401, 403, 404, 405, 415, 429, 500, 503] {
            assert!(matches!(classify(status, "", None), Answer::Later { .. }), "{status}");
        }
    }

    #[test]
    fn an_address_that_cannot_work_is_refused_with_a_reason() {
        for url in ["", "localhost:9090", "ftp://x/", "https://x/api/v1/write", "/api/v1/write", "http:///x"] {
            assert!(matches!(Peer::new(&QueueConfig::new(url, "/nowhere")), Err(QueueError::Url { .. })), "{url}");
        }
    }
}
