//! From texts to checked, compiled rules.
//!
//! What can be wrong is found here, once, with a message that names the place; what comes out needs no
//! further checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::PresetError;
use crate::names::Selector;
use crate::preset::is_own_output;
use crate::rules::{
    BY_CLIENT, BY_SERVER, ChangeRule, EDGE_FIGURES, EdgeRules, EdgeTerm, FeatureRule, Kind, MAX_SELECTORS, Matchers,
    MetricRules, Reporter, Rules, Sign, Source, Term,
};
use crate::spec::FeatureSpec;
use crate::step::ChangeKind;
use crate::text::{
    Absent, ChangeText, EdgesText, End, FeatureText, OneOrMany, Reporters, ServiceLabelsText, SetText, TermText,
};

/// A vector of more features than this is a mistake, not a wish.
const MAX_FEATURES: usize = 256;

/// Distinct terms over all features.
const MAX_TERMS: usize = 1024;

/// Compiles texts, each with the name its metrics are told by where two of them disagree.
pub(crate) fn compile(texts: &[(&str, SetText)]) -> Result<(Vec<FeatureSpec>, Rules), PresetError> {
    let mut builder = Builder { names: texts.iter().map(|(name, _)| *name).collect(), ..Builder::default() };
    for (source, (_, text)) in texts.iter().enumerate() {
        builder.add_source(source, text)?;
    }
    if builder.specs.is_empty() {
        return Err(PresetError::Empty);
    }
    Ok((builder.specs, builder.rules))
}

#[derive(Default)]
struct Builder<'a> {
    names: Vec<&'a str>,
    specs: Vec<FeatureSpec>,
    rules: Rules,
}

impl Builder<'_> {
    fn add_source(&mut self, source: usize, text: &SetText) -> Result<(), PresetError> {
        let labels = &text.service_labels;
        // A file that only adds to presets may get by without.
        if labels.len() > MAX_SELECTORS || (labels.is_empty() && text.presets.is_empty()) {
            return Err(PresetError::ServiceLabels { count: labels.len(), limit: MAX_SELECTORS });
        }
        let selectors = labels.iter().map(|(key, labels)| selector(labels, key == "itself"));
        let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
        let mut seen: Vec<&str> = Vec::new();
        for feature in &text.features {
            if seen.contains(&&*feature.name) {
                return Err(PresetError::Duplicate { feature: feature.name.clone() });
            }
            seen.push(&feature.name);
            self.add_feature(source, text, feature)?;
        }
        let mut edges = text.edges.as_ref().map(|edges| self.edges(source, edges)).transpose()?;
        let (mut changes, info_labels) = self.changes(source, text)?;
        if let Some(edges) = &mut edges
            && let Some(addresses) = text.edges.as_ref().and_then(|edges| edges.addresses.as_ref())
        {
            let place = "edges: `addresses`";
            name("metric", &addresses.gauge)?;
            name("label", &addresses.label)?;
            let selector = position(text, place, &addresses.service)?;
            self.metric(&Arc::from(&*addresses.gauge), Kind::Gauge, source)?.changes.push(changes.len());
            changes.push(ChangeRule { matchers: Matchers::new(), sign: Sign::Instance, selector });
            edges.addresses = Some((Arc::from(&*addresses.label), selector));
        }
        breakdown(text)?;
        self.rules.sources.push(Source {
            selectors,
            edges,
            changes,
            info_labels,
            not_services: shared(&text.not_services),
            breakdown: shared(&text.breakdown_labels),
        });
        Ok(())
    }

    fn add_feature(&mut self, source: usize, text: &SetText, feature: &FeatureText) -> Result<(), PresetError> {
        name("feature", &feature.name)?;
        for (what, value) in [("min_deviation", feature.min_deviation), ("per_at_least", feature.per_at_least)] {
            if !(value.is_finite() && value >= 0.0) {
                let feature = feature.name.clone();
                return Err(PresetError::OutOfRange { feature, what, value, range: "finite and not negative" });
            }
        }
        let place = format!("feature `{}`", feature.name);
        let terms = !feature.value.is_empty() || !feature.per.is_empty() || feature.service.is_some();
        let selector = match (&feature.of_callers, &feature.service) {
            (Some(_), _) if terms => return Err(PresetError::TermsOfCallers { place }),
            (Some(_), _) if text.edges.is_none() => return Err(PresetError::NoEdges { place }),
            (Some(_), _) => 0,
            (None, _) if feature.value.is_empty() => return Err(PresetError::NoTerms { place }),
            (None, service) => position(text, &place, service.as_deref().unwrap_or_default())?,
        };
        let rule = FeatureRule {
            source,
            of_callers: feature.of_callers,
            value: self.add_terms(&place, &feature.value, source, selector)?,
            per: self.add_terms(&place, &feature.per, source, selector)?,
            per_at_least: feature.per_at_least,
        };
        let spec = FeatureSpec {
            name: Arc::from(&*feature.name),
            unit: Arc::from(&*feature.unit),
            direction: feature.direction,
            min_deviation: feature.min_deviation,
            seen_by: feature.seen_by,
            role: feature.role,
        };
        let Some(at) = self.specs.iter().position(|known| known.name == spec.name) else {
            if self.specs.len() >= MAX_FEATURES {
                return Err(PresetError::TooMany { count: self.specs.len() + 1, limit: MAX_FEATURES });
            }
            self.specs.push(spec);
            self.rules.features.push(vec![rule]);
            return Ok(());
        };
        let known = &self.specs[at];
        // The first one's least deviation holds; everything else has to mean the same thing.
        if (&known.unit, known.direction, known.seen_by, known.role)
            != (&spec.unit, spec.direction, spec.seen_by, spec.role)
        {
            let first = self.rules.features[at].first().map_or("", |rule| self.names[rule.source]);
            return Err(PresetError::Conflict {
                feature: feature.name.clone(),
                first: first.to_owned(),
                second: self.names[source].to_owned(),
            });
        }
        self.rules.features[at].push(rule);
        Ok(())
    }

    fn add_terms(
        &mut self,
        place: &str,
        texts: &[TermText],
        source: usize,
        selector: usize,
    ) -> Result<Vec<usize>, PresetError> {
        texts.iter().map(|text| self.add_term(place, text, source, selector)).collect()
    }

    /// Features share equal terms.
    fn add_term(&mut self, place: &str, text: &TermText, source: usize, selector: usize) -> Result<usize, PresetError> {
        let term = self.check(place, text, source, selector)?;
        if let Some(index) = self.rules.terms.iter().position(|known| *known == term) {
            return Ok(index);
        }
        let index = self.rules.terms.len();
        if index >= MAX_TERMS {
            return Err(PresetError::TooMany { count: index + 1, limit: MAX_TERMS });
        }
        self.metric(&term.metric, term.kind, source)?.terms.push(index);
        self.rules.terms.push(term);
        Ok(index)
    }

    /// The rules of a metric, which is one source's and read in one way.
    fn metric(&mut self, metric: &Arc<str>, kind: Kind, source: usize) -> Result<&mut MetricRules, PresetError> {
        let rules = self.rules.by_metric.entry(Arc::clone(metric)).or_insert_with(|| MetricRules {
            source,
            kind,
            terms: Vec::new(),
            edge_terms: Vec::new(),
            changes: Vec::new(),
        });
        if rules.source != source {
            return Err(PresetError::SharedMetric {
                metric: metric.to_string(),
                first: self.names[rules.source].to_owned(),
                second: self.names[source].to_owned(),
            });
        }
        if rules.kind != kind {
            return Err(PresetError::GaugeAndRate { metric: metric.to_string() });
        }
        Ok(rules)
    }

    fn check(&mut self, place: &str, text: &TermText, source: usize, selector: usize) -> Result<Term, PresetError> {
        let (metric, kind) = match (&text.gauge, &text.rate) {
            (Some(metric), None) => (metric, Kind::Gauge),
            (None, Some(metric)) => (metric, Kind::Counter),
            _ => return Err(PresetError::NotOneMetric { place: place.to_owned() }),
        };
        if is_own_output(metric) {
            return Err(PresetError::OwnOutput { place: place.to_owned(), metric: metric.clone() });
        }
        name("metric", metric)?;
        if !text.scale.is_finite() || text.scale == 0.0 {
            let feature = place.to_owned();
            return Err(PresetError::OutOfRange {
                feature,
                what: "scale",
                value: text.scale,
                range: "finite and not 0",
            });
        }
        Ok(Term {
            metric: Arc::from(&**metric),
            kind,
            matchers: matchers(place, &text.matchers)?,
            scale: text.scale,
            absent: text.absent,
            source,
            selector,
        })
    }

    fn edges(&mut self, source: usize, text: &EdgesText) -> Result<EdgeRules, PresetError> {
        let figures: [(&'static str, &[TermText]); EDGE_FIGURES] = [
            ("requests", &text.requests),
            ("errors", &text.errors),
            ("latency", &text.latency),
            ("connects", &text.connects),
            ("connect_failures", &text.connect_failures),
            ("errors_of", &text.errors_of),
            ("alive", &text.alive),
        ];
        let mut terms = Vec::new();
        for (figure, (called, list)) in figures.into_iter().enumerate() {
            let place = format!("edges: `{called}`");
            for term in list {
                let reporter = term.reporter.map(|end| match end {
                    End::Client => BY_CLIENT,
                    End::Server => BY_SERVER,
                });
                let term = self.check(&place, term, source, 0)?;
                if term.kind == Kind::Gauge && called != "alive" {
                    return Err(PresetError::EdgeGauge { figure: called, metric: term.metric.to_string() });
                }
                self.metric(&term.metric, term.kind, source)?.edge_terms.push(terms.len());
                terms.push(EdgeTerm { figure, matchers: term.matchers, scale: term.scale, reporter });
            }
        }
        let reporters = text.reporter.as_ref().map(Reporters::values).unwrap_or_default();
        let reporters = reporters.iter().map(|reporter| Reporter {
            label: Arc::from(&*reporter.label),
            client: Arc::from(&*reporter.client),
            server: Arc::from(&*reporter.server),
        });
        Ok(EdgeRules {
            client: selector(&text.client, false)?,
            server: selector(&text.server, false)?,
            reporters: reporters.collect(),
            terms,
            addresses: None,
            connects_include_failures: text.connects_include_failures,
        })
    }

    fn changes(&mut self, source: usize, text: &SetText) -> Result<(Vec<ChangeRule>, InfoLabels), PresetError> {
        let mut rules = Vec::with_capacity(text.changes.len());
        let mut labels = InfoLabels::new();
        for change in &text.changes {
            let (metric, sign) = match (&change.restart, &change.info, &change.replicas, &change.instance) {
                (Some(metric), None, None, None) => (metric, Sign::Start),
                (None, Some(metric), None, None) => (metric, Sign::Info),
                (None, None, Some(metric), None) => (metric, Sign::Replicas),
                (None, None, None, Some(metric)) => (metric, Sign::Instance),
                _ => return Err(PresetError::NotOneChange),
            };
            let place = format!("changes: `{metric}`");
            let told = info_labels(change)?;
            if (sign == Sign::Info) == told.is_empty() {
                return Err(PresetError::InfoLabels { place });
            }
            labels.extend(told);
            let term = TermText {
                gauge: Some(metric.clone()),
                rate: None,
                matchers: change.matchers.clone(),
                scale: 1.0,
                absent: Absent::Missing,
                reporter: None,
            };
            let selector = position(text, &place, &change.service)?;
            let Term { metric, kind, matchers, .. } = self.check(&place, &term, source, selector)?;
            self.metric(&metric, kind, source)?.changes.push(rules.len());
            rules.push(ChangeRule { matchers, sign, selector });
        }
        labels.sort();
        labels.dedup();
        Ok((rules, labels))
    }
}

type InfoLabels = Vec<(ChangeKind, Arc<str>)>;

fn info_labels(change: &ChangeText) -> Result<InfoLabels, PresetError> {
    let told = [
        (ChangeKind::Image, &change.image),
        (ChangeKind::Version, &change.version),
        (ChangeKind::Executable, &change.executable),
    ];
    let told = told.into_iter().filter_map(|(kind, label)| Some((kind, label.as_deref()?)));
    told.map(|(kind, label)| name("label", label).map(|()| (kind, Arc::from(label)))).collect()
}

fn position(text: &SetText, place: &str, asked: &str) -> Result<usize, PresetError> {
    text.service_labels.keys().position(|key| key == asked).ok_or_else(|| PresetError::UnknownService {
        place: place.to_owned(),
        asked: asked.to_owned(),
        known: text.service_labels.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}

fn shared(values: &[String]) -> Vec<Arc<str>> {
    values.iter().map(|value| Arc::from(&**value)).collect()
}

fn selector(labels: &ServiceLabelsText, own: bool) -> Result<Selector, PresetError> {
    let namespace = labels.namespace.as_ref().map(OneOrMany::values).unwrap_or_default();
    for label in labels.name.values().iter().chain(namespace).chain(&labels.host) {
        name("label", label)?;
    }
    Ok(Selector {
        name: shared(labels.name.values()),
        namespace: shared(namespace),
        within: labels.within.as_deref().map(Arc::from),
        form: labels.form,
        own,
        host: shared(&labels.host),
    })
}

fn breakdown(text: &SetText) -> Result<(), PresetError> {
    let edges = text.edges.iter();
    let services = text.service_labels.values().chain(edges.clone().flat_map(|edges| [&edges.client, &edges.server]));
    let naming = services
        .flat_map(|labels| labels.name.values().iter().chain(labels.namespace.iter().flat_map(OneOrMany::values)));
    let reporters = edges.filter_map(|edges| edges.reporter.as_ref()).flat_map(Reporters::values);
    for label in naming.chain(reporters.map(|reporter| &reporter.label)) {
        if text.breakdown_labels.contains(label) {
            return Err(PresetError::BreakdownNames { label: label.clone() });
        }
    }
    Ok(())
}

fn matchers(place: &str, text: &BTreeMap<String, OneOrMany>) -> Result<Matchers, PresetError> {
    let mut matchers = Vec::with_capacity(text.len());
    for (label, values) in text {
        name("label", label)?;
        if values.values().is_empty() {
            return Err(PresetError::EmptyMatcher { place: place.to_owned(), label: label.clone() });
        }
        matchers.push((Arc::from(&**label), shared(values.values())));
    }
    Ok(matchers)
}

/// Metric names may hold colons (recording rules); feature and label names may not.
fn name(what: &'static str, name: &str) -> Result<(), PresetError> {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || (what == "metric" && c == ':');
    let mut characters = name.chars();
    let good = characters.next().is_some_and(letter) && characters.all(|c| letter(c) || c.is_ascii_digit());
    if good { Ok(()) } else { Err(PresetError::BadName { what, name: name.to_owned() }) }
}

/// What of a text computes features.
pub(crate) fn features_of(text: &SetText) -> SetText {
    SetText { presets: Vec::new(), edges: None, changes: Vec::new(), ..text.clone() }
}

/// FNV-1a, 128 bits, over the canonical JSON of the texts
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>): stable across machines and versions of Rust, which
/// the standard hasher does not promise. It tells sets apart; it defends against nobody.
pub(crate) fn digest(texts: impl Iterator<Item = SetText>) -> Result<String, PresetError> {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut digest = OFFSET;
    for text in texts {
        let canonical = serde_json::to_vec(&text).map_err(|error| PresetError::Yaml(error.to_string()))?;
        digest = canonical.iter().fold(digest, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    }
    Ok(format!("{digest:032x}"))
}
