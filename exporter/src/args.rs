//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::agent::{SELF_METRICS, SourceChoice};
use crate::collectors;
use crate::config::{Config, ProtocolName};
use crate::directory::PlainProcesses;
use crate::exposition::Kind;
use crate::privileges::{self, Needs};
use crate::server::WEB_METRICS;
use crate::source::SourceKind;
use crate::tls::{self, TlsChoice};

/// TCP connections, HTTP requests, accept queues and resources per service, for Prometheus.
///
/// Every option can stand in the configuration file instead.
#[derive(Debug, Clone, Default, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Configuration file (YAML); read again when it changes and on SIGHUP
    #[arg(long, value_name = "FILE", env = "QUOLL_EXPORTER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Address to serve /metrics at [default: 127.0.0.1:9466]
    #[arg(long, env = "QUOLL_EXPORTER_LISTEN", value_name = "ADDRESS:PORT", value_parser = quoll_web_config::parse_address)]
    pub listen: Option<SocketAddr>,
    /// TLS and users, in the format of Prometheus' file of that name; read again when it changes
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Where to read from [default: auto]
    #[arg(long, value_enum)]
    pub source: Option<SourceChoice>,
    /// File that names services; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub services: Option<PathBuf>,
    /// Processes outside of units and containers that are services by their executable's name [default: listening]
    #[arg(long, value_enum)]
    pub plain_processes: Option<PlainProcesses>,
    /// Find peers behind translated addresses (NAT, ClusterIP, published ports) [default: true]
    #[arg(long, value_name = "BOOL")]
    pub follow_nat: Option<bool>,
    /// Look into TLS, at the calls of OpenSSL's: where that costs little, always, never [default: auto]
    #[arg(long, value_enum)]
    pub tls: Option<TlsChoice>,
    /// Show Quoll's own processes too
    #[arg(long)]
    pub show_self: bool,
    /// Switch a collector off; may be given several times
    #[arg(long, value_name = "COLLECTOR")]
    pub disable: Vec<String>,
    /// Protocols whose requests are looked at; may be given several times [default: all]
    #[arg(long, value_enum, value_name = "PROTOCOL", value_delimiter = ',')]
    pub protocols: Vec<ProtocolName>,
    /// Tell HTTP's requests apart by method, with up to four times as many series [default: false]
    #[arg(long, value_name = "BOOL")]
    pub http_methods: Option<bool>,
    /// Open connections followed at once [default: 65536]
    #[arg(long, value_name = "N")]
    pub max_connections: Option<u32>,
    /// Seconds without an event after which an edge without open connections ends, and its series with it
    /// [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    pub idle_after: Option<u64>,
    /// The same for edges of services of which nothing runs here any more [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub gone_after: Option<u64>,
    /// Edges, once per reporter; further ones go to `other` [default: 20000]
    #[arg(long, value_name = "N")]
    pub max_edges: Option<usize>,
    /// Series of any one metric; further ones are summed under `other` [default: 100000]
    #[arg(long, value_name = "N")]
    pub max_series_per_metric: Option<usize>,
    /// Bytes of a label's value; longer ones are cut and end with a hash [default: 128]
    #[arg(long, value_name = "N")]
    pub max_label_bytes: Option<usize>,
    /// Metrics to show, by name or with * at the end; may be given several times
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    pub allow_metrics: Vec<String>,
    /// Metrics not to show, of those allowed; may be given several times
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    pub deny_metrics: Vec<String>,
    /// List every metric and exit
    #[arg(long)]
    pub print_metrics: bool,
    /// List what the collectors need and exit
    #[arg(long)]
    pub print_capabilities: bool,
    /// Something else than to run
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the binary does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Check a configuration file and those it names
    Check {
        /// Configuration file
        #[arg(long)]
        config: PathBuf,
    },
}

impl Args {
    /// The configuration file, if any, under what the command line says.
    ///
    /// # Errors
    /// Where the file cannot be read or says what a configuration may not say.
    pub fn config(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::load(path).with_context(|| path.display().to_string())?,
            None => Config::default(),
        };
        fn set<T: Clone>(setting: &mut T, given: Option<&T>) {
            if let Some(given) = given {
                *setting = given.clone();
            }
        }
        let list = |given: &Vec<String>| (!given.is_empty()).then(|| given.clone());
        set(&mut config.listen, self.listen.as_ref());
        set(&mut config.source, self.source.as_ref());
        set(&mut config.plain_processes, self.plain_processes.as_ref());
        set(&mut config.follow_nat, self.follow_nat.as_ref());
        set(&mut config.tls, self.tls.as_ref());
        set(&mut config.disable, list(&self.disable).as_ref());
        set(&mut config.protocols, (!self.protocols.is_empty()).then_some(&self.protocols));
        set(&mut config.http_methods, self.http_methods.as_ref());
        set(&mut config.max_connections, self.max_connections.as_ref());
        set(&mut config.idle_after_seconds, self.idle_after.as_ref());
        set(&mut config.gone_after_seconds, self.gone_after.as_ref());
        set(&mut config.limits.max_edges, self.max_edges.as_ref());
        set(&mut config.limits.series_per_metric, self.max_series_per_metric.as_ref());
        set(&mut config.limits.label_value_bytes, self.max_label_bytes.as_ref());
        set(&mut config.limits.allow_metrics, list(&self.allow_metrics).as_ref());
        set(&mut config.limits.deny_metrics, list(&self.deny_metrics).as_ref());
        config.show_self |= self.show_self;
        config.web_config_file = self.web_config_file.clone().or(config.web_config_file);
        if let Some(services) = &self.services {
            config.services_file = Some(services.clone());
            config.services.clear();
        }
        Ok(config)
    }
}

/// Names of all metrics.
#[must_use]
pub fn metric_names() -> Vec<&'static str> {
    let collectors = collectors::all();
    let collected = collectors.iter().flat_map(|collector| collector.metrics()).map(|metric| metric.name);
    collected
        .chain(SELF_METRICS.iter().map(|metric| metric.name))
        .chain(WEB_METRICS.iter().map(|metric| metric.name))
        .collect()
}

/// Checks a configuration file with those it names, and says what it means.
///
/// # Errors
/// The first thing that cannot be used.
pub fn check(path: &Path) -> anyhow::Result<String> {
    let config = Config::load(path).with_context(|| path.display().to_string())?;
    config.check().with_context(|| path.display().to_string())?;
    let web = match &config.web_config_file {
        Some(path) => quoll_web_config::check(path).with_context(|| path.display().to_string())?.to_string(),
        None => "plain HTTP, no password".to_owned(),
    };
    Ok(format!("{} is good: {} ({web})", path.display(), config.listen))
}

/// Every metric with type, labels and help, and what an edge costs.
#[must_use]
pub fn metrics_text() -> String {
    let mut text = String::new();
    for collector in collectors::all() {
        let series: usize = collector.metrics().iter().map(|metric| metric.series()).sum();
        text += &format!("# collector {} ({series} series per combination of labels)\n", collector.name());
        collector.metrics().iter().for_each(|metric| describe(&mut text, metric));
    }
    text += "# exporter\n";
    SELF_METRICS.iter().for_each(|metric| describe(&mut text, metric));
    WEB_METRICS.iter().for_each(|metric| describe(&mut text, metric));
    text += "# At most 60 TCP series and 60 request series (240 with --http-methods) per edge and reporter; limits: \
             --max-edges, --max-series-per-metric.\n";
    text
}

fn describe(text: &mut String, metric: &crate::exposition::Metric) {
    let kind = match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    *text += &format!("{} {kind} {{{}}}\n    {}\n", metric.name, metric.labels, metric.help);
}

/// What each collector needs and keeps, with each source, and all of them together: the last word for
/// whoever writes a service file.
#[must_use]
pub fn capabilities_text(config: &Config) -> String {
    let mut text = String::new();
    let objection = tls::objection_here(config.tls);
    for source in [SourceKind::Ebpf, SourceKind::Procfs] {
        text += &format!("with --source {}:\n", source.name());
        let mut all = Needs::NONE;
        let all_collectors = collectors::all();
        let enabled = all_collectors.iter().filter(|one| !config.disable.iter().any(|name| name == one.name()));
        let translations = config.follow_nat.then_some(("nat", Some(privileges::FOLLOW_NAT)));
        let tls = (config.tls != TlsChoice::False && objection.is_none())
            .then(|| ("tls", (source == SourceKind::Ebpf).then(privileges::looking_into_tls)));
        let others = translations.into_iter().chain(tls);
        for (name, needs) in enabled.map(|one| (one.name(), one.needs(source))).chain(others) {
            let Some(needs) = needs else {
                text += &format!("  {name:<10} sees nothing with it\n");
                continue;
            };
            all.to_start |= needs.to_start;
            all.to_run |= needs.to_run;
            let (start, life) = (privileges::names(needs.to_start), privileges::names(needs.to_run));
            text += &format!("  {name:<10} to start: {start}; for life: {life}");
            text +=
                &if needs.otherwise.is_empty() { "\n".to_owned() } else { format!(" (else {})\n", needs.otherwise) };
        }
        let (start, life) = (privileges::names(all.to_start), privileges::names(all.to_run));
        text += &format!("  {:<10} to start: {start}; for life: {life}\n", "together");
    }
    if let Some(objection) = objection {
        text += &format!("TLS is not looked into on this machine: {objection}.\n");
    }
    if config.tls == TlsChoice::True {
        text += "To look into TLS takes CAP_SYS_ADMIN instead before Linux 6.6; this machine's kernel decided above.\n";
    }
    text += "What is not for life is given up as soon as the programs are attached. Linux 5.9 to 5.18 with \
             kernel.unprivileged_bpf_disabled set asks for CAP_BPF at each look: there it is kept.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn the_documented_metrics_are_those_printed() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exporter.md");
        let documented = std::fs::read_to_string(path).unwrap();
        assert!(documented.contains(&format!("```text\n{}```", metrics_text())), "{path} is out of date");
    }

    #[test]
    fn the_service_file_grants_what_is_printed_and_no_more() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../provisioning/systemd/quoll-exporter.service");
        let unit = std::fs::read_to_string(path).unwrap();
        let sorted = |names: &str| {
            let mut names: Vec<String> =
                names.split_whitespace().filter(|name| name.starts_with("CAP_")).map(str::to_owned).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let printed = capabilities_text(&Config::default());
        let together = printed.lines().find(|line| line.trim_start().starts_with("together")).unwrap();
        for setting in ["AmbientCapabilities=", "CapabilityBoundingSet="] {
            let granted = unit.lines().find_map(|line| line.strip_prefix(setting)).unwrap();
            assert_eq!(sorted(granted), sorted(&together.replace(';', " ")), "{setting}");
        }
    }

    #[test]
    fn every_metric_is_listed_once_with_the_products_prefix() {
        let text = metrics_text();
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("quoll_")).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(names.len(), unique.len());
        assert!(names.len() >= 24, "{}", names.len());
    }
}
