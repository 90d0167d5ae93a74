use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::*;
use crate::net::{Endpoint, canonical};
use crate::source::{ConnectionId, Owner, Phase, Report, Role};

const RULES: &str = "
services:
  - {name: web, match: [{address: 127.77.0.1}]}
  - {name: cart, match: [{netns: 7}]}
  - {name: db, match: [{port: 5432}]}
";

fn directory() -> Directory {
    let mut directory = Directory::new(Rules::parse(RULES).unwrap(), false);
    directory.inventory.processes.clear();
    directory.inventory.netns.clear();
    directory
}

fn at(address: &str, port: u16) -> Endpoint {
    Endpoint { address: canonical(address.parse().unwrap()), port }
}

fn report(netns: u32, local: Endpoint, remote: Endpoint, role: Option<Role>) -> Report {
    Report {
        id: ConnectionId(1, 1),
        owner: Owner { cgroup_id: u64::MAX, netns },
        peer: None,
        processes: [0, 0],
        local,
        remote,
        role,
        is_datagram: false,
        preexisting: false,
        phase: Phase::Open,
        connect_seconds: None,
        open_seconds: None,
        rtt_seconds: None,
        has_moved: true,
        counters: None,
    }
}

fn listening(netns: u32, local: Endpoint) -> Listening {
    let owner = Owner { cgroup_id: u64::MAX, netns };
    let id = ConnectionId(u64::from(netns), u64::from(local.port));
    Listening { id, owner, process: 0, local, queue_length: 0, queue_limit: None, drops: None }
}

#[test]
fn the_peer_is_who_listens_there_also_after_the_listener_is_gone() {
    let mut directory = directory();
    directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
    let call = report(7, at("10.0.0.7", 40_000), at("10.0.0.9", 5432), Some(Role::Client));
    let ends = directory.ends(&call).unwrap();
    assert_eq!((ends.client.to_string(), ends.server.to_string()), ("cart".into(), "db".into()));
    directory.set_listening(Vec::new());
    assert_eq!(directory.ends(&call).unwrap().server.to_string(), "db");
}

#[test]
fn loopback_listeners_are_apart_per_namespace() {
    let mut directory = directory();
    directory.set_listening(vec![listening(9, at("::", 5432))]);
    let inside = report(9, at("127.0.0.1", 40_000), at("127.0.0.1", 5432), Some(Role::Client));
    assert_eq!(directory.ends(&inside).unwrap().server.to_string(), "db");
    let elsewhere = report(7, at("127.0.0.1", 40_000), at("127.0.0.1", 5432), Some(Role::Client));
    assert_eq!(directory.ends(&elsewhere).unwrap().server.to_string(), "unknown");
}

#[test]
fn a_container_that_is_gone_before_the_next_look_at_processes_has_a_name() {
    let mut directory = directory();
    let path = format!("/docker/{}", "3f2a9c1b".repeat(8));
    let owner = Owner { cgroup_id: directory.inventory.cgroups.id_of(&path.into()), netns: 11 };
    let call = Report { owner, ..report(11, at("10.0.0.11", 4), at("127.77.0.1", 80), Some(Role::Client)) };
    assert_eq!(directory.ends(&call).unwrap().client, Service::unknown());
    let before = directory.version();
    directory.learn_containers([owner, owner].into_iter());
    assert_ne!(directory.version(), before);
    assert_eq!(directory.ends(&call).unwrap().client.to_string(), "3f2a9c1b3f2a");
    // Nothing of it runs any more.
    directory.refresh_processes().unwrap();
    assert_eq!(directory.ends(&call).unwrap().client.to_string(), "3f2a9c1b3f2a");
}

#[test]
fn a_service_is_gone_some_minutes_after_it_was_last_seen_and_then_forgotten() {
    let mut directory = directory();
    let db = Service::new(None, "db").unwrap();
    let start = Instant::now();
    directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
    directory.set_present_at(start);
    directory.set_listening(Vec::new());
    directory.set_present_at(start + GONE_AFTER / 2);
    assert!(directory.gone_at(start + GONE_AFTER - Duration::from_secs(1)).is_empty());
    assert_eq!(directory.gone_at(start + GONE_AFTER), HashSet::from([db]));
    assert!(directory.gone_at(start + 2 * GONE_AFTER).is_empty());
}

#[test]
fn strangers_are_external_or_unknown() {
    let directory = directory();
    let outside = report(7, at("10.0.0.7", 4), at("9.9.9.9", 443), Some(Role::Client));
    assert_eq!(directory.ends(&outside).unwrap().server, Service::external());
    let inside = report(7, at("10.0.0.7", 4), at("10.3.3.3", 443), Some(Role::Client));
    let ends = directory.ends(&inside).unwrap();
    assert_eq!(ends.server, Service::unknown());
    assert!(!ends.is_complete);
}

#[test]
fn a_service_known_by_its_port_is_also_named_when_it_calls() {
    let mut directory = directory();
    directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
    let call = report(9, at("10.0.0.9", 50_000), at("127.77.0.1", 80), Some(Role::Client));
    let ends = directory.ends(&call).unwrap();
    assert_eq!((ends.client.to_string(), ends.server.to_string()), ("db".into(), "web".into()));
}

#[test]
fn a_crowd_with_strangers_in_it_is_not_named_by_one_of_its_members() {
    let mut directory = directory();
    directory.set_listening(vec![listening(9, at("10.0.0.9", 5432)), listening(9, at("10.0.0.9", 22))]);
    let call = report(9, at("10.0.0.9", 50_000), at("127.77.0.1", 80), Some(Role::Client));
    assert_eq!(directory.ends(&call).unwrap().client, Service::unknown());
}

#[test]
fn the_role_of_an_old_connection_is_told_by_its_listener() {
    let mut directory = directory();
    directory.set_listening(vec![listening(9, at("10.0.0.9", 5432))]);
    let old = report(9, at("10.0.0.9", 5432), at("10.0.0.7", 40_000), None);
    assert_eq!(directory.ends(&old).unwrap().reporter, Role::Server);
    let old = report(7, at("10.0.0.7", 40_000), at("10.0.0.9", 5432), None);
    assert_eq!(directory.ends(&old).unwrap().reporter, Role::Client);
}
