//! What the newest step of one service should be, by every part but the network.

use crate::basis::Basis;
use crate::encoding::to_f32;
use crate::forecast::Forecast;
use crate::score::Part;
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

    /// What the part that leads expects of a feature whose newest step is observed, in encoded units, and what that
    /// rests on. `reconstructed` is the network's.
    #[must_use]
    pub fn shown(&self, leading: Part, window: &Window, feature: usize, reconstructed: f32) -> (f32, Basis) {
        match leading {
            Part::Forecast => (self.forecast[feature], Basis::LastSteps),
            Part::Autoencoder => (reconstructed, Basis::NormalPattern),
            // Without a rhythm it is the centre, which is 0.
            Part::Level if self.usual[feature] == 0.0 => (0.0, Basis::UsualLevel),
            Part::Level => (self.usual[feature], Basis::HourOfDay),
            Part::Relations => (to_f32(window.code(0, 0, feature)) - self.residual[feature], Basis::OtherFeatures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Scaling;

    #[test]
    fn what_is_shown_is_what_the_leading_part_expects() {
        let mut window = Window::new(2);
        window.push(&[3.0, 3.0], &[Scaling { centre: 0.0, scale: 1.0 }; 2]);
        let mut expected = Expected::new(2);
        (expected.forecast[1], expected.usual[0], expected.usual[1], expected.residual[1]) = (0.5, 0.0, -0.25, 1.0);
        let shown = |leading, feature| expected.shown(leading, &window, feature, 0.75);
        assert_eq!(shown(Part::Forecast, 1), (0.5, Basis::LastSteps));
        assert_eq!(shown(Part::Autoencoder, 1), (0.75, Basis::NormalPattern));
        assert_eq!(shown(Part::Level, 0), (0.0, Basis::UsualLevel));
        assert_eq!(shown(Part::Level, 1), (-0.25, Basis::HourOfDay));
        let (value, basis) = shown(Part::Relations, 1);
        assert!((value - (4.0_f32.ln() - 1.0)).abs() < 1e-3 && basis == Basis::OtherFeatures);
    }
}
