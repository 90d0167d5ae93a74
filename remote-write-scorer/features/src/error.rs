//! Why a feature set cannot be used; every message names the place and the way out.

/// Why a feature set cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PresetError {
    /// There is no preset of that name.
    #[error("no preset `{name}`; there are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A preset is listed twice.
    #[error("preset `{name}` is listed twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Two sources name one metric, and would count it twice.
    #[error(
        "metric `{metric}` is named by both `{first}` and `{second}`; a metric is read by one of them, so leave one out"
    )]
    SharedMetric {
        /// The metric.
        metric: String,
        /// Who has it.
        first: String,
        /// Who wants it too.
        second: String,
    },
    /// Two sources mean different things by one feature.
    #[error(
        "feature `{feature}` differs between `{first}` and `{second}`; unit, direction, seen_by and role have to agree, or one of them needs another name"
    )]
    Conflict {
        /// The feature.
        feature: String,
        /// Who has it.
        first: String,
        /// Who has it otherwise.
        second: String,
    },
    /// The text is not YAML of the documented form.
    #[error("feature set: {0}")]
    Yaml(String),
    /// A set without features scores nothing.
    #[error("a feature set needs at least one feature")]
    Empty,
    /// More features, or more distinct terms, than a set may have.
    #[error("{count} features or terms; a set holds at most {limit}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A name is not made of letters, digits and underscores, or is empty.
    #[error("`{name}` cannot name a {what}: use letters, digits and underscores, not beginning with a digit")]
    BadName {
        /// Feature, metric or label.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Two features share a name.
    #[error("two features are named `{feature}`; names are unique in a set")]
    Duplicate {
        /// The name.
        feature: String,
    },
    /// A number is outside its range.
    #[error("feature `{feature}`: {what} is {value}; it must be {range}")]
    OutOfRange {
        /// The feature.
        feature: String,
        /// Which number.
        what: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A term is neither or both of `gauge` and `rate`.
    #[error(
        "{place}: a term has exactly one of `gauge: METRIC` (its value) and `rate: METRIC` (its increase per second)"
    )]
    NotOneMetric {
        /// Which feature or edge figure.
        place: String,
    },
    /// A feature has no term to compute its value from.
    #[error("{place}: the list of terms is empty; write at least one `gauge: METRIC` or `rate: METRIC`")]
    NoTerms {
        /// Which feature or edge figure.
        place: String,
    },
    /// A feature of callers has terms of its own.
    #[error("{place}: `of_callers` stands instead of `service`, `value` and `per`")]
    TermsOfCallers {
        /// Which feature.
        place: String,
    },
    /// A feature of callers, and no edges to take it from.
    #[error("{place}: `of_callers` needs `edges` in the same set")]
    NoEdges {
        /// Which feature.
        place: String,
    },
    /// A feature names service labels that the set does not define.
    #[error("{place}: `service: {asked}` is not defined; `service_labels` has: {known}")]
    UnknownService {
        /// Which feature or change.
        place: String,
        /// What it asked for.
        asked: String,
        /// What there is.
        known: String,
    },
    /// A set may tell services apart by a few pairs of labels only.
    #[error("`service_labels` has {count} entries; it holds 1 to {limit}")]
    ServiceLabels {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// One metric cannot be a level and a counter at once.
    #[error("metric `{metric}` is used both as `gauge` and as `rate`; a metric is a level or a counter, not both")]
    GaugeAndRate {
        /// The metric.
        metric: String,
    },
    /// A label that names services cannot also be a mere break-down.
    #[error("label `{label}` names a service or an edge's reporter, so it cannot be in `breakdown_labels`")]
    BreakdownNames {
        /// The label.
        label: String,
    },
    /// An entry of `changes` is not of one kind.
    #[error("changes: an entry has exactly one of `restart`, `info`, `replicas` and `instance`, each with a METRIC")]
    NotOneChange,
    /// Labels to watch go with `info`, and only there.
    #[error("{place}: `info` names at least one of the labels `image`, `version` and `executable`; others name none")]
    InfoLabels {
        /// Which entry.
        place: String,
    },
    /// A matcher that no value can pass.
    #[error("{place}: `match` on `{label}` lists no value, so nothing can pass it")]
    EmptyMatcher {
        /// Which feature or edge figure.
        place: String,
        /// The label.
        label: String,
    },
    /// A figure of an edge must be a rate.
    #[error("edges: `{figure}` must be made of `rate` terms; `{metric}` is read as a gauge")]
    EdgeGauge {
        /// The figure.
        figure: &'static str,
        /// The metric.
        metric: String,
    },
    /// Scores must not feed on scores.
    #[error(
        "{place}: `{metric}` is written by Quoll itself; scoring it would feed the scores back into the scores. Name the raw metric instead (reports of leaves go to `role: root`, which needs no rule for them)"
    )]
    OwnOutput {
        /// Which feature or edge figure.
        place: String,
        /// The metric.
        metric: String,
    },
}
