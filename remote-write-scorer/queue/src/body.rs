//! Request bodies: from series to snappy-compressed messages of remote write 1.0 or 2.0, and apart again.
//!
//! Equal series give equal bytes, so a body that is made anew in the other version is also the same each
//! time.

use prost::Message;
use quoll_prometheus_protocol::encode::WriteRequestEncoder;
use quoll_prometheus_protocol::encode_v2::RequestEncoder;
use quoll_prometheus_protocol::{snappy, v1, v2};

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

/// Version of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
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

/// Adds the labels that the series does not have.
fn complete(series: &mut OutSeries, external: &[(String, String)]) {
    for (name, value) in external {
        if !series.labels.iter().any(|(own, _)| own == name) {
            series.labels.push((name.clone(), value.clone()));
        }
    }
}

/// A batch on its way into the queue. It is encoded part by part, so that the labels of a large one never lie in
/// memory all at once.
#[derive(Debug)]
pub struct Batch<'a> {
    external: &'a [(String, String)],
    /// Samples in one body.
    most: usize,
    version: Version,
    part: Vec<OutSeries>,
    bodies: Vec<Body>,
    samples: u64,
    failed: Option<QueueError>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(external: &'a [(String, String)], most: usize, version: Version) -> Self {
        Self { external, most: most.max(1), version, part: Vec::new(), bodies: Vec::new(), samples: 0, failed: None }
    }

    /// Adds a series, completed by the external labels. An impossible one refuses the whole batch when it is to be
    /// queued.
    pub fn push(&mut self, mut series: OutSeries) {
        if self.failed.is_some() {
            return;
        }
        complete(&mut series, self.external);
        if let Err(error) = checked(&mut series) {
            self.failed = Some(error);
            return;
        }
        self.samples += 1;
        self.part.push(series);
        if self.part.len() >= self.most {
            self.end_part();
        }
    }

    fn end_part(&mut self) {
        match encode_part(&self.part, self.version) {
            Ok(body) => self.bodies.push(body),
            Err(error) => self.failed = Some(error),
        }
        self.part.clear();
    }

    /// Samples pushed so far.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The bodies, of at most so many samples each. All or nothing: one impossible series refuses them all.
    pub(crate) fn finish(mut self) -> Result<Vec<Body>, QueueError> {
        if !self.part.is_empty() {
            self.end_part();
        }
        self.failed.map_or(Ok(self.bodies), Err)
    }
}

/// Encodes series whose labels are as they must be.
pub(crate) fn encode_part(part: &[OutSeries], version: Version) -> Result<Body, QueueError> {
    let bytes = match version {
        Version::V1 => {
            let mut encoder = WriteRequestEncoder::new();
            for series in part {
                encoder.push(&series.labels, &[(series.timestamp_ms, series.value)]);
            }
            encoder.finish()
        }
        Version::V2 => {
            let mut encoder = RequestEncoder::new();
            for series in part {
                encoder.push(&series.labels, &[(series.timestamp_ms, series.value)], v1::MetricType::Gauge);
            }
            encoder.finish()
        }
    };
    let newest_ms = part.iter().map(|series| series.timestamp_ms).max().unwrap_or(i64::MIN);
    let samples = u32::try_from(part.len()).unwrap_or(u32::MAX);
    let too_large = |_| QueueError::TooLarge { bytes: bytes.len() as u64, limit: u64::from(u32::MAX) };
    Ok(Body { bytes: snappy::compress(&bytes).map_err(too_large)?, newest_ms, samples })
}

/// The body in this version: itself where it is, made anew where it is not; `None` for bytes that are no
/// body of ours.
pub(crate) fn as_version(body: &[u8], version: Version) -> Option<std::borrow::Cow<'_, [u8]>> {
    let mut buffer = Vec::new();
    let bytes = snappy::decompress(body, &mut buffer, crate::log::MAX_BODY).ok()?;
    if version_of(bytes) == version {
        return Some(body.into());
    }
    let series = decode(body)?;
    Some(encode_part(&series, version).ok()?.bytes.into())
}

/// A request of 2.0 begins with its symbols, field 4; one of 1.0 with its series, field 1.
fn version_of(bytes: &[u8]) -> Version {
    if bytes.first() == Some(&0x22) { Version::V2 } else { Version::V1 }
}

/// The samples of a body, one entry per sample in the order in which they are in it; `None` for bytes
/// that are no body of ours.
pub(crate) fn decode(body: &[u8]) -> Option<Vec<OutSeries>> {
    let mut buffer = Vec::new();
    let bytes = snappy::decompress(body, &mut buffer, crate::log::MAX_BODY).ok()?;
    let mut all = Vec::new();
    if version_of(bytes) == Version::V1 {
        for series in v1::WriteRequest::decode(bytes).ok()?.timeseries {
            let labels: Vec<_> = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
            let samples = series.samples.iter();
            all.extend(samples.map(|at| OutSeries {
                labels: labels.clone(),
                timestamp_ms: at.timestamp,
                value: at.value,
            }));
        }
        return Some(all);
    }
    let request = v2::Request::decode(bytes).ok()?;
    let symbol = |index: &u32| request.symbols.get(*index as usize).cloned();
    for series in &request.timeseries {
        let pair = |pair: &[u32]| Some((symbol(pair.first()?)?, symbol(pair.get(1)?)?));
        let labels: Vec<_> = series.labels_refs.chunks(2).map(pair).collect::<Option<_>>()?;
        let samples = series.samples.iter();
        all.extend(samples.map(|at| OutSeries { labels: labels.clone(), timestamp_ms: at.timestamp, value: at.value }));
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(
        all: &[OutSeries],
        external: &[(String, String)],
        most: usize,
        version: Version,
    ) -> Result<Vec<Body>, QueueError> {
        let mut batch = Batch::new(external, most, version);
        all.iter().for_each(|series| batch.push(series.clone()));
        batch.finish()
    }

    fn series(labels: &[(&str, &str)], value: f64) -> OutSeries {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OutSeries { labels, timestamp_ms: 1_700_000_000_000, value }
    }

    #[test]
    fn a_body_comes_apart_as_it_was_put_together_in_either_version() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let batch = vec![
            series(&[("__name__", "a"), ("x", "é\"\n")], 1.5),
            series(&[("__name__", "b")], stale),
            series(&[("__name__", "c")], -0.0),
        ];
        let bits = |all: &[OutSeries]| -> Vec<_> {
            all.iter().map(|s| (s.labels.clone(), s.timestamp_ms, s.value.to_bits())).collect()
        };
        for version in [Version::V1, Version::V2] {
            let bodies = encode(&batch, &[], 2, version).unwrap();
            assert_eq!(bodies.iter().map(|body| body.samples).collect::<Vec<_>>(), [2, 1]);
            let back: Vec<OutSeries> = bodies.iter().flat_map(|body| decode(&body.bytes).unwrap()).collect();
            assert_eq!(bits(&back), bits(&batch));
        }
    }

    #[test]
    fn a_body_made_anew_in_the_other_version_is_the_one_made_directly() {
        let batch = vec![series(&[("__name__", "a"), ("x", "1")], 1.5), series(&[("__name__", "b")], -0.0)];
        let [one, two] = [Version::V1, Version::V2].map(|version| encode(&batch, &[], 9, version).unwrap());
        assert_ne!(one[0].bytes, two[0].bytes);
        for (from, version, to) in
            [(&one, Version::V2, &two), (&two, Version::V1, &one), (&one, Version::V1, &one), (&two, Version::V2, &two)]
        {
            assert_eq!(as_version(&from[0].bytes, version).unwrap(), to[0].bytes);
        }
        assert!(as_version(b"nonsense", Version::V1).is_none());
    }

    #[test]
    fn labels_are_sorted_and_empty_ones_left_out_and_external_ones_fill_gaps() {
        let batch = vec![series(&[("b", "2"), ("a", ""), ("__name__", "m")], 1.0)];
        let external = [("b".to_owned(), "9".to_owned()), ("c".to_owned(), "3".to_owned())];
        let bodies = encode(&batch, &external, 10, Version::V1).unwrap();
        let back = decode(&bodies[0].bytes).unwrap();
        assert_eq!(back[0].labels, series(&[("__name__", "m"), ("b", "2"), ("c", "3")], 1.0).labels);
    }

    #[test]
    fn impossible_labels_are_refused_with_the_series_named() {
        for labels in [&[("a", "1")][..], &[("__name__", "m"), ("a", "1"), ("a", "2")], &[("", "x"), ("__name__", "m")]]
        {
            let error = encode(&[series(labels, 1.0)], &[], 10, Version::V2).unwrap_err();
            assert!(matches!(error, QueueError::Labels { .. }), "{error}");
        }
    }
}
