//! Which services belong to one incident.
//!
//! # The component
//! 1. **Suspects** are services that are anomalous now, or that hold part of a running suspicion.
//! 2. A suspect and its callee belong together if the callee is a suspect too, or is not known to be
//!    healthy (an unobserved database may be the cause of both its callers): these form the **core**.
//! 3. Around the core stands its **context**: healthy callees of the core, which could still be the cause,
//!    and callers of the core, which would have to suffer. A context service between two cores goes to
//!    the one it is tied to more strongly.
//!
//! # What that makes of the posterior
//! It is exact for the whole graph in which services outside the component are neither causes nor
//! observed: an unobserved caller sums to one whatever it does, so edges that leave the component upwards
//! change nothing, and edges that leave it downwards lead to services that are held to be normal.

use crate::scene::Scene;

/// Steady evidence below which a service counts as known to be healthy.
const HEALTHY_BELOW: f64 = -0.5;

/// The components around `suspects`, each sorted, in the order of their first core member.
pub(crate) fn components(scene: &Scene, suspects: &[bool]) -> Vec<Vec<usize>> {
    let n = scene.services.len();
    let mut group: Vec<Option<usize>> = vec![None; n];
    let mut glue = Glue::new(n);
    let mut core: Vec<bool> = suspects.to_vec();
    let mut queue: Vec<usize> = (0..n).filter(|&s| suspects[s]).collect();
    while let Some(service) = queue.pop() {
        for &(callee, _) in &scene.callees[service] {
            if !core[callee] && scene.steady[callee] >= HEALTHY_BELOW {
                core[callee] = true;
                queue.push(callee);
            }
            if core[callee] {
                glue.join(service, callee);
            }
        }
    }
    let mut components: Vec<Vec<usize>> = Vec::new();
    let mut of_leader: Vec<Option<usize>> = vec![None; n];
    for service in (0..n).filter(|&s| core[s]) {
        let leader = glue.leader(service);
        let index = *of_leader[leader].get_or_insert_with(|| {
            components.push(Vec::new());
            components.len() - 1
        });
        group[service] = Some(index);
        components[index].push(service);
    }
    for service in (0..n).filter(|&s| !core[s]) {
        let ties = scene.callers[service].iter().chain(&scene.callees[service]);
        let mut weights: Vec<(usize, f64)> = Vec::new();
        for &(other, strength) in ties {
            if let Some(index) = group[other] {
                match weights.iter_mut().find(|(known, _)| *known == index) {
                    Some((_, weight)) => *weight += strength,
                    None => weights.push((index, strength)),
                }
            }
        }
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if let Some(&(index, _)) = weights.first() {
            components[index].push(service);
        }
    }
    for component in &mut components {
        component.sort_unstable();
    }
    components
}

/// Cuts a component between causes that have nothing to do with one another: each cause takes itself and
/// those it reaches (the first in `roots` before the others), the rest goes to the nearest part.
pub(crate) fn partition(scene: &Scene, members: &[usize], roots: &[usize]) -> Vec<Vec<usize>> {
    let mut part: Vec<Option<usize>> = vec![None; members.len()];
    let place = |service: usize| members.binary_search(&service).ok();
    // The causes themselves first: one may be context of the other.
    for (index, &root) in roots.iter().enumerate() {
        if let Some(at) = place(root) {
            part[at] = Some(index);
        }
    }
    let mut queue: Vec<usize> = Vec::new();
    for (index, &root) in roots.iter().enumerate() {
        for service in scene.ancestors(root, Some(members)) {
            if let Some(at) = place(service)
                && part[at].is_none()
            {
                part[at] = Some(index);
            }
        }
    }
    queue.extend((0..members.len()).filter(|&at| part[at].is_some()));
    let mut next = 0;
    while let Some(&at) = queue.get(next) {
        next += 1;
        for &(other, _) in scene.callees[members[at]].iter().chain(&scene.callers[members[at]]) {
            if let Some(place) = place(other)
                && part[place].is_none()
            {
                part[place] = part[at];
                queue.push(place);
            }
        }
    }
    let mut parts = vec![Vec::new(); roots.len()];
    for (at, &service) in members.iter().enumerate() {
        // What is tied to nothing (cannot be: a component is connected) stays with the first.
        parts[part[at].unwrap_or(0)].push(service);
    }
    parts
}

/// Disjoint sets; the leader of a set is its lowest number.
struct Glue {
    parent: Vec<usize>,
}

impl Glue {
    fn new(n: usize) -> Self {
        Self { parent: (0..n).collect() }
    }

    fn leader(&mut self, mut service: usize) -> usize {
        while self.parent[service] != service {
            self.parent[service] = self.parent[self.parent[service]];
            service = self.parent[service];
        }
        service
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.leader(a), self.leader(b));
        self.parent[a.max(b)] = a.min(b);
    }
}
