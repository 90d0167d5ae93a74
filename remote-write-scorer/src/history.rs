//! The last steps of every service, so that a model that is loaded later scores at once.
//!
//! Values are kept in single precision, which is what the images are made of: a model that sees them here has
//! the same images, to the bit, as one that was there all along. Memory: [`STEPS`] x features x 4 bytes per service.

use std::collections::BTreeMap;

use quoll_detect::Detector;
use quoll_features::ClosedStep;
use quoll_identity::Service;
use serde::{Deserialize, Serialize};

/// Steps kept: 60 of the image and 15 of its widest mean.
const STEPS: usize = 75;

/// One service: a ring of rows, one value per feature in each; NaN where missing.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Past {
    values: Vec<f32>,
    /// The row that is replaced next, once there are [`STEPS`]: the oldest.
    oldest: usize,
}

/// All services of one scope.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct History {
    services: BTreeMap<Service, Past>,
}

impl History {
    /// Takes a step in; services that it does not have are forgotten.
    pub fn push(&mut self, step: &ClosedStep) {
        self.services.retain(|service, _| step.services.binary_search_by(|known| known.service.cmp(service)).is_ok());
        for known in &step.services {
            let row = known.values.iter().map(|value| *value as f32);
            let width = known.values.len();
            if let Some(past) = self.services.get_mut(&known.service) {
                past.push(row, width);
            } else {
                let mut past = Past::default();
                past.push(row, width);
                self.services.insert(known.service.clone(), past);
            }
        }
    }

    /// Shows everything to a model that has seen nothing yet.
    pub fn show(&self, detector: &mut Detector) {
        let width = detector.features();
        for (service, past) in &self.services {
            let (newer, older) = past.values.split_at((past.oldest * width).min(past.values.len()));
            for row in older.chunks_exact(width.max(1)).chain(newer.chunks_exact(width.max(1))) {
                detector.recall(service, row);
            }
        }
    }
}

impl Past {
    fn push(&mut self, row: impl Iterator<Item = f32>, width: usize) {
        if self.values.len() < STEPS * width {
            self.values.extend(row);
            return;
        }
        let start = self.oldest * width;
        for (slot, value) in self.values[start..start + width].iter_mut().zip(row) {
            *slot = value;
        }
        self.oldest = (self.oldest + 1) % STEPS;
    }
}

#[cfg(test)]
mod tests {
    use quoll_features::{Presence, ServiceStep};

    use super::*;

    fn step(number: i64, services: &[&str]) -> ClosedStep {
        let one = |name: &&str| {
            let service = Service::new(None, name).unwrap();
            ServiceStep::new(service, vec![number as f64, f64::NAN], Presence::Present)
        };
        ClosedStep { end_ms: number, step_ms: 1, services: services.iter().map(one).collect(), edges: Vec::new() }
    }

    fn first_column(history: &History, name: &str) -> Vec<f32> {
        let past = &history.services[&Service::new(None, name).unwrap()];
        let (newer, older) = past.values.split_at(past.oldest * 2);
        older.chunks(2).chain(newer.chunks(2)).map(|row| row[0]).collect()
    }

    #[test]
    fn the_newest_steps_are_kept_in_their_order_and_the_gone_are_forgotten() {
        let mut history = History::default();
        for number in 0..200 {
            history.push(&step(number, if number < 100 { &["a", "b"] } else { &["a"] }));
        }
        assert_eq!(first_column(&history, "a"), (125..200).map(|number| number as f32).collect::<Vec<_>>());
        assert_eq!(history.services.len(), 1);
        history.push(&step(200, &["a", "c"]));
        assert_eq!(first_column(&history, "c"), [200.0]);
    }
}
