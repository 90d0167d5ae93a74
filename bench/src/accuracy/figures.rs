//! What is said about scores: figures over all entities, and over each half of them.
//!
//! The recipe was chosen looking at the entities with even place in a file, counted from 0 (`tune`), and
//! checked on those with odd place (`check`).

use super::dataset::Entity;
use super::lab::Outputs;
use super::metrics::{
    Counting, Labelled, average_precision, best_f1, dominant_lag, event_counts, recall_at_budget, vus_pr,
};

/// Which entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All.
    All,
    /// Those with even place.
    Tune,
    /// Those with odd place.
    Check,
}

impl Part {
    /// Whether the entity at `place` is one of them.
    pub fn has(self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::Tune => place.is_multiple_of(2),
            Self::Check => !place.is_multiple_of(2),
        }
    }

    /// The values of its entities.
    pub fn of<T>(self, values: &[T]) -> impl Iterator<Item = &T> {
        values.iter().enumerate().filter(move |(place, _)| self.has(*place)).map(|(_, value)| value)
    }
}

/// Scores of one seed, judged once.
pub struct Judged {
    /// Per entity.
    pub vus: Vec<f64>,
    scores: Vec<Labelled>,
    alarms: Vec<Labelled>,
}

/// Figures over a part of the entities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Mean over entities.
    pub vus_pr: f64,
    /// Mean over entities.
    pub auc_pr: f64,
    /// Mean over entities.
    pub best_f1: f64,
    /// Events found at one false alarm per entity and day.
    pub recall_1fa: f64,
    /// Events found at one false alarm per entity and ten days.
    pub recall_01fa: f64,
    /// Alarms raised outside events over the one a day asked for.
    pub false_alarm_ratio: f64,
}

/// The mean, 0 of nothing.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The buffer of VUS-PR for an entity.
pub fn buffer(entity: &Entity) -> usize {
    dominant_lag(&entity.test.values.iter().step_by(entity.test.columns).copied().collect::<Vec<_>>())
}

/// VUS-PR of one entity.
pub fn vus(entity: &Entity, scores: &[f64]) -> f64 {
    vus_pr(&entity.labels, scores, buffer(entity))
}

impl Judged {
    /// Takes outputs and VUS-PR of all entities together.
    pub fn new(entities: &[Entity], outputs: Vec<Outputs>, vus: Vec<f64>) -> Self {
        let labelled = |entity: &Entity, scores| Labelled { labels: entity.labels.clone(), scores };
        let (mut scores, mut alarms) = (Vec::new(), Vec::new());
        for (entity, outputs) in entities.iter().zip(outputs) {
            scores.push(labelled(entity, outputs.scores));
            alarms.push(labelled(entity, outputs.alarms));
        }
        Self { vus, scores, alarms }
    }

    /// The figures of a part. Rankings judge the stable score, recalls and the alarm rate the alarms.
    pub fn figures(&self, part: Part, step_seconds: f64) -> Figures {
        let each = |metric: &dyn Fn(&Labelled) -> f64| mean(part.of(&self.scores).map(metric));
        let alarms: Vec<Labelled> = part.of(&self.alarms).cloned().collect();
        let counting = Counting::every(step_seconds);
        let false_alarms = |l: &Labelled| event_counts(&l.labels, &l.scores, 0.0, counting).false_alarms;
        let days: f64 = alarms.iter().map(|l| l.labels.len() as f64 * step_seconds / 86_400.0).sum();
        Figures {
            vus_pr: mean(part.of(&self.vus).copied()),
            auc_pr: each(&|l| average_precision(&l.labels, &l.scores)),
            best_f1: each(&|l| best_f1(&l.labels, &l.scores)),
            recall_1fa: recall_at_budget(&alarms, 1.0, step_seconds),
            recall_01fa: recall_at_budget(&alarms, 0.1, step_seconds),
            false_alarm_ratio: alarms.iter().map(false_alarms).sum::<usize>() as f64 / days.max(1e-9),
        }
    }
}

/// The mean of figures over seeds.
pub fn over_seeds(figures: &[Figures]) -> Figures {
    let over = |pick: fn(&Figures) -> f64| mean(figures.iter().map(pick));
    Figures {
        vus_pr: over(|f| f.vus_pr),
        auc_pr: over(|f| f.auc_pr),
        best_f1: over(|f| f.best_f1),
        recall_1fa: over(|f| f.recall_1fa),
        recall_01fa: over(|f| f.recall_01fa),
        false_alarm_ratio: over(|f| f.false_alarm_ratio),
    }
}

/// Largest minus smallest over seeds.
pub fn spread(figures: &[Figures], pick: fn(&Figures) -> f64) -> f64 {
    let (low, high) =
        figures.iter().map(pick).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if figures.is_empty() { 0.0 } else { high - low }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_halves_share_nothing_and_leave_nothing() {
        let places = [0, 1, 2, 3, 4];
        let tune: Vec<_> = Part::Tune.of(&places).copied().collect();
        let check: Vec<_> = Part::Check.of(&places).copied().collect();
        assert_eq!((tune, check), (vec![0, 2, 4], vec![1, 3]));
        assert_eq!(Part::All.of(&places).count(), 5);
    }
}
