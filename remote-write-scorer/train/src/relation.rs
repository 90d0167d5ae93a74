//! The split of a step into what its features explain of each other and what they do not, see
//! [`quoll_detect::relation`].
//!
//! Second moments of the part of the history before the held-out one; a service's own are drawn toward those of
//! all services with the weight of [`OWN_ROWS`]. What the leading components that carry [`CARRIED`] of the variance
//! do not explain is the residual.

use ndarray::{Array1, Array2, Axis};
use quoll_detect::relation::{INPUT_CAP, inputs};
use quoll_detect::table::Table;

use crate::eigen::eigen;
use crate::history::ServiceHistory;

/// Share of the variance that counts as explained.
const CARRIED: f64 = 0.97;

/// Steps at which a service's own moments weigh as much as those of all.
const OWN_ROWS: f64 = 200.0;

/// Rows of one service that are learned from; a longer history is thinned evenly.
const MAX_ROWS: usize = 20_000;

/// Mean and covariance of encoded values; a missing one counts as usual (0).
struct Moments {
    rows: f64,
    mean: Array1<f64>,
    covariance: Array2<f64>,
}

fn moments(history: &ServiceHistory) -> Moments {
    let features = history.scaling.len();
    let stride = (history.held_out_from / MAX_ROWS).max(1);
    let steps: Vec<usize> = (0..history.held_out_from).step_by(stride).collect();
    let value = |(row, feature): (usize, usize)| {
        f64::from(history.value(steps[row], feature).unwrap_or(0.0).clamp(-INPUT_CAP, INPUT_CAP))
    };
    let mut rows = Array2::from_shape_fn((steps.len(), features), value);
    let mean = rows.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(features));
    rows -= &mean;
    let covariance = rows.t().dot(&rows) / (steps.len().max(1) as f64);
    Moments { rows: steps.len() as f64, mean, covariance }
}

/// The table of one subspace.
fn table(mean: &Array1<f64>, covariance: &Array2<f64>) -> Table {
    let features = mean.len();
    let pairs = eigen(covariance.iter().copied().collect(), features);
    let total: f64 = pairs.iter().map(|(value, _)| value.max(0.0)).sum();
    let mut residual = Array2::<f64>::eye(features);
    let mut carried = 0.0;
    for (value, vector) in pairs {
        if carried >= CARRIED * total {
            break;
        }
        carried += value.max(0.0);
        for row in 0..features {
            for column in 0..features {
                residual[(row, column)] -= vector[row] * vector[column];
            }
        }
    }
    let constant = -residual.dot(mean);
    let mut weights = Vec::with_capacity(features * inputs(features));
    for (row, constant) in residual.rows().into_iter().zip(constant) {
        weights.extend(row.iter().map(|w| *w as f32));
        weights.push(constant as f32);
    }
    Table::new(&weights, inputs(features))
}

/// The relations of each service.
#[must_use]
pub fn fit(histories: &[ServiceHistory], features: usize) -> Vec<Table> {
    let own: Vec<Moments> = histories.iter().map(moments).collect();
    let rows: f64 = own.iter().map(|m| m.rows).sum::<f64>().max(1.0);
    let mut mean = Array1::zeros(features);
    let mut covariance = Array2::zeros((features, features));
    for moments in &own {
        mean.scaled_add(moments.rows / rows, &moments.mean);
        covariance.scaled_add(moments.rows / rows, &moments.covariance);
    }
    let tables = own.iter().map(|own| {
        let share = own.rows / (own.rows + OWN_ROWS);
        table(&(&own.mean * share + &mean * (1.0 - share)), &(&own.covariance * share + &covariance * (1.0 - share)))
    });
    tables.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn features_that_move_together_leave_only_what_they_do_not_share() {
        let table = table(&array![0.5, 0.5, 0.0], &array![[1.0, 0.99, 0.0], [0.99, 1.0, 0.0], [0.0, 0.0, 0.5]]);
        let residual = |values: [f32; 4], feature| table.product(feature, &values);
        assert!(residual([2.5, 2.5, 0.7, 1.0], 0).abs() < 0.03);
        assert!((residual([2.5, 0.5, 0.0, 1.0], 0) - 1.0).abs() < 0.03);
        assert!((residual([2.5, 0.5, 0.0, 1.0], 1) + 1.0).abs() < 0.03);
    }

    #[test]
    fn a_history_that_never_varied_leaves_everything() {
        let table = table(&Array1::zeros(2), &Array2::zeros((2, 2)));
        assert!((table.product(1, &[0.0, 2.0, 1.0]) - 2.0).abs() < 1e-3);
    }
}
