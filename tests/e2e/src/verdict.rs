//! What a run says about one fault, judged at the notification.
//!
//! The first notification of a cause after the injection is the one that counts: a later, better one
//! does not mend it. Times are from the injection to when *we* saw it, so scrape, remote write, step,
//! inference, rule evaluation, Alertmanager's waiting and our own polling are in them.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::clients::{Fault, Graph};
use crate::webhook::{Alert, Notification, Status};

/// Name of the alert that names a cause.
pub const CAUSE: &str = "QuollRootCause";
/// Name of the alert of a service that suffers.
pub const SYMPTOM: &str = "QuollServiceAnomalous";

/// Probability above which the scorer is held to have made up its mind (the alert rule's threshold).
pub const CERTAIN: f64 = 0.5;
/// Evidence, as a natural log likelihood ratio, that counts like a score above 1: 20 to 1. A service
/// that is gone has no score of its own; its callers' evidence about it is what there is.
const STRONG_EVIDENCE: f64 = 3.0;

/// A cause, as a notification names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// The incident's id.
    pub incident: String,
    /// The service's namespace.
    pub namespace: Option<String>,
    /// The service.
    pub service: String,
    /// Probability in [0, 1]; 0 where the notification has none.
    pub probability: f64,
    /// The likeliest services with their probabilities, the likeliest first.
    pub suspects: Vec<(String, f64)>,
}

impl Cause {
    fn of(alert: &Alert) -> Option<Self> {
        if alert.status != Status::Firing || alert.label("alertname") != CAUSE {
            return None;
        }
        let annotation = |name: &str| alert.annotations.get(name).map_or("", String::as_str);
        let suspects = annotation("suspects").split(", ").filter_map(|suspect| {
            let (name, probability) = suspect.rsplit_once('=')?;
            Some((name.trim().to_owned(), probability.trim().parse().ok()?))
        });
        Some(Self {
            incident: alert.label("incident").to_owned(),
            namespace: alert.labels.get("service_namespace").cloned(),
            service: alert.label("service_name").to_owned(),
            probability: annotation("probability").parse().unwrap_or(0.0),
            suspects: suspects.collect(),
        })
    }

    /// The causes that a notification names.
    pub fn all(notification: &Notification) -> Vec<Self> {
        notification.alerts.iter().filter_map(Self::of).collect()
    }

    /// Rank of `service` among the suspects, 1 for the first; the named one is the first in any case.
    pub fn rank_of(&self, service: &str) -> Option<usize> {
        if self.service == service {
            return Some(1);
        }
        self.suspects.iter().position(|(name, _)| name == service).map(|index| (index + 1).max(2))
    }
}

/// What became of one fault.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was injected.
    pub fault: Fault,
    /// The namespace of its service.
    pub namespace: Option<String>,
    /// Until the broken service's own score passed 1, or evidence about it was strong.
    pub seconds_to_score: Option<f64>,
    /// Until it was ranked first with a probability above one half.
    pub seconds_to_diagnosis: Option<f64>,
    /// Until the first notification of a cause, right or wrong.
    pub seconds_to_notification: Option<f64>,
    /// What that notification named.
    pub named: Option<Cause>,
}

impl Outcome {
    /// Whether the notification named the true root first with a probability above one half.
    pub fn top1(&self) -> bool {
        self.named.as_ref().is_some_and(|cause| {
            cause.service == self.fault.service && cause.namespace == self.namespace && cause.probability > CERTAIN
        })
    }

    /// Whether the true root was among the notification's first three.
    pub fn top3(&self) -> bool {
        self.named.as_ref().and_then(|cause| cause.rank_of(&self.fault.service)).is_some_and(|rank| rank <= 3)
    }

    /// One line of what is wrong, `None` of a success.
    pub fn failure(&self) -> Option<String> {
        let Fault { service, kind, .. } = &self.fault;
        match &self.named {
            None => Some(format!("no notification named a cause of {service}:{kind}")),
            Some(_) if self.top1() => None,
            Some(cause) => Some(format!(
                "the notification named {} ({:.2}) as the cause of {service}:{kind}; suspects: {}",
                cause.service,
                cause.probability,
                cause.suspects.iter().map(|(name, p)| format!("{name} {p:.2}")).collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

/// How much was notified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Notifications with a firing cause or symptom.
    pub notifications: usize,
    /// Incidents that they spoke of.
    pub incidents: BTreeSet<String>,
}

impl Tally {
    /// Over all of `notifications`.
    pub fn of(notifications: &[Notification]) -> Self {
        let mut tally = Self::default();
        for notification in notifications {
            let firing = notification
                .alerts
                .iter()
                .filter(|alert| alert.status == Status::Firing && [CAUSE, SYMPTOM].contains(&alert.label("alertname")));
            let incidents: BTreeSet<String> = firing.map(|alert| alert.label("incident").to_owned()).collect();
            tally.notifications += usize::from(!incidents.is_empty());
            tally.incidents.extend(incidents);
        }
        tally
    }
}

/// Collects what is seen after an injection.
#[derive(Debug)]
pub struct Watch {
    injected: Instant,
    outcome: Outcome,
}

impl Watch {
    /// `fault` was injected at `injected`, into a service of that namespace.
    pub fn new(fault: Fault, namespace: Option<&str>, injected: Instant) -> Self {
        let outcome = Outcome {
            fault,
            namespace: namespace.map(str::to_owned),
            seconds_to_score: None,
            seconds_to_diagnosis: None,
            seconds_to_notification: None,
            named: None,
        };
        Self { injected, outcome }
    }

    /// The scorer's graph, as read at `now`.
    pub fn see_graph(&mut self, graph: &Graph, now: Instant) {
        let seconds = now.duration_since(self.injected).as_secs_f64();
        let (namespace, root) = (self.outcome.namespace.as_deref(), self.outcome.fault.service.as_str());
        if self.outcome.seconds_to_score.is_none()
            && graph.service(namespace, root).is_some_and(|service| {
                service.score.is_some_and(|score| score > 1.0)
                    || service.log_likelihood_ratio.is_some_and(|ratio| ratio > STRONG_EVIDENCE)
            })
        {
            self.outcome.seconds_to_score = Some(seconds);
        }
        let first = |incident: &crate::clients::Incident| {
            incident.roots.first().is_some_and(|first| {
                first.name == root && first.namespace.as_deref() == namespace && first.probability > CERTAIN
            })
        };
        if self.outcome.seconds_to_diagnosis.is_none() && graph.incidents.iter().any(first) {
            self.outcome.seconds_to_diagnosis = Some(seconds);
        }
    }

    /// A notification. One from before the injection is not about it.
    pub fn see_notification(&mut self, notification: &Notification) {
        let Some(after) = notification.received.checked_duration_since(self.injected) else { return };
        if self.outcome.named.is_none()
            && let Some(cause) = Cause::all(notification).into_iter().next()
        {
            self.outcome.seconds_to_notification = Some(after.as_secs_f64());
            self.outcome.named = Some(cause);
        }
    }

    /// Whether a cause was named.
    pub fn notified(&self) -> bool {
        self.outcome.named.is_some()
    }

    /// What has been seen so far.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What was seen.
    pub fn finish(self) -> Outcome {
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn alert(name: &str, status: Status, service: &str, annotations: &[(&str, &str)]) -> Alert {
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Alert {
            status,
            labels: own(&[("alertname", name), ("service_name", service), ("incident", "7")]),
            annotations: own(annotations),
        }
    }

    fn notification(received: Instant, alerts: Vec<Alert>) -> Notification {
        Notification { received, alerts }
    }

    fn watch(root: &str) -> (Watch, Instant) {
        let injected = Instant::now();
        let fault = Fault { service: root.to_owned(), kind: "latency".to_owned(), seconds: 60.0, severity: None };
        (Watch::new(fault, None, injected), injected)
    }

    const CART_93: &[(&str, &str)] =
        &[("probability", "0.9300"), ("suspects", "cart=0.9300, orders=0.0400, web=0.0100")];

    #[test]
    fn the_first_notification_counts_and_a_later_one_does_not_mend_it() {
        let (mut watch, t0) = watch("orders");
        let at = |s| t0 + Duration::from_secs(s);
        watch.see_notification(&notification(at(9), vec![alert(CAUSE, Status::Firing, "cart", CART_93)]));
        let right = &[("probability", "0.99"), ("suspects", "orders=0.99")];
        watch.see_notification(&notification(at(19), vec![alert(CAUSE, Status::Firing, "orders", right)]));
        let outcome = watch.finish();
        assert_eq!(outcome.seconds_to_notification, Some(9.0));
        assert!(!outcome.top1() && outcome.top3());
        assert!(outcome.failure().unwrap().contains("named cart (0.93) as the cause of orders:latency"));
    }

    #[test]
    fn the_true_root_above_one_half_is_a_success_and_below_is_not() {
        for (probability, success) in [("0.51", true), ("0.5", false), ("nonsense", false)] {
            let (mut watch, t0) = watch("cart");
            let annotations = [("probability", probability)];
            watch.see_notification(&notification(t0, vec![alert(CAUSE, Status::Firing, "cart", &annotations)]));
            let outcome = watch.finish();
            assert_eq!((outcome.top1(), outcome.failure().is_none()), (success, success), "{probability}");
            assert!(outcome.top3());
        }
    }

    #[test]
    fn a_namesake_in_another_namespace_is_not_the_root() {
        let injected = Instant::now();
        let fault = Fault { service: "cart".to_owned(), kind: "crash".to_owned(), seconds: 60.0, severity: None };
        for (namespace, success) in [(None, true), (Some("shop"), false)] {
            let mut watch = Watch::new(fault.clone(), namespace, injected);
            watch.see_notification(&notification(injected, vec![alert(CAUSE, Status::Firing, "cart", CART_93)]));
            let json = r#"{"services":[{"name":"cart","score":2.0}],
                "incidents":[{"id":"7","roots":[{"name":"cart","probability":0.8}]}]}"#;
            watch.see_graph(&serde_json::from_str(json).unwrap(), injected);
            let outcome = watch.finish();
            assert_eq!(outcome.top1(), success);
            assert_eq!(
                (outcome.seconds_to_score.is_some(), outcome.seconds_to_diagnosis.is_some()),
                (success, success)
            );
        }
    }

    #[test]
    fn resolved_alerts_symptoms_and_older_notifications_name_no_cause() {
        let (mut watch, t0) = watch("cart");
        let Some(before) = t0.checked_sub(Duration::from_secs(1)) else { return };
        watch.see_notification(&notification(before, vec![alert(CAUSE, Status::Firing, "cart", CART_93)]));
        watch.see_notification(&notification(t0, vec![alert(CAUSE, Status::Resolved, "cart", CART_93)]));
        watch.see_notification(&notification(t0, vec![alert("QuollTargetDown", Status::Firing, "", &[])]));
        watch.see_notification(&notification(t0, vec![alert(SYMPTOM, Status::Firing, "web", &[])]));
        assert!(!watch.notified());
        assert!(watch.finish().failure().unwrap().contains("no notification"));
    }

    #[test]
    fn notifications_are_counted_once_each_and_only_those_of_incidents_that_stand() {
        let t0 = Instant::now();
        let pair = vec![alert(CAUSE, Status::Firing, "cart", &[]), alert(SYMPTOM, Status::Firing, "web", &[])];
        let tally = Tally::of(&[
            notification(t0, pair),
            notification(t0, vec![alert(CAUSE, Status::Resolved, "cart", &[])]),
            notification(t0, vec![alert("QuollTargetDown", Status::Firing, "", &[])]),
            notification(t0, vec![alert(SYMPTOM, Status::Firing, "web", &[])]),
        ]);
        assert_eq!((tally.notifications, tally.incidents.len()), (2, 1));
    }

    #[test]
    fn score_and_diagnosis_are_timed_at_their_first_sight() {
        let (mut watch, t0) = watch("cart");
        let graph = |json: &str| serde_json::from_str::<Graph>(json).unwrap();
        let quiet = graph(r#"{"services":[{"name":"cart","score":0.4,"log_likelihood_ratio":0.1}]}"#);
        let gone = graph(r#"{"services":[{"name":"cart","score":null,"log_likelihood_ratio":5.0}]}"#);
        let known = graph(r#"{"services":[],"incidents":[{"id":"7","roots":[{"name":"cart","probability":0.8}]}]}"#);
        for (seconds, seen) in [(1, &quiet), (2, &gone), (3, &known), (4, &known)] {
            watch.see_graph(seen, t0 + Duration::from_secs(seconds));
        }
        let outcome = watch.finish();
        assert_eq!((outcome.seconds_to_score, outcome.seconds_to_diagnosis), (Some(2.0), Some(3.0)));
    }
}
