//! From labels to the service (and host) they name.
//!
//! Sources disagree on how a service is named, and some name what is no service at all. A [`Selector`]
//! says where to look; these rules hold for all of them:
//! - the first of several labels that names somebody counts;
//! - a bare address is nobody: who is behind it is not known, and each would be a service of its own;
//! - names listed under `not_services` are nobody (`*` stands for any text).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::rules::{Labels, label};

/// How a label's value holds the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Form {
    /// It is the name.
    #[default]
    Plain,
    /// It is the name of a Kubernetes pod, whose workload is meant.
    Pod,
    /// It is the path of a container as coroot-node-agent gives it.
    ContainerId,
    /// It is a host's address; the port is no part of the name.
    Host,
}

/// Where the name of a service stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub name: Vec<Arc<str>>,
    pub namespace: Vec<Arc<str>>,
    /// The namespace of all of them, where no label tells one.
    pub within: Option<Arc<str>>,
    pub form: Form,
    /// Whether series named so are the service's own: where they end, the service is gone.
    pub own: bool,
    /// Labels that name an instance's host, the best first.
    pub host: Vec<Arc<str>>,
}

impl Selector {
    /// The service that these labels name; `None` where they name nobody.
    pub fn service(&self, labels: &Labels<'_>, nobody: &[Arc<str>]) -> Option<Service> {
        let somebody = |value: &&str| !value.is_empty() && !is_any_of(nobody, value) && !is_address(value);
        let namespace = || first(&self.namespace, labels).find(somebody).or(self.within.as_deref());
        match self.form {
            Form::Plain => Service::new(namespace(), first(&self.name, labels).find(somebody)?),
            Form::Pod => Service::new(namespace(), workload_of_pod(first(&self.name, labels).find(somebody)?)),
            Form::Host => {
                let value = first(&self.name, labels).find(|value| !value.is_empty())?;
                Service::new(namespace(), without_port(value))
            }
            Form::ContainerId => {
                let (namespace, name) = container(first(&self.name, labels).find(somebody)?)?;
                somebody(&name).then(|| Service::new(namespace.or(self.within.as_deref()), name))?
            }
        }
    }

    /// The host that these labels name.
    pub fn host(&self, labels: &Labels<'_>) -> Option<Arc<str>> {
        first(&self.host, labels).find(|value| !value.is_empty()).map(|value| Arc::from(without_port(value)))
    }
}

fn first<'a>(names: &'a [Arc<str>], labels: &'a Labels<'a>) -> impl Iterator<Item = &'a str> {
    names.iter().filter_map(|name| label(labels, name))
}

/// Whether the value passes one of the patterns.
pub(crate) fn is_any_of(patterns: &[Arc<str>], value: &str) -> bool {
    patterns.iter().any(|pattern| glob(pattern, value))
}

/// Whether the value passes a list of patterns, where a leading `!` refuses: one of those without it has to
/// pass, if there are any, and none of those with it.
pub(crate) fn passes(patterns: &[Arc<str>], value: &str) -> bool {
    let mut wanted = patterns.iter().filter(|pattern| !pattern.starts_with('!')).peekable();
    let refused = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!'));
    let pass = wanted.peek().is_none() || wanted.any(|pattern| glob(pattern, value));
    pass && !refused.into_iter().any(|pattern| glob(pattern, value))
}

/// `*` stands for any text, also none.
fn glob(pattern: &str, value: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut value) = value.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return value.ends_with(part);
        }
        let Some(at) = value.find(part) else { return false };
        value = &value[at + part.len()..];
    }
    true
}

/// An IP address, with or without a port.
pub(crate) fn is_address(value: &str) -> bool {
    value.parse::<IpAddr>().is_ok() || value.parse::<SocketAddr>().is_ok()
}

fn without_port(value: &str) -> &str {
    match value.rsplit_once(':') {
        // The last group of a bare IPv6 address is no port.
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => value,
    }
}

/// The workload behind a pod's name: `cart-5d4f8c7b9f-x2k8p` is a Deployment's, `node-agent-x2k8p` a
/// DaemonSet's, `orders-db-0` a StatefulSet's. Random suffixes are five characters of an alphabet without
/// vowels, and a template's hash is decimal digits written in ten of them
/// (kubernetes/apimachinery: `pkg/util/rand/rand.go`, `String` and `SafeEncodeString`). A name that ends
/// otherwise is its own workload.
pub(crate) fn workload_of_pod(pod: &str) -> &str {
    const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";
    const HASH: &str = "456789bcdf";
    let made_of = |text: &str, alphabet: &str| text.chars().all(|character| alphabet.contains(character));
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod };
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) && last.len() < 4 {
        return rest;
    }
    if last.len() != 5 || !made_of(last, RANDOM) {
        return pod;
    }
    match rest.rsplit_once('-') {
        Some((workload, hash)) if (6..=10).contains(&hash.len()) && made_of(hash, HASH) => workload,
        _ => rest,
    }
}

/// Namespace and name behind a container's path: `/k8s/shop/cart-5d4f8c7b9f-x2k8p/cart`, `/docker/cart`,
/// `/system.slice/cart.service`
/// (coroot/coroot-node-agent: `containers/registry.go`, `calcId`).
fn container(path: &str) -> Option<(Option<&str>, &str)> {
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next()? {
        "k8s" | "k8s-cronjob" => {
            let (namespace, pod) = (parts.next()?, parts.next()?);
            Some((Some(namespace), workload_of_pod(pod)))
        }
        _ => {
            let name = path.rsplit('/').next()?;
            Some((None, name.strip_suffix(".service").unwrap_or(name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_belong_to_their_workloads() {
        for (pod, workload) in [
            ("cart-5d4f8c7b9f-x2k8p", "cart"),
            ("orders-db-0", "orders-db"),
            ("node-agent-x2k8p", "node-agent"),
            ("cart", "cart"),
            ("cart-queue", "cart-queue"),
            ("cart-blue1", "cart-blue1"),
            ("a-b-5d4f8c7b9f-x2k8p", "a-b"),
        ] {
            assert_eq!(workload_of_pod(pod), workload, "{pod}");
        }
    }

    #[test]
    fn containers_are_named_by_their_path() {
        assert_eq!(container("/k8s/shop/cart-5d4f8c7b9f-x2k8p/app"), Some((Some("shop"), "cart")));
        assert_eq!(container("/docker/cart"), Some((None, "cart")));
        assert_eq!(container("/system.slice/cart.service"), Some((None, "cart")));
        assert_eq!(container("/k8s/shop"), None);
    }

    #[test]
    fn patterns_stand_for_any_text_and_refuse_with_a_mark() {
        let list =
            |patterns: &[&str]| -> Vec<Arc<str>> { patterns.iter().map(|pattern| Arc::from(*pattern)).collect() };
        for (patterns, value, pass) in [
            (&["5*"][..], "503", true),
            (&["5*"], "450", false),
            (&["*.*"], "api.example.com", true),
            (&["*.*"], "cart", false),
            (&["*UF*"], "URX,UF", true),
            (&["*"], "", true),
            (&["a*b*c"], "a-b-b-c", true),
            (&["a*b*c"], "a-c", false),
            (&["!", "!POD"], "cart", true),
            (&["!", "!POD"], "", false),
            (&["!", "!POD"], "POD", false),
            (&["c*", "!cart"], "cart", false),
        ] {
            assert_eq!(passes(&list(patterns), value), pass, "{patterns:?} {value:?}");
        }
    }

    #[test]
    fn addresses_are_nobody_and_ports_are_no_part_of_a_host() {
        for address in ["10.0.0.1", "10.0.0.1:80", "fe80::1", "[fe80::1]:80"] {
            assert!(is_address(address), "{address}");
        }
        assert!(!is_address("cart") && !is_address("cart:80"));
        assert_eq!(without_port("10.0.0.1:9100"), "10.0.0.1");
        assert_eq!(without_port("node-a:9100"), "node-a");
        assert_eq!(without_port("fe80::1"), "fe80::1");
        assert_eq!(without_port("[fe80::1]:9100"), "[fe80::1]");
    }
}
