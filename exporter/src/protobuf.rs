//! A page as protobuf messages, one per family, each after its length.
//!
//! A scraper that asks for it gets classic buckets and native ones of the same observations in one message. What is
//! summed under `other` has classic ones only.

use prost::Message;
use quoll_prometheus_protocol::exposition::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType, Number};
use quoll_prometheus_protocol::v1::BucketSpan;

use crate::exposition::{Kind, Labels, Samples, Value};
use crate::histogram::Native;

/// Whether an `Accept` header wants protobuf at least as much as text.
#[must_use]
pub fn is_wanted(accept: &str) -> bool {
    let (mut protobuf, mut text) = (0.0, 0.0_f64);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut quality, mut is_ours) = (1.0_f64, true);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => quality = value.trim().parse().unwrap_or(0.0),
                "proto" => is_ours &= value.trim() == "io.prometheus.client.MetricFamily",
                "encoding" => is_ours &= value.trim() == "delimited",
                _ => {}
            }
        }
        match kind {
            "application/vnd.google.protobuf" if is_ours => protobuf = quality,
            "text/plain" => text = text.max(quality),
            _ => {}
        }
    }
    protobuf > 0.0 && protobuf >= text
}

/// A family with its length before it; empty where it has no samples.
#[must_use]
pub fn family(family: Samples) -> Vec<u8> {
    if family.samples.is_empty() {
        return Vec::new();
    }
    let metric = family.metric;
    let r#type = match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram(_) => MetricType::Histogram,
    };
    let samples = family.samples.into_iter().map(|(labels, value)| sample(metric.kind, &labels, value));
    let message = MetricFamily {
        name: metric.name.to_owned(),
        help: metric.help.to_owned(),
        r#type: r#type.into(),
        metric: samples.collect(),
    };
    message.encode_length_delimited_to_vec()
}

fn sample(kind: Kind, labels: &Labels, value: Value) -> Metric {
    let label = labels.pairs().map(|(name, value)| LabelPair { name: name.to_owned(), value }).collect();
    let mut metric = Metric { label, ..Metric::default() };
    match (kind, value) {
        (Kind::Counter, Value::Number(value)) => metric.counter = Some(Number { value }),
        (_, Value::Number(value)) => metric.gauge = Some(Number { value }),
        (kind, Value::Histogram(counts, sum, native)) => {
            let bounds = if let Kind::Histogram(bounds) = kind { bounds } else { &[] };
            metric.histogram = Some(histogram(bounds, &counts, sum, native.as_deref()));
        }
    }
    metric
}

fn histogram(bounds: &[f64], counts: &[u64], sum: f64, native: Option<&Native>) -> Histogram {
    let mut total = 0;
    let buckets = counts.iter().enumerate().map(|(index, count)| {
        total += count;
        Bucket { cumulative_count: total, upper_bound: bounds.get(index).copied().unwrap_or(f64::INFINITY) }
    });
    let bucket = buckets.collect();
    let mut message = Histogram { sample_count: total, sample_sum: sum, bucket, ..Histogram::default() };
    let Some(native) = native else { return message };
    message.schema = native.scale.schema;
    message.zero_threshold = native.scale.zero_threshold;
    message.zero_count = native.zero;
    let (mut next, mut last) = (0, 0);
    for (index, count) in &native.buckets {
        let (index, count) = (i32::from(*index), *count as i64);
        match message.positive_span.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => message.positive_span.push(BucketSpan { offset: index - next, length: 1 }),
        }
        message.positive_delta.push(count - last);
        (next, last) = (index + 1, count);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::{Metric as Declared, Page};

    const HISTOGRAM: Declared =
        Declared { name: "quoll_d_seconds", help: "How long.", kind: Kind::Histogram(&[0.5, 2.0]), labels: "" };

    #[test]
    fn a_message_carries_classic_and_native_buckets_of_the_same_observations() {
        let mut page = Page::default().with_native();
        let mut observed = crate::histogram::Histogram::new(&[0.5, 2.0]);
        [0.0, 0.5, 1.0, 1.0, 2.0, 100.0].into_iter().for_each(|value| observed.observe(value));
        observed.write(&mut page.family(&HISTOGRAM), &Labels::new(&[("a", Some("x\"\\\n"))]));
        let bytes: Vec<u8> = page.into_families().flat_map(family).collect();
        let message = MetricFamily::decode_length_delimited(bytes.as_slice()).unwrap();
        assert_eq!((message.name.as_str(), message.r#type()), ("quoll_d_seconds", MetricType::Histogram));
        assert_eq!(message.metric[0].label[0].value, "x\"\\\n");
        let histogram = message.metric[0].histogram.as_ref().unwrap();
        let classic: Vec<u64> = histogram.bucket.iter().map(|bucket| bucket.cumulative_count).collect();
        assert_eq!((classic, histogram.sample_count), (vec![2, 5, 6], 6));
        // With schema 2, 2^k is the upper bound of bucket 4k: 0.5, 1 and 2 are in -4, 0 and 4; 100 in 27.
        let spans: Vec<(i32, u32)> = histogram.positive_span.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!(spans, [(-4, 1), (3, 1), (3, 1), (22, 1)]);
        assert_eq!((histogram.schema, histogram.zero_count), (2, 1));
        assert_eq!(histogram.positive_delta, [1, 1, -1, 0]);
    }

    #[test]
    fn protobuf_is_for_those_who_want_it() {
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert!(is_wanted(&format!("{protobuf},application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5")));
        assert!(!is_wanted(&format!("text/plain;version=0.0.4;q=0.6,{protobuf};q=0.2")));
        assert!(!is_wanted("application/vnd.google.protobuf;encoding=text"));
        assert!(!is_wanted("text/plain") && !is_wanted("*/*") && !is_wanted(""));
    }
}
