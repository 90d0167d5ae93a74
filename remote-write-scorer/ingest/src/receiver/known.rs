//! What is known of tenants, scopes and series, and what is done at first sight.

use std::sync::Arc;

use quoll_features::SeriesRef;
use quoll_identity::Scope;
use quoll_prometheus_protocol::decode::Series;

use super::{Receiver, Tenant, WriteError};
use crate::first_sight;
use crate::scope::ScopeState;
use crate::stats::Rejection;
use crate::table::{Binding, BlockKey, SeriesTable};

impl Receiver {
    /// What is known of a series, found out now if it is new.
    #[inline]
    pub(super) fn binding(
        &mut self,
        tenant: usize,
        series: &Series<'_>,
        now_seconds: u32,
    ) -> Result<Binding, WriteError> {
        if let Some(block) = series.label_block() {
            let key = self.hasher.key(block);
            match self.tenants[tenant].table.find(key, now_seconds) {
                Some(binding) => Ok(binding),
                None => Ok(self.first_sight(tenant, key, block, now_seconds)),
            }
        } else {
            self.stats.scattered_series += 1;
            let mut gathered = std::mem::take(&mut self.gathered);
            series.gather_labels(&mut gathered)?;
            let key = self.hasher.key(&gathered);
            let known = self.tenants[tenant].table.find(key, now_seconds);
            let binding = known.unwrap_or_else(|| self.first_sight(tenant, key, &gathered, now_seconds));
            self.gathered = gathered;
            Ok(binding)
        }
    }

    #[cold]
    fn first_sight(&mut self, tenant: usize, key: BlockKey, block: &[u8], now_seconds: u32) -> Binding {
        if !self.has_room(now_seconds) {
            return Binding::Rejected(Rejection::SeriesLimit);
        }
        self.stats.first_sights += 1;
        let binding = match first_sight::split(block, &self.config) {
            Err(reason) => Binding::Rejected(reason),
            Ok(split) => {
                let scope = split.scope(&self.tenants[tenant].name);
                match self.scope(scope) {
                    None => Binding::Rejected(Rejection::ScopeLimit),
                    Some(scope) => self.bind(scope, &split.labels, &split.replica),
                }
            }
        };
        if binding != Binding::Rejected(Rejection::ScopeLimit) {
            self.tenants[tenant].table.insert(key, binding, now_seconds);
        }
        binding
    }

    pub(super) fn bind(&mut self, scope: u32, labels: &[(&str, &str)], replica: &str) -> Binding {
        let state = &mut self.scopes[scope as usize];
        let Some(SeriesRef(series)) = state.windows.bind(labels) else { return Binding::Ignored };
        state.describe(series, labels);
        let replica = state.replica(replica);
        Binding::Selected { scope, series, replica }
    }

    /// Whether one more series may be known; forgets idle ones, at most once a minute, where not.
    fn has_room(&mut self, now_seconds: u32) -> bool {
        let limit = self.config.limits.total_series;
        let known = |tenants: &[Tenant]| tenants.iter().map(|tenant| tenant.table.len()).sum::<usize>();
        if known(&self.tenants) < limit {
            return true;
        }
        if now_seconds < self.full_until_seconds {
            return false;
        }
        self.full_until_seconds = now_seconds.saturating_add(60);
        let since = now_seconds.saturating_sub(self.config.limits.idle_series_seconds);
        for tenant in &mut self.tenants {
            self.stats.forgotten_series += tenant.table.forget_before(since) as u64;
        }
        known(&self.tenants) < limit
    }

    pub(super) fn tenant(&mut self, name: &str) -> usize {
        if let Some(&index) = self.tenant_index.get(name) {
            return index;
        }
        let name: Arc<str> = Arc::from(name);
        self.tenants.push(Tenant { name: Arc::clone(&name), table: SeriesTable::default() });
        self.tenant_index.insert(name, self.tenants.len() - 1);
        self.tenants.len() - 1
    }

    /// The index of a scope; `None` where there are too many.
    pub(super) fn scope(&mut self, scope: Scope) -> Option<u32> {
        if let Some(&index) = self.scope_index.get(&scope) {
            return Some(index);
        }
        if self.scopes.len() >= self.config.limits.scopes {
            return None;
        }
        let index = u32::try_from(self.scopes.len()).ok()?;
        let state = ScopeState::new(scope, &self.set, self.step_ms);
        self.scope_index.insert(Arc::clone(&state.scope), index);
        self.scopes.push(state);
        Some(index)
    }
}
