//! Causes that are no service of the call graph, priors that move, and what users say.
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "a test")]

mod simulation;

use quoll_identity::Service;
use quoll_incidents::{Feedback, FeedbackError, HOST_NAMESPACE, Snapshot};
use simulation::{Fault, SHOP, World, service};

#[test]
fn a_busy_host_is_one_cause_rather_than_many() {
    let mut world = World::new(SHOP, 20);
    let busy = ["ads", "bank", "orders-db", "shipping"];
    world.hosts =
        world.names.iter().map(|&name| (name, if busy.contains(&name) { "node-2" } else { "node-1" })).collect();
    world.warm_up();
    world.forced = busy.iter().map(|&name| (name, 1e-9)).collect();
    let last = world.run(20).pop().unwrap();
    assert_eq!(last.incidents.len(), 1, "{:?}", last.incidents.iter().map(|i| &i.roots[0]).collect::<Vec<_>>());
    let incident = &last.incidents[0];
    let host = Service::new(Some(HOST_NAMESPACE), "node-2").unwrap();
    assert_eq!(incident.roots[0].0, host, "{:?}", incident.explanation);
    assert!(incident.roots[0].1 > 0.5);
    assert!(busy.iter().all(|name| incident.symptoms.contains(&service(name))), "{:?}", incident.symptoms);
    assert!(last.edges.iter().any(|edge| edge.edge.server == host), "written, so that others can compute the same");
    world.forced.clear();
    let after = world.run(40).pop().unwrap();
    assert!(after.incidents.is_empty());
    assert!(after.services.iter().all(|s| s.service != host), "a host that nothing is wrong with is not shown");
}

#[test]
fn on_one_host_a_fault_of_one_service_is_that_services() {
    let mut world = World::new(SHOP, 21);
    world.hosts = world.names.iter().map(|&name| (name, "node-1")).collect();
    world.warm_up();
    world.faults.insert("catalog-db", Fault::Latency);
    let last = world.run(15).pop().unwrap();
    assert_eq!(last.incidents.len(), 1);
    assert_eq!(last.incidents[0].roots[0].0, service("catalog-db"), "{:?}", last.incidents[0].explanation);
    assert!(last.incidents[0].roots[0].1 > 0.5);
}

#[test]
fn another_name_of_a_faulty_service_does_not_take_its_place() {
    let mut calls = SHOP.to_vec();
    calls.push(("frontend", "catalog.balancer.example", 40.0));
    let mut world = World::new(&calls, 22);
    world.warm_up();
    // The address is slow because the catalogue behind it is.
    world.faults.insert("catalog", Fault::Latency);
    world.faults.insert("catalog.balancer.example", Fault::Latency);
    let during = world.run(15);
    let last = during.last().unwrap();
    assert_eq!(last.incidents.len(), 1);
    assert_eq!(last.incidents[0].roots[0].0, service("catalog"), "{:?}", last.incidents[0].explanation);
    assert!(last.incidents[0].roots[0].1 > 0.5);
    // Alone it is a cause like any other.
    world.faults.clear();
    world.run(60);
    world.faults.insert("catalog.balancer.example", Fault::Latency);
    let last = world.run(15).pop().unwrap();
    assert_eq!(last.incidents[0].roots[0].0, service("catalog.balancer.example"));
}

/// The shop, whose front end also knows the catalogue by its balancer's address, and where payment, shipping and the
/// bank get exactly the same traffic: called alike by one caller, or one by the other.
fn with_balancer(seed: u64) -> World {
    let mut calls = SHOP.to_vec();
    calls.push(("frontend", "catalog.balancer.example", 40.0));
    let mut world = World::new(&calls, seed);
    world.varied = true;
    world.twins.insert("catalog.balancer.example", "catalog");
    world
}

#[test]
fn another_name_is_known_from_calm_times_alone_and_equal_traffic_makes_none() {
    for seed in [40, 41, 42] {
        let mut world = with_balancer(seed);
        world.warm_up();
        let known = vec![(service("catalog.balancer.example"), service("catalog"))];
        let calm = world.run(500);
        assert!(calm.iter().all(|d| d.incidents.is_empty()));
        assert!(calm.iter().all(|d| d.aliases.is_empty() || d.aliases == known), "{:?}", calm[499].aliases);
        assert_eq!(calm[499].aliases, known, "{seed}");
        // What is known is linked before anything is wrong, and stored.
        let linked = |e: &quoll_incidents::EdgeDiagnosis| e.edge.client == known[0].0 && e.edge.server == known[0].1;
        assert!(calm[499].edges.iter().any(|e| linked(e) && e.strength > 0.9));
        let stored = serde_json::to_string(&world.incidents.snapshot()).unwrap();
        world.incidents.restore(serde_json::from_str::<Snapshot>(&stored).unwrap()).unwrap();
        assert_eq!(world.step().aliases, known);
        world.faults.insert("catalog", Fault::Latency);
        let last = world.run(15).pop().unwrap();
        assert_eq!(last.incidents.len(), 1);
        let incident = &last.incidents[0];
        assert_eq!(incident.roots[0].0, service("catalog"), "{:?}", incident.explanation);
        let of = |name: &Service| incident.roots.iter().find(|root| root.0 == *name).unwrap().1;
        assert!(incident.roots[0].1 > 0.5 && of(&known[0].0) < 1e-6, "{:?}", incident.roots);
        assert!(incident.symptoms.contains(&known[0].0));
    }
}

#[test]
fn what_was_another_name_is_none_once_the_two_part() {
    let mut world = with_balancer(43);
    world.warm_up();
    assert_eq!(world.run(500).pop().unwrap().aliases.len(), 1);
    world.twins.clear();
    assert_eq!(world.run(300).pop().unwrap().aliases, []);
}

#[test]
fn a_change_makes_its_service_the_likelier_cause_and_is_named() {
    // Two services below one caller that look alike: the one that changed is suspected first.
    let share = |changed: Option<&'static str>| {
        let mut world = World::new(SHOP, 23);
        world.warm_up();
        if let Some(name) = changed {
            world.changes.insert(name, "image payment:1 -> payment:2");
        }
        world.run(1);
        world.forced = [("payment", 1e-4), ("shipping", 1e-4), ("checkout", 1e-6)].into();
        let last = world.run(10).pop().unwrap();
        let incident = last.incidents.first().unwrap_or_else(|| panic!("no incident")).clone();
        let of = |name: &str| incident.roots.iter().find(|r| r.0 == service(name)).map_or(0.0, |r| r.1);
        (of("payment"), of("shipping"), incident.explanation.join(" "))
    };
    let (before, _, quiet) = share(None);
    let (after, other, told) = share(Some("payment"));
    assert!(after > before && after > 5.0 * other, "{before} {after} {other}");
    assert!(told.contains("Changed shortly before: payment") && told.contains("payment:1 -> payment:2"), "{told}");
    assert!(!quiet.contains("Changed"));
}

/// Runs one fault to its end and gives the incident's name.
fn incident(world: &mut World, root: &'static str) -> String {
    world.faults.insert(root, Fault::Latency);
    let id = world.run(20).pop().unwrap().incidents[0].id.clone();
    world.faults.clear();
    assert!(world.run(40).pop().unwrap().incidents.is_empty());
    id
}

#[test]
fn past_incidents_are_kept_told_of_and_learned_from() {
    let mut world = World::new(SHOP, 24);
    world.warm_up();
    let strength = |d: &quoll_incidents::Diagnosis| {
        d.edges
            .iter()
            .find(|e| e.edge.client == service("frontend") && e.edge.server == service("ads"))
            .unwrap()
            .strength
    };
    let before = strength(&world.step());
    let id = incident(&mut world, "ads");
    assert_eq!(world.incidents.past().next().map(|past| past.id.clone()), Some(id.clone()));
    assert_eq!(world.incidents.past().next().unwrap().root, service("ads"));
    assert!(strength(&world.step()) > before, "the frontend suffered, so the link is stronger than assumed");
    world.faults.insert("ads", Fault::Latency);
    let again = world.run(15).pop().unwrap();
    let text = again.incidents[0].explanation.join(" ");
    assert_eq!(again.incidents[0].account.similar[0].id, id);
    assert!(text.contains(&format!("Like incident {id}")), "{text}");
    // Stored with everything else.
    let stored = serde_json::to_string(&world.incidents.snapshot()).unwrap();
    let mut twin = World::new(SHOP, 24);
    twin.incidents.restore(serde_json::from_str::<Snapshot>(&stored).unwrap()).unwrap();
    assert_eq!(twin.incidents.past().count(), 1);
    assert_eq!(twin.incidents.snapshot(), world.incidents.snapshot());
}

#[test]
fn not_an_incident_ends_it_and_takes_weight_from_whoever_was_named() {
    let open = |refuted: bool| {
        let mut world = World::new(SHOP, 25);
        world.warm_up();
        world.forced.insert("cart", 3e-5);
        let id = world.run(15).pop().unwrap().incidents[0].id.clone();
        if refuted {
            world.incidents.feedback(&id, Feedback::NotAnIncident).unwrap();
            let next = world.step();
            assert!(next.incidents.is_empty() && next.closed.iter().any(|closed| closed.id == id));
        }
        world.run(30).iter().filter(|d| !d.incidents.is_empty()).count()
    };
    assert_eq!(open(false), 30);
    assert_eq!(open(true), 0, "what was no incident does not come back at once");
}

#[test]
fn a_cause_that_a_user_names_leads_and_is_learned() {
    let mut world = World::new(SHOP, 26);
    world.warm_up();
    world.faults.insert("checkout", Fault::Errors);
    let id = world.run(15).pop().unwrap().incidents[0].id.clone();
    let cause = |name: &str| Feedback::Cause { service: service(name) };
    assert_eq!(
        world.incidents.feedback("nonsense", cause("payment")),
        Err(FeedbackError::UnknownIncident("nonsense".into()))
    );
    assert_eq!(world.incidents.feedback(&id, cause("nobody")), Err(FeedbackError::UnknownService(service("nobody"))));
    let prior = |d: &quoll_incidents::Diagnosis| {
        d.services.iter().find(|s| s.service == service("payment")).unwrap().fault_prior
    };
    world.incidents.feedback(&id, cause("payment")).unwrap();
    let next = world.step();
    let share = next.incidents[0].roots.iter().find(|r| r.0 == service("payment")).unwrap().1;
    assert!(share > 0.01, "{share}");
    world.faults.clear();
    let after = world.run(60).pop().unwrap();
    let told = |world: &World| world.incidents.past().next().unwrap().feedback.clone();
    assert_eq!(told(&world), Some(cause("payment")));
    let other = after.services.iter().find(|s| s.service == service("ads")).unwrap().fault_prior;
    assert!(prior(&after) > 1.5 * other, "it failed, says the user");
    // Of an incident that is over, and again: said once, learned once.
    let id = world.incidents.past().next().unwrap().id.clone();
    world.incidents.feedback(&id, cause("bank")).unwrap();
    let once = world.incidents.snapshot();
    world.incidents.feedback(&id, cause("bank")).unwrap();
    assert_eq!(world.incidents.snapshot(), once);
}
