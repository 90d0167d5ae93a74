//! Decompressed bodies of remote write 1.0.
//!
//! What our decoder accepts, prost reads the same from the same bytes, or minds a field that we skip; the receiver
//! takes a body wholly or not at all.

use prost::Message;
use quoll_ingest::Body;
use quoll_prometheus_protocol::decode::{self, DecodeError};
use quoll_prometheus_protocol::v1;

use super::receiving::{self, NOW_MS, SERIES};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "remote_write_v1", shape: Shape::Message, run, seeds };

/// Labels, then times and bits of samples.
type Series = (Vec<(String, String)>, Vec<(i64, u64)>);

fn ours(body: &[u8]) -> Result<Vec<Series>, DecodeError> {
    let mut all = Vec::new();
    let mut gathered = Vec::new();
    for series in decode::series(body) {
        let series = series?;
        series.gather_labels(&mut gathered)?;
        let labels = decode::labels(&gathered).map(|label| label.map(|(name, value)| (name.into(), value.into())));
        let labels = labels.collect::<Result<Vec<_>, _>>()?;
        if let Some(block) = series.label_block() {
            assert_eq!(decode::labels(block).flatten().count(), labels.len());
        }
        let samples = series.samples().map(|sample| sample.map(|s| (s.timestamp_ms, s.value.to_bits())));
        all.push((labels, samples.collect::<Result<_, _>>()?));
        series.histograms().try_for_each(|histogram| histogram.map(drop))?;
    }
    Ok(all)
}

fn theirs(message: &v1::WriteRequest) -> Vec<Series> {
    let labels = |series: &v1::TimeSeries| {
        series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect::<Vec<_>>()
    };
    let samples =
        |series: &v1::TimeSeries| series.samples.iter().map(|s| (s.timestamp, s.value.to_bits())).collect::<Vec<_>>();
    message.timeseries.iter().map(|series| (labels(series), samples(series))).collect()
}

/// Reads a body.
pub fn run(input: &[u8]) {
    if let (Ok(ours), Ok(message)) = (ours(input), v1::WriteRequest::decode(input)) {
        assert_eq!(ours, theirs(&message));
    }
    receiving::check(Body::V1(input));
}

/// Bodies as senders write them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let series = |labels: &[(&str, &str)], samples: i64| v1::TimeSeries {
        labels: labels.iter().map(|&(name, value)| v1::Label { name: name.into(), value: value.into() }).collect(),
        samples: (0..samples)
            .map(|at| v1::Sample { value: 1.5 * at as f64, timestamp: NOW_MS + at * 40_000 - 80_000 })
            .collect(),
        ..Default::default()
    };
    let mut rich = v1::WriteRequest {
        timeseries: SERIES.iter().map(|labels| series(labels, 2)).collect(),
        metadata: vec![v1::MetricMetadata { help: "what it is".into(), ..Default::default() }],
    };
    if let Some(native) = rich.timeseries.get_mut(3) {
        native.histograms.push(v1::Histogram {
            count: Some(v1::histogram::Count::Int(3)),
            sum: 4.5,
            positive_deltas: vec![1, -2],
            timestamp: NOW_MS,
            ..Default::default()
        });
        native.exemplars.push(v1::Exemplar { labels: Vec::new(), value: 1.0, timestamp: NOW_MS });
    }
    let plain = v1::WriteRequest { timeseries: vec![series(SERIES[0], 3)], metadata: Vec::new() };
    let pair = v1::WriteRequest { timeseries: vec![series(SERIES[1], 1), series(SERIES[2], 3)], metadata: Vec::new() };
    // Labels around a sample, as protobuf allows.
    let scattered = series(SERIES[0], 1).encode_to_vec();
    let scattered = [&scattered[..], &series(&[("z", "1")], 1).encode_to_vec()].concat();
    let mut message = vec![0x0a, scattered.len() as u8];
    message.extend(scattered);
    vec![Vec::new(), plain.encode_to_vec(), pair.encode_to_vec(), rich.encode_to_vec(), message]
}
