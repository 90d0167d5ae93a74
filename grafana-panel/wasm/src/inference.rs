//! The engine's answers about a model: posteriors checked against the written ones, and blast radii.
//!
//! The posterior of each incident is computed again from its written priors, evidence and strengths by
//! the engine the scorer uses. Where the versions are equal the answers are bit-equal, so any larger
//! difference than [`TOLERANCE`] means that the data is not of one tick, and is said.
//!
//! Nothing fails: what cannot be computed is a note, and the written numbers stay.

use quoll_blast_radius::{CallEdge, CallGraph, ENGINE_VERSION, SingleFault, single_fault};

use crate::model::{Incident, Model};
use crate::notes::Note;
use crate::what_if::Lab;

/// Largest difference between a written and a computed posterior that passes as equal.
pub const TOLERANCE: f64 = 1e-9;

/// Strength assumed where none is written, from the share of the caller's requests that go this way
/// (the engine's own start: 0.35 + 0.6 x share).
const START_STRENGTH: (f64, f64) = (0.35, 0.6);

/// Who is how likely hit.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// Id of the service at fault.
    pub root: usize,
    /// Per service, the probability of being anomalous if the root is at fault.
    pub hit: Vec<f64>,
    /// False where the graph is too wide for the exact answer.
    pub exact: bool,
}

impl Reach {
    /// Other services that are hit with at least `least`, likeliest first.
    #[must_use]
    pub fn ranked(&self, least: f64) -> Vec<(usize, f64)> {
        let mut hits: Vec<_> =
            self.hit.iter().copied().enumerate().filter(|&(s, p)| s != self.root && p >= least).collect();
        hits.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        hits
    }
}

/// An incident with its causes ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Label of the incident.
    pub incident: String,
    /// Likeliest first; `None` is no fault at all.
    pub causes: Vec<(Option<usize>, f64)>,
    /// Largest difference between a written and a computed probability; `None` where not computed.
    pub difference: Option<f64>,
    /// Explained by the cause, in id order.
    pub symptoms: Vec<usize>,
}

/// What the engine says about one model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inference {
    /// Most certain incident first.
    pub incidents: Vec<Ranked>,
    /// Per service, its written posterior of being a root cause (in its incident).
    pub root_cause: Vec<Option<f64>>,
    /// Blast radius of the likeliest root of all incidents, unless no fault is likelier.
    pub reach: Option<Reach>,
    /// What the user should know of these answers.
    pub notes: Vec<Note>,
}

/// Strength per call: as written, else estimated; true if any was estimated.
pub(crate) fn strengths(model: &Model) -> (Vec<f64>, bool) {
    let mut sent = vec![0.0; model.services.len()];
    for call in &model.calls {
        sent[call.client] += call.rate.unwrap_or(0.0).max(0.0);
    }
    let mut estimated = false;
    let all = model.calls.iter().map(|call| match call.strength {
        Some(strength) => strength.clamp(0.0, 1.0),
        None => {
            estimated = true;
            let total = sent[call.client];
            let share = if total > 0.0 { call.rate.unwrap_or(0.0).max(0.0) / total } else { 0.0 };
            START_STRENGTH.0 + START_STRENGTH.1 * share.min(1.0)
        }
    });
    (all.collect(), estimated)
}

/// Why an incident's posterior cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The leak or the prior of no fault is not among the data.
    NoPriors,
    /// This service has no prior.
    NoPriorOf(String),
    /// The engine refuses, in its own words.
    Engine(String),
}

impl Obstacle {
    /// As a note about an incident: what is not possible, and why.
    pub(crate) fn note(self, id: &'static str, incident: &str) -> Note {
        let (because, what) = match self {
            Self::NoPriors => ("no-priors", String::new()),
            Self::NoPriorOf(service) => ("no-prior-of", service),
            Self::Engine(error) => ("engine", error),
        };
        Note::new(id).with("incident", incident).with("because", because).with("what", what)
    }
}

/// What the engine is asked about one incident; services are numbered as in [`Incident::roots`].
pub(crate) struct Question {
    pub(crate) graph: CallGraph,
    pub(crate) leak: Vec<f64>,
    pub(crate) no_fault_prior: f64,
    pub(crate) priors: Vec<f64>,
    pub(crate) evidence: Vec<f64>,
}

/// An incident's question, from the written priors, evidence and strengths.
pub(crate) fn incident_question(model: &Model, incident: &Incident, strengths: &[f64]) -> Result<Question, Obstacle> {
    let (Some(leak), Some(no_fault_prior)) = (model.leak, incident.no_fault_prior) else {
        return Err(Obstacle::NoPriors);
    };
    let members: Vec<usize> = incident.roots.iter().map(|r| r.0).collect();
    let local = |service: usize| members.binary_search(&service).ok();
    let mut priors = Vec::with_capacity(members.len());
    let mut evidence = Vec::with_capacity(members.len());
    for &service in &members {
        let service = &model.services[service];
        priors.push(service.fault_prior.ok_or_else(|| Obstacle::NoPriorOf(service.label.clone()))?);
        evidence.push(service.log_likelihood_ratio.unwrap_or(0.0));
    }
    let edges: Vec<_> = model
        .calls
        .iter()
        .zip(strengths)
        .filter_map(|(c, &strength)| {
            Some(CallEdge { client: local(c.client)? as u32, server: local(c.server)? as u32, strength })
        })
        .collect();
    let graph = CallGraph::new(members.len() as u32, &edges).map_err(|e| Obstacle::Engine(e.to_string()))?;
    Ok(Question { graph, leak: vec![leak; members.len()], no_fault_prior, priors, evidence })
}

/// Computes an incident again; the largest difference to what is written, and whether it is approximate.
fn recompute(model: &Model, incident: &Incident, strengths: &[f64]) -> Result<(f64, bool), Obstacle> {
    let Question { graph, leak, no_fault_prior, priors, evidence } = incident_question(model, incident, strengths)?;
    let answer =
        single_fault(&graph, &leak, no_fault_prior, &priors, &evidence).map_err(|e| Obstacle::Engine(e.to_string()))?;
    let posterior = answer.posterior();
    let pairs = incident.roots.iter().map(|r| r.1).zip(&posterior.root_cause);
    let mut difference = pairs.map(|(written, computed)| (written - computed).abs()).fold(0.0, f64::max);
    if let Some(written) = incident.no_fault {
        difference = difference.max((written - posterior.no_fault).abs());
    }
    Ok((difference, !matches!(answer, SingleFault::Exact(_))))
}

impl Inference {
    /// All answers about a model.
    #[must_use]
    pub fn of(model: &Model, lab: &mut Lab) -> Self {
        let mut inference = Self { root_cause: vec![None; model.services.len()], ..Self::default() };
        let (strengths, estimated) = strengths(model);
        if estimated && model.calls.iter().all(|c| c.strength.is_none()) {
            inference.notes.push(Note::new("shares"));
        }
        let versions_differ = model.engine_version.as_deref().is_some_and(|v| v != ENGINE_VERSION);
        if let (true, Some(version)) = (versions_differ, &model.engine_version) {
            inference.notes.push(Note::new("versions").with("scorer", version).with("panel", ENGINE_VERSION));
        }
        for incident in &model.incidents {
            for &(service, probability) in &incident.roots {
                let slot = &mut inference.root_cause[service];
                *slot = Some(slot.map_or(probability, |p| p.max(probability)));
            }
            let difference = match recompute(model, incident, &strengths) {
                Ok((difference, approximate)) => {
                    if approximate {
                        inference.notes.push(Note::new("approximate").with("incident", &incident.id));
                    }
                    if difference > TOLERANCE && !versions_differ {
                        let note = Note::new("differs").with("incident", &incident.id);
                        inference.notes.push(note.with("difference", format!("{difference:.1e}")));
                    }
                    Some(difference)
                }
                Err(obstacle) => {
                    inference.notes.push(obstacle.note("unchecked", &incident.id));
                    None
                }
            };
            let mut causes: Vec<_> = incident.roots.iter().map(|&(s, p)| (Some(s), p)).collect();
            causes.extend(incident.no_fault.map(|p| (None, p)));
            causes.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let symptoms = incident.symptoms.iter().copied().collect();
            inference.incidents.push(Ranked { incident: incident.id.clone(), causes, difference, symptoms });
        }
        let top = |r: &Ranked| r.causes.first().map_or(0.0, |c| if c.0.is_some() { c.1 } else { 0.0 });
        inference.incidents.sort_by(|a, b| top(b).total_cmp(&top(a)).then_with(|| a.incident.cmp(&b.incident)));
        let root = inference.incidents.first().and_then(|r| r.causes.first()).and_then(|c| c.0);
        if let Some(root) = root {
            match lab.reach(model, root) {
                Ok(reach) => {
                    if !reach.exact {
                        inference.notes.push(Note::new("bound"));
                    }
                    inference.reach = Some(reach);
                }
                Err(note) => inference.notes.push(note),
            }
        }
        inference
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::samples::{select, tests::pack};
    use quoll_blast_radius::single_fault_posterior;

    /// web calls cart calls db, and web calls auth; db is at fault.
    pub(crate) fn chain() -> Vec<String> {
        let members = ["auth", "cart", "db", "web"];
        let edges = [("cart", "db", 0.9), ("web", "auth", 0.5), ("web", "cart", 0.8)];
        let evidence = [-2.0, 5.0, 7.5, 3.0];
        let prior = 1e-5;
        let leak = 1e-9;
        let local = |n: &str| members.iter().position(|m| *m == n).unwrap() as u32;
        let call_edges: Vec<_> =
            edges.iter().map(|&(c, s, strength)| CallEdge { client: local(c), server: local(s), strength }).collect();
        let graph = CallGraph::new(4, &call_edges).unwrap();
        let no_fault = 1.0 - 4.0 * prior;
        let posterior = single_fault_posterior(&graph, &[leak; 4], no_fault, &[prior; 4], &evidence).unwrap();
        let mut lines = vec![
            format!("quoll_leak_probability {leak:e}"),
            format!("quoll_no_fault_prior_probability{{incident=i}} {no_fault:?}"),
            format!("quoll_no_fault_probability{{incident=i}} {:?}", posterior.no_fault),
            format!("quoll_inference_info{{engine_version={ENGINE_VERSION}}} 1"),
        ];
        for (i, name) in members.iter().enumerate() {
            lines.push(format!("quoll_fault_prior_probability{{service_name={name}}} {prior:?}"));
            lines.push(format!("quoll_evidence_log_likelihood_ratio{{service_name={name}}} {:?}", evidence[i]));
            lines.push(format!(
                "quoll_root_cause_probability{{service_name={name},incident=i}} {:?}",
                posterior.root_cause[i]
            ));
        }
        lines.extend(edges.map(|(c, s, w)| format!("quoll_edge_strength{{client={c},server={s}}} {w:?}")));
        lines
    }

    pub(crate) fn model(lines: &[String]) -> Model {
        let (packed, values) = pack(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        Model::read(select(&packed, &values))
    }

    #[test]
    fn written_and_computed_posteriors_are_bit_equal() {
        let inference = Inference::of(&model(&chain()), &mut Lab::default());
        assert_eq!(inference.incidents[0].difference, Some(0.0));
        assert_eq!(inference.incidents[0].causes[0].0, Some(2), "{:?}", inference.incidents[0].causes);
        assert!(inference.incidents[0].causes.iter().any(|c| c.0.is_none()), "no fault is among the causes");
        assert!(inference.notes.is_empty(), "{:?}", inference.notes);
        let reach = inference.reach.unwrap();
        assert_eq!(reach.root, 2);
        assert_eq!(reach.hit[2], 1.0);
        assert!(reach.hit[1] > 0.89 && reach.hit[0] < 1e-6);
        assert_eq!(reach.ranked(0.01).iter().map(|h| h.0).collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn says_where_a_posterior_does_not_follow_from_its_priors() {
        let lines: Vec<_> = chain()
            .into_iter()
            .map(|l| {
                if l.contains("evidence_log_likelihood_ratio{service_name=cart}") {
                    l.replace(" 5.0", " 1.0")
                } else {
                    l
                }
            })
            .collect();
        let inference = Inference::of(&model(&lines), &mut Lab::default());
        assert_eq!(inference.notes[0].id, "differs");
    }

    #[test]
    fn says_that_engine_versions_differ() {
        let lines: Vec<_> = chain()
            .into_iter()
            .map(|l| {
                if l.starts_with("quoll_inference_info") {
                    "quoll_inference_info{engine_version=0} 1".into()
                } else {
                    l
                }
            })
            .collect();
        let notes = Inference::of(&model(&lines), &mut Lab::default()).notes;
        assert_eq!((notes[0].id, notes[0].value("scorer")), ("versions", Some("0")));
    }

    #[test]
    fn partial_data_keeps_the_written_numbers() {
        let lines: Vec<_> =
            chain().into_iter().filter(|l| l.contains("root_cause") || l.contains("edge_strength")).collect();
        let inference = Inference::of(&model(&lines), &mut Lab::default());
        assert_eq!(inference.incidents[0].causes[0].0, Some(2));
        assert_eq!((inference.notes[0].id, inference.notes[0].value("because")), ("unchecked", Some("no-priors")));
        assert!(inference.reach.is_some());
    }

    #[test]
    fn strengths_fall_back_to_request_shares_and_say_so() {
        let lines = [
            "quoll_edge_requests_per_second{client=a,server=b} 30".to_owned(),
            "quoll_edge_requests_per_second{client=a,server=c} 10".to_owned(),
        ];
        let model = model(&lines);
        let hit = Lab::default().reach(&model, 1).unwrap().hit;
        assert!((hit[0] - (0.35 + 0.6 * 0.75)).abs() < 1e-12);
        assert_eq!(Inference::of(&model, &mut Lab::default()).notes.len(), 1);
    }
}
