//! Decoders that own what they decode, with a hash look-up of the labels and the same windows behind them.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::HashMap;
use prost::Message;
use quoll_features::{FeatureSet, ScopeWindows, SeriesRef};
use quoll_ingest::Format;
use quoll_prometheus_protocol::v1;

use super::stream::Stream;
use super::{Timed, drive};

/// What a decoder hands over of one series: its labels, then times and values of its samples.
type Take<'a> = dyn FnMut(&[(&str, &str)], &mut dyn Iterator<Item = (i64, f64)>) + 'a;

/// A decoder of 1.0.
#[derive(Clone, Copy)]
pub struct Decoder {
    /// What is shown.
    pub name: &'static str,
    /// Our rate over its.
    pub figure: &'static str,
    decode: fn(&[u8], &mut Take<'_>) -> anyhow::Result<()>,
}

/// All of them.
pub const ALL: [Decoder; 2] = [
    Decoder { name: "prost + hash look-up + the same windows, no log", figure: "v1_ratio_vs_prost", decode: by_prost },
    Decoder {
        name: "the crate prometheus_remote_write + the same, no log",
        figure: "v1_ratio_vs_prometheus_remote_write",
        decode: by_the_crate,
    },
];

fn by_prost(body: &[u8], take: &mut Take<'_>) -> anyhow::Result<()> {
    for series in &v1::WriteRequest::decode(body)?.timeseries {
        let labels: Vec<_> = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        take(&labels, &mut series.samples.iter().map(|sample| (sample.timestamp, sample.value)));
    }
    Ok(())
}

fn by_the_crate(body: &[u8], take: &mut Take<'_>) -> anyhow::Result<()> {
    use prost_of_the_crate::Message;
    for series in &prometheus_remote_write::WriteRequest::decode(body)?.timeseries {
        let labels: Vec<_> = series.labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
        take(&labels, &mut series.samples.iter().map(|sample| (sample.timestamp, sample.value)));
    }
    Ok(())
}

/// Runs a stream through a decoder.
pub fn peer(decoder: Decoder, stream: &dyn Stream, set: &Arc<FeatureSet>) -> anyhow::Result<Timed> {
    let mut windows = ScopeWindows::new(Arc::clone(set), stream.interval_ms());
    let mut known: HashMap<u64, Option<SeriesRef>> = HashMap::new();
    let state = foldhash::fast::RandomState::default();
    let mut closed = Vec::new();
    drive(stream, Format::V1, |request| {
        let body = snap::raw::Decoder::new().decompress_vec(request)?;
        (decoder.decode)(&body, &mut |labels, samples| {
            let mut hasher = state.build_hasher();
            for (name, value) in labels {
                hasher.write(name.as_bytes());
                hasher.write(value.as_bytes());
            }
            let bound = *known.entry(hasher.finish()).or_insert_with(|| windows.bind(labels));
            if let Some(bound) = bound {
                for (timestamp_ms, value) in samples {
                    windows.push(bound, timestamp_ms, value);
                }
            }
        })?;
        windows.close(&mut closed);
        closed.clear();
        Ok(())
    })
}
