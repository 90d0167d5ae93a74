//! Behaviour of the decoder beside prost's.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{v1, v2};

#[derive(Debug, PartialEq)]
struct Decoded {
    refs: Vec<u64>,
    samples: Vec<(i64, u64)>,
    histograms: Vec<(i64, u64, u64, bool)>,
    exemplars: usize,
    metadata: bool,
}

fn decode_all(body: &[u8]) -> Result<(Vec<Vec<u8>>, Vec<Decoded>), DecodeError> {
    let table = symbols(body).map(|range| range.map(|range| body[range].to_vec())).collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for series in series(body) {
        let series = series?;
        let mut gathered = Vec::new();
        series.gather_labels(&mut gathered)?;
        let references = refs(&gathered).collect::<Result<Vec<_>, _>>()?;
        if let Some(direct) = series.label_block() {
            assert_eq!(refs(direct).collect::<Result<Vec<_>, _>>()?, references);
        }
        let samples = series.samples().map(|sample| sample.map(|s| (s.timestamp_ms, s.value.to_bits())));
        let histograms = series
            .histograms()
            .map(|histogram| histogram.map(|h| (h.timestamp_ms, h.count.to_bits(), h.sum.to_bits(), h.gauge)));
        all.push(Decoded {
            refs: references,
            samples: samples.collect::<Result<_, _>>()?,
            histograms: histograms.collect::<Result<_, _>>()?,
            exemplars: series.exemplar_count(),
            metadata: series.has_metadata(),
        });
    }
    Ok((table, all))
}

fn of_message(message: &v2::Request) -> (Vec<Vec<u8>>, Vec<Decoded>) {
    let histogram = |histogram: &v2::Histogram| {
        let count = match histogram.count {
            None => 0.0,
            Some(v1::histogram::Count::Int(count)) => count as f64,
            Some(v1::histogram::Count::Float(count)) => count,
        };
        (histogram.timestamp, count.to_bits(), histogram.sum.to_bits(), histogram.reset_hint == 3)
    };
    let series = message.timeseries.iter().map(|series| Decoded {
        refs: series.labels_refs.iter().map(|&reference| reference.into()).collect(),
        samples: series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits())).collect(),
        histograms: series.histograms.iter().map(histogram).collect(),
        exemplars: series.exemplars.len(),
        metadata: series.metadata.is_some(),
    });
    (message.symbols.iter().map(|symbol| symbol.clone().into_bytes()).collect(), series.collect())
}

fn message() -> impl Strategy<Value = v2::Request> {
    let sample = (any::<u64>(), any::<i64>(), any::<i64>()).prop_map(|(value, timestamp, start_timestamp)| {
        v2::Sample { value: f64::from_bits(value), timestamp, start_timestamp }
    });
    let histogram = (any::<u64>(), any::<f64>().prop_map(|sum| sum + 0.0), any::<i64>(), 0..5_i32, any::<bool>())
        .prop_map(|(count, sum, timestamp, reset_hint, float)| v2::Histogram {
            count: Some(if float {
                v1::histogram::Count::Float(count as f64 / 2.0)
            } else {
                v1::histogram::Count::Int(count)
            }),
            sum,
            timestamp,
            reset_hint,
            positive_deltas: vec![1, -2],
            ..Default::default()
        });
    let exemplar = any::<i64>().prop_map(|timestamp| v2::Exemplar { labels_refs: vec![1, 2], value: 1.0, timestamp });
    let metadata = any::<u32>().prop_map(|help_ref| v2::Metadata { help_ref, ..Default::default() });
    let series = (
        proptest::collection::vec(any::<u32>(), 0..8),
        proptest::collection::vec(sample, 0..4),
        proptest::collection::vec(histogram, 0..3),
        proptest::collection::vec(exemplar, 0..2),
        proptest::option::of(metadata),
    )
        .prop_map(|(labels_refs, samples, histograms, exemplars, metadata)| v2::TimeSeries {
            labels_refs,
            samples,
            histograms,
            exemplars,
            metadata,
        });
    (proptest::collection::vec("\\PC{0,30}", 0..12), proptest::collection::vec(series, 0..5))
        .prop_map(|(symbols, timeseries)| v2::Request { symbols, timeseries })
}

proptest! {
    #[test]
    fn what_prost_encodes_is_decoded_equal(message in message()) {
        let body = message.encode_to_vec();
        prop_assert_eq!(decode_all(&body).unwrap(), of_message(&message));
    }

    /// Damaged bodies: whatever we accept, prost reads the same from it, or minds a string or bucket that we skip.
    #[test]
    fn a_damaged_body_is_refused_or_read_as_prost_reads_it(
        message in message(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut body = message.encode_to_vec();
        if body.is_empty() {
            return Ok(());
        }
        for (index, byte) in edits {
            let at = index.index(body.len());
            body[at] = byte;
        }
        body.truncate(cut.index(body.len()) + 1);
        if let (Ok(ours), Ok(theirs)) = (decode_all(&body), v2::Request::decode(&body[..])) {
            let theirs = of_message(&theirs);
            // prost cuts a reference of more than 32 bits short; to us it is beyond every table.
            if ours.1.iter().flat_map(|series| &series.refs).all(|&reference| u32::try_from(reference).is_ok()) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }

    #[test]
    fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode_all(&body);
    }
}

fn bytes_field(field: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![field << 3 | 2];
    put_varint(&mut message, content.len() as u64);
    message.extend_from_slice(content);
    message
}

#[test]
fn references_that_are_not_packed_or_in_pieces_are_gathered() {
    let packed = bytes_field(1, &[1, 2]);
    let pieces = [packed.clone(), bytes_field(1, &[3, 4])].concat();
    let single = [0x08, 1, 0x08, 2, 0x08, 3, 0x08, 4];
    for message in [&pieces[..], &single, &[&packed[..], &single[4..]].concat()] {
        let body = bytes_field(5, message);
        let series = series(&body).next().unwrap().unwrap();
        assert_eq!(series.label_block(), None);
        let mut gathered = vec![9];
        series.gather_labels(&mut gathered).unwrap();
        assert_eq!(gathered, [1, 2, 3, 4]);
    }
}

#[test]
fn a_table_after_or_between_the_series_is_whole() {
    let series_field = bytes_field(5, &bytes_field(1, &[1, 2]));
    let body = [bytes_field(4, b""), series_field.clone(), bytes_field(4, b"a"), series_field, bytes_field(4, b"b")];
    let (table, all) = decode_all(&body.concat()).unwrap();
    assert_eq!(table, [&b""[..], b"a", b"b"]);
    assert_eq!(all.len(), 2);
}

#[test]
fn start_times_are_taken_in_both_places_that_the_message_had() {
    let mut series = bytes_field(2, &[0x10, 5, 0x18, 4]);
    series.extend([0x30, 4]); // created_timestamp of earlier drafts
    let body = bytes_field(5, &series);
    assert_eq!(decode_all(&body).unwrap().1[0].samples, [(5, 0)]);
}
