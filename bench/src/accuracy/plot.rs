//! One incident as SVG: each feature against what was expected of it, and the score against its threshold.

use std::fmt::Write as _;

use quoll_detect::{Basis, FeatureScore, ServiceScore};

use super::dataset::Entity;
use super::lab::Outputs;
use super::metrics::segments;

/// Steps shown before and after the incident.
const AROUND: usize = 60;
/// Longest incident shown; the rest of a longer one is cut off.
const LONGEST: usize = 300;
/// Panels beside each other.
const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (300.0, 62.0);
const GAP: (f64, f64) = (26.0, 28.0);
const MARGIN: f64 = 30.0;
const SCORE_HEIGHT: f64 = 130.0;

/// Which steps of which entity are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// Place of the entity.
    pub entity: usize,
    /// First step of the incident.
    pub first: usize,
    /// Its last step.
    pub last: usize,
}

impl Scene {
    /// The longest incident that raised an alarm and fits; any that raised one where none fits.
    pub fn choose(entities: &[Entity], outputs: &[Outputs]) -> Option<Self> {
        let all = entities.iter().zip(outputs).enumerate().flat_map(|(entity, (data, outputs))| {
            let found = |(first, last): &(usize, usize)| outputs.alarms[*first..=*last].iter().any(|a| *a > 0.0);
            let scenes = segments(&data.labels).into_iter().filter(found);
            scenes.map(move |(first, last)| Self { entity, first, last }).collect::<Vec<_>>()
        });
        all.max_by_key(|scene| {
            let steps = scene.last - scene.first;
            (steps < LONGEST, if steps < LONGEST { steps as i64 } else { -(steps as i64) })
        })
    }

    /// The incident at `NAME:SAMPLE`.
    pub fn parse(at: &str, entities: &[Entity]) -> Option<Self> {
        let (name, sample) = at.rsplit_once(':')?;
        let sample: usize = sample.parse().ok()?;
        let entity = entities.iter().position(|e| e.name == name)?;
        let holds = |(first, last): &(usize, usize)| (*first..=*last).contains(&sample);
        let (first, last) = segments(&entities[entity].labels).into_iter().find(holds)?;
        Some(Self { entity, first, last })
    }

    fn from(self) -> usize {
        self.first.saturating_sub(AROUND)
    }

    fn to(self, rows: usize) -> usize {
        (self.last.min(self.first + LONGEST) + AROUND).min(rows - 1)
    }

    /// Whether a step is shown.
    pub fn shows(self, step: usize, rows: usize) -> bool {
        (self.from()..=self.to(rows)).contains(&step)
    }
}

/// A step that is shown.
pub struct Moment {
    /// Which.
    pub step: usize,
    /// Its score.
    pub score: ServiceScore,
}

struct Frame {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    low: f64,
    high: f64,
    first: f64,
    last: f64,
}

impl Frame {
    fn at(&self, step: usize) -> f64 {
        self.x + self.width * (step as f64 - self.first) / (self.last - self.first).max(1.0)
    }

    fn height_of(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low).max(1e-300);
        self.y + self.height * (1.0 - share.clamp(0.0, 1.0))
    }

    fn line(&self, points: impl Iterator<Item = (usize, f64)>, style: &str) -> String {
        let mut path = String::new();
        for (step, value) in points.filter(|(_, value)| value.is_finite()) {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", self.at(step), self.height_of(value));
        }
        format!("<path d=\"{path}\" fill=\"none\" {style}/>\n")
    }

    fn ground(&self, first: usize, last: usize) -> String {
        let Self { x, y, width, height, .. } = self;
        let (from, to) = (self.at(first).max(*x), self.at(last).min(x + width));
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"#f7f7f5\"/>\n\
             <rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"#f6c9c0\"/>\n",
            (to - from).max(1.5)
        )
    }
}

fn text(x: f64, y: f64, style: &str, words: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>\n")
}

/// The plot. `moments` are the steps of the scene, in order.
pub fn svg(entity: &Entity, scene: Scene, moments: &[Moment], names: &[String]) -> String {
    let (first, last) = (scene.from(), scene.to(entity.test.rows));
    let mut order: Vec<(usize, f64, Basis)> = (0..names.len())
        .map(|feature| {
            let inside = moments.iter().filter(|moment| (scene.first..=scene.last).contains(&moment.step));
            let of = inside.filter_map(|moment| moment.score.features.iter().find(|f| f.feature == feature));
            let worst = of.max_by(|a, b| a.score.total_cmp(&b.score));
            worst.map_or((feature, 0.0, Basis::default()), |worst| (feature, worst.score, worst.basis))
        })
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let rows = names.len().div_ceil(COLUMNS);
    let width = 2.0 * MARGIN + COLUMNS as f64 * PANEL.0 + (COLUMNS - 1) as f64 * GAP.0;
    let top = 2.0 * MARGIN + 20.0;
    let bottom = top + rows as f64 * (PANEL.1 + GAP.1) + 10.0;
    let height = bottom + SCORE_HEIGHT + MARGIN + 20.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let title = format!("{}: the incident labelled from step {} to {}", entity.name, scene.first, scene.last);
    out += &text(MARGIN, MARGIN, "font-size=\"15\"", &title);
    let legend = "blue: observed; orange: expected by the leading part of the score; number: the worst distance over its \
                  held-out 99th percentile, and by which part; red: labelled";
    out += &text(MARGIN, MARGIN + 20.0, "fill=\"#555\"", legend);
    for (place, (feature, worst, basis)) in order.into_iter().enumerate() {
        let seen = |pick: fn(&FeatureScore) -> f64| {
            moments
                .iter()
                .filter_map(move |m| m.score.features.iter().find(|f| f.feature == feature).map(|f| (m.step, pick(f))))
        };
        // The expectation may lie far out for a step or two; what was observed sets the frame.
        let (low, high) =
            seen(|f| f.value).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), (_, v)| (l.min(v), h.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 0.0) };
        let pad = if high > low { 0.25 * (high - low) } else { high.abs().max(1e-9) };
        let frame = Frame {
            x: MARGIN + (place % COLUMNS) as f64 * (PANEL.0 + GAP.0),
            y: top + (place / COLUMNS) as f64 * (PANEL.1 + GAP.1),
            width: PANEL.0,
            height: PANEL.1,
            low: low - pad,
            high: high + pad,
            first: first as f64,
            last: last as f64,
        };
        out += &frame.ground(scene.first, scene.last);
        out += &frame.line(seen(|f| f.expected), "stroke=\"#e6842a\" stroke-width=\"1.2\"");
        out += &frame.line(seen(|f| f.value), "stroke=\"#1f5fa8\" stroke-width=\"1.2\"");
        out += &text(frame.x, frame.y - 5.0, "", &names[feature]);
        let number = if worst > 1.0 {
            format!("{worst:.1}, by the {}", basis.name().replace('_', " "))
        } else {
            format!("{worst:.1}")
        };
        let style =
            if worst > 1.0 { "text-anchor=\"end\" font-weight=\"bold\"" } else { "text-anchor=\"end\" fill=\"#888\"" };
        out += &text(frame.x + PANEL.0, frame.y - 5.0, style, &number);
    }
    // The score spans decades.
    let level = |score: f64| score.max(0.05).log10();
    let highest = moments.iter().map(|m| level(m.score.score)).filter(|l| l.is_finite()).fold(1.0, f64::max);
    let frame = Frame {
        x: MARGIN,
        y: bottom,
        width: width - 2.0 * MARGIN,
        height: SCORE_HEIGHT,
        low: level(0.0),
        high: highest,
        first: first as f64,
        last: last as f64,
    };
    out += &frame.ground(scene.first, scene.last);
    out += &frame.line([(first, 0.0), (last, 0.0)].into_iter(), "stroke=\"#b03020\" stroke-dasharray=\"5 4\"");
    out += &frame.line(moments.iter().map(|m| (m.step, level(m.score.score))), "stroke=\"#222\" stroke-width=\"1.5\"");
    out += &text(frame.x, frame.y - 5.0, "", "score (logarithmic), dashed: its threshold of 1");
    for tick in [0.1_f64, 1.0, 10.0] {
        let y = frame.height_of(tick.log10());
        out += &text(frame.x - 5.0, y + 4.0, "text-anchor=\"end\" fill=\"#888\"", &tick.to_string());
    }
    let steps = |step: usize| {
        text(frame.at(step), frame.y + SCORE_HEIGHT + 16.0, "text-anchor=\"middle\" fill=\"#888\"", &step.to_string())
    };
    out += &steps(scene.first);
    out += &steps(scene.last.min(last));
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::dataset::Matrix;
    use quoll_identity::Service;

    fn entity() -> Entity {
        let matrix = Matrix { rows: 300, columns: 2, values: vec![0.5; 600] };
        let labels = (0..300).map(|i| (100..110).contains(&i) || (200..220).contains(&i)).collect();
        Entity { name: "e".into(), train: matrix.clone(), test: matrix, gap: 0, labels }
    }

    #[test]
    fn the_longest_incident_that_raised_an_alarm_is_chosen() {
        let mut outputs = Outputs { scores: vec![0.0; 300], alarms: vec![-1.0; 300] };
        assert_eq!(Scene::choose(&[entity()], std::slice::from_ref(&outputs)), None);
        outputs.alarms[105] = 1.0;
        let scene = Scene::choose(&[entity()], std::slice::from_ref(&outputs)).unwrap();
        assert_eq!(scene, Scene { entity: 0, first: 100, last: 109 });
        outputs.alarms[205] = 1.0;
        let scene = Scene::choose(&[entity()], std::slice::from_ref(&outputs)).unwrap();
        assert_eq!(scene.first, 200);
        assert!(scene.shows(140, 300) && !scene.shows(139, 300) && scene.shows(279, 300) && !scene.shows(280, 300));
    }

    #[test]
    fn every_feature_has_a_panel_and_odd_numbers_leave_no_odd_paths() {
        let score = |at: usize| ServiceScore {
            service: Service::new(None, "e").unwrap(),
            score: if at == 100 { f64::INFINITY } else { 0.5 },
            tail_probability: 0.1,
            anomaly_probability: 0.0,
            provisional: false,
            coverage: 1.0,
            calibration_samples: 9,
            features: vec![FeatureScore {
                feature: 0,
                score: 2.0,
                value: f64::NAN,
                expected: 0.5,
                basis: Basis::LastSteps,
            }],
        };
        let moments: Vec<Moment> = (40..170).map(|step| Moment { step, score: score(step) }).collect();
        let scene = Scene { entity: 0, first: 100, last: 109 };
        let svg = svg(&entity(), scene, &moments, &["a".to_owned(), "b".to_owned()]);
        assert!(svg.ends_with("</svg>\n") && svg.contains(">a<") && svg.contains(">b<"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
