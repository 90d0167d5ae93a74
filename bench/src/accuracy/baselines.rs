//! What people use today, on the same data: each takes the training part and scores the test part.

use quoll_detect::stats::{quantile, sorted_finite};
use quoll_train::eigen::eigen;
use quoll_train::random::Random;

use super::dataset::{Entity, Matrix};
use super::practice;

/// The peers, by name.
pub const NAMES: [&str; 6] = ["robust z", "PCA", "k-means", "netdata", "bands", "forest"];

/// Scores of one peer on one entity's test part.
#[must_use]
pub fn score(name: &str, entity: &Entity, step_seconds: f64) -> Vec<f64> {
    match name {
        "robust z" => robust_z(entity),
        "PCA" => principal_components(entity),
        "netdata" => practice::rolling_k_means(entity, step_seconds),
        "bands" => practice::adaptive_bands(entity, step_seconds),
        "forest" => practice::isolation_forest(entity),
        _ => k_means(entity),
    }
}

fn column(matrix: &Matrix, feature: usize) -> impl Iterator<Item = f64> + '_ {
    matrix.values.iter().skip(feature).step_by(matrix.columns).map(|v| f64::from(*v))
}

/// Mean over the features of the absolute deviation from the training median, over 1.4826 median absolute
/// deviations (floored by a hundredth of the range).
fn robust_z(entity: &Entity) -> Vec<f64> {
    let fitted: Vec<(f64, f64)> = (0..entity.train.columns)
        .map(|f| {
            let sorted = sorted_finite(column(&entity.train, f));
            let centre = quantile(&sorted, 0.5);
            let mad = quantile(&sorted_finite(sorted.iter().map(|v| (v - centre).abs())), 0.5);
            let range = quantile(&sorted, 1.0) - quantile(&sorted, 0.0);
            (centre, (1.4826 * mad).max(0.01 * range).max(1e-9))
        })
        .collect();
    let row_score = |row: &[f32]| {
        let sum: f64 = row.iter().zip(&fitted).map(|(v, (c, s))| ((f64::from(*v) - c).abs() / s).min(1e6)).sum();
        sum / fitted.len() as f64
    };
    (0..entity.test.rows).map(|i| row_score(entity.test.row(i))).collect()
}

/// Train and test with mean 0 and deviation 1 by the training part, capped at ten deviations.
fn standardised(entity: &Entity) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let fitted: Vec<(f64, f64)> = (0..entity.train.columns)
        .map(|f| {
            let n = entity.train.rows as f64;
            let mean = column(&entity.train, f).sum::<f64>() / n;
            let variance = column(&entity.train, f).map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt().max(1e-6 + 1e-3 * mean.abs()))
        })
        .collect();
    let scale = |row: &[f32]| -> Vec<f64> {
        row.iter().zip(&fitted).map(|(v, (m, s))| ((f64::from(*v) - m) / s).clamp(-10.0, 10.0)).collect()
    };
    let all = |matrix: &Matrix| (0..matrix.rows).map(|i| scale(matrix.row(i))).collect();
    (all(&entity.train), all(&entity.test))
}

/// Squared distance from the subspace of the principal components that carry 90 % of the variance.
fn principal_components(entity: &Entity) -> Vec<f64> {
    let (train, test) = standardised(entity);
    let n = entity.train.columns;
    let mut covariance = vec![0.0; n * n];
    for row in &train {
        for p in 0..n {
            for q in 0..n {
                covariance[p * n + q] += row[p] * row[q];
            }
        }
    }
    for value in &mut covariance {
        *value /= train.len().max(1) as f64;
    }
    let pairs = eigen(covariance, n);
    let total: f64 = pairs.iter().map(|p| p.0.max(0.0)).sum();
    let mut carried = 0.0;
    let kept: Vec<&Vec<f64>> = pairs
        .iter()
        .take_while(|(value, _)| {
            let more = carried < 0.9 * total;
            carried += value.max(0.0);
            more
        })
        .map(|(_, vector)| vector)
        .collect();
    test.iter()
        .map(|row| {
            let whole: f64 = row.iter().map(|v| v * v).sum();
            let inside: f64 = kept.iter().map(|v| v.iter().zip(row).map(|(a, b)| a * b).sum::<f64>().powi(2)).sum();
            (whole - inside).max(0.0)
        })
        .collect()
}

/// Distance to the nearest of ten centres of the training part (Lloyd's iterations from k-means++ seeds:
/// Arthur & Vassilvitskii, 2007).
fn k_means(entity: &Entity) -> Vec<f64> {
    let (train, test) = standardised(entity);
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
    let mut random = Random::new(1);
    let stride = train.len().div_ceil(8000).max(1);
    let sample: Vec<&Vec<f64>> = train.iter().step_by(stride).collect();
    let mut centres: Vec<Vec<f64>> = vec![sample[random.below(sample.len())].clone()];
    while centres.len() < 10.min(sample.len()) {
        let weights: Vec<f64> =
            sample.iter().map(|row| centres.iter().map(|c| distance(row, c)).fold(f64::INFINITY, f64::min)).collect();
        let mut target = f64::from(random.uniform()) * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|w| {
            target -= w;
            target <= 0.0
        });
        centres.push(sample[chosen.unwrap_or(0)].clone());
    }
    let nearest = |row: &[f64], centres: &[Vec<f64>]| {
        centres
            .iter()
            .enumerate()
            .map(|(i, c)| (i, distance(row, c)))
            .fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
    };
    for _ in 0..20 {
        let mut sums = vec![(0.0, vec![0.0; entity.train.columns]); centres.len()];
        for row in &sample {
            let (i, _) = nearest(row, &centres);
            sums[i].0 += 1.0;
            sums[i].1.iter_mut().zip(row.iter()).for_each(|(s, v)| *s += v);
        }
        for (centre, (count, sum)) in centres.iter_mut().zip(sums) {
            if count > 0.0 {
                *centre = sum.into_iter().map(|s| s / count).collect();
            }
        }
    }
    test.iter().map(|row| nearest(row, &centres).1.sqrt()).collect()
}
