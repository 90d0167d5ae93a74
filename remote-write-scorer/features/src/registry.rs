//! Who the series belong to: services, edges, and entities.
//!
//! An **entity** is what all series share whose labels differ only in the metric's name and in
//! break-down labels: one pod's resources as one exporter sees them, one end's view of one edge. A
//! counter first seen on an entity that reported before is known to have been born since then.
//!
//! Slots are counted: an entity lives while it has series, a service or edge while an entity names it.
//! Lists in output order are rebuilt only after something came or went.

use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use quoll_identity::{Edge, Service};
use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;
use crate::changes::Trail;
use crate::elect::Elected;
use crate::presence::Watch;
use crate::rules::{Labels, MAX_SELECTORS, Source, label};
use crate::series::NONE;
use crate::step::ChangeKind;

#[derive(Debug)]
pub(crate) struct Entity {
    key: u128,
    /// By selector; [`NONE`] where the labels name no service.
    pub services: [u32; MAX_SELECTORS],
    /// The edge that the labels name, if both its ends are services.
    pub edge: u32,
    /// The service at the server's end, though the client's may be nobody known.
    pub server: u32,
    /// The host that the labels name.
    pub host: Option<Arc<str>>,
    /// What the labels describe, for series that tell of it.
    pub info: Box<[(ChangeKind, Arc<str>)]>,
    /// End of the last step in which one of its own series had a value.
    pub reported_ms: i64,
    /// First of its series.
    pub head: u32,
    series: u32,
    /// Of these, the ones that take part in steps.
    listed: u32,
}

#[derive(Debug)]
struct Slot<T> {
    what: T,
    entities: u32,
    /// Series that take part in steps.
    listed: u32,
}

/// A service and what is remembered of its presence.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Known {
    pub service: Service,
    pub watch: Watch,
    pub trail: Trail,
    /// Sorted; as last seen.
    pub hosts: Arc<[Arc<str>]>,
    /// By feature: whose figures are told. Empty where there is one source only.
    pub elected: Box<[Elected]>,
}

impl Known {
    fn new(service: &Service) -> Self {
        Self {
            service: service.clone(),
            watch: Watch::default(),
            trail: Trail::default(),
            hosts: Arc::default(),
            elected: Box::default(),
        }
    }
}

/// An edge with the slot of its client; its server's is the entity's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Link {
    pub edge: Edge,
    client: u32,
    /// Whose requests, and whose connects, are told.
    pub elected: [Elected; 2],
    /// End of the last step in which anything went along the edge.
    pub active_ms: Option<i64>,
}

/// Slots with free list, index by key, and a list of the listed ones in key order.
#[derive(Debug)]
struct Table<K, T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<u32>,
    index: HashMap<K, u32, foldhash::fast::RandomState>,
    sorted: Vec<u32>,
    sorted_is_old: bool,
}

impl<K: Clone + Ord + std::hash::Hash, T> Table<K, T> {
    fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            sorted: Vec::new(),
            sorted_is_old: false,
        }
    }

    fn get(&self, slot: u32) -> Option<&Slot<T>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn intern(&mut self, key: K, what: impl FnOnce(&K) -> T) -> u32 {
        let slot = match self.index.get(&key) {
            Some(&slot) => slot,
            None => {
                let occupied = Some(Slot { what: what(&key), entities: 0, listed: 0 });
                let slot = match self.free.pop() {
                    Some(slot) => {
                        self.slots[slot as usize] = occupied;
                        slot
                    }
                    None => {
                        push(&mut self.slots, occupied);
                        slot_number(self.slots.len() - 1)
                    }
                };
                self.index.insert(key, slot);
                slot
            }
        };
        if let Some(slot) = self.get_mut(slot) {
            slot.entities += 1;
        }
        slot
    }

    /// One entity less names it. Returns what is gone with the last one.
    fn release(&mut self, slot: u32, key: impl FnOnce(&T) -> &K) -> Option<T> {
        let held = self.get_mut(slot)?;
        held.entities -= 1;
        if held.entities > 0 {
            return None;
        }
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        self.index.remove(key(&gone.what));
        self.free.push(slot);
        self.sorted_is_old = true;
        Some(gone.what)
    }

    fn list(&mut self, slot: u32, listed: bool) -> bool {
        let Some(held) = self.get_mut(slot) else { return false };
        let edge_case = if listed {
            held.listed += 1;
            held.listed == 1
        } else {
            held.listed = held.listed.saturating_sub(1);
            held.listed == 0
        };
        self.sorted_is_old |= edge_case;
        edge_case
    }

    fn sort(&mut self) {
        if !self.sorted_is_old {
            return;
        }
        self.sorted_is_old = false;
        let slots = &self.slots;
        let listed = |slot: u32| slots.get(slot as usize).and_then(Option::as_ref).is_some_and(|held| held.listed > 0);
        let mut order: Vec<(&K, u32)> =
            self.index.iter().map(|(key, &slot)| (key, slot)).filter(|&(_, slot)| listed(slot)).collect();
        order.sort_unstable_by(|a, b| a.0.cmp(b.0));
        self.sorted.clear();
        self.sorted.extend(order.into_iter().map(|(_, slot)| slot));
    }
}

/// Slots are handles of 32 bits; four billion of anything do not fit in memory first.
pub(crate) fn slot_number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(NONE)
}

/// Appends to one of the large lists, which grow by an eighth: doubling would leave up to half of them unused.
pub(crate) fn push<T>(list: &mut Vec<T>, element: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 16);
    }
    list.push(element);
}

/// All services, edges and entities of a scope.
#[derive(Debug)]
pub(crate) struct Registry {
    entities: Vec<Option<Entity>>,
    free_entities: Vec<u32>,
    /// Slots of entities, by key.
    entity_index: HashTable<u32>,
    services: Table<Service, Known>,
    edges: Table<Edge, Link>,
    addresses: Addresses,
    /// Whether a slot of an entity stands for another one than when this was last asked, or what is remembered of a
    /// service was dropped or replaced.
    entities_changed: bool,
}

impl Registry {
    pub fn new() -> Self {
        Self {
            entities: Vec::new(),
            free_entities: Vec::new(),
            entity_index: HashTable::new(),
            services: Table::new(),
            edges: Table::new(),
            addresses: Addresses::default(),
            entities_changed: false,
        }
    }

    /// Whether entities or services changed since this was last asked.
    pub fn take_entities_changed(&mut self) -> bool {
        std::mem::take(&mut self.entities_changed)
    }

    pub fn entity(&self, entity: u32) -> Option<&Entity> {
        self.entities.get(entity as usize)?.as_ref()
    }

    pub fn entity_mut(&mut self, entity: u32) -> Option<&mut Entity> {
        self.entities.get_mut(entity as usize)?.as_mut()
    }

    /// The entity of these labels, made if new; one more series belongs to it.
    pub fn join(&mut self, key: u128, rules: &Source, labels: &Labels<'_>, series: u32) -> (u32, u32) {
        let slot = match self.find(key) {
            Some(slot) => slot,
            None => self.add_entity(key, rules, labels),
        };
        let Some(entity) = self.entities.get_mut(slot as usize).and_then(Option::as_mut) else { return (slot, NONE) };
        let sibling = std::mem::replace(&mut entity.head, series);
        entity.series += 1;
        (slot, sibling)
    }

    fn add_entity(&mut self, key: u128, rules: &Source, labels: &Labels<'_>) -> u32 {
        let mut services = [NONE; MAX_SELECTORS];
        for (selector, slot) in rules.selectors.iter().zip(&mut services) {
            if let Some(service) = rules.service(selector, labels) {
                *slot = self.services.intern(service, Known::new);
            }
        }
        let (mut edge, mut server_slot) = (NONE, NONE);
        if let Some(rules_of_edges) = &rules.edges
            && let Some(server) = rules.service(&rules_of_edges.server, labels)
        {
            (edge, server_slot) = self.intern_ends(rules.service(&rules_of_edges.client, labels), server);
        }
        let entity = Some(Entity {
            key,
            services,
            edge,
            server: server_slot,
            host: rules.host(labels),
            info: rules.info(labels),
            reported_ms: i64::MIN,
            head: NONE,
            series: 0,
            listed: 0,
        });
        let slot = match self.free_entities.pop() {
            Some(slot) => {
                self.entities[slot as usize] = entity;
                slot
            }
            None => {
                push(&mut self.entities, entity);
                slot_number(self.entities.len() - 1)
            }
        };
        let entities = &self.entities;
        let key_of =
            |&slot: &u32| entities.get(slot as usize).and_then(Option::as_ref).map_or(0, |other| other.key as u64);
        self.entity_index.insert_unique(key as u64, slot, key_of);
        self.entities_changed = true;
        if let Some(rules_of_edges) = &rules.edges
            && let Some((label_of_address, selector)) = &rules_of_edges.addresses
        {
            let listener = rules.selectors.get(*selector).and_then(|selector| rules.service(selector, labels));
            if let (Some(address), Some(listener)) = (label(labels, label_of_address), listener) {
                self.listen(slot, address, listener);
            } else if server_slot == NONE
                && let Some(client) = rules.service(&rules_of_edges.client, labels)
            {
                let found = self.addresses.await_server(slot, client, rules_of_edges.server_addresses(labels));
                if let Some(server) = found {
                    self.link(slot, server);
                }
            }
        }
        slot
    }

    /// Slots of an edge (if both its ends are known and two) and of its server, each held once more.
    fn intern_ends(&mut self, client: Option<Service>, server: Service) -> (u32, u32) {
        let server_slot = self.services.intern(server.clone(), Known::new);
        let Some(client) = client.filter(|client| *client != server) else { return (NONE, server_slot) };
        let client_slot = self.services.intern(client.clone(), Known::new);
        let edge = self.edges.intern(Edge { client, server }, |edge| Link {
            edge: edge.clone(),
            client: client_slot,
            elected: [Elected::default(); 2],
            active_ms: None,
        });
        (edge, server_slot)
    }

    /// The service listens there: whoever was known to call that address now has an edge to it.
    fn listen(&mut self, entity: u32, address: &str, service: Service) {
        let mut found = vec![(entity, Arc::from(address), service)];
        while let Some((entity, address, service)) = found.pop() {
            for caller in self.addresses.listen(entity, &address, &service) {
                if let Some(alias) = self.link(caller, service.clone()) {
                    found.push((caller, alias, service.clone()));
                }
            }
        }
    }

    /// Whom the entity calls is known from here on. Returns another address of the same server.
    fn link(&mut self, entity_slot: u32, server: Service) -> Option<Arc<str>> {
        let (client, alias) = self.addresses.caller(entity_slot)?;
        let listed = self.entity(entity_slot)?.listed;
        let (edge, server_slot) = self.intern_ends(Some(client), server);
        let entity = self.entity_mut(entity_slot)?;
        (entity.edge, entity.server) = (edge, server_slot);
        let client = self.edges.get(edge).map_or(NONE, |link| link.what.client);
        for _ in 0..listed {
            self.services.list(server_slot, true);
            self.services.list(client, true);
            self.edges.list(edge, true);
        }
        alias
    }

    /// One series less belongs to the entity.
    pub fn leave(&mut self, slot: u32) {
        let Some(entity) = self.entities.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        entity.series -= 1;
        if entity.series > 0 {
            return;
        }
        let Some(entity) = self.entities.get_mut(slot as usize).and_then(Option::take) else { return };
        if let Ok(entry) = self.entity_index.find_entry(entity.key as u64, |&other| other == slot) {
            entry.remove();
        }
        self.addresses.leave(slot);
        self.free_entities.push(slot);
        let client = self.edges.get(entity.edge).map(|link| link.what.client);
        self.edges.release(entity.edge, |link| &link.edge);
        for service in entity.services.into_iter().chain([entity.server]).chain(client) {
            self.services.release(service, |known| &known.service);
        }
    }

    /// The first series of an entity was replaced.
    pub fn set_head(&mut self, entity: u32, series: u32) {
        if let Some(entity) = self.entities.get_mut(entity as usize).and_then(Option::as_mut) {
            entity.head = series;
        }
    }

    /// A series of the entity began (or ceased) to take part in steps.
    pub fn list(&mut self, entity: u32, listed: bool) {
        let Some(entity) = self.entities.get_mut(entity as usize).and_then(Option::as_mut) else { return };
        entity.listed = if listed { entity.listed + 1 } else { entity.listed.saturating_sub(1) };
        let (services, server, edge) = (entity.services, entity.server, entity.edge);
        let client = self.edges.get(edge).map_or(NONE, |link| link.what.client);
        for service in services.into_iter().chain([server, client]) {
            let changed = self.services.list(service, listed);
            if changed
                && !listed
                && let Some(known) = self.services.get_mut(service)
            {
                known.what = Known::new(&known.what.service.clone());
                self.entities_changed = true;
            }
        }
        if self.edges.list(edge, listed)
            && !listed
            && let Some(link) = self.edges.get_mut(edge)
        {
            (link.what.elected, link.what.active_ms) = ([Elected::default(); 2], None);
        }
    }

    /// Every service and what is remembered of it.
    pub fn services(&self) -> impl Iterator<Item = &Known> {
        self.services.slots.iter().flatten().map(|slot| &slot.what)
    }

    /// Every edge and what is remembered of it.
    pub fn edges(&self) -> impl Iterator<Item = &Link> {
        self.edges.slots.iter().flatten().map(|slot| &slot.what)
    }

    /// The first series of each entity.
    pub fn heads(&self) -> impl Iterator<Item = u32> {
        self.entities.iter().flatten().map(|entity| entity.head)
    }

    /// Takes over what is remembered of services and edges that series name again.
    pub fn resume(&mut self, services: Vec<Known>, edges: Vec<Link>) {
        self.entities_changed = true;
        for known in services {
            let slot = self.services.index.get(&known.service).copied();
            if let Some(held) = slot.and_then(|slot| self.services.get_mut(slot)) {
                held.what = known;
            }
        }
        for link in edges {
            let slot = self.edges.index.get(&link.edge).copied();
            if let Some(held) = slot.and_then(|slot| self.edges.get_mut(slot)) {
                held.what = Link { client: held.what.client, ..link };
            }
        }
    }

    /// Brings the lists in output order up to date.
    pub fn sort(&mut self) {
        self.services.sort();
        self.edges.sort();
    }

    /// Slots of the listed services, sorted by service. Call [`Registry::sort`] first.
    pub fn sorted_services(&self) -> &[u32] {
        &self.services.sorted
    }

    /// Slots of the listed edges, sorted by edge. Call [`Registry::sort`] first.
    pub fn sorted_edges(&self) -> &[u32] {
        &self.edges.sorted
    }

    pub fn service_mut(&mut self, slot: u32) -> Option<&mut Known> {
        Some(&mut self.services.get_mut(slot)?.what)
    }

    pub fn edge_mut(&mut self, slot: u32) -> Option<&mut Link> {
        Some(&mut self.edges.get_mut(slot)?.what)
    }

    pub fn knows(&self, entity_key: u128) -> bool {
        self.find(entity_key).is_some()
    }

    /// The slot of the entity of this key. Keys are hashes themselves.
    fn find(&self, key: u128) -> Option<u32> {
        let is_it = |&slot: &u32| self.entity(slot).is_some_and(|entity| entity.key == key);
        self.entity_index.find(key as u64, is_it).copied()
    }

    /// Services and edges known, listed or not.
    pub fn known(&self) -> (usize, usize) {
        (self.services.index.len(), self.edges.index.len())
    }

    /// Slots in use or free, for arrays indexed by slot.
    pub fn service_slots(&self) -> usize {
        self.services.slots.len()
    }

    pub fn edge_slots(&self) -> usize {
        self.edges.slots.len()
    }

    pub fn entities(&self) -> usize {
        self.entity_index.len()
    }

    /// Bytes of heap memory held, names not counted.
    pub fn heap_bytes(&self) -> usize {
        self.entities.capacity() * size_of::<Option<Entity>>()
            + self.entity_index.allocation_size()
            + self.services.slots.capacity() * size_of::<Option<Slot<Known>>>()
            + self.services.index.allocation_size()
            + self.edges.slots.capacity() * size_of::<Option<Slot<Link>>>()
            + self.edges.index.allocation_size()
            + self.addresses.heap_bytes()
    }
}
