//! What each shown node tells at this moment: as the tick says, as is supposed, or as it was at another time.

use crate::inference::Inference;
use crate::model::Model;
use crate::shown::{Node, Shown};
use crate::timeline::Moment;
use crate::what_if::{Hypothesis, Suppositions};

/// Posteriors and hit probabilities below this are not drawn.
pub const VISIBLE: f64 = 0.01;
/// A change (start, new version) is marked for this long, in seconds.
const CHANGE_SECONDS: f64 = 900.0;

/// What one node tells.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mark {
    /// Anomaly score; the highest of a closed namespace.
    pub score: Option<f64>,
    /// Posterior of being the root cause.
    pub ring: Option<f64>,
    /// Probability of being hit.
    pub halo: Option<f64>,
    /// The same as things are, where that differs from what is supposed.
    pub before: Option<f64>,
    /// Supposed to have failed.
    pub failed: bool,
    /// Supposed to be healthy, or drained.
    pub spared: bool,
    /// Does not match what is searched for.
    pub dim: bool,
    /// Changed recently.
    pub changed: bool,
    /// A host, not a service.
    pub host: bool,
    /// Pinned by hand.
    pub pinned: bool,
}

/// All that marks follow from.
pub struct Sources<'a> {
    /// The tick.
    pub model: &'a Model,
    /// What follows from it.
    pub inference: &'a Inference,
    /// What is supposed.
    pub suppositions: &'a Suppositions,
    /// What would follow from that.
    pub hypothesis: Option<&'a Hypothesis>,
    /// Another time that is shown.
    pub moment: Option<&'a Moment>,
    /// Lower-case search text; empty for none.
    pub search: &'a str,
}

impl Sources<'_> {
    /// Marks of all shown nodes.
    #[must_use]
    pub fn marks(&self, shown: &Shown) -> Vec<Mark> {
        shown.nodes.iter().map(|node| self.mark(node)).collect()
    }

    /// Whether a node or any of its services matches the search.
    #[must_use]
    pub fn matches(&self, node: &Node) -> bool {
        let hit = |text: &str| text.to_lowercase().contains(self.search);
        self.search.is_empty()
            || hit(&node.label)
            || node.members.iter().any(|&m| self.model.services.get(m).is_some_and(|s| hit(&s.key.full())))
    }

    fn mark(&self, node: &Node) -> Mark {
        let mut mark = Mark { dim: !self.matches(node), ..Mark::default() };
        let raise = |slot: &mut Option<f64>, value: Option<f64>| {
            if let Some(value) = value {
                *slot = Some(slot.map_or(value, |s| s.max(value)));
            }
        };
        for &member in &node.members {
            let Some(service) = self.model.services.get(member) else { continue };
            if let Some(moment) = self.moment {
                let (score, posterior) = moment.of(&service.key);
                raise(&mut mark.score, score);
                raise(&mut mark.ring, posterior);
                continue;
            }
            raise(&mut mark.score, service.score);
            let reach = |r: &Option<crate::inference::Reach>| r.as_ref().and_then(|r| r.hit.get(member)).copied();
            match self.hypothesis {
                Some(then) => {
                    let failed = self.suppositions.failed.as_ref() == Some(&service.key);
                    let posterior = then.root_cause.get(member).copied().flatten();
                    if failed {
                        mark.failed = true;
                        raise(&mut mark.ring, Some(1.0));
                    } else if self.suppositions.failed.is_none() {
                        let now = self.inference.root_cause.get(member).copied().flatten();
                        raise(&mut mark.ring, if then.root_cause.is_empty() { now } else { posterior });
                    }
                    raise(&mut mark.halo, reach(&then.reach));
                    raise(&mut mark.before, reach(&then.reach_now));
                }
                None => {
                    raise(&mut mark.ring, self.inference.root_cause.get(member).copied().flatten());
                    raise(&mut mark.halo, reach(&self.inference.reach));
                }
            }
            mark.spared |=
                self.suppositions.healthy.contains(&service.key) || self.suppositions.drained.contains(&service.key);
            mark.host |= service.kind.as_deref() == Some("host");
            let age = service.changed_seconds.zip(self.model.tick_seconds).map(|(at, tick)| tick - at);
            mark.changed |= age.is_some_and(|age| (0.0..=CHANGE_SECONDS).contains(&age));
        }
        mark.ring = mark.ring.filter(|p| *p >= VISIBLE);
        mark.halo = mark.halo.filter(|p| *p >= VISIBLE);
        let unchanged = mark.before.zip(mark.halo.or(Some(0.0))).is_some_and(|(b, h)| (b - h).abs() < VISIBLE);
        mark.before = mark.before.filter(|p| *p >= VISIBLE && !unchanged);
        mark
    }
}
