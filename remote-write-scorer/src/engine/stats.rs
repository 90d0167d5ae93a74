//! What the engine counted.

/// What the engine counted, for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct EngineStats {
    /// Steps handled, replayed ones not counted.
    pub ticks: u64,
    /// Scores made.
    pub scores: u64,
    /// Results appended to the queue.
    pub results: u64,
    /// Ticks whose results were not written, as their time was not after that of the last ones.
    pub withheld_ticks: u64,
    /// Steps that could not be scored.
    pub failed_scores: u64,
    /// Crossings of score 1, an hour of one service counted once.
    pub score_crossings: u64,
    /// Scored time of all services, in days.
    pub score_service_days: f64,
    /// Crossings per service and day that were asked for.
    pub score_budget_per_day: f64,
    /// Crossings of the alert budget's threshold, counted the same way.
    pub alert_crossings: u64,
    /// Crossings of that threshold per service and day that were asked for.
    pub alert_budget_per_day: f64,
    /// Incidents that were opened.
    pub incidents_opened: u64,
    /// Batches that the queue refused.
    pub failed_appends: u64,
    /// Steps replayed from the inbound log.
    pub replayed_steps: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// Seconds that the last snapshot took.
    pub snapshot_seconds: f64,
    /// Models loaded.
    pub models_loaded: u64,
    /// Models refused.
    pub models_refused: u64,
    /// Incidents open, over all scopes.
    pub open_incidents: u64,
    /// Seconds that the last tick took.
    pub tick_seconds: f64,
    /// Wall clock minus the end of the last step, in seconds.
    pub lag_seconds: f64,
    /// End of the last step, in seconds since the epoch.
    pub last_tick_seconds: f64,
    /// Services at the last tick, over all scopes.
    pub services: u64,
    /// Whether there is a model.
    pub has_model: bool,
}
