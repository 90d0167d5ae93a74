//! The one thread that owns the source, the names and the totals, and makes the pages.
//!
//! Between scrapes it empties the ring of ended connections ten times a second; a scrape brings
//! everything up to date and runs the collectors. All state has one owner, so nothing is locked; a
//! slow scrape delays the next one, and the ring (seconds deep) takes what ends meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;
use tokio::sync::oneshot;

use crate::args::Args;
use crate::collectors::{self, Collector, World};
use crate::config::Config;
use crate::directory::Directory;
use crate::edges::Edges;
use crate::exposition::{Kind, Labels, Metric, Page};
use crate::kernel::Settings;
use crate::limits::{Limiter, Shown};
use crate::nat::Translations;
use crate::privileges;
use crate::rules::{RulesFile, Stamp, stamp};
use crate::source::{Report, Source, SourceKind, ebpf::EbpfSource, procfs::ProcfsSource};

/// Pause between two looks at the ring; at 10,000 connections a second it is then a quarter full.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// New listeners and cgroups are looked for at most this often outside of scrapes.
const NAMES_EVERY: Duration = Duration::from_secs(1);
/// The same for processes, which cost more to look at.
const PROCESSES_EVERY: Duration = Duration::from_secs(5);

const BUILD_INFO: Metric = Metric {
    name: "quoll_exporter_build_info",
    help: "Always 1; version of the exporter and the source it reads.",
    kind: Kind::Gauge,
    labels: "version, source",
};
const SUCCESS: Metric = Metric {
    name: "quoll_exporter_collector_success",
    help: "Whether the collector succeeded at this scrape.",
    kind: Kind::Gauge,
    labels: "collector",
};
const DURATION: Metric = Metric {
    name: "quoll_exporter_collector_duration_seconds",
    help: "How long the collector took at this scrape; 'source' is the reading of connections and processes for all.",
    kind: Kind::Gauge,
    labels: "collector",
};
const DROPPED: Metric = Metric {
    name: "quoll_exporter_events_dropped_total",
    help: "What the kernel side could not report or remember, by what it was.",
    kind: Kind::Counter,
    labels: "event",
};
const UNSEEN: Metric = Metric {
    name: "quoll_exporter_transitions_unseen_total",
    help: "Changes of connections that the kernel did not tell of, as its probe would have interrupted itself. The connections \
           count all the same, without their duration, or with the bytes of the last look.",
    kind: Kind::Counter,
    labels: "",
};
const LIMITED: Metric = Metric {
    name: "quoll_exporter_series_limited_total",
    help: "Label sets summed under 'other', or left out where there is no sum, since the metric had too many series.",
    kind: Kind::Counter,
    labels: "metric",
};
const EDGES_LIMITED: Metric = Metric {
    name: "quoll_exporter_edges_limited_total",
    help: "Connections counted from 'other' to 'other' since there were too many edges.",
    kind: Kind::Counter,
    labels: "",
};
const UNTIMED: Metric = Metric {
    name: "quoll_exporter_requests_untimed_total",
    help: "Requests that were seen and are in no histogram, by reason: pipelined (in a row that could not be told apart), \
           unrecognised (the answer was not recognised), no_room (too many connections), edge_full (too many protocols and \
           statuses on one edge).",
    kind: Kind::Counter,
    labels: "protocol, reason",
};
const UNPARSED: Metric = Metric {
    name: "quoll_exporter_connections_unparsed_total",
    help: "Connections whose requests are not looked at any further, by reason: encrypted, lost (what they say is not \
           understood), midway (not seen from their beginning), or no_room (they say too much).",
    kind: Kind::Counter,
    labels: "protocol, reason",
};
const LIBRARIES: Metric = Metric {
    name: "quoll_exporter_tls_libraries",
    help: "Copies of OpenSSL's libssl by state: watched (in all processes that use them), or refused, for which the log has \
           the reason. Only with --tls.",
    kind: Kind::Gauge,
    labels: "state",
};
const RELOADED: Metric = Metric {
    name: "quoll_exporter_config_last_reload_success",
    help: "Whether the configuration's files could be used when they were last read; if not, the last good ones are in force.",
    kind: Kind::Gauge,
    labels: "",
};

/// Families about the exporter itself.
pub const SELF_METRICS: [&Metric; 11] = [
    &BUILD_INFO,
    &SUCCESS,
    &DURATION,
    &DROPPED,
    &UNSEEN,
    &LIMITED,
    &EDGES_LIMITED,
    &UNTIMED,
    &UNPARSED,
    &LIBRARIES,
    &RELOADED,
];

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceChoice {
    /// ebpf, or procfs where that is not permitted.
    Auto,
    /// The kernel-side programs; an error where they cannot be loaded.
    Ebpf,
    /// `/proc` only, without any privilege.
    Procfs,
}

/// What an agent is started with.
#[derive(Debug, Clone, Default)]
pub struct AgentConfig {
    /// The settings.
    pub config: Config,
    /// Sizes of the kernel's maps.
    pub settings: Settings,
    /// Where the settings are from, to read them again; `None` for never.
    pub command_line: Option<Args>,
}

enum Command {
    /// With native buckets, or without.
    Scrape(oneshot::Sender<Page>, bool),
    Reload,
}

/// A running agent. It stops, and the kernel-side programs with it, when the last handle is gone.
#[derive(Clone)]
pub struct AgentHandle {
    commands: Sender<Command>,
    kept: CapabilitySet,
}

/// The agent has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the agent's thread has stopped; its log says why")]
pub struct Stopped;

impl AgentHandle {
    /// The capabilities that the agent's thread kept.
    #[must_use]
    pub fn kept(&self) -> CapabilitySet {
        self.kept
    }

    /// Asks for the files of the configuration to be read again, changed or not.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn reload(&self) -> Result<(), Stopped> {
        self.commands.send(Command::Reload).map_err(|_| Stopped)
    }

    /// Asks for a page; it arrives through the receiver.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn scrape(&self) -> Result<oneshot::Receiver<Page>, Stopped> {
        self.ask(false)
    }

    /// The same with native buckets.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn scrape_native(&self) -> Result<oneshot::Receiver<Page>, Stopped> {
        self.ask(true)
    }

    fn ask(&self, native: bool) -> Result<oneshot::Receiver<Page>, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Scrape(sender, native)).map_err(|_| Stopped)?;
        Ok(receiver)
    }
}

/// Starts an agent; when this returns, the kernel-side programs are attached.
///
/// # Errors
/// Where `services.yaml` is wrong, or the source asked for cannot be had.
pub fn start(config: AgentConfig) -> anyhow::Result<(AgentHandle, JoinHandle<()>)> {
    let (commands, inbox) = channel();
    let (started, outcome) = channel();
    let thread = thread::Builder::new().name("agent".to_owned()).spawn(move || match Agent::new(&config) {
        Ok(mut agent) => {
            let _ = started.send(Ok(agent.kept));
            agent.run(&inbox);
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    })?;
    let kept = outcome.recv()??;
    Ok((AgentHandle { commands, kept }, thread))
}

struct Agent {
    source: Box<dyn Source>,
    config: Config,
    command_line: Option<Args>,
    config_seen: Stamp,
    is_reloaded: bool,
    limiter: Limiter,
    shown: Arc<Shown>,
    rules_file: Option<RulesFile>,
    directory: Directory,
    translations: Translations,
    edges: Edges,
    collectors: Vec<Box<dyn Collector>>,
    names_at: Option<Instant>,
    processes_at: Option<Instant>,
    libraries_at: Option<Instant>,
    ended: Vec<Report>,
    kept: CapabilitySet,
}

impl Agent {
    fn new(config: &AgentConfig) -> anyhow::Result<Self> {
        let AgentConfig { config, settings, command_line } = config;
        let config_seen = config_stamp(command_line.as_ref());
        let (rules_file, rules) = config.check()?;
        let mut collectors = collectors::all();
        collectors.retain(|collector| !config.disable.iter().any(|name| name == collector.name()));
        let source = open_source(config.source, *settings)?;
        collectors.retain(|collector| collector.needs(source.kind()).is_some());
        let translations = if config.follow_nat { follow_translations() } else { Translations::none() };
        let kept = give_up_capabilities(source.as_ref(), &collectors)?;
        let mut agent = Self {
            source,
            config: config.clone(),
            command_line: command_line.clone(),
            config_seen,
            is_reloaded: true,
            limiter: Limiter::new(&config.limits),
            shown: Arc::new(Shown::new(&config.limits)),
            rules_file,
            directory: Directory::new(rules, config.show_self)
                .with_plain_processes(config.plain_processes)
                .with_gone_after(config.lifetimes().gone_after),
            translations,
            edges: Edges::new(config.lifetimes(), config.limits.max_edges),
            collectors,
            names_at: None,
            processes_at: None,
            libraries_at: None,
            ended: Vec::new(),
            kept,
        };
        // The first page is for nobody: it takes what the kernel counted so far as the starting point.
        agent.look()?;
        let _ = agent.page(false);
        Ok(agent)
    }

    fn run(&mut self, inbox: &Receiver<Command>) {
        loop {
            match inbox.recv_timeout(DRAIN_EVERY) {
                Ok(Command::Scrape(reply, native)) => {
                    // Whoever asked may have gone meanwhile.
                    let _ = reply.send(self.page(native));
                }
                Ok(Command::Reload) => self.reload(),
                Err(RecvTimeoutError::Timeout) => self.drain(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes in what ended since the last time.
    fn drain(&mut self) {
        if let Err(error) = self.follow_libraries(PROCESSES_EVERY) {
            tracing::warn!("cannot list processes: {error}");
        }
        loop {
            let ended = &mut self.ended;
            let has_more = self.source.ended(&mut |report| ended.push(report));
            // After it: a translation is told before its connection can end.
            self.translations.read();
            if !self.ended.is_empty() {
                self.take_ended();
            }
            if !has_more {
                return;
            }
        }
    }

    fn take_ended(&mut self) {
        if let Err(error) = self.refresh_processes(PROCESSES_EVERY) {
            tracing::warn!("cannot list processes: {error}");
        }
        let is_stranger = |report: &Report| {
            let owners = [Some(report.owner), report.peer];
            owners.into_iter().flatten().any(|owner| self.directory.is_stranger(owner))
        };
        if self.ended.iter().any(is_stranger) {
            self.directory.walk_cgroups();
        }
        if self.names_at.is_none_or(|at| at.elapsed() >= NAMES_EVERY)
            && let Err(error) = self.refresh_listeners()
        {
            tracing::warn!("cannot read listeners: {error}");
        }
        self.edges.begin_batch();
        for mut report in self.ended.drain(..) {
            self.translations.translate(&mut report);
            self.edges.take(&report, &self.directory);
        }
    }

    /// Looks for TLS libraries that are used now.
    fn follow_libraries(&mut self, at_most_every: Duration) -> io::Result<()> {
        if self.source.libraries().is_none() || self.libraries_at.is_some_and(|at| at.elapsed() < at_most_every) {
            return Ok(());
        }
        self.libraries_at = Some(Instant::now());
        self.refresh_processes(at_most_every)?;
        let processes = self.directory.inventory().processes.iter();
        self.source.follow_libraries(&mut processes.map(|(pid, process)| (*pid, process.start_ticks)));
        Ok(())
    }

    fn refresh_processes(&mut self, at_most_every: Duration) -> io::Result<()> {
        if self.processes_at.is_none_or(|at| at.elapsed() >= at_most_every) {
            self.processes_at = Some(Instant::now());
            self.directory.refresh_processes()?;
        }
        Ok(())
    }

    fn refresh_listeners(&mut self) -> anyhow::Result<()> {
        self.names_at = Some(Instant::now());
        let listening = self.source.listening(self.directory.inventory())?;
        if listening.iter().any(|one| self.directory.is_stranger(one.owner)) {
            self.directory.walk_cgroups();
        }
        self.directory.set_listening(listening);
        Ok(())
    }

    /// Brings names and totals up to date with everything that is open.
    fn look(&mut self) -> anyhow::Result<()> {
        self.follow_files();
        self.refresh_processes(Duration::ZERO)?;
        self.follow_libraries(NAMES_EVERY)?;
        self.refresh_listeners()?;
        // In this order: what ends in between is in the ring at the next look, and nothing that is
        // still reported open was reported as ended.
        self.drain();
        let (directory, translations, edges) = (&mut self.directory, &mut self.translations, &mut self.edges);
        directory.tidy_cgroups();
        directory.set_present();
        let at_all = edges.must_look_at_all();
        edges.begin_look(at_all);
        let mut has_walked = false;
        self.source.live(at_all, &mut |mut report| {
            if translations.is_too_young(&report) {
                return;
            }
            translations.translate(&mut report);
            if directory.is_stranger(report.owner) && !has_walked {
                has_walked = true;
                directory.walk_cgroups();
            }
            edges.take(&report, directory);
        })?;
        translations.end_look();
        edges.end_look(&directory.gone());
        Ok(())
    }

    /// Takes over what changed in the files of the configuration.
    fn follow_files(&mut self) {
        if config_stamp(self.command_line.as_ref()) != self.config_seen {
            return self.reload();
        }
        let Some(file) = &mut self.rules_file else { return };
        match file.changed() {
            Ok(None) => {}
            Ok(Some(rules)) => {
                tracing::info!("{} changed and is in force", file.path().display());
                self.directory.set_rules(rules);
                self.edges.rename();
                self.is_reloaded = true;
            }
            Err(error) => {
                tracing::warn!("{}: {error}; the last good version stays in force", file.path().display());
                self.is_reloaded = false;
            }
        }
    }

    /// Reads all files again; all of them are good, or nothing changes.
    fn reload(&mut self) {
        self.config_seen = config_stamp(self.command_line.as_ref());
        let read = || -> anyhow::Result<_> {
            let new = self.command_line.as_ref().map_or_else(|| Ok(self.config.clone()), Args::config)?;
            let rules = new.check()?;
            Ok((new, rules))
        };
        let (new, (rules_file, rules)) = match read() {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!("the configuration cannot be used: {error:#}; the last good one stays in force");
                self.is_reloaded = false;
                return;
            }
        };
        for name in self.config.for_next_start(&new) {
            tracing::warn!("the changed setting {name} comes into force at the next start");
        }
        self.rules_file = rules_file;
        self.directory.set_rules(rules);
        self.directory.configure(new.plain_processes, new.lifetimes().gone_after, new.show_self);
        self.edges.set_bounds(new.lifetimes(), new.limits.max_edges);
        self.edges.rename();
        self.limiter.set(&new.limits);
        self.shown = Arc::new(Shown::new(&new.limits));
        self.is_reloaded = true;
        // What only a restart brings into force stays as it was, so that it is said again while it differs.
        let Config { listen, web_config_file, source, disable, protocols, max_connections, follow_nat, tls, .. } =
            self.config.clone();
        self.config =
            Config { listen, web_config_file, source, disable, protocols, max_connections, follow_nat, tls, ..new };
        tracing::info!("the configuration was read and is in force");
    }

    fn page(&mut self, native: bool) -> Page {
        let began = Instant::now();
        let source_error = self.look().err().map(|error| format!("{error:#}"));
        let mut rows = vec![("source", source_error.is_none(), began.elapsed())];
        if let Some(error) = &source_error {
            tracing::warn!("cannot read the source: {error}");
        }
        let mut page = Page::new(Arc::clone(&self.shown));
        if native {
            page = page.with_native();
        }
        let world = World {
            directory: &self.directory,
            edges: &self.edges,
            source_error: source_error.as_deref(),
            sees_requests: self.source.kind() == SourceKind::Ebpf,
        };
        rows.extend(run_collectors(&mut self.collectors, &world, &mut page));
        self.limiter.apply(&mut page);
        let version = env!("CARGO_PKG_VERSION");
        let labels = Labels::new(&[("version", Some(version)), ("source", Some(self.source.kind().name()))]);
        page.family(&BUILD_INFO).sample(&labels, 1.0);
        let of = |name| Labels::new(&[("collector", Some(name))]);
        let mut family = page.family(&SUCCESS);
        for (name, success, _) in &rows {
            family.sample(&of(name), f64::from(u8::from(*success)));
        }
        let mut family = page.family(&DURATION);
        for (name, _, duration) in &rows {
            family.sample(&of(name), duration.as_secs_f64());
        }
        let mut family = page.family(&DROPPED);
        let translations = [("translation", self.translations.lost())];
        for (event, count) in self.source.losses().into_iter().chain(translations) {
            family.sample(&Labels::new(&[("event", Some(event))]), count as f64);
        }
        page.family(&UNSEEN).sample(&Labels::default(), self.source.unseen() as f64);
        let mut family = page.family(&LIMITED);
        for metric in self.collectors.iter().flat_map(|collector| collector.metrics()) {
            let labels = Labels::new(&[("metric", Some(metric.name))]);
            family.sample(&labels, self.limiter.limited(metric.name) as f64);
        }
        page.family(&EDGES_LIMITED).sample(&Labels::default(), self.edges.limited() as f64);
        let mut family = page.family(&UNTIMED);
        let limited = self.edges.requests_limited();
        let labels = |protocol, reason| Labels::new(&[("protocol", Some(protocol)), ("reason", Some(reason))]);
        if limited > 0 {
            family.sample(&labels("any", "edge_full"), limited as f64);
        }
        for (protocol, reason, count) in self.source.untimed() {
            family.sample(&labels(protocol.name(), reason), count as f64);
        }
        let mut family = page.family(&UNPARSED);
        for (protocol, reason, count) in self.source.unparsed() {
            family.sample(&labels(protocol.name(), reason), count as f64);
        }
        let encrypted = self.source.encrypted();
        if encrypted > 0 {
            family.sample(&labels("any", "encrypted"), encrypted as f64);
        }
        if let Some(counts) = self.source.libraries() {
            let mut family = page.family(&LIBRARIES);
            for (state, count) in ["watched", "refused"].into_iter().zip(counts) {
                family.sample(&Labels::new(&[("state", Some(state))]), count as f64);
            }
        }
        page.family(&RELOADED).sample(&Labels::default(), f64::from(u8::from(self.is_reloaded)));
        page
    }
}

fn config_stamp(command_line: Option<&Args>) -> Stamp {
    stamp(command_line?.config.as_deref()?)
}

/// Runs one after the other; gives the name, the success and the duration of each. One that fails leaves
/// the others working.
fn run_collectors(
    collectors: &mut [Box<dyn Collector>],
    world: &World<'_>,
    page: &mut Page,
) -> Vec<(&'static str, bool, Duration)> {
    let run = |collector: &mut Box<dyn Collector>| {
        let began = Instant::now();
        let result = collector.collect(world, page);
        if let Err(error) = &result
            && world.source_error.is_none()
        {
            tracing::warn!("collector {}: {error:#}", collector.name());
        }
        (collector.name(), result.is_ok(), began.elapsed())
    };
    collectors.iter_mut().map(run).collect()
}

/// Follows address translations, or says why not.
fn follow_translations() -> Translations {
    Translations::follow().unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            tracing::info!("without CAP_NET_ADMIN peers behind translated addresses (NAT, ClusterIP) are not named");
        } else {
            tracing::info!("address translations cannot be followed: {error}");
        }
        Translations::none()
    })
}

/// Leaves this thread with what the collectors keep. Gives what that is.
fn give_up_capabilities(source: &dyn Source, collectors: &[Box<dyn Collector>]) -> io::Result<CapabilitySet> {
    let needs = collectors.iter().filter_map(|collector| collector.needs(source.kind()));
    let mut kept = needs.fold(source.library_needs(), |all, needs| all | needs.to_run);
    if !privileges::without(|| source.can_be_read())? {
        // Before 5.19 `kernel.unprivileged_bpf_disabled` forbids look-ups on held descriptors too.
        kept |= CapabilitySet::BPF;
    }
    let kept = privileges::limit_thread(kept)?;
    tracing::info!("capabilities kept: {}", privileges::names(kept));
    Ok(kept)
}

fn open_source(choice: SourceChoice, settings: Settings) -> anyhow::Result<Box<dyn Source>> {
    if choice != SourceChoice::Procfs {
        if let Some(warning) = privileges::prepare_memlock(&settings) {
            tracing::warn!("{warning}");
        }
        match EbpfSource::start(settings) {
            Ok(source) => return Ok(Box::new(source)),
            Err(error) => {
                tracing::debug!("eBPF: {error}");
                let cause = privileges::explain(&error);
                anyhow::ensure!(choice == SourceChoice::Auto, "eBPF cannot be used ({cause})");
                tracing::warn!(
                    "eBPF cannot be used ({cause}); falling back to --source procfs, which sees no bytes, requests, \
                     failures, round-trip times or queue limits, and misses connections shorter than a scrape interval"
                );
            }
        }
    }
    Ok(Box::new(ProcfsSource::default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::privileges::Needs;

    struct Failing;

    impl Collector for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn needs(&self, _: SourceKind) -> Option<Needs> {
            Some(Needs::NONE)
        }

        fn metrics(&self) -> &'static [&'static Metric] {
            &[]
        }

        fn collect(&mut self, _: &World<'_>, _: &mut Page) -> anyhow::Result<()> {
            anyhow::bail!("it is Monday")
        }
    }

    #[test]
    fn a_failing_collector_leaves_the_others_working() {
        let config = Config { source: SourceChoice::Procfs, show_self: true, ..Config::default() }.agent();
        // On a thread of its own, since an agent gives up its thread's capabilities.
        let run = move || {
            let mut agent = Agent::new(&config).unwrap();
            agent.collectors.insert(0, Box::new(Failing));
            agent.page(false).into_text()
        };
        let page = thread::spawn(run).join().unwrap();
        assert!(page.contains("quoll_exporter_collector_success{collector=\"failing\"} 0"), "{page}");
        for collector in ["source", "tcp", "listeners", "resources"] {
            assert!(
                page.contains(&format!("quoll_exporter_collector_success{{collector=\"{collector}\"}} 1")),
                "{page}"
            );
        }
    }
}
