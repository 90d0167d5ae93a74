//! Faults of every kind in a simulated shop: opened in time, named right, closed after the repair.
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "a test")]

mod simulation;

use quoll_incidents::{Diagnosis, Feedback, Snapshot};
use simulation::{Fault, SHOP, World, service};

/// Injects, and checks the course: one incident, opened in time, the true cause first, closed in time.
fn course(root: &'static str, fault: Fault, provisional: bool) -> (usize, usize) {
    let mut world = World::new(SHOP, 7);
    world.provisional = provisional;
    world.warm_up();
    world.faults.insert(root, fault);
    let during = world.run(40);
    let opened = during.iter().position(|d| !d.incidents.is_empty()).unwrap_or_else(|| panic!("{root}: never opened"));
    for diagnosis in &during[opened..] {
        assert_eq!(diagnosis.incidents.len(), 1, "{root} {fault:?}: one fault, one incident");
        let first = &diagnosis.incidents[0].roots[0];
        assert_eq!(first.0, service(root), "{root} {fault:?}: {:?}", diagnosis.incidents[0].explanation);
        assert!(first.1 > 0.5, "{root} {fault:?}: {first:?}");
    }
    let id = during[39].incidents[0].id.clone();
    assert_eq!(id, during[opened].incidents[0].id, "{root}: the name of an incident stays");
    world.faults.clear();
    let after = world.run(30);
    let closed = after.iter().position(|d| d.incidents.is_empty()).unwrap_or_else(|| panic!("{root}: never closed"));
    assert_eq!(after[closed].closed[0].id, id);
    assert_eq!(after[closed].closed[0].root, service(root));
    assert!(after[closed..].iter().all(|d| d.incidents.is_empty()), "{root}: stays closed");
    (opened + 1, closed + 1)
}

#[test]
fn every_single_fault_is_named_within_six_steps_and_closed_within_twenty() {
    for fault in [Fault::Latency, Fault::Errors, Fault::Crash] {
        for root in ["catalog-db", "cart", "payment", "bank", "checkout", "ads", "frontend", "orders-db"] {
            let (opened, closed) = course(root, fault, false);
            assert!(opened <= 6 && closed <= 20, "{root} {fault:?}: opened after {opened}, closed after {closed}");
        }
    }
}

#[test]
fn a_provisional_score_is_slower_but_names_the_cause_too() {
    for fault in [Fault::Latency, Fault::Errors, Fault::Crash] {
        for root in ["catalog-db", "cart", "payment", "checkout"] {
            let (opened, closed) = course(root, fault, true);
            assert!(opened <= 8 && closed <= 20, "{root} {fault:?}: opened after {opened}, closed after {closed}");
        }
    }
}

#[test]
fn two_unrelated_faults_are_two_incidents_each_with_its_cause_first() {
    let mut calls = SHOP.to_vec();
    calls.extend([("admin", "reports", 10.0), ("reports", "warehouse", 20.0), ("reports", "orders-db", 10.0)]);
    let mut world = World::new(&calls, 3);
    world.warm_up();
    world.faults.insert("payment", Fault::Errors);
    world.faults.insert("warehouse", Fault::Latency);
    let last = world.run(15).pop().unwrap();
    let mut causes: Vec<String> = last.incidents.iter().map(|i| i.roots[0].0.to_string()).collect();
    causes.sort();
    assert_eq!(causes, ["payment", "warehouse"]);
    assert!(last.incidents.iter().all(|i| i.roots[0].1 > 0.5));
}

#[test]
fn two_faults_that_meet_in_one_caller_become_two_incidents() {
    let mut world = World::new(SHOP, 4);
    world.warm_up();
    world.faults.insert("catalog-db", Fault::Latency);
    world.run(10);
    world.faults.insert("payment", Fault::Errors);
    let during = world.run(30);
    let last = &during[29];
    let mut causes: Vec<String> = last.incidents.iter().map(|i| i.roots[0].0.to_string()).collect();
    causes.sort();
    assert_eq!(causes, ["catalog-db", "payment"]);
    world.faults.remove("catalog-db");
    let last = world.run(25).pop().unwrap();
    assert_eq!(last.incidents.len(), 1, "the other goes on");
    assert_eq!(last.incidents[0].roots[0].0, service("payment"));
}

#[test]
fn two_faults_of_the_same_moment_that_meet_in_one_caller_become_two_incidents() {
    let mut world = World::new(SHOP, 14);
    world.warm_up();
    world.faults.insert("catalog-db", Fault::Latency);
    world.faults.insert("payment", Fault::Errors);
    let last = world.run(30).pop().unwrap();
    let mut causes: Vec<String> = last.incidents.iter().map(|i| i.roots[0].0.to_string()).collect();
    causes.sort();
    assert_eq!(causes, ["catalog-db", "payment"]);
    assert!(last.incidents.iter().all(|i| i.roots[0].1 > 0.5));
    world.faults.clear();
    world.run(40);
    let mut past: Vec<String> = world.incidents.past().map(|past| past.root.to_string()).collect();
    past.sort();
    assert_eq!(past, ["catalog-db", "payment"], "both are learned, each with its cause");
}

#[test]
fn two_incidents_of_one_cause_become_one_and_are_one_in_the_past() {
    let mut world = World::new(SHOP, 15);
    world.warm_up();
    // The front end suffers first, and the database shows, while what lies between looks normal still.
    world.forced = [("frontend", 1e-7), ("orders-db", 1e-7)].into();
    let two = world.run(10).pop().unwrap();
    assert_eq!(two.incidents.len(), 2, "{:?}", two.incidents.iter().map(|i| &i.roots[0]).collect::<Vec<_>>());
    world.forced.insert("checkout", 1e-7);
    let during = world.run(15);
    let last = during.last().unwrap();
    assert_eq!(last.incidents.len(), 1);
    assert_eq!(last.incidents[0].roots[0].0, service("orders-db"), "{:?}", last.incidents[0].explanation);
    let whole = last.incidents[0].id.clone();
    let merged: Vec<_> = during.iter().flat_map(|d| &d.closed).collect();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].merged_into.as_ref(), Some(&whole));
    let first: Vec<_> = last.incidents[0].account.first_seen.iter().map(|sign| sign.service.to_string()).collect();
    assert!(first.starts_with(&["frontend".into(), "orders-db".into()]), "what either saw first: {first:?}");
    // What is said of the part is said of the whole.
    let cause = Feedback::Cause { service: service("orders-db") };
    world.incidents.feedback(&merged[0].id, cause.clone()).unwrap();
    world.forced.clear();
    world.run(40);
    let past: Vec<_> = world.incidents.past().collect();
    assert_eq!(past.len(), 2);
    assert_eq!((&past[0].id, &past[0].root, &past[0].feedback), (&whole, &service("orders-db"), &Some(cause)));
    assert!(["checkout", "frontend", "orders-db"].iter().all(|name| past[0].hit.contains(&service(name))));
    assert_eq!((&past[1].merged_into, &past[1].feedback), (&Some(whole), &None));
    // One fault was learned, not two, and only the whole is told of later.
    let prior = |d: &Diagnosis, name: &str| d.services.iter().find(|s| s.service == service(name)).unwrap().fault_prior;
    let after = world.step();
    assert!(prior(&after, "orders-db") > 1.5 * prior(&after, "frontend"));
    assert_eq!(prior(&after, "frontend"), prior(&after, "ads"));
    world.forced = [("frontend", 1e-7), ("checkout", 1e-7), ("orders-db", 1e-7)].into();
    let again = world.run(10).pop().unwrap();
    assert_eq!(again.incidents[0].account.similar.len(), 1);
}

#[test]
fn an_incident_whose_cause_no_longer_exists_ends_and_is_remembered() {
    let mut world = World::new(SHOP, 16);
    world.names.push("batch");
    world.names.sort_unstable();
    world.warm_up();
    world.forced.insert("batch", 1e-7);
    let id = world.run(10).pop().unwrap().incidents[0].id.clone();
    world.names.retain(|name| *name != "batch");
    let after = world.step();
    assert!(after.incidents.is_empty() && after.closed[0].id == id);
    let past = world.incidents.past().next().unwrap();
    assert_eq!((&past.id, &past.root), (&id, &service("batch")));
}

#[test]
fn a_quiet_system_stays_quiet() {
    // Fifty services, scores as calibrated: independent from step to step, then sticky.
    let names: Vec<&'static str> = (0..50).map(|i| &*Box::leak(format!("service-{i:02}").into_boxed_str())).collect();
    let calls: Vec<(&'static str, &'static str, f64)> = (1..50)
        .flat_map(|i| [(names[(i - 1) / 3], names[i], 10.0), (names[i / 7], names[i], 5.0)])
        .filter(|c| c.0 != c.1)
        .collect();
    for (correlation, ticks) in [(0.0, 10_000), (0.7, 3_000)] {
        let mut world = World::new(&calls, 11);
        world.correlation = correlation;
        for _ in 0..ticks {
            let diagnosis = world.step();
            assert!(diagnosis.incidents.is_empty(), "tick {}: {:?}", world.tick, diagnosis.incidents[0].explanation);
        }
    }
}

#[test]
fn one_bad_step_everywhere_opens_nothing() {
    let mut world = World::new(SHOP, 5);
    world.warm_up();
    world.forced = world.names.iter().map(|&name| (name, 1e-9)).collect();
    assert!(world.step().incidents.is_empty());
    world.forced.clear();
    assert!(world.run(30).iter().all(|d| d.incidents.is_empty()));
}

#[test]
fn a_score_that_stays_slightly_odd_never_becomes_certain() {
    let mut world = World::new(SHOP, 6);
    world.warm_up();
    world.forced.insert("cart", 0.005);
    assert!(world.run(1000).iter().all(|d| d.incidents.is_empty()));
}

#[test]
fn a_flapping_service_is_one_incident_not_many() {
    let mut world = World::new(SHOP, 8);
    world.warm_up();
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        world.faults.insert("cart", Fault::Latency);
        ids.extend(world.run(4).iter().flat_map(|d| d.incidents.iter().map(|i| i.id.clone())));
        world.faults.clear();
        ids.extend(world.run(3).iter().flat_map(|d| d.incidents.iter().map(|i| i.id.clone())));
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[test]
fn backlog_opens_nothing() {
    let mut world = World::new(SHOP, 9);
    world.warm_up();
    world.faults.insert("cart", Fault::Crash);
    for _ in 0..20 {
        assert!(world.step_late(301_000).incidents.is_empty());
    }
    assert!(!world.run(3).pop().unwrap().incidents.is_empty(), "but what still goes on opens as soon as it is live");
}

#[test]
fn a_restored_state_goes_on_to_the_bit() {
    let mut world = World::new(SHOP, 10);
    world.warm_up();
    world.faults.insert("cart", Fault::Latency);
    world.run(10);
    let text = serde_json::to_string(&world.incidents.snapshot()).unwrap();
    let mut twin = World::new(SHOP, 10);
    // The same world, tick by tick, but with its memory replaced by the stored one.
    twin.warm_up();
    twin.faults.insert("cart", Fault::Latency);
    twin.run(10);
    twin.incidents = quoll_incidents::Incidents::new(quoll_incidents::IncidentsConfig::default(), 1000).unwrap();
    twin.incidents.restore(serde_json::from_str::<Snapshot>(&text).unwrap()).unwrap();
    world.faults.clear();
    twin.faults.clear();
    let (ours, theirs): (Vec<Diagnosis>, Vec<Diagnosis>) = (world.run(30), twin.run(30));
    assert_eq!(ours, theirs);
}

#[test]
fn while_a_repaired_fault_fades_its_account_tells_of_it_as_it_was() {
    let mut world = World::new(SHOP, 18);
    world.warm_up();
    world.faults.insert("payment", Fault::Errors);
    world.run(8);
    // What a version wrote that kept no worst moments is taken, and tells of those from then on.
    let mut older = serde_json::to_value(world.incidents.snapshot()).unwrap();
    for track in older["tracks"].as_array_mut().unwrap() {
        assert!(track.as_object_mut().unwrap().remove("worst").is_some());
    }
    world.incidents = quoll_incidents::Incidents::new(quoll_incidents::IncidentsConfig::default(), 1000).unwrap();
    world.incidents.restore(serde_json::from_value(older).unwrap()).unwrap();
    let ill = world.run(8);
    let worst = (ill.iter().flat_map(|diagnosis| &diagnosis.incidents))
        .filter_map(|incident| incident.account.cause.clone())
        .filter(|cause| cause.service == service("payment"))
        .map(|cause| cause.evidence)
        .fold(0.0, f64::max);
    let told = ill.last().unwrap().incidents[0].account.cause.clone().unwrap();
    assert_eq!(told.evidence, worst, "{told:?}");
    assert!(told.shown.contains("of the requests to it fail"), "{told:?}");
    world.faults.clear();
    let fading: Vec<Diagnosis> =
        world.run(40).into_iter().filter(|diagnosis| !diagnosis.incidents.is_empty()).collect();
    let mut calm = 0;
    for incident in fading.iter().flat_map(|diagnosis| &diagnosis.incidents) {
        let Some(cause) = incident.account.cause.as_ref().filter(|cause| cause.service == service("payment")) else {
            continue;
        };
        assert!(cause.evidence >= worst && cause.shown.contains("of the requests to it fail"), "{cause:?}");
        assert_eq!(cause.odd_callers, told.odd_callers, "who called it suffered");
        assert!(incident.account.next.iter().all(|next| next.service != service("checkout")), "it was hit");
        if cause.calm_again {
            calm += 1;
            let text = incident.explanation.join(" ");
            assert!(
                text.contains("at its worst, at ") && text.contains("at this moment it looks normal again"),
                "{text}"
            );
        }
    }
    assert!(calm > 0, "the incident outlasted the fault: {fading:?}");
}

/// The cause's own score often rises after its callers' (its window is longer, its traffic smaller).
#[test]
fn a_cause_that_shows_after_its_callers_takes_over() {
    for root in ["catalog-db", "cart", "payment", "bank"] {
        for lag in [2, 4, 8] {
            let mut world = World::new(SHOP, 12);
            world.warm_up();
            world.faults.insert(root, Fault::Latency);
            world.forced.insert(root, 0.4);
            let before = world.run(lag);
            world.forced.clear();
            let after = world.run(20);
            let course: Vec<String> = (before.iter().chain(&after))
                .map(|d| d.incidents.iter().map(|i| format!("{} {:.2}", i.roots[0].0, i.roots[0].1)).collect())
                .collect();
            let named = |d: &Diagnosis| {
                d.incidents.len() == 1 && d.incidents[0].roots[0].0 == service(root) && d.incidents[0].roots[0].1 > 0.5
            };
            assert!(after[4..].iter().all(named), "{root} late by {lag}: {course:?}");
        }
    }
}

#[test]
fn a_snapshot_of_another_step_is_refused() {
    let mut world = World::new(SHOP, 10);
    let snapshot = world.incidents.snapshot();
    let mut other = quoll_incidents::Incidents::new(quoll_incidents::IncidentsConfig::default(), 5000).unwrap();
    assert!(other.restore(snapshot).is_err());
    world.run(1);
}
