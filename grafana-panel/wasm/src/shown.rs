//! What is shown of a model: filtered, narrowed to a neighbourhood, with namespaces closed to one node each.
//!
//! A *node* is a service or a closed namespace. Node ids are those of services, then one per namespace in
//! order, open or closed; they stay the same however much is shown. Calls between the same two nodes are
//! one link: rates add up, error ratios are weighed by rate.
//!
//! Whoever is hidden leaves a trace: every shown service says how many of its neighbours are not.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::Adjacency;
use crate::model::{Key, Model};

/// What the user wants to see. The default shows everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Only these namespaces; the empty name stands for services without one. `None` is all.
    pub namespaces: Option<BTreeSet<String>>,
    /// Only services with at least this anomaly score.
    pub least_score: Option<f64>,
    /// Only services with at least this many requests per second, in and out.
    pub least_rate: Option<f64>,
    /// Only services at most this many calls away from this one.
    pub around: Option<(Key, usize)>,
    /// Services whose neighbours are shown whatever else is said.
    pub expanded: BTreeSet<Key>,
}

/// A namespace with at least two services.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// Its name.
    pub namespace: String,
    /// All its services, in id order.
    pub members: Vec<usize>,
    /// Whether its services are shown one by one.
    pub open: bool,
}

/// One thing that is drawn as a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// See the module.
    pub id: usize,
    /// The service's key; that of a closed namespace has an empty name.
    pub key: Key,
    /// What to write beside it.
    pub label: String,
    /// The services it stands for.
    pub members: Vec<usize>,
    /// A closed namespace.
    pub cluster: bool,
    /// Neighbours that are not shown.
    pub hidden: usize,
}

/// Calls from one node to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Position of the caller among the nodes.
    pub from: usize,
    /// Position of the callee.
    pub to: usize,
    /// Positions of its calls in the model, at least one.
    pub calls: Vec<usize>,
    /// Requests per second, of all calls.
    pub rate: Option<f64>,
    /// Share of failed requests.
    pub error_ratio: Option<f64>,
    /// The same two nodes are linked the other way, too.
    pub two_way: bool,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// In id order.
    pub nodes: Vec<Node>,
    /// Sorted by (from, to).
    pub links: Vec<Link>,
    /// In order of their names.
    pub clusters: Vec<Cluster>,
    place_of: Vec<Option<usize>>,
}

impl Shown {
    /// Chooses what to show. `closed` names the namespaces that are one node each.
    #[must_use]
    pub fn of(model: &Model, filter: &Filter, closed: &BTreeSet<String>) -> Self {
        let services = model.services.len();
        let mut namespaces: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (id, service) in model.services.iter().enumerate() {
            if let Some(namespace) = &service.key.namespace {
                namespaces.entry(namespace).or_default().push(id);
            }
        }
        let clusters: Vec<Cluster> = namespaces
            .into_iter()
            .filter(|(_, members)| members.len() > 1)
            .map(|(name, members)| Cluster { namespace: name.to_owned(), members, open: !closed.contains(name) })
            .collect();
        let pairs: Vec<_> = model.calls.iter().map(|c| (c.client, c.server)).collect();
        let adjacency = Adjacency::new(services, &pairs);
        let visible = visible(model, filter, &adjacency);
        let mut node_of: Vec<Option<usize>> = (0..services).map(|s| visible[s].then_some(s)).collect();
        for (index, cluster) in clusters.iter().enumerate().filter(|(_, c)| !c.open) {
            for &member in &cluster.members {
                node_of[member] = node_of[member].map(|_| services + index);
            }
        }
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (service, node) in node_of.iter().enumerate() {
            if let Some(node) = node {
                members.entry(*node).or_default().push(service);
            }
        }
        let mut shown = Self { place_of: vec![None; services + clusters.len()], clusters, ..Self::default() };
        for (id, members) in members {
            shown.place_of[id] = Some(shown.nodes.len());
            let node = match model.services.get(id) {
                Some(service) => Node {
                    id,
                    key: service.key.clone(),
                    label: service.label.clone(),
                    hidden: adjacency.of(id).iter().filter(|&&n| node_of[n as usize].is_none()).count(),
                    members,
                    cluster: false,
                },
                None => {
                    let namespace = shown.clusters[id - services].namespace.clone();
                    let label = format!("{namespace} ({})", members.len());
                    let key = Key { namespace: Some(namespace), name: String::new() };
                    Node { id, key, label, members, cluster: true, hidden: 0 }
                }
            };
            shown.nodes.push(node);
        }
        let mut links: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
        for (index, call) in model.calls.iter().enumerate() {
            let place = |service: usize| node_of[service].and_then(|n| shown.place_of[n]);
            if let (Some(from), Some(to)) = (place(call.client), place(call.server))
                && from != to
            {
                links.entry((from, to)).or_default().push(index);
            }
        }
        let two_way: Vec<bool> = links.keys().map(|&(a, b)| links.contains_key(&(b, a))).collect();
        for (((from, to), calls), two_way) in links.into_iter().zip(two_way) {
            let mut link = Link { from, to, rate: None, error_ratio: None, two_way, calls };
            let mut weight = 0.0;
            for call in link.calls.iter().map(|&c| &model.calls[c]) {
                if let Some(rate) = call.rate {
                    link.rate = Some(link.rate.unwrap_or(0.0) + rate);
                }
                if let Some(errors) = call.error_ratio {
                    let heavier = call.rate.unwrap_or(0.0).max(1e-9);
                    let mean = link.error_ratio.unwrap_or(0.0);
                    weight += heavier;
                    link.error_ratio = Some(mean + (errors - mean) * heavier / weight);
                }
            }
            shown.links.push(link);
        }
        shown
    }

    /// Where a node is among those shown, by its id; for a service in a closed namespace, that namespace.
    #[must_use]
    pub fn place(&self, id: usize) -> Option<usize> {
        self.place_of.get(id).copied().flatten()
    }

    /// Where a service is, or the closed namespace it is in.
    #[must_use]
    pub fn place_of_service(&self, service: usize) -> Option<usize> {
        self.place(service).or_else(|| {
            let services = self.place_of.len() - self.clusters.len();
            let holds = |c: &Cluster| !c.open && c.members.binary_search(&service).is_ok();
            self.clusters.iter().position(holds).and_then(|c| self.place(services + c))
        })
    }

    /// Links as pairs of positions.
    #[must_use]
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        self.links.iter().map(|l| (l.from, l.to)).collect()
    }
}

fn visible(model: &Model, filter: &Filter, adjacency: &Adjacency) -> Vec<bool> {
    let services = model.services.len();
    let mut rate = vec![0.0; services];
    for call in &model.calls {
        rate[call.client] += call.rate.unwrap_or(0.0);
        rate[call.server] += call.rate.unwrap_or(0.0);
    }
    let passes = |id: usize| {
        let service = &model.services[id];
        let namespace = service.key.namespace.as_deref().unwrap_or_default();
        filter.namespaces.as_ref().is_none_or(|wanted| wanted.contains(namespace))
            && filter.least_score.is_none_or(|least| service.score.is_some_and(|s| s >= least))
            && filter.least_rate.is_none_or(|least| rate[id] >= least)
    };
    let mut visible: Vec<bool> = (0..services).map(passes).collect();
    if let Some((middle, depth)) = filter.around.as_ref().and_then(|(key, d)| Some((model.find(key)?, *d))) {
        visible[middle] = true;
        let hops = adjacency.hops(middle);
        for (seen, hops) in visible.iter_mut().zip(hops) {
            *seen &= hops as usize <= depth;
        }
    }
    for id in filter.expanded.iter().filter_map(|key| model.find(key)) {
        visible[id] = true;
        for &near in adjacency.of(id) {
            visible[near as usize] = true;
        }
    }
    visible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{select, tests::pack};

    fn model() -> Model {
        let (packed, values) = pack(&[
            "quoll_edge_requests_per_second{client=web,client_service_namespace=a,server=cart,server_service_namespace=a} 10",
            "quoll_edge_requests_per_second{client=web,client_service_namespace=a,server=db,server_service_namespace=b} 30",
            "quoll_edge_error_ratio{client=web,client_service_namespace=a,server=db,server_service_namespace=b} 0.2",
            "quoll_edge_requests_per_second{client=cart,client_service_namespace=a,server=db,server_service_namespace=b} 10",
            "quoll_edge_error_ratio{client=cart,client_service_namespace=a,server=db,server_service_namespace=b} 0.6",
            "quoll_edge_requests_per_second{client=db,client_service_namespace=b,server=disk,server_service_namespace=b} 1",
            "quoll_anomaly_score{service_name=db,service_namespace=b} 3",
            "quoll_anomaly_score{service_name=lone} 1",
        ]);
        Model::read(select(&packed, &values))
    }

    fn names(shown: &Shown) -> Vec<&str> {
        shown.nodes.iter().map(|n| n.label.as_str()).collect()
    }

    #[test]
    fn closed_namespaces_are_one_node_and_their_calls_one_link() {
        let model = model();
        let closed = ["a".to_owned(), "b".to_owned()].into();
        let shown = Shown::of(&model, &Filter::default(), &closed);
        assert_eq!(names(&shown), ["lone", "a (2)", "b (2)"]);
        let [link] = shown.links.as_slice() else { panic!("{:?}", shown.links) };
        assert_eq!((link.rate, link.calls.len()), (Some(40.0), 2));
        assert!((link.error_ratio.unwrap() - 0.3).abs() < 1e-12, "weighed by rate");
        let web = model.services.iter().position(|s| s.label == "web").unwrap();
        assert_eq!(shown.place_of_service(web), Some(1));
        assert_eq!(shown.nodes[1].id, model.services.len());
    }

    #[test]
    fn filters_narrow_and_say_what_they_hide() {
        let model = model();
        let show = |filter: Filter| Shown::of(&model, &filter, &BTreeSet::new());
        assert_eq!(names(&show(Filter::default())), ["lone", "cart", "web", "db", "disk"]);
        let shown = show(Filter { namespaces: Some(["a".to_owned()].into()), ..Filter::default() });
        assert_eq!(names(&shown), ["cart", "web"]);
        assert_eq!(shown.nodes[0].hidden, 1, "db is hidden");
        assert_eq!(names(&show(Filter { least_score: Some(2.0), ..Filter::default() })), ["db"]);
        assert_eq!(names(&show(Filter { least_rate: Some(30.0), ..Filter::default() })), ["web", "db"]);
    }

    #[test]
    fn a_neighbourhood_grows_where_it_is_expanded() {
        let model = model();
        let key = |name: &str| model.services.iter().find(|s| s.label == name).unwrap().key.clone();
        let mut filter = Filter { around: Some((key("disk"), 1)), ..Filter::default() };
        let shown = Shown::of(&model, &filter, &BTreeSet::new());
        assert_eq!(names(&shown), ["db", "disk"]);
        assert_eq!(shown.nodes[0].hidden, 2);
        filter.expanded.insert(key("db"));
        let shown = Shown::of(&model, &filter, &BTreeSet::new());
        assert_eq!(names(&shown), ["cart", "web", "db", "disk"]);
        assert_eq!(shown.nodes[2].hidden, 0);
    }

    #[test]
    fn a_middle_that_is_gone_hides_nothing() {
        let ghost = Key { namespace: None, name: "ghost".to_owned() };
        let filter = Filter { around: Some((ghost, 1)), ..Filter::default() };
        assert_eq!(Shown::of(&model(), &filter, &BTreeSet::new()).nodes.len(), 5);
    }
}
