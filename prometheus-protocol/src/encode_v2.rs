//! Encodes remote write 2.0 bodies straight to bytes.
//!
//! Strings are interned in the order in which they first appear, the empty one first, as the specification
//! asks; so equal input gives equal bytes, and the bytes are those of prost (but for minus zero, whose sign
//! prost loses). Each series carries its type, which the specification wants of every sender; help and unit
//! are left out.

use std::collections::HashMap;

use crate::encode::{field, put_samples, samples_length};
use crate::v1::MetricType;
use crate::wire::{put_varint, varint_length};

/// Builds one `io.prometheus.write.v2.Request` over strings borrowed for `'a`.
#[derive(Debug, Clone)]
pub struct RequestEncoder<'a> {
    symbols: Vec<u8>,
    series: Vec<u8>,
    numbers: HashMap<&'a str, u32>,
    refs: Vec<u8>,
    count: usize,
}

impl Default for RequestEncoder<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> RequestEncoder<'a> {
    /// An empty request: the symbol of the empty string alone.
    #[must_use]
    pub fn new() -> Self {
        Self {
            symbols: vec![0x22, 0],
            series: Vec::new(),
            numbers: HashMap::from([("", 0)]),
            refs: Vec::new(),
            count: 0,
        }
    }

    /// Appends one series. Labels must be sorted by name and samples by time; this is not checked here.
    ///
    /// Samples are `(timestamp in milliseconds, value)`.
    pub fn push<N: AsRef<str>, V: AsRef<str>>(
        &mut self,
        labels: &'a [(N, V)],
        samples: &[(i64, f64)],
        kind: MetricType,
    ) {
        let mut refs = std::mem::take(&mut self.refs);
        refs.clear();
        for (name, value) in labels {
            put_varint(&mut refs, self.number(name.as_ref()).into());
            put_varint(&mut refs, self.number(value.as_ref()).into());
        }
        let kind = u64::try_from(kind as i32).unwrap_or(0);
        let kind_length = if kind == 0 { 0 } else { 1 + varint_length(kind) };
        let refs_length = if refs.is_empty() { 0 } else { field(refs.len()) };
        let body = &mut self.series;
        body.push(0x2a);
        put_varint(body, (refs_length + samples_length(samples) + field(kind_length)) as u64);
        if !refs.is_empty() {
            body.push(0x0a);
            put_varint(body, refs.len() as u64);
            body.extend_from_slice(&refs);
        }
        put_samples(body, samples);
        body.push(0x2a);
        put_varint(body, kind_length as u64);
        if kind != 0 {
            body.push(0x08);
            put_varint(body, kind);
        }
        self.refs = refs;
        self.count += 1;
    }

    /// The number of a string, given to it now if it is new.
    fn number(&mut self, text: &'a str) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        let symbols = &mut self.symbols;
        *self.numbers.entry(text).or_insert_with(|| {
            symbols.push(0x22);
            put_varint(symbols, text.len() as u64);
            symbols.extend_from_slice(text.as_bytes());
            next
        })
    }

    /// Number of series so far.
    #[must_use]
    pub fn series(&self) -> usize {
        self.count
    }

    /// The finished body, not compressed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.symbols.append(&mut self.series);
        self.symbols
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v2;
    use proptest::prelude::*;
    use prost::Message;

    type Series = (Vec<(String, String)>, Vec<(i64, f64)>);

    fn as_message(series: &[Series]) -> v2::Request {
        let mut symbols = vec![String::new()];
        let mut number = |text: &String| {
            let known = symbols.iter().position(|symbol| symbol == text);
            let index = known.unwrap_or_else(|| {
                symbols.push(text.clone());
                symbols.len() - 1
            });
            u32::try_from(index).unwrap()
        };
        let timeseries = series
            .iter()
            .map(|(labels, samples)| v2::TimeSeries {
                labels_refs: labels.iter().flat_map(|(name, value)| [number(name), number(value)]).collect(),
                samples: samples
                    .iter()
                    .map(|&(timestamp, value)| v2::Sample { value, timestamp, start_timestamp: 0 })
                    .collect(),
                metadata: Some(v2::Metadata { r#type: MetricType::Gauge as i32, help_ref: 0, unit_ref: 0 }),
                ..Default::default()
            })
            .collect();
        v2::Request { symbols, timeseries }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_prost(
            series in proptest::collection::vec(
                (
                    proptest::collection::vec(("[a-z_]{0,3}", "\\PC{0,200}"), 0..5),
                    proptest::collection::vec((any::<i64>(), any::<f64>().prop_map(|value| value + 0.0)), 0..4),
                ),
                0..6,
            )
        ) {
            let mut encoder = RequestEncoder::new();
            for (labels, samples) in &series {
                encoder.push(labels, samples, MetricType::Gauge);
            }
            prop_assert_eq!(encoder.series(), series.len());
            prop_assert_eq!(encoder.finish(), as_message(&series).encode_to_vec());
        }
    }

    #[test]
    fn minus_zero_keeps_its_sign_and_an_unknown_type_is_left_out() {
        let labels = [("__name__", "x")];
        let mut encoder = RequestEncoder::new();
        encoder.push(&labels, &[(1, -0.0)], MetricType::Unknown);
        let decoded = v2::Request::decode(&*encoder.finish()).unwrap();
        assert_eq!(decoded.symbols, ["", "__name__", "x"]);
        assert_eq!(decoded.timeseries[0].samples[0].value.to_bits(), (-0.0_f64).to_bits());
        assert_eq!(decoded.timeseries[0].metadata.unwrap().r#type, 0);
    }
}
