//! Who is who: the keys under which all scorer state is held.
//!
//! - [`Scope`]: one tenant and one value of every partition label (by default `cluster`). Nothing is
//!   ever shared or summed across scopes.
//! - [`Service`]: a workload within a scope, by optional namespace and name.
//! - [`Edge`]: calls from one service to another within a scope.
//!
//! All keys are cheap to clone (shared strings) and totally ordered, so that iteration over them is
//! the same in every run.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A tenant together with the values of the partition labels; the outermost key of all state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Scope {
    /// Value of the `X-Scope-OrgID` header; empty where the sender gave none.
    pub tenant: Arc<str>,
    /// Partition labels present on the series, sorted by name; copied to every output.
    pub partition: Arc<[(Arc<str>, Arc<str>)]>,
}

/// A service within a scope. An absent namespace is an absent label, not an empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Service {
    /// Value of `service_namespace`, if the label is present and not empty.
    pub namespace: Option<Arc<str>>,
    /// Value of `service_name`; never empty.
    pub name: Arc<str>,
}

impl Service {
    /// A service from label values; an empty namespace counts as absent.
    ///
    /// Returns `None` where `name` is empty, since such a service could not be named in any output.
    #[must_use]
    pub fn new(namespace: Option<&str>, name: &str) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        Some(Self { namespace: namespace.filter(|n| !n.is_empty()).map(Arc::from), name: Arc::from(name) })
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

/// Calls from `client` to `server`, both in the same scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// The caller.
    pub client: Service,
    /// The callee.
    pub server: Service,
}
