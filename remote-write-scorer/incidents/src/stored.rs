//! How state is stored: floats by their bits (text would lose the last bit, and has no infinities), and
//! keys in full.

use std::sync::Arc;

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

/// Serialises an `f64` as the integer of its bits.
pub(crate) mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// A [`Service`] in stored form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct StoredService {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    namespace: Option<Arc<str>>,
    name: Arc<str>,
}

impl From<&Service> for StoredService {
    fn from(service: &Service) -> Self {
        Self { namespace: service.namespace.clone(), name: service.name.clone() }
    }
}

impl From<StoredService> for Service {
    fn from(stored: StoredService) -> Self {
        Self { namespace: stored.namespace, name: stored.name }
    }
}

/// For `#[serde(with)]` on a [`Service`].
pub(crate) mod service {
    use quoll_identity::Service;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::StoredService;

    pub(crate) fn serialize<S: Serializer>(value: &Service, serializer: S) -> Result<S::Ok, S::Error> {
        StoredService::from(value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Service, D::Error> {
        StoredService::deserialize(deserializer).map(Service::from)
    }
}

/// For `#[serde(with)]` on times by [`Service`]: JSON has no keys but text.
pub(crate) mod services {
    use std::collections::BTreeMap;

    use quoll_identity::Service;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(map: &BTreeMap<Service, i64>, serializer: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Service, i64>, D::Error> {
        Ok(Vec::<(Service, i64)>::deserialize(deserializer)?.into_iter().collect())
    }
}
