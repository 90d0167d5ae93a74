//! The configuration file: all that the command line has, and the services.
//!
//! `exporter.example.yaml` has every setting with its default. Unknown keys are errors that name the
//! nearest known one. What the command line says goes before the file.
//!
//! The file is looked at before each scrape, and read again when it changed, and on SIGHUP. A version
//! with an error changes nothing. [`Config::for_next_start`] lists the settings that a running exporter
//! does not take over.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use quoll_ebpf_abi::protocols::{Protocol, Protocols};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{AgentConfig, SourceChoice};
use crate::collectors;
use crate::directory::{GONE_AFTER, PlainProcesses};
use crate::edges::{IDLE_AFTER, Lifetimes};
use crate::kernel::Settings;
use crate::keys::{Place, good_values, known_keys};
use crate::limits::{Limits, LimitsError};
use crate::rules::{Entry, Rules, RulesError, RulesFile, check_services};
use crate::tls::TlsChoice;

/// Connections that may be followed: the kernel's maps for more would take gigabytes.
const MOST_CONNECTIONS: u64 = 1 << 24;
/// A year: what is idle for longer is gone.
const LONGEST_SECONDS: u64 = 365 * 86_400;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// It is no YAML, or a value has the wrong type.
    #[error("{0}")]
    Syntax(String),
    /// It is a list or a word.
    #[error("it has no settings; a line is such as 'listen: 127.0.0.1:9466'")]
    NoSettings,
    /// A number that cannot be used.
    #[error("{name} is {value}, must be from {least} to {most}")]
    OutOfRange {
        /// Setting.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be at least.
        least: u64,
        /// And at most.
        most: u64,
    },
    /// An unknown key, a wrong value, or something wrong with the services.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Something wrong in the file of services.
    #[error("{}: {source}", path.display())]
    ServicesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RulesError,
    },
    /// Services in two places.
    #[error("both services and services_file are set: one of them")]
    ServicesTwice,
    /// A limit that cannot be used.
    #[error("limits: {0}")]
    Limits(#[from] LimitsError),
    /// A collector that there is not.
    #[error("there is no collector '{name}'; known are: {known}")]
    NoCollector {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
}

/// A protocol, as settings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProtocolName {
    /// HTTP/1.0 and 1.1.
    Http,
    /// HTTP/2, and gRPC with it.
    Http2,
    /// PostgreSQL.
    Postgresql,
    /// MySQL and MariaDB.
    Mysql,
    /// Redis and what speaks like it.
    Redis,
    /// DNS.
    Dns,
}

impl ProtocolName {
    /// All.
    pub const ALL: [Self; 6] = [Self::Http, Self::Http2, Self::Postgresql, Self::Mysql, Self::Redis, Self::Dns];

    /// As the kernel side knows it.
    #[must_use]
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http1,
            Self::Http2 => Protocol::Http2,
            Self::Postgresql => Protocol::Postgres,
            Self::Mysql => Protocol::Mysql,
            Self::Redis => Protocol::Redis,
            Self::Dns => Protocol::Dns,
        }
    }
}

/// All settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to serve at.
    pub listen: SocketAddr,
    /// TLS and users.
    pub web_config_file: Option<PathBuf>,
    /// Where to read from.
    pub source: SourceChoice,
    /// Collectors that are off.
    pub disable: Vec<String>,
    /// Protocols whose requests are looked at.
    pub protocols: Vec<ProtocolName>,
    /// Whether HTTP's requests are told apart by method.
    pub http_methods: bool,
    /// Open connections followed at once.
    pub max_connections: u32,
    /// Which processes are named by their executable.
    pub plain_processes: PlainProcesses,
    /// Whether peers are found behind translated addresses.
    pub follow_nat: bool,
    /// Which TLS libraries are looked into.
    pub tls: TlsChoice,
    /// Whether Quoll's own processes are shown.
    pub show_self: bool,
    /// When edges end.
    pub idle_after_seconds: u64,
    /// When edges of services that are gone end.
    pub gone_after_seconds: u64,
    /// Bounds on what is shown.
    pub limits: Limits,
    /// Which sockets belong to which service.
    pub services: Vec<Entry>,
    /// The same in a file of its own.
    pub services_file: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9466)),
            web_config_file: None,
            source: SourceChoice::Auto,
            disable: Vec::new(),
            protocols: ProtocolName::ALL.to_vec(),
            http_methods: false,
            max_connections: Settings::default().connections,
            plain_processes: PlainProcesses::default(),
            follow_nat: true,
            tls: TlsChoice::Auto,
            show_self: false,
            idle_after_seconds: IDLE_AFTER.as_secs(),
            gone_after_seconds: GONE_AFTER.as_secs(),
            limits: Limits::default(),
            services: Vec::new(),
            services_file: None,
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
        Self::parse(&text)
    }

    /// Reads the text of a file; [`Self::check`] does the rest.
    ///
    /// # Errors
    /// What does not have the form of a configuration.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let value: Value = serde_saphyr::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let known = serde_json::to_value(Self::default()).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let Some(given) = value.as_object() else { return Err(ConfigError::NoSettings) };
        fn keys(value: &Value) -> Vec<&str> {
            value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
        }
        let (top, limits) = (keys(&known), keys(&known["limits"]));
        let below: Vec<String> = limits.iter().map(|key| format!("limits.{key}")).collect();
        let below: Vec<&str> = below.iter().map(String::as_str).collect();
        known_keys(&value, Place { name: "the file", known: &top, elsewhere: &below })?;
        if let Some(given) = value.get("limits") {
            known_keys(given, Place { name: "limits", known: &limits, elsewhere: &top })?;
            if let Some(given) = given.as_object() {
                good_values(given, "limits.", &known["limits"], choices, |alone| {
                    serde_json::from_value::<Limits>(alone.into()).map(drop)
                })?;
            }
        }
        check_services(&value)?;
        good_values(given, "", &known, choices, |alone| serde_json::from_value::<Self>(alone.into()).map(drop))?;
        serde_json::from_value(value).map_err(|error| ConfigError::Syntax(error.to_string()))
    }

    /// Checks what the types cannot, and gives the rules with the file they are from, if any.
    ///
    /// # Errors
    /// The first thing that cannot be used.
    pub fn check(&self) -> Result<(Option<RulesFile>, Rules), ConfigError> {
        self.limits.check()?;
        for (name, value, most) in [
            ("max_connections", u64::from(self.max_connections), MOST_CONNECTIONS),
            ("idle_after_seconds", self.idle_after_seconds, LONGEST_SECONDS),
            ("gone_after_seconds", self.gone_after_seconds, LONGEST_SECONDS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(ConfigError::OutOfRange { name, value, least: 1, most });
            }
        }
        let all = collectors::all();
        if let Some(name) = self.disable.iter().find(|name| !all.iter().any(|one| one.name() == **name)) {
            let known = all.iter().map(|collector| collector.name()).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::NoCollector { name: name.clone(), known });
        }
        let Some(path) = &self.services_file else { return Ok((None, Rules::new(&self.services)?)) };
        if !self.services.is_empty() {
            return Err(ConfigError::ServicesTwice);
        }
        let (file, rules) =
            RulesFile::open(path).map_err(|source| ConfigError::ServicesFile { path: path.clone(), source })?;
        Ok((Some(file), rules))
    }

    /// What the agent needs of it.
    #[must_use]
    pub fn agent(&self) -> AgentConfig {
        let connections = self.max_connections;
        let defaults = Settings::default();
        AgentConfig {
            config: self.clone(),
            settings: Settings {
                connections,
                exchanges: defaults.exchanges.min(connections),
                protocols: self.shown_protocols(),
                tls: self.tls,
                ..defaults
            },
            command_line: None,
        }
    }

    /// What the kernel side looks at.
    #[must_use]
    pub fn shown_protocols(&self) -> Protocols {
        let wished: Vec<_> = self.protocols.iter().map(|name| name.protocol()).collect();
        let shown = collectors::shown_protocols(&wished, |name| !self.disable.iter().any(|off| off == name));
        Protocols { by_method: u32::from(self.http_methods), ..Protocols::of(&shown) }
    }

    /// When edges end.
    #[must_use]
    pub fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            idle_after: Duration::from_secs(self.idle_after_seconds),
            gone_after: Duration::from_secs(self.gone_after_seconds),
        }
    }

    /// Settings in which `new` differs and that only a restart brings into force.
    #[must_use]
    pub fn for_next_start(&self, new: &Self) -> Vec<&'static str> {
        let settings = [
            ("listen", self.listen == new.listen),
            ("web_config_file", self.web_config_file == new.web_config_file),
            ("source", self.source == new.source),
            ("disable", self.disable == new.disable),
            ("protocols", self.protocols == new.protocols),
            ("http_methods", self.http_methods == new.http_methods),
            ("max_connections", self.max_connections == new.max_connections),
            ("follow_nat", self.follow_nat == new.follow_nat),
            ("tls", self.tls == new.tls),
        ];
        settings.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
    }

    /// The settings of `new`, but for those that only a restart brings into force.
    #[must_use]
    pub fn until_next_start(self, new: Self) -> Self {
        Self {
            listen: self.listen,
            web_config_file: self.web_config_file,
            source: self.source,
            disable: self.disable,
            protocols: self.protocols,
            http_methods: self.http_methods,
            max_connections: self.max_connections,
            follow_nat: self.follow_nat,
            tls: self.tls,
            ..new
        }
    }
}

/// The words that a setting may say, or a list of which it is; none for what takes something else.
fn choices(key: &str) -> Vec<String> {
    fn of<T: ValueEnum>() -> Vec<String> {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect()
    }
    match key {
        "source" => of::<SourceChoice>(),
        "plain_processes" => of::<PlainProcesses>(),
        "tls" => of::<TlsChoice>(),
        "protocols" => of::<ProtocolName>(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_file_says_what_the_defaults_are() {
        let text = include_str!("../exporter.example.yaml");
        assert_eq!(Config::parse(text).unwrap(), Config::default());
        let known = serde_json::to_value(Config::default()).unwrap();
        let (top, limits) = (known.as_object().unwrap().keys(), known["limits"].as_object().unwrap().keys());
        for name in top.chain(limits).map(String::as_str).chain(["match", "netns", "cgroup", "executable", "address"]) {
            assert!(text.contains(&format!("{name}:")), "exporter.example.yaml does not mention {name}");
        }
        // What is commented out is good, too.
        let lines = text.lines().map(|line| line.strip_prefix("#:").unwrap_or(line));
        let lines = lines.filter(|line| *line != "services: []" && !line.contains("services_file"));
        let all = Config::parse(&lines.collect::<Vec<_>>().join("\n")).unwrap();
        assert_eq!((all.services.len(), all.web_config_file.is_some()), (1, true));
        all.check().unwrap();
    }

    #[test]
    fn methods_are_off_until_asked_for_and_come_with_the_next_start() {
        let (off, on) = (Config::default(), Config::parse("http_methods: true\n").unwrap());
        assert_eq!([&off, &on].map(|config| config.agent().settings.protocols.by_method), [0, 1]);
        assert_eq!(off.for_next_start(&on), ["http_methods"]);
        let wrong = Config::parse("http_method: true\n").unwrap_err().to_string();
        assert!(wrong.contains("did you mean 'http_methods'?"), "{wrong}");
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(Config::parse("# nothing\n").unwrap(), Config::default());
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        for (text, said) in [
            ("listn: 127.0.0.1:1\n", "unknown key 'listn' in the file; did you mean 'listen'?"),
            ("max_edges: 3\n", "unknown key 'max_edges' in the file; did you mean 'limits.max_edges'?"),
            ("max_edge: 3\n", "unknown key 'max_edge' in the file; did you mean 'limits.max_edges'?"),
            ("idle_after: 3\n", "unknown key 'idle_after' in the file; did you mean 'idle_after_seconds'?"),
            (
                "limits: {source: auto}\n",
                "unknown key 'source' in limits; did you mean 'source', at the top of the file?",
            ),
            ("services: [{name: a, port: 1}]\n", "unknown key 'port' in services[0]; did you mean 'match.port'?"),
            ("limits: {max_edge: 3}\n", "unknown key 'max_edge' in limits; did you mean 'max_edges'?"),
            ("services: [{nmae: a}]\n", "unknown key 'nmae' in services[0]; did you mean 'name'?"),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn wrong_values_are_refused_with_their_key_and_a_way_out() {
        for (text, said) in [
            ("source: epbf\n", "source cannot be \"epbf\": did you mean 'ebpf'? it is one of auto, ebpf, procfs"),
            ("tls: maybe\n", "tls cannot be \"maybe\": it is one of auto, true, false"),
            (
                "protocols: [http, redsi]\n",
                "protocols cannot be \"redsi\": did you mean 'redis'? it is a list of http, http2, postgresql, mysql, redis, dns",
            ),
            (
                "max_connections: many\n",
                "max_connections cannot be \"many\": invalid type: string \"many\", expected u32; it takes such as 65536",
            ),
            (
                "limits: {max_edges: -1}\n",
                "limits.max_edges cannot be -1: invalid value: integer `-1`, expected usize; it takes such as 20000",
            ),
            (
                "services: [{name: a, match: [{port: 70000}]}]\n",
                "services[0].match[0].port cannot be 70000: invalid value: integer `70000`, expected u16",
            ),
            ("services: [{name: 1}]\n", "services[0].name cannot be 1: invalid type: integer `1`, expected a string"),
            ("- listen\n", "it has no settings; a line is such as 'listen: 127.0.0.1:9466'"),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), said);
        }
        for good in ["tls: true\n", "tls: auto\n", "protocols: []\n", "web_config_file: web.yml\n", "services: []\n"] {
            Config::parse(good).unwrap();
        }
    }

    #[test]
    fn limits_that_leave_nothing_are_refused_with_their_range_from_a_file_and_from_the_command_line() {
        use clap::Parser;
        for (flag, key, range) in [
            ("--max-connections", "max_connections", "1 to 16777216"),
            ("--idle-after", "idle_after_seconds", "1 to 31536000"),
            ("--gone-after", "gone_after_seconds", "1 to 31536000"),
        ] {
            let told = Config::parse(&format!("{key}: 0\n")).unwrap().check().unwrap_err().to_string();
            assert_eq!(told, format!("{key} is 0, must be from {range}"));
            let args = crate::args::Args::parse_from(["quoll-exporter", flag, "0"]);
            assert_eq!(args.config().unwrap().check().unwrap_err().to_string(), told);
            Config::parse(&format!("{key}: 1\n")).unwrap().check().unwrap();
        }
        let most = u64::from(u32::MAX);
        let told = Config::parse(&format!("max_connections: {most}\n")).unwrap().check().unwrap_err().to_string();
        assert!(told.contains("4294967295, must be from 1 to"), "{told}");
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for (text, part) in [
            ("disable: [tpc]\n", "no collector 'tpc'; known are: tcp, http"),
            ("limits: {series_per_metric: 1}\n", "series_per_metric is 1, must be at least 500"),
            ("services: [{name: a, match: [{address: here}]}]\n", "'here'"),
            ("services: [{name: a}]\nservices_file: x.yaml\n", "one of them"),
            ("services_file: /nowhere/x.yaml\n", "/nowhere/x.yaml"),
        ] {
            let error = Config::parse(text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Config::parse("listen: here\n").unwrap_err().to_string().contains("socket address"));
    }
}
