//! Encodes remote write 1.0 bodies straight to bytes.
//!
//! Fields equal to their protobuf default are left out, as every proto3 encoder does, so that the bytes are
//! those of prost and of Prometheus; only minus zero, whose sign prost loses, is written out. Equal input
//! gives equal bytes: a retry is byte-identical.

pub use crate::wire::put_varint;
use crate::wire::varint_length;

/// Builds one `prometheus.WriteRequest`.
#[derive(Debug, Default, Clone)]
pub struct WriteRequestEncoder {
    body: Vec<u8>,
    series: usize,
}

impl WriteRequestEncoder {
    /// An empty request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one series. Labels must be sorted by name and samples by time; this is not checked here.
    ///
    /// Samples are `(timestamp in milliseconds, value)`.
    pub fn push<N: AsRef<str>, V: AsRef<str>>(&mut self, labels: &[(N, V)], samples: &[(i64, f64)]) {
        let labels_length: usize =
            labels.iter().map(|(name, value)| field(label_length(name.as_ref(), value.as_ref()))).sum();
        let body = &mut self.body;
        body.push(0x0a);
        put_varint(body, (labels_length + samples_length(samples)) as u64);
        for (name, value) in labels {
            put_label(body, name.as_ref(), value.as_ref());
        }
        put_samples(body, samples);
        self.series += 1;
    }

    /// Number of series so far.
    #[must_use]
    pub fn series(&self) -> usize {
        self.series
    }

    /// The bytes so far, not compressed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.body
    }

    /// Empties the request and keeps its memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.series = 0;
    }

    /// The finished body, not compressed.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.body
    }
}

fn put_label(body: &mut Vec<u8>, name: &str, value: &str) {
    body.push(0x0a);
    put_varint(body, label_length(name, value) as u64);
    put_string(body, 0x0a, name);
    put_string(body, 0x12, value);
}

/// Bytes of these samples as field 2 of a series, of either version.
pub(crate) fn samples_length(samples: &[(i64, f64)]) -> usize {
    samples.iter().map(|&(time, value)| field(sample_length(time, value))).sum()
}

/// Appends samples as field 2 of a series, of either version.
pub(crate) fn put_samples(body: &mut Vec<u8>, samples: &[(i64, f64)]) {
    for &(time, value) in samples {
        body.push(0x12);
        put_varint(body, sample_length(time, value) as u64);
        if value.to_bits() != 0 {
            body.push(0x09);
            body.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        if time != 0 {
            body.push(0x10);
            put_varint(body, time.cast_unsigned());
        }
    }
}

/// Length of a length-delimited field with a one-byte tag.
pub(crate) fn field(length: usize) -> usize {
    1 + varint_length(length as u64) + length
}

fn string_length(text: &str) -> usize {
    if text.is_empty() { 0 } else { field(text.len()) }
}

fn label_length(name: &str, value: &str) -> usize {
    string_length(name) + string_length(value)
}

fn sample_length(time: i64, value: f64) -> usize {
    let value_length = if value.to_bits() == 0 { 0 } else { 9 };
    let time_length = if time == 0 { 0 } else { 1 + varint_length(time.cast_unsigned()) };
    value_length + time_length
}

fn put_string(body: &mut Vec<u8>, tag: u8, text: &str) {
    if !text.is_empty() {
        body.push(tag);
        put_varint(body, text.len() as u64);
        body.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use proptest::prelude::*;
    use prost::Message;

    type Series = (Vec<(String, String)>, Vec<(i64, f64)>);

    fn as_message(series: &[Series]) -> v1::WriteRequest {
        let timeseries = series
            .iter()
            .map(|(labels, samples)| v1::TimeSeries {
                labels: labels
                    .iter()
                    .map(|(name, value)| v1::Label { name: name.clone(), value: value.clone() })
                    .collect(),
                samples: samples.iter().map(|&(timestamp, value)| v1::Sample { value, timestamp }).collect(),
                ..Default::default()
            })
            .collect();
        v1::WriteRequest { timeseries, metadata: Vec::new() }
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_prost(
            series in proptest::collection::vec(
                (
                    proptest::collection::vec(("[a-z_]{0,9}", "\\PC{0,200}"), 0..5),
                    proptest::collection::vec((any::<i64>(), any::<f64>().prop_map(|value| value + 0.0)), 0..4),
                ),
                0..6,
            )
        ) {
            let mut encoder = WriteRequestEncoder::new();
            for (labels, samples) in &series {
                encoder.push(labels, samples);
            }
            prop_assert_eq!(encoder.series(), series.len());
            prop_assert_eq!(encoder.finish(), as_message(&series).encode_to_vec());
        }
    }

    #[test]
    fn minus_zero_keeps_its_sign() {
        let mut encoder = WriteRequestEncoder::new();
        encoder.push(&[("__name__", "x")], &[(1, -0.0)]);
        let decoded = v1::WriteRequest::decode(encoder.as_bytes()).unwrap();
        assert_eq!(decoded.timeseries[0].samples[0].value.to_bits(), (-0.0_f64).to_bits());
    }
}
