//! A campaign's figures, in the contract of the benches.

use std::collections::BTreeSet;

use serde_json::json;

use crate::drive::Healthy;
use crate::statistics::{poisson_upper95, quantile};
use crate::verdict::Outcome;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Healthy time, and what was notified in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposure {
    /// Services watched.
    pub services: usize,
    /// Healthy seconds.
    pub seconds: u64,
    /// Incidents notified in them.
    pub false_alarms: BTreeSet<String>,
}

impl Exposure {
    /// Adds a healthy stretch.
    pub fn add(&mut self, seconds: u64, healthy: &Healthy) {
        self.seconds += seconds;
        self.false_alarms.extend(healthy.notified.iter().cloned());
    }

    /// Services times days.
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn service_days(&self) -> f64 {
        self.services as f64 * self.seconds as f64 / SECONDS_PER_DAY
    }

    /// Upper bounds from fewer healthy service-days say nothing about a budget of 0.1 per service-day.
    const ESTABLISHED_SERVICE_DAYS: f64 = 30.0;
}

/// One campaign.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Faults, in order.
    pub outcomes: Vec<Outcome>,
    /// Healthy time.
    pub exposure: Exposure,
    /// Notifications with a firing cause or symptom while something was broken.
    pub notifications: usize,
    /// Incidents they spoke of.
    pub notified_incidents: usize,
    /// Readable lines beside the figures.
    pub details: Vec<String>,
}

#[allow(clippy::cast_precision_loss, reason = "counts of faults")]
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl Report {
    /// Share of faults whose notification named the true root first.
    pub fn top1_share(&self) -> f64 {
        share(self.outcomes.iter().filter(|outcome| outcome.top1()).count(), self.outcomes.len())
    }

    fn top3_share(&self) -> f64 {
        share(self.outcomes.iter().filter(|outcome| outcome.top3()).count(), self.outcomes.len())
    }

    fn missed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.named.is_none()).count()
    }

    /// Quantile of a time; a miss counts as the fault's length.
    fn seconds(&self, of: impl Fn(&Outcome) -> Option<f64>, q: f64) -> Option<f64> {
        let all: Vec<f64> = self.outcomes.iter().map(|outcome| of(outcome).unwrap_or(outcome.fault.seconds)).collect();
        quantile(&all, q)
    }

    /// Readable lines.
    pub fn lines(&self) -> Vec<String> {
        let time = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.1}"));
        let mut lines =
            vec![format!("{:<34} {:>8} {:>10} {:>12}  {}", "fault", "to score", "diagnosis", "notification", "named")];
        for outcome in &self.outcomes {
            let named = outcome.named.as_ref().map_or("nobody".to_owned(), |cause| {
                format!("{} {:.2}{}", cause.service, cause.probability, if outcome.top1() { "" } else { " (wrong)" })
            });
            lines.push(format!(
                "{:<34} {:>8} {:>10} {:>12}  {named}",
                format!("{}:{}", outcome.fault.service, outcome.fault.kind),
                time(outcome.seconds_to_score),
                time(outcome.seconds_to_diagnosis),
                time(outcome.seconds_to_notification)
            ));
        }
        let days = self.exposure.service_days();
        let established = days >= Exposure::ESTABLISHED_SERVICE_DAYS;
        lines.push(format!(
            "{} false alarms in {days:.3} healthy service-days{}",
            self.exposure.false_alarms.len(),
            if established { "" } else { ": whether the alert budget is kept is not established" }
        ));
        lines.extend(self.details.iter().cloned());
        lines
    }

    /// The last line.
    pub fn json(&self) -> String {
        let false_alarms = u32::try_from(self.exposure.false_alarms.len()).unwrap_or(u32::MAX);
        json!({"bench": "campaign", "figures": {
            "faults": self.outcomes.len(),
            "seconds_to_score_median": self.seconds(|o| o.seconds_to_score, 0.5),
            "seconds_to_score_p90": self.seconds(|o| o.seconds_to_score, 0.9),
            "seconds_to_diagnosis_median": self.seconds(|o| o.seconds_to_diagnosis, 0.5),
            "seconds_to_diagnosis_p90": self.seconds(|o| o.seconds_to_diagnosis, 0.9),
            "seconds_to_notification_median": self.seconds(|o| o.seconds_to_notification, 0.5),
            "seconds_to_notification_p90": self.seconds(|o| o.seconds_to_notification, 0.9),
            "missed": self.missed(),
            "top1": self.top1_share(),
            "top3": self.top3_share(),
            "service_days": self.exposure.service_days(),
            "false_alarms": false_alarms,
            "false_alarms_upper95": poisson_upper95(false_alarms),
            "notifications_per_incident": share(self.notifications, self.notified_incidents),
        }})
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Fault;
    use crate::verdict::Cause;

    fn outcome(service: &str, seconds_to_notification: Option<f64>, named: Option<&str>) -> Outcome {
        Outcome {
            fault: Fault { service: service.to_owned(), kind: "latency".to_owned(), seconds: 60.0, severity: None },
            namespace: None,
            seconds_to_score: Some(2.0),
            seconds_to_diagnosis: None,
            seconds_to_notification,
            named: named.map(|named| Cause {
                incident: "7".to_owned(),
                namespace: None,
                service: named.to_owned(),
                probability: 0.9,
                suspects: vec![(named.to_owned(), 0.9), (service.to_owned(), 0.05)],
            }),
        }
    }

    #[test]
    fn a_miss_counts_with_the_faults_length_and_a_wrong_name_is_no_miss() {
        let healthy = Healthy { notified: BTreeSet::from(["1".to_owned()]), ..Healthy::default() };
        let mut exposure = Exposure { services: 10, ..Exposure::default() };
        exposure.add(8_640, &healthy);
        let report = Report {
            outcomes: vec![
                outcome("a", Some(10.0), Some("a")),
                outcome("b", Some(20.0), Some("x")),
                outcome("c", None, None),
            ],
            exposure,
            notifications: 3,
            notified_incidents: 2,
            details: Vec::new(),
        };
        let line: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(line["bench"], "campaign");
        let figures = &line["figures"];
        assert_eq!(
            (&figures["faults"], &figures["missed"], &figures["false_alarms"]),
            (&json!(3), &json!(1), &json!(1))
        );
        assert_eq!(figures["seconds_to_notification_median"], 20.0);
        assert_eq!(figures["seconds_to_diagnosis_median"], 60.0);
        assert!((figures["top1"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
        assert!((figures["top3"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(figures["service_days"], 1.0);
        assert_eq!(figures["notifications_per_incident"], 1.5);
        assert!(report.lines().iter().any(|line| line.contains("not established")));
    }
}
