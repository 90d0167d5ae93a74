//! Prometheus remote write and metric exposition messages, with an allocation-free decoder.
