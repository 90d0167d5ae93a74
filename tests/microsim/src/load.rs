//! The users: an open loop of requests.
//!
//! Each request is due at a time drawn beforehand and is sent then, whatever became of the ones
//! before. Latency is counted from the time it was due, so a stall, here or in the shop, shows
//! in every request it delayed (no coordinated omission). Past [`MAX_IN_FLIGHT`] requests at
//! once, arrivals are counted as shed instead of sent.

use std::rc::Rc;
use std::time::Instant;

use hyper::Uri;

use crate::arrivals::Arrivals;
use crate::meter::Meter;
use crate::random::Stream;
use crate::service::{Client, Clients};
use crate::topology::Load;

/// Most requests under way at once: at 80 a second and a patience of 3 s, 240 are possible.
const MAX_IN_FLIGHT: u64 = 8192;

/// Sends requests until dropped.
pub async fn run(load: Load, seed: u64, clients: Clients, meter: Rc<Meter>) {
    let mut choice = Stream::new(seed, "entries");
    let targets: Vec<(Rc<Client>, Uri, Rc<str>, f64)> = load
        .entries
        .iter()
        .filter_map(|entry| {
            let client = clients.get(&entry.service)?;
            let name = format!("{}{}", entry.service, entry.path);
            Some((Rc::clone(client), entry.path.parse().ok()?, name.into(), entry.weight))
        })
        .collect();
    let weights: Vec<f64> = targets.iter().map(|target| target.3).collect();
    let start = Instant::now();
    for after in Arrivals::new(&load, seed) {
        let due = start + after;
        tokio::time::sleep_until(due.into()).await;
        let Some((client, path, name, _)) = targets.get(choice.weighted(&weights)) else { return };
        if meter.in_flight() >= MAX_IN_FLIGHT {
            meter.shed();
            continue;
        }
        let (client, path) = (Rc::clone(client), path.clone());
        let in_flight = meter.begin(name, due);
        tokio::task::spawn_local(async move {
            match client.call(&path).await {
                Ok(status) => in_flight.finish(status),
                Err(_) => in_flight.fail(),
            }
        });
    }
}
