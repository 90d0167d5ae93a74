//! The compiled rules: from a series' labels to what it counts for.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_identity::Service;

use crate::step::ChangeKind;

/// A set tells services apart by at most this many pairs of labels.
pub(crate) const MAX_SELECTORS: usize = 4;

/// Requests, errors, latency, connects, connect failures.
pub(crate) const EDGE_FIGURES: usize = 5;
pub(crate) const REQUESTS: usize = 0;
pub(crate) const ERRORS: usize = 1;
pub(crate) const LATENCY: usize = 2;
pub(crate) const CONNECTS: usize = 3;
pub(crate) const CONNECT_FAILURES: usize = 4;

/// Which end of an edge reports; indexes arrays.
pub(crate) const BY_CLIENT: usize = 0;
pub(crate) const BY_SERVER: usize = 1;

/// How a metric's samples become a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A level: the sample itself.
    Gauge,
    /// A counter: its increase per second.
    Counter,
}

/// The pair of labels that names a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub name: Arc<str>,
    pub namespace: Option<Arc<str>>,
    /// Whether series named so are the service's own: where they end, the service is gone.
    pub own: bool,
    /// Labels that name an instance's host, the best first.
    pub host: Vec<Arc<str>>,
}

/// What a gauge tells of a service's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Seconds since 1970 at which an instance started.
    Start,
    /// Nothing by its value; its labels describe an instance.
    Info,
    /// Instances asked for.
    Replicas,
}

/// One gauge that tells of changes.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRule {
    pub metric: Arc<str>,
    pub matchers: Vec<(Arc<str>, Vec<Arc<str>>)>,
    pub sign: Sign,
    pub selector: usize,
}

/// One metric, selected by labels, summed per service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    pub metric: Arc<str>,
    pub kind: Kind,
    pub matchers: Vec<(Arc<str>, Vec<Arc<str>>)>,
    pub scale: f64,
    pub absent_is_zero: bool,
    pub selector: usize,
}

/// How a feature is computed from the terms' sums.
#[derive(Debug, Clone)]
pub(crate) struct FeatureRule {
    pub value: Vec<usize>,
    pub per: Vec<usize>,
    pub per_at_least: f64,
}

/// One metric that tells a figure of edges.
#[derive(Debug, Clone)]
pub(crate) struct EdgeTerm {
    pub figure: usize,
    pub metric: Arc<str>,
    pub matchers: Vec<(Arc<str>, Vec<Arc<str>>)>,
    pub scale: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub label: Arc<str>,
    pub client: Arc<str>,
    pub server: Arc<str>,
}

/// Which series tell who calls whom.
#[derive(Debug, Clone)]
pub(crate) struct EdgeRules {
    pub client: Selector,
    pub server: Selector,
    pub reporter: Option<Reporter>,
    pub terms: Vec<EdgeTerm>,
    pub connects_include_failures: bool,
}

/// The terms that name one metric.
#[derive(Debug, Clone, Default)]
pub(crate) struct MetricRules {
    pub terms: Vec<usize>,
    pub edge_terms: Vec<usize>,
    pub changes: Vec<usize>,
}

/// A whole set, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub selectors: Vec<Selector>,
    pub terms: Vec<Term>,
    pub features: Vec<FeatureRule>,
    pub edges: Option<EdgeRules>,
    pub changes: Vec<ChangeRule>,
    /// Labels of info series, and what another value of them is.
    pub info_labels: Vec<(ChangeKind, Arc<str>)>,
    pub not_services: Vec<Arc<str>>,
    pub breakdown: Vec<Arc<str>>,
    pub by_metric: BTreeMap<Arc<str>, MetricRules>,
    pub kinds: BTreeMap<Arc<str>, Kind>,
}

/// What one series counts for. Few distinct ones exist per set; series share them by index.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Profile {
    /// (term, selector): the series adds to the term's sum of the service that the selector names.
    pub terms: Vec<(u16, u8)>,
    /// (reporter, figure, scale): the series adds to the figure of its edge.
    pub edge: Vec<(u8, u8, f64)>,
    /// (sign, selector): the series tells of changes of the service that the selector names.
    pub changes: Vec<(Sign, u8)>,
    /// Bit per selector whose services the series is an own series of.
    pub own: u8,
}

/// The labels of a series, sorted by name.
pub(crate) type Labels<'a> = [(&'a str, &'a str)];

pub(crate) fn label<'a>(labels: &Labels<'a>, name: &str) -> Option<&'a str> {
    let at = labels.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    labels.get(at).map(|(_, value)| *value)
}

fn pass(matchers: &[(Arc<str>, Vec<Arc<str>>)], labels: &Labels<'_>) -> bool {
    // An absent label and an empty one are the same thing in Prometheus' data model.
    matchers.iter().all(|(name, values)| {
        let value = label(labels, name).unwrap_or("");
        values.iter().any(|wanted| **wanted == *value)
    })
}

impl Rules {
    /// Finds the rules of each metric.
    pub fn index(mut self) -> Self {
        let mut by_metric: BTreeMap<Arc<str>, MetricRules> = BTreeMap::new();
        for (index, term) in self.terms.iter().enumerate() {
            by_metric.entry(Arc::clone(&term.metric)).or_default().terms.push(index);
        }
        for (index, term) in self.edges.iter().flat_map(|edges| &edges.terms).enumerate() {
            by_metric.entry(Arc::clone(&term.metric)).or_default().edge_terms.push(index);
        }
        for (index, change) in self.changes.iter().enumerate() {
            by_metric.entry(Arc::clone(&change.metric)).or_default().changes.push(index);
        }
        self.by_metric = by_metric;
        self
    }

    /// What a series with these labels counts for, and how its samples are read; `None` where no rule
    /// wants it.
    pub fn profile(&self, labels: &Labels<'_>) -> Option<(Kind, Profile)> {
        let metric = label(labels, "__name__")?;
        let rules = self.by_metric.get(metric)?;
        let kind = *self.kinds.get(metric)?;
        let mut profile = Profile::default();
        for &index in &rules.terms {
            let term = &self.terms[index];
            if pass(&term.matchers, labels) {
                profile.terms.push((small(index), tiny(term.selector)));
                if self.selectors[term.selector].own {
                    profile.own |= 1 << term.selector;
                }
            }
        }
        if let Some(edges) = &self.edges
            && let Some(reporter) = edges.reported_by(labels)
        {
            for &index in &rules.edge_terms {
                let term = &edges.terms[index];
                if pass(&term.matchers, labels) {
                    profile.edge.push((tiny(reporter), tiny(term.figure), term.scale));
                }
            }
        }
        for &index in &rules.changes {
            let change = &self.changes[index];
            if pass(&change.matchers, labels) {
                profile.changes.push((change.sign, tiny(change.selector)));
                if self.selectors[change.selector].own {
                    profile.own |= 1 << change.selector;
                }
            }
        }
        let wanted = !profile.terms.is_empty() || !profile.edge.is_empty() || !profile.changes.is_empty();
        wanted.then_some((kind, profile))
    }

    /// The host that these labels name as a service's own; a port is no part of it.
    pub fn host(&self, labels: &Labels<'_>) -> Option<Arc<str>> {
        let own = self.selectors.iter().filter(|selector| selector.own);
        let value = own.flat_map(|selector| &selector.host).find_map(|name| {
            let value = label(labels, name)?;
            (!value.is_empty()).then_some(value)
        })?;
        let host = match value.rsplit_once(':') {
            // The last group of a bare IPv6 address is no port.
            Some((host, port))
                if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) =>
            {
                host
            }
            _ => value,
        };
        Some(Arc::from(host))
    }

    /// What these labels describe of an instance.
    pub fn info(&self, labels: &Labels<'_>) -> Box<[(ChangeKind, Arc<str>)]> {
        let known = self.info_labels.iter().filter_map(|(kind, name)| {
            let value = label(labels, name)?;
            (!value.is_empty()).then(|| (*kind, Arc::from(value)))
        });
        known.collect()
    }

    /// The service that `selector` names on these labels; `None` where the labels name none.
    pub fn service(&self, selector: &Selector, labels: &Labels<'_>) -> Option<Service> {
        let name = label(labels, &selector.name)?;
        if self.not_services.iter().any(|not| **not == *name) {
            return None;
        }
        Service::new(selector.namespace.as_ref().and_then(|namespace| label(labels, namespace)), name)
    }

    /// Whether `name` only splits one thing's series into parts.
    pub fn is_breakdown(&self, name: &str) -> bool {
        name == "__name__" || self.breakdown.iter().any(|label| **label == *name)
    }
}

impl EdgeRules {
    fn reported_by(&self, labels: &Labels<'_>) -> Option<usize> {
        let Some(reporter) = &self.reporter else { return Some(BY_CLIENT) };
        let value = label(labels, &reporter.label)?;
        if *value == *reporter.client {
            Some(BY_CLIENT)
        } else if *value == *reporter.server {
            Some(BY_SERVER)
        } else {
            None
        }
    }
}

/// Terms are bounded by the limits on features, selectors by [`MAX_SELECTORS`].
fn small(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn tiny(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}
