//! Request bodies: from series to snappy-compressed `prometheus.WriteRequest`s, and apart again.

use prost::Message;
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::{snappy, v1};

use crate::error::QueueError;

/// One sample of one series to be written to the peer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutSeries {
    /// Labels sorted by name, `__name__` included, no name twice. (Unsorted ones are sorted, empty ones,
    /// which mean absent, are left out.)
    pub labels: Vec<(String, String)>,
    /// Event time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The value; any `f64`, stale markers included.
    pub value: f64,
}

/// One request body and what the log has to know of it.
#[derive(Debug)]
pub(crate) struct Body {
    pub bytes: Vec<u8>,
    pub newest_ms: i64,
    pub samples: u32,
}

/// The series as `metric{a="b"}`, for messages.
pub(crate) fn display(labels: &[(String, String)]) -> String {
    let name = labels.iter().find(|(name, _)| name == "__name__").map_or("", |(_, value)| value);
    let others: Vec<String> =
        labels.iter().filter(|(name, _)| name != "__name__").map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{name}{{{}}}", others.join(","))
}

fn checked(series: &mut OutSeries) -> Result<(), QueueError> {
    series.labels.retain(|(_, value)| !value.is_empty());
    if !series.labels.is_sorted_by(|a, b| a.0 < b.0) {
        series.labels.sort();
    }
    let twice = series.labels.windows(2).any(|pair| pair[0].0 == pair[1].0);
    let reason = if twice {
        "a label occurs twice"
    } else if series.labels.iter().any(|(name, _)| name.is_empty()) {
        "a label has no name"
    } else if !series.labels.iter().any(|(name, _)| name == "__name__") {
        "it has no `__name__`"
    } else {
        return Ok(());
    };
    Err(QueueError::Labels { series: display(&series.labels), reason })
}

/// Encodes a batch into bodies of at most `most` samples. All or nothing: one impossible series refuses
/// the batch.
pub(crate) fn encode(batch: &mut [OutSeries], most: usize) -> Result<Vec<Body>, QueueError> {
    for series in &mut *batch {
        checked(series)?;
    }
    let mut encoder = WriteRequestEncoder::new();
    let mut bodies = Vec::with_capacity(batch.len().div_ceil(most.max(1)));
    for part in batch.chunks(most.max(1)) {
        encoder.clear();
        for series in part {
            encoder.push(&series.labels, &[(series.timestamp_ms, series.value)]);
        }
        let newest_ms = part.iter().map(|series| series.timestamp_ms).max().unwrap_or(i64::MIN);
        let samples = u32::try_from(part.len()).unwrap_or(u32::MAX);
        bodies.push(Body { bytes: compress(encoder.as_bytes())?, newest_ms, samples });
    }
    Ok(bodies)
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, QueueError> {
    let too_large = |_| QueueError::TooLarge { bytes: bytes.len() as u64, limit: u64::from(u32::MAX) };
    snappy::compress(bytes).map_err(too_large)
}

/// The samples of a body, one entry per sample in the order in which they are in it; `None` for bytes
/// that are no body of ours.
pub(crate) fn decode(body: &[u8]) -> Option<Vec<OutSeries>> {
    let mut buffer = Vec::new();
    let bytes = snappy::decompress(body, &mut buffer, crate::log::MAX_BODY).ok()?;
    let request = v1::WriteRequest::decode(bytes).ok()?;
    let mut all = Vec::with_capacity(request.timeseries.len());
    for series in request.timeseries {
        let labels: Vec<(String, String)> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
        for sample in series.samples {
            all.push(OutSeries { labels: labels.clone(), timestamp_ms: sample.timestamp, value: sample.value });
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[(&str, &str)], value: f64) -> OutSeries {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OutSeries { labels, timestamp_ms: 1_700_000_000_000, value }
    }

    #[test]
    fn a_body_comes_apart_as_it_was_put_together() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let mut batch = vec![
            series(&[("__name__", "a"), ("x", "é\"\n")], 1.5),
            series(&[("__name__", "b")], stale),
            series(&[("__name__", "c")], -0.0),
        ];
        let bodies = encode(&mut batch, 2).unwrap();
        assert_eq!(bodies.iter().map(|body| body.samples).collect::<Vec<_>>(), [2, 1]);
        let back: Vec<OutSeries> = bodies.iter().flat_map(|body| decode(&body.bytes).unwrap()).collect();
        let bits = |all: &[OutSeries]| -> Vec<_> {
            all.iter().map(|s| (s.labels.clone(), s.timestamp_ms, s.value.to_bits())).collect()
        };
        assert_eq!(bits(&back), bits(&batch));
    }

    #[test]
    fn labels_are_sorted_and_empty_ones_left_out() {
        let mut batch = vec![series(&[("b", "2"), ("a", ""), ("__name__", "m")], 1.0)];
        let bodies = encode(&mut batch, 10).unwrap();
        let back = decode(&bodies[0].bytes).unwrap();
        assert_eq!(back[0].labels, series(&[("__name__", "m"), ("b", "2")], 1.0).labels);
    }

    #[test]
    fn impossible_labels_are_refused_with_the_series_named() {
        for labels in [&[("a", "1")][..], &[("__name__", "m"), ("a", "1"), ("a", "2")], &[("", "x"), ("__name__", "m")]]
        {
            let error = encode(&mut [series(labels, 1.0)], 10).unwrap_err();
            assert!(matches!(error, QueueError::Labels { .. }), "{error}");
        }
    }
}
