//! The model and its conclusions as JSON: what the page around the canvas lists, and screen readers read.

use quoll_blast_radius::ENGINE_VERSION;

use crate::colour::Scale;
use std::collections::BTreeSet;

use crate::inference::{Ranked, Reach};
use crate::json::{Field, list, number, object, optional, optional_string, string};
use crate::shown::{Cluster, Node};
use crate::view::View;

/// Hits below this are not listed.
const LISTED: f64 = 0.01;

impl View {
    /// Services, calls, ranked causes, blast radius, legend and notes.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut out = String::new();
        let model = &self.model;
        let then = self.hypothesis.as_ref();
        let shown = then.and_then(|h| h.reach.as_ref()).or(self.inference.reach.as_ref());
        let supposed = then.map(|h| h.notes.as_slice()).unwrap_or_default();
        let fields: &[Field<'_>] = &[
            ("tick_seconds", &|o| optional(o, model.tick_seconds)),
            ("engine_version", &|o| optional_string(o, model.engine_version.as_deref())),
            ("panel_engine_version", &|o| string(o, ENGINE_VERSION)),
            ("notes", &|o| {
                list(o, model.notes.iter().chain(&self.inference.notes).chain(supposed), |o, n| n.write(o));
            }),
            ("services", &|o| list(o, 0..model.services.len(), |o, id| self.service(o, id, shown))),
            ("calls", &|o| list(o, 0..model.calls.len(), |o, id| self.call(o, id))),
            ("incidents", &|o| list(o, &self.inference.incidents, |o, r| self.ranked(o, r))),
            ("reach", &|o| match shown {
                Some(reach) => self.reach(o, reach),
                None => o.push_str("null"),
            }),
            ("what_if", &|o| self.what_if(o)),
            ("layout", &|o| string(o, self.stage.wanted().name())),
            ("layout_used", &|o| string(o, self.stage.used().name())),
            ("nodes", &|o| list(o, &self.shown.nodes, node)),
            ("clusters", &|o| list(o, &self.shown.clusters, cluster)),
            ("hidden", &|o| o.push_str(&self.hidden().to_string())),
            ("search", &|o| string(o, &self.search)),
            ("time_ms", &|o| optional(o, self.time_ms)),
            ("then", &|o| self.then(o)),
            ("time_range", &|o| list(o, self.timeline.range().iter().flat_map(|r| [r.0, r.1]), number)),
            ("score_scale", &|o| scale(o, &self.theme().score)),
            ("error_scale", &|o| scale(o, &self.theme().errors)),
            ("inferred", &|o| string(o, &self.theme().inferred.to_string())),
            ("hypothetical", &|o| string(o, &self.theme().hypothetical.to_string())),
        ];
        object(&mut out, fields);
        out
    }

    fn label(&self, id: usize) -> &str {
        self.model.services.get(id).map_or("", |s| s.label.as_str())
    }

    fn service(&self, out: &mut String, id: usize, shown: Option<&Reach>) {
        let Some(service) = self.model.services.get(id) else { return };
        let fields: &[Field<'_>] = &[
            ("label", &|o| string(o, &service.label)),
            ("id", &|o| string(o, &service.key.full())),
            ("namespace", &|o| optional_string(o, service.key.namespace.as_deref())),
            ("name", &|o| string(o, &service.key.name)),
            ("score", &|o| optional(o, service.score)),
            ("anomaly_probability", &|o| optional(o, service.anomaly_probability)),
            ("log_likelihood_ratio", &|o| optional(o, service.log_likelihood_ratio)),
            ("root_cause", &|o| optional(o, self.inference.root_cause.get(id).copied().flatten())),
            ("hit", &|o| optional(o, shown.and_then(|r| r.hit.get(id)).copied())),
            ("alias_of", &|o| optional_string(o, service.alias_of.as_deref())),
            ("kind", &|o| optional_string(o, service.kind.as_deref())),
            ("changed_seconds", &|o| optional(o, service.changed_seconds)),
            ("shown", &|o| truth(o, self.shown.place_of_service(id).is_some())),
        ];
        object(out, fields);
    }

    fn call(&self, out: &mut String, id: usize) {
        let Some(call) = self.model.calls.get(id) else { return };
        let fields: &[Field<'_>] = &[
            ("client", &|o| string(o, self.label(call.client))),
            ("server", &|o| string(o, self.label(call.server))),
            ("rate", &|o| optional(o, call.rate)),
            ("error_ratio", &|o| optional(o, call.error_ratio)),
            ("strength", &|o| optional(o, call.strength)),
        ];
        object(out, fields);
    }

    fn ranked(&self, out: &mut String, ranked: &Ranked) {
        let cause = |o: &mut String, (service, probability): &(Option<usize>, f64)| {
            let fields: &[Field<'_>] = &[
                ("service", &|o| match service {
                    Some(id) => o.push_str(&id.to_string()),
                    None => o.push_str("null"),
                }),
                ("label", &|o| string(o, service.map_or("no fault", |id| self.label(id)))),
                ("probability", &|o| number(o, *probability)),
            ];
            object(o, fields);
        };
        let fields: &[Field<'_>] = &[
            ("id", &|o| string(o, &ranked.incident)),
            ("causes", &|o| list(o, &ranked.causes, cause)),
            ("difference", &|o| optional(o, ranked.difference)),
            ("symptoms", &|o| list(o, &ranked.symptoms, |o, &s| string(o, self.label(s)))),
        ];
        object(out, fields);
    }

    fn reach(&self, out: &mut String, reach: &Reach) {
        let hit = |o: &mut String, (id, probability): (usize, f64)| {
            object(o, &[("label", &|o| string(o, self.label(id))), ("probability", &|o| number(o, probability))]);
        };
        let hypothetical = self.hypothesis.is_some();
        let fields: &[Field<'_>] = &[
            ("root", &|o| string(o, self.label(reach.root))),
            ("exact", &|o| truth(o, reach.exact)),
            ("hypothetical", &|o| truth(o, hypothetical)),
            ("hits", &|o| list(o, reach.ranked(LISTED), hit)),
        ];
        object(out, fields);
    }

    /// Posteriors at the time shown, the likeliest first.
    fn then(&self, out: &mut String) {
        let Some(moment) = &self.moment else { return list(out, [(); 0], |_, ()| {}) };
        let posterior = |id: usize| Some((id, moment.of(&self.model.services[id].key).1?));
        let mut all: Vec<_> = (0..self.model.services.len()).filter_map(posterior).filter(|p| p.1 >= LISTED).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        list(out, all, |o, (id, p)| {
            object(o, &[("label", &|o| string(o, self.label(id))), ("probability", &|o| number(o, p))]);
        });
    }

    /// Services that filters hide.
    fn hidden(&self) -> usize {
        (0..self.model.services.len()).filter(|&s| self.shown.place_of_service(s).is_none()).count()
    }

    /// What is supposed, and how that differs from now; `null` where nothing is.
    fn what_if(&self, out: &mut String) {
        let Some(then) = &self.hypothesis else { return out.push_str("null") };
        let labels = |keys: &BTreeSet<crate::model::Key>| -> Vec<String> {
            keys.iter().map(|k| self.model.find(k).map_or_else(|| k.full(), |id| self.label(id).to_owned())).collect()
        };
        let supposed = &self.suppositions;
        let failed = supposed.failed.as_ref().and_then(|k| self.model.find(k));
        let cut: Vec<[String; 2]> = supposed
            .cut
            .iter()
            .map(|(a, b)| [a, b].map(|k| self.model.find(k).map_or_else(|| k.full(), |id| self.label(id).to_owned())))
            .collect();
        let hits = self.compared();
        let fields: &[Field<'_>] = &[
            ("failed", &|o| optional_string(o, failed.map(|id| self.label(id)))),
            ("healthy", &|o| list(o, labels(&supposed.healthy), |o, l| string(o, &l))),
            ("drained", &|o| list(o, labels(&supposed.drained), |o, l| string(o, &l))),
            ("cut", &|o| list(o, &cut, |o, pair| list(o, pair, |o, l| string(o, l)))),
            ("incidents", &|o| list(o, &then.incidents, |o, r| self.ranked(o, r))),
            ("root", &|o| optional_string(o, then.reach.as_ref().map(|r| self.label(r.root)))),
            ("hits", &|o| {
                list(o, &hits, |o, &(id, now, then)| {
                    let fields: &[Field<'_>] = &[
                        ("label", &|o| string(o, self.label(id))),
                        ("now", &|o| number(o, now)),
                        ("then", &|o| number(o, then)),
                    ];
                    object(o, fields);
                });
            }),
        ];
        object(out, fields);
    }

    /// Who is hit how likely, as things are and as supposed; the largest difference first. The former is the
    /// blast radius of the same service, or of the likeliest root where the supposed one differs from it.
    fn compared(&self) -> Vec<(usize, f64, f64)> {
        let Some(then) = &self.hypothesis else { return Vec::new() };
        let now = then.reach_now.as_ref().or(self.inference.reach.as_ref());
        let p = |reach: Option<&Reach>, id: usize| reach.and_then(|r| r.hit.get(id)).copied().unwrap_or(0.0);
        // That what failed is hit needs no saying.
        let failed = self.suppositions.failed.as_ref().and_then(|k| self.model.find(k));
        let all = (0..self.model.services.len())
            .filter(|id| Some(*id) != failed)
            .map(|id| (id, p(now, id), p(then.reach.as_ref(), id)));
        let mut all: Vec<_> = all.filter(|h| h.1.max(h.2) >= LISTED).collect();
        all.sort_by(|a, b| (b.2 - b.1).abs().total_cmp(&(a.2 - a.1).abs()).then(a.0.cmp(&b.0)));
        all
    }
}

fn truth(out: &mut String, value: bool) {
    out.push_str(if value { "true" } else { "false" });
}

fn node(out: &mut String, node: &Node) {
    let fields: &[Field<'_>] = &[
        ("id", &|o| o.push_str(&node.id.to_string())),
        ("label", &|o| string(o, &node.label)),
        ("namespace", &|o| optional_string(o, node.key.namespace.as_deref())),
        ("cluster", &|o| truth(o, node.cluster)),
        ("services", &|o| o.push_str(&node.members.len().to_string())),
        ("hidden", &|o| o.push_str(&node.hidden.to_string())),
    ];
    object(out, fields);
}

fn cluster(out: &mut String, cluster: &Cluster) {
    let fields: &[Field<'_>] = &[
        ("namespace", &|o| string(o, &cluster.namespace)),
        ("services", &|o| o.push_str(&cluster.members.len().to_string())),
        ("open", &|o| truth(o, cluster.open)),
    ];
    object(out, fields);
}

fn scale(out: &mut String, scale: &Scale) {
    let stops = |o: &mut String| {
        list(o, scale.stops.iter(), |o, (value, colour)| {
            object(o, &[("value", &|o| number(o, *value)), ("colour", &|o| string(o, &colour.to_string()))]);
        });
    };
    object(out, &[("stepped", &|o| truth(o, scale.stepped)), ("stops", &stops)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::tests::pack;

    #[test]
    fn lists_what_is_known_and_says_null_for_what_is_not() {
        let mut view = View::default();
        let (packed, values) = pack(&[
            "quoll_anomaly_score{service_name=db} 2",
            "quoll_edge_strength{client=web,server=db} 0.5",
            "quoll_root_cause_probability{service_name=db,incident=i} 0.9",
            "quoll_no_fault_probability{incident=i} 0.1",
            "quoll_symptom{service_name=web,incident=i,root_service=db} 1",
        ]);
        view.load(&packed, &values, 0.0);
        let summary = view.summary();
        for part in [
            r#""label":"db","id":"db","namespace":null,"name":"db","score":2.0,"anomaly_probability":null"#,
            r#"{"service":null,"label":"no fault","probability":0.1}"#,
            r#""symptoms":["web"]"#,
            r#""reach":{"root":"db","exact":true,"hypothetical":false,"hits":[{"label":"web","probability":0.5"#,
        ] {
            assert!(summary.contains(part), "{part} in {summary}");
        }
    }
}
