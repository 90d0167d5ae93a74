//! Messages of remote write 2.0: Prometheus `prompb/io/prometheus/write/v2/types.proto`.
//!
//! Strings are interned: a series names its labels by pairs of indices into [`Request::symbols`], whose
//! first entry is the empty string. Histograms have the layout of [`crate::v1::Histogram`].

pub use crate::v1::Histogram;

/// A batch of series over one table of strings. Fields 1 to 3 are reserved.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// Interned strings; the first is empty.
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    /// The series.
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<TimeSeries>,
}

/// One series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TimeSeries {
    /// Pairs of indices into the symbols: name, value, name, value.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Float samples.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histogram samples.
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    /// Exemplars.
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    /// Type, help text and unit.
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
}

/// A float sample.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Sample {
    /// Value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    /// When the counter started, in milliseconds since the Unix epoch; 0 if not known.
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// An exemplar.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Exemplar {
    /// Pairs of indices into the symbols.
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    /// Value.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

/// Type, help text and unit of a series.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Metadata {
    /// As [`crate::v1::MetricType`].
    #[prost(enumeration = "crate::v1::MetricType", tag = "1")]
    pub r#type: i32,
    /// Index of the help text.
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    /// Index of the unit.
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}
