//! From a body to staged samples: what is checked for each sample of a known series.

use std::ops::Range;

use quoll_prometheus_protocol::decode::v2::{RefIter, V2};
use quoll_prometheus_protocol::decode::walk::Version;
use quoll_prometheus_protocol::decode::{self, DecodeError, HistogramIter, Sample, SeriesIter, V1};
use quoll_prometheus_protocol::staleness::{is_stale, stale_marker};

use super::known::Given;
use super::whole::{Request, Size};
use super::{Receipt, Receiver, WriteError};
use crate::log::Staged;
use crate::stats::Rejection;
use crate::table::{Binding, BlockHasher, BlockKey};
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

    /// The key of the string that is referred to.
    #[inline]
    fn key(&self, reference: Result<u64, DecodeError>) -> Option<BlockKey> {
        self.keys.get(usize::try_from(reference.ok()?).ok()?).copied()
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

/// How the labels of a series are read: the one thing in which staging differs between the versions.
trait LabelReader {
    type Version: Version;

    /// The key of a block of labels; `None` where it refers to what is not there.
    fn key(&mut self, hasher: &BlockHasher, block: &[u8]) -> Option<BlockKey>;

    /// The labels themselves.
    fn given<'b>(&'b self, block: &'b [u8]) -> Given<'b>;
}

/// 1.0: the block has them.
struct InPlace;

impl LabelReader for InPlace {
    type Version = V1;

    #[inline]
    fn key(&mut self, hasher: &BlockHasher, block: &[u8]) -> Option<BlockKey> {
        Some(hasher.key(block))
    }

    fn given<'b>(&'b self, block: &'b [u8]) -> Given<'b> {
        Given::Block(block)
    }
}

/// 2.0: the block refers to the strings of a body.
struct Interned<'s> {
    body: &'s [u8],
    symbols: &'s Symbols,
    /// References behind the first label of the series before, and their key: one target's series often differ in
    /// their metric's name only.
    rest: Vec<u8>,
    rest_key: BlockKey,
}

impl Interned<'_> {
    /// The key of the labels behind the first.
    fn key_of_rest(&self, hasher: &BlockHasher, mut references: RefIter<'_>) -> Option<BlockKey> {
        let (mut key, mut place) = (BlockKey::NO_LABEL, 1);
        while let Some(name) = references.next() {
            let (name, value) = (self.symbols.key(name)?, self.symbols.key(references.next()?)?);
            key = hasher.with_label(key, place, name, value);
            place += 1;
        }
        Some(key)
    }
}

impl LabelReader for Interned<'_> {
    type Version = V2;

    #[inline]
    fn key(&mut self, hasher: &BlockHasher, block: &[u8]) -> Option<BlockKey> {
        let mut references = decode::v2::refs(block);
        let Some(name) = references.next() else { return Some(BlockKey::NO_LABEL) };
        let (name, value) = (self.symbols.key(name)?, self.symbols.key(references.next()?)?);
        let rest = references.rest();
        if *rest != *self.rest {
            self.rest_key = self.key_of_rest(hasher, references)?;
            self.rest.clear();
            self.rest.extend_from_slice(rest);
        }
        Some(hasher.with_label(self.rest_key, 0, name, value))
    }

    fn given<'b>(&'b self, block: &'b [u8]) -> Given<'b> {
        Given::Refs(block, self.body, self.symbols)
    }
}

impl Receiver {
    /// Stages what a body holds of selected series. Where it is refused, nothing is known of it afterwards, and the
    /// elections are to be taken back.
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
        };
        let now_seconds = u32::try_from(now_ms / 1000).unwrap_or(0);
        let mut request = Request { tenant, body, now_seconds, checked: false };
        // Taken out for the time of the request: memory that is used again.
        let mut gathered = std::mem::take(&mut self.gathered);
        let staged = match body {
            Body::V1(body) => {
                self.stage_all(&mut request, decode::series(body), &mut InPlace, &mut gathered, bounds, receipt)
            }
            Body::V2(body) => {
                let mut symbols = std::mem::take(&mut self.symbols);
                let staged = self.intern(body, &mut symbols).and_then(|()| {
                    let rest = std::mem::take(&mut self.rest);
                    let mut reader = Interned { body, symbols: &symbols, rest, rest_key: BlockKey::NO_LABEL };
                    reader.rest.clear();
                    let all = decode::v2::series(body);
                    let staged = self.stage_all(&mut request, all, &mut reader, &mut gathered, bounds, receipt);
                    self.rest = reader.rest;
                    staged
                });
                symbols.clear();
                self.symbols = symbols;
                staged
            }
        };
        self.gathered = gathered;
        receipt.selected = self.staged.len() as u64;
        staged
    }

    /// Hashes the interned strings of a body.
    fn intern(&self, body: &[u8], symbols: &mut Symbols) -> Result<(), WriteError> {
        let limit = self.config.limits.symbols_per_request;
        for range in decode::v2::symbols(body) {
            let range = range?;
            if symbols.keys.len() >= limit {
                return Err(WriteError::TooManySymbols { limit });
            }
            if symbols.keys.is_empty() && !range.is_empty() {
                return Err(WriteError::FirstSymbol);
            }
            let key = self.hasher.key(&body[range.clone()]);
            symbols.push(&range, key);
        }
        Ok(())
    }

    #[inline]
    fn stage_all<R: LabelReader>(
        &mut self,
        request: &mut Request<'_>,
        mut all: SeriesIter<'_, R::Version>,
        reader: &mut R,
        gathered: &mut Vec<u8>,
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let mut size = Size::default();
        for series in all.by_ref() {
            let series = series?;
            size.add(&series, &self.config.limits)?;
            let block = match series.label_block() {
                Some(block) => block,
                None => {
                    self.stats.scattered_series += 1;
                    series.gather_labels(gathered)?;
                    &*gathered
                }
            };
            let key = reader.key(&self.hasher, block);
            let binding = match key {
                Some(key) => match self.tenants[request.tenant].table.find(key, request.now_seconds) {
                    Some(binding) => binding,
                    None => self.first_sight(request, key, reader.given(block), "")?,
                },
                None => Binding::Rejected(Rejection::MalformedLabel),
            };
            self.take(binding, series.samples(), series.sample_count(), bounds, receipt)?;
            if series.exemplar_count() + series.histogram_count() == 0 {
                continue;
            }
            if let Binding::Rejected(reason) = binding {
                receipt.rejected[reason as usize] += series.histogram_count() as u64;
                continue;
            }
            receipt.exemplars += series.exemplar_count() as u64;
            if let Some(key) = key
                && series.histogram_count() > 0
            {
                self.take_histograms(request, key, reader.given(block), series.histograms(), bounds, receipt)?;
            }
        }
        receipt.series = size.series;
        receipt.metadata = all.metadata() as u64;
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
        request: &mut Request<'_>,
        key: BlockKey,
        given: Given<'_>,
        histograms: HistogramIter<'_>,
        bounds: Bounds,
        receipt: &mut Receipt,
    ) -> Result<(), WriteError> {
        let mut bindings = [Binding::Ignored; 2];
        for (part, binding) in bindings.iter_mut().enumerate() {
            let key = key.derived(part as u8);
            *binding = match self.tenants[request.tenant].table.find(key, request.now_seconds) {
                Some(known) => known,
                None => self.first_sight(request, key, given, PARTS[part])?,
            };
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
