//! Who listens where, for sources that name the server of an edge by its address only.
//!
//! Callers and listeners are found in any order, so callers wait for their server. Where the address that
//! was reached is known beside the one that was asked for (a virtual address of several instances), the
//! latter is learnt to be the same service: connects that fail name nothing else. An address that another
//! service takes over means that one to callers found from then on. Everything is given back with the
//! series it came from.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use quoll_identity::Service;

/// The addresses of a scope.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    /// By address: the entities that tell of it, the latest last, and whom each means.
    listeners: HashMap<Arc<str>, Vec<(u32, Service)>, foldhash::fast::RandomState>,
    /// By address: the entities whose server it is, unknown yet.
    waiting: HashMap<Arc<str>, Vec<u32>, foldhash::fast::RandomState>,
    /// By entity.
    callers: HashMap<u32, Caller, foldhash::fast::RandomState>,
    told: HashMap<u32, Arc<str>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Caller {
    client: Service,
    server: Arc<str>,
    alias: Option<Arc<str>>,
}

impl Addresses {
    /// An entity calls the first of these addresses; a second is one more of the same server. Returns who
    /// listens there, if that is known; else the entity waits.
    pub fn await_server<'a>(
        &mut self,
        entity: u32,
        client: Service,
        mut addresses: impl Iterator<Item = &'a str>,
    ) -> Option<Service> {
        let server: Arc<str> = Arc::from(addresses.next()?);
        let alias = addresses.find(|alias| **alias != *server).map(Arc::from);
        let known = self.listeners.get(&server).and_then(|told| told.last()).map(|(_, service)| service.clone());
        if let (Some(service), Some(alias)) = (&known, &alias) {
            let alias: &Arc<str> = alias;
            self.tell(entity, alias, service);
        }
        if known.is_none() {
            self.waiting.entry(Arc::clone(&server)).or_default().push(entity);
        }
        self.callers.insert(entity, Caller { client, server, alias });
        known
    }

    /// The entity tells that the service listens there. Returns who waited to know it.
    pub fn listen(&mut self, entity: u32, address: &Arc<str>, service: &Service) -> Vec<u32> {
        // Each host has a loopback of its own.
        if address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback()) {
            return Vec::new();
        }
        self.tell(entity, address, service);
        self.waiting.remove(address).unwrap_or_default()
    }

    fn tell(&mut self, entity: u32, address: &Arc<str>, service: &Service) {
        self.listeners.entry(Arc::clone(address)).or_default().push((entity, service.clone()));
        self.told.insert(entity, Arc::clone(address));
    }

    /// Who calls by this entity, and another address of whom it calls.
    pub fn caller(&self, entity: u32) -> Option<(Service, Option<Arc<str>>)> {
        self.callers.get(&entity).map(|caller| (caller.client.clone(), caller.alias.clone()))
    }

    /// The entity is gone.
    pub fn leave(&mut self, entity: u32) {
        if let Some(caller) = self.callers.remove(&entity)
            && let Some(waiting) = self.waiting.get_mut(&caller.server)
        {
            waiting.retain(|other| *other != entity);
            if waiting.is_empty() {
                self.waiting.remove(&caller.server);
            }
        }
        if let Some(address) = self.told.remove(&entity)
            && let Some(told) = self.listeners.get_mut(&address)
        {
            told.retain(|(other, _)| *other != entity);
            if told.is_empty() {
                self.listeners.remove(&address);
            }
        }
    }

    /// Bytes of heap memory held, names not counted.
    pub fn heap_bytes(&self) -> usize {
        self.listeners.allocation_size()
            + self.waiting.allocation_size()
            + self.callers.allocation_size()
            + self.told.allocation_size()
    }
}
