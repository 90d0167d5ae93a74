//! The engine: closed steps in; scores, incidents, results and views out.
//!
//! It runs on one thread and owns all state behind the windows. Everything it computes depends on event
//! time and on the order of steps alone, with one exception: a backlog, older than the incidents' limit by
//! the wall clock, opens no incident. The clock of each tick is noted in the journal, so that a tick that is
//! handled again after a restart comes out the same to the bit.

mod model;
mod results;
mod scope;
mod settings;
mod stats;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use quoll_api::view::{Feedback, ModelView, Published, ScopeKey};
use quoll_blast_radius::ENGINE_VERSION;
use quoll_detect::ServiceScore;
use quoll_features::ClosedStep;
use quoll_identity::Scope;
use quoll_incidents::{Diagnosis, EdgeDiagnosis, Incidents};
use quoll_ingest::{ClosedScopeStep, SharedReceiver};
use quoll_shards::Told;

pub use self::model::model_stamp;
use self::scope::ScopeEngine;
pub use self::settings::{Part, Queues, Settings};
pub use self::stats::EngineStats;
use crate::history::History;
use crate::incident_log::IncidentLog;
use crate::journal::{Handled, Journal};
use crate::outputs::{Alive, Outputs};
use crate::snapshot::{EngineScope, StoredScope, Writing};
use crate::view::{scope_key, scope_view};

/// All scopes.
pub struct Engine {
    settings: Settings,
    scopes: BTreeMap<ScopeKey, ScopeEngine>,
    stored: BTreeMap<ScopeKey, StoredScope>,
    journal: Journal,
    queues: Queues,
    published: Arc<ArcSwap<Published>>,
    stats: Arc<Mutex<EngineStats>>,
    model: ModelView,
    loaded: bool,
}

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Engine {
    /// An engine that goes on from stored scopes and the journal of the ticks since, with the model if there is
    /// one.
    pub fn new(
        settings: Settings,
        queues: Queues,
        published: Arc<ArcSwap<Published>>,
        stats: Arc<Mutex<EngineStats>>,
        stored: Vec<StoredScope>,
        journal: Journal,
    ) -> Self {
        let stored = stored.into_iter().map(|stored| (scope_key(&stored.scope), stored)).collect();
        let mut engine = Self {
            settings,
            scopes: BTreeMap::new(),
            stored,
            journal,
            queues,
            published,
            stats,
            model: ModelView::default(),
            loaded: false,
        };
        if engine.settings.part == Part::Root {
            engine.model = ModelView { state: "none", message: "no leaf has reported yet".to_owned() };
            engine.publish(|_| {});
        } else {
            match engine.reload() {
                Ok(outcome) => tracing::info!("{outcome}"),
                Err(reason) => tracing::warn!("topology and causes without scores: {reason}"),
            }
        }
        // At once, not at their next step: a snapshot may be taken before that.
        let scopes: Vec<Scope> = engine.stored.values().map(|stored| stored.scope.clone()).collect();
        for scope in scopes {
            let scope = Arc::new(scope);
            match engine.new_scope(&scope) {
                Ok(state) => {
                    engine.scopes.insert(scope_key(&scope), state);
                }
                Err(reason) => tracing::error!(%reason, "a stored scope cannot be handled"),
            }
        }
        engine
    }

    fn count(&self, change: impl FnOnce(&mut EngineStats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn new_scope(&mut self, scope: &Arc<Scope>) -> Result<ScopeEngine, String> {
        let settings = &self.settings;
        let incidents =
            Incidents::new(settings.incidents.clone(), settings.step_ms).map_err(|error| error.to_string())?;
        let incidents = incidents.with_features(&settings.set);
        let mut detector = if self.loaded { Some(self.load()?) } else { None };
        let mut state = ScopeEngine {
            scope: Arc::clone(scope),
            detector: None,
            incidents,
            outputs: Outputs::resume(Alive::default(), settings.part.share()),
            history: History::default(),
            log: IncidentLog::default(),
            services: 0,
            last_written_ms: i64::MIN,
            last_end_ms: i64::MIN,
        };
        if let Some(stored) = self.stored.remove(&scope_key(scope)) {
            state.resume(stored, detector.as_mut(), settings.part.share());
        }
        state.detector = detector;
        Ok(state)
    }

    /// Handles a step that the inbound log's replay closed.
    pub fn replay(&mut self, closed: ClosedScopeStep) {
        self.count(|stats| stats.replayed_steps += 1);
        self.tick(closed);
    }

    /// Handles a step that samples closed; one that was handled before, by the clock of then, without writing its
    /// results again.
    pub fn tick(&mut self, closed: ClosedScopeStep) {
        let ClosedScopeStep { scope, step, told } = closed;
        let key = scope_key(&scope);
        let mut state = match self.scopes.remove(&key) {
            Some(state) => state,
            None => match self.new_scope(&scope) {
                Ok(state) => state,
                Err(reason) => {
                    tracing::error!(%reason, "a scope cannot be handled");
                    return;
                }
            },
        };
        let end_ms = step.end_ms;
        let known = self.journal.take(&key, end_ms);
        let Handled { clock_ms, done } = known.unwrap_or(Handled { clock_ms: now_ms(), done: false });
        if known.is_none() {
            self.noted(|journal| journal.begin(&key, end_ms, clock_ms));
        }
        self.handle(&mut state, &step, told, clock_ms, done);
        if !done {
            self.noted(|journal| journal.done(&key, end_ms));
        }
        self.scopes.insert(key, state);
        self.forget_scopes();
    }

    /// Forgets scopes whose senders are gone for good, with their page and what was learned of them. By event time, so
    /// that a replay does the same.
    fn forget_scopes(&mut self) {
        let newest_ms = self.scopes.values().map(|state| state.last_end_ms).max().unwrap_or(i64::MIN);
        let idle_ms = self.settings.idle_scope_ms;
        let gone = |state: &ScopeEngine| newest_ms.saturating_sub(state.last_end_ms) > idle_ms;
        let keys: Vec<ScopeKey> =
            self.scopes.iter().filter(|(_, state)| gone(state)).map(|(key, _)| key.clone()).collect();
        if keys.is_empty() {
            return;
        }
        for key in &keys {
            self.scopes.remove(key);
        }
        self.publish(|published| published.scopes.retain(|key, _| !keys.contains(key)));
    }

    fn noted(&mut self, note: impl FnOnce(&mut Journal) -> std::io::Result<()>) {
        if let Err(error) = note(&mut self.journal) {
            tracing::error!(%error, "a tick cannot be noted; a restart may write it again");
        }
    }

    fn handle(&mut self, state: &mut ScopeEngine, step: &ClosedStep, told: Option<Told>, now: i64, written: bool) {
        let started = std::time::Instant::now();
        let silent = told.as_ref().map(|told| told.silent.clone()).unwrap_or_default();
        let scores = match told {
            Some(told) => self.told_scores(told),
            None => self.scores(state, step),
        };
        let diagnosis = if let Part::Leaf { .. } = self.settings.part {
            observed(step)
        } else {
            // Without a model there is only the graph: as if the step were a backlog, nothing may open an incident.
            let clock = if scores.is_some() { now } else { i64::MAX };
            state.incidents.tick(step, scores.as_deref().unwrap_or_default(), clock)
        };
        let opened = state.log.note(&diagnosis);
        let previous_ms = (state.last_end_ms > i64::MIN).then_some(state.last_end_ms);
        state.last_end_ms = state.last_end_ms.max(step.end_ms);

        let timestamp_ms = step.end_ms.min(now);
        if timestamp_ms > state.last_written_ms {
            self.write(state, scores.as_deref(), &diagnosis, timestamp_ms, written);
            if !written {
                self.report(state, step, previous_ms, scores.as_deref().unwrap_or_default(), timestamp_ms);
            }
            state.last_written_ms = timestamp_ms;
        } else {
            self.count(|stats| stats.withheld_ticks += 1);
        }
        let closed = state.log.closed().cloned();
        let mut view = scope_view(&state.scope, &self.settings.set, step, scores.as_deref(), &diagnosis, closed);
        view.silent_leaves = silent;
        state.services = step.services.len() as u64;
        let scored = scores.map_or(0, |scores| scores.len() as u64);
        let end_ms = step.end_ms;
        if self.settings.part != Part::Root {
            state.history.push(step);
        }
        self.publish(|published| {
            published.scopes.insert(view.scope.clone(), Arc::new(view));
        });
        let services = self.scopes.values().map(|scope| scope.services).sum::<u64>() + state.services;
        let open = self.scopes.values().map(|scope| scope.log.open()).sum::<u64>() + state.log.open();
        self.count(|stats| {
            stats.ticks += 1;
            stats.scores += scored;
            stats.services = services;
            stats.open_incidents = open;
            stats.incidents_opened += opened;
            stats.tick_seconds = started.elapsed().as_secs_f64();
            stats.lag_seconds = (now - end_ms) as f64 / 1000.0;
            stats.last_tick_seconds = end_ms as f64 / 1000.0;
        });
    }

    /// Scores of a step; `None` without a model.
    fn scores(&self, state: &mut ScopeEngine, step: &ClosedStep) -> Option<Vec<ServiceScore>> {
        let detector = state.detector.as_mut()?;
        // What the windows have forgotten is forgotten here too.
        detector.retain(|service| step.services.binary_search_by(|known| known.service.cmp(service)).is_ok());
        let before = detector.realised();
        match detector.score(step) {
            Ok(scores) => {
                let after = detector.realised();
                let (budget, alert_budget) = (detector.score_budget_per_day(), detector.alert_budget_per_day());
                self.count(|stats| {
                    stats.score_crossings += after.crossings - before.crossings;
                    stats.score_service_days += after.service_days - before.service_days;
                    stats.score_budget_per_day = budget;
                    stats.alert_crossings += after.alert_crossings - before.alert_crossings;
                    stats.alert_budget_per_day = alert_budget;
                });
                Some(scores)
            }
            Err(error) => {
                tracing::error!(%error, "a step cannot be scored");
                self.count(|stats| stats.failed_scores += 1);
                Some(Vec::new())
            }
        }
    }

    /// What leaves say in place of a detector.
    fn told_scores(&mut self, told: Told) -> Option<Vec<ServiceScore>> {
        let mut message = format!("the leaves' models, at worst: {}", told.model.as_str());
        if !told.silent.is_empty() {
            message.push_str(&format!("; silent: {}", told.silent.join(", ")));
        }
        self.model = ModelView { state: told.model.as_str(), message };
        let loaded = told.scores.is_some();
        self.count(|stats| stats.has_model = loaded);
        told.scores
    }

    fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut published = Published::clone(&self.published.load());
        published.model = self.model.clone();
        change(&mut published);
        self.published.store(Arc::new(published));
    }

    /// Learns what a user says about an incident.
    ///
    /// # Errors
    /// A scope, incident or service that is not known.
    pub fn feedback(&mut self, scope: &ScopeKey, incident: &str, feedback: Feedback) -> Result<String, String> {
        let state =
            self.scopes.get_mut(scope).ok_or("no such scope, or nothing was received from it since the start")?;
        let outcome = state.incidents.feedback(incident, feedback.clone()).map_err(|error| error.to_string())?;
        state.log.feedback(incident, feedback);
        Ok(outcome)
    }

    /// Takes a snapshot: everything, as of now. Steps that are closed and wait are handled for it.
    pub fn snapshot(&mut self, receiver: &SharedReceiver, data_dir: &Path) {
        let started = std::time::Instant::now();
        let begun = receiver.store(|stored| Writing::begin(data_dir, stored));
        let (closed, writing) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                tracing::error!(%error, "no snapshot can be taken");
                return;
            }
        };
        for step in closed {
            self.tick(step);
        }
        let scopes: Vec<EngineScope<'_>> = self.scopes.values().map(ScopeEngine::store).collect();
        match writing.and_then(|writing| writing.finish(&scopes, &mut self.journal)) {
            Ok(position) => {
                receiver.stored_up_to(position);
                let seconds = started.elapsed().as_secs_f64();
                self.count(|stats| {
                    stats.snapshots += 1;
                    stats.snapshot_seconds = seconds;
                });
            }
            Err(error) => tracing::error!(%error, "the snapshot cannot be written"),
        }
    }

    /// The outbound queues, given back.
    pub fn into_queues(self) -> Queues {
        self.queues
    }
}

/// A step as a leaf shows it: who calls whom, and nothing inferred.
fn observed(step: &ClosedStep) -> Diagnosis {
    let ratio = |part: f64, whole: f64| if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 };
    let edges = step.edges.iter().map(|edge| EdgeDiagnosis {
        edge: edge.edge.clone(),
        strength: 0.0,
        requests_per_second: edge.requests_per_second,
        error_ratio: ratio(edge.errors_per_second, edge.requests_per_second),
    });
    Diagnosis {
        end_ms: step.end_ms,
        engine_version: ENGINE_VERSION,
        config_hash: String::new(),
        leak: 0.0,
        services: Vec::new(),
        edges: edges.collect(),
        aliases: Vec::new(),
        incidents: Vec::new(),
        closed: Vec::new(),
    }
}
