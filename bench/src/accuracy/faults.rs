//! Faults of six kinds, put into healthy stretches of the data.
//!
//! Each entity's longest stretch without a label becomes its test part; faults are put into it some hundred
//! steps apart, each on a quarter of the features that vary, the same for every detector. Sizes are in units of
//! a feature's robust spread over the training part. Nothing of it is trained on.

use quoll_detect::encoding::Scaling;
use quoll_train::random::Random;

use super::dataset::{Entity, Matrix};
use super::metrics::{Labelled, best_at_budget, segments};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Four spreads higher for 20 steps.
    Level,
    /// Eight spreads higher for 2 steps.
    Spike,
    /// Rising by a fifth of a spread a step, for 30 steps.
    Slope,
    /// 0 for 15 steps.
    Vanish,
    /// Stays where it was, for 40 steps.
    Stuck,
    /// Noise of three spreads for 20 steps.
    Variance,
}

impl Kind {
    /// All, in the order they are put in.
    pub const ALL: [Self; 6] = [Self::Level, Self::Spike, Self::Slope, Self::Vanish, Self::Stuck, Self::Variance];

    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Level => "level shift",
            Self::Spike => "spike",
            Self::Slope => "slope",
            Self::Vanish => "vanish",
            Self::Stuck => "stuck",
            Self::Variance => "variance",
        }
    }

    fn steps(self) -> usize {
        match self {
            Self::Spike => 2,
            Self::Vanish => 15,
            Self::Level | Self::Variance => 20,
            Self::Slope => 30,
            Self::Stuck => 40,
        }
    }

    /// The value `step` steps into the fault, from the healthy one, the one at its beginning and the spread.
    fn value(self, healthy: f64, first: f64, spread: f64, step: usize, random: &mut Random) -> f64 {
        match self {
            Self::Level => healthy + 4.0 * spread,
            Self::Spike => healthy + 8.0 * spread,
            Self::Slope => healthy + 0.2 * spread * (step + 1) as f64,
            Self::Vanish => 0.0,
            Self::Stuck => first,
            Self::Variance => healthy + 3.0 * spread * f64::from(random.noise()),
        }
    }
}

/// Steps of a stretch before its first fault: detectors have to warm up.
const LEAD: usize = 100;

/// Least steps between two faults, and how many more there may be.
const APART: (usize, usize) = (90, 60);

/// An entity with faults put in, and what kind each labelled event is.
pub struct Faulty {
    /// Its labels mark the faults.
    pub entity: Entity,
    /// In the order of the events.
    pub kinds: Vec<Kind>,
}

/// Puts faults in; entities without a healthy stretch long enough for one of each kind are left out.
pub fn inject(entities: &[Entity], seed: u64) -> Vec<Faulty> {
    entities.iter().enumerate().filter_map(|(at, entity)| one(entity, seed ^ (at as u64) << 32, at)).collect()
}

fn one(entity: &Entity, seed: u64, offset: usize) -> Option<Faulty> {
    let healthy: Vec<bool> = entity.labels.iter().map(|label| !label).collect();
    let (first, last) = segments(&healthy).into_iter().max_by_key(|(first, last)| last - first)?;
    let columns = entity.test.columns;
    let mut test = Matrix {
        rows: last + 1 - first,
        columns,
        values: entity.test.values[first * columns..(last + 1) * columns].to_vec(),
    };
    let column = |f: usize| entity.train.values.iter().skip(f).step_by(columns).map(|v| f64::from(*v));
    let spreads: Vec<(usize, f64)> = (0..columns)
        .filter_map(|f| {
            let scale = Scaling::fit(column(f), 0.0);
            // A scale at its floor belongs to a feature that hardly moves.
            (scale.scale > 2.0 * Scaling::new(scale.centre, 0.0, 0.0).scale).then_some((f, scale.scale))
        })
        .collect();
    let mut random = Random::new(seed);
    let mut labels = vec![false; test.rows];
    let (mut kinds, mut at) = (Vec::new(), LEAD);
    while !spreads.is_empty() {
        let kind = Kind::ALL[(kinds.len() + offset) % Kind::ALL.len()];
        if at + kind.steps() > test.rows {
            break;
        }
        for _ in 0..spreads.len().div_ceil(4) {
            let (feature, spread) = spreads[random.below(spreads.len())];
            let first = f64::from(test.values[at * columns + feature]);
            for step in 0..kind.steps() {
                let value = &mut test.values[(at + step) * columns + feature];
                *value = kind.value(f64::from(*value), first, spread, step, &mut random) as f32;
            }
        }
        labels[at..at + kind.steps()].fill(true);
        kinds.push(kind);
        at += kind.steps() + APART.0 + random.below(APART.1);
    }
    let enough = kinds.len() >= Kind::ALL.len();
    let entity = Entity { name: entity.name.clone(), train: entity.train.clone(), test, labels };
    enough.then_some(Faulty { entity, kinds })
}

/// Share of the faults found, and their number, per kind and for all, with the best threshold that keeps to one
/// false alarm per entity and day.
pub fn found(faulty: &[Faulty], scores: &[Vec<f64>], step_seconds: f64) -> Vec<(f64, usize)> {
    let labelled: Vec<Labelled> = faulty
        .iter()
        .zip(scores)
        .map(|(f, scores)| Labelled { labels: f.entity.labels.clone(), scores: scores.clone() })
        .collect();
    let (recall, threshold) = best_at_budget(&labelled, 1.0, step_seconds);
    let mut counts = [(0_usize, 0_usize); Kind::ALL.len()];
    for (faulty, labelled) in faulty.iter().zip(&labelled) {
        for ((first, last), kind) in segments(&labelled.labels).into_iter().zip(&faulty.kinds) {
            let (hit, of) = &mut counts[*kind as usize];
            *of += 1;
            *hit += usize::from(labelled.scores[first..=last].iter().any(|s| *s > threshold));
        }
    }
    let share = |(hit, of): (usize, usize)| (hit as f64 / (of as f64).max(1.0), of);
    let all = counts.iter().map(|(_, of)| of).sum();
    counts.into_iter().map(share).chain([(recall, all)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity() -> Entity {
        let mut random = Random::new(3);
        let mut matrix = |rows| Matrix { rows, columns: 8, values: (0..rows * 8).map(|_| random.noise()).collect() };
        let labels = (0..2000).map(|i| i < 200).collect();
        Entity { name: "e".into(), train: matrix(1000), test: matrix(2000), labels }
    }

    #[test]
    fn faults_of_every_kind_are_labelled_and_nothing_else_changes() {
        let original = entity();
        let faulty = inject(std::slice::from_ref(&original), 1).pop().unwrap();
        assert_eq!(segments(&faulty.entity.labels).len(), faulty.kinds.len());
        assert!(Kind::ALL.iter().all(|kind| faulty.kinds.contains(kind)));
        let mut changed = 0;
        for (at, label) in faulty.entity.labels.iter().enumerate() {
            let same = faulty.entity.test.row(at) == original.test.row(at + 200);
            assert!(same || *label, "{at}");
            changed += usize::from(!same);
        }
        assert!(changed > 100, "{changed}");
    }

    #[test]
    fn a_perfect_detector_finds_all_and_a_blind_one_none() {
        let faulty = inject(&[entity()], 1);
        let perfect: Vec<Vec<f64>> =
            faulty.iter().map(|f| f.entity.labels.iter().map(|l| f64::from(u8::from(*l))).collect()).collect();
        assert!(found(&faulty, &perfect, 60.0).iter().all(|(share, of)| *share == 1.0 && *of > 0));
        let blind = vec![vec![0.0; faulty[0].entity.test.rows]];
        assert!(found(&faulty, &blind, 60.0).iter().all(|(share, _)| *share == 0.0));
    }

    #[test]
    fn an_entity_without_a_healthy_stretch_is_left_out() {
        let mut entity = entity();
        entity.labels.fill(true);
        assert!(inject(&[entity], 1).is_empty());
    }
}
