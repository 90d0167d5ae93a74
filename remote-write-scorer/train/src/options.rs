//! Settings of a training run, with defaults that need no thought.

use quoll_detect::Recipe;

use crate::error::TrainError;

/// Settings of a training run.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Seed of the initial weights, of the noise and of the order of windows.
    pub seed: u64,
    /// Crossings of score 1 per service and day.
    pub score_budget_per_day: f64,
    /// Crossings per service and day of the threshold that is rare enough to notify of.
    pub alert_budget_per_day: f64,
    /// What the scores are made by.
    pub recipe: Recipe,
    /// Share of the history, at its end, that measures errors instead of training.
    pub held_out: f64,
    /// Windows in one update.
    pub batch: usize,
    /// How often each window is seen, within the bounds of [`Self::min_updates`] and
    /// [`Self::max_updates`].
    pub epochs: f64,
    /// Least number of updates.
    pub min_updates: usize,
    /// Largest number of updates.
    pub max_updates: usize,
    /// Step size of Adam at the start; it falls to nothing along a cosine.
    pub learning_rate: f64,
    /// Standard deviation of the noise on the input, in signed-log units.
    pub noise: f64,
    /// Probability that a feature is hidden from the input.
    pub hide: f64,
    /// Share of windows that reconstruct worst and are left out of the second half of training.
    pub trim: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            score_budget_per_day: 1.0,
            alert_budget_per_day: 0.1,
            recipe: Recipe::default(),
            held_out: 0.25,
            batch: 64,
            epochs: 8.0,
            min_updates: 250,
            max_updates: 1500,
            learning_rate: 3e-3,
            noise: 0.1,
            hide: 0.4,
            trim: 0.01,
        }
    }
}

impl TrainOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// [`TrainError::Option`] for the first option out of range.
    pub fn check(&self) -> Result<(), TrainError> {
        let option = |option, value: f64, wanted, ok: bool| {
            if ok { Ok(()) } else { Err(TrainError::Option { option, value: value.to_string(), wanted }) }
        };
        let share = |x: f64, most: f64| (0.0..=most).contains(&x);
        let budget = self.score_budget_per_day;
        option("score_budget_per_day", budget, "above 0 and at most 1000", budget > 0.0 && budget <= 1000.0)?;
        let alert = self.alert_budget_per_day;
        option("alert_budget_per_day", alert, "above 0 and at most 1000", alert > 0.0 && alert <= 1000.0)?;
        let worst = self.recipe.worst_share;
        option("recipe", worst, "a recipe whose numbers are in their ranges", self.recipe.valid())?;
        option("held_out", self.held_out, "in [0.1, 0.5]", share(self.held_out, 0.5) && self.held_out >= 0.1)?;
        option("batch", self.batch as f64, "in 1..=1024", (1..=1024).contains(&self.batch))?;
        option("epochs", self.epochs, "in (0, 1000]", self.epochs > 0.0 && self.epochs <= 1000.0)?;
        option("max_updates", self.max_updates as f64, "at least min_updates", self.max_updates >= self.min_updates)?;
        let rate = self.learning_rate;
        option("learning_rate", rate, "in (0, 0.1]", rate > 0.0 && rate <= 0.1)?;
        option("noise", self.noise, "in [0, 2]", share(self.noise, 2.0))?;
        option("hide", self.hide, "in [0, 0.9]", share(self.hide, 0.9))?;
        option("trim", self.trim, "in [0, 0.2]", share(self.trim, 0.2))
    }
}

/// What the training is doing.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Progress {
    /// A checkpoint of the same run was found; training goes on from it.
    Resumed {
        /// Updates done before.
        done: usize,
        /// Updates in all.
        of: usize,
    },
    /// An update of the weights is done.
    Update {
        /// Updates done.
        done: usize,
        /// Updates in all.
        of: usize,
        /// Loss, averaged over the last few updates.
        loss: f64,
    },
    /// A service's held-out part has been measured.
    Calibrated {
        /// Services done.
        done: usize,
        /// Services in all.
        of: usize,
    },
}
