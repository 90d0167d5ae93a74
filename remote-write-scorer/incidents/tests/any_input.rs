//! Whatever the steps hold, a tick neither panics nor says anything that is no probability, and a
//! replay from a snapshot is the same to the bit.
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use quoll_detect::ServiceScore;
use quoll_features::{ClosedStep, EdgeStep, Presence, ServiceStep};
use quoll_identity::{Edge, Service};
use quoll_incidents::{Diagnosis, Incidents, IncidentsConfig};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

fn service() -> impl Strategy<Value = Service> {
    (prop::option::of(Just("shop")), prop::sample::select(&NAMES[..]))
        .prop_map(|(namespace, name)| Service::new(namespace, name).unwrap())
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![6 => 0.0..50.0f64, 1 => prop::num::f64::ANY, 1 => Just(0.0), 1 => Just(f64::NAN)]
}

/// A call of one of `pairs`.
fn edge(pairs: Vec<(Service, Service)>) -> impl Strategy<Value = EdgeStep> {
    (prop::sample::select(pairs), prop::collection::vec(number(), 5)).prop_map(|((client, server), numbers)| EdgeStep {
        edge: Edge { client, server },
        requests_per_second: numbers[0],
        errors_per_second: numbers[1],
        connects_per_second: numbers[2],
        connect_failures_per_second: numbers[3],
        latency_seconds: numbers[4],
    })
}

prop_compose! {
    fn score()(
        service in service(),
        tail_probability in prop_oneof![0.0..=1.0f64, Just(1e-9), Just(1e-9), prop::num::f64::ANY],
        provisional in any::<bool>(),
        score in prop_oneof![0.0..=3.0f64, prop::num::f64::ANY],
    ) -> ServiceScore {
        ServiceScore {
            service,
            score,
            tail_probability,
            anomaly_probability: 0.0,
            provisional,
            coverage: 1.0,
            calibration_samples: 0,
            features: Vec::new(),
        }
    }
}

type Tick = (Vec<(Service, Presence)>, Vec<EdgeStep>, Vec<ServiceScore>);

fn ticks(pairs: Vec<(Service, Service)>) -> impl Strategy<Value = Vec<Tick>> {
    let presence = prop_oneof![3 => Just(Presence::Present), 1 => Just(Presence::Vanished), 1 => Just(Presence::Idle), 1 => Just(Presence::Unknown)];
    let tick = (
        prop::collection::vec((service(), presence), 0..8),
        prop::collection::vec(edge(pairs), 0..12),
        prop::collection::vec(score(), 0..8),
    );
    prop::collection::vec(tick, 1..12)
}

/// Two stretches of time on one graph: as many pairs as a service-like graph of a dozen services has, cycles among
/// them. Any pair at any time would soon be a complete graph, where nearly all the time goes into inference.
fn stretches() -> impl Strategy<Value = (Vec<Tick>, Vec<Tick>)> {
    prop::collection::vec((service(), service()), 1..18).prop_flat_map(|pairs| (ticks(pairs.clone()), ticks(pairs)))
}

fn play(incidents: &mut Incidents, ticks: &[Tick], from: i64) -> Vec<Diagnosis> {
    (ticks.iter().zip(from..))
        .map(|((services, edges, scores), at)| {
            let services = (services.iter())
                .map(|(service, presence)| ServiceStep::new(service.clone(), Vec::new(), *presence))
                .collect();
            let step = ClosedStep { end_ms: at * 1000, step_ms: 1000, services, edges: edges.clone() };
            incidents.tick(&step, scores, at * 1000)
        })
        .collect()
}

fn probability(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_steps_give_probabilities_and_replay_to_the_bit((first, second) in stretches()) {
        let mut incidents = Incidents::new(IncidentsConfig::default(), 1000).unwrap();
        let before = play(&mut incidents, &first, 1000);
        let text = serde_json::to_string(&incidents.snapshot()).unwrap();
        let after = play(&mut incidents, &second, 2000);
        for diagnosis in before.iter().chain(&after) {
            for service in &diagnosis.services {
                prop_assert!(service.log_likelihood_ratio.abs() <= 8.0);
                prop_assert!(probability(service.fault_prior) && probability(service.anomaly_probability));
                prop_assert_eq!(service.incident.is_some(), service.root_cause_probability.is_some());
            }
            for incident in &diagnosis.incidents {
                let sum: f64 = incident.no_fault_probability + incident.roots.iter().map(|r| r.1).sum::<f64>();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{}", sum);
                prop_assert!(incident.blast_radius.iter().flat_map(|b| &b.hits).all(|hit| probability(hit.1)));
            }
            prop_assert!(diagnosis.edges.iter().all(|e| probability(e.strength) && probability(e.error_ratio)));
        }
        let mut twin = Incidents::new(IncidentsConfig::default(), 1000).unwrap();
        twin.restore(serde_json::from_str(&text).unwrap()).unwrap();
        // Compared as text: rates that are not numbers are not equal to themselves.
        prop_assert_eq!(format!("{:?}", play(&mut twin, &second, 2000)), format!("{after:?}"));
    }
}
