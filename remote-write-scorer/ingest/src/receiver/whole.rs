//! A request is taken wholly or not at all.
//!
//! Known series are staged as they are read; their samples wait, and elections can be taken back. What cannot be
//! taken back is to get to know a series, so the first new one of a request makes all of the body be read before
//! anything is remembered of it. Requests of known series, which are nearly all, do not pay for that.

use quoll_prometheus_protocol::decode::walk::Version;
use quoll_prometheus_protocol::decode::{self, DecodeError, Series, SeriesIter};

use super::WriteError;
use crate::config::Limits;
use crate::wire::Body;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) tenant: usize,
    pub(super) body: Body<'a>,
    pub(super) now_seconds: u32,
    /// Whether all of the body was read and found good.
    pub(super) checked: bool,
}

impl Request<'_> {
    /// Makes sure that all of the body is good.
    ///
    /// # Errors
    /// What is wrong with it.
    #[cold]
    pub(super) fn check(&mut self, limits: &Limits) -> Result<(), WriteError> {
        if !self.checked {
            match self.body {
                Body::V1(body) => all(decode::series(body), limits)?,
                Body::V2(body) => all(decode::v2::series(body), limits)?,
            }
            self.checked = true;
        }
        Ok(())
    }
}

/// What was read of a request so far.
#[derive(Debug, Default)]
pub(super) struct Size {
    pub(super) series: u64,
    samples: usize,
}

impl Size {
    /// Adds a series, and refuses what is larger than allowed.
    #[inline]
    pub(super) fn add<V: Version>(&mut self, series: &Series<'_, V>, limits: &Limits) -> Result<(), WriteError> {
        self.series += 1;
        self.samples += series.sample_count() + series.histogram_count();
        if self.series > limits.series_per_request as u64 {
            return Err(WriteError::TooManySeries { limit: limits.series_per_request });
        }
        if self.samples > limits.samples_per_request {
            return Err(WriteError::TooManySamples { limit: limits.samples_per_request });
        }
        Ok(())
    }
}

fn all<V: Version>(series: SeriesIter<'_, V>, limits: &Limits) -> Result<(), WriteError> {
    let mut size = Size::default();
    let mut gathered = Vec::new();
    for series in series {
        let series = series?;
        size.add(&series, limits)?;
        if series.label_block().is_none() {
            series.gather_labels(&mut gathered)?;
        }
        content(&series)?;
    }
    Ok(())
}

fn content<V: Version>(series: &Series<'_, V>) -> Result<(), DecodeError> {
    series.samples().try_for_each(|sample| sample.map(drop))?;
    series.histograms().try_for_each(|histogram| histogram.map(drop))
}
