//! The usual level at each hour of the day.
//!
//! A load that rises every morning is no anomaly, and one that does not rise is one, for as long as it stays
//! away. Per service a [`Table`] of `features x 24`, in encoded units: what to expect at the middle of each hour
//! of the day (UTC), between two of them by their distance. Training draws it toward the centre (0) where days
//! are few, and by how little of the level's variation the hour explains, so that a feature without a rhythm
//! keeps its centre; see `quoll_train::season`. Seasonal centres are as old as forecasting (Holt 1957, Winters
//! 1960); medians rather than means keep a fault in the history out.

use crate::table::Table;

/// Hours of a day.
pub const HOURS: usize = 24;

const HOUR_MS: i64 = 3_600_000;

/// The hour of the day, of which `end_ms` (Unix time) lies past the middle, and how far toward the middle of the
/// next one, in [0, 1).
#[must_use]
pub fn between(end_ms: i64) -> (usize, f32) {
    let day = HOUR_MS * HOURS as i64;
    let past = (end_ms.rem_euclid(day) - HOUR_MS / 2).rem_euclid(day);
    ((past / HOUR_MS) as usize, (past % HOUR_MS) as f32 / HOUR_MS as f32)
}

/// Writes the usual level of every feature at `end_ms`, in encoded units: 0, the centre, without a season.
pub fn usual(season: Option<&Table>, end_ms: i64, usual: &mut [f32]) {
    let (hour, part) = between(end_ms);
    for (feature, slot) in usual.iter_mut().enumerate() {
        *slot = season.map_or(0.0, |season| {
            (1.0 - part) * season.weight(feature, hour) + part * season.weight(feature, (hour + 1) % HOURS)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_hour_is_its_own_and_midnight_lies_between_the_last_and_the_first() {
        assert_eq!(between(HOUR_MS / 2), (0, 0.0));
        assert_eq!(between(0), (23, 0.5));
        assert_eq!(between(-HOUR_MS / 2), (23, 0.0));
        assert_eq!(between(24 * HOUR_MS * 20_000 + 13 * HOUR_MS), (12, 0.5));
    }

    #[test]
    fn levels_go_straight_from_hour_to_hour() {
        let mut levels = vec![0.0; 2 * HOURS];
        (levels[HOURS - 1], levels[0], levels[HOURS + 5]) = (1.0, 2.0, -1.0);
        let season = Table::new(&levels, HOURS);
        let at = |end_ms| {
            let mut usual_now = [9.0; 2];
            usual(Some(&season), end_ms, &mut usual_now);
            usual_now
        };
        assert!((at(0)[0] - 1.5).abs() < 0.02);
        assert!((at(5 * HOUR_MS + HOUR_MS / 2)[1] + 1.0).abs() < 1e-6);
        let mut none = [9.0; 2];
        usual(None, 0, &mut none);
        assert_eq!(none, [0.0; 2]);
    }
}
