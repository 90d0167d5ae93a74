//! Messages of a protobuf scrape: `io.prometheus.client.MetricFamily`, each after its length.
//!
//! Only what a program that exposes counters, gauges and histograms needs, by field numbers of
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>. A
//! histogram may carry classic buckets and native ones (schema, spans, deltas); the scraper chooses.

use crate::v1::BucketSpan;

/// `Content-Type` of a page of these messages.
pub const CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A metric with all its label sets.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricFamily {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Help text.
    #[prost(string, tag = "2")]
    pub help: String,
    /// Type.
    #[prost(enumeration = "MetricType", tag = "3")]
    pub r#type: i32,
    /// One per label set.
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum MetricType {
    /// Counter.
    Counter = 0,
    /// Gauge.
    Gauge = 1,
    /// Histogram.
    Histogram = 4,
}

/// One label set with its value, by the family's type.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metric {
    /// Labels.
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    /// Of a gauge.
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Number>,
    /// Of a counter.
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Number>,
    /// Of a histogram.
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

/// A label.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LabelPair {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Value of a gauge or counter.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Number {
    /// The number.
    #[prost(double, tag = "1")]
    pub value: f64,
}

/// A histogram, classic and perhaps native.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Histogram {
    /// Observations.
    #[prost(uint64, tag = "1")]
    pub sample_count: u64,
    /// Their sum.
    #[prost(double, tag = "2")]
    pub sample_sum: f64,
    /// Classic buckets.
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    /// Native: bounds are powers of 2 to the 2 to the minus this.
    #[prost(sint32, tag = "5")]
    pub schema: i32,
    /// Native: breadth of the zero bucket; positive in every native histogram.
    #[prost(double, tag = "6")]
    pub zero_threshold: f64,
    /// Native: observations in the zero bucket.
    #[prost(uint64, tag = "7")]
    pub zero_count: u64,
    /// Native: runs of buckets.
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<BucketSpan>,
    /// Native: counts of buckets, each less the one before.
    #[prost(sint64, repeated, tag = "13")]
    pub positive_delta: Vec<i64>,
}

/// A classic bucket.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Bucket {
    /// Observations up to the bound.
    #[prost(uint64, tag = "1")]
    pub cumulative_count: u64,
    /// The bound.
    #[prost(double, tag = "2")]
    pub upper_bound: f64,
}
