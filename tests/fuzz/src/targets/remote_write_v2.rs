//! Decompressed bodies of remote write 2.0: as 1.0, with interned strings.

use prost::Message;
use quoll_ingest::Body;
use quoll_prometheus_protocol::decode::{self, DecodeError};
use quoll_prometheus_protocol::{v1, v2};

use super::receiving::{self, NOW_MS, SERIES};
use crate::{Shape, Target};

/// The target.
pub const TARGET: Target = Target { name: "remote_write_v2", shape: Shape::Message, run, seeds };

/// References, then times and bits of samples.
type Series = (Vec<u64>, Vec<(i64, u64)>);

fn ours(body: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<Series>), DecodeError> {
    let symbols = decode::v2::symbols(body).map(|range| range.map(|range| body[range].to_vec()));
    let symbols = symbols.collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    let mut gathered = Vec::new();
    for series in decode::v2::series(body) {
        let series = series?;
        series.gather_labels(&mut gathered)?;
        let references = decode::v2::refs(&gathered).collect::<Result<Vec<_>, _>>()?;
        if let Some(direct) = series.label_block() {
            assert_eq!(decode::v2::refs(direct).flatten().collect::<Vec<_>>(), references);
        }
        let samples = series.samples().map(|sample| sample.map(|s| (s.timestamp_ms, s.value.to_bits())));
        all.push((references, samples.collect::<Result<_, _>>()?));
        series.histograms().try_for_each(|histogram| histogram.map(drop))?;
    }
    Ok((symbols, all))
}

fn theirs(message: &v2::Request) -> (Vec<Vec<u8>>, Vec<Series>) {
    let series = message.timeseries.iter().map(|series| {
        let references = series.labels_refs.iter().map(|&reference| reference.into()).collect();
        let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect();
        (references, samples)
    });
    (message.symbols.iter().map(|symbol| symbol.clone().into_bytes()).collect(), series.collect())
}

/// Reads a body.
pub fn run(input: &[u8]) {
    if let (Ok(ours), Ok(message)) = (ours(input), v2::Request::decode(input)) {
        // prost cuts a reference of more than 32 bits short; to us it is beyond every table.
        if ours.1.iter().flat_map(|(references, _)| references).all(|&reference| u32::try_from(reference).is_ok()) {
            assert_eq!(ours, theirs(&message));
        }
    }
    receiving::check(Body::V2(input));
}

/// Bodies as senders write them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let mut symbols = vec![String::new()];
    let mut reference = |text: &str| {
        let known = symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            symbols.push(text.to_owned());
            symbols.len() - 1
        });
        known as u32
    };
    let mut timeseries: Vec<v2::TimeSeries> = SERIES
        .iter()
        .map(|labels| v2::TimeSeries {
            labels_refs: labels.iter().flat_map(|(name, value)| [reference(name), reference(value)]).collect(),
            samples: (0..3)
                .map(|at| v2::Sample {
                    value: at as f64,
                    timestamp: NOW_MS + at * 40_000 - 80_000,
                    start_timestamp: NOW_MS - 100_000,
                })
                .collect(),
            metadata: Some(v2::Metadata { r#type: v1::MetricType::Gauge as i32, help_ref: 1, unit_ref: 0 }),
            ..Default::default()
        })
        .collect();
    timeseries[3].histograms.push(v2::Histogram {
        count: Some(v1::histogram::Count::Float(3.0)),
        sum: 4.5,
        timestamp: NOW_MS,
        ..Default::default()
    });
    timeseries[3].exemplars.push(v2::Exemplar { labels_refs: vec![1, 2], value: 1.0, timestamp: NOW_MS });
    let some = v2::Request { symbols: symbols.clone(), timeseries: timeseries[..3].to_vec() };
    let all = v2::Request { symbols: symbols.clone(), timeseries };
    // The table after the series, in which the references are not packed.
    let mut late = vec![0x2a, 4, 0x08, 1, 0x08, 2];
    late.extend(v2::Request { symbols, timeseries: Vec::new() }.encode_to_vec());
    vec![Vec::new(), vec![0x22, 0], some.encode_to_vec(), all.encode_to_vec(), late]
}
