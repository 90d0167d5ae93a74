//! The configuration file. Every setting has a default; unknown ones are errors with a suggestion.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use quoll_features::FeatureSet;
use quoll_incidents::IncidentsConfig;
use quoll_ingest::IngestConfig;
use quoll_queue::QueueConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::listeners::{ListenersConfig, WebSettings};
use crate::remote_write::RemoteWriteConfig;
use crate::sharding::{Role, ShardingConfig};

/// Labels that outputs carry, which therefore cannot be partition labels.
const OUTPUT_LABELS: [&str; 15] = [
    "__name__",
    "service_name",
    "service_namespace",
    "client",
    "client_service_namespace",
    "server",
    "server_service_namespace",
    "feature",
    "incident",
    "root_service",
    "root_service_namespace",
    "engine_version",
    "config_hash",
    "alias_of",
    "tenant",
];

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not say what a configuration may say.
    #[error("{}: {reason}{}", path.display(), suggestion(reason))]
    Parse {
        /// File.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A setting is out of its range.
    #[error("{setting} is {value}, must be {must}")]
    Range {
        /// Setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// Settings of the incidents are out of their range.
    #[error("incidents: {0}")]
    Incidents(#[from] quoll_incidents::ConfigError),
    /// Leaves cannot be named so.
    #[error("sharding: {0}")]
    Leaves(#[from] quoll_shards::LeavesError),
    /// A setting of the way to the root is out of its range.
    #[error("sharding.root: {0}")]
    Root(Box<ConfigError>),
    /// The features cannot be used.
    #[error("features: {0}")]
    Features(#[from] quoll_features::PresetError),
}

/// All settings of `quoll-scorer serve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What this process does.
    pub role: Role,
    /// Settings of leaves and roots.
    pub sharding: ShardingConfig,
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Addresses of their own for some routes.
    pub listeners: ListenersConfig,
    /// Who may connect, and how much they may ask.
    pub web: WebSettings,
    /// Directory for the logs and the state.
    pub data_dir: PathBuf,
    /// Length of a step.
    #[serde(rename = "step", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub step_ms: i64,
    /// Time between two snapshots, from which a restart goes on.
    #[serde(rename = "snapshot_every", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub snapshot_every_ms: i64,
    /// Which of the built-in sets of features to use.
    pub preset: String,
    /// A file with features of one's own, instead of a preset.
    pub features_file: Option<PathBuf>,
    /// Directory of the model that `quoll-scorer train` writes.
    pub model_dir: Option<PathBuf>,
    /// Directory of the console's files.
    pub console_dir: Option<PathBuf>,
    /// ONNX Runtime library.
    pub onnxruntime: Option<PathBuf>,
    /// Where results go.
    pub remote_write: RemoteWriteConfig,
    /// The receiving side.
    pub ingest: IngestConfig,
    /// Evidence and incidents.
    pub incidents: IncidentsConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::All,
            sharding: ShardingConfig::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9467)),
            listeners: ListenersConfig::default(),
            web: WebSettings::default(),
            data_dir: PathBuf::from("quoll-scorer-data"),
            step_ms: 15_000,
            snapshot_every_ms: 300_000,
            preset: "quoll".to_owned(),
            features_file: None,
            model_dir: None,
            console_dir: None,
            onnxruntime: None,
            remote_write: RemoteWriteConfig::default(),
            ingest: IngestConfig::default(),
            incidents: IncidentsConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read or says what a configuration may not say.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|reason| ConfigError::Parse { path: path.to_owned(), reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        // Without the lines around the mistake: there are secrets in them.
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, must, good: bool| {
            if good { Ok(()) } else { Err(ConfigError::Range { setting, value, must }) }
        };
        let step = self.step_ms;
        range("step", format!("{step} ms"), "between 100 ms and 1 h", (100..=3_600_000).contains(&step))?;
        let every = self.snapshot_every_ms;
        range("snapshot_every", format!("{every} ms"), "at least 100 ms", every >= 100)?;
        self.remote_write.check()?;
        for label in &self.ingest.partition_labels {
            let free = !OUTPUT_LABELS.contains(&label.as_str());
            range("ingest.partition_labels", label.clone(), "other than the labels of outputs", free)?;
        }
        self.incidents.check()?;
        self.check_role()
    }

    /// The features to compute. Naming one of our own outputs as input is an error of the set itself.
    ///
    /// # Errors
    /// Where the file cannot be read, or the set is not usable.
    pub fn feature_set(&self) -> Result<FeatureSet, ConfigError> {
        match &self.features_file {
            None => Ok(FeatureSet::preset(&self.preset)?),
            Some(path) => {
                let yaml =
                    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
                Ok(FeatureSet::from_yaml(&yaml)?)
            }
        }
    }

    /// Settings of the outbound queue, if results go anywhere.
    #[must_use]
    pub fn queue(&self) -> Option<QueueConfig> {
        self.remote_write.queue(&self.data_dir)
    }
}

/// A duration such as `500ms`, `15s`, `5m` or `2h`, in milliseconds.
///
/// # Errors
/// Anything else, in words.
pub fn parse_duration_ms(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} is not a duration such as 500ms, 15s, 5m, 2h or 1d")),
    };
    let number: i64 = number.parse().map_err(|_| format!("{text:?} does not begin with a whole number"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too long"))
}

pub(crate) fn read_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration_ms(&text).map_err(serde::de::Error::custom)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(crate) fn write_duration<S: Serializer>(ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    let (number, unit) = if ms % 1000 == 0 { (ms / 1000, "s") } else { (*ms, "ms") };
    serializer.serialize_str(&format!("{number}{unit}"))
}

/// For "unknown field `a`, expected one of b, c": which of them was probably meant.
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

    #[test]
    fn the_example_file_says_what_the_defaults_are() {
        let text = include_str!("../scorer.example.yaml");
        let mut example = Config::parse(text).unwrap();
        assert_eq!(example.remote_write.url.take().as_deref(), Some("http://127.0.0.1:9090/api/v1/write"));
        assert_eq!(example, Config::default());
        example.check().unwrap();
        // Every setting there is stands in the example, commented out where its default is "none".
        let keys = serde_json::to_value(Config::default()).unwrap();
        let mut names = Vec::new();
        collect_keys(&keys, &mut names);
        for name in names {
            assert!(text.contains(&format!("{name}:")), "scorer.example.yaml does not mention {name}");
        }
    }

    fn collect_keys(value: &serde_json::Value, names: &mut Vec<String>) {
        for (name, value) in value.as_object().into_iter().flatten() {
            names.push(name.clone());
            collect_keys(value, names);
        }
    }

    #[test]
    fn a_misspelt_setting_is_refused_with_the_one_probably_meant() {
        let reason = Config::parse("listn: 127.0.0.1:1\n").unwrap_err();
        assert!(suggestion(&reason).contains("did you mean `listen`?"), "{reason}{}", suggestion(&reason));
        let nested = Config::parse("ingest:\n  limits:\n    scops: 3\n").unwrap_err();
        assert!(suggestion(&nested).contains("`scopes`"), "{nested}");
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse_duration_ms("15s"), Ok(15_000));
        assert_eq!(parse_duration_ms("250ms"), Ok(250));
        assert!(parse_duration_ms("15").is_err());
        assert!(parse_duration_ms("s").is_err());
        assert!(parse_duration_ms("99999999999999999d").is_err());
    }

    #[test]
    fn a_partition_label_may_not_be_a_label_of_outputs() {
        let mut config = Config::default();
        config.ingest.partition_labels.push("service_name".into());
        assert!(matches!(config.check(), Err(ConfigError::Range { setting: "ingest.partition_labels", .. })));
    }
}
