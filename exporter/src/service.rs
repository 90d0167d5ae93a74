//! Names: what the labels of all metrics are made of.

use std::fmt;
use std::sync::{Arc, LazyLock};

/// A workload, by optional namespace and name. An absent namespace is an absent label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Label `service_namespace`; never empty.
    pub namespace: Option<Arc<str>>,
    /// Label `service_name`; never empty.
    pub name: Arc<str>,
}

static EXTERNAL: LazyLock<Service> = LazyLock::new(|| Service { namespace: None, name: Arc::from("external") });
static UNKNOWN: LazyLock<Service> = LazyLock::new(|| Service { namespace: None, name: Arc::from("unknown") });
static OTHER: LazyLock<Service> = LazyLock::new(|| Service { namespace: None, name: Arc::from("other") });

impl Service {
    /// A service from label values; an empty namespace counts as absent, an empty name gives `None`.
    #[must_use]
    pub fn new(namespace: Option<&str>, name: &str) -> Option<Self> {
        let namespace = namespace.filter(|text| !text.is_empty()).map(Arc::from);
        (!name.is_empty()).then(|| Self { namespace, name: Arc::from(name) })
    }

    /// All peers outside together.
    #[must_use]
    pub fn external() -> Self {
        EXTERNAL.clone()
    }

    /// All peers inside that no rule and no cgroup names.
    #[must_use]
    pub fn unknown() -> Self {
        UNKNOWN.clone()
    }

    /// All that there is no room for, together.
    #[must_use]
    pub fn other() -> Self {
        OTHER.clone()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
