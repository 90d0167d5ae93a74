//! The level of each feature at each hour of the day, see [`quoll_detect::season`].
//!
//! Medians of the part of the history before the held-out one. An hour that was seen on `d` days is drawn toward
//! the median of all with the weight of [`OWN_DAYS`]; then all hours are drawn toward the centre by the share of
//! the level's variation that they leave unexplained. Below [`LEAST_DAYS`] there is no season: one day's course is
//! no habit.

use quoll_detect::season::{HOURS, between};
use quoll_detect::stats::{quantile, sorted_finite};
use quoll_detect::table::Table;

use crate::history::ServiceHistory;

/// Days of history below which there is no season.
const LEAST_DAYS: f64 = 3.0;

/// Days that weigh as much as the median of all hours.
const OWN_DAYS: f64 = 3.0;

/// Values further out than this explain as if they were this far out, in encoded units.
const CAP: f64 = 4.0;

const HOUR_MS: f64 = 3_600_000.0;

/// The season of one service; `None` where the history is too short for one.
#[must_use]
pub fn fit(history: &ServiceHistory, step_ms: i64) -> Option<Table> {
    let steps = history.held_out_from;
    let per_hour = HOUR_MS / step_ms.max(1) as f64;
    if (steps as f64) < LEAST_DAYS * HOURS as f64 * per_hour {
        return None;
    }
    let features = history.scaling.len();
    let hours: Vec<(usize, f64)> = history.ends_ms[..steps]
        .iter()
        .map(|end| {
            let (hour, part) = between(*end);
            (hour, f64::from(part))
        })
        .collect();
    let mut levels = Vec::with_capacity(features * HOURS);
    for feature in 0..features {
        let mut of_hour: [Vec<f64>; HOURS] = std::array::from_fn(|_| Vec::new());
        let seen: Vec<(usize, f64, f64)> = (0..steps)
            .filter_map(|step| Some((hours[step].0, hours[step].1, f64::from(history.value(step, feature)?))))
            .collect();
        for (hour, part, value) in &seen {
            // `between` counts hours from their middle.
            let nearest = if *part < 0.5 { *hour } else { (hour + 1) % HOURS };
            of_hour[nearest].push(*value);
        }
        let centre = quantile(&sorted_finite(seen.iter().map(|(.., value)| *value)), 0.5);
        let level: Vec<f64> = of_hour
            .into_iter()
            .map(|values| {
                let days = values.len() as f64 / per_hour;
                (quantile(&sorted_finite(values), 0.5) * days + centre * OWN_DAYS) / (days + OWN_DAYS)
            })
            .collect();
        let (mut left, mut all) = (0.0, 0.0);
        for (hour, part, value) in seen {
            let expected = (1.0 - part) * level[hour] + part * level[(hour + 1) % HOURS];
            left += (value - expected).abs().min(CAP).powi(2);
            all += (value - centre).abs().min(CAP).powi(2);
        }
        let explained = if all > 0.0 { (1.0 - left / all).clamp(0.0, 1.0) } else { 0.0 };
        levels.extend(level.iter().map(|level| (explained * level) as f32));
    }
    Some(Table::new(&levels, HOURS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::gather;
    use crate::random::Random;
    use quoll_features::{ClosedStep, Direction, FeatureSpec, Presence, Role, SeenBy, ServiceStep};
    use quoll_identity::Service;

    const STEP_MS: i64 = 600_000;

    /// A feature with a rhythm of a day and one without, over `days` days of training.
    fn season(days: usize) -> Option<Table> {
        let spec = |name: &str| FeatureSpec {
            name: name.into(),
            unit: "1".into(),
            direction: Direction::Both,
            min_deviation: 0.0,
            seen_by: SeenBy::Itself,
            role: Role::Symptom,
        };
        let mut random = Random::new(5);
        let steps: Vec<ClosedStep> = (0..2 * days as i64 * 144)
            .map(|t| {
                let angle = (t * STEP_MS) as f64 / 86_400_000.0 * std::f64::consts::TAU;
                let noise = |random: &mut Random| f64::from(random.noise());
                let values = vec![10.0 + 4.0 * angle.sin() + 0.5 * noise(&mut random), noise(&mut random)];
                let service = Service::new(None, "a").unwrap();
                let services = vec![ServiceStep::new(service, values, Presence::Present)];
                ClosedStep { end_ms: t * STEP_MS, step_ms: STEP_MS, services, edges: Vec::new() }
            })
            .collect();
        let histories = gather(&steps, &[spec("rhythm"), spec("none")], 0.5).unwrap();
        fit(&histories[0], STEP_MS)
    }

    #[test]
    fn a_rhythm_is_found_and_noise_has_none() {
        let season = season(10).unwrap();
        assert!(season.weight(0, 6) > 0.4 && season.weight(0, 17) < -0.4);
        assert!((0..HOURS).all(|hour| season.weight(1, hour).abs() < 0.05));
    }

    #[test]
    fn two_days_are_no_habit() {
        assert!(season(2).is_none() && season(4).is_some());
    }
}
