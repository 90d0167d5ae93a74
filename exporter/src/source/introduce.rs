//! Tells open connections who holds their other end, if that is open on this node too.

use std::collections::HashMap;

use super::{Owner, Report};
use crate::net::{Endpoint, is_loopback};

/// The other end of each of some connections, by address and by what its address means where.
#[derive(Debug, Default)]
pub struct Holders(HashMap<(u32, Endpoint, Endpoint), (Owner, u32)>);

impl Holders {
    /// Remembers who holds this end.
    pub fn add(&mut self, report: &Report) {
        let key = (netns(report), report.local, report.remote);
        self.0.insert(key, (report.owner, report.processes[0]));
    }

    /// Fills in who holds the other end, where nobody knows it yet; gives whether it is known now.
    pub fn introduce(&self, report: &mut Report) -> bool {
        if report.peer.is_none()
            && let Some((owner, process)) = self.0.get(&(netns(report), report.remote, report.local))
        {
            report.peer = Some(*owner);
            report.processes[1] = *process;
        }
        report.peer.is_some()
    }
}

/// Loopback addresses mean something else in each namespace.
fn netns(report: &Report) -> u32 {
    if is_loopback(report.remote.address) { report.owner.netns } else { 0 }
}
