//! What a topology must satisfy to run.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::{Endpoint, LOAD_GENERATOR, Service, Topology};

/// Most services of one shop: their addresses are .10 to .209 of one /24.
pub const MAX_SERVICES: usize = 200;

/// Why a topology cannot run.
#[derive(Debug, Error, PartialEq)]
pub enum Invalid {
    /// Not YAML, an unknown key, a missing key or a wrong type.
    #[error("{reason}")]
    Shape {
        /// From the parser, with line and column.
        reason: String,
    },
    /// A number outside its range.
    #[error("{at} is {value}; give a value from {lowest} to {highest}")]
    OutOfRange {
        /// Where.
        at: String,
        /// The value.
        value: f64,
        /// Smallest accepted.
        lowest: f64,
        /// Largest accepted.
        highest: f64,
    },
    /// A name that cannot be a directory, a namespace and a label at once.
    #[error("service name `{name}` does not work; use 1 to 32 lower-case letters, digits and dashes, a letter first")]
    Name {
        /// The name.
        name: String,
    },
    /// The load generator's own name.
    #[error("service name `{LOAD_GENERATOR}` is the load generator's own; choose another")]
    Reserved,
    /// A name or path given twice.
    #[error("{what} `{value}` appears twice; give each once")]
    Twice {
        /// Kind of thing.
        what: &'static str,
        /// The name.
        value: String,
    },
    /// A list that must not be empty, or is too long.
    #[error("{at} has {count} items; give 1 to {most}")]
    Count {
        /// Which list.
        at: String,
        /// Items given.
        count: usize,
        /// Most accepted.
        most: usize,
    },
    /// A path that does not start with a slash or has spaces.
    #[error("path `{path}` of `{service}` does not work; start it with `/`, without spaces, `?` or `#`")]
    Path {
        /// Its service.
        service: String,
        /// The path.
        path: String,
    },
    /// A call or entry to a service that is not there.
    #[error("{from} names service `{service}`, which is not in the file; there are: {known}")]
    UnknownService {
        /// Who calls.
        from: String,
        /// The name.
        service: String,
        /// Names that exist.
        known: String,
    },
    /// A call or entry to a path that its service has not.
    #[error("{from} asks `{service}` for `{path}`, which it does not have; it has: {known}")]
    UnknownPath {
        /// Who calls.
        from: String,
        /// The callee.
        service: String,
        /// The path.
        path: String,
        /// Paths that exist.
        known: String,
    },
    /// A request that would call itself for ever.
    #[error("the calls go round: {}; leave one of them out", .cycle.join(" -> "))]
    Cycle {
        /// The endpoints, the first one again at the end.
        cycle: Vec<String>,
    },
}

fn within(at: impl FnOnce() -> String, value: f64, range: RangeInclusive<f64>) -> Result<(), Invalid> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(Invalid::OutOfRange { at: at(), value, lowest: *range.start(), highest: *range.end() })
}

fn count(at: &str, count: usize, most: usize) -> Result<(), Invalid> {
    if (1..=most).contains(&count) {
        return Ok(());
    }
    Err(Invalid::Count { at: at.to_owned(), count, most })
}

/// Checks everything that the types do not.
pub fn check(topology: &Topology) -> Result<(), Invalid> {
    count("services", topology.services.len(), MAX_SERVICES)?;
    let mut names = BTreeSet::new();
    for service in &topology.services {
        check_name(&service.name)?;
        if !names.insert(&service.name) {
            return Err(Invalid::Twice { what: "service", value: service.name.clone() });
        }
        check_service(service)?;
    }
    check_load(topology)?;
    for service in &topology.services {
        for endpoint in &service.endpoints {
            for call in &endpoint.calls {
                let from = format!("`{}{}`", service.name, endpoint.path);
                find(topology, &from, &call.to, &call.path)?;
                within(|| format!("probability of {from} -> `{}`", call.to), call.probability, 1e-3..=1.0)?;
            }
        }
    }
    check_acyclic(topology)
}

fn check_name(name: &str) -> Result<(), Invalid> {
    if name == LOAD_GENERATOR {
        return Err(Invalid::Reserved);
    }
    let fits = (1..=32).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(()) } else { Err(Invalid::Name { name: name.to_owned() }) }
}

fn check_service(service: &Service) -> Result<(), Invalid> {
    let name = &service.name;
    within(|| format!("concurrency of `{name}`"), service.concurrency as f64, 1.0..=4096.0)?;
    within(|| format!("queue of `{name}`"), service.queue as f64, 0.0..=65_536.0)?;
    within(|| format!("backlog of `{name}`"), f64::from(service.backlog), 1.0..=4096.0)?;
    within(|| format!("call_timeout_ms of `{name}`"), service.call_timeout_ms as f64, 1.0..=60_000.0)?;
    within(|| format!("connection_uses of `{name}`"), service.connection_uses, 1.0..=1e6)?;
    count(&format!("endpoints of `{name}`"), service.endpoints.len(), 64)?;
    let mut paths = BTreeSet::new();
    for endpoint in &service.endpoints {
        let path = &endpoint.path;
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte)) {
            return Err(Invalid::Path { service: name.clone(), path: path.clone() });
        }
        if !paths.insert(path) {
            return Err(Invalid::Twice { what: "path", value: format!("{name}{path}") });
        }
        within(|| format!("latency.median_ms of `{name}{path}`"), endpoint.latency.median_ms, 0.0..=60_000.0)?;
        within(|| format!("latency.sigma of `{name}{path}`"), endpoint.latency.sigma, 0.0..=3.0)?;
        within(|| format!("cpu_ms of `{name}{path}`"), endpoint.cpu_ms, 0.0..=1000.0)?;
        within(|| format!("response_bytes of `{name}{path}`"), endpoint.response_bytes as f64, 0.0..=1_048_576.0)?;
    }
    Ok(())
}

fn check_load(topology: &Topology) -> Result<(), Invalid> {
    let load = &topology.load;
    within(|| "load.rate".to_owned(), load.rate, 0.1..=10_000.0)?;
    within(|| "load.rhythm.period_seconds".to_owned(), load.rhythm.period_seconds, 1.0..=86_400.0)?;
    within(|| "load.rhythm.amplitude".to_owned(), load.rhythm.amplitude, 0.0..=0.9)?;
    within(|| "load.noise".to_owned(), load.noise, 0.0..=1.0)?;
    within(|| "load.timeout_ms".to_owned(), load.timeout_ms as f64, 1.0..=60_000.0)?;
    within(|| "load.connection_uses".to_owned(), load.connection_uses, 1.0..=1e6)?;
    count("load.entries", load.entries.len(), 64)?;
    for entry in &load.entries {
        find(topology, "load.entries", &entry.service, &entry.path)?;
        within(|| format!("weight of entry `{}{}`", entry.service, entry.path), entry.weight, 1e-6..=1e6)?;
    }
    Ok(())
}

fn find<'t>(topology: &'t Topology, from: &str, service: &str, path: &str) -> Result<&'t Endpoint, Invalid> {
    let Some(found) = topology.service(service) else {
        let known: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
        return Err(Invalid::UnknownService {
            from: from.to_owned(),
            service: service.to_owned(),
            known: known.join(", "),
        });
    };
    found.endpoints.iter().find(|endpoint| endpoint.path == path).ok_or_else(|| {
        let known: Vec<&str> = found.endpoints.iter().map(|endpoint| endpoint.path.as_str()).collect();
        Invalid::UnknownPath {
            from: from.to_owned(),
            service: service.to_owned(),
            path: path.to_owned(),
            known: known.join(", "),
        }
    })
}

/// Depth-first over endpoints; services may call one another both ways as long as no request
/// comes back to an endpoint that is waiting for it.
fn check_acyclic(topology: &Topology) -> Result<(), Invalid> {
    fn visit<'t>(
        topology: &'t Topology,
        service: &'t str,
        endpoint: &'t Endpoint,
        way: &mut Vec<(&'t str, &'t str)>,
        done: &mut BTreeSet<(&'t str, &'t str)>,
    ) -> Result<(), Invalid> {
        let here = (service, endpoint.path.as_str());
        if done.contains(&here) {
            return Ok(());
        }
        if let Some(start) = way.iter().position(|&step| step == here) {
            let mut cycle: Vec<String> = way[start..].iter().map(|(name, path)| format!("{name}{path}")).collect();
            cycle.push(format!("{service}{}", endpoint.path));
            return Err(Invalid::Cycle { cycle });
        }
        way.push(here);
        for call in &endpoint.calls {
            let callee = find(topology, service, &call.to, &call.path)?;
            visit(topology, &call.to, callee, way, done)?;
        }
        way.pop();
        done.insert(here);
        Ok(())
    }

    let mut done = BTreeSet::new();
    for service in &topology.services {
        for endpoint in &service.endpoints {
            visit(topology, &service.name, endpoint, &mut Vec::new(), &mut done)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = include_str!("../../topologies/shop.yaml");

    fn two(endpoint_of_b: &str, rest: &str) -> String {
        format!(
            "load: {{rate: 5, entries: [{{service: a, path: /x, weight: 1}}]}}\n\
             services:\n\
             - name: a\n  endpoints: [{{path: /x, latency: {{median_ms: 1}}, calls: [{{to: b, path: /y}}]}}]\n\
             - name: b\n  endpoints: [{endpoint_of_b}]\n{rest}"
        )
    }

    fn refusal(yaml: &str) -> String {
        Topology::parse(yaml).unwrap_err().to_string()
    }

    #[test]
    fn the_shipped_shop_is_valid_and_large_enough() {
        let shop = Topology::parse(SHOP).unwrap();
        assert!(shop.services.len() >= 12);
        assert!(shop.edges().len() >= 15);
    }

    #[test]
    fn a_small_topology_passes_and_its_edges_are_listed_once() {
        let topology = Topology::parse(&two("{path: /y, latency: {median_ms: 1}}", "")).unwrap();
        assert_eq!(topology.edges(), [(LOAD_GENERATOR, "a"), ("a", "b")]);
    }

    #[test]
    fn unknown_keys_are_errors_that_list_what_there_is() {
        let text = refusal(&two("{path: /y, latency: {median_ms: 1}, cpu_millis: 3}", ""));
        assert!(text.contains("cpu_millis") && text.contains("cpu_ms"), "{text}");
    }

    #[test]
    fn numbers_out_of_range_name_the_place_the_value_and_the_range() {
        let text = refusal(&two("{path: /y, latency: {median_ms: -4}}", ""));
        assert_eq!(text, "latency.median_ms of `b/y` is -4; give a value from 0 to 60000");
        let text = refusal(&two("{path: /y, latency: {median_ms: .nan}}", ""));
        assert!(text.contains("NaN"), "{text}");
    }

    #[test]
    fn calls_must_lead_somewhere() {
        let text = refusal(&two("{path: /z, latency: {median_ms: 1}}", ""));
        assert!(text.contains("`/y`") && text.contains("it has: /z"), "{text}");
        let text = refusal(&two("{path: /y, latency: {median_ms: 1}, calls: [{to: c, path: /}]}", ""));
        assert!(text.contains("`c`") && text.contains("there are: a, b"), "{text}");
    }

    #[test]
    fn a_request_that_comes_back_to_itself_is_refused_with_its_way() {
        let text = refusal(&two("{path: /y, latency: {median_ms: 1}, calls: [{to: a, path: /x}]}", ""));
        assert!(text.contains("a/x -> b/y -> a/x"), "{text}");
    }

    #[test]
    fn names_are_unique_unreserved_and_usable() {
        let twice = "- name: b\n  endpoints: [{path: /y, latency: {median_ms: 1}}]\n";
        assert!(refusal(&two("{path: /y, latency: {median_ms: 1}}", twice)).contains("twice"));
        let odd = "- name: B/..\n  endpoints: [{path: /y, latency: {median_ms: 1}}]\n";
        assert!(refusal(&two("{path: /y, latency: {median_ms: 1}}", odd)).contains("`B/..`"));
        let reserved = "- name: load-generator\n  endpoints: [{path: /y, latency: {median_ms: 1}}]\n";
        assert!(refusal(&two("{path: /y, latency: {median_ms: 1}}", reserved)).contains("load generator"));
    }
}
