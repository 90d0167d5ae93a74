//! The linear forecast by ridge regression, in closed form.
//!
//! Shared weights come from the rows of all services, `(X'X + 0.01 n I)^-1 X'Y`; a service's correction
//! from what they leave over on its own rows, `(X'X + 200 I)^-1 X'R`: two hundred steps of unit variance
//! must agree before half of a correction is believed (Hoerl & Kennard, "Ridge regression", Technometrics
//! 12, 1970). Only the part of the history before the held-out one is used.
//!
//! A feature that is missing, now or [`AHEAD`] steps before, counts as usual (0) in the shared part and as
//! what is expected already in the correction: what is often missing is forecast with more caution.

use ndarray::{Array2, ArrayView2, Axis, Slice};
use quoll_detect::encoding::{MISSING, to_f32};
use quoll_detect::forecast::{AHEAD, Forecast, inputs, write_inputs};
use quoll_detect::table::Table;
use quoll_detect::window::CHANNELS;

use crate::error::TrainError;
use crate::history::ServiceHistory;

/// Shrinkage of the shared weights, per row.
const SHARED_RIDGE: f64 = 0.01;

/// Shrinkage of a service's correction, in rows.
const OWN_RIDGE: f64 = 200.0;

/// Rows of one service that are learned from; a longer history is thinned evenly.
const MAX_ROWS: usize = 20_000;

/// Rows that are multiplied at a time.
const CHUNK: usize = 512;

/// Targets further out than this are learned from as this far out, in encoded units.
const TARGET_CAP: f64 = 4.0;

/// Calls `each` with inputs [rows, inputs] and targets [rows, features] (NaN where there is none).
fn for_chunks(
    history: &ServiceHistory,
    used: [bool; CHANNELS],
    mut each: impl FnMut(ArrayView2<'_, f64>, ArrayView2<'_, f64>),
) {
    let features = history.scaling.len();
    let width = CHANNELS * features;
    let count = inputs(features);
    let stride = (history.held_out_from / MAX_ROWS).max(1);
    let mut x = Array2::zeros((CHUNK, count));
    let mut y = Array2::zeros((CHUNK, features));
    let (mut row, mut rows) = (Vec::with_capacity(count), 0);
    for step in (AHEAD..history.held_out_from).step_by(stride) {
        let before = &history.codes[(step - AHEAD) * width..(step - AHEAD + 1) * width];
        let now = &history.codes[step * width..step * width + features];
        write_inputs(before.iter().copied(), used, &mut row);
        for (slot, value) in x.row_mut(rows).iter_mut().zip(&row) {
            *slot = f64::from(*value);
        }
        for (feature, slot) in y.row_mut(rows).iter_mut().enumerate() {
            let missing = now[feature] == MISSING || before[feature] == MISSING;
            *slot = if missing { f64::NAN } else { f64::from(to_f32(now[feature])).clamp(-TARGET_CAP, TARGET_CAP) };
        }
        rows += 1;
        if rows == CHUNK {
            each(x.view(), y.view());
            rows = 0;
        }
    }
    if rows > 0 {
        each(x.slice_axis(Axis(0), Slice::from(..rows)), y.slice_axis(Axis(0), Slice::from(..rows)));
    }
}

/// The forecast that all services share, and the correction of each.
pub type Forecaster = (Forecast, Vec<Table>);

/// The forecast of all services, and each one's correction. `used` are the channels it looks at.
///
/// # Errors
/// [`TrainError::Forecast`] where the equations have no finite solution.
pub fn fit(histories: &[ServiceHistory], features: usize, used: [bool; CHANNELS]) -> Result<Forecaster, TrainError> {
    let count = inputs(features);
    let mut square = Array2::<f64>::zeros((count, count));
    let mut product = Array2::<f64>::zeros((count, features));
    let mut rows = 0;
    for history in histories {
        for_chunks(history, used, |x, y| {
            square += &x.t().dot(&x);
            product += &x.t().dot(&y.mapv(|v| if v.is_nan() { 0.0 } else { v }));
            rows += x.nrows();
        });
    }
    let shared = solve(square, product, SHARED_RIDGE * (rows.max(1) as f64))?;
    let forecast = Forecast { weights: shared.t().iter().map(|w| *w as f32).collect() };
    let corrections = histories.iter().map(|history| {
        let mut square = Array2::<f64>::zeros((count, count));
        let mut product = Array2::<f64>::zeros((count, features));
        for_chunks(history, used, |x, y| {
            let left = &y - &x.dot(&shared);
            square += &x.t().dot(&x);
            product += &x.t().dot(&left.mapv(|v| if v.is_nan() { 0.0 } else { v }));
        });
        let own = solve(square, product, OWN_RIDGE)?;
        Ok(Table::new(&own.t().iter().map(|w| *w as f32).collect::<Vec<f32>>(), count))
    });
    let corrections = corrections.collect::<Result<_, TrainError>>()?;
    Ok((forecast, corrections))
}

/// `(square + ridge I)^-1 product` by Cholesky's decomposition (Golub & Van Loan, "Matrix computations",
/// section 4.2).
fn solve(mut square: Array2<f64>, mut product: Array2<f64>, ridge: f64) -> Result<Array2<f64>, TrainError> {
    let n = square.nrows();
    for i in 0..n {
        square[(i, i)] += ridge;
        for j in 0..=i {
            let inner: f64 = (0..j).map(|k| square[(i, k)] * square[(j, k)]).sum();
            let rest = square[(i, j)] - inner;
            square[(i, j)] = if i > j {
                rest / square[(j, j)]
            } else if rest > 0.0 && rest.is_finite() {
                rest.sqrt()
            } else {
                return Err(TrainError::Forecast { pivot: rest, row: i });
            };
        }
    }
    for mut column in product.columns_mut() {
        for i in 0..n {
            let inner: f64 = (0..i).map(|k| square[(i, k)] * column[k]).sum();
            column[i] = (column[i] - inner) / square[(i, i)];
        }
        for i in (0..n).rev() {
            let inner: f64 = (i + 1..n).map(|k| square[(k, i)] * column[k]).sum();
            column[i] = (column[i] - inner) / square[(i, i)];
        }
    }
    Ok(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn the_solution_satisfies_its_equations() {
        let square = array![[4.0, 1.0, 0.5], [1.0, 3.0, -0.2], [0.5, -0.2, 2.0]];
        let product = array![[1.0, 0.0], [2.0, -1.0], [0.3, 5.0]];
        let solution = solve(square.clone(), product.clone(), 0.5).unwrap();
        let back = (square + 0.5 * Array2::<f64>::eye(3)).dot(&solution);
        assert!((back - product).iter().all(|d| d.abs() < 1e-12));
    }

    #[test]
    fn a_matrix_that_is_none_of_a_sum_of_squares_is_refused() {
        let error = solve(array![[-1.0]], array![[1.0]], 0.5).unwrap_err().to_string();
        assert!(error.contains("-0.5"), "{error}");
    }
}
