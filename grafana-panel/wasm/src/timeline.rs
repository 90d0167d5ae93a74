//! The time line: posteriors and scores over a range, drawn as a strip, and their state at any time of it.
//!
//! Times are milliseconds since the epoch, rising. A gap (NaN) is a gap: the state at a time is the value of
//! the last step at or before it, and nothing where that is a gap.

use std::collections::BTreeMap;

use crate::camera::Point;
use crate::canvas::{Canvas, Dash, Font, Stroke};
use crate::colour::{Colour, Theme};
use crate::labels::{Area, Taken};
use crate::marks::VISIBLE;
use crate::model::Key;

/// Which number a series holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Root-cause posterior, 0 to 1.
    Posterior,
    /// Anomaly score.
    Score,
}

/// One series; as many values as there are times.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Whose.
    pub key: Key,
    /// What.
    pub quantity: Quantity,
    /// NaN for a gap.
    pub values: Vec<f64>,
}

/// The state at one time: score and posterior per service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moment {
    states: BTreeMap<Key, (Option<f64>, Option<f64>)>,
}

impl Moment {
    /// Score and posterior of a service.
    #[must_use]
    pub fn of(&self, key: &Key) -> (Option<f64>, Option<f64>) {
        self.states.get(key).copied().unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timeline {
    times: Vec<f64>,
    series: Vec<Series>,
}

const MARGIN: f64 = 6.0;
/// Series named in the strip at most.
const NAMED: usize = 6;

impl Timeline {
    /// From times and series. Times that do not rise, and series of another length, are left out.
    #[must_use]
    pub fn new(times: &[f64], series: Vec<Series>) -> Self {
        let rising = times.iter().all(|t| t.is_finite()) && times.windows(2).all(|w| w[0] < w[1]);
        if !rising || times.is_empty() {
            return Self::default();
        }
        let series = series.into_iter().filter(|s| s.values.len() == times.len()).collect();
        Self { times: times.to_vec(), series }
    }

    /// Whether there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty() || self.series.is_empty()
    }

    /// First and last time.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        Some((*self.times.first()?, *self.times.last()?))
    }

    /// The state at a time.
    #[must_use]
    pub fn at(&self, time_ms: f64) -> Moment {
        let step = self.times.partition_point(|t| *t <= time_ms);
        let mut moment = Moment::default();
        let Some(step) = step.checked_sub(1) else { return moment };
        for series in &self.series {
            let value = series.values.get(step).copied().filter(|v| v.is_finite());
            let state = moment.states.entry(series.key.clone()).or_default();
            match series.quantity {
                Quantity::Score => state.0 = state.0.or(value),
                Quantity::Posterior => state.1 = state.1.or(value),
            }
        }
        moment
    }

    /// The time at a horizontal position of a strip of this width.
    #[must_use]
    pub fn time_at(&self, x: f64, width: f64) -> Option<f64> {
        let (first, last) = self.range()?;
        let share = ((x - MARGIN) / (width - 2.0 * MARGIN).max(1.0)).clamp(0.0, 1.0);
        Some(first + (last - first) * share)
    }

    /// Paints the strip: posteriors as lines with their areas, the highest score as a band below, and a
    /// cursor at the time shown (`None` is now, at the right end).
    pub fn paint(&self, canvas: &mut dyn Canvas, size: Point, theme: &Theme, time_ms: Option<f64>) {
        canvas.clear(size.x, size.y);
        let Some((first, last)) = self.range() else { return };
        let wide = (size.x - 2.0 * MARGIN).max(1.0);
        let x = |t: f64| MARGIN + (t - first) / (last - first).max(1.0) * wide;
        let band = 7.0;
        let (top, bottom) = (MARGIN, (size.y - MARGIN - band - 3.0).max(MARGIN + 4.0));
        let y = |p: f64| bottom - p.clamp(0.0, 1.0) * (bottom - top);
        let line = |colour: Colour, alpha: f64, width: f64| Stroke { colour, alpha, width, dash: Dash::SOLID };
        let edge = |at: f64| [Point { x: MARGIN, y: at }, Point { x: size.x - MARGIN, y: at }];
        canvas.lines(&[&edge(bottom)], line(theme.muted, 0.5, 1.0));
        canvas.lines(&[&edge(top)], Stroke { colour: theme.muted, alpha: 0.25, width: 1.0, dash: Dash::USUAL });
        // The worst score of all, as a band of colour.
        let worst = |step: usize| {
            let scores = self.series.iter().filter(|s| s.quantity == Quantity::Score);
            scores.filter_map(|s| s.values.get(step).copied().filter(|v| v.is_finite())).reduce(f64::max)
        };
        let step_wide = wide / self.times.len().max(2).saturating_sub(1) as f64;
        for (step, &time) in self.times.iter().enumerate() {
            if let Some(score) = worst(step) {
                let (left, right) = ((x(time) - step_wide).max(MARGIN), x(time));
                let (up, down) = (size.y - MARGIN - band, size.y - MARGIN);
                let corner = |x: f64, y: f64| Point { x, y };
                let halves = [
                    [corner(left, up), corner(right, up), corner(right, down)],
                    [corner(left, up), corner(right, down), corner(left, down)],
                ];
                canvas.triangles(&halves, crate::colour::on_scale(&theme.score, score), 0.9);
            }
        }
        let mut ranked: Vec<(&Series, usize, f64)> = Vec::new();
        for series in self.series.iter().filter(|s| s.quantity == Quantity::Posterior) {
            let peak = series.values.iter().copied().enumerate().filter(|v| v.1.is_finite());
            if let Some((step, value)) = peak.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
                && value >= VISIBLE
            {
                ranked.push((series, step, value));
            }
        }
        ranked.sort_by(|a, b| b.2.total_cmp(&a.2).then_with(|| a.0.key.cmp(&b.0.key)));
        for (rank, (series, ..)) in ranked.iter().enumerate().rev() {
            let colour =
                if rank == 0 { theme.inferred } else { theme.inferred.mix(theme.muted, 0.35 + 0.12 * rank as f64) };
            for run in runs(&self.times, &series.values) {
                let points: Vec<Point> = run.iter().map(|&(t, v)| Point { x: x(t), y: y(v) }).collect();
                canvas.lines(&[&points], line(colour, 0.95, if rank == 0 { 2.0 } else { 1.25 }));
            }
        }
        let mut taken = Taken::default();
        for (series, step, value) in ranked.iter().take(NAMED) {
            let font = Font { size: 10.5, bold: false };
            let text = &series.key.name;
            let half = Point { x: canvas.measure(text, font) / 2.0 + 2.0, y: 7.0 };
            let clamp = |v: f64, half: f64, end: f64| v.clamp(half, (end - half).max(half));
            let centre =
                Point { x: clamp(x(self.times[*step]), half.x, size.x), y: clamp(y(*value) + 9.0, half.y, bottom) };
            let area = Area { centre, half };
            if taken.free(&area) {
                taken.take(area);
                canvas.text(text, centre, font, theme.text, Some(theme.background), 1.0);
            }
        }
        let shown = time_ms.unwrap_or(last).clamp(first, last);
        let colour = if time_ms.is_some() { theme.hypothetical } else { theme.text };
        let cursor = [Point { x: x(shown), y: 1.0 }, Point { x: x(shown), y: size.y - 1.0 }];
        canvas.lines(&[&cursor], line(colour, 0.9, if time_ms.is_some() { 2.0 } else { 1.0 }));
    }
}

/// Uninterrupted stretches of a series.
fn runs(times: &[f64], values: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut open = false;
    for (&time, &value) in times.iter().zip(values) {
        if value.is_finite() {
            match runs.last_mut().filter(|_| open) {
                Some(run) => run.push((time, value)),
                None => runs.push(vec![(time, value)]),
            }
        }
        open = value.is_finite();
    }
    // A single step is a short dash.
    for run in runs.iter_mut().filter(|r| r.len() == 1) {
        let (time, value) = run[0];
        run.push((time + 1.0, value));
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canvas::recorder::Recorder;

    fn key(name: &str) -> Key {
        Key { namespace: None, name: name.to_owned() }
    }

    fn timeline() -> Timeline {
        let series =
            |name: &str, quantity, values: &[f64]| Series { key: key(name), quantity, values: values.to_vec() };
        Timeline::new(
            &[1000.0, 2000.0, 3000.0, 4000.0],
            vec![
                series("db", Quantity::Posterior, &[f64::NAN, 0.4, 0.9, f64::NAN]),
                series("db", Quantity::Score, &[0.1, 1.0, 3.0, 2.0]),
                series("cart", Quantity::Posterior, &[f64::NAN, 0.5, 0.1, f64::NAN]),
                series("odd", Quantity::Posterior, &[1.0]),
            ],
        )
    }

    #[test]
    fn the_state_at_a_time_is_that_of_the_last_step() {
        let timeline = timeline();
        assert_eq!(timeline.at(999.0), Moment::default());
        assert_eq!(timeline.at(1000.0).of(&key("db")), (Some(0.1), None));
        assert_eq!(timeline.at(2999.0).of(&key("db")), (Some(1.0), Some(0.4)));
        assert_eq!(timeline.at(1e9).of(&key("db")), (Some(2.0), None), "a gap is no posterior");
        assert_eq!(timeline.at(3000.0).of(&key("nobody")), (None, None));
    }

    #[test]
    fn a_position_of_the_strip_is_a_time() {
        let timeline = timeline();
        assert_eq!(timeline.time_at(0.0, 300.0), Some(1000.0));
        assert_eq!(timeline.time_at(150.0, 300.0), Some(2500.0));
        assert_eq!(timeline.time_at(900.0, 300.0), Some(4000.0));
        assert_eq!(Timeline::default().time_at(1.0, 300.0), None);
    }

    #[test]
    fn paints_one_line_per_posterior_and_names_them() {
        let mut canvas = Recorder::default();
        timeline().paint(&mut canvas, Point { x: 400.0, y: 80.0 }, &Theme::new(true, None), Some(2000.0));
        assert_eq!(canvas.texts.iter().map(|t| t.0.as_str()).collect::<Vec<_>>(), ["db", "cart"]);
        assert_eq!(canvas.triangles, 8, "a score band for each step");
        assert_eq!(canvas.lines, 5, "two frame lines, two posteriors, one cursor");
    }

    #[test]
    fn times_that_do_not_rise_show_nothing() {
        assert!(Timeline::new(&[2.0, 1.0], Vec::new()).is_empty());
        assert!(Timeline::new(&[f64::NAN], Vec::new()).is_empty());
        let mut canvas = Recorder::default();
        Timeline::default().paint(&mut canvas, Point { x: 100.0, y: 40.0 }, &Theme::new(true, None), None);
        assert_eq!(canvas.lines, 0);
    }
}
