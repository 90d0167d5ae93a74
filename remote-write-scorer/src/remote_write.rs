//! The `remote_write` section of the configuration: where results go, and who we are there. Names are those of
//! Prometheus' own `remote_write` section, where it has the setting.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quoll_queue::{Credentials, Protocol, QueueConfig, Secret, Tls};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, read_duration, write_duration};

/// Where results go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteConfig {
    /// The receiver, such as `http://127.0.0.1:9090/api/v1/write`; without one nothing is written back.
    pub url: Option<String>,
    /// Which remote write to speak.
    pub protocol: ProtocolConfig,
    /// Time after which a peer that did not prove that it stored 2.0 is tried with it again.
    #[serde(rename = "try_again_after", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub try_again_after_ms: i64,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
    /// Labels added to every result.
    pub external_labels: BTreeMap<String, String>,
    /// User and password.
    pub basic_auth: BasicAuth,
    /// A token.
    pub authorization: Authorization,
    /// Certificates.
    pub tls_config: TlsFiles,
    /// Age at which a result that could not be sent is dropped.
    #[serde(rename = "max_age", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub max_age_ms: i64,
    /// Bytes of results that may wait on disk.
    pub max_bytes: u64,
    /// Most samples in one request.
    pub max_samples_per_send: usize,
    /// Shortest wait after a failure.
    #[serde(rename = "min_backoff", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub min_backoff_ms: i64,
    /// Longest wait after failures.
    #[serde(rename = "max_backoff", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub max_backoff_ms: i64,
    /// Time that one request may take.
    #[serde(rename = "timeout", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub timeout_ms: i64,
}

/// Which remote write to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ProtocolConfig {
    /// 2.0 where the peer proves that it stores it, else 1.0.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Always 1.0.
    #[serde(rename = "1.0")]
    V1,
}

/// A user, with a password or a file that holds it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BasicAuth {
    /// Name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// File of the password, read for each request.
    pub password_file: Option<PathBuf>,
}

/// A token, or a file that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authorization {
    /// Scheme.
    pub r#type: String,
    /// Token.
    pub credentials: Option<String>,
    /// File of the token, read for each request.
    pub credentials_file: Option<PathBuf>,
}

impl Default for Authorization {
    fn default() -> Self {
        Self { r#type: "Bearer".to_owned(), credentials: None, credentials_file: None }
    }
}

/// Certificates in PEM form, read again when they change.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// Authorities to trust; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Trust whoever answers.
    pub insecure_skip_verify: bool,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            url: None,
            protocol: ProtocolConfig::Auto,
            try_again_after_ms: 3_600_000,
            headers: BTreeMap::new(),
            external_labels: BTreeMap::new(),
            basic_auth: BasicAuth::default(),
            authorization: Authorization::default(),
            tls_config: TlsFiles::default(),
            max_age_ms: 3_000_000,
            max_bytes: 1 << 30,
            max_samples_per_send: 2_000,
            min_backoff_ms: 100,
            max_backoff_ms: 10_000,
            timeout_ms: 30_000,
        }
    }
}

fn secret(text: Option<&String>, file: Option<&PathBuf>) -> Option<Secret> {
    text.cloned().map(Secret::Text).or_else(|| file.cloned().map(Secret::File))
}

impl RemoteWriteConfig {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first setting out of its range, or that contradicts another.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, must, good: bool| {
            if good { Ok(()) } else { Err(ConfigError::Range { setting, value, must }) }
        };
        for (setting, ms) in [
            ("remote_write.max_age", self.max_age_ms),
            ("remote_write.timeout", self.timeout_ms),
            ("remote_write.try_again_after", self.try_again_after_ms),
            ("remote_write.min_backoff", self.min_backoff_ms),
        ] {
            range(setting, format!("{ms} ms"), "above 0", ms > 0)?;
        }
        let most = self.max_backoff_ms;
        range("remote_write.max_backoff", format!("{most} ms"), "at least min_backoff", most >= self.min_backoff_ms)?;
        let samples = self.max_samples_per_send;
        range("remote_write.max_samples_per_send", samples.to_string(), "above 0", samples > 0)?;
        let (basic, token, tls) = (&self.basic_auth, &self.authorization, &self.tls_config);
        let both = basic.password.is_some() && basic.password_file.is_some();
        range("remote_write.basic_auth", "password and password_file".into(), "one of the two", !both)?;
        let nameless = basic.username.is_none() && (basic.password.is_some() || basic.password_file.is_some());
        range("remote_write.basic_auth", "without username".into(), "with one", !nameless)?;
        let both = token.credentials.is_some() && token.credentials_file.is_some();
        range("remote_write.authorization", "credentials and credentials_file".into(), "one of the two", !both)?;
        let both = basic.username.is_some() && (token.credentials.is_some() || token.credentials_file.is_some());
        range("remote_write", "basic_auth and authorization".into(), "one of the two", !both)?;
        let half = tls.cert_file.is_some() != tls.key_file.is_some();
        range("remote_write.tls_config", "one of cert_file and key_file".into(), "both or none", !half)?;
        for name in self.external_labels.keys() {
            let mut characters = name.chars();
            let first = characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
            let good = first && characters.all(|other| other.is_ascii_alphanumeric() || other == '_');
            range("remote_write.external_labels", name.clone(), "a label's name", good && name != "__name__")?;
        }
        Ok(())
    }

    /// Settings of the outbound queue, if results go anywhere.
    #[must_use]
    pub fn queue(&self, data_dir: &Path) -> Option<QueueConfig> {
        let duration = |ms: i64| Duration::from_millis(ms.unsigned_abs());
        let mut queue = QueueConfig::new(self.url.clone()?, data_dir.join("outbound"));
        queue.max_age = duration(self.max_age_ms);
        queue.max_bytes = self.max_bytes;
        queue.max_samples_per_request = self.max_samples_per_send;
        queue.timeout = duration(self.timeout_ms);
        queue.backoff = (duration(self.min_backoff_ms), duration(self.max_backoff_ms));
        queue.headers = self.headers.clone().into_iter().collect();
        queue.external_labels = self.external_labels.clone().into_iter().collect();
        queue.protocol = match self.protocol {
            ProtocolConfig::Auto => Protocol::Auto,
            ProtocolConfig::V1 => Protocol::V1,
        };
        queue.try_again_after = duration(self.try_again_after_ms);
        queue.credentials = self.credentials();
        let tls = &self.tls_config;
        queue.tls = Tls {
            ca_file: tls.ca_file.clone(),
            certificate: tls.cert_file.clone().zip(tls.key_file.clone()),
            insecure_skip_verify: tls.insecure_skip_verify,
        };
        Some(queue)
    }

    fn credentials(&self) -> Credentials {
        let (basic, token) = (&self.basic_auth, &self.authorization);
        if let Some(username) = basic.username.clone() {
            let password = secret(basic.password.as_ref(), basic.password_file.as_ref());
            let password = password.unwrap_or_else(|| Secret::Text(String::new()));
            return Credentials::Basic { username, password };
        }
        match secret(token.credentials.as_ref(), token.credentials_file.as_ref()) {
            Some(secret) => Credentials::Token { scheme: token.r#type.clone(), token: secret },
            None => Credentials::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> RemoteWriteConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn what_is_configured_reaches_the_queue() {
        let config = parse(
            "url: https://x/api/v1/push\nprotocol: '1.0'\nheaders: {X-Scope-OrgID: team}\n\
             external_labels: {site: eu}\nauthorization: {credentials_file: /run/token}\n\
             tls_config: {ca_file: ca.pem, cert_file: own.pem, key_file: own.key}\nmax_samples_per_send: 7\n",
        );
        config.check().unwrap();
        let queue = config.queue(Path::new("/data")).unwrap();
        assert_eq!((queue.dir, queue.max_samples_per_request), (PathBuf::from("/data/outbound"), 7));
        assert_eq!(queue.protocol, Protocol::V1);
        assert_eq!(queue.headers, [("X-Scope-OrgID".to_owned(), "team".to_owned())]);
        assert_eq!(queue.external_labels, [("site".to_owned(), "eu".to_owned())]);
        assert!(
            matches!(queue.credentials, Credentials::Token { scheme, token: Secret::File(_) } if scheme == "Bearer")
        );
        assert_eq!(queue.tls.certificate, Some(("own.pem".into(), "own.key".into())));
        let basic = parse("url: http://x/\nbasic_auth: {username: me, password: hush}\n");
        assert!(matches!(basic.queue(Path::new("/")).unwrap().credentials, Credentials::Basic { .. }));
        assert!(parse("{}").queue(Path::new("/")).is_none());
    }

    #[test]
    fn contradictions_are_refused() {
        for yaml in [
            "basic_auth: {username: a, password: b, password_file: c}",
            "basic_auth: {password: b}",
            "authorization: {credentials: b, credentials_file: c}",
            "{basic_auth: {username: a}, authorization: {credentials: c}}",
            "tls_config: {cert_file: a}",
            "external_labels: {'a-b': c}",
            "external_labels: {__name__: c}",
            "max_samples_per_send: 0",
            "max_backoff: 50ms",
        ] {
            assert!(matches!(parse(yaml).check(), Err(ConfigError::Range { .. })), "{yaml}");
        }
    }
}
