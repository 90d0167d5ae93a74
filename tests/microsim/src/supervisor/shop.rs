//! The shop while it runs: its processes, their faults and their counters.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use warp::http::StatusCode;

use super::cgroups::{self, Hierarchies};
use super::child::{Child, ChildError};
use super::control::{Answer, Question, refusal};
use super::faults::{Fault, Faults, Kind, now_ms};
use super::ownership::Ownership;
use super::plan::{PORT, Plan, Subnet};
use super::{Isolation, Options, network, services_file, stats};
use crate::report::Report;
use crate::say;
use crate::topology::{LOAD_GENERATOR, Topology};
use crate::wire::Assignment;

/// Wait before a process that ended by itself is started again.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// Everything that runs.
#[derive(Debug)]
pub struct Shop {
    topology: Topology,
    ownership: Ownership,
    plan: Plan,
    isolation: Isolation,
    hierarchies: Hierarchies,
    members: Vec<Member>,
    faults: Faults,
    started: Instant,
}

#[derive(Debug)]
struct Member {
    assignment: Assignment,
    child: Option<Child>,
    /// Counters of its earlier processes.
    earlier: Report,
    starts: u32,
    /// When it ended by itself: the time to start it again.
    restart_at: Option<Instant>,
}

impl Shop {
    /// Nothing runs yet.
    pub fn new(options: &Options, topology: Topology, ownership: Ownership) -> Self {
        let plan = Plan::new(&options.name, options.subnet.unwrap_or(Subnet::NAMESPACES), &topology);
        Self {
            topology,
            ownership,
            plan,
            isolation: options.isolation,
            hierarchies: Hierarchies::find(),
            members: Vec::new(),
            faults: Faults::default(),
            started: Instant::now(),
        }
    }

    /// Makes cgroups and namespaces and starts all processes, the load generator last.
    ///
    /// # Errors
    /// What could not be made or started; [`Self::stop`] removes the rest.
    pub async fn start(&mut self, options: &Options) -> anyhow::Result<()> {
        let namespaces = if self.isolation == Isolation::None { Vec::new() } else { self.plan.namespaces() };
        let directories = self.hierarchies.directories(&self.plan.name, &self.plan.names());
        self.ownership.announce(namespaces, directories)?;
        self.make_cgroups();
        self.make_network(options)?;
        if let Some(path) = &options.services_out {
            services_file::write(path, &self.plan, self.hierarchies.unified.is_some())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let namespaces = self.isolation == Isolation::Netns;
        for assignment in self.plan.assignments(&self.topology, options.seed, &self.hierarchies, namespaces) {
            if assignment.name == LOAD_GENERATOR {
                // Users come when the shop is open.
                for child in self.members.iter_mut().filter_map(|member| member.child.as_mut()) {
                    child.ready().await?;
                }
            }
            let child = Child::spawn(&assignment).await?;
            self.ownership.add_process(child.id())?;
            let earlier = Report::default();
            self.members.push(Member { assignment, child: Some(child), earlier, starts: 1, restart_at: None });
        }
        if let Some(load) = self.members.last_mut().and_then(|member| member.child.as_mut()) {
            load.ready().await?;
        }
        self.started = Instant::now();
        Ok(())
    }

    fn make_cgroups(&mut self) {
        let members = self.plan.names();
        if let Err(error) = self.hierarchies.create(&self.plan.name, &members) {
            say::line(&format!("without cgroups: {error}"));
            cgroups::remove(&self.hierarchies.directories(&self.plan.name, &members));
            self.hierarchies = Hierarchies::default();
        }
    }

    fn make_network(&mut self, options: &Options) -> anyhow::Result<()> {
        if self.isolation != Isolation::None {
            let members: Vec<_> =
                self.plan.members.iter().map(|member| (member.name.clone(), member.address)).collect();
            match network::create(&self.plan.name, &members) {
                Ok(()) => {
                    self.isolation = Isolation::Netns;
                    return Ok(());
                }
                Err(error) if self.isolation == Isolation::Netns => return Err(error.into()),
                Err(error) => {
                    say::line(&format!("without network namespaces: {error}"));
                    network::remove(&self.plan.namespaces());
                }
            }
        }
        self.isolation = Isolation::None;
        let subnet = options.subnet.filter(|subnet| subnet.is_loopback());
        self.plan = Plan::new(&options.name, subnet.unwrap_or(Subnet::LOOPBACK), &self.topology);
        Ok(())
    }

    /// Ends all processes and removes all that was made; says what.
    pub async fn stop(mut self) -> String {
        let children: Vec<Child> = self.members.iter_mut().rev().filter_map(|member| member.child.take()).collect();
        let count = children.len();
        for child in children {
            child.end().await;
        }
        format!("{count} processes ended, {}", self.ownership.release())
    }

    /// One line on what runs where.
    pub fn describe(&self) -> String {
        let place = match self.isolation {
            Isolation::Netns => "network namespaces",
            _ => "loopback",
        };
        let first = self.plan.members.first().map(|member| member.address);
        let cgroups = match self.hierarchies == Hierarchies::default() {
            true => "without cgroups".to_owned(),
            false => format!("with cgroups /{}", self.plan.name),
        };
        format!(
            "{} services in {place} (first at {}) {cgroups}, {} requests/s,",
            self.topology.services.len(),
            first.map(|address| format!("{address}:{PORT}")).unwrap_or_default(),
            self.topology.load.rate
        )
    }

    /// Answers one question of the control interface.
    pub async fn answer(&mut self, question: Question) -> Answer {
        let outcome = match question {
            Question::Topology => Ok((StatusCode::OK, self.describe_topology())),
            Question::Stats => Ok((StatusCode::OK, self.stats().await)),
            Question::Faults => {
                let kinds = Kind::ALL.map(|kind| {
                    let (unit, lowest, default, highest) = kind.severity();
                    json!({ "kind": kind.name(), "severity": { "unit": unit, "lowest": lowest, "default": default, "highest": highest } })
                });
                Ok((
                    StatusCode::OK,
                    json!({ "in_force": self.faults.in_force(), "over": self.faults.over(), "kinds": kinds }),
                ))
            }
            Question::Inject(request) => match self.faults.inject(&request, &self.topology) {
                Ok(fault) => {
                    say::line(&format!(
                        "fault {}: {} at {} for {} s (severity {}: {})",
                        fault.id,
                        fault.kind.name(),
                        fault.service,
                        fault.seconds,
                        fault.severity,
                        fault.unit
                    ));
                    self.bring_in_line(&fault.service).await;
                    Ok((StatusCode::CREATED, json!(fault)))
                }
                Err(error) => Err(error),
            },
            Question::Repair(id) => match self.faults.repair(&id) {
                Ok(fault) => {
                    self.repaired(std::slice::from_ref(&fault), "on command").await;
                    Ok((StatusCode::OK, json!(fault)))
                }
                Err(error) => Err(error),
            },
            Question::RepairAll => {
                let repaired = self.faults.repair_all();
                self.repaired(&repaired, "on command").await;
                Ok((StatusCode::OK, json!({ "repaired": repaired })))
            }
        };
        outcome.unwrap_or_else(|error| refusal(&error))
    }

    /// Repairs faults whose time is over, and starts again what ended by itself.
    pub async fn look_after(&mut self) {
        let now = Instant::now();
        let expired = self.faults.expire(now);
        self.repaired(&expired, "its time is over").await;
        let mut due = Vec::new();
        for member in &mut self.members {
            let name = &member.assignment.name;
            if let Some(status) = member.child.as_mut().and_then(Child::ended) {
                say::line(&format!(
                    "{name} ended by itself ({status}); starting it again. Its counters since its start are lost"
                ));
                member.child = None;
                member.restart_at = Some(now + RESTART_DELAY);
            }
            if member.restart_at.is_some_and(|at| at <= now) {
                due.push(name.clone());
            }
        }
        for name in due {
            self.bring_in_line(&name).await;
        }
    }

    /// Prints what the users see.
    pub async fn print_progress(&mut self) {
        let Some(load) = self.members.last_mut() else { return };
        match Self::total(load).await {
            Ok(report) => {
                let recent = &report.recent;
                let (seconds, latency) = (recent.seconds.max(1) as f64, recent.latency.quantiles());
                say::line(&format!(
                    "{:>6.0} s  {:.1} requests/s, {:.1} % errors, median {:.0} ms, 99th percentile {:.0} ms; faults in force: {}",
                    self.started.elapsed().as_secs_f64(),
                    recent.finished as f64 / seconds,
                    100.0 * recent.errors as f64 / recent.finished.max(1) as f64,
                    1000.0 * latency.p50,
                    1000.0 * latency.p99,
                    self.faults.in_force().len()
                ));
            }
            Err(error) => say::line(&format!("no figures: {error}")),
        }
    }

    async fn repaired(&mut self, faults: &[Fault], why: &str) {
        for fault in faults {
            say::line(&format!("repaired {}: {} at {} ({why})", fault.id, fault.kind.name(), fault.service));
            self.bring_in_line(&fault.service).await;
        }
    }

    /// Makes a service what its faults in force say: down, or up and told of them.
    async fn bring_in_line(&mut self, service: &str) {
        let settings = self.faults.settings(service);
        let crashed = self.faults.crashed(service);
        let Some(member) = self.members.iter_mut().find(|member| member.assignment.name == service) else { return };
        let outcome = match (&mut member.child, crashed) {
            (Some(_), true) => {
                Self::crash(member).await;
                Ok(())
            }
            (None, true) => Ok(()),
            (Some(child), false) => child.set_faults(settings).await,
            (None, false) => {
                member.starts += 1;
                let started = async {
                    let mut child = Child::spawn(&member.assignment).await?;
                    child.ready().await?;
                    child.set_faults(settings).await?;
                    Ok::<_, ChildError>(child)
                };
                match started.await {
                    Ok(child) => {
                        let listed = self.ownership.add_process(child.id());
                        member.child = Some(child);
                        member.restart_at = None;
                        if let Err(error) = listed {
                            say::line(&format!("{error}"));
                        }
                        Ok(())
                    }
                    Err(error) => {
                        member.restart_at = Some(Instant::now() + RESTART_DELAY);
                        Err(error)
                    }
                }
            }
        };
        if let Err(error) = outcome {
            say::line(&format!("{error}"));
        }
    }

    async fn crash(member: &mut Member) {
        if let Ok(report) = Self::total(member).await {
            member.earlier = report;
        }
        member.restart_at = None;
        if let Some(child) = member.child.take() {
            child.kill();
        }
    }

    /// The counters of a member over all its processes.
    async fn total(member: &mut Member) -> Result<Report, ChildError> {
        Self::ask(member).await?;
        Self::read(member).await
    }

    async fn ask(member: &mut Member) -> Result<(), ChildError> {
        match &mut member.child {
            Some(child) => child.ask_report().await,
            None => Ok(()),
        }
    }

    async fn read(member: &mut Member) -> Result<Report, ChildError> {
        // Of a process that is down, what describes the moment is over.
        let mut report = match &mut member.child {
            Some(child) => child.report().await?,
            None => Report::default(),
        };
        report.add_predecessor(&member.earlier);
        Ok(report)
    }

    async fn stats(&mut self) -> Value {
        let mut load = Value::Null;
        let mut services = serde_json::Map::new();
        // All are asked before any answer is read, so that they take stock at about the same time.
        let mut asked = Vec::new();
        for member in &mut self.members {
            asked.push(Self::ask(member).await);
        }
        for (member, asked) in self.members.iter_mut().zip(asked) {
            let report = match asked {
                Ok(()) => Self::read(member).await,
                Err(error) => Err(error),
            };
            let mut said = match report {
                Ok(report) => stats::json(&report),
                Err(error) => json!({ "error": error.to_string() }),
            };
            if let Value::Object(said) = &mut said {
                let state = if member.child.is_some() { "running" } else { "down" };
                said.insert("state".to_owned(), json!(state));
                said.insert("process".to_owned(), json!(member.child.as_ref().map(Child::id)));
                said.insert("restarts".to_owned(), json!(member.starts - 1));
            }
            if member.assignment.name == LOAD_GENERATOR {
                load = said;
            } else {
                services.insert(member.assignment.name.clone(), said);
            }
        }
        json!({
            "at_ms": now_ms(),
            "uptime_seconds": self.started.elapsed().as_secs_f64(),
            "load": load,
            "services": services,
        })
    }

    fn describe_topology(&self) -> Value {
        let member = |member: &super::plan::Member| {
            let cgroup = self.hierarchies.unified.as_ref().map(|_| format!("/{}/{}", self.plan.name, member.name));
            let users = member.name == LOAD_GENERATOR;
            json!({
                "name": member.name,
                "namespace": "shop",
                "address": member.address,
                "port": (!users).then_some(PORT),
                "cgroup": cgroup,
                "load_generator": users,
            })
        };
        let services: Vec<Value> = self.plan.members.iter().map(member).collect();
        let edges: Vec<Value> = self
            .topology
            .edges()
            .into_iter()
            .map(|(client, server)| json!({ "client": client, "server": server }))
            .collect();
        json!({ "services": services, "edges": edges, "isolation": if self.isolation == Isolation::Netns { "netns" } else { "none" } })
    }
}
