//! From a body to staged samples: what is checked for each sample of a known series.

use std::ops::Range;

use quoll_prometheus_protocol::decode::{self, DecodeError, HistogramIter, Sample};
use quoll_prometheus_protocol::staleness::{is_stale, stale_marker};

use super::known::Given;
use super::{Receipt, Receiver, WriteError};
use crate::log::Staged;
use crate::stats::Rejection;
use crate::table::{Binding, BlockKey};
use crate::wire::Body;

/// Symbols for which memory is kept between requests.
const KEPT_SYMBOLS: usize = 1 << 17;
/// What a native histogram gives: the suffixes of classic ones.
const PARTS: [&str; 2] = ["_count", "_sum"];

/// The interned strings of the request at hand. Keys stand by themselves: they are all that known series need.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    keys: Vec<BlockKey>,
    ranges: Vec<(u32, u32)>,
}

impl Symbols {
    fn push(&mut self, range: &Range<usize>, key: BlockKey) {
        // A body of 4 GiB is beyond every limit: cut short, the range is read as empty.
        let cut = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        self.ranges.push((cut(range.start), cut(range.end)));
        self.keys.push(key);
    }

    /// Where a string stands in the body.
    pub(super) fn range(&self, index: usize) -> Option<Range<usize>> {
        self.ranges.get(index).map(|&(start, end)| start as usize..end as usize)
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.keys.shrink_to(KEPT_SYMBOLS);
        self.ranges.clear();
        self.ranges.shrink_to(KEPT_SYMBOLS);
    }
}

/// What a request is measured against.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    latest_ms: i64,
    earliest_ms: i64,
    failover_ms: i64,
    now_seconds: u32,
}

impl Bounds {
    #[inline]
    fn rejection(&self, timestamp_ms: i64) -> Option<Rejection> {
        if timestamp_ms > self.latest_ms {
            Some(Rejection::TooFarInFuture)
        } else if timestamp_ms < self.earliest_ms {
            Some(Rejection::TooOld)
        } else {
            None
        }
    }
}

impl Receiver {
    pub(super) fn stage(
        &mut self,
        tenant: usize,
        body: Body<'_>,
        now_ms: i64,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let bounds = Bounds {
            latest_ms: now_ms.saturating_add(self.config.future_limit_ms),
            earliest_ms: now_ms.saturating_sub(self.config.past_limit_ms),
            failover_ms: self.config.ha_failover_ms,
            now_seconds: u32::try_from(now_ms / 1000).unwrap_or(0),
        };
        match body {
            Body::V1(body) => self.stage_v1(tenant, body, bounds, receipt)?,
            Body::V2(body) => {
                let mut symbols = std::mem::take(&mut self.symbols);
                let staged = self.stage_v2(tenant, body, &mut symbols, bounds, receipt);
                symbols.clear();
                self.symbols = symbols;
                staged?;
            }
        }
        receipt.selected = self.staged.len() as u64;
        Ok(())
    }

    fn stage_v1(
        &mut self,
        tenant: usize,
        body: &[u8],
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let mut all = decode::series(body);
        for series in all.by_ref() {
            let series = series?;
            self.check_size(receipt)?;
            let binding = self.known(tenant, &series, bounds.now_seconds)?;
            self.take(binding, series.samples(), series.sample_count(), bounds, receipt)?;
            if series.exemplar_count() + series.histogram_count() == 0 {
                continue;
            }
            if let Binding::Rejected(reason) = binding {
                receipt.rejected[reason as usize] += series.histogram_count() as u64;
                continue;
            }
            receipt.exemplars += series.exemplar_count() as u64;
            if series.histogram_count() > 0 {
                let mut gathered = std::mem::take(&mut self.gathered);
                series.gather_labels(&mut gathered)?;
                let key = self.hasher.key(&gathered);
                let taken =
                    self.take_histograms(tenant, key, Given::Block(&gathered), series.histograms(), bounds, receipt);
                self.gathered = gathered;
                taken?;
            }
        }
        receipt.metadata = all.metadata() as u64;
        Ok(())
    }

    fn stage_v2(
        &mut self,
        tenant: usize,
        body: &[u8],
        symbols: &mut Symbols,
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let limit = self.config.limits.symbols_per_request;
        for range in decode::v2::symbols(body) {
            let range = range?;
            if symbols.keys.len() >= limit {
                return Err(WriteError::TooManySymbols { limit });
            }
            let key = self.hasher.key(&body[range.clone()]);
            symbols.push(&range, key);
        }
        let symbols = &*symbols;
        let first_is_empty = symbols.range(0).is_some_and(|first| first.is_empty());
        for series in decode::v2::series(body) {
            let series = series?;
            self.check_size(receipt)?;
            if !first_is_empty {
                return Err(WriteError::FirstSymbol);
            }
            receipt.metadata += u64::from(series.has_metadata());
            let mut gathered = std::mem::take(&mut self.gathered);
            let packed = if let Some(packed) = series.label_refs() {
                packed
            } else {
                self.stats.scattered_series += 1;
                series.gather_label_refs(&mut gathered)?;
                &gathered
            };
            let given = Given::Refs(packed, body, symbols);
            let key = self.key_of_refs(packed, &symbols.keys);
            let binding = match key {
                Some(key) => match self.tenants[tenant].table.find(key, bounds.now_seconds) {
                    Some(binding) => binding,
                    None => self.first_sight(tenant, key, given, "", bounds.now_seconds),
                },
                None => Binding::Rejected(Rejection::MalformedLabel),
            };
            let mut taken = self.take(binding, series.samples(), series.sample_count(), bounds, receipt);
            if series.exemplar_count() + series.histogram_count() > 0 {
                if let Binding::Rejected(reason) = binding {
                    receipt.rejected[reason as usize] += series.histogram_count() as u64;
                } else {
                    receipt.exemplars += series.exemplar_count() as u64;
                    if let Some(key) = key
                        && series.histogram_count() > 0
                        && taken.is_ok()
                    {
                        taken = self.take_histograms(tenant, key, given, series.histograms(), bounds, receipt);
                    }
                }
            }
            self.gathered = gathered;
            taken?;
        }
        Ok(())
    }

    /// The key of a series by the strings that its labels refer to; `None` where one of them is not there.
    #[inline]
    fn key_of_refs(&self, packed: &[u8], symbols: &[BlockKey]) -> Option<BlockKey> {
        let symbol = |reference: u64| symbols.get(usize::try_from(reference).ok()?).copied();
        let mut key = BlockKey::CHAIN;
        let mut references = decode::v2::refs(packed);
        while let Some(name) = references.next() {
            let (name, value) = (name.ok()?, references.next()?.ok()?);
            key = self.hasher.chain(key, symbol(name)?, symbol(value)?);
        }
        Some(key)
    }

    /// Counts one more series, and refuses what is larger than allowed.
    #[inline]
    fn check_size(&self, receipt: &mut Receipt) -> Result<(), WriteError> {
        let limits = &self.config.limits;
        receipt.series += 1;
        if receipt.series > limits.series_per_request as u64 {
            return Err(WriteError::TooManySeries { limit: limits.series_per_request });
        }
        if self.staged.len() > limits.samples_per_request {
            return Err(WriteError::TooManySamples { limit: limits.samples_per_request });
        }
        Ok(())
    }

    /// Stages the float samples of a series.
    #[inline]
    fn take(
        &mut self,
        binding: Binding,
        samples: impl Iterator<Item = Result<Sample, DecodeError>>,
        count: usize,
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        match binding {
            Binding::Ignored => {
                receipt.ignored += count as u64;
                receipt.samples += count as u64;
            }
            // A series without a sample is counted too, so that the answer tells what was wrong with it.
            Binding::Rejected(reason) => receipt.rejected[reason as usize] += count.max(1) as u64,
            Binding::Selected { scope, series: handle, replica } => {
                let election = &mut self.scopes[scope as usize].election;
                for sample in samples {
                    let Sample { timestamp_ms, value } = sample?;
                    if let Some(reason) = bounds.rejection(timestamp_ms) {
                        receipt.rejected[reason as usize] += 1;
                        continue;
                    }
                    receipt.samples += 1;
                    if election.admit(replica, timestamp_ms, bounds.failover_ms) {
                        self.staged.push(Staged { scope, series: handle, timestamp_ms, value });
                    } else {
                        receipt.replica += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Stages counts and sums of native histograms as the series that a classic histogram has for them.
    #[cold]
    fn take_histograms(
        &mut self,
        tenant: usize,
        key: BlockKey,
        given: Given<'_>,
        histograms: HistogramIter<'_>,
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let mut bindings = [Binding::Ignored; 2];
        for (part, binding) in bindings.iter_mut().enumerate() {
            let key = key.derived(part as u8);
            *binding = self.find_or_bind(tenant, key, given, PARTS[part], bounds.now_seconds);
        }
        for histogram in histograms {
            let histogram = histogram?;
            let broken = bindings.iter().find_map(|binding| match binding {
                Binding::Rejected(reason) => Some(*reason),
                _ => None,
            });
            if let Some(reason) = bounds.rejection(histogram.timestamp_ms).or(broken) {
                receipt.rejected[reason as usize] += 1;
                continue;
            }
            receipt.histograms += 1;
            if histogram.gauge {
                continue;
            }
            // The end of a native series is marked in its sum alone.
            let ended = is_stale(histogram.sum);
            let values = [if ended { stale_marker() } else { histogram.count }, histogram.sum];
            for (binding, value) in bindings.into_iter().zip(values) {
                let Binding::Selected { scope, series, replica } = binding else { continue };
                let election = &mut self.scopes[scope as usize].election;
                if election.admit(replica, histogram.timestamp_ms, bounds.failover_ms) {
                    self.staged.push(Staged { scope, series, timestamp_ms: histogram.timestamp_ms, value });
                } else {
                    receipt.replica += 1;
                }
            }
        }
        Ok(())
    }
}
