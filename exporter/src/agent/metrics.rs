//! Families about the exporter itself.

use crate::exposition::{Kind, Metric};

pub(super) const BUILD_INFO: Metric = Metric {
    name: "quoll_exporter_build_info",
    help: "Always 1; version of the exporter and the source it reads.",
    kind: Kind::Gauge,
    labels: "version, source",
};
pub(super) const SUCCESS: Metric = Metric {
    name: "quoll_exporter_collector_success",
    help: "Whether the collector succeeded at this scrape.",
    kind: Kind::Gauge,
    labels: "collector",
};
pub(super) const DURATION: Metric = Metric {
    name: "quoll_exporter_collector_duration_seconds",
    help: "How long the collector took at this scrape; 'source' is the reading of connections and processes for all.",
    kind: Kind::Gauge,
    labels: "collector",
};
pub(super) const DROPPED: Metric = Metric {
    name: "quoll_exporter_events_dropped_total",
    help: "What the kernel side could not report or remember, by what it was.",
    kind: Kind::Counter,
    labels: "event",
};
pub(super) const UNSEEN: Metric = Metric {
    name: "quoll_exporter_transitions_unseen_total",
    help: "Changes of connections that the kernel did not tell of, as its probe would have interrupted itself. The connections \
           count all the same, without their duration, or with the bytes of the last look.",
    kind: Kind::Counter,
    labels: "",
};
pub(super) const LIMITED: Metric = Metric {
    name: "quoll_exporter_series_limited_total",
    help: "Label sets summed under 'other', or left out where there is no sum, since the metric had too many series.",
    kind: Kind::Counter,
    labels: "metric",
};
pub(super) const EDGES_LIMITED: Metric = Metric {
    name: "quoll_exporter_edges_limited_total",
    help: "Connections counted from 'other' to 'other' since there were too many edges.",
    kind: Kind::Counter,
    labels: "",
};
pub(super) const UNTIMED: Metric = Metric {
    name: "quoll_exporter_requests_untimed_total",
    help: "Requests that were seen and are in no histogram, by reason: pipelined (in a row that could not be told apart), \
           unrecognised (the answer was not recognised), no_room (too many connections), edge_full (too many protocols on \
           one edge).",
    kind: Kind::Counter,
    labels: "protocol, reason",
};
pub(super) const UNPARSED: Metric = Metric {
    name: "quoll_exporter_connections_unparsed_total",
    help: "Connections whose requests are not looked at any further, by reason: encrypted, lost (what they say is not \
           understood), midway (not seen from their beginning), or no_room (they say too much).",
    kind: Kind::Counter,
    labels: "protocol, reason",
};
pub(super) const LIBRARIES: Metric = Metric {
    name: "quoll_exporter_tls_libraries",
    help: "Copies of OpenSSL's libssl by state: watched (in all processes that use them), watched_slowly (at a high cost to \
           these), too_slow (could only be watched like that, which --tls auto does not), or refused, for which the log has \
           the reason. Only with --tls.",
    kind: Kind::Gauge,
    labels: "state",
};
pub(super) const RELOADED: Metric = Metric {
    name: "quoll_exporter_config_last_reload_success",
    help: "Whether the configuration's files could be used when they were last read; if not, the last good ones are in force.",
    kind: Kind::Gauge,
    labels: "",
};
pub(super) const CPU: Metric = Metric {
    name: "quoll_exporter_cpu_seconds_total",
    help: "CPU time of the exporter's process. What its programs in the kernel take counts to whom they run in.",
    kind: Kind::Counter,
    labels: "",
};
pub(super) const MEMORY: Metric = Metric {
    name: "quoll_exporter_resident_memory_bytes",
    help: "Resident memory of the exporter's process. The kernel's maps are not in it.",
    kind: Kind::Gauge,
    labels: "",
};

/// Families about the exporter itself.
pub const SELF_METRICS: [&Metric; 13] = [
    &BUILD_INFO,
    &SUCCESS,
    &DURATION,
    &DROPPED,
    &UNSEEN,
    &LIMITED,
    &EDGES_LIMITED,
    &UNTIMED,
    &UNPARSED,
    &LIBRARIES,
    &RELOADED,
    &CPU,
    &MEMORY,
];
