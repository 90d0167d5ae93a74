//! Closing one step: sums over series, features, presence and edges.

use std::sync::Arc;

use crate::elect::Elected;
use crate::presence::Signs;
use crate::rules::{
    ALIVE, BY_CLIENT, CONNECT_FAILURES, CONNECTS, EDGE_FIGURES, ERRORS, ERRORS_OF, FeatureRule, LATENCY, MAX_SOURCES,
    REQUESTS, Rules, Sign, Source,
};
use crate::step::{ClosedStep, EdgeStep, Presence, ServiceStep};
use crate::text::{Absent, OfCallers};
use crate::windows::{FORGET_MS, ScopeWindows};

/// The figures of one end's report of an edge; NaN where nothing reports.
type Figures = [f64; EDGE_FIGURES];
const NO_FIGURES: Figures = [f64::NAN; EDGE_FIGURES];

/// After this long without requests, connects or open connections an edge is left out of the steps.
pub(crate) const EDGE_IDLE_MS: i64 = 600_000;

/// Sums of the step being closed, by slot. Kept from step to step for their memory.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// [services, terms]; NaN where no series adds.
    terms: Vec<f64>,
    /// Own series with a value, by service.
    own: Vec<u32>,
    /// What callers report of a service, whoever they are, [services, sources].
    callers: Vec<Figures>,
    /// [client's report, server's report], [edges, sources].
    edges: Vec<[Figures; 2]>,
    /// Latest start of an instance in seconds since 1970, by service; NaN where nothing tells.
    starts: Vec<f64>,
    /// Instances asked for, by service; NaN where nothing tells.
    replicas: Vec<f64>,
    /// (service, entity) of instances that reported in this step, in the order of the series, and in the last one.
    reported: Vec<(u32, u32)>,
    reported_before: Vec<(u32, u32)>,
    /// (service, entity) of instances described in this step.
    described: Vec<(u32, u32)>,
}

impl Sums {
    fn reset(&mut self, services: usize, terms: usize, edges: usize, sources: usize) {
        self.terms.clear();
        self.terms.resize(services * terms, f64::NAN);
        self.own.clear();
        self.own.resize(services, 0);
        self.callers.clear();
        self.callers.resize(services * sources, NO_FIGURES);
        self.edges.clear();
        self.edges.resize(edges * sources, [NO_FIGURES; 2]);
        for figures in [&mut self.starts, &mut self.replicas] {
            figures.clear();
            figures.resize(services, f64::NAN);
        }
        self.reported.clear();
        self.described.clear();
    }

    pub fn heap_bytes(&self) -> usize {
        self.terms.capacity() * size_of::<f64>()
            + self.own.capacity() * size_of::<u32>()
            + self.callers.capacity() * size_of::<Figures>()
            + self.edges.capacity() * size_of::<[Figures; 2]>()
            + (self.starts.capacity() + self.replicas.capacity()) * size_of::<f64>()
            + (self.reported.capacity() + self.reported_before.capacity() + self.described.capacity())
                * size_of::<(u32, u32)>()
    }
}

fn add(sum: Option<&mut f64>, value: f64) {
    if let Some(sum) = sum {
        *sum = if sum.is_nan() { value } else { *sum + value };
    }
}

impl ScopeWindows {
    /// Closes the step that ends at `end_ms` and counts anew what the next one waits for. Where no series
    /// has anything up to that end, returns the time of the earliest sample that is known after it.
    pub(crate) fn close_step(&mut self, end_ms: i64) -> Option<i64> {
        let earliest_ms = self.sum_up(end_ms);
        self.registry.sort();
        self.note_instances(end_ms);
        let services = self.services(end_ms);
        let edges = self.edges(end_ms);
        self.closed.push(ClosedStep { end_ms, step_ms: self.step_ms, services, edges });
        self.stats.steps += 1;
        earliest_ms
    }

    fn sum_up(&mut self, end_ms: i64) -> Option<i64> {
        let next_end_ms = end_ms + self.step_ms;
        let terms = self.set.rules.terms.len();
        let sources = self.set.rules.sources.len();
        self.sums.reset(self.registry.service_slots(), terms, self.registry.edge_slots(), sources);
        (self.expected, self.passed, self.holding) = (0, 0, 0);
        let mut earliest_ms =
            self.pending.earliest_end_ms(end_ms, self.step_ms).map(|end_ms| end_ms - self.step_ms + 1);
        let mut standing = false;
        let mut order = std::mem::take(&mut self.order);
        order.retain(|&slot| {
            let series = &mut self.series[slot as usize];
            let newest_ms = self.newest_ms[slot as usize];
            let hold_ms = series.hold_ms(self.typical_interval_ms);
            let value = series.at_step_end(end_ms, hold_ms);
            let silent_ms = series.silent_ms(end_ms);
            let expected = !series.ended();
            series.set_expected(expected);
            self.holding += usize::from(expected && newest_ms.saturating_add(hold_ms) >= next_end_ms);
            if expected {
                self.expected += 1;
                self.passed += usize::from(newest_ms >= next_end_ms);
            }
            let ahead = series.newest_after(end_ms);
            let (entity, profile) = (series.entity, series.profile);
            if !value.is_nan() {
                self.add_up(entity, profile, terms, value, end_ms);
            }
            let stays = silent_ms <= FORGET_MS.max(hold_ms);
            if !stays {
                self.expected -= usize::from(expected);
                self.passed -= usize::from(expected && newest_ms >= next_end_ms);
                self.forget(slot, end_ms);
            } else if let Some(ahead_ms) = ahead {
                earliest_ms = Some(earliest_ms.map_or(ahead_ms, |earliest_ms| earliest_ms.min(ahead_ms)));
            } else {
                standing = true;
            }
            stays
        });
        self.order = order;
        if standing { None } else { earliest_ms }
    }

    #[inline]
    fn add_up(&mut self, entity_slot: u32, profile: u16, terms: usize, value: f64, end_ms: i64) {
        let Some(entity) = self.registry.entity_mut(entity_slot) else { return };
        let Some((_, profile)) = self.profiles.get(usize::from(profile)) else { return };
        for &(term, selector) in &profile.terms {
            // A selector that names nobody holds a slot beyond all services.
            let service = entity.services[usize::from(selector)] as usize;
            add(self.sums.terms.get_mut(service.saturating_mul(terms).saturating_add(usize::from(term))), value);
        }
        if profile.own != 0 {
            let first = std::mem::replace(&mut entity.reported_ms, end_ms) != end_ms && entity.host.is_some();
            for (selector, &service) in entity.services.iter().enumerate() {
                if profile.own & (1 << selector) != 0
                    && let Some(own) = self.sums.own.get_mut(service as usize)
                {
                    *own += 1;
                    if first {
                        self.sums.reported.push((service, entity_slot));
                    }
                }
            }
        }
        for &(sign, selector) in &profile.changes {
            let service = entity.services[usize::from(selector)];
            match sign {
                Sign::Start => {
                    if let Some(start) = self.sums.starts.get_mut(service as usize) {
                        *start = start.max(value);
                    }
                }
                Sign::Replicas => add(self.sums.replicas.get_mut(service as usize), value),
                Sign::Info => self.sums.described.push((service, entity_slot)),
                Sign::Instance => {}
            }
        }
        let (sources, source) = (self.set.rules.sources.len(), usize::from(profile.source));
        let of = |slot: u32| (slot as usize).saturating_mul(sources).saturating_add(source);
        for &(reporter, figure, scale) in &profile.edge {
            let (reporter, figure, value) = (usize::from(reporter), usize::from(figure), value * scale);
            add(self.sums.edges.get_mut(of(entity.edge)).map(|reports| &mut reports[reporter][figure]), value);
            if reporter == BY_CLIENT {
                add(self.sums.callers.get_mut(of(entity.server)).map(|figures| &mut figures[figure]), value);
            }
        }
    }

    /// Hosts and descriptions, from the instances that showed them in this step.
    fn note_instances(&mut self, end_ms: i64) {
        // Mostly the same instances report as before, and run where they ran.
        if self.registry.take_entities_changed() || self.sums.reported != self.sums.reported_before {
            self.note_hosts();
        }
        let mut described = std::mem::take(&mut self.sums.described);
        described.sort_unstable();
        for &(service, entity) in &described {
            let info = self.registry.entity(entity).map(|entity| entity.info.clone()).unwrap_or_default();
            if let Some(known) = self.registry.service_mut(service) {
                known.trail.describe(end_ms, &info);
            }
        }
        self.sums.described = described;
    }

    fn note_hosts(&mut self) {
        self.sums.reported_before.clone_from(&self.sums.reported);
        let mut reported = std::mem::take(&mut self.sums.reported);
        reported.sort_unstable();
        for instances in reported.chunk_by(|a, b| a.0 == b.0) {
            let hosts = instances.iter().filter_map(|&(_, entity)| self.registry.entity(entity)?.host.clone());
            let mut hosts: Vec<Arc<str>> = hosts.collect();
            hosts.sort_unstable();
            hosts.dedup();
            if let Some(known) = instances.first().and_then(|&(service, _)| self.registry.service_mut(service))
                && *known.hosts != *hosts
            {
                known.hosts = hosts.into();
            }
        }
        self.sums.reported = reported;
    }

    fn services(&mut self, end_ms: i64) -> Vec<ServiceStep> {
        let rules = &self.set.rules;
        let (terms, sources) = (rules.terms.len(), rules.sources.len());
        let slots = self.registry.sorted_services().to_vec();
        let mut services = Vec::with_capacity(slots.len());
        for slot in slots {
            let at = slot as usize;
            let sums = self.sums.terms.get(at * terms..(at + 1) * terms).unwrap_or_default();
            let callers = self.sums.callers.get(at * sources..(at + 1) * sources).unwrap_or_default();
            let signs = signs(self.sums.own[at], callers, rules);
            let step_ms = self.step_ms;
            let Some(known) = self.registry.service_mut(slot) else { continue };
            if sources > 1 && known.elected.is_empty() {
                known.elected = vec![Elected::default(); rules.features.len()].into_boxed_slice();
            }
            let values = if let [_] = rules.sources[..] {
                let only =
                    |ways: &Vec<FeatureRule>| ways.first().map_or(f64::NAN, |rule| feature(rule, rules, sums, callers));
                rules.features.iter().map(only).collect()
            } else {
                let elected = known.elected.iter_mut();
                let ways = rules.features.iter().zip(elected);
                ways.map(|(ways, elected)| elected_feature(ways, elected, end_ms, rules, sums, callers)).collect()
            };
            let presence: Presence = known.watch.step(end_ms, step_ms, signs);
            let (start, replicas) = (self.sums.starts[at], self.sums.replicas[at]);
            let change = known.trail.step(end_ms, step_ms, start, replicas);
            let (service, hosts) = (known.service.clone(), Arc::clone(&known.hosts));
            services.push(ServiceStep { service, values, presence, hosts, change });
        }
        services
    }

    fn edges(&mut self, end_ms: i64) -> Vec<EdgeStep> {
        let sources = &self.set.rules.sources;
        let slots = self.registry.sorted_edges().to_vec();
        let mut edges = Vec::with_capacity(slots.len());
        for slot in slots {
            let at = slot as usize * sources.len();
            let reports = self.sums.edges.get(at..at + sources.len()).unwrap_or_default();
            let Some(link) = self.registry.edge_mut(slot) else { continue };
            let active = reports.iter().flatten().any(|figures| {
                [REQUESTS, CONNECTS, CONNECT_FAILURES, ALIVE].iter().any(|&figure| figures[figure] > 0.0)
            });
            // One that was just found is given its time too.
            if active || link.active_ms.is_none() {
                link.active_ms = Some(end_ms);
            }
            if link.active_ms.is_some_and(|active_ms| end_ms - active_ms <= EDGE_IDLE_MS) {
                let [requests, connects] = &mut link.elected;
                let requests = requests.elect(end_ms, |source| tells(&reports[source], REQUEST_FIGURES), sources.len());
                let connects = connects.elect(end_ms, |source| tells(&reports[source], CONNECT_FIGURES), sources.len());
                edges.push(edge_step(link.edge.clone(), reports, requests, connects, sources));
            }
        }
        edges
    }
}

/// A feature from the source that is elected for it; NaN where missing.
fn elected_feature(
    ways: &[FeatureRule],
    elected: &mut Elected,
    end_ms: i64,
    rules: &Rules,
    sums: &[f64],
    callers: &[Figures],
) -> f64 {
    let mut values = [f64::NAN; MAX_SOURCES];
    for rule in ways {
        if let Some(value) = values.get_mut(rule.source) {
            *value = feature(rule, rules, sums, callers);
        }
    }
    let chosen = elected.elect(end_ms, |source| values.get(source).is_some_and(|value| !value.is_nan()), MAX_SOURCES);
    chosen.and_then(|source| values.get(source).copied()).unwrap_or(f64::NAN)
}

/// A feature from the sums of one service; NaN where missing.
fn feature(rule: &FeatureRule, rules: &Rules, sums: &[f64], callers: &[Figures]) -> f64 {
    if let Some(figure) = rule.of_callers {
        let include = rules.sources.get(rule.source).is_some_and(Source::connects_include_failures);
        return callers
            .get(rule.source)
            .map_or(f64::NAN, |report| of_callers(figure, report, include, rule.per_at_least));
    }
    let value = total(&rule.value, rules, sums);
    if rule.per.is_empty() {
        return value;
    }
    let per = total(&rule.per, rules, sums);
    // Nothing happened: there is no ratio, however the divisor is floored.
    if per > 0.0 { value / per.max(rule.per_at_least) } else { f64::NAN }
}

/// A feature from what a service's callers report.
fn of_callers(figure: OfCallers, report: &Figures, connects_include_failures: bool, per_at_least: f64) -> f64 {
    let ratio = |value: f64, per: f64, least: f64| if per > 0.0 { value / per.max(least) } else { f64::NAN };
    let (requests, errors) = answers(report);
    match figure {
        OfCallers::RequestsPerSecond => report[REQUESTS],
        OfCallers::RequestLatencySeconds => ratio(report[LATENCY], requests, 0.0),
        OfCallers::ErrorRatio => ratio(errors, requests, per_at_least),
        OfCallers::ConnectFailureRatio => {
            let (attempts, failures) = attempts(report, connects_include_failures);
            ratio(failures, attempts, per_at_least)
        }
    }
}

/// NaN where a term is missing that may not be, or every one that is not counted as zero is.
fn total(terms: &[usize], rules: &Rules, sums: &[f64]) -> f64 {
    let mut total = f64::NAN;
    for &index in terms {
        let (Some(&sum), Some(term)) = (sums.get(index), rules.terms.get(index)) else { return f64::NAN };
        match term.absent {
            _ if !sum.is_nan() => total = or_zero(total) + sum * term.scale,
            Absent::Zero => total = or_zero(total),
            Absent::Skip => {}
            Absent::Missing => return f64::NAN,
        }
    }
    total
}

fn or_zero(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// (all attempts, failed ones) per second.
fn attempts(figures: &Figures, connects_include_failures: bool) -> (f64, f64) {
    let (connects, failures) = (or_zero(figures[CONNECTS]), or_zero(figures[CONNECT_FAILURES]));
    let attempts = if connects_include_failures { connects.max(failures) } else { connects + failures };
    (attempts, failures)
}

const REQUEST_FIGURES: &[usize] = &[REQUESTS];
const CONNECT_FIGURES: &[usize] = &[CONNECTS, CONNECT_FAILURES];

/// Whether either end tells one of these figures.
fn tells(reports: &[Figures; 2], figures: &[usize]) -> bool {
    reports.iter().any(|report| figures.iter().any(|&figure| !report[figure].is_nan()))
}

/// What callers make of a service, by the first source that tells of their requests and the first that
/// tells of their connects.
fn signs(own_series: u32, callers: &[Figures], rules: &Rules) -> Signs {
    let told = |figures: &[usize]| {
        let mut sources = callers.iter().zip(&rules.sources);
        sources.find(|(report, _)| figures.iter().any(|&figure| !report[figure].is_nan()))
    };
    let (requests, errors) = told(REQUEST_FIGURES).map_or((0.0, 0.0), |(report, _)| answers(report));
    let answered_per_second = (requests - errors).max(0.0);
    let Some((connects, source)) = told(CONNECT_FIGURES) else {
        // No connects are reported: a request is an attempt, a server error its failure. Answered ones
        // are counted on their own.
        return Signs { own_series, attempts_per_second: errors, failures_per_second: errors, answered_per_second };
    };
    let (attempts_per_second, failures_per_second) = attempts(connects, source.connects_include_failures());
    Signs { own_series, attempts_per_second, failures_per_second, answered_per_second }
}

/// (requests, failed ones) per second; never more failed than asked.
fn answers(report: &Figures) -> (f64, f64) {
    let (requests, errors) = (or_zero(report[REQUESTS]), or_zero(report[ERRORS]));
    let errors = if report[ERRORS_OF] > 0.0 { requests * errors / report[ERRORS_OF] } else { errors };
    (requests, errors.min(requests))
}

/// The elected source's figures; of these the client's report, else the server's, for requests and for
/// connects; never the sum.
fn edge_step(
    edge: quoll_identity::Edge,
    reports: &[[Figures; 2]],
    requests_of: Option<usize>,
    connects_of: Option<usize>,
    sources: &[Source],
) -> EdgeStep {
    let choose = |source: Option<usize>, figures: &[usize]| {
        let [client, server] = reports.get(source?)?;
        let any = |report: &Figures| figures.iter().any(|&figure| !report[figure].is_nan());
        if any(client) { Some(client) } else { any(server).then_some(server) }
    };
    let connects = choose(connects_of, CONNECT_FIGURES).unwrap_or(&NO_FIGURES);
    let include = connects_of.and_then(|source| sources.get(source)).is_some_and(Source::connects_include_failures);
    let (connects_per_second, connect_failures_per_second) = attempts(connects, include);
    let (requests_per_second, errors_per_second, latency_seconds) =
        if let Some(report) = choose(requests_of, REQUEST_FIGURES) {
            let (requests, errors) = answers(report);
            let latency = if requests > 0.0 { report[LATENCY] / requests } else { f64::NAN };
            // Whoever got no connection could not even ask: a request that failed, and that no request metric
            // counts.
            (requests + connect_failures_per_second, errors + connect_failures_per_second, latency)
        } else {
            (connects_per_second, connect_failures_per_second, f64::NAN)
        };
    EdgeStep {
        edge,
        requests_per_second,
        errors_per_second,
        connects_per_second,
        connect_failures_per_second,
        latency_seconds,
    }
}
