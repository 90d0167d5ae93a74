//! The one thread that owns the source, the names and the totals, and makes the pages.
//!
//! Between scrapes it empties the ring of ended connections ten times a second; a scrape brings
//! everything up to date and runs the collectors. All state has one owner, so nothing is locked; a
//! slow scrape delays the next one, and the ring (seconds deep) takes what ends meanwhile.

mod begin;
mod handle;
mod metrics;
mod page;
mod reload;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::CapabilitySet;

use crate::args::Args;
use crate::collectors::{self, Collector};
use crate::config::Config;
use crate::directory::Directory;
use crate::edges::Edges;
use crate::kernel::Settings;
use crate::limits::{Limiter, Shown};
use crate::nat::Translations;
use crate::rules::{RulesFile, Stamp};
use crate::source::{Report, Source};

use begin::{follow_translations, give_up_capabilities, open_source};
use handle::Command;
pub use handle::{AgentHandle, Stopped};
pub use metrics::SELF_METRICS;
use reload::config_stamp;

/// Pause between two looks at the ring; at 10,000 connections a second it is then a quarter full.
const DRAIN_EVERY: Duration = Duration::from_millis(100);
/// New listeners and cgroups are looked for at most this often outside of scrapes.
const NAMES_EVERY: Duration = Duration::from_secs(1);
/// The same for processes, which cost more to look at.
const PROCESSES_EVERY: Duration = Duration::from_secs(5);

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
        let edges = Edges::new(config.lifetimes(), config.limits.max_edges);
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
            edges: if settings.protocols.by_method != 0 { edges.with_methods() } else { edges },
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
        let owners = || self.ended.iter().flat_map(|report| [Some(report.owner), report.peer]).flatten();
        if owners().any(|owner| self.directory.is_stranger(owner)) {
            self.directory.walk_cgroups();
        }
        self.directory.learn_containers(owners());
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collectors::World;
    use crate::exposition::{Metric, Page};
    use crate::privileges::Needs;
    use crate::source::SourceKind;

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
