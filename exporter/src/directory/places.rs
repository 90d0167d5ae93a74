//! Who listens where, and listened earlier: a refused connection is to a service whose listener is just gone.
//!
//! At most [`MAX_ENDPOINTS`] are remembered after they are gone; beyond that all but the present are forgotten.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv6Addr;

use crate::net::{Endpoint, is_loopback};
use crate::service::Service;
use crate::source::Owner;

/// Listeners that are remembered after they are gone.
const MAX_ENDPOINTS: usize = 16_384;

/// What is remembered of a place where somebody listens or listened.
#[derive(Debug, Clone)]
pub struct Place {
    /// Whose it is, if it has a name.
    pub service: Option<Service>,
    /// Whether one of Quoll's own processes listens there.
    pub is_own: bool,
}

/// Places, and what listeners tell of those who have them.
#[derive(Debug, Default)]
pub struct Places {
    /// By namespace (0 for addresses that mean the same everywhere) and endpoint.
    by_endpoint: HashMap<(u32, Endpoint), Place>,
    /// The one service that an owner's listeners name, if they agree.
    owners: HashMap<Owner, Option<Service>>,
    /// The same by network namespace.
    namespaces: HashMap<u32, Option<Service>>,
}

impl Places {
    /// Forgets the names of all places.
    pub fn forget(&mut self) {
        self.by_endpoint.clear();
    }

    /// The present listeners follow: who listens for whom is found out anew.
    pub fn begin(&mut self) {
        self.owners.clear();
        self.namespaces.clear();
        if self.by_endpoint.len() > MAX_ENDPOINTS {
            self.by_endpoint.clear();
        }
    }

    /// An owner has a listener of this name, or of none.
    pub fn owner_listens(&mut self, owner: Owner, service: Option<&Service>) {
        agree(&mut self.owners, owner, service);
        agree(&mut self.namespaces, owner.netns, service);
    }

    /// Somebody listens at `local`, which is at these addresses.
    pub fn listens(&mut self, netns: u32, local: Endpoint, addresses: &[Ipv6Addr], place: &Place) {
        for address in addresses {
            let key = place_key(netns, Endpoint { address: *address, port: local.port });
            self.by_endpoint.insert(key, place.clone());
        }
        if local.address.is_unspecified() {
            // For loopback addresses beyond 127.0.0.1, which no table lists.
            self.by_endpoint.insert((netns, local), place.clone());
        }
    }

    /// Who listens or listened at an address, as seen from a namespace.
    pub fn at(&self, netns: u32, endpoint: Endpoint) -> Option<&Place> {
        let any = Endpoint { address: Ipv6Addr::UNSPECIFIED, port: endpoint.port };
        let exact = self.by_endpoint.get(&place_key(netns, endpoint));
        exact.or_else(|| is_loopback(endpoint.address).then(|| self.by_endpoint.get(&(netns, any)))?)
    }

    /// The one service that an owner's listeners name.
    pub fn of_owner(&self, owner: Owner) -> Option<&Service> {
        self.owners.get(&owner)?.as_ref()
    }

    /// The one service that all listeners of a namespace name.
    pub fn of_namespace(&self, netns: u32) -> Option<&Service> {
        self.namespaces.get(&netns)?.as_ref()
    }
}

/// Addresses that mean the same in all namespaces have one entry.
fn place_key(netns: u32, endpoint: Endpoint) -> (u32, Endpoint) {
    let everywhere = !is_loopback(endpoint.address) && !endpoint.address.is_unspecified();
    (if everywhere { 0 } else { netns }, endpoint)
}

/// Remembers a service for a key, or that there are several, or one without a name: what a mixed crowd
/// shares (the root cgroup, the host's namespace) names none of it.
fn agree<K: Hash + Eq>(map: &mut HashMap<K, Option<Service>>, key: K, service: Option<&Service>) {
    let entry = map.entry(key).or_insert_with(|| service.cloned());
    if entry.as_ref() != service {
        *entry = None;
    }
}
