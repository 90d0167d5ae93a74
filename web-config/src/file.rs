//! The file's format, and its check beyond what YAML says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::error::WebConfigError;
use crate::rate::Rate;
use crate::tls::{ClientAuth, Pem, TlsSettings, Versions};
use crate::users::Users;

/// Headers that the format knows, and the only values allowed where there are such.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-XSS-Protection", &[]),
    ("Strict-Transport-Security", &[]),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawFile {
    tls_server_config: Option<RawTls>,
    http_server_config: Option<RawHttp>,
    basic_auth_users: Option<BTreeMap<String, String>>,
    rate_limit: Option<RawRate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTls {
    cert: Option<String>,
    key: Option<String>,
    client_ca: Option<String>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<String>,
    client_allowed_sans: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    cipher_suites: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawHttp {
    http2: Option<bool>,
    headers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRate {
    interval: Option<String>,
    burst: Option<u32>,
}

/// A file that says nothing impossible. What it names on disk is not read yet.
#[derive(Debug, Default)]
pub(crate) struct WebFile {
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) users: Users,
    pub(crate) rate: Option<Rate>,
}

impl WebFile {
    /// Reads the format; relative names in it are relative to `directory`.
    pub(crate) fn parse(text: &str, directory: &Path) -> Result<Self, WebConfigError> {
        let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        let raw: RawFile = if empty {
            RawFile::default()
        } else {
            // Without the lines around the mistake: there are secrets in them.
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| {
                let reason = error.to_string();
                let suggestion = suggestion(&reason);
                WebConfigError::Parse { reason: reason + &suggestion }
            })?
        };
        let http = raw.http_server_config.unwrap_or_default();
        if http.http2 == Some(true) {
            let reason = "HTTP/2 is not supported; leave this out or set it to false";
            return Err(WebConfigError::setting("http_server_config.http2", reason));
        }
        Ok(Self {
            tls: raw.tls_server_config.map(|tls| tls.check(directory)).transpose()?,
            headers: headers(http.headers)?,
            users: Users::new(raw.basic_auth_users.unwrap_or_default())?,
            rate: raw.rate_limit.map(RawRate::check).transpose()?.flatten(),
        })
    }
}

/// Reads a file and everything it names, and says what it switches on.
///
/// # Errors
/// Everything for which [`crate::Web::open`] would refuse it.
pub fn check(path: &Path) -> Result<String, WebConfigError> {
    crate::Web::open(Some(path)).map(|web| web.summary())
}

/// Checks what a file says, without reading what it names; relative names are relative to `directory`.
///
/// # Errors
/// What the format does not allow, and what is not supported, with the key.
pub fn check_text(text: &str, directory: &Path) -> Result<(), WebConfigError> {
    WebFile::parse(text, directory).map(drop)
}

impl RawTls {
    fn check(self, directory: &Path) -> Result<TlsSettings, WebConfigError> {
        let refuse = |key: &str, reason: String| WebConfigError::setting(format!("tls_server_config.{key}"), reason);
        let certificate = pem(directory, "cert", self.cert, self.cert_file)?
            .ok_or_else(|| refuse("cert_file", "a certificate is needed".into()))?;
        let key = pem(directory, "key", self.key, self.key_file)?
            .ok_or_else(|| refuse("key_file", "a private key is needed".into()))?;
        let ca = pem(directory, "client_ca", self.client_ca, self.client_ca_file)?;
        let kind = self.client_auth_type.as_deref().unwrap_or_default();
        let needs_ca = |ca: Option<Pem>| {
            ca.ok_or_else(|| refuse("client_ca_file", format!("client_auth_type {kind} needs a client CA")))
        };
        let client_auth = match kind {
            "" | "NoClientCert" if ca.is_some() => {
                let reason = "a client CA does nothing without client_auth_type: RequireAndVerifyClientCert";
                return Err(refuse("client_ca_file", reason.into()));
            }
            "" | "NoClientCert" => ClientAuth::None,
            "VerifyClientCertIfGiven" => ClientAuth::IfGiven(needs_ca(ca)?),
            "RequireAndVerifyClientCert" => ClientAuth::Required(needs_ca(ca)?),
            "RequestClientCert" | "RequireAnyClientCert" => {
                let reason = format!(
                    "{kind} takes any certificate unverified and is not supported; use RequireAndVerifyClientCert"
                );
                return Err(refuse("client_auth_type", reason));
            }
            other => {
                let reason =
                    format!("{other:?} is none of NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert");
                return Err(refuse("client_auth_type", reason));
            }
        };
        if !self.client_allowed_sans.is_empty() && !matches!(client_auth, ClientAuth::Required(_)) {
            let reason = "needs client_auth_type: RequireAndVerifyClientCert";
            return Err(refuse("client_allowed_sans", reason.into()));
        }
        if let Some(name) = self.client_allowed_sans.iter().find(|name| name.contains(['/', '@'])) {
            let reason = format!("{name:?}: only DNS names and IP addresses are supported");
            return Err(refuse("client_allowed_sans", reason));
        }
        let version = |key: &str, text: Option<String>, default: u8| match text.as_deref() {
            None | Some("") => Ok(default),
            Some("TLS12") => Ok(2),
            Some("TLS13") => Ok(3),
            Some(old @ ("TLS10" | "TLS11")) => {
                Err(refuse(key, format!("{old} is not supported, only TLS12 and TLS13")))
            }
            Some(other) => Err(refuse(key, format!("{other:?} is neither TLS12 nor TLS13"))),
        };
        let (min, max) = (version("min_version", self.min_version, 2)?, version("max_version", self.max_version, 3)?);
        let versions = match (min, max) {
            (2, 2) => Versions::Only12,
            (3, 3) => Versions::Only13,
            (2, 3) => Versions::Both,
            _ => return Err(refuse("max_version", "is below min_version".into())),
        };
        if self.prefer_server_cipher_suites == Some(false) {
            let reason = "the client's preference cannot be followed; leave this out or set it to true";
            return Err(refuse("prefer_server_cipher_suites", reason.into()));
        }
        Ok(TlsSettings {
            certificate,
            key,
            client_auth,
            allowed_sans: self.client_allowed_sans,
            versions,
            cipher_suites: self.cipher_suites,
            curves: self.curve_preferences,
        })
    }
}

impl RawRate {
    /// `None` where it says "no limit".
    fn check(self) -> Result<Option<Rate>, WebConfigError> {
        let interval = self.interval.unwrap_or_else(|| "0s".into());
        let interval = duration(&interval).ok_or_else(|| {
            WebConfigError::setting("rate_limit.interval", format!("{interval:?} is not a duration such as 10ms or 1s"))
        })?;
        if interval.is_zero() {
            return Ok(None);
        }
        let burst = self.burst.unwrap_or(1);
        if burst == 0 {
            return Err(WebConfigError::setting("rate_limit.burst", "0 would let no request pass"));
        }
        Ok(Some(Rate { per_second: 1.0 / interval.as_secs_f64(), burst: f64::from(burst) }))
    }
}

/// PEM text given in the file itself or beside it.
fn pem(
    directory: &Path,
    key: &str,
    inline: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<Pem>, WebConfigError> {
    let file = file.filter(|file| !file.as_os_str().is_empty());
    match (inline.filter(|text| !text.is_empty()), file) {
        (Some(_), Some(_)) => {
            Err(WebConfigError::setting(format!("tls_server_config.{key}"), format!("give either {key} or {key}_file")))
        }
        (Some(text), None) => Ok(Some(Pem::Inline(text))),
        (None, Some(file)) => Ok(Some(Pem::File(directory.join(file)))),
        (None, None) => Ok(None),
    }
}

fn headers(given: BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, WebConfigError> {
    let mut headers = Vec::new();
    for (name, value) in given {
        let refuse = |reason: String| WebConfigError::setting(format!("http_server_config.headers.{name}"), reason);
        let Some((_, allowed)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = HEADERS.iter().map(|(known, _)| *known).collect();
            return Err(refuse(format!("not one of {}", known.join(", "))));
        };
        if value.is_empty() {
            continue;
        }
        if !allowed.is_empty() && !allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(&value)) {
            return Err(refuse(format!("{value:?} is not one of {}", allowed.join(", "))));
        }
        let parsed = HeaderValue::from_str(&value).map_err(|_| refuse(format!("{value:?} is no header value")))?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse("no header name".into()))?;
        headers.push((name, parsed));
    }
    Ok(headers)
}

/// A duration of Prometheus' configuration, of one unit.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "" if number == 0 => 0,
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

/// For "unknown field `a`, expected one of `b`, `c`": which of them was probably meant.
fn suggestion(reason: &str) -> String {
    let parts = reason.split_once("unknown field `").and_then(|(_, rest)| rest.split_once('`'));
    let Some((found, rest)) = parts else { return String::new() };
    let line = rest.lines().next().unwrap_or_default();
    let known = line.split([' ', ',', '`']).filter(|word| !matches!(*word, "" | "expected" | "one" | "of" | "or"));
    match known.map(|known| (strsim::levenshtein(found, known), known)).min() {
        Some((far, known)) if far <= 1 + found.len() / 3 => format!(" (did you mean `{known}`?)"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        WebFile::parse(text, Path::new("/etc")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_switches_nothing_on() {
        for text in ["", "# nothing\n"] {
            let file = WebFile::parse(text, Path::new("/")).unwrap();
            assert!(file.tls.is_none() && file.users.is_empty() && file.rate.is_none() && file.headers.is_empty());
        }
    }

    #[test]
    fn no_refusal_repeats_what_stands_beside_the_mistake() {
        let reason = refusal("basic_auth_users:\n  ann: secret\nbasic_auth_users:\n  bob: secret\n");
        assert!(reason.contains("duplicate") && reason.contains("line 3") && !reason.contains("secret"), "{reason}");
    }

    #[test]
    fn names_are_relative_to_the_file() {
        let text = "tls_server_config:\n  cert_file: a.crt\n  key_file: /k/a.key\n";
        let tls = WebFile::parse(text, Path::new("/etc/web")).unwrap().tls.unwrap();
        assert_eq!(tls.files(), [Path::new("/etc/web/a.crt"), Path::new("/k/a.key")]);
    }

    #[test]
    fn a_misspelt_key_is_refused_with_the_one_probably_meant() {
        let reason = refusal("tls_server_config:\n  cert_fil: a\n");
        assert!(reason.contains("did you mean `cert_file`?"), "{reason}");
        let reason = refusal("basic_auth_user: {}\n");
        assert!(reason.contains("did you mean `basic_auth_users`?"), "{reason}");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
        let cases = [
            ("http_server_config:\n  http2: true\n".to_owned(), "http_server_config.http2"),
            ("http_server_config:\n  headers: {Server: x}\n".to_owned(), "headers.Server"),
            ("http_server_config:\n  headers: {X-Frame-Options: allow}\n".to_owned(), "deny, sameorigin"),
            (format!("{tls}  min_version: TLS10\n"), "min_version"),
            (format!("{tls}  min_version: TLS13\n  max_version: TLS12\n"), "max_version"),
            (format!("{tls}  client_auth_type: RequireAnyClientCert\n"), "client_auth_type"),
            (format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"), "client_ca_file"),
            (format!("{tls}  client_ca_file: c\n"), "client_ca_file"),
            (format!("{tls}  client_allowed_sans: [a]\n"), "client_allowed_sans"),
            (format!("{tls}  prefer_server_cipher_suites: false\n"), "prefer_server_cipher_suites"),
            (format!("{tls}  cert: x\n"), "either cert or cert_file"),
            ("tls_server_config:\n  key_file: b\n".to_owned(), "cert_file"),
            ("rate_limit:\n  interval: soon\n".to_owned(), "rate_limit.interval"),
            ("rate_limit:\n  interval: 1s\n  burst: 0\n".to_owned(), "rate_limit.burst"),
        ];
        for (text, expected) in cases {
            let reason = refusal(&text);
            assert!(reason.contains(expected), "{text}: {reason}");
        }
    }

    #[test]
    fn a_rate_is_one_request_an_interval() {
        let rate = WebFile::parse("rate_limit:\n  interval: 100ms\n  burst: 5\n", Path::new("/")).unwrap().rate;
        assert_eq!(rate, Some(Rate { per_second: 10.0, burst: 5.0 }));
        let none = WebFile::parse("rate_limit:\n  interval: 0\n", Path::new("/")).unwrap();
        assert_eq!(none.rate, None);
    }
}
