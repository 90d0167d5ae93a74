//! What the newest step of one service should be, by every part but the network.

use crate::forecast::Forecast;
use crate::table::Table;
use crate::window::{CHANNELS, Window};
use crate::{relation, season};

/// What is known of a service for it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The forecast that all services share.
    pub forecast: &'a Forecast,
    /// What the service adds to it.
    pub correction: Option<&'a Table>,
    /// Its levels at each hour of the day.
    pub season: Option<&'a Table>,
    /// What its features say of each other.
    pub relations: Option<&'a Table>,
    /// Which trailing means the forecast looks at.
    pub channels: [bool; CHANNELS],
}

/// Per feature, in encoded units; reused from service to service.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The forecast; NaN where there is none.
    pub forecast: Vec<f32>,
    /// The usual level at this hour of the day.
    pub usual: Vec<f32>,
    /// What the other features do not explain; NaN where it is missing or nothing is known of them.
    pub residual: Vec<f32>,
    scratch: Vec<f32>,
}

impl Expected {
    /// For `features` features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        let none = vec![f32::NAN; features];
        Self { forecast: none.clone(), usual: none.clone(), residual: none, scratch: Vec::new() }
    }

    /// As of the newest step of `window`, which ended at `end_ms` (Unix time).
    pub fn update(&mut self, window: &Window, end_ms: i64, known: Known<'_>) {
        let Known { forecast, correction, season, relations, channels } = known;
        forecast.predict(window, correction, channels, &mut self.scratch, &mut self.forecast);
        season::usual(season, end_ms, &mut self.usual);
        match relations {
            Some(relations) => relation::residuals(relations, window, &mut self.scratch, &mut self.residual),
            None => self.residual.fill(f32::NAN),
        }
    }
}
