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
    let gap = entity.gap + first;
    let entity = Entity { name: entity.name.clone(), train: entity.train.clone(), test, gap, labels };
    enough.then_some(Faulty { entity, kinds })
}

/// Faults found and put in, by kind, over any number of draws.
#[derive(Debug, Clone, Default)]
pub struct Found {
    counts: [(usize, usize); Kind::ALL.len()],
}

impl Found {
    /// Counts those of one draw, with the best threshold that keeps to one false alarm per entity and day.
    pub fn add(&mut self, faulty: &[Faulty], scores: &[Vec<f64>], step_seconds: f64) {
        let labelled: Vec<Labelled> = faulty
            .iter()
            .zip(scores)
            .map(|(f, scores)| Labelled { labels: f.entity.labels.clone(), scores: scores.clone() })
            .collect();
        let (_, threshold) = best_at_budget(&labelled, 1.0, step_seconds);
        for (faulty, labelled) in faulty.iter().zip(&labelled) {
            for ((first, last), kind) in segments(&labelled.labels).into_iter().zip(&faulty.kinds) {
                let (hit, of) = &mut self.counts[*kind as usize];
                *of += 1;
                *hit += usize::from(labelled.scores[first..=last].iter().any(|s| *s > threshold));
            }
        }
    }

    /// Share of the faults found, and their number: of one kind, or of all.
    pub fn share(&self, kind: Option<Kind>) -> (f64, usize) {
        let counted = Kind::ALL.iter().zip(self.counts).filter(|(k, _)| kind.is_none_or(|kind| kind == **k));
        let (hit, of) = counted.fold((0, 0), |(hit, of), (_, (h, o))| (hit + h, of + o));
        (hit as f64 / (of as f64).max(1.0), of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity() -> Entity {
        let mut random = Random::new(3);
        let mut matrix = |rows| Matrix { rows, columns: 8, values: (0..rows * 8).map(|_| random.noise()).collect() };
        let labels = (0..2000).map(|i| i < 200).collect();
        Entity { name: "e".into(), train: matrix(1000), test: matrix(2000), gap: 0, labels }
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
        let blind = vec![vec![0.0; faulty[0].entity.test.rows]];
        let mut found = [Found::default(), Found::default()];
        for _ in 0..2 {
            found[0].add(&faulty, &perfect, 60.0);
            found[1].add(&faulty, &blind, 60.0);
        }
        for kind in Kind::ALL.map(Some).into_iter().chain([None]) {
            assert!(found[0].share(kind).0 == 1.0 && found[1].share(kind).0 == 0.0);
            let put_in = faulty[0].kinds.iter().filter(|k| kind.is_none_or(|kind| kind == **k)).count();
            assert_eq!(found[0].share(kind).1, 2 * put_in);
        }
    }

    #[test]
    fn an_entity_without_a_healthy_stretch_is_left_out() {
        let mut entity = entity();
        entity.labels.fill(true);
        assert!(inject(&[entity], 1).is_empty());
    }
}
