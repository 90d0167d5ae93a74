//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::agent::{AgentConfig, SELF_METRICS, SourceChoice};
use crate::collectors;
use crate::directory::{GONE_AFTER, PlainProcesses};
use crate::edges::{IDLE_AFTER, Lifetimes};
use crate::exposition::Kind;
use crate::kernel::Settings;
use crate::privileges::{self, Needs};
use crate::server::WEB_METRICS;
use crate::source::SourceKind;

/// TCP connections, HTTP requests, accept queues and resources per service, for Prometheus.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address to serve /metrics at
    #[arg(long, default_value = "127.0.0.1:9466", env = "QUOLL_EXPORTER_LISTEN")]
    pub listen: SocketAddr,
    /// TLS and users, in the format of Prometheus' file of that name; read again when it changes
    #[arg(long, alias = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
    /// Where to read from
    #[arg(long, value_enum, default_value = "auto")]
    pub source: SourceChoice,
    /// File that names services; read again when it changes
    #[arg(long, value_name = "FILE")]
    pub services: Option<PathBuf>,
    /// Processes outside of units and containers that are services by their executable's name
    #[arg(long, value_enum, default_value = "listening")]
    pub plain_processes: PlainProcesses,
    /// Show Quoll's own processes too
    #[arg(long)]
    pub show_self: bool,
    /// Switch a collector off; may be given several times
    #[arg(long, value_name = "COLLECTOR")]
    pub disable: Vec<String>,
    /// Open connections followed at once
    #[arg(long, value_name = "N", default_value_t = Settings::default().connections)]
    pub max_connections: u32,
    /// Seconds without an event after which an edge without open connections ends, and its series with it
    #[arg(long, value_name = "SECONDS", default_value_t = IDLE_AFTER.as_secs())]
    pub idle_after: u64,
    /// The same for edges of services of which nothing runs here any more
    #[arg(long, value_name = "SECONDS", default_value_t = GONE_AFTER.as_secs())]
    pub gone_after: u64,
    /// List every metric and exit
    #[arg(long)]
    pub print_metrics: bool,
    /// List what the collectors need and exit
    #[arg(long)]
    pub print_capabilities: bool,
}

impl Args {
    /// What the agent needs of it.
    #[must_use]
    pub fn agent_config(&self) -> AgentConfig {
        let connections = self.max_connections.max(1);
        let defaults = Settings::default();
        AgentConfig {
            source: self.source,
            services: self.services.clone(),
            plain_processes: self.plain_processes,
            lifetimes: Lifetimes {
                idle_after: Duration::from_secs(self.idle_after),
                gone_after: Duration::from_secs(self.gone_after),
            },
            show_self: self.show_self,
            disabled: self.disable.clone(),
            settings: Settings {
                connections,
                http_connections: defaults.http_connections.min(connections),
                ..defaults
            },
        }
    }
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
    text += "# At most 60 TCP series and 60 request series per edge and reporter.\n";
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
pub fn capabilities_text(disabled: &[String]) -> String {
    let mut text = String::new();
    for source in [SourceKind::Ebpf, SourceKind::Procfs] {
        text += &format!("with --source {}:\n", source.name());
        let mut all = Needs::NONE;
        for collector in collectors::all().iter().filter(|one| !disabled.iter().any(|name| name == one.name())) {
            let Some(needs) = collector.needs(source) else {
                text += &format!("  {:<10} sees nothing with it\n", collector.name());
                continue;
            };
            all.to_start |= needs.to_start;
            all.to_run |= needs.to_run;
            let (start, life) = (privileges::names(needs.to_start), privileges::names(needs.to_run));
            text += &format!("  {:<10} to start: {start}; for life: {life}", collector.name());
            text +=
                &if needs.otherwise.is_empty() { "\n".to_owned() } else { format!(" (else {})\n", needs.otherwise) };
        }
        let (start, life) = (privileges::names(all.to_start), privileges::names(all.to_run));
        text += &format!("  {:<10} to start: {start}; for life: {life}\n", "together");
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
