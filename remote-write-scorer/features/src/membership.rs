//! How series come and go: binding labels to handles, the first sample, forgetting, giving memory back.

use std::sync::Arc;

use crate::registry::{push, slot_number};
use crate::rules::{Kind, Labels, Profile};
use crate::series::{NONE, Series};
use crate::windows::{FORGET_MS, Full, Limits, ScopeWindows, SeriesRef};

/// Of so many series of an entity is asked when the entity last reported; they are scraped together, so
/// a few know. Bounds the cost of many series of one entity appearing at once.
const SIBLINGS_ASKED: usize = 128;

impl ScopeWindows {
    /// The handle of the series with these labels (sorted by name, `__name__` included, no name twice);
    /// `None` where no rule selects it. The same labels give the same handle. Several features may use
    /// one series. Binding alone expects nothing of the series: its first sample does. A new series beyond
    /// the [`Limits`] is refused and counted.
    pub fn bind(&mut self, labels: &[(&str, &str)]) -> Option<SeriesRef> {
        self.try_bind(labels).ok().flatten()
    }

    /// As [`ScopeWindows::bind`], and tells a series that nothing selects from one that there is no room for.
    ///
    /// # Errors
    /// Where the scope is full.
    pub fn try_bind(&mut self, labels: &[(&str, &str)]) -> Result<Option<SeriesRef>, Full> {
        let Some((kind, profile)) = self.set.rules.profile(labels) else { return Ok(None) };
        let key = self.hasher.hash(&labels.iter().copied());
        let is_it = |&slot: &u32| self.keys.get(slot as usize).is_some_and(|known| *known == key);
        if let Some(&slot) = self.index.find(key as u64, is_it) {
            return Ok(Some(SeriesRef(slot)));
        }
        if !self.names_somebody(&profile, labels) {
            return Ok(None);
        }
        let set = Arc::clone(&self.set);
        let Some(source) = set.rules.sources.get(usize::from(profile.source)) else { return Ok(None) };
        // Two sources may use the same labels in different ways: their entities are apart.
        let apart = u128::from(profile.source) << 64 | u128::from(profile.source);
        let entity_key = self
            .hasher
            .hash(&labels.iter().copied().filter(|(name, _)| !source.is_breakdown(name)))
            .wrapping_add(apart);
        if !self.has_room(entity_key) {
            self.stats.refused += 1;
            return Err(Full);
        }
        let Some(profile) = self.intern_profile(kind, profile) else { return Err(Full) };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.series.len() < NONE as usize => {
                push(&mut self.series, Series::new(kind, NONE, NONE, profile));
                push(&mut self.newest_ms, i64::MIN);
                push(&mut self.keys, key);
                slot_number(self.series.len() - 1)
            }
            None => return Err(Full),
        };
        let (entity, sibling) = self.registry.join(entity_key, source, labels, slot);
        self.series[slot as usize] = Series::new(kind, entity, sibling, profile);
        self.newest_ms[slot as usize] = i64::MIN;
        self.keys[slot as usize] = key;
        let keys = &self.keys;
        self.index.insert_unique(key as u64, slot, |&other| keys.get(other as usize).map_or(0, |key| *key as u64));
        self.bound_lately.push(slot);
        Ok(Some(SeriesRef(slot)))
    }

    /// Gives back the memory of forgotten series and appends their handles, which are invalid from here
    /// on: whoever keeps handles by labels must drop these, and bind again if the series returns.
    /// Handles that were bound before the last call and never used are among them.
    pub fn take_forgotten(&mut self, out: &mut Vec<SeriesRef>) {
        let mut candidates = std::mem::take(&mut self.dormant);
        candidates.append(&mut self.bound_before);
        std::mem::swap(&mut self.bound_before, &mut self.bound_lately);
        candidates.retain(|&slot| !self.series[slot as usize].listed());
        candidates.sort_unstable();
        candidates.dedup();
        // A first sample that still waits for its step will list its series soon.
        let silent_ms = self.open_end_ms.map_or(i64::MIN, |open_end_ms| open_end_ms.saturating_sub(FORGET_MS));
        let (kept, gone): (Vec<u32>, Vec<u32>) =
            candidates.into_iter().partition(|&slot| self.newest_ms[slot as usize] > silent_ms);
        self.dormant = kept;
        if gone.is_empty() {
            return;
        }
        let mut dead = vec![false; self.series.len()];
        for &slot in &gone {
            dead[slot as usize] = true;
        }
        self.index.retain(|slot| !dead[*slot as usize]);
        self.bound_before.retain(|&slot| !dead[slot as usize]);
        for slot in gone {
            self.unlink(slot);
            // Nothing is newer than this: samples for the handle are refused until it is bound again.
            self.newest_ms[slot as usize] = i64::MAX;
            self.free.push(slot);
            out.push(SeriesRef(slot));
        }
    }

    /// The first sample of a series: it takes part from here on, and a counter that was born since its
    /// entity last reported counts from zero.
    #[cold]
    pub(crate) fn born(&mut self, slot: u32, timestamp_ms: i64) {
        let series = &self.series[slot as usize];
        let (entity, counter) = (series.entity, series.is_counter());
        if !series.listed() {
            self.order.push(slot);
            self.registry.list(entity, true);
            self.series[slot as usize].set_listed(true);
        }
        if !counter {
            return;
        }
        let mut since_ms: Option<i64> = None;
        let mut sibling = self.registry.entity(entity).map_or(NONE, |entity| entity.head);
        for _ in 0..SIBLINGS_ASKED {
            let Some(other) = self.series.get(sibling as usize) else { break };
            if sibling != slot {
                since_ms = since_ms.max(other.reported_before(timestamp_ms, self.typical_interval_ms));
            }
            sibling = other.sibling;
        }
        if let Some(since_ms) = since_ms {
            self.series[slot as usize].count_from_zero(since_ms);
        }
    }

    /// A series leaves: it is in no sum from here on. Its handle stays bound until it is taken.
    pub(crate) fn forget(&mut self, slot: u32, end_ms: i64) {
        let entity = self.series[slot as usize].entity;
        self.registry.list(entity, false);
        self.series[slot as usize].restart();
        let newest_ms = &mut self.newest_ms[slot as usize];
        // Samples that wait for later steps still keep older ones out.
        if *newest_ms <= end_ms {
            *newest_ms = i64::MIN;
        }
        self.dormant.push(slot);
        self.stats.forgotten += 1;
    }

    fn unlink(&mut self, slot: u32) {
        let (entity, next) = {
            let series = &self.series[slot as usize];
            (series.entity, series.sibling)
        };
        let head = self.registry.entity(entity).map_or(NONE, |entity| entity.head);
        if head == slot {
            self.registry.set_head(entity, next);
        } else {
            let mut at = head;
            while let Some(series) = self.series.get_mut(at as usize) {
                if series.sibling == slot {
                    series.sibling = next;
                    break;
                }
                at = series.sibling;
            }
        }
        self.registry.leave(entity);
    }

    fn names_somebody(&self, profile: &Profile, labels: &Labels<'_>) -> bool {
        let Some(source) = self.set.rules.sources.get(usize::from(profile.source)) else { return false };
        let by_selector = |selector: u8| {
            let selector = source.selectors.get(usize::from(selector));
            selector.is_some_and(|selector| source.service(selector, labels).is_some())
        };
        let by_edge = || {
            source.edges.as_ref().is_some_and(|edges| {
                source.service(&edges.server, labels).is_some() || edges.server_addresses(labels).next().is_some()
            })
        };
        profile.terms.iter().any(|&(_, selector)| by_selector(selector))
            || profile.changes.iter().any(|&(_, selector)| by_selector(selector))
            || (!profile.edge.is_empty() && by_edge())
    }

    /// Whether a new series fits the limits. One of a known entity brings no new service or edge.
    fn has_room(&self, entity_key: u128) -> bool {
        let Limits { series, services, edges } = self.limits;
        let (known_services, known_edges) = self.registry.known();
        self.index.len() < series
            && (self.registry.knows(entity_key) || (known_services < services && known_edges < edges))
    }

    /// `None` only after 65,535 distinct profiles, which the limits on terms keep out of reach in practice.
    fn intern_profile(&mut self, kind: Kind, profile: Profile) -> Option<u16> {
        let wanted = (kind, profile);
        if let Some(known) = self.profiles.iter().position(|known| *known == wanted) {
            return u16::try_from(known).ok();
        }
        let index = u16::try_from(self.profiles.len()).ok()?;
        self.profiles.push(wanted);
        Some(index)
    }
}
