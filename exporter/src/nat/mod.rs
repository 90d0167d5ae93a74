//! Sees through address translation: a Kubernetes service's virtual address, a published container port, a
//! masquerade.
//!
//! Where a rule of this network namespace (the host's, where `kube-proxy` and Docker put theirs) changes the
//! addresses of a connection, its ends disagree on who talks to whom. Connection tracking knows both views; a
//! report of either end gets the other end's true address here, before anything is named by it.
//!
//! A translation is known from the first packet on, before either end is established. It is forgotten when
//! the connection ends, or, where no end of it is here (packets that only pass through), after a minute or two.
//! There may be [`MOST`] of them; when there is no room, the older half goes, which is counted.
//!
//! Not seen: rules inside of other network namespaces (a mesh's redirection to its sidecar), and balancers that
//! do not use connection tracking (which then mostly change addresses before the socket is connected, so that
//! there is nothing to see through).

mod conntrack;

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

pub use conntrack::{Conntrack, Flow, Translated};

use crate::net::{Endpoint, is_loopback};
use crate::source::{Owner, Phase, Report};

/// Translations that are remembered, of about 400 bytes.
const MOST: usize = 16_384;
/// Those that nobody asked about since the turn before last are forgotten.
const TURN: Duration = Duration::from_secs(60);

/// The other end of a connection, as one end cannot see it.
#[derive(Debug, Clone, Copy)]
struct FarEnd {
    /// Its own address.
    endpoint: Endpoint,
    /// Who holds it, once it was reported.
    holder: Option<(Owner, u32)>,
    /// What it has for its own end and for this one.
    view: Flow,
}

/// Translations by what one end has for itself (source) and for the other (target).
type Views = HashMap<Flow, FarEnd>;

/// What is known of translated connections.
#[derive(Debug)]
pub struct Translations {
    conntrack: Option<Conntrack>,
    /// Inode of the network namespace whose rules are followed.
    netns: u32,
    young: Views,
    old: Views,
    turned: Instant,
    lost: u64,
    /// When the subscription was last read.
    read: Instant,
}

impl Translations {
    /// Follows those of this thread's network namespace.
    ///
    /// # Errors
    /// Those of [`Conntrack::open`].
    pub fn follow() -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let netns = std::fs::metadata("/proc/thread-self/ns/net")?.ino() as u32;
        let mut followed = Self { netns, ..Self::none() };
        let conntrack = Conntrack::open(|one| followed.add(one))?;
        followed.conntrack = Some(conntrack);
        Ok(followed)
    }

    /// Follows nothing.
    #[must_use]
    pub fn none() -> Self {
        let now = Instant::now();
        Self { conntrack: None, netns: 0, young: Views::new(), old: Views::new(), turned: now, lost: 0, read: now }
    }

    /// Takes in what began since the last call.
    pub fn read(&mut self) {
        let Some(mut conntrack) = self.conntrack.take() else { return };
        self.read = Instant::now();
        let has_lost = conntrack.read(|one| self.add(one));
        self.lost += u64::from(has_lost);
        self.conntrack = Some(conntrack);
    }

    /// After a look at all open connections, each of which was asked about.
    pub fn end_look(&mut self) {
        if self.turned.elapsed() >= TURN {
            self.turn();
        }
    }

    /// How often some were lost, for want of room here or in the kernel's queue.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the connection may be translated in a way that is not known yet: it was established after the
    /// subscription was last read.
    #[must_use]
    pub fn is_too_young(&self, report: &Report) -> bool {
        let is_in_use = !self.young.is_empty() || !self.old.is_empty();
        let since_read = self.read.elapsed().as_secs_f64();
        is_in_use && report.phase == Phase::Open && report.open_seconds.is_some_and(|seconds| seconds < since_read)
    }

    /// Puts the far end's true address into a report, and its holder where that was seen.
    pub fn translate(&mut self, report: &mut Report) {
        if self.young.is_empty() && self.old.is_empty() {
            return;
        }
        let view = Flow { source: report.local, target: report.remote };
        // Loopback addresses mean something else in other namespaces, and their rules are not known.
        let is_elsewhere = |address: Ipv6Addr| is_loopback(address) && report.owner.netns != self.netns;
        if is_elsewhere(report.local.address) || is_elsewhere(report.remote.address) {
            return;
        }
        let Some(far) = self.find(view) else { return };
        report.remote = far.endpoint;
        if report.peer.is_none()
            && let Some((owner, process)) = far.holder
        {
            report.peer = Some(owner);
            report.processes[1] = process;
        }
        if let Some(other) = self.young.get_mut(&far.view).or_else(|| self.old.get_mut(&far.view)) {
            other.holder = Some((report.owner, report.processes[0]));
        }
        if matches!(report.phase, Phase::Ended { .. } | Phase::Failed(_)) {
            self.young.remove(&view);
        }
    }

    fn add(&mut self, one: Translated) {
        let Translated { original, reply } = one;
        if self.young.len() + 2 > MOST {
            // A turn as such loses nothing that is in use; this one comes early.
            self.lost += u64::from(!self.old.is_empty());
            self.turn();
        }
        self.young.insert(original, FarEnd { endpoint: reply.source, holder: None, view: reply });
        self.young.insert(reply, FarEnd { endpoint: original.source, holder: None, view: original });
    }

    /// What is known of a view, which is young again.
    fn find(&mut self, view: Flow) -> Option<FarEnd> {
        if let Some(far) = self.young.get(&view) {
            return Some(*far);
        }
        let far = self.old.remove(&view)?;
        self.young.insert(view, far);
        Some(far)
    }

    fn turn(&mut self) {
        self.turned = Instant::now();
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::canonical;
    use crate::source::{ConnectionId, Role};

    fn at(address: &str, port: u16) -> Endpoint {
        Endpoint { address: canonical(address.parse().unwrap()), port }
    }

    const CLIENT: Owner = Owner { cgroup_id: 1, netns: 10 };
    const SERVER: Owner = Owner { cgroup_id: 2, netns: 20 };

    fn report(role: Role, owner: Owner, local: Endpoint, remote: Endpoint) -> Report {
        Report {
            id: ConnectionId(1, 1),
            owner,
            peer: None,
            processes: [owner.netns, 0],
            local,
            remote,
            role: Some(role),
            is_datagram: false,
            preexisting: false,
            phase: Phase::Open,
            connect_seconds: None,
            open_seconds: Some(1.0),
            rtt_seconds: None,
            has_moved: true,
            counters: None,
        }
    }

    /// 10.0.0.2 calls 10.96.0.1:80, which is 10.0.0.9:8080, and is seen there as 10.0.0.1:7000.
    fn cluster(port: u16) -> Translated {
        let original = Flow { source: at("10.0.0.2", port), target: at("10.96.0.1", 80) };
        let reply = Flow { source: at("10.0.0.9", 8080), target: at("10.0.0.1", port + 1000) };
        Translated { original, reply }
    }

    fn from_client(port: u16) -> Report {
        report(Role::Client, CLIENT, at("10.0.0.2", port), at("10.96.0.1", 80))
    }

    fn from_server(port: u16) -> Report {
        report(Role::Server, SERVER, at("10.0.0.9", 8080), at("10.0.0.1", port + 1000))
    }

    #[test]
    fn each_end_learns_the_others_address_and_holder() {
        let mut translations = Translations::none();
        translations.add(cluster(4000));
        let (mut client, mut server) = (from_client(4000), from_server(4000));
        translations.translate(&mut client);
        assert_eq!((client.remote, client.peer), (at("10.0.0.9", 8080), None));
        translations.translate(&mut server);
        assert_eq!((server.remote, server.peer), (at("10.0.0.2", 4000), Some(CLIENT)));
        assert_eq!(server.processes, [SERVER.netns, CLIENT.netns]);
        let mut client = from_client(4000);
        translations.translate(&mut client);
        assert_eq!(client.peer, Some(SERVER));
        let mut other = from_client(4001);
        translations.translate(&mut other);
        assert_eq!(other.remote, at("10.96.0.1", 80));
    }

    #[test]
    fn ended_and_unused_translations_are_forgotten_and_used_ones_stay() {
        let mut translations = Translations::none();
        for port in [4000, 4001, 4002] {
            translations.add(cluster(port));
        }
        for mut ended in [from_client(4000), from_server(4000)] {
            ended.phase = Phase::Ended { by_reset: false };
            translations.translate(&mut ended);
            assert_ne!(ended.remote, from_client(4000).remote);
        }
        assert_eq!(translations.young.len(), 4);
        for _ in 0..3 {
            translations.turn();
            let mut used = from_client(4001);
            translations.translate(&mut used);
            assert_eq!(used.remote, at("10.0.0.9", 8080));
        }
        assert_eq!(translations.young.len() + translations.old.len(), 1);
    }

    #[test]
    fn there_is_an_end_to_how_many_are_remembered() {
        let mut translations = Translations::none();
        for port in 0..60_000 {
            translations.add(cluster(port));
        }
        assert!(translations.young.len() + translations.old.len() <= 2 * MOST);
        assert!(translations.lost() > 0);
    }

    #[test]
    fn loopback_addresses_of_other_namespaces_are_left_alone() {
        let mut translations = Translations { netns: 10, ..Translations::none() };
        let original = Flow { source: at("127.0.0.1", 4000), target: at("127.0.0.1", 80) };
        let reply = Flow { source: at("127.0.0.1", 8080), target: at("127.0.0.1", 4000) };
        translations.add(Translated { original, reply });
        for (owner, expected) in [(CLIENT, 8080), (SERVER, 80)] {
            let mut call = report(Role::Client, owner, original.source, original.target);
            translations.translate(&mut call);
            assert_eq!(call.remote.port, expected);
        }
    }

    #[test]
    fn what_was_established_after_the_last_look_at_the_subscription_waits_for_the_next() {
        let mut translations = Translations::none();
        let mut young = from_client(4000);
        young.open_seconds = Some(0.0);
        assert!(!translations.is_too_young(&young), "nothing is translated here");
        translations.add(cluster(4000));
        assert!(translations.is_too_young(&young));
        assert!(!translations.is_too_young(&from_client(4000)));
        young.phase = Phase::Ended { by_reset: false };
        assert!(!translations.is_too_young(&young));
    }
}
