//! Prometheus remote write, as bytes.
//!
//! - [`v1`], [`v2`]: the protobuf messages of remote write 1.0 (`prometheus.WriteRequest`) and 2.0
//!   (`io.prometheus.write.v2.Request`), for encoding and as the oracle of the decoder's tests.
//! - [`decode`], [`decode::v2`]: borrowed decoders of 1.0 and 2.0 bodies that allocate nothing.
//! - [`encode`], [`encode_v2`]: encoders of 1.0 and 2.0 bodies that go straight to bytes.
//! - [`exposition`]: the messages of a protobuf scrape.
//! - [`snappy`]: the block format, with the declared length checked before any memory is taken.
//! - [`zstd`]: what vmagent sends, decoded within a bound.
//! - [`staleness`]: the marker by which Prometheus says that a series has ended.
//!
//! Nothing here does I/O, reads a clock or panics on input: every malformed byte is a typed error.
//!
//! Specifications: <https://prometheus.io/docs/specs/prw/remote_write_spec/> and
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod decode;
pub mod encode;
pub mod encode_v2;
pub mod exposition;
pub mod snappy;
pub mod staleness;
pub mod v1;
pub mod v2;
mod wire;
pub mod zstd;

/// `Content-Type` of remote write 1.0. A sender may leave the parameter out.
pub const CONTENT_TYPE_V1: &str = "application/x-protobuf";
/// Value of the `X-Prometheus-Remote-Write-Version` header of remote write 1.0.
pub const VERSION_V1: &str = "0.1.0";
/// The `proto` parameter of the content type that names remote write 1.0.
pub const PROTO_V1: &str = "prometheus.WriteRequest";
/// The `proto` parameter of the content type that names remote write 2.0.
pub const PROTO_V2: &str = "io.prometheus.write.v2.Request";
/// `Content-Type` of remote write 2.0.
pub const CONTENT_TYPE_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
/// Value of the `X-Prometheus-Remote-Write-Version` header of remote write 2.0.
pub const VERSION_V2: &str = "2.0.0";
/// Header in which a receiver of remote write 2.0 says how many samples it has written.
pub const SAMPLES_WRITTEN: &str = "X-Prometheus-Remote-Write-Samples-Written";
/// Header in which a receiver of remote write 2.0 says how many native histograms it has written.
pub const HISTOGRAMS_WRITTEN: &str = "X-Prometheus-Remote-Write-Histograms-Written";
/// Header in which a receiver of remote write 2.0 says how many exemplars it has written.
pub const EXEMPLARS_WRITTEN: &str = "X-Prometheus-Remote-Write-Exemplars-Written";
