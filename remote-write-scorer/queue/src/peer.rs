//! One request to the peer, in which version, and what its answer means.
//!
//! # Which version
//! A peer that stored remote write 2.0 says how many samples it has written
//! (<https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, "Required Written Response Headers"). A 2xx
//! without that count, or with a smaller one, proves nothing: Prometheus 2.42 and VictoriaMetrics 1.79 answer
//! 204 to a 2.0 body, which is an empty 1.0 one to them, and lose it. Such an answer, 415, and a refusal by a
//! peer that never proved anything, mean 1.0, with the same samples at once, and for a while after.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime};

use quoll_prometheus_protocol as protocol;
use ureq::http::{HeaderName, HeaderValue, Uri, header};

use crate::body::Version;
use crate::config::{Credentials, Protocol, QueueConfig, Tls};
use crate::error::QueueError;
use crate::tls::Stamp;

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
    /// The peer does not show that it understands remote write 2.0: the same again, as 1.0, at once.
    Unproven { reason: String },
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Peer {
    agent: RefCell<(Stamp, ureq::Agent)>,
    uri: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    credentials: Credentials,
    tls: Option<Tls>,
    timeout: Duration,
    try_again_after: Duration,
    /// Whether the last answer to 2.0 proved that it was stored.
    proven: Cell<bool>,
    /// 1.0 alone until then; `None` for no such time.
    only_v1_until: Cell<Option<Instant>>,
    always_v1: bool,
}

impl Peer {
    pub fn new(config: &QueueConfig) -> Result<Self, QueueError> {
        let bad_url = |reason: String| QueueError::Url { url: config.url.clone(), reason };
        let uri: Uri = config.url.parse().map_err(|error| bad_url(format!("{error}")))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => Some(config.tls.clone()),
            _ => return Err(bad_url("write it as http://HOST:PORT/api/v1/write, or https".to_owned())),
        };
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
        // A file that is not there yet may come; a secret that can never be sent is refused now.
        let in_file = match &config.credentials {
            Credentials::None => true,
            Credentials::Basic { password, .. } => matches!(password, crate::config::Secret::File(_)),
            Credentials::Token { token, .. } => matches!(token, crate::config::Secret::File(_)),
        };
        if let Err(reason) = config.credentials.header()
            && !in_file
        {
            return Err(QueueError::Header { name: "Authorization".to_owned(), reason });
        }
        let stamp = tls.as_ref().map(Tls::stamp).unwrap_or_default();
        let agent = agent(config.timeout, tls.as_ref())?;
        Ok(Self {
            agent: RefCell::new((stamp, agent)),
            uri,
            headers,
            credentials: config.credentials.clone(),
            tls,
            timeout: config.timeout,
            try_again_after: config.try_again_after,
            proven: Cell::new(false),
            only_v1_until: Cell::new(None),
            always_v1: config.protocol == Protocol::V1,
        })
    }

    /// The version to send now.
    pub fn version(&self) -> Version {
        let now = Instant::now();
        if self.always_v1 || self.only_v1_until.get().is_some_and(|until| now < until) {
            Version::V1
        } else {
            Version::V2
        }
    }

    fn fall_back(&self) {
        self.proven.set(false);
        self.only_v1_until.set(Some(Instant::now() + self.try_again_after));
    }

    /// The agent, made anew where certificates have changed; one that cannot be used leaves the old ones.
    fn agent(&self) -> ureq::Agent {
        let mut held = self.agent.borrow_mut();
        if let Some(tls) = &self.tls {
            let stamp = tls.stamp();
            if stamp != held.0 {
                match agent(self.timeout, Some(tls)) {
                    Ok(agent) => *held = (stamp, agent),
                    Err(error) => tracing::warn!(%error, "changed certificates are not used"),
                }
            }
        }
        held.1.clone()
    }

    /// Sends one body of `samples` samples.
    pub fn send(&self, body: &[u8], version: Version, samples: u64) -> Answer {
        let (content_type, number) = match version {
            Version::V1 => (protocol::CONTENT_TYPE_V1, protocol::VERSION_V1),
            Version::V2 => (protocol::CONTENT_TYPE_V2, protocol::VERSION_V2),
        };
        let mut request = self
            .agent()
            .post(&self.uri)
            .header(header::CONTENT_TYPE, content_type)
            .header(header::CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", number);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match self.credentials.header() {
            Ok(None) => {}
            Ok(Some(value)) => request = request.header(header::AUTHORIZATION, value),
            Err(reason) => return Answer::Later { reason, retry_after: None },
        }
        let mut answer = match request.send(body) {
            Ok(answer) => answer,
            Err(error) => return Answer::Later { reason: error.to_string(), retry_after: None },
        };
        let status = answer.status().as_u16();
        let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let retry_after = text("retry-after").and_then(|value| parse_retry_after(value, SystemTime::now()));
        let written = text(protocol::SAMPLES_WRITTEN).and_then(|value| value.trim().parse::<u64>().ok());
        // Read to its end where it is short, so that the connection can be used again.
        let message = answer.body_mut().with_config().limit(MESSAGE_BYTES).lossy_utf8(true).read_to_string();
        let meaning = classify(status, message.unwrap_or_default().trim(), retry_after);
        match version {
            Version::V1 => meaning,
            Version::V2 => self.judge(meaning, status, written, samples),
        }
    }

    /// What an answer to a body of 2.0 means.
    fn judge(&self, meaning: Answer, status: u16, written: Option<u64>, samples: u64) -> Answer {
        let unproven = match (&meaning, written) {
            (Answer::Taken, Some(written)) if written >= samples => {
                self.proven.set(true);
                self.only_v1_until.set(None);
                return meaning;
            }
            (Answer::Taken, Some(written)) => format!("{status}, but only {written} of {samples} samples written"),
            (Answer::Taken, None) => format!("{status} without a count of samples written"),
            (Answer::Later { reason, .. }, _) if status == 415 => reason.clone(),
            (Answer::Refused { message, .. }, None) if !self.proven.get() => format!("{status}: {message}"),
            _ => return meaning,
        };
        self.fall_back();
        Answer::Unproven { reason: unproven }
    }
}

fn agent(timeout: Duration, tls: Option<&Tls>) -> Result<ureq::Agent, QueueError> {
    let mut builder = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        // A redirect would turn the POST into a GET, or send data where nobody said it may go.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("quoll-scorer/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        builder = builder.tls_config(tls.load()?);
    }
    Ok(builder.build().new_agent())
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
        for url in ["", "localhost:9090", "ftp://x/", "/api/v1/write", "http:///x"] {
            assert!(matches!(Peer::new(&QueueConfig::new(url, "/nowhere")), Err(QueueError::Url { .. })), "{url}");
        }
    }
}
