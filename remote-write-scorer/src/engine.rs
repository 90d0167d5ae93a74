//! The engine: closed steps in; scores, incidents, results and views out.
//!
//! It runs on one thread and owns all state behind the windows. Everything it computes depends on event
//! time and on the order of steps alone, with one exception: a backlog, older than the incidents' limit by
//! the wall clock, opens no incident. The clock of each tick is noted in the journal, so that a tick that is
//! handled again after a restart comes out the same to the bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use quoll_api::view::{Feedback, ModelView, Published, ScopeKey};
use quoll_blast_radius::ENGINE_VERSION;
use quoll_detect::{Detector, ServiceScore};
use quoll_features::{ClosedStep, FeatureSet};
use quoll_identity::Scope;
use quoll_incidents::{Diagnosis, EdgeDiagnosis, Incidents, IncidentsConfig};
use quoll_ingest::{ClosedScopeStep, SharedReceiver};
use quoll_queue::{Batch, OutSeries, Queue};
use quoll_shards::{ModelState, Report, Told, report};

use crate::history::History;
use crate::incident_log::IncidentLog;
use crate::journal::{Handled, Journal};
use crate::outputs::{Alive, Outputs, Share};
use crate::snapshot::{EngineScope, Inference, StoredScope, Writing};
use crate::view::{scope_key, scope_view};

/// What the engine counted, for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// Steps handled, replayed ones not counted.
    pub ticks: u64,
    /// Scores made.
    pub scores: u64,
    /// Results appended to the queue.
    pub results: u64,
    /// Ticks whose results were not written, as their time was not after that of the last ones.
    pub withheld_ticks: u64,
    /// Steps that could not be scored.
    pub failed_scores: u64,
    /// Crossings of score 1, an hour of one service counted once.
    pub score_crossings: u64,
    /// Scored time of all services, in days.
    pub score_service_days: f64,
    /// Crossings per service and day that were asked for.
    pub score_budget_per_day: f64,
    /// Crossings of the alert budget's threshold, counted the same way.
    pub alert_crossings: u64,
    /// Crossings of that threshold per service and day that were asked for.
    pub alert_budget_per_day: f64,
    /// Incidents that were opened.
    pub incidents_opened: u64,
    /// Batches that the queue refused.
    pub failed_appends: u64,
    /// Steps replayed from the inbound log.
    pub replayed_steps: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Seconds that the last snapshot took.
    pub snapshot_seconds: f64,
    /// Models loaded.
    pub models_loaded: u64,
    /// Models refused.
    pub models_refused: u64,
    /// Incidents open, over all scopes.
    pub open_incidents: u64,
    /// Seconds that the last tick took.
    pub tick_seconds: f64,
    /// Wall clock minus the end of the last step, in seconds.
    pub lag_seconds: f64,
    /// End of the last step, in seconds since the epoch.
    pub last_tick_seconds: f64,
    /// Services at the last tick, over all scopes.
    pub services: u64,
    /// Whether there is a model.
    pub has_model: bool,
}

/// What the engine needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The features.
    pub set: Arc<FeatureSet>,
    /// Length of a step in milliseconds.
    pub step_ms: i64,
    /// Evidence and incidents.
    pub incidents: IncidentsConfig,
    /// Where the model lies.
    pub model_dir: Option<PathBuf>,
    /// ONNX Runtime.
    pub onnxruntime: Option<PathBuf>,
    /// Event time without a step after which a scope is forgotten, in milliseconds.
    pub idle_scope_ms: i64,
    /// What to do with it all.
    pub part: Part,
}

/// The part that this process plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Scores and infers.
    All,
    /// Scores, and reports under these names of leaf and process.
    Leaf { leaf: String, process: String },
    /// Infers from reports.
    Root,
}

impl Part {
    fn share(&self) -> Share {
        match self {
            Self::All => Share::All,
            Self::Leaf { .. } => Share::Details,
            Self::Root => Share::Rest,
        }
    }
}

/// Where results go.
#[derive(Default)]
pub struct Queues {
    /// Series for a Prometheus.
    pub results: Option<Arc<Queue>>,
    /// A leaf's reports.
    pub reports: Option<Arc<Queue>>,
}

struct ScopeEngine {
    scope: Arc<Scope>,
    detector: Option<Detector>,
    incidents: Incidents,
    outputs: Outputs,
    history: History,
    log: IncidentLog,
    services: u64,
    last_end_ms: i64,
    last_written_ms: i64,
}

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
                Err(reason) => tracing::info!("topology only, without scores: {reason}"),
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

    /// Queues the results of a tick, or only notes which they are where they were `written` before.
    fn write(
        &self,
        state: &mut ScopeEngine,
        scores: Option<&[ServiceScore]>,
        diagnosis: &Diagnosis,
        timestamp_ms: i64,
        written: bool,
    ) {
        let ScopeEngine { scope, outputs, .. } = state;
        let set = &self.settings.set;
        let Some(queue) = self.queues.results.as_ref().filter(|_| !written) else {
            outputs.tick(scope, set, scores, diagnosis, timestamp_ms, &mut |_| ());
            return;
        };
        let mut batch = queue.batch();
        outputs.tick(scope, set, scores, diagnosis, timestamp_ms, &mut |series| batch.push(series));
        self.commit(queue, batch);
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

    /// Queues a leaf's report of a step.
    fn report(
        &self,
        state: &ScopeEngine,
        step: &ClosedStep,
        previous_ms: Option<i64>,
        scores: &[ServiceScore],
        timestamp_ms: i64,
    ) {
        let (Part::Leaf { leaf, process }, Some(queue)) = (&self.settings.part, &self.queues.reports) else { return };
        let model = match &state.detector {
            None => ModelState::None,
            Some(detector) if detector.provisional() => ModelState::Provisional,
            Some(_) => ModelState::Calibrated,
        };
        let (scope, set) = (&state.scope, &self.settings.set);
        let mut batch = queue.batch();
        let whole = Report { leaf, process, scope, step, previous_ms, model, scores, set };
        report(&whole, &mut |labels, value| batch.push(OutSeries { labels, timestamp_ms, value }));
        self.commit(queue, batch);
    }

    fn commit(&self, queue: &Queue, batch: Batch<'_>) {
        let count = batch.samples();
        match queue.commit(batch) {
            Ok(()) => self.count(|stats| stats.results += count),
            Err(error) => {
                tracing::error!(%error, "results cannot be queued");
                self.count(|stats| stats.failed_appends += 1);
            }
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Published)) {
        let mut published = Published::clone(&self.published.load());
        published.model = self.model.clone();
        change(&mut published);
        self.published.store(Arc::new(published));
    }

    fn load(&self) -> Result<Detector, String> {
        let settings = &self.settings;
        let directory = settings.model_dir.as_deref().ok_or("no model directory is configured (--model-dir)")?;
        Detector::load(directory, &settings.set, settings.step_ms, settings.onnxruntime.as_deref())
            .map_err(|error| error.to_string())
    }

    /// Loads the model anew, for every scope, with the history in the windows. Where it cannot be used, the
    /// one in use stays.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn reload(&mut self) -> Result<String, String> {
        if self.settings.part == Part::Root {
            return Err("a root has no model of its own: ask its leaves".to_owned());
        }
        let outcome = self.try_reload();
        match &outcome {
            Ok(_) => self.count(|stats| {
                stats.models_loaded += 1;
                stats.has_model = true;
            }),
            Err(reason) => {
                self.count(|stats| stats.models_refused += 1);
                if !self.loaded {
                    self.model = ModelView { state: "none", message: format!("topology only: {reason}") };
                }
            }
        }
        self.publish(|_| {});
        outcome
    }

    fn try_reload(&mut self) -> Result<String, String> {
        let probe = self.load()?;
        let mut detectors = Vec::with_capacity(self.scopes.len());
        for scope in self.scopes.values() {
            let mut detector = self.load()?;
            scope.history.show(&mut detector);
            detectors.push(detector);
        }
        for (scope, detector) in self.scopes.values_mut().zip(detectors) {
            scope.detector = Some(detector);
        }
        self.loaded = true;
        let state = if probe.provisional() { "provisional" } else { "calibrated" };
        let message = format!("model {} is in use, {state}", probe.training_id());
        self.model = ModelView { state, message: message.clone() };
        Ok(message)
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

impl ScopeEngine {
    fn store(&self) -> EngineScope<'_> {
        let inference = Inference { incidents: self.incidents.snapshot(), log: self.log.clone() };
        EngineScope {
            scope: &self.scope,
            last_end_ms: self.last_end_ms,
            last_written_ms: self.last_written_ms,
            inference: serde_json::to_string(&inference).unwrap_or_default(),
            alive: self.outputs.alive(),
            detector: self.detector.as_ref().map(Detector::state),
            history: &self.history,
        }
    }

    fn resume(&mut self, stored: StoredScope, detector: Option<&mut Detector>, share: Share) {
        (self.last_end_ms, self.last_written_ms) = (stored.last_end_ms, stored.last_written_ms);
        self.outputs = Outputs::resume(stored.alive, share);
        self.history = stored.history;
        let inference = serde_json::from_str::<Inference>(&stored.inference).map_err(|error| error.to_string());
        let resumed = inference.and_then(|inference| {
            self.log = inference.log;
            self.incidents.restore(inference.incidents).map_err(|error| error.to_string())
        });
        if let Err(reason) = resumed {
            tracing::warn!(reason, "stored incidents are not used");
        }
        let Some(detector) = detector else { return };
        if stored.detector.is_some_and(|stored| detector.resume(stored)) {
            return;
        }
        // Another model: it sees the last steps anew.
        self.history.show(detector);
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

/// Identifies what lies in a model directory; changes when either file does.
pub fn model_stamp(directory: &Path) -> Vec<(u64, Option<SystemTime>)> {
    let files = [quoll_detect::calibration::MODEL_FILE, quoll_detect::calibration::CALIBRATION_FILE];
    let stamps = files.iter().filter_map(|file| std::fs::metadata(directory.join(file)).ok());
    stamps.map(|metadata| (metadata.len(), metadata.modified().ok())).collect()
}
