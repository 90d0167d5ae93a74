//! The phases of a run: learn, train, stay healthy, break, repair.
//!
//! Every wait watches all processes and the user's Ctrl-C, and ends with an error as soon as one of
//! them does: nothing waits for an answer that cannot come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clients::{Fault, Graph, ModelState};
use crate::narrator::Narrator;
use crate::stack::Stack;
use crate::verdict::{Cause, Outcome, Watch};
use crate::{Error, webhook};

/// How often the scorer is asked. A quarter of the demo's step.
const POLL: Duration = Duration::from_millis(250);

/// How long the scorer may take to score after a model was loaded.
const FIRST_SCORE: Duration = Duration::from_secs(120);

/// What a healthy stretch of time showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Healthy {
    /// Incidents that the scorer opened: id and likeliest root.
    pub incidents: BTreeSet<(String, String)>,
    /// Incidents of which a cause was notified.
    pub notified: BTreeSet<String>,
}

/// A stack, the user, and the time.
#[derive(Debug)]
pub struct Drive<'a> {
    /// What is driven.
    pub stack: &'a mut Stack,
    /// What tells the user.
    pub narrator: &'a mut Narrator,
    /// Set by the user's Ctrl-C.
    pub interrupted: Arc<AtomicBool>,
}

impl Drive<'_> {
    /// One turn of any wait.
    fn turn(&mut self) -> Result<(), Error> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        self.stack.check()?;
        std::thread::sleep(POLL);
        Ok(())
    }

    /// Waits until `length` after the stack got ready, while it learns what normal is.
    ///
    /// # Errors
    /// A process ended, or the user interrupts; as everywhere here.
    pub fn learn(&mut self, length: Duration) -> Result<(), Error> {
        loop {
            let left = length.saturating_sub(self.stack.ready_at().elapsed());
            if left.is_zero() {
                return Ok(());
            }
            let graph = self.stack.scorer.graph().unwrap_or_default();
            self.narrator.progress(format!(
                "learning what normal is: {} s to go; the scorer sees {} services and {} calls between them",
                left.as_secs(),
                graph.services.len(),
                graph.edges.len()
            ));
            self.turn()?;
        }
    }

    /// Trains on what was seen since the stack got ready, loads the model, and waits for scores.
    /// Returns the seconds that training took.
    ///
    /// # Errors
    /// Training failed or took longer than `patience`; the scorer refuses the model or gives no scores.
    pub fn train(&mut self, patience: Duration) -> Result<f64, Error> {
        let started = Instant::now();
        let mut training = self.stack.start_training(self.stack.ready_at().elapsed().as_secs())?;
        let status = loop {
            if let Some(status) = training.ended() {
                break status;
            }
            // A progress bar rewrites its line.
            let tail = training.log_tail(1);
            let last = tail.rsplit('\r').next().unwrap_or_default().to_owned();
            self.narrator.progress(format!("training: {}", last.trim()));
            let out_of_time = started.elapsed() > patience;
            if out_of_time {
                training.stop();
                return Err(Error::NotReady {
                    name: training.name().to_owned(),
                    waited: patience,
                    last,
                    log: training.log().to_owned(),
                });
            }
            if let Err(error) = self.turn() {
                training.stop();
                return Err(error);
            }
        };
        if !status.success() {
            return Err(Error::Ended { name: "training".to_owned(), status, log: training.log().to_owned() });
        }
        let took = started.elapsed().as_secs_f64();
        self.stack.scorer.reload()?;
        let loaded = Instant::now();
        loop {
            let graph = self.stack.scorer.graph().unwrap_or_default();
            let scored = graph.services.iter().filter(|service| service.score.is_some()).count();
            if graph.model.state != ModelState::None && scored > 0 {
                return Ok(took);
            }
            if loaded.elapsed() > FIRST_SCORE {
                let log = self.stack.supervisor().get("scorer").map(|p| p.log().to_owned()).unwrap_or_default();
                let last =
                    format!("model {:?}, {scored} of {} services scored", graph.model.state, graph.services.len());
                return Err(Error::NotReady { name: "the first score".to_owned(), waited: FIRST_SCORE, last, log });
            }
            self.turn()?;
        }
    }

    /// Leaves everything alone for `length` and tells what was found wrong although nothing is.
    ///
    /// # Errors
    /// As everywhere here; a false alarm is a result, not an error.
    pub fn stay_healthy(&mut self, length: Duration, why: &str) -> Result<Healthy, Error> {
        let (started, first) = (Instant::now(), self.stack.webhook().count());
        let mut healthy = Healthy::default();
        // What is open already is told of by whoever caused it.
        let open: BTreeSet<String> =
            self.stack.scorer.graph().unwrap_or_default().incidents.into_iter().map(|incident| incident.id).collect();
        while started.elapsed() < length {
            let graph = self.stack.scorer.graph().unwrap_or_default();
            for incident in graph.incidents.iter().filter(|incident| !open.contains(&incident.id)) {
                let root = incident.roots.first().map_or("?", |root| root.name.as_str());
                if !healthy.incidents.iter().any(|(id, _)| *id == incident.id) {
                    self.narrator
                        .say(format!("an incident opened ({}, {root}) although nothing is broken", incident.id));
                    self.explain(&graph);
                    healthy.incidents.insert((incident.id.clone(), root.to_owned()));
                }
            }
            let left = length.saturating_sub(started.elapsed()).as_secs();
            self.narrator.progress(format!("{why}: {left} s to go, highest score {:.2}", highest_score(&graph)));
            self.turn()?;
        }
        for notification in self.stack.webhook().since(first) {
            let causes = Cause::all(&notification).into_iter().map(|cause| cause.incident);
            healthy.notified.extend(causes.filter(|incident| !open.contains(incident)));
        }
        Ok(healthy)
    }

    /// Breaks a service of `namespace` and watches until a cause is notified, at most `patience`.
    ///
    /// # Errors
    /// microsim refuses the fault; as everywhere here. A fault that is not found is a result.
    pub fn break_and_watch(
        &mut self,
        fault: &Fault,
        namespace: Option<&str>,
        patience: Duration,
    ) -> Result<Outcome, Error> {
        let mut read = self.stack.webhook().count();
        let injected = Instant::now();
        self.stack.microsim.inject(fault)?;
        let mut watch = Watch::new(fault.clone(), namespace, injected);
        while injected.elapsed() < patience {
            if let Ok(graph) = self.stack.scorer.graph() {
                let before = watch.outcome().clone();
                watch.see_graph(&graph, Instant::now());
                self.tell_news(&before, watch.outcome());
                self.narrator.progress(format!(
                    "{} is broken since {:.0} s: {}",
                    fault.service,
                    injected.elapsed().as_secs_f64(),
                    describe(&graph)
                ));
            }
            for notification in self.stack.webhook().since(read) {
                read += 1;
                watch.see_notification(&notification);
            }
            if watch.notified() {
                break;
            }
            self.turn()?;
        }
        Ok(watch.finish())
    }

    fn tell_news(&mut self, before: &Outcome, now: &Outcome) {
        if let (None, Some(seconds)) = (before.seconds_to_score, now.seconds_to_score) {
            self.narrator.say(format!("{} is scored anomalous after {seconds:.1} s", now.fault.service));
        }
        if let (None, Some(seconds)) = (before.seconds_to_diagnosis, now.seconds_to_diagnosis) {
            self.narrator.say(format!("{} is diagnosed as the cause after {seconds:.1} s", now.fault.service));
        }
    }

    /// Repairs everything and waits until no incident is open. `None` if one still is after `patience`.
    ///
    /// # Errors
    /// As everywhere here.
    pub fn repair(&mut self, patience: Duration) -> Result<Option<f64>, Error> {
        self.stack.microsim.repair()?;
        let repaired = Instant::now();
        while repaired.elapsed() < patience {
            if let Ok(graph) = self.stack.scorer.graph() {
                if graph.incidents.is_empty() {
                    return Ok(Some(repaired.elapsed().as_secs_f64()));
                }
                self.narrator.progress(format!(
                    "repaired since {:.0} s, waiting for the incident to close: {}",
                    repaired.elapsed().as_secs_f64(),
                    describe(&graph)
                ));
            }
            self.turn()?;
        }
        Ok(None)
    }

    /// Goes on until the user interrupts, telling each notification as it arrives.
    ///
    /// # Errors
    /// A process ended. The user's interrupt is no error here.
    pub fn go_on(&mut self) -> Result<(), Error> {
        let mut told = self.stack.webhook().count();
        loop {
            for notification in self.stack.webhook().since(told) {
                told += 1;
                for alert in &notification.alerts {
                    let state = if alert.status == webhook::Status::Firing { "firing" } else { "resolved" };
                    let summary = alert.annotations.get("summary").map_or("", String::as_str);
                    self.narrator.say(format!("notified: {} {state}: {summary}", alert.label("alertname")));
                }
            }
            if let Ok(graph) = self.stack.scorer.graph() {
                self.narrator.progress(describe(&graph));
            }
            match self.turn() {
                Err(Error::Interrupted) => return Ok(()),
                other => other?,
            }
        }
    }

    /// Prints the scorer's view of its open incidents.
    pub fn explain(&mut self, graph: &Graph) {
        for incident in &graph.incidents {
            let suspects: Vec<String> =
                incident.roots.iter().take(3).map(|root| format!("{} {:.3}", root.name, root.probability)).collect();
            self.narrator.detail(format!("incident {}: {}", incident.id, suspects.join(", ")));
            for line in &incident.explanation {
                self.narrator.detail(format!("  {line}"));
            }
        }
    }
}

fn highest_score(graph: &Graph) -> f64 {
    graph.services.iter().filter_map(|service| service.score).fold(0.0, f64::max)
}

/// One line about the state of the graph.
fn describe(graph: &Graph) -> String {
    let mut scored: Vec<(&str, f64)> =
        graph.services.iter().filter_map(|service| Some((service.name.as_str(), service.score?))).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top: Vec<String> = scored.iter().take(3).map(|(name, score)| format!("{name} {score:.1}")).collect();
    let incidents: Vec<String> = graph
        .incidents
        .iter()
        .filter_map(|incident| incident.roots.first())
        .map(|root| format!("cause {} {:.0} %", root.name, root.probability * 100.0))
        .collect();
    let incidents = if incidents.is_empty() { "no incident".to_owned() } else { incidents.join("; ") };
    format!("{incidents}; highest scores: {}", top.join(", "))
}
