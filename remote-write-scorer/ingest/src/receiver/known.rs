//! What is known of tenants, scopes and series, and what is done at first sight.

use std::sync::Arc;

use quoll_features::{Full, SeriesRef};
use quoll_identity::Scope;
use quoll_prometheus_protocol::decode::{self, DecodeError};

use super::stage::Symbols;
use super::whole::Request;
use super::{Receiver, Tenant, WriteError};
use crate::first_sight::{self, SeriesLabels};
use crate::scope::ScopeState;
use crate::stats::Rejection;
use crate::table::{Binding, BlockKey, SeriesTable};

/// Seconds over which a tenant's rate is averaged.
const TENANT_RATE_SECONDS: f64 = 10.0;

/// The labels of a series as sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    /// A block of 1.0.
    Block(&'a [u8]),
    /// References of 2.0, packed, into strings of a body.
    Refs(&'a [u8], &'a [u8], &'a Symbols),
}

impl<'a> Given<'a> {
    /// Names and values; `None` stands for what cannot be read.
    fn labels(self) -> Vec<Option<(&'a str, &'a str)>> {
        match self {
            Self::Block(block) => decode::labels(block).map(Result::ok).collect(),
            Self::Refs(packed, body, symbols) => {
                let text = |reference: Result<u64, DecodeError>| {
                    let range = symbols.range(usize::try_from(reference.ok()?).ok()?)?;
                    std::str::from_utf8(body.get(range)?).ok()
                };
                let mut references = decode::v2::refs(packed);
                let mut labels = Vec::new();
                while let Some(name) = references.next() {
                    let value = references.next();
                    labels.push(text(name).zip(value.and_then(text)));
                }
                labels
            }
        }
    }
}

impl Tenant {
    fn new(name: Arc<str>) -> Self {
        Self { name, table: SeriesTable::default(), owed: 0.0, counted_ms: i64::MIN }
    }

    /// Whether what it sent lately leaves room: it owes what it sent, and pays at the allowed rate.
    fn may_send(&mut self, per_second: u32, now_ms: i64) -> bool {
        let seconds = now_ms.saturating_sub(self.counted_ms).max(0) as f64 / 1000.0;
        self.owed = (self.owed - seconds * f64::from(per_second)).max(0.0);
        self.counted_ms = now_ms;
        self.owed <= f64::from(per_second) * TENANT_RATE_SECONDS
    }
}

impl Receiver {
    /// Takes the labels apart and remembers what came of it; `suffix` is appended to the metric's name.
    ///
    /// # Errors
    /// Where the request is malformed, here or further on: then nothing was remembered of it.
    #[cold]
    pub(super) fn first_sight(
        &mut self,
        request: &mut Request<'_>,
        key: BlockKey,
        given: Given<'_>,
        suffix: &str,
    ) -> Result<Binding, WriteError> {
        request.check(&self.config.limits)?;
        let (tenant, now_seconds) = (request.tenant, request.now_seconds);
        if let Some(reason) = self.no_room(tenant, now_seconds) {
            return Ok(Binding::Rejected(reason));
        }
        self.stats.first_sights += 1;
        let name;
        let binding = match first_sight::split(given.labels().into_iter(), &self.config) {
            Err(reason) => Binding::Rejected(reason),
            Ok(mut split) => {
                if !suffix.is_empty()
                    && let Some(label) = split.labels.iter_mut().find(|label| label.0 == "__name__")
                {
                    name = format!("{}{suffix}", label.1);
                    label.1 = &name;
                }
                let named = split.take_tenant(self.plan.leaves.is_some());
                self.meet(tenant, &split, named)
            }
        };
        // What there is no room for is looked at again: there may be room later.
        if !matches!(binding, Binding::Rejected(Rejection::ScopeLimit | Rejection::ScopeFull)) {
            self.tenants[tenant].table.insert(key, binding, now_seconds);
        }
        Ok(binding)
    }

    /// `named` is the tenant by the series' own labels.
    fn meet(&mut self, tenant: usize, split: &SeriesLabels<'_>, named: Option<&str>) -> Binding {
        // Series that nothing selects make no scope.
        let metric = split.labels.iter().find(|label| label.0 == "__name__").map_or("", |label| label.1);
        if !self.plan.selects(metric) {
            return Binding::Ignored;
        }
        let tenant = named.map_or_else(|| Arc::clone(&self.tenants[tenant].name), Arc::from);
        match self.scope(split.scope(&tenant)) {
            None => Binding::Rejected(Rejection::ScopeLimit),
            Some(scope) => self.bind(scope, &split.labels, &split.replica),
        }
    }

    pub(super) fn bind(&mut self, scope: u32, labels: &[(&str, &str)], replica: &str) -> Binding {
        let state = &mut self.scopes[scope as usize];
        let series = match state.intake.try_bind(labels) {
            Ok(Some(SeriesRef(series))) => series,
            Ok(None) => return Binding::Ignored,
            Err(Full) => return Binding::Rejected(Rejection::ScopeFull),
        };
        state.labels.set(series, labels);
        let replica = state.replica(replica);
        Binding::Selected { scope, series, replica }
    }

    /// Why no more series may be known, if so; forgets idle ones, at most once a minute, where there is no room.
    fn no_room(&mut self, tenant: usize, now_seconds: u32) -> Option<Rejection> {
        let full = |receiver: &Self| {
            let limits = &receiver.config.limits;
            let all: usize = receiver.tenants.iter().map(|tenant| tenant.table.len()).sum();
            if all >= limits.total_series {
                Some(Rejection::SeriesLimit)
            } else if receiver.tenants[tenant].table.len() >= limits.series_per_tenant {
                Some(Rejection::TenantSeriesLimit)
            } else {
                None
            }
        };
        let reason = full(self)?;
        if now_seconds < self.full_until_seconds {
            return Some(reason);
        }
        self.full_until_seconds = now_seconds.saturating_add(60);
        let since = now_seconds.saturating_sub(self.config.limits.idle_series_seconds);
        for tenant in &mut self.tenants {
            self.stats.forgotten_series += tenant.table.forget_before(since) as u64;
        }
        full(self)
    }

    /// The index of a tenant that may send now.
    pub(super) fn tenant(&mut self, name: &str, now_ms: i64) -> Result<usize, WriteError> {
        let limits = &self.config.limits;
        if let Some(&index) = self.tenant_index.get(name) {
            let limit = limits.samples_per_second_per_tenant;
            return if limit == 0 || self.tenants[index].may_send(limit, now_ms) {
                Ok(index)
            } else {
                Err(WriteError::TenantRate { limit })
            };
        }
        if self.tenants.len() >= limits.tenants {
            return Err(WriteError::TooManyTenants { limit: limits.tenants });
        }
        let name: Arc<str> = Arc::from(name);
        self.tenants.push(Tenant::new(Arc::clone(&name)));
        self.tenant_index.insert(name, self.tenants.len() - 1);
        Ok(self.tenants.len() - 1)
    }

    /// The index of a scope; `None` where there are too many.
    pub(super) fn scope(&mut self, scope: Scope) -> Option<u32> {
        if let Some(&index) = self.scope_index.get(&scope) {
            return Some(index);
        }
        // A replay may meet scopes beside those that had made room for them.
        let replaying = self.log.is_none() && !self.in_memory;
        if self.scopes.len() >= self.config.limits.scopes && !replaying {
            return None;
        }
        let index = u32::try_from(self.scopes.len()).ok()?;
        let mut state = ScopeState::new(scope, self.plan.intake(self.config.limits.of_scope()));
        state.heard_ms = self.stats.newest_ms;
        self.scope_index.insert(Arc::clone(&state.scope), index);
        self.scopes.push(state);
        Some(index)
    }
}
