//! Who lives where: names and addresses of one run, before anything is made.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use thiserror::Error;

use super::cgroups::Hierarchies;
use super::network;
use crate::random::derive;
use crate::topology::{LOAD_GENERATOR, Topology};
use crate::wire::{Assignment, Role};

/// Port of every service.
pub const PORT: u16 = 8080;
/// Last byte of the load generator's address.
const LOAD_GENERATOR_HOST: u8 = 2;
/// Last byte of the first service's address.
const FIRST_SERVICE_HOST: u8 = 10;

/// A /24 of IPv4, by its first three bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet([u8; 3]);

/// Text that is no /24.
#[derive(Debug, Error)]
#[error("`{0}` is no subnet; give a /24 such as 198.18.0.0/24")]
pub struct SubnetError(String);

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let error = || SubnetError(text.to_owned());
        let network: Ipv4Addr = text.strip_suffix("/24").ok_or_else(error)?.parse().map_err(|_| error())?;
        match network.octets() {
            [a, b, c, 0] => Ok(Self([a, b, c])),
            _ => Err(error()),
        }
    }
}

impl Subnet {
    /// Benchmarking range (RFC 2544, RFC 6890): routed nowhere.
    pub const NAMESPACES: Self = Self([198, 18, 0]);
    /// Loopback.
    pub const LOOPBACK: Self = Self([127, 77, 0]);

    /// Whether addresses of it work without a namespace of one's own.
    pub fn is_loopback(self) -> bool {
        self.0[0] == 127
    }

    fn host(self, host: u8) -> Ipv4Addr {
        let [a, b, c] = self.0;
        Ipv4Addr::new(a, b, c, host)
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/24", self.host(0))
    }
}

/// One process of the run.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// Every process of the run, services in the topology's order, the load generator last.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The run's name.
    pub name: String,
    /// The processes.
    pub members: Vec<Member>,
}

impl Plan {
    /// Gives every member its address. The topology's limit on services keeps them in the /24.
    pub fn new(name: &str, subnet: Subnet, topology: &Topology) -> Self {
        let services = topology.services.iter().zip(FIRST_SERVICE_HOST..);
        let services =
            services.map(|(service, host)| Member { name: service.name.clone(), address: subnet.host(host) });
        let load = Member { name: LOAD_GENERATOR.to_owned(), address: subnet.host(LOAD_GENERATOR_HOST) };
        Self { name: name.to_owned(), members: services.chain([load]).collect() }
    }

    /// Names of all members.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// The network namespaces that [`network::create`] makes.
    pub fn namespaces(&self) -> Vec<String> {
        let members = self.members.iter().map(|member| network::namespace(&self.name, &member.name));
        // The bridge goes last: its ports disappear with their peers.
        members.chain([network::bridge(&self.name)]).collect()
    }

    /// What each process is told, in the order of [`Self::members`].
    pub fn assignments(
        &self,
        topology: &Topology,
        seed: u64,
        hierarchies: &Hierarchies,
        namespaces: bool,
    ) -> Vec<Assignment> {
        let edges = topology.edges();
        let assignment = |member: &Member| {
            let peer = |callee: &str| {
                let callee = self.members.iter().find(|other| other.name == callee)?;
                Some((callee.name.clone(), SocketAddrV4::new(callee.address, PORT)))
            };
            let role = match topology.service(&member.name) {
                Some(service) => Role::Service { service: service.clone(), port: PORT },
                None => Role::Load(topology.load.clone()),
            };
            Assignment {
                name: member.name.clone(),
                role,
                seed: derive(seed, &member.name),
                cgroup_procs: hierarchies.procs_files(&self.name, &member.name),
                netns: namespaces.then(|| network::path(&network::namespace(&self.name, &member.name))),
                address: member.address,
                peers: edges.iter().filter(|edge| edge.0 == member.name).filter_map(|edge| peer(edge.1)).collect(),
                callers: self.members.iter().map(|other| (other.address, other.name.clone())).collect(),
            }
        };
        self.members.iter().map(assignment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_whole_24s() {
        assert_eq!("198.18.7.0/24".parse::<Subnet>().unwrap().to_string(), "198.18.7.0/24");
        for wrong in ["198.18.7.0", "198.18.7.1/24", "198.18.7.0/16", "shop/24"] {
            let text = wrong.parse::<Subnet>().unwrap_err().to_string();
            assert!(text.contains(wrong) && text.contains("198.18.0.0/24"), "{text}");
        }
        assert!(Subnet::LOOPBACK.is_loopback() && !Subnet::NAMESPACES.is_loopback());
    }

    #[test]
    fn addresses_are_unique_and_peers_are_exactly_the_edges() {
        let topology = Topology::parse(include_str!("../../topologies/shop.yaml")).unwrap();
        let plan = Plan::new("shop", Subnet::NAMESPACES, &topology);
        let addresses: std::collections::BTreeSet<_> = plan.members.iter().map(|member| member.address).collect();
        assert_eq!(addresses.len(), topology.services.len() + 1);
        let assignments = plan.assignments(&topology, 1, &Hierarchies::default(), true);
        let peers: usize = assignments.iter().map(|assignment| assignment.peers.len()).sum();
        assert_eq!(peers, topology.edges().len());
        assert_eq!(assignments[0].netns, Some("/run/netns/shop.gateway".into()));
    }
}
