//! Which layer each service belongs to.
//!
//! Calls that close a cycle are found by depth-first search from services nobody calls, in id order,
//! and count reversed. Layers are longest paths; a service nobody calls is then pulled next to its
//! nearest callee, and services without any call fill a block of their own after the others.

/// Layer per service.
#[derive(Debug)]
pub(crate) struct Layering {
    pub(crate) layer_of: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Visit {
    New,
    Open,
    Done,
}

pub(crate) fn layer(services: usize, calls: &[(usize, usize)]) -> Layering {
    let calls: Vec<_> = calls.iter().copied().filter(|&(a, b)| a < services && b < services && a != b).collect();
    let acyclic = break_cycles(services, &calls);
    let mut out = vec![Vec::new(); services];
    let mut incoming = vec![0_usize; services];
    for &(a, b) in &acyclic {
        out[a].push(b);
        incoming[b] += 1;
    }
    let mut layer_of: Vec<usize> = vec![0; services];
    let mut waiting = incoming.clone();
    let mut ready: Vec<usize> = (0..services).filter(|&s| waiting[s] == 0).collect();
    let mut next = 0;
    while let Some(&service) = ready.get(next) {
        next += 1;
        for &callee in &out[service] {
            layer_of[callee] = layer_of[callee].max(layer_of[service] + 1);
            waiting[callee] -= 1;
            if waiting[callee] == 0 {
                ready.push(callee);
            }
        }
    }
    for service in (0..services).filter(|&s| incoming[s] == 0) {
        if let Some(nearest) = out[service].iter().map(|&c| layer_of[c]).min() {
            layer_of[service] = nearest.saturating_sub(1);
        }
    }
    let alone: Vec<usize> = (0..services).filter(|&s| incoming[s] == 0 && out[s].is_empty()).collect();
    let connected = services - alone.len();
    let depth = if connected == 0 { 0 } else { layer_of.iter().max().map_or(0, |m| m + 1) };
    let columns = if depth > 1 { depth } else { (alone.len() as f64).sqrt().ceil().max(1.0) as usize };
    let rows = alone.len().div_ceil(columns.max(1)).max(1);
    for (place, &service) in alone.iter().enumerate() {
        // Beside the connected ones where there are any, else a square block.
        layer_of[service] = if depth > 1 { place % depth } else { place / rows };
    }
    Layering { layer_of }
}

/// The calls with those that close a cycle reversed; deterministic.
fn break_cycles(services: usize, calls: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut out: Vec<Vec<usize>> = vec![Vec::new(); services];
    let mut called = vec![false; services];
    for &(a, b) in calls {
        out[a].push(b);
        called[b] = true;
    }
    for callees in &mut out {
        callees.sort_unstable();
        callees.dedup();
    }
    let mut state = vec![Visit::New; services];
    let mut acyclic = Vec::with_capacity(calls.len());
    let starts = (0..services).filter(|&s| !called[s]).chain((0..services).filter(|&s| called[s]));
    for start in starts {
        if state[start] != Visit::New {
            continue;
        }
        state[start] = Visit::Open;
        let mut path = vec![(start, 0_usize)];
        while let Some((service, at)) = path.last_mut() {
            let service = *service;
            let Some(&callee) = out[service].get(*at) else {
                state[service] = Visit::Done;
                path.pop();
                continue;
            };
            *at += 1;
            match state[callee] {
                Visit::Open => acyclic.push((callee, service)),
                Visit::Done => acyclic.push((service, callee)),
                Visit::New => {
                    acyclic.push((service, callee));
                    state[callee] = Visit::Open;
                    path.push((callee, 0));
                }
            }
        }
    }
    acyclic.sort_unstable();
    acyclic.dedup();
    acyclic
}
