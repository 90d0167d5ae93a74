//! Fitting the network: batches of random windows, spoiled, given back, held against the clean ones.
//!
//! A run is a sequence of updates whose every choice comes from one stream of random numbers, so that its
//! state between two updates ([`crate::checkpoint`]) determines the rest.

use std::collections::VecDeque;

use quoll_detect::Recipe;
use quoll_detect::runtime::NEWEST;
use quoll_detect::stats::quantile;
use quoll_detect::window::{CHANNELS, STEPS};

use crate::checkpoint::{Checkpoint, RunState};
use crate::error::TrainError;
use crate::history::{ServiceHistory, Spoiling};
use crate::loss::huber;
use crate::network::Network;
use crate::options::{Progress, TrainOptions};
use crate::random::Random;

/// Weight of the steps that are scored, against 1 for the others.
const NEWEST_WEIGHT: f32 = 4.0;

/// Losses remembered to know which windows reconstruct worst.
const REMEMBERED: usize = 4096;

/// First step of a service that can end a window.
const FIRST_END: usize = 4;

/// A fitted network.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// With its weights.
    pub network: Network,
    /// Windows there were to learn from.
    pub windows: usize,
    /// Updates of the weights.
    pub updates: usize,
    /// Loss at the end, averaged over the last few updates.
    pub loss: f64,
}

/// Minimises the loss over random windows of all services, from the checkpoint of the same run if there is one.
///
/// # Errors
/// [`TrainError::Diverged`], and [`TrainError::Write`] where a checkpoint cannot be written.
pub fn fit(
    histories: &[ServiceHistory],
    features: usize,
    options: &TrainOptions,
    checkpoint: Option<&Checkpoint>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let mut random = Random::new(options.seed);
    let mut network = Network::new(features, &mut random);
    let ends: Vec<(u32, u32)> = histories
        .iter()
        .enumerate()
        .flat_map(|(s, h)| (FIRST_END..h.held_out_from).map(move |end| (s as u32, end as u32)))
        .collect();
    let wanted = (ends.len() as f64 * options.epochs / options.batch as f64).ceil() as usize;
    let updates = wanted.clamp(options.min_updates, options.max_updates).max(1);
    let batch = options.batch;
    let spoiling = Spoiling { noise: options.noise as f32, hide: options.hide as f32 };
    let size = CHANNELS * features * STEPS * batch;
    let (mut clean, mut observed, mut gradient) = (vec![0.0; size], vec![0.0; size], vec![0.0; size]);
    let mut input = Vec::with_capacity(size);
    let mut losses: VecDeque<f64> = VecDeque::with_capacity(REMEMBERED);
    let mut recent = 0.0;
    let mut first = 0;
    let run = checkpoint.map(|checkpoint| (checkpoint, checkpoint.run(histories, options)));
    if let Some(state) = run.and_then(|(checkpoint, run)| checkpoint.read(run))
        && network.restore(&state.network)
    {
        (first, recent, random) = (state.updates.min(updates), state.recent, state.random);
        losses.extend(state.losses);
        progress(Progress::Resumed { done: first, of: updates });
    }
    for update in first..updates {
        for slot in 0..batch {
            let (service, end) = ends[random.below(ends.len())];
            histories[service as usize].write_window(end as usize, slot, batch, &mut clean, &mut observed);
        }
        blank(&options.recipe, batch, &mut clean, &mut observed);
        spoiling.apply(&clean, &observed, batch, &mut random, &mut input);
        let output = network.forward(&input, batch).map_err(|_| TrainError::Diverged { update })?;
        let window_losses = loss_per_window(output, &clean, &observed, batch, &mut gradient);
        let limit = worst_limit(&losses, update, updates, options.trim);
        let mut kept = 0.0;
        let mut total = 0.0;
        for (slot, loss) in window_losses.iter().enumerate() {
            if losses.len() == REMEMBERED {
                losses.pop_front();
            }
            losses.push_back(*loss);
            if *loss > limit {
                for row in gradient.chunks_exact_mut(batch * STEPS) {
                    row[slot * STEPS..(slot + 1) * STEPS].fill(0.0);
                }
            } else {
                kept += 1.0;
                total += loss;
            }
        }
        let share = 1.0 / f32::max(kept, 1.0);
        for g in &mut gradient {
            *g *= share;
        }
        let loss = total / f64::from(f32::max(kept, 1.0));
        if !loss.is_finite() {
            return Err(TrainError::Diverged { update });
        }
        recent = if update == 0 { loss } else { recent + 0.05 * (loss - recent) };
        network.backward(&gradient).map_err(|_| TrainError::Diverged { update })?;
        let phase = std::f64::consts::PI * update as f64 / updates as f64;
        network.update((0.5 * options.learning_rate * (1.0 + phase.cos())) as f32);
        let done = update + 1;
        if let Some((checkpoint, run)) = run
            && done < updates
            && done % checkpoint.every_updates == 0
        {
            let losses = losses.iter().copied().collect();
            let (network, random) = (network.state(), random.clone());
            checkpoint.write(run, &RunState { updates: done, recent, losses, random, network })?;
        }
        progress(Progress::Update { done, of: updates, loss: recent });
    }
    Ok(Fitted { network, windows: ends.len(), updates, loss: recent })
}

/// Hides what the recipe does not look at, in input and target alike.
fn blank(recipe: &Recipe, batch: usize, clean: &mut [f32], observed: &mut [f32]) {
    if recipe.image_steps == STEPS && recipe.channels.iter().all(|used| *used) {
        return;
    }
    let features = clean.len() / (CHANNELS * STEPS * batch);
    for numbers in [clean, observed] {
        for (line, row) in numbers.chunks_exact_mut(STEPS).enumerate() {
            let seen = if recipe.channels[line / batch / features] { recipe.image_steps } else { 0 };
            row[..STEPS - seen].fill(0.0);
        }
    }
}

/// The weighted mean loss of each window over what was observed in it; `gradient` becomes that of the sum
/// of these means.
fn loss_per_window(output: &[f32], clean: &[f32], observed: &[f32], batch: usize, gradient: &mut [f32]) -> Vec<f64> {
    let column_weight = |at: usize| if at % STEPS + NEWEST >= STEPS { NEWEST_WEIGHT } else { 1.0 };
    let mut losses = vec![0.0_f64; batch];
    let mut weights = vec![0.0_f32; batch];
    for (at, seen) in observed.iter().enumerate() {
        weights[at / STEPS % batch] += seen * column_weight(at);
    }
    for (at, g) in gradient.iter_mut().enumerate() {
        let slot = at / STEPS % batch;
        let weight = observed[at] * column_weight(at) / weights[slot].max(1.0);
        let (loss, slope) = huber(output[at] - clean[at]);
        losses[slot] += f64::from(weight * loss);
        *g = weight * slope;
    }
    losses
}

/// The loss beyond which a window is not learned from: the worst ones, once half the training is done.
fn worst_limit(losses: &VecDeque<f64>, update: usize, updates: usize, trim: f64) -> f64 {
    if 2 * update < updates || losses.len() < 256 || trim <= 0.0 {
        return f64::INFINITY;
    }
    let mut sorted: Vec<f64> = losses.iter().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile(&sorted, 1.0 - trim)
}
