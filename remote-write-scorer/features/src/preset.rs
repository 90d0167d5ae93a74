//! Sets of features: the presets, a user's own file, and several of them together.

use std::path::Path;

use crate::compile;
use crate::error::PresetError;
use crate::rules::{MAX_SOURCES, Rules};
use crate::spec::FeatureSpec;
use crate::text::SetText;

/// The presets that ship with Quoll.
const PRESETS: [(&str, &str); 10] = [
    ("quoll", include_str!("../presets/quoll.yaml")),
    ("istio", include_str!("../presets/istio.yaml")),
    ("linkerd", include_str!("../presets/linkerd.yaml")),
    ("obi", include_str!("../presets/obi.yaml")),
    ("service-graph", include_str!("../presets/service-graph.yaml")),
    ("hubble", include_str!("../presets/hubble.yaml")),
    ("coroot", include_str!("../presets/coroot.yaml")),
    ("cadvisor", include_str!("../presets/cadvisor.yaml")),
    ("node-exporter", include_str!("../presets/node-exporter.yaml")),
    ("kube-state-metrics", include_str!("../presets/kube-state-metrics.yaml")),
];

/// Names that Quoll writes itself. Scores must not feed on scores.
const OWN_OUTPUTS: [&str; 17] = [
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
    "quoll_leaf_",
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
    rules_hash: String,
}

impl FeatureSet {
    /// One or several presets that ship with Quoll, such as `quoll` or `quoll, cadvisor`;
    /// [`FeatureSet::preset_names`] lists them. Where several tell the same thing of a service or an edge,
    /// the first is preferred; nothing is summed across them.
    ///
    /// # Errors
    /// [`PresetError::Unknown`] for a name that no preset has; [`PresetError::SharedMetric`] and
    /// [`PresetError::Conflict`] for presets that do not go together.
    pub fn preset(names: &str) -> Result<Self, PresetError> {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        Self::compile(&names, None)
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

    /// Features and rules of a user's own YAML, with the presets that it lists under `presets`;
    /// `presets/quoll.yaml` shows the form.
    ///
    /// # Errors
    /// Every way in which the text is not a usable set; see [`PresetError`].
    pub fn from_yaml(yaml: &str) -> Result<Self, PresetError> {
        let own = parse(yaml)?;
        let presets: Vec<&str> = own.presets.iter().map(String::as_str).collect();
        Self::compile(&presets, Some(own.clone()))
    }

    /// As [`FeatureSet::from_yaml`], from a file.
    ///
    /// # Errors
    /// [`PresetError::Read`] too.
    pub fn from_file(path: &Path) -> Result<Self, PresetError> {
        let yaml = std::fs::read_to_string(path)
            .map_err(|source| PresetError::Read { path: path.display().to_string(), source })?;
        Self::from_yaml(&yaml)
    }

    fn compile(presets: &[&str], own: Option<SetText>) -> Result<Self, PresetError> {
        let mut texts = Vec::with_capacity(presets.len() + 1);
        for (at, name) in presets.iter().enumerate() {
            let Some((known, yaml)) = PRESETS.iter().find(|(known, _)| known == name) else {
                let known: Vec<&str> = Self::preset_names().collect();
                return Err(PresetError::Unknown { name: (*name).to_owned(), known: known.join(", ") });
            };
            if presets[..at].contains(name) {
                return Err(PresetError::Twice { name: (*name).to_owned() });
            }
            texts.push((*known, parse(yaml)?));
        }
        texts.extend(own.map(|text| ("your own file", text)));
        if texts.len() > MAX_SOURCES {
            return Err(PresetError::TooMany { count: texts.len(), limit: MAX_SOURCES });
        }
        let (features, rules) = compile::compile(&texts)?;
        let hash = compile::digest(texts.iter().map(|(_, text)| compile::features_of(text)))?;
        let rules_hash = compile::digest(texts.into_iter().map(|(_, text)| text))?;
        Ok(Self { features, rules, hash, rules_hash })
    }

    /// Stable hex digest over all features and what computes them (not over comments or layout of the YAML,
    /// nor over edges and changes, which no model knows of); equal sets have equal digests on every machine.
    #[must_use]
    pub fn hash(&self) -> String {
        self.hash.clone()
    }

    /// As [`FeatureSet::hash`], over edges and changes too.
    pub(crate) fn rules_hash(&self) -> String {
        self.rules_hash.clone()
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

fn parse(yaml: &str) -> Result<SetText, PresetError> {
    serde_saphyr::from_str(yaml).map_err(|error| PresetError::Yaml(error.to_string()))
}
