//! From the YAML text to a checked, compiled set.
//!
//! What can be wrong is found here, once, with a message that names the place; what comes out needs no
//! further checks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::PresetError;
use crate::rules::{
    ChangeRule, EDGE_FIGURES, EdgeRules, EdgeTerm, FeatureRule, Kind, MAX_SELECTORS, Reporter, Rules, Selector, Sign,
    Term,
};
use crate::spec::FeatureSpec;
use crate::step::ChangeKind;
use crate::text::{Absent, EdgesText, ServiceLabelsText, SetText, TermText};

/// The presets that ship with Quoll.
const PRESETS: [(&str, &str); 1] = [("quoll", include_str!("../presets/quoll.yaml"))];

/// A vector of more features than this is a mistake, not a wish.
const MAX_FEATURES: usize = 256;

/// Distinct terms over all features.
const MAX_TERMS: usize = 1024;

/// Names that Quoll writes itself. Scores must not feed on scores.
const OWN_OUTPUTS: [&str; 16] = [
    "quoll:",
    "quoll_anomaly_",
    "quoll_blast_",
    "quoll_calibration_",
    "quoll_edge_",
    "quoll_evidence_",
    "quoll_fault_",
    "quoll_feature_",
    "quoll_incident",
    "quoll_inference_",
    "quoll_leak_",
    "quoll_no_fault_",
    "quoll_root_cause_",
    "quoll_scorer_",
    "quoll_service_alias_",
    "quoll_symptom",
];

/// Whether a metric of this name is one of Quoll's own outputs (or a recording rule over them), which
/// may not be an input.
#[must_use]
pub fn is_own_output(metric: &str) -> bool {
    OWN_OUTPUTS.iter().any(|prefix| metric.starts_with(prefix))
}

/// An ordered set of features and the rules that compute them. Only [`FeatureSet::preset`] and
/// [`FeatureSet::from_yaml`] make one, so every set in existence has passed all checks.
#[derive(Debug, Clone)]
pub struct FeatureSet {
    /// The features in the order of every value vector.
    pub features: Vec<FeatureSpec>,
    pub(crate) rules: Rules,
    hash: String,
}

impl FeatureSet {
    /// A preset that ships with Quoll; [`FeatureSet::preset_names`] lists them.
    ///
    /// # Errors
    /// [`PresetError::Unknown`] for a name that no preset has.
    pub fn preset(name: &str) -> Result<Self, PresetError> {
        match PRESETS.iter().find(|(known, _)| *known == name) {
            Some((_, yaml)) => Self::from_yaml(yaml),
            None => {
                let known: Vec<&str> = Self::preset_names().collect();
                Err(PresetError::Unknown { name: name.to_owned(), known: known.join(", ") })
            }
        }
    }

    /// The names that [`FeatureSet::preset`] knows.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|(name, _)| *name)
    }

    /// The YAML of a preset, to start a set of one's own from.
    #[must_use]
    pub fn preset_yaml(name: &str) -> Option<&'static str> {
        PRESETS.iter().find(|(known, _)| *known == name).map(|(_, yaml)| *yaml)
    }

    /// Features and rules of a user's own YAML; `presets/quoll.yaml` shows the form.
    ///
    /// # Errors
    /// Every way in which the text is not a usable set; see [`PresetError`].
    pub fn from_yaml(yaml: &str) -> Result<Self, PresetError> {
        let text: SetText = serde_saphyr::from_str(yaml).map_err(|error| PresetError::Yaml(error.to_string()))?;
        compile(&text)
    }

    /// Stable hex digest over all features and rules (not over comments or layout of the YAML); equal
    /// sets have equal digests on every machine.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone()
    }

    /// The allow-list: the metrics that some rule names, sorted, each once.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.rules.by_metric.keys().map(|name| &**name)
    }

    /// Whether some rule names this metric. A series may still be refused by its labels.
    #[must_use]
    pub fn selects(&self, metric: &str) -> bool {
        self.rules.by_metric.contains_key(metric)
    }
}

fn compile(text: &SetText) -> Result<FeatureSet, PresetError> {
    if text.features.is_empty() {
        return Err(PresetError::Empty);
    }
    if text.features.len() > MAX_FEATURES {
        return Err(PresetError::TooMany { count: text.features.len(), limit: MAX_FEATURES });
    }
    let selectors = selectors(&text.service_labels)?;
    let mut terms = Terms::default();
    let mut features = Vec::with_capacity(text.features.len());
    let mut feature_rules = Vec::with_capacity(text.features.len());
    for feature in &text.features {
        name("feature", &feature.name)?;
        if features.iter().any(|known: &FeatureSpec| *known.name == *feature.name) {
            return Err(PresetError::Duplicate { feature: feature.name.clone() });
        }
        for (what, value) in [("min_deviation", feature.min_deviation), ("per_at_least", feature.per_at_least)] {
            if !(value.is_finite() && value >= 0.0) {
                let feature = feature.name.clone();
                return Err(PresetError::OutOfRange { feature, what, value, range: "finite and not negative" });
            }
        }
        let place = format!("feature `{}`", feature.name);
        let selector = position(text, &place, &feature.service)?;
        if feature.value.is_empty() {
            return Err(PresetError::NoTerms { place });
        }
        feature_rules.push(FeatureRule {
            value: terms.add_all(&place, &feature.value, selector)?,
            per: terms.add_all(&place, &feature.per, selector)?,
            per_at_least: feature.per_at_least,
        });
        features.push(FeatureSpec {
            name: Arc::from(&*feature.name),
            unit: Arc::from(&*feature.unit),
            direction: feature.direction,
            min_deviation: feature.min_deviation,
            seen_by: feature.seen_by,
            role: feature.role,
        });
    }
    let edges = text.edges.as_ref().map(|edges| compile_edges(edges, &mut terms)).transpose()?;
    let (changes, info_labels) = compile_changes(text, &mut terms)?;
    breakdown(text)?;
    let rules = Rules {
        selectors,
        terms: terms.terms,
        features: feature_rules,
        edges,
        changes,
        info_labels,
        not_services: text.not_services.iter().map(|name| Arc::from(&**name)).collect(),
        breakdown: text.breakdown_labels.iter().map(|label| Arc::from(&**label)).collect(),
        by_metric: BTreeMap::new(),
        kinds: terms.kinds,
    };
    Ok(FeatureSet { features, rules: rules.index(), hash: digest(text)? })
}

fn position(text: &SetText, place: &str, asked: &str) -> Result<usize, PresetError> {
    text.service_labels.keys().position(|key| key == asked).ok_or_else(|| PresetError::UnknownService {
        place: place.to_owned(),
        asked: asked.to_owned(),
        known: text.service_labels.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}

type InfoLabels = Vec<(ChangeKind, Arc<str>)>;

fn compile_changes(text: &SetText, terms: &mut Terms) -> Result<(Vec<ChangeRule>, InfoLabels), PresetError> {
    let mut rules = Vec::with_capacity(text.changes.len());
    let mut labels = InfoLabels::new();
    for change in &text.changes {
        let place = "changes".to_owned();
        let (metric, sign) = match (&change.restart, &change.info, &change.replicas) {
            (Some(metric), None, None) => (metric, Sign::Start),
            (None, Some(metric), None) => (metric, Sign::Info),
            (None, None, Some(metric)) => (metric, Sign::Replicas),
            _ => return Err(PresetError::NotOneChange),
        };
        let place = format!("{place}: `{metric}`");
        let told = [
            (ChangeKind::Image, &change.image),
            (ChangeKind::Version, &change.version),
            (ChangeKind::Executable, &change.executable),
        ];
        let told = told.into_iter().filter_map(|(kind, label)| Some((kind, label.as_deref()?)));
        let before = labels.len();
        for (kind, label) in told {
            name("label", label)?;
            labels.push((kind, Arc::from(label)));
        }
        if (sign == Sign::Info) != (labels.len() > before) {
            return Err(PresetError::InfoLabels { place });
        }
        let term = TermText {
            gauge: Some(metric.clone()),
            rate: None,
            matchers: change.matchers.clone(),
            scale: 1.0,
            absent: Absent::Missing,
        };
        let selector = position(text, &place, &change.service)?;
        let term = terms.check(&place, &term, selector)?;
        rules.push(ChangeRule { metric: term.metric, matchers: term.matchers, sign, selector });
    }
    labels.sort();
    labels.dedup();
    Ok((rules, labels))
}

fn selectors(labels: &BTreeMap<String, ServiceLabelsText>) -> Result<Vec<Selector>, PresetError> {
    if labels.is_empty() || labels.len() > MAX_SELECTORS {
        return Err(PresetError::ServiceLabels { count: labels.len(), limit: MAX_SELECTORS });
    }
    labels.iter().map(|(key, labels)| selector(labels, key == "itself")).collect()
}

fn selector(labels: &ServiceLabelsText, own: bool) -> Result<Selector, PresetError> {
    name("label", &labels.name)?;
    if let Some(namespace) = &labels.namespace {
        name("label", namespace)?;
    }
    for host in &labels.host {
        name("label", host)?;
    }
    Ok(Selector {
        name: Arc::from(&*labels.name),
        namespace: labels.namespace.as_deref().map(Arc::from),
        own,
        host: labels.host.iter().map(|label| Arc::from(&**label)).collect(),
    })
}

fn breakdown(text: &SetText) -> Result<(), PresetError> {
    let edges = text.edges.iter();
    let services = text.service_labels.values().chain(edges.clone().flat_map(|edges| [&edges.client, &edges.server]));
    let naming = services.flat_map(|labels| std::iter::once(&labels.name).chain(&labels.namespace));
    let naming = naming.chain(edges.filter_map(|edges| edges.reporter.as_ref()).map(|reporter| &reporter.label));
    for label in naming {
        if text.breakdown_labels.contains(label) {
            return Err(PresetError::BreakdownNames { label: label.clone() });
        }
    }
    Ok(())
}

fn compile_edges(text: &EdgesText, terms: &mut Terms) -> Result<EdgeRules, PresetError> {
    let figures: [(&'static str, &[TermText]); EDGE_FIGURES] = [
        ("requests", &text.requests),
        ("errors", &text.errors),
        ("latency", &text.latency),
        ("connects", &text.connects),
        ("connect_failures", &text.connect_failures),
    ];
    let mut edge_terms = Vec::new();
    for (figure, (called, list)) in figures.into_iter().enumerate() {
        let place = format!("edges: `{called}`");
        for term in list {
            let term = terms.check(&place, term, 0)?;
            if term.kind == Kind::Gauge {
                return Err(PresetError::EdgeGauge { figure: called, metric: term.metric.to_string() });
            }
            edge_terms.push(EdgeTerm { figure, metric: term.metric, matchers: term.matchers, scale: term.scale });
        }
    }
    let reporter = text.reporter.as_ref().map(|reporter| Reporter {
        label: Arc::from(&*reporter.label),
        client: Arc::from(&*reporter.client),
        server: Arc::from(&*reporter.server),
    });
    Ok(EdgeRules {
        client: selector(&text.client, false)?,
        server: selector(&text.server, false)?,
        reporter,
        terms: edge_terms,
        connects_include_failures: text.connects_include_failures,
    })
}

/// The distinct terms of a set; features share the equal ones.
#[derive(Default)]
struct Terms {
    terms: Vec<Term>,
    kinds: BTreeMap<Arc<str>, Kind>,
}

impl Terms {
    fn add_all(&mut self, place: &str, texts: &[TermText], selector: usize) -> Result<Vec<usize>, PresetError> {
        texts.iter().map(|text| self.add(place, text, selector)).collect()
    }

    fn add(&mut self, place: &str, text: &TermText, selector: usize) -> Result<usize, PresetError> {
        let term = self.check(place, text, selector)?;
        if let Some(index) = self.terms.iter().position(|known| *known == term) {
            return Ok(index);
        }
        if self.terms.len() >= MAX_TERMS {
            return Err(PresetError::TooMany { count: self.terms.len() + 1, limit: MAX_TERMS });
        }
        self.terms.push(term);
        Ok(self.terms.len() - 1)
    }

    fn check(&mut self, place: &str, text: &TermText, selector: usize) -> Result<Term, PresetError> {
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
        let metric: Arc<str> = Arc::from(&**metric);
        match self.kinds.insert(Arc::clone(&metric), kind) {
            Some(known) if known != kind => Err(PresetError::GaugeAndRate { metric: metric.to_string() }),
            _ => Ok(Term {
                metric,
                kind,
                matchers: matchers(place, text)?,
                scale: text.scale,
                absent_is_zero: text.absent == Absent::Zero,
                selector,
            }),
        }
    }
}

type Matchers = Vec<(Arc<str>, Vec<Arc<str>>)>;

fn matchers(place: &str, text: &TermText) -> Result<Matchers, PresetError> {
    let mut matchers = Vec::with_capacity(text.matchers.len());
    for (label, values) in &text.matchers {
        name("label", label)?;
        if values.values().is_empty() {
            return Err(PresetError::EmptyMatcher { place: place.to_owned(), label: label.clone() });
        }
        let values = values.values().iter().map(|value| Arc::from(&**value)).collect();
        matchers.push((Arc::from(&**label), values));
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

/// FNV-1a, 128 bits, over the canonical JSON of the text
/// (<http://www.isthe.com/chongo/tech/comp/fnv/>): stable across machines and versions of Rust, which
/// the standard hasher does not promise. It tells sets apart; it defends against nobody.
fn digest(text: &SetText) -> Result<String, PresetError> {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let canonical = serde_json::to_vec(text).map_err(|error| PresetError::Yaml(error.to_string()))?;
    let digest = canonical.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME));
    Ok(format!("{digest:032x}"))
}
