//! The time line: its data, its canvas, the time shown.

use wasm_bindgen::prelude::*;
use web_sys::HtmlCanvasElement;

use super::Panel;
use super::canvas2d::Painter;
use crate::camera::Point;
use crate::model::Key;
use crate::samples::{RECORD, UNIT};
use crate::timeline::{Quantity, Series, Timeline};

#[wasm_bindgen]
impl Panel {
    /// The time line: series packed like samples, with the labels `service_name`, `service_namespace` and
    /// `quantity` (`posterior` or `score`); times in milliseconds since the epoch, rising; values series by
    /// series, as many each as there are times, NaN for a gap.
    pub fn timeline(&mut self, packed: &str, times_ms: &[f64], values: &[f64]) {
        let chunks = values.chunks(times_ms.len().max(1));
        let series = packed.split(RECORD).zip(chunks).filter_map(|(record, values)| {
            let parts: Vec<&str> = record.split(UNIT).collect();
            let label = |name: &str| {
                let pair = parts.chunks(2).find(|p| p.first() == Some(&name));
                pair.and_then(|p| p.get(1)).filter(|v| !v.is_empty()).map(|v| (*v).to_owned())
            };
            let quantity = match label("quantity")?.as_str() {
                "posterior" => Quantity::Posterior,
                "score" => Quantity::Score,
                _ => return None,
            };
            let key = Key { namespace: label("service_namespace"), name: label("service_name")? };
            Some(Series { key, quantity, values: values.to_vec() })
        });
        let series = series.collect();
        self.view.set_timeline(Timeline::new(times_ms, series));
    }

    /// Paints the time line on this canvas, of this size in CSS pixels, from now on.
    ///
    /// # Errors
    /// Where the canvas gives no 2D context.
    pub fn attach_timeline(
        &mut self,
        canvas: HtmlCanvasElement,
        width: f64,
        height: f64,
        ratio: f64,
    ) -> Result<(), JsValue> {
        let mut painter = Painter::of(canvas)?;
        painter.resize(width, height, ratio);
        self.strip = Some((painter, Point { x: width, y: height }));
        Ok(())
    }

    /// Paints the time line.
    pub fn paint_timeline(&mut self) {
        if let Some((painter, size)) = &mut self.strip {
            self.view.paint_timeline(painter, *size);
        }
    }

    /// The time at a horizontal position of the time line; NaN without one.
    #[must_use]
    pub fn time_at(&self, x: f64) -> f64 {
        let width = self.strip.as_ref().map_or(0.0, |s| s.1.x);
        self.view.timeline.time_at(x, width).unwrap_or(f64::NAN)
    }

    /// Shows the state at a time; NaN shows the last tick again.
    pub fn set_time(&mut self, time_ms: f64) {
        self.view.set_time(Some(time_ms));
    }
}
