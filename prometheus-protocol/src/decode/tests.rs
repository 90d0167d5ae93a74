//! Behaviour of the decoder beside prost's, on well-formed, oddly formed and malformed bodies.

use super::*;
use crate::v1;
use proptest::prelude::*;
use prost::Message;

type Decoded = Vec<(Vec<(String, String)>, Vec<(i64, u64)>)>;

/// Decodes a whole body the slow way, taking every label and sample apart.
fn decode_all(body: &[u8]) -> Result<Decoded, DecodeError> {
    let mut decoded = Vec::new();
    for series in series(body) {
        let series = series?;
        let mut gathered = Vec::new();
        series.gather_labels(&mut gathered)?;
        if let Some(block) = series.label_block() {
            let direct = labels(block).collect::<Result<Vec<_>, _>>()?;
            assert_eq!(direct, labels(&gathered).collect::<Result<Vec<_>, _>>()?);
        }
        let labels = labels(&gathered).map(|label| label.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let labels: Vec<_> = labels.collect::<Result<_, _>>()?;
        let samples = series.samples().map(|sample| sample.map(|s| (s.timestamp_ms, s.value.to_bits())));
        decoded.push((labels, samples.collect::<Result<_, _>>()?));
    }
    Ok(decoded)
}

fn of_message(message: &v1::WriteRequest) -> Decoded {
    let series = message.timeseries.iter();
    series
        .map(|series| {
            let labels = series.labels.iter().map(|label| (label.name.clone(), label.value.clone()));
            let samples = series.samples.iter().map(|sample| (sample.timestamp, sample.value.to_bits()));
            (labels.collect(), samples.collect())
        })
        .collect()
}

fn message() -> impl Strategy<Value = v1::WriteRequest> {
    let label = ("[a-zA-Z_]{0,12}", "\\PC{0,40}").prop_map(|(name, value)| v1::Label { name, value });
    let sample =
        (any::<u64>(), any::<i64>()).prop_map(|(v, timestamp)| v1::Sample { value: f64::from_bits(v), timestamp });
    let exemplar = (any::<f64>(), any::<i64>()).prop_map(|(value, timestamp)| v1::Exemplar {
        labels: Vec::new(),
        value,
        timestamp,
    });
    let histogram = any::<i64>().prop_map(|timestamp| v1::Histogram {
        count: Some(v1::histogram::Count::Int(3)),
        positive_deltas: vec![1, -2],
        timestamp,
        ..Default::default()
    });
    let series = (
        proptest::collection::vec(label, 0..8),
        proptest::collection::vec(sample, 0..5),
        proptest::collection::vec(exemplar, 0..2),
        proptest::collection::vec(histogram, 0..2),
    )
        .prop_map(|(labels, samples, exemplars, histograms)| v1::TimeSeries {
            labels,
            samples,
            exemplars,
            histograms,
        });
    let metadata = any::<String>().prop_map(|help| v1::MetricMetadata { help, ..Default::default() });
    (proptest::collection::vec(series, 0..5), proptest::collection::vec(metadata, 0..3))
        .prop_map(|(timeseries, metadata)| v1::WriteRequest { timeseries, metadata })
}

proptest! {
    #[test]
    fn what_prost_encodes_is_decoded_equal(message in message()) {
        let body = message.encode_to_vec();
        prop_assert_eq!(decode_all(&body).unwrap(), of_message(&message));
        let mut walk = series(&body);
        let (exemplars, histograms) =
            walk.by_ref().map(Result::unwrap).fold((0, 0), |(e, h), s| (e + s.exemplar_count(), h + s.histogram_count()));
        prop_assert_eq!(walk.metadata(), message.metadata.len());
        prop_assert_eq!(exemplars, message.timeseries.iter().map(|s| s.exemplars.len()).sum::<usize>());
        prop_assert_eq!(histograms, message.timeseries.iter().map(|s| s.histograms.len()).sum::<usize>());
    }

    /// Damaged bodies: whatever we accept, prost reads the same from it.
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
        if let (Ok(ours), Ok(theirs)) = (decode_all(&body), v1::WriteRequest::decode(&body[..])) {
            prop_assert_eq!(ours, of_message(&theirs));
        }
    }

    #[test]
    fn noise_never_panics(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode_all(&body);
    }
}

/// A length-delimited field.
fn bytes_field(field: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![field << 3 | 2];
    put_varint(&mut message, content.len() as u64);
    message.extend_from_slice(content);
    message
}

fn label_message(name: &str, value: &str) -> Vec<u8> {
    v1::Label { name: name.into(), value: value.into() }.encode_to_vec()
}

fn sample_message(timestamp: i64, value: f64) -> Vec<u8> {
    v1::Sample { value, timestamp }.encode_to_vec()
}

#[test]
fn labels_between_samples_are_gathered_to_the_block_they_would_have_been() {
    let (a, b) = (bytes_field(1, &label_message("__name__", "up")), bytes_field(1, &label_message("job", "x")));
    let (s, t) = (bytes_field(2, &sample_message(1, 1.0)), bytes_field(2, &sample_message(2, 2.0)));
    let scattered = bytes_field(1, &[a.clone(), s, b.clone(), t].concat());
    let found = series(&scattered).next().unwrap().unwrap();
    assert_eq!(found.label_block(), None);
    let mut block = vec![1, 2, 3];
    found.gather_labels(&mut block).unwrap();
    assert_eq!(block, [a, b].concat());
    assert_eq!(found.samples().map(|s| s.unwrap().timestamp_ms).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn labels_after_the_samples_are_still_one_block() {
    let (a, s) = (bytes_field(1, &label_message("__name__", "up")), bytes_field(2, &sample_message(1, 1.0)));
    let body = bytes_field(1, &[s, a.clone()].concat());
    let found = series(&body).next().unwrap().unwrap();
    assert_eq!(found.label_block(), Some(&a[..]));
    assert_eq!(found.samples().count(), 1);
}

#[test]
fn unknown_fields_are_skipped_at_every_level() {
    let mut sample = sample_message(5, 2.0);
    sample.extend([0x78, 1]); // field 15, varint
    let mut inner = [bytes_field(1, &label_message("__name__", "up")), bytes_field(2, &sample)].concat();
    inner.extend([0x7d, 1, 2, 3, 4]); // field 15, fixed32
    let mut body = bytes_field(1, &inner);
    body.extend([0x79, 1, 2, 3, 4, 5, 6, 7, 8]); // field 15, fixed64
    let decoded = decode_all(&body).unwrap();
    assert_eq!(decoded, [(vec![("__name__".into(), "up".into())], vec![(5, 2.0_f64.to_bits())])]);
}

#[test]
fn each_way_of_being_malformed_has_its_own_error() {
    let truncated = [0x0a];
    assert_eq!(decode_all(&truncated), Err(DecodeError::Truncated { offset: 1 }));
    let overrun = [0x0a, 9, 0];
    assert_eq!(decode_all(&overrun), Err(DecodeError::LengthOverrun { length: 9, remaining: 1, offset: 1 }));
    let wire = [0x08, 1];
    let expected = DecodeError::WireType { message: "WriteRequest", field: 1, found: WireType::Varint };
    assert_eq!(decode_all(&wire), Err(expected));
    let group = [0x0b];
    assert_eq!(decode_all(&group), Err(DecodeError::InvalidTag { key: 0x0b, offset: 0 }));
    let utf8 = bytes_field(1, &bytes_field(1, &bytes_field(1, &[0xff])));
    assert_eq!(decode_all(&utf8), Err(DecodeError::Utf8 { part: "name" }));
}

#[test]
fn the_staleness_marker_keeps_its_bits() {
    let marker = crate::staleness::stale_marker();
    let body = bytes_field(1, &bytes_field(2, &sample_message(1, marker)));
    let sample = series(&body).next().unwrap().unwrap().samples().next().unwrap().unwrap();
    assert!(crate::staleness::is_stale(sample.value));
}
