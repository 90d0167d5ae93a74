//! What a request came to.

use quoll_prometheus_protocol::decode::DecodeError;
use quoll_prometheus_protocol::snappy::SnappyError;
use thiserror::Error;

use crate::log::LogError;
use crate::stats::Rejection;

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
    /// Native histogram samples, which are not read yet.
    pub histograms: u64,
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
    /// The body is not a write request.
    #[error("malformed write request: {0}")]
    Decode(#[from] DecodeError),
    /// More series in one request than allowed.
    #[error("request holds more than the allowed {limit} series")]
    TooManySeries {
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
    /// The samples could not be made durable; the sender should come back later.
    #[error(transparent)]
    Log(#[from] LogError),
}
