//! What runs in production elsewhere, after its public description: rolling k-means as in Netdata, adaptive
//! bands as in Grafana's and Prometheus' recording rules, and an isolation forest.

use quoll_train::random::Random;

use super::dataset::Entity;

/// Train and test of one feature, end to end.
fn series(entity: &Entity, feature: usize) -> Vec<f64> {
    let rows = entity.train.values.chunks(entity.train.columns).chain(entity.test.values.chunks(entity.test.columns));
    rows.map(|row| f64::from(row[feature])).collect()
}

/// Netdata's detector after its manual: per dimension, k-means with two clusters over differenced, smoothed
/// and lagged values, a new model every few hours over the last six, several models kept; a value is
/// anomalous where all of them say so. The score of a host is the share of anomalous dimensions, here as
/// the mean of the last 15 minutes. Four models are kept, where Netdata keeps more.
#[must_use]
pub fn rolling_k_means(entity: &Entity, step_seconds: f64) -> Vec<f64> {
    /// Values averaged, lags of the vector, models kept.
    const SMOOTHED: usize = 3;
    const LAGS: usize = 5;
    const MODELS: usize = 4;
    let window = ((6.0 * 3600.0 / step_seconds) as usize).max(4 * LAGS);
    let train = entity.train.rows;
    let total = train + entity.test.rows;
    let mut share = vec![0.0; entity.test.rows];
    for feature in 0..entity.train.columns {
        let values = series(entity, feature);
        let difference: Vec<f64> = (0..total).map(|t| values[t] - values[t.saturating_sub(1)]).collect();
        let smooth: Vec<f64> = (0..total)
            .map(|t| {
                let from = (t + 1).saturating_sub(SMOOTHED);
                difference[from..=t].iter().sum::<f64>() / (t + 1 - from) as f64
            })
            .collect();
        let vector = |t: usize| -> [f64; LAGS] { std::array::from_fn(|lag| smooth[t.saturating_sub(lag)]) };
        let mut models: Vec<Model<LAGS>> = Vec::new();
        for t in train.saturating_sub(window * MODELS).max(window)..total {
            if (t + window * MODELS - train).is_multiple_of(window) {
                if models.len() == MODELS {
                    models.remove(0);
                }
                models.push(Model::fit(&(t - window..t).map(vector).collect::<Vec<_>>()));
            }
            if t >= train && !models.is_empty() && models.iter().all(|m| m.is_anomalous(&vector(t))) {
                share[t - train] += 1.0 / entity.train.columns as f64;
            }
        }
    }
    let recent = ((900.0 / step_seconds) as usize).max(1);
    (0..share.len())
        .map(|t| {
            let from = (t + 1).saturating_sub(recent);
            share[from..=t].iter().sum::<f64>() / (t + 1 - from) as f64
        })
        .collect()
}

/// Two centres, and the largest distance to the nearer one in training.
struct Model<const N: usize> {
    centres: [[f64; N]; 2],
    limit: f64,
}

impl<const N: usize> Model<N> {
    fn fit(vectors: &[[f64; N]]) -> Self {
        let size = |v: &[f64; N]| v.iter().map(|x| x * x).sum::<f64>();
        let first = vectors.first().copied().unwrap_or([0.0; N]);
        let far = vectors.iter().copied().fold(first, |a, b| if size(&b) > size(&a) { b } else { a });
        let mut model = Self { centres: [first, far], limit: 0.0 };
        for _ in 0..10 {
            let mut sums = [([0.0; N], 0.0); 2];
            for vector in vectors {
                let (nearer, _) = model.nearest(vector);
                sums[nearer].1 += 1.0;
                sums[nearer].0.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
            }
            for (centre, (sum, count)) in model.centres.iter_mut().zip(sums) {
                if count > 0.0 {
                    *centre = sum.map(|s| s / count);
                }
            }
        }
        // Its default threshold: 0.99 of the range of the distances in training.
        let distances = vectors.iter().map(|v| model.nearest(v).1);
        let (low, high) = distances.fold((f64::INFINITY, 0.0), |(l, h): (f64, f64), d| (l.min(d), h.max(d)));
        model.limit = low + 0.99 * (high - low);
        model
    }

    fn nearest(&self, vector: &[f64; N]) -> (usize, f64) {
        let distance = |c: &[f64; N]| c.iter().zip(vector).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let (a, b) = (distance(&self.centres[0]), distance(&self.centres[1]));
        if a <= b { (0, a) } else { (1, b) }
    }

    fn is_anomalous(&self, vector: &[f64; N]) -> bool {
        self.nearest(vector).1 > self.limit
    }
}

/// Adaptive bands as in Grafana's Prometheus rules for anomaly detection: mean and deviation of the last
/// day, and the deviation floored by a share of the mean; the score is the largest distance from the middle
/// of a feature's band, in half widths.
#[must_use]
pub fn adaptive_bands(entity: &Entity, step_seconds: f64) -> Vec<f64> {
    let window = (86_400.0 / step_seconds) as usize;
    let train = entity.train.rows;
    let mut score = vec![0.0_f64; entity.test.rows];
    for feature in 0..entity.train.columns {
        let values = series(entity, feature);
        let from = train.saturating_sub(window);
        let (mut sum, mut square) = (0.0, 0.0);
        for (t, value) in values.iter().enumerate().skip(from) {
            let count = (t - from).min(window) as f64;
            if t >= train && count > 1.0 {
                let mean = sum / count;
                let deviation = (square / count - mean * mean).max(0.0).sqrt();
                let half = (2.0 * deviation).max(0.05 * mean.abs()).max(1e-6);
                score[t - train] = score[t - train].max((value - mean).abs() / half);
            }
            sum += value;
            square += value * value;
            if t >= from + window {
                sum -= values[t - window];
                square -= values[t - window].powi(2);
            }
        }
    }
    score
}

/// Isolation forest (Liu, Ting & Zhou, ICDM 2008): 100 trees over 256 rows of the training part each; the
/// score is `2^(-depth / c)`.
#[must_use]
pub fn isolation_forest(entity: &Entity) -> Vec<f64> {
    const TREES: usize = 100;
    const ROWS: usize = 256;
    let mut random = Random::new(1);
    let rows = ROWS.min(entity.train.rows);
    let usual = usual_depth(rows);
    let depth_limit = (rows as f64).log2().ceil() as usize;
    let mut depths = vec![0.0; entity.test.rows];
    for _ in 0..TREES {
        let sample: Vec<usize> = (0..rows).map(|_| random.below(entity.train.rows)).collect();
        let mut nodes = Vec::new();
        grow(entity, &sample, depth_limit, &mut random, &mut nodes);
        for (t, depth) in depths.iter_mut().enumerate() {
            *depth += path(&nodes, entity.test.row(t)) / TREES as f64;
        }
    }
    depths.iter().map(|depth| (-depth / usual).exp2()).collect()
}

enum Node {
    Split { feature: usize, at: f32, right: usize },
    Leaf { rows: usize },
}

/// Mean depth of an unsuccessful search in a binary tree of `n` keys (equation 1 of the paper).
fn usual_depth(n: usize) -> f64 {
    if n < 2 {
        return if n == 1 { 0.0 } else { 1.0 };
    }
    let n = n as f64;
    2.0 * ((n - 1.0).ln() + 0.577_215_664_9) - 2.0 * (n - 1.0) / n
}

/// Grows the tree below one node; a left child follows its parent.
fn grow(entity: &Entity, rows: &[usize], depth: usize, random: &mut Random, nodes: &mut Vec<Node>) {
    let place = nodes.len();
    nodes.push(Node::Leaf { rows: rows.len() });
    if depth == 0 || rows.len() < 2 {
        return;
    }
    let feature = random.below(entity.train.columns);
    let value = |row: &usize| entity.train.row(*row)[feature];
    let (low, high) = rows.iter().map(value).fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(v), h.max(v)));
    if low >= high {
        return;
    }
    let at = low + random.uniform() * (high - low);
    let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|row| value(row) < at);
    grow(entity, &left, depth - 1, random, nodes);
    let second = nodes.len();
    grow(entity, &right, depth - 1, random, nodes);
    nodes[place] = Node::Split { feature, at, right: second };
}

fn path(nodes: &[Node], row: &[f32]) -> f64 {
    let (mut place, mut depth) = (0, 0.0);
    loop {
        match nodes[place] {
            Node::Split { feature, at, right } => {
                place = if row[feature] < at { place + 1 } else { right };
                depth += 1.0;
            }
            Node::Leaf { rows } => return depth + if rows > 1 { usual_depth(rows) } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accuracy::dataset::Matrix;
    use quoll_detect::stats::{quantile, sorted_finite};

    /// Four features of noise, one of which jumps in the test part.
    fn entity() -> Entity {
        let mut random = Random::new(3);
        let mut matrix =
            |rows: usize| Matrix { rows, columns: 4, values: (0..rows * 4).map(|_| random.noise()).collect() };
        let (train, mut test) = (matrix(2_000), matrix(600));
        for t in 400..420 {
            test.values[4 * t + 1] += 12.0;
        }
        Entity { name: "e".into(), train, test, gap: 0, labels: (0..600).map(|t| (400..420).contains(&t)).collect() }
    }

    #[test]
    fn every_peer_sees_a_jump() {
        let entity = entity();
        for (name, scores) in [
            ("rolling k-means", rolling_k_means(&entity, 300.0)),
            ("adaptive bands", adaptive_bands(&entity, 300.0)),
            ("isolation forest", isolation_forest(&entity)),
        ] {
            let usual = quantile(&sorted_finite(scores[..400].iter().copied()), 0.99);
            assert!(scores[400..403].iter().any(|s| *s > usual), "{name}: {:?} against {usual}", &scores[400..403]);
            assert_eq!(scores.len(), 600);
        }
    }
}
