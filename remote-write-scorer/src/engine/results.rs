//! What a tick gives to the queues: results for a Prometheus, and a leaf's reports.

use quoll_detect::ServiceScore;
use quoll_features::ClosedStep;
use quoll_incidents::Diagnosis;
use quoll_queue::{Batch, OutSeries, Queue};
use quoll_shards::{ModelState, Report, report};

use super::scope::ScopeEngine;
use super::{Engine, Part};

impl Engine {
    /// Queues the results of a tick, or only notes which they are where they were `written` before.
    pub(super) fn write(
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

    /// Queues a leaf's report of a step.
    pub(super) fn report(
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
}
