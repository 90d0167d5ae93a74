//! Roles: one process that does everything, or leaves that score and a root that infers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;

use quoll_queue::QueueConfig;
use quoll_shards::LeavesConfig;
use serde::{Deserialize, Serialize};

use crate::config::{Config, ConfigError, read_duration, write_duration};
use crate::remote_write::RemoteWriteConfig;

/// Labels of reports, which therefore cannot be partition labels.
const REPORT_LABELS: [&str; 6] = ["leaf", "process", "step_ms", "host", "kind", "change"];

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    #[default]
    All,
    /// Scores its share of the services, and reports to a root.
    Leaf,
    /// Finds causes from what its leaves report.
    Root,
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::Leaf => "leaf",
            Self::Root => "root",
        })
    }
}

/// Settings of leaves and roots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShardingConfig {
    /// Of a leaf: its name, one of the root's `leaves`.
    pub leaf: Option<String>,
    /// Of a leaf: where its reports go.
    pub root: RemoteWriteConfig,
    /// Of a root: the names of its leaves.
    pub leaves: Vec<String>,
    /// Of a root: how long a step waits for a leaf while others go on reporting.
    #[serde(rename = "grace", serialize_with = "write_duration", deserialize_with = "read_duration")]
    pub grace_ms: i64,
}

impl Default for ShardingConfig {
    fn default() -> Self {
        Self { leaf: None, root: RemoteWriteConfig::default(), leaves: Vec::new(), grace_ms: 30_000 }
    }
}

impl Config {
    /// Checks that the settings go with the role.
    ///
    /// # Errors
    /// The first that does not.
    pub(crate) fn check_role(&self) -> Result<(), ConfigError> {
        let sharding = &self.sharding;
        let range = |setting, value: String, must, good: bool| {
            if good { Ok(()) } else { Err(ConfigError::Range { setting, value, must }) }
        };
        let set = |setting: Option<&String>| setting.map_or("not set".to_owned(), |value| format!("{value:?}"));
        let (leaf, url) = (sharding.leaf.as_ref(), sharding.root.url.as_ref());
        let count = sharding.leaves.len();
        let (leaf_must, url_must, leaves_must) = match self.role {
            Role::Leaf => ("set under `role: leaf`", "set under `role: leaf`", "empty under `role: leaf`"),
            Role::Root => ("left out under `role: root`", "left out under `role: root`", ""),
            Role::All => {
                ("left out but under `role: leaf`", "left out but under `role: leaf`", "empty but under `role: root`")
            }
        };
        let is_leaf = self.role == Role::Leaf;
        range("sharding.leaf", set(leaf), leaf_must, leaf.is_some() == is_leaf)?;
        range("sharding.root.url", set(url), url_must, url.is_some() == is_leaf)?;
        range("sharding.leaves", format!("{count} names"), leaves_must, count == 0 || self.role == Role::Root)?;
        if let Some(leaf) = leaf {
            quoll_shards::check_name(leaf)?;
        }
        sharding.root.check().map_err(|error| ConfigError::Root(Box::new(error)))?;
        let grace = sharding.grace_ms;
        range("sharding.grace", format!("{grace} ms"), "above 0", grace > 0)?;
        self.leaves()?;
        if self.role != Role::All {
            for label in &self.ingest.partition_labels {
                let free = !REPORT_LABELS.contains(&label.as_str());
                range("ingest.partition_labels", label.clone(), "other than the labels of reports", free)?;
            }
        }
        let model = self.model_dir.as_ref().map_or_else(String::new, |path| path.display().to_string());
        let scores = self.role != Role::Root || self.model_dir.is_none();
        range("model_dir", model, "left out under `role: root`: its leaves have the models", scores)
    }

    /// Under `role: root`, its leaves.
    ///
    /// # Errors
    /// Names that leaves cannot have.
    pub(crate) fn leaves(&self) -> Result<Option<LeavesConfig>, ConfigError> {
        if self.role != Role::Root {
            return Ok(None);
        }
        Ok(Some(LeavesConfig::new(&self.sharding.leaves, self.sharding.grace_ms)?))
    }

    /// Settings of a leaf's queue of reports.
    pub(crate) fn report_queue(&self) -> Option<QueueConfig> {
        if self.role != Role::Leaf {
            return None;
        }
        let mut queue = self.sharding.root.queue(&self.data_dir)?;
        queue.dir = self.data_dir.join("reports");
        Some(queue)
    }
}

/// What tells this process from another leaf of the same name: drawn once, and kept with its data.
///
/// # Errors
/// Where the file can neither be read nor written.
pub fn process_id(data_dir: &Path) -> std::io::Result<String> {
    let path = data_dir.join("process");
    if let Ok(known) = std::fs::read_to_string(&path)
        && known.len() == 16
        && known.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return Ok(known);
    }
    // Seeded by the system at random.
    let drawn = format!("{:016x}", RandomState::new().build_hasher().finish());
    let new = data_dir.join("process.new");
    std::fs::write(&new, &drawn)?;
    std::fs::rename(&new, &path)?;
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Result<(), String> {
        let config: Config = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    const LEAF: &str = "role: leaf\nsharding: { leaf: a, root: { url: 'http://127.0.0.1:1/api/v1/write' } }\n";
    const ROOT: &str = "role: root\nsharding: { leaves: [a, b] }\n";

    #[test]
    fn a_leaf_has_a_name_and_a_root_and_a_root_has_leaves() {
        assert_eq!(config(LEAF), Ok(()));
        assert_eq!(config(ROOT), Ok(()));
        let refused = [
            ("role: leaf\n", "sharding.leaf is not set, must be set under `role: leaf`"),
            ("role: leaf\nsharding: { leaf: a }\n", "sharding.root.url is not set"),
            (&LEAF.replace("leaf: a", "leaf: 'a b'"), "cannot name a leaf"),
            ("role: root\n", "a root needs the names of its leaves"),
            (&ROOT.replace("[a, b]", "[a, a]"), "listed twice"),
            (
                "role: all\nsharding: { leaves: [a] }\n",
                "sharding.leaves is 1 names, must be empty but under `role: root`",
            ),
            ("sharding: { leaf: a }\n", "sharding.leaf is \"a\", must be left out but under `role: leaf`"),
            (&format!("{ROOT}model_dir: m\n"), "its leaves have the models"),
            (&format!("{ROOT}ingest: {{ partition_labels: [host] }}\n"), "other than the labels of reports"),
            (&ROOT.replace("leaves", "grace: 0s, leaves"), "sharding.grace is 0 ms, must be above 0"),
            (&LEAF.replace("{ url", "{ max_backoff: 1ms, url"), "sharding.root: remote_write.max_backoff is 1 ms"),
        ];
        for (yaml, reason) in refused {
            let said = config(yaml).unwrap_err();
            assert!(said.contains(reason), "{yaml}: {said}");
        }
    }

    #[test]
    fn a_process_stays_the_same_one_while_it_has_its_data() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let drawn = process_id(one.path()).unwrap();
        assert_eq!(process_id(one.path()).unwrap(), drawn);
        assert_ne!(process_id(other.path()).unwrap(), drawn);
        std::fs::write(one.path().join("process"), "x").unwrap();
        assert_eq!(process_id(one.path()).unwrap().len(), 16);
    }
}
