//! From the state of a part to the account of its incident.

use std::collections::BTreeMap;

use quoll_blast_radius::SingleFault;
use quoll_identity::{Edge, Service};

use crate::account::{Account, Alternative, Cause, ChangeNote, Next, list};
use crate::diagnosis::BlastRadius;
use crate::engine::{Incidents, Part};
use crate::scene::Scene;

/// Other causes above this probability are told of, at most so many.
const ALTERNATIVE_ABOVE: f64 = 0.005;
const ALTERNATIVES: usize = 4;
/// Services that would be hit with at least this probability are told of.
const NEXT_ABOVE: f64 = 0.2;

impl Incidents {
    /// `roots` are the part's causes, likeliest first.
    pub(crate) fn account(
        &self,
        scene: &Scene,
        part: &Part,
        roots: &[(Service, f64)],
        symptoms: &[Service],
        blast: &[BlastRadius],
    ) -> Account {
        let exact = matches!(part.answer, SingleFault::Exact(_));
        let now_ms = self.last_end_ms;
        // During the incident: by this tick alone, who was hit and recovered would be told as not hit yet.
        let odd = |s: usize| part.track.worst(&scene.services[s]).is_some();
        let cause = roots.first().and_then(|(service, probability)| {
            let at = scene.find(service)?;
            let worst = part.track.worst(service);
            Some(Cause {
                service: service.clone(),
                probability: *probability,
                evidence: worst.map_or(scene.evidence[at], |worst| worst.evidence),
                shown: worst.map_or_else(String::new, |worst| worst.shown.clone()),
                worst_ms: worst.map(|worst| worst.at_ms).filter(|at_ms| *at_ms < now_ms),
                calm_again: worst.is_some() && scene.evidence[at] <= self.config.anomalous_above,
                callers: scene.callers[at].len(),
                odd_callers: scene.callers[at].iter().filter(|(s, _)| odd(*s)).count(),
                callees: scene.callees[at].len(),
                odd_callees: (scene.callees[at].iter())
                    .filter(|(s, _)| odd(*s))
                    .map(|(s, _)| scene.services[*s].clone())
                    .collect(),
            })
        });
        let alternatives = (roots.iter().skip(1).filter(|(_, p)| *p >= ALTERNATIVE_ABOVE).take(ALTERNATIVES))
            .map(|(service, probability)| Alternative {
                service: service.clone(),
                probability: *probability,
                tell_apart: roots
                    .first()
                    .map_or_else(String::new, |(first, _)| tell_apart(scene, part, first, service)),
            })
            .collect();
        let next = roots.first().map_or_else(Vec::new, |(root, _)| {
            let lags = self.lags(scene, root);
            let hits = blast.iter().find(|blast| blast.root == *root).map_or(&[][..], |blast| &blast.hits);
            (hits.iter())
                .filter(|(service, p)| *p >= NEXT_ABOVE && scene.find(service).is_some_and(|s| !odd(s)))
                .map(|(service, probability)| Next {
                    service: service.clone(),
                    probability: *probability,
                    after_seconds: lags.get(service).copied(),
                })
                .collect()
        });
        let mut changes: Vec<ChangeNote> = (part.members.iter())
            .filter_map(|&member| {
                let service = &scene.services[member];
                let changed = self.learned.change(service, now_ms, &self.config)?;
                let text = changed.change.text.clone();
                Some(ChangeNote { service: service.clone(), at_ms: changed.at_ms, text })
            })
            .collect();
        changes.sort_by_key(|change| core::cmp::Reverse(change.at_ms));
        let hits: Vec<Service> = part.track.hits.keys().cloned().collect();
        // A symptom may be one by its callees alone; nobody is told to suffer who shows nothing yet.
        let coming = |service: &&Service| !next.iter().any(|coming: &Next| coming.service == **service);
        let suffering = symptoms.iter().filter(coming).cloned().collect();
        Account {
            first_seen: part.track.signs.clone(),
            cause,
            no_fault_probability: part.answer.posterior().no_fault,
            alternatives,
            suffering,
            next,
            changes,
            similar: self.past.similar(roots.first().map(|(root, _)| root), &hits),
            exact,
        }
    }

    /// Seconds after which those who call `root`, directly or not, suffered in the past.
    fn lags(&self, scene: &Scene, root: &Service) -> BTreeMap<Service, f64> {
        let mut lags = BTreeMap::from([(root.clone(), 0.0)]);
        let Some(root) = scene.find(root) else { return lags };
        let mut queue = vec![root];
        let mut next = 0;
        while let Some(&server) = queue.get(next) {
            next += 1;
            let so_far = lags.get(&scene.services[server]).copied().unwrap_or(0.0);
            for &(client, _) in &scene.callers[server] {
                let link = Edge { client: scene.services[client].clone(), server: scene.services[server].clone() };
                if !lags.contains_key(&link.client)
                    && let Some(lag) = self.learned.lag_seconds(&link)
                {
                    lags.insert(link.client, so_far + lag);
                    queue.push(client);
                }
            }
        }
        lags
    }
}

/// What would tell a cause from another: those that only one of them reaches, or each itself.
fn tell_apart(scene: &Scene, part: &Part, first: &Service, other: &Service) -> String {
    let (Some(a), Some(b)) = (scene.find(first), scene.find(other)) else { return String::new() };
    let reach = |root: usize| scene.ancestors(root, Some(&part.members));
    let (of_first, of_other) = (reach(a), reach(b));
    let only = |these: &[usize], those: &[usize], but: usize| -> Vec<Service> {
        let mut only: Vec<usize> =
            these.iter().copied().filter(|s| *s != but && those.binary_search(s).is_err()).collect();
        only.sort_by(|x, y| scene.evidence[*y].abs().total_cmp(&scene.evidence[*x].abs()).then(x.cmp(y)));
        only.into_iter().map(|s| scene.services[s].clone()).collect()
    };
    if of_other.binary_search(&a).is_ok() {
        return format!(
            "{first} calls {other}: were {other} the cause, it would be out of the ordinary itself, also for requests that \
             do not come from {first}."
        );
    }
    if of_first.binary_search(&b).is_ok() {
        return format!(
            "{other} calls {first}: were {other} the cause, {first} would look normal, asked directly, and so would what \
             else calls it."
        );
    }
    let (only_first, only_other) = (only(&of_first, &of_other, a), only(&of_other, &of_first, b));
    match (only_first.as_slice(), only_other.as_slice()) {
        ([], []) => {
            format!("{first} and {other} would hit the same services; only looking at each of them tells which.")
        }
        ([], others) => format!("Were {other} the cause, {} would suffer too.", list(others)),
        (firsts, []) => format!("Were {other} the cause, {} would not suffer.", list(firsts)),
        (firsts, others) => {
            format!("Were {other} the cause, {} would suffer, but not {}.", list(others), list(firsts))
        }
    }
}
