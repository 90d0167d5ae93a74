//! What the receiving side counted.

use quoll_shards::{AssemblyStats, LeafStatus};

use crate::scope::ScopeState;

/// Why a series or sample was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rejection {
    /// Further ahead of the wall clock than allowed.
    TooFarInFuture,
    /// Further behind the wall clock than allowed.
    TooOld,
    /// No `__name__`.
    NoName,
    /// A label without a name.
    EmptyLabelName,
    /// A label name twice.
    DuplicateLabel,
    /// A label that is not UTF-8, or otherwise malformed.
    MalformedLabel,
    /// More labels than allowed.
    TooManyLabels,
    /// A label name longer than allowed.
    LabelNameTooLong,
    /// A label value longer than allowed.
    LabelValueTooLong,
    /// More series than may be known at a time.
    SeriesLimit,
    /// More scopes than may be known at a time.
    ScopeLimit,
    /// More series of this tenant than may be known at a time.
    TenantSeriesLimit,
    /// More series, services or edges in this scope than may be known at a time.
    ScopeFull,
}

impl Rejection {
    /// Number of reasons.
    pub const COUNT: usize = 13;
    /// Every reason, in the order of [`IngestStats::rejected_samples`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::TooFarInFuture,
        Self::TooOld,
        Self::NoName,
        Self::EmptyLabelName,
        Self::DuplicateLabel,
        Self::MalformedLabel,
        Self::TooManyLabels,
        Self::LabelNameTooLong,
        Self::LabelValueTooLong,
        Self::SeriesLimit,
        Self::ScopeLimit,
        Self::TenantSeriesLimit,
        Self::ScopeFull,
    ];

    /// Name used in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooFarInFuture => "too_far_in_future",
            Self::TooOld => "too_old",
            Self::NoName => "no_metric_name",
            Self::EmptyLabelName => "empty_label_name",
            Self::DuplicateLabel => "duplicate_label_name",
            Self::MalformedLabel => "malformed_label",
            Self::TooManyLabels => "too_many_labels",
            Self::LabelNameTooLong => "label_name_too_long",
            Self::LabelValueTooLong => "label_value_too_long",
            Self::SeriesLimit => "series_limit",
            Self::ScopeLimit => "scope_limit",
            Self::TenantSeriesLimit => "tenant_series_limit",
            Self::ScopeFull => "scope_full",
        }
    }
}

/// Why a whole request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// A content type or encoding that is not read here.
    UnsupportedMedia,
    /// A tenant's name that is not allowed.
    TenantName,
    /// Not what its content type and encoding say.
    Malformed,
    /// Larger than allowed as sent.
    CompressedBytes,
    /// Larger than allowed once decompressed.
    DecodedBytes,
    /// More series than allowed.
    Series,
    /// More samples than allowed.
    Samples,
    /// More interned strings than allowed.
    Symbols,
    /// More tenants than may be known at a time.
    Tenants,
    /// More samples a second than its tenant may send.
    TenantRate,
    /// The body did not arrive in time.
    Timeout,
    /// Too many requests under way, or too many bytes of them.
    InFlight,
    /// Scoring lags behind.
    Busy,
    /// The inbound log cannot be written.
    Log,
    /// Another leaf has to catch up first.
    WaitsForLeaf,
}

impl Refusal {
    /// Number of reasons.
    pub const COUNT: usize = 15;
    /// Every reason, in the order of [`IngestStats::refused_requests`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::UnsupportedMedia,
        Self::TenantName,
        Self::Malformed,
        Self::CompressedBytes,
        Self::DecodedBytes,
        Self::Series,
        Self::Samples,
        Self::Symbols,
        Self::Tenants,
        Self::TenantRate,
        Self::Timeout,
        Self::InFlight,
        Self::Busy,
        Self::Log,
        Self::WaitsForLeaf,
    ];

    /// Name used in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnsupportedMedia => "unsupported_media",
            Self::TenantName => "tenant_name",
            Self::Malformed => "malformed",
            Self::CompressedBytes => "compressed_bytes",
            Self::DecodedBytes => "decoded_bytes",
            Self::Series => "series",
            Self::Samples => "samples",
            Self::Symbols => "symbols",
            Self::Tenants => "tenants",
            Self::TenantRate => "tenant_rate",
            Self::Timeout => "timeout",
            Self::InFlight => "in_flight",
            Self::Busy => "busy",
            Self::Log => "log",
            Self::WaitsForLeaf => "waits_for_leaf",
        }
    }
}

/// Counters since the start, and the present size of things.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IngestStats {
    /// Requests taken, wholly or in part.
    pub requests: u64,
    /// Bytes as sent.
    pub compressed_bytes: u64,
    /// Bytes once decompressed.
    pub decoded_bytes: u64,
    /// Samples that entered the windows.
    pub selected_samples: u64,
    /// Samples of series that no rule selects.
    pub ignored_samples: u64,
    /// Samples of replicas that are not elected.
    pub replica_samples: u64,
    /// Samples rejected, by reason.
    pub rejected_samples: [u64; Rejection::COUNT],
    /// Requests refused as a whole, by reason.
    pub refused_requests: [u64; Refusal::COUNT],
    /// Requests of version 2.0 among those taken.
    pub requests_v2: u64,
    /// Native histograms accepted; their counts and sums enter the windows where a rule selects them.
    pub histogram_samples: u64,
    /// Metadata entries, which are not kept.
    pub metadata: u64,
    /// Exemplars, which are not kept.
    pub exemplars: u64,
    /// Series whose labels do not stand together.
    pub scattered_series: u64,
    /// Series taken apart because they were seen for the first time.
    pub first_sights: u64,
    /// Series forgotten to make room.
    pub forgotten_series: u64,
    /// Times that another replica took over.
    pub failovers: u64,
    /// Series known.
    pub series: u64,
    /// Series that feed windows.
    pub selected_series: u64,
    /// Scopes known.
    pub scopes: u64,
    /// Tenants known.
    pub tenants: u64,
    /// Bytes of requests under way.
    pub in_flight_bytes: u64,
    /// Samples that came after their step was closed; they still count towards the series' next value.
    pub late_samples: u64,
    /// Samples dropped: the series had one of that time.
    pub duplicate_samples: u64,
    /// Samples dropped: the series had a newer one.
    pub out_of_order_samples: u64,
    /// Samples dropped by the windows for another reason: too many ahead of their time, or no time at all.
    pub unusable_samples: u64,
    /// Heap memory of the windows in bytes.
    pub window_bytes: u64,
    /// Services that the windows know.
    pub window_services: u64,
    /// Edges that the windows know.
    pub window_edges: u64,
    /// At a root: each leaf, over all scopes.
    pub leaves: Vec<LeafStatus>,
    /// At a root: what is wrong with reports as a whole.
    pub assembly: AssemblyStats,
    /// Closed steps waiting for scoring.
    pub pending_steps: u64,
    /// Steps closed.
    pub closed_steps: u64,
    /// Bytes of the inbound log on disk.
    pub log_bytes: u64,
    /// Segments of the inbound log.
    pub log_segments: u64,
    /// Segments deleted for size before their time.
    pub log_overflow_segments: u64,
    /// Bytes cut from the log because they were damaged.
    pub log_damaged_bytes: u64,
    /// Samples replayed from the log at start.
    pub replayed_samples: u64,
    /// Newest event time, in milliseconds since the epoch; 0 before the first sample.
    pub newest_ms: i64,
}

impl IngestStats {
    /// Adds what was counted in a scope.
    pub(crate) fn add_counts(&mut self, of: &ScopeState) {
        let windows = of.intake.stats();
        self.failovers += of.election.failovers();
        self.late_samples += windows.late;
        self.duplicate_samples += windows.duplicates;
        self.out_of_order_samples += windows.out_of_order;
        self.unusable_samples += windows.too_far_ahead + windows.invalid;
        if let Some(assembly) = of.intake.assembly() {
            self.assembly.add(assembly.assembly_stats());
        }
    }
}
