//! What each choice of the recipe is worth: variants that differ from it in one thing, through the same code.
//!
//! Variants that do not change the network take its answers from memory, so that a variant costs seconds.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use quoll_detect::Recipe;
use quoll_detect::recipe::MEANS;
use quoll_detect::window::STEPS;
use quoll_train::TrainOptions;

use super::dataset::Entity;
use super::figures::{Figures, Judged, Part, vus};
use super::lab::{Lab, Remembered};
use super::work::{Meter, each};

/// A variant: its name and how it differs.
pub struct Variant {
    /// What differs, in words.
    pub name: &'static str,
    change: fn(&mut TrainOptions),
    /// Whether the network is another one.
    retrained: bool,
}

/// All variants; the first is the recipe itself.
pub const VARIANTS: [Variant; 39] = [
    tuned("the recipe", |_| ()),
    tuned("without the forecast", |o| o.recipe.forecast_weight = 0.0),
    tuned("without the autoencoder", |o| o.recipe.autoencoder_weight = 0.0),
    tuned("without the level", |o| o.recipe.level_weight = 0.0),
    tuned("the autoencoder only", |o| {
        (o.recipe.forecast_weight, o.recipe.level_weight, o.recipe.relation_weight) = (0.0, 0.0, 0.0);
    }),
    tuned("the forecast only", |o| {
        (o.recipe.autoencoder_weight, o.recipe.level_weight, o.recipe.relation_weight) = (0.0, 0.0, 0.0);
    }),
    tuned("the level only", |o| {
        (o.recipe.forecast_weight, o.recipe.autoencoder_weight, o.recipe.relation_weight) = (0.0, 0.0, 0.0);
    }),
    tuned("without the hour of the day", |o| o.recipe.season = false),
    tuned("without the relations", |o| o.recipe.relation_weight = 0.0),
    tuned("relations 0.2", |o| o.recipe.relation_weight = 0.2),
    tuned("relations 0.4", |o| o.recipe.relation_weight = 0.4),
    tuned("relations 0.8", |o| o.recipe.relation_weight = 0.8),
    tuned("autoencoder 0.1", |o| o.recipe.autoencoder_weight = 0.1),
    tuned("autoencoder 0.4", |o| o.recipe.autoencoder_weight = 0.4),
    tuned("level 0.1", |o| o.recipe.level_weight = 0.1),
    tuned("level 0.5", |o| o.recipe.level_weight = 0.5),
    tuned("forecast shared by all, no correction per service", |o| o.recipe.own_forecast = false),
    tuned("errors over their part's quantile, not their feature's", |o| o.recipe.error_per_feature = false),
    tuned("error floor 0.1", |o| o.recipe.error_floor = 0.1),
    tuned("error floor 1", |o| o.recipe.error_floor = 1.0),
    tuned("cap 2.5", |o| o.recipe.ratio_cap = 2.5),
    tuned("cap 7", |o| o.recipe.ratio_cap = 7.0),
    tuned("no cap", |o| o.recipe.ratio_cap = 1e6),
    tuned("the worst tenth of the features", |o| o.recipe.worst_share = 0.1),
    tuned("the worst half", |o| o.recipe.worst_share = 0.5),
    tuned("all features", |o| o.recipe.worst_share = 1.0),
    tuned("alarms from the worst quarter", |o| o.recipe.alarm_share = 0.25),
    tuned("no fast pace", |o| o.recipe.paces[0] = 0.0),
    tuned("no slow pace", |o| o.recipe.paces[3] = 0.0),
    tuned("only pace 0.3", |o| o.recipe.paces = [0.0, 0.3, 0.0, 0.0]),
    tuned("alarms from all paces", |o| o.recipe.alarm_means = MEANS),
    tuned("alarms from the fastest pace", |o| o.recipe.alarm_means = 1),
    tuned("slowest pace 0.02", |o| o.recipe.paces[3] = 0.02),
    tuned("slowest pace 0.08", |o| o.recipe.paces[3] = 0.08),
    retrained("trailing means of 1 step only", |o| o.recipe.channels = [true, false, false]),
    retrained("trailing means of 1 and 5 steps", |o| o.recipe.channels = [true, true, false]),
    retrained("images of 30 steps", |o| o.recipe.image_steps = STEPS / 2),
    retrained("images of 15 steps", |o| o.recipe.image_steps = STEPS / 4),
    retrained("no hidden features in training", |o| o.hide = 0.0),
];

const fn tuned(name: &'static str, change: fn(&mut TrainOptions)) -> Variant {
    Variant { name, change, retrained: false }
}

const fn retrained(name: &'static str, change: fn(&mut TrainOptions)) -> Variant {
    Variant { name, change, retrained: true }
}

/// The variants whose name contains one of `wanted`, or all; the recipe itself always comes first.
pub fn chosen(wanted: &[String]) -> Vec<&'static Variant> {
    let named = |v: &Variant| wanted.iter().any(|w| v.name.contains(w.as_str()));
    VARIANTS.iter().enumerate().filter(|(at, v)| *at == 0 || wanted.is_empty() || named(v)).map(|(_, v)| v).collect()
}

/// Figures of the variants, as they come: all entities, those tuned on, those checked on.
///
/// # Errors
/// Training or scoring fails.
pub fn run(
    lab: &Lab<'_>,
    entities: &[Entity],
    variants: &[&Variant],
    seed: u64,
    step_seconds: f64,
    told: &mut dyn FnMut(&str, [Figures; 3]),
) -> Result<()> {
    let options = |variant: &Variant| {
        let mut options = TrainOptions { seed, ..TrainOptions::default() };
        (variant.change)(&mut options);
        options
    };
    let trained: Vec<TrainOptions> =
        variants.iter().filter(|v| v.retrained || v.name == VARIANTS[0].name).map(|v| options(v)).collect();
    let meter = Meter::new("training for ablations", trained.iter().map(|o| o.max_updates).sum());
    let fitted = each(&trained, |_, options| lab.fit(options, &mut |_, _| meter.add(1)))?;
    drop(meter);
    let places: Vec<usize> = (0..entities.len()).collect();
    for (at, fitted) in fitted.into_iter().enumerate() {
        let directory = tempfile::tempdir()?;
        let mut held_out = Remembered::new(fitted.network.clone());
        let networks = places.iter().map(|_| Ok(Mutex::new(Remembered::new(lab.runtime(&fitted, directory.path())?))));
        let networks = networks.collect::<Result<Vec<_>>>()?;
        let mut forecaster: Option<(Recipe, _)> = None;
        let same_network = |v: &&&Variant| if at == 0 { !v.retrained } else { options(v) == trained[at] };
        for variant in variants.iter().filter(same_network) {
            let options = options(variant);
            let shared = match &forecaster {
                Some((_, shared)) => shared,
                None => &forecaster.insert((options.recipe.clone(), lab.forecaster(&options.recipe)?)).1,
            };
            let calibration = lab.calibrate(&mut held_out, shared.clone(), &options)?;
            let judged = each(&places, |place, _| {
                let mut network = networks[place].lock().unwrap_or_else(PoisonError::into_inner);
                let outputs = lab.score_with(calibration.clone(), &mut network, place)?;
                let vus = vus(&entities[place], &outputs.scores);
                Ok((outputs, vus))
            })?;
            let (outputs, vus) = judged.into_iter().unzip();
            let judged = Judged::new(entities, outputs, vus);
            told(variant.name, [Part::All, Part::Tune, Part::Check].map(|part| judged.figures(part, step_seconds)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_a_valid_recipe_and_differs_from_the_first() {
        for (at, variant) in VARIANTS.iter().enumerate() {
            let mut options = TrainOptions::default();
            (variant.change)(&mut options);
            options.check().unwrap();
            assert_eq!(options == TrainOptions::default(), at == 0, "{}", variant.name);
        }
    }

    #[test]
    fn variants_are_chosen_by_part_of_their_name() {
        assert_eq!(chosen(&[]).len(), VARIANTS.len());
        let names: Vec<_> = chosen(&["cap".to_owned()]).iter().map(|v| v.name).collect();
        assert_eq!(names, ["the recipe", "cap 2.5", "cap 7", "no cap"]);
    }
}
