//! `services.yaml`: which sockets belong to which service.
//!
//! ```yaml
//! services:
//!   - name: cart
//!     namespace: shop            # optional
//!     match:                     # any one matches
//!       - netns: 4026532300          # inode of a network namespace
//!       - cgroup: /quoll-shop/cart   # path in the unified hierarchy: that cgroup and those below
//!       - executable: nginx          # file name of a process outside of units and containers
//!       - address: 198.18.0.5        # or CIDR: who listens at it or connects from it
//!       - port: 8080                 # port it listens at
//! ```
//!
//! The most specific match wins: netns, then cgroup (the longest path), then address (the longest
//! prefix), then port. Unknown keys are errors that name the nearest known one. The file is read again
//! when it changes; a version with an error is reported and the last good one stays in force.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::keys::{Place, good_values, known_keys};
use crate::net::{Network, NetworkError};
use crate::service::Service;

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It cannot be read.
    #[error("cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is no YAML, or a value has the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A key that means nothing.
    #[error("unknown key '{key}' in {place}; {suggestion}")]
    UnknownKey {
        /// The key.
        key: String,
        /// Where it stands.
        place: String,
        /// What may have been meant.
        suggestion: String,
    },
    /// A value that its key does not take.
    #[error("{key} cannot be {value}: {reason}")]
    WrongValue {
        /// The key, with where it stands.
        key: String,
        /// The value, or the part of it that is wrong.
        value: String,
        /// What it would take.
        reason: String,
    },
    /// A service without a name.
    #[error("services[{index}] has an empty name")]
    EmptyName {
        /// Position of the service, from 0.
        index: usize,
    },
    /// A match must say exactly one thing.
    #[error(
        "services[{index}] ({name}): each entry of 'match' has exactly one of netns, cgroup, executable, address, port"
    )]
    NotOneMatch {
        /// Position of the service, from 0.
        index: usize,
        /// Its name.
        name: String,
    },
    /// An address that is none.
    #[error("services[{index}] ({name}): {source}")]
    Address {
        /// Position of the service, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: NetworkError,
    },
}

/// What a match may say, and where it says it.
const MATCHES: [&str; 5] = ["netns", "cgroup", "executable", "address", "port"];
const MATCHES_AT: [&str; 5] = ["match.netns", "match.cgroup", "match.executable", "match.address", "match.port"];

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: Vec<Entry>,
}

/// A service and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    name: String,
    namespace: Option<String>,
    #[serde(default, rename = "match")]
    matches: Vec<Match>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Match {
    netns: Option<u32>,
    cgroup: Option<String>,
    executable: Option<String>,
    address: Option<String>,
    port: Option<u16>,
}

/// The rules of one version of the file; each list has the most specific first.
#[derive(Debug, Default)]
pub struct Rules {
    netns: Vec<(u32, Service)>,
    cgroups: Vec<(Arc<str>, Service)>,
    /// Single addresses, of which there may be many.
    hosts: HashMap<Ipv6Addr, Service>,
    networks: Vec<(Network, Service)>,
    executables: Vec<(String, Service)>,
    ports: Vec<(u16, Service)>,
}

impl Rules {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// Every variant of [`RulesError`] but `Read`.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let syntax = |error: &dyn std::fmt::Display| RulesError::Syntax(error.to_string());
        let value: Value = serde_saphyr::from_str(text).map_err(|error| syntax(&error))?;
        known_keys(&value, Place { name: "the file", known: &["services"], elsewhere: &[] })?;
        check_services(&value)?;
        if let Some(given) = value.as_object() {
            good_values(
                given,
                "",
                &Value::Null,
                |_| Vec::new(),
                |alone| serde_json::from_value::<File>(alone.into()).map(drop),
            )?;
        }
        let file: File = if value.is_null() {
            File { services: Vec::new() }
        } else {
            serde_json::from_value(value).map_err(|error| syntax(&error))?
        };
        Self::new(&file.services)
    }

    /// Rules of these services.
    ///
    /// # Errors
    /// Names, matches and addresses that cannot be used.
    pub fn new(services: &[Entry]) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        for (index, entry) in services.iter().enumerate() {
            let service =
                Service::new(entry.namespace.as_deref(), &entry.name).ok_or(RulesError::EmptyName { index })?;
            for one in entry.matches.iter().cloned() {
                let service = service.clone();
                match one {
                    Match { netns: Some(netns), cgroup: None, executable: None, address: None, port: None } => {
                        rules.netns.push((netns, service));
                    }
                    Match { netns: None, cgroup: Some(path), executable: None, address: None, port: None } => {
                        let path = format!("/{}", path.trim_matches('/'));
                        rules.cgroups.push((Arc::from(path), service));
                    }
                    Match { netns: None, cgroup: None, executable: None, address: Some(address), port: None } => {
                        let name = entry.name.clone();
                        let network: Network =
                            address.parse().map_err(|source| RulesError::Address { index, name, source })?;
                        match network.host() {
                            Some(host) => {
                                rules.hosts.entry(host).or_insert(service);
                            }
                            None => rules.networks.push((network, service)),
                        }
                    }
                    Match { netns: None, cgroup: None, executable: None, address: None, port: Some(port) } => {
                        rules.ports.push((port, service));
                    }
                    Match { netns: None, cgroup: None, executable: Some(file), address: None, port: None } => {
                        rules.executables.push((file, service));
                    }
                    _ => return Err(RulesError::NotOneMatch { index, name: entry.name.clone() }),
                }
            }
        }
        rules.cgroups.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        rules.networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix()));
        Ok(rules)
    }

    /// The service that owns a network namespace.
    #[must_use]
    pub fn by_netns(&self, netns: u32) -> Option<&Service> {
        self.netns.iter().find(|(inode, _)| *inode == netns).map(|(_, service)| service)
    }

    /// The service that owns a cgroup or one above it.
    #[must_use]
    pub fn by_cgroup(&self, path: &str) -> Option<&Service> {
        let holds = |prefix: &str| {
            path.strip_prefix(prefix.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.cgroups.iter().find(|(prefix, _)| holds(prefix)).map(|(_, service)| service)
    }

    /// The service that processes with this executable belong to, if nothing else names them.
    #[must_use]
    pub fn by_executable(&self, name: &str) -> Option<&Service> {
        self.executables.iter().find(|(own, _)| own == name).map(|(_, service)| service)
    }

    /// The service that owns an address.
    #[must_use]
    pub fn by_address(&self, address: Ipv6Addr) -> Option<&Service> {
        let by_network = || self.networks.iter().find(|(network, _)| network.contains(address));
        self.hosts.get(&address).or_else(|| by_network().map(|(_, service)| service))
    }

    /// The service that listens at a port.
    #[must_use]
    pub fn by_port(&self, port: u16) -> Option<&Service> {
        self.ports.iter().find(|(own, _)| *own == port).map(|(_, service)| service)
    }
}

/// Refuses keys that no type has, since a misspelt key would silently match nothing, and values that their keys do not
/// take.
///
/// # Errors
/// [`RulesError::UnknownKey`], [`RulesError::WrongValue`].
pub fn check_services(value: &Value) -> Result<(), RulesError> {
    let no_words = |_: &str| Vec::new();
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for (index, service) in list(value, "services").iter().enumerate() {
        let place = format!("services[{index}]");
        known_keys(service, Place { name: &place, known: &["name", "namespace", "match"], elsewhere: &MATCHES_AT })?;
        for (entry, one) in list(service, "match").iter().enumerate() {
            let place = format!("services[{index}].match[{entry}]");
            known_keys(one, Place { name: &place, known: &MATCHES, elsewhere: &[] })?;
            if let Some(one) = one.as_object() {
                good_values(one, &format!("{place}."), &Value::Null, no_words, |alone| {
                    serde_json::from_value::<Match>(alone.into()).map(drop)
                })?;
            }
        }
        if let Some(service) = service.as_object() {
            good_values(service, &format!("{place}."), &Value::Null, no_words, |mut alone| {
                alone.entry("name").or_insert_with(|| "any".into());
                serde_json::from_value::<Entry>(alone.into()).map(drop)
            })?;
        }
    }
    Ok(())
}

/// The rules in force, read again when the file changes.
#[derive(Debug)]
pub struct RulesFile {
    path: PathBuf,
    /// Modification time, length and inode: an editor may keep any one of them.
    seen: Stamp,
}

/// Tells one version of a file from another; `None` where there is no file.
pub type Stamp = Option<(SystemTime, u64, u64)>;

/// The stamp of a file as it is now.
#[must_use]
pub fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

impl RulesFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// Any [`RulesError`]; a file that is wrong at the start is not worth starting with.
    pub fn open(path: &Path) -> Result<(Self, Rules), RulesError> {
        let mut file = Self { path: path.to_owned(), seen: None };
        file.seen = stamp(path);
        let rules = file.read()?;
        Ok((file, rules))
    }

    /// The new rules, if the file changed since the last call.
    ///
    /// # Errors
    /// Any [`RulesError`], once per version of the file.
    pub fn changed(&mut self) -> Result<Option<Rules>, RulesError> {
        let stamp = stamp(&self.path);
        // A file that is gone for a moment is being replaced.
        if stamp.is_none() || stamp == self.seen {
            return Ok(None);
        }
        self.seen = stamp;
        self.read().map(Some)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self) -> Result<Rules, RulesError> {
        let text =
            fs::read_to_string(&self.path).map_err(|source| RulesError::Read { path: self.path.clone(), source })?;
        Rules::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::canonical;

    const EXAMPLE: &str = "
services:
  - name: cart
    namespace: shop
    match:
      - cgroup: /quoll-shop/cart
      - address: 198.18.0.5
  - name: shop
    match:
      - cgroup: quoll-shop
      - address: 198.18.0.0/24
      - netns: 4026532300
      - port: 8080
";

    fn address(text: &str) -> Ipv6Addr {
        canonical(text.parse().unwrap())
    }

    #[test]
    fn the_most_specific_rule_wins() {
        let rules = Rules::parse(EXAMPLE).unwrap();
        assert_eq!(rules.by_cgroup("/quoll-shop/cart/worker").unwrap().to_string(), "shop/cart");
        assert_eq!(rules.by_cgroup("/quoll-shop/cartography").unwrap().to_string(), "shop");
        assert_eq!(rules.by_address(address("198.18.0.5")).unwrap().to_string(), "shop/cart");
        assert_eq!(rules.by_address(address("198.18.0.6")).unwrap().to_string(), "shop");
        assert_eq!(rules.by_port(8080).unwrap().to_string(), "shop");
        assert_eq!(rules.by_netns(4_026_532_300).unwrap().to_string(), "shop");
        assert!(rules.by_cgroup("/other").is_none());
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        let error = Rules::parse("services:\n  - name: a\n    matches:\n      - port: 1\n").unwrap_err().to_string();
        assert_eq!(error, "unknown key 'matches' in services[0]; did you mean 'match'?");
        let error = Rules::parse("services:\n  - name: a\n    match:\n      - prot: 1\n").unwrap_err().to_string();
        assert!(error.contains("services[0].match[0]") && error.contains("'port'"), "{error}");
        let error = Rules::parse("everything: 1\n").unwrap_err().to_string();
        assert!(error.contains("known are: services"), "{error}");
    }

    #[test]
    fn wrong_values_are_refused() {
        for (text, part) in [
            ("services:\n  - name: ''\n", "empty name"),
            ("services:\n  - name: a\n    match:\n      - {port: 1, netns: 2}\n", "exactly one"),
            ("services:\n  - name: a\n    match:\n      - address: here\n", "'here'"),
            ("services:\n  - name: a\n    match:\n      - port: 70000\n", "services[0].match[0].port cannot be 70000"),
            ("services: 1\n", "services cannot be 1: invalid type"),
            ("services: [", ""),
        ] {
            let error = Rules::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_empty_file_has_no_rules() {
        assert!(Rules::parse("").unwrap().by_port(80).is_none());
        assert!(Rules::parse("services: []\n").unwrap().by_port(80).is_none());
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_version_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("services.yaml");
        fs::write(&path, EXAMPLE).unwrap();
        let (mut file, _) = RulesFile::open(&path).unwrap();
        assert!(file.changed().unwrap().is_none());
        fs::write(&path, "services: 1").unwrap();
        assert!(file.changed().is_err());
        assert!(file.changed().unwrap().is_none());
        fs::write(&path, "services:\n  - name: a\n    match:\n      - port: 81\n").unwrap();
        assert!(file.changed().unwrap().unwrap().by_port(81).is_some());
    }
}
