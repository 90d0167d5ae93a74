//! A service of the shop: serves its endpoints, calls other services, misbehaves on command.

mod client;
mod counted;
mod misbehaviour;
mod server;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

pub use client::Client;
pub use misbehaviour::{burn, misbehave};
pub use server::Server;

use crate::meter::Meter;
use crate::wire::Assignment;

/// Clients by callee's name.
pub type Clients = BTreeMap<String, Rc<Client>>;

/// One client for each peer of the assignment.
pub fn clients(assignment: &Assignment, timeout_ms: u64, connection_uses: f64, meter: &Rc<Meter>) -> Clients {
    let make = |(callee, &address): (&String, _)| {
        let client = Client::new(client::Settings {
            caller: assignment.name.clone(),
            callee: callee.clone(),
            address,
            source: assignment.address.is_loopback().then_some(assignment.address),
            timeout: Duration::from_millis(timeout_ms),
            connection_uses,
            seed: assignment.seed,
            meter: Rc::clone(meter),
        });
        (callee.clone(), Rc::new(client))
    };
    assignment.peers.iter().map(make).collect()
}
