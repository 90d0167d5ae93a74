//! The compiled rules: from a series' labels to what it counts for.

use std::collections::BTreeMap;
use std::sync::Arc;

use quoll_identity::Service;

use crate::names::{Selector, is_address, passes};
use crate::step::ChangeKind;
use crate::text::{Absent, OfCallers};

/// A source tells services apart by at most this many pairs of labels.
pub(crate) const MAX_SELECTORS: usize = 4;
/// Presets active at once.
pub(crate) const MAX_SOURCES: usize = 16;

/// What is known of an edge; indexes [`crate::close::Figures`].
pub(crate) const EDGE_FIGURES: usize = 7;
pub(crate) const REQUESTS: usize = 0;
pub(crate) const ERRORS: usize = 1;
pub(crate) const LATENCY: usize = 2;
pub(crate) const CONNECTS: usize = 3;
pub(crate) const CONNECT_FAILURES: usize = 4;
/// What errors are counted out of, where that is not the requests.
pub(crate) const ERRORS_OF: usize = 5;
/// Anything positive keeps an edge alive that is otherwise idle.
pub(crate) const ALIVE: usize = 6;

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

/// What a gauge tells of a service's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Seconds since 1970 at which an instance started.
    Start,
    /// Nothing by its value; its labels describe an instance.
    Info,
    /// Instances asked for.
    Replicas,
    /// Nothing but that there is an instance.
    Instance,
}

pub(crate) type Matchers = Vec<(Arc<str>, Vec<Arc<str>>)>;

/// One gauge that tells of changes.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRule {
    pub matchers: Matchers,
    pub sign: Sign,
    pub selector: usize,
}

/// One metric, selected by labels, summed per service.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Term {
    pub metric: Arc<str>,
    pub kind: Kind,
    pub matchers: Matchers,
    pub scale: f64,
    pub absent: Absent,
    pub source: usize,
    pub selector: usize,
}

/// How a feature is computed from the terms' sums of one source.
#[derive(Debug, Clone)]
pub(crate) struct FeatureRule {
    pub source: usize,
    /// From the callers' reports instead of terms.
    pub of_callers: Option<OfCallers>,
    pub value: Vec<usize>,
    pub per: Vec<usize>,
    pub per_at_least: f64,
}

/// One metric that tells a figure of edges.
#[derive(Debug, Clone)]
pub(crate) struct EdgeTerm {
    pub figure: usize,
    pub matchers: Matchers,
    pub scale: f64,
    /// Which end reports, where the metric itself says so.
    pub reporter: Option<usize>,
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
    /// The first whose label is there says which end reports; without any, all series are the client's.
    pub reporters: Vec<Reporter>,
    pub terms: Vec<EdgeTerm>,
    /// Where servers are named by address: the label that tells who listens there, and the selector of who.
    pub addresses: Option<(Arc<str>, usize)>,
    pub connects_include_failures: bool,
}

/// The rules of one preset, or of one file of a user's own.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub selectors: Vec<Selector>,
    pub edges: Option<EdgeRules>,
    pub changes: Vec<ChangeRule>,
    /// Labels of info series, and what another value of them is.
    pub info_labels: Vec<(ChangeKind, Arc<str>)>,
    pub not_services: Vec<Arc<str>>,
    pub breakdown: Vec<Arc<str>>,
}

/// The rules that name one metric. A metric belongs to one source.
#[derive(Debug, Clone)]
pub(crate) struct MetricRules {
    pub source: usize,
    pub kind: Kind,
    /// Indexes into all terms.
    pub terms: Vec<usize>,
    /// Indexes into the source's edge terms.
    pub edge_terms: Vec<usize>,
    /// Indexes into the source's changes.
    pub changes: Vec<usize>,
}

/// A whole set, compiled.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub sources: Vec<Source>,
    pub terms: Vec<Term>,
    /// By feature: how each source that has it computes it, the preferred source first.
    pub features: Vec<Vec<FeatureRule>>,
    pub by_metric: BTreeMap<Arc<str>, MetricRules>,
}

/// What one series counts for. Few distinct ones exist per set; series share them by index.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Profile {
    pub source: u8,
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

fn pass(matchers: &Matchers, labels: &Labels<'_>) -> bool {
    // An absent label and an empty one are the same thing in Prometheus' data model.
    matchers.iter().all(|(name, values)| passes(values, label(labels, name).unwrap_or("")))
}

impl Rules {
    /// What a series with these labels counts for, and how its samples are read; `None` where no rule
    /// wants it.
    pub fn profile(&self, labels: &Labels<'_>) -> Option<(Kind, Profile)> {
        let rules = self.by_metric.get(label(labels, "__name__")?)?;
        let source = self.sources.get(rules.source)?;
        let mut profile = Profile { source: tiny(rules.source), ..Profile::default() };
        for &index in &rules.terms {
            let term = &self.terms[index];
            if pass(&term.matchers, labels) {
                profile.terms.push((small(index), tiny(term.selector)));
                profile.own |= source.own_bit(term.selector);
            }
        }
        if let Some(edges) = &source.edges {
            for &index in &rules.edge_terms {
                let term = &edges.terms[index];
                if pass(&term.matchers, labels)
                    && let Some(reporter) = term.reporter.or_else(|| edges.reported_by(labels))
                {
                    profile.edge.push((tiny(reporter), tiny(term.figure), term.scale));
                }
            }
        }
        for &index in &rules.changes {
            let change = &source.changes[index];
            if pass(&change.matchers, labels) {
                profile.changes.push((change.sign, tiny(change.selector)));
                profile.own |= source.own_bit(change.selector);
            }
        }
        let wanted = !profile.terms.is_empty() || !profile.edge.is_empty() || !profile.changes.is_empty();
        wanted.then_some((rules.kind, profile))
    }
}

impl Source {
    fn own_bit(&self, selector: usize) -> u8 {
        u8::from(self.selectors[selector].own) << selector
    }

    /// The service that `selector` names on these labels; `None` where the labels name nobody.
    pub fn service(&self, selector: &Selector, labels: &Labels<'_>) -> Option<Service> {
        selector.service(labels, &self.not_services)
    }

    /// The host that these labels name as a service's own.
    pub fn host(&self, labels: &Labels<'_>) -> Option<Arc<str>> {
        self.selectors.iter().filter(|selector| selector.own).find_map(|selector| selector.host(labels))
    }

    /// What these labels describe of an instance.
    pub fn info(&self, labels: &Labels<'_>) -> Box<[(ChangeKind, Arc<str>)]> {
        let known = self.info_labels.iter().filter_map(|(kind, name)| {
            let value = label(labels, name)?;
            (!value.is_empty()).then(|| (*kind, Arc::from(value)))
        });
        known.collect()
    }

    /// Whether `name` only splits one thing's series into parts.
    pub fn is_breakdown(&self, name: &str) -> bool {
        name == "__name__" || self.breakdown.iter().any(|label| **label == *name)
    }

    pub fn connects_include_failures(&self) -> bool {
        self.edges.as_ref().is_some_and(|edges| edges.connects_include_failures)
    }
}

impl EdgeRules {
    /// The addresses that name the server on these labels, the best first.
    pub fn server_addresses<'a>(&'a self, labels: &'a Labels<'a>) -> impl Iterator<Item = &'a str> {
        let names = self.server.name.iter().take(if self.addresses.is_some() { usize::MAX } else { 0 });
        names.filter_map(|name| label(labels, name)).filter(|value| is_address(value))
    }

    fn reported_by(&self, labels: &Labels<'_>) -> Option<usize> {
        if self.reporters.is_empty() {
            return Some(BY_CLIENT);
        }
        self.reporters.iter().find_map(|reporter| {
            let value = label(labels, &reporter.label)?;
            if *value == *reporter.client {
                Some(BY_CLIENT)
            } else if *value == *reporter.server {
                Some(BY_SERVER)
            } else {
                None
            }
        })
    }
}

/// Terms are bounded by the limits on features, selectors by [`MAX_SELECTORS`], sources by
/// [`MAX_SOURCES`].
fn small(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

fn tiny(index: usize) -> u8 {
    u8::try_from(index).unwrap_or(u8::MAX)
}
