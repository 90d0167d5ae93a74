//! A page: everything is brought up to date, the collectors write their families, and the exporter its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Agent;
use super::metrics::{
    BUILD_INFO, CPU, DROPPED, DURATION, EDGES_LIMITED, LIBRARIES, LIMITED, MEMORY, RELOADED, SUCCESS, UNPARSED, UNSEEN,
    UNTIMED,
};
use crate::collectors::{Collector, World};
use crate::exposition::{Labels, Page};
use crate::inventory;
use crate::source::SourceKind;
use crate::tls::LibraryCounts;

impl Agent {
    pub(super) fn page(&mut self, native: bool) -> Page {
        let began = Instant::now();
        let source_error = self.look().err().map(|error| format!("{error:#}"));
        let mut rows = vec![("source", source_error.is_none(), began.elapsed())];
        if let Some(error) = &source_error {
            tracing::warn!("cannot read the source: {error}");
        }
        let mut page = Page::new(Arc::clone(&self.shown));
        if native {
            page = page.with_native();
        }
        let world = World {
            directory: &self.directory,
            edges: &self.edges,
            source_error: source_error.as_deref(),
            sees_requests: self.source.kind() == SourceKind::Ebpf,
        };
        rows.extend(run_collectors(&mut self.collectors, &world, &mut page));
        self.limiter.apply(&mut page);
        self.write_own(&rows, &mut page);
        page
    }

    /// The families about the exporter itself; `rows` has the name, the success and the duration of each collector.
    fn write_own(&self, rows: &[(&'static str, bool, Duration)], page: &mut Page) {
        let version = env!("CARGO_PKG_VERSION");
        let labels = Labels::new(&[("version", Some(version)), ("source", Some(self.source.kind().name()))]);
        page.family(&BUILD_INFO).sample(&labels, 1.0);
        let of = |name| Labels::new(&[("collector", Some(name))]);
        let mut family = page.family(&SUCCESS);
        for (name, success, _) in rows {
            family.sample(&of(name), f64::from(u8::from(*success)));
        }
        let mut family = page.family(&DURATION);
        for (name, _, duration) in rows {
            family.sample(&of(name), duration.as_secs_f64());
        }
        let mut family = page.family(&DROPPED);
        let translations = [("translation", self.translations.lost())];
        for (event, count) in self.source.losses().into_iter().chain(translations) {
            family.sample(&Labels::new(&[("event", Some(event))]), count as f64);
        }
        page.family(&UNSEEN).sample(&Labels::default(), self.source.unseen() as f64);
        let mut family = page.family(&LIMITED);
        for metric in self.collectors.iter().flat_map(|collector| collector.metrics()) {
            let labels = Labels::new(&[("metric", Some(metric.name))]);
            family.sample(&labels, self.limiter.limited(metric.name) as f64);
        }
        page.family(&EDGES_LIMITED).sample(&Labels::default(), self.edges.limited() as f64);
        let mut family = page.family(&UNTIMED);
        let labels = |protocol, reason| Labels::new(&[("protocol", Some(protocol)), ("reason", Some(reason))]);
        for (protocol, count) in self.edges.requests_limited().filter(|(_, count)| *count > 0) {
            family.sample(&labels(protocol.name(), "edge_full"), count as f64);
        }
        for (protocol, reason, count) in self.source.untimed() {
            family.sample(&labels(protocol.name(), reason), count as f64);
        }
        let mut family = page.family(&UNPARSED);
        for (protocol, reason, count) in self.source.unparsed() {
            family.sample(&labels(protocol.name(), reason), count as f64);
        }
        let encrypted = self.source.encrypted();
        if encrypted > 0 {
            family.sample(&labels("any", "encrypted"), encrypted as f64);
        }
        if let Some(counts) = self.source.libraries() {
            let mut family = page.family(&LIBRARIES);
            let LibraryCounts { quick, slow, too_slow, refused } = counts;
            let states = [("watched", quick), ("watched_slowly", slow), ("too_slow", too_slow), ("refused", refused)];
            for (state, count) in states {
                family.sample(&Labels::new(&[("state", Some(state))]), count as f64);
            }
        }
        page.family(&RELOADED).sample(&Labels::default(), f64::from(u8::from(self.is_reloaded)));
        let own = std::process::id();
        if let Some(times) = inventory::times(own) {
            page.family(&CPU).sample(&Labels::default(), times.cpu_seconds);
        }
        if let Some(bytes) = inventory::resident_bytes(own) {
            page.family(&MEMORY).sample(&Labels::default(), bytes as f64);
        }
    }
}

/// Runs one after the other; gives the name, the success and the duration of each. One that fails leaves
/// the others working.
fn run_collectors(
    collectors: &mut [Box<dyn Collector>],
    world: &World<'_>,
    page: &mut Page,
) -> Vec<(&'static str, bool, Duration)> {
    let run = |collector: &mut Box<dyn Collector>| {
        let began = Instant::now();
        let result = collector.collect(world, page);
        if let Err(error) = &result
            && world.source_error.is_none()
        {
            tracing::warn!("collector {}: {error:#}", collector.name());
        }
        (collector.name(), result.is_ok(), began.elapsed())
    };
    collectors.iter_mut().map(run).collect()
}
