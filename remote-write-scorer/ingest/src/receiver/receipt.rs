//! What a request came to.

use quoll_prometheus_protocol::decode::DecodeError;
use quoll_prometheus_protocol::snappy::SnappyError;
use quoll_prometheus_protocol::zstd::ZstdError;
use thiserror::Error;

use crate::log::LogError;
use crate::stats::{Refusal, Rejection};

/// What became of a request that was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Samples that entered the windows.
    pub selected: u64,
    /// Samples of series that no rule selects.
    pub ignored: u64,
    /// Samples of replicas that are not elected.
    pub replica: u64,
    /// Samples rejected, by reason, in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::COUNT],
    /// Float samples accepted: selected, ignored, or of a replica that is not elected.
    pub samples: u64,
    /// Native histograms accepted.
    pub histograms: u64,
    /// Exemplars accepted, which are not kept.
    pub exemplars: u64,
    /// Series in the request.
    pub series: u64,
    /// Metadata entries in the request.
    pub metadata: u64,
}

impl Receipt {
    /// Reasons for which samples were rejected, with their number.
    pub fn rejections(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        Rejection::ALL.into_iter().zip(self.rejected).filter(|&(_, count)| count > 0)
    }
}

/// Why a request was not taken. It then changed nothing.
#[derive(Debug, Error)]
pub enum WriteError {
    /// Larger than allowed as sent.
    #[error("request of {bytes} bytes exceeds the limit of {limit}")]
    CompressedTooLarge {
        /// Bytes of the request.
        bytes: usize,
        /// Limit.
        limit: usize,
    },
    /// The body is not a snappy block within the limits.
    #[error(transparent)]
    Snappy(#[from] SnappyError),
    /// The body is not zstd within the limits.
    #[error(transparent)]
    Zstd(#[from] ZstdError),
    /// The first interned string is not the empty one, so that references mean something else.
    #[error("malformed write request: the first symbol must be the empty string")]
    FirstSymbol,
    /// The body is not a write request.
    #[error("malformed write request: {0}")]
    Decode(#[from] DecodeError),
    /// More series in one request than allowed.
    #[error("request holds more than the allowed {limit} series")]
    TooManySeries {
        /// Limit.
        limit: usize,
    },
    /// More samples in one request than allowed.
    #[error("request holds more than the allowed {limit} samples")]
    TooManySamples {
        /// Limit.
        limit: usize,
    },
    /// More interned strings in one request than allowed.
    #[error("request holds more than the allowed {limit} symbols")]
    TooManySymbols {
        /// Limit.
        limit: usize,
    },
    /// A tenant too many.
    #[error("more than the allowed {limit} tenants")]
    TooManyTenants {
        /// Limit.
        limit: usize,
    },
    /// A tenant sends faster than allowed; the sender should come back later.
    #[error("this tenant sends more than the allowed {limit} samples a second")]
    TenantRate {
        /// Limit.
        limit: u32,
    },
    /// All requests under way hold as much as they may; the sender should come back later.
    #[error("requests under way hold the allowed {limit} bytes")]
    InFlight {
        /// Limit.
        limit: usize,
    },
    /// Scoring lags behind; the sender should come back later.
    #[error("{pending} closed steps wait for scoring, the limit is {limit}")]
    Busy {
        /// Steps waiting.
        pending: usize,
        /// Limit.
        limit: usize,
    },
    /// It would close a step without the reports of a leaf that may still catch up; the sender should come back
    /// later.
    #[error("another leaf has yet to report the steps before this one")]
    WaitsForLeaf,
    /// The samples could not be made durable; the sender should come back later.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl WriteError {
    /// The reason under which it is counted.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::CompressedTooLarge { .. } => Refusal::CompressedBytes,
            Self::Snappy(SnappyError::TooLarge { .. }) | Self::Zstd(ZstdError::TooLarge { .. }) => {
                Refusal::DecodedBytes
            }
            Self::Snappy(_) | Self::Zstd(_) | Self::Decode(_) | Self::FirstSymbol => Refusal::Malformed,
            Self::TooManySeries { .. } => Refusal::Series,
            Self::TooManySamples { .. } => Refusal::Samples,
            Self::TooManySymbols { .. } => Refusal::Symbols,
            Self::TooManyTenants { .. } => Refusal::Tenants,
            Self::TenantRate { .. } => Refusal::TenantRate,
            Self::InFlight { .. } => Refusal::InFlight,
            Self::Busy { .. } => Refusal::Busy,
            Self::WaitsForLeaf => Refusal::WaitsForLeaf,
            Self::Log(_) => Refusal::Log,
        }
    }
}
