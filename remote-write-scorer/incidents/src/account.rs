//! The account of an incident: what was seen first, why this cause, what else it could be and what would tell
//! them apart, who is hit next and when, what changed, and what past incidents were like it. As data, and in
//! plain words with the numbers behind them.
//!
//! It is of the incident, not of the tick: what was measured is told as it was at the worst moment, and who was out of
//! the ordinary stays told, so that a fault that is repaired reads as what it was while the incident is still open.
//! Only probabilities are those of the tick.

use quoll_identity::Service;
use serde::{Deserialize, Serialize};

use crate::scene::Scene;

/// Names listed in one sentence, at most.
const LISTED: usize = 4;

/// A service that was odd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sign {
    /// Which service.
    pub service: Service,
    /// Since when, in milliseconds since the epoch.
    pub at_ms: i64,
    /// How strongly: natural logarithm of how much likelier trouble makes what was measured.
    pub evidence: f64,
    /// What was out of the ordinary, in words; empty where only the score says so.
    #[serde(default)]
    pub shown: String,
}

impl Sign {
    /// That of a service at this tick. To three decimals: what is told need not be exact, but must survive being stored
    /// as text.
    pub(crate) fn new(scene: &Scene, number: usize, at_ms: i64) -> Self {
        let evidence = libm::round(scene.evidence[number] * 1000.0) / 1000.0;
        Self { service: scene.services[number].clone(), at_ms, evidence, shown: scene.shown[number].clone() }
    }
}

/// The likeliest cause and what speaks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Which service, or host (namespace `host`).
    pub service: Service,
    /// Posterior probability.
    pub probability: f64,
    /// Its own evidence when it was at its worst; at this tick where it never was out of the ordinary.
    pub evidence: f64,
    /// What was out of the ordinary about it then, in words, where something was.
    #[serde(default)]
    pub shown: String,
    /// When that was, in milliseconds since the epoch, where it was before this tick; the earliest of equally bad moments.
    #[serde(default)]
    pub worst_ms: Option<i64>,
    /// Whether it was out of the ordinary and is not at this tick.
    #[serde(default)]
    pub calm_again: bool,
    /// How many services call it.
    pub callers: usize,
    /// Of these those that were odd during the incident.
    pub odd_callers: usize,
    /// How many services it calls.
    pub callees: usize,
    /// Of these those that were odd during the incident.
    pub odd_callees: Vec<Service>,
}

/// Another possible cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alternative {
    /// Which service.
    pub service: Service,
    /// Posterior probability.
    pub probability: f64,
    /// What would tell it from the likeliest cause.
    pub tell_apart: String,
}

/// A service that is not hit yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// Which service.
    pub service: Service,
    /// Probability that the cause reaches it.
    pub probability: f64,
    /// How many seconds after the cause it suffered in the past, where that is known.
    pub after_seconds: Option<f64>,
}

/// A change of a service concerned, shortly before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeNote {
    /// Which service.
    pub service: Service,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// What.
    pub text: String,
}

/// A past incident that was like this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similar {
    /// Its identifier.
    pub id: String,
    /// When it opened, in milliseconds since the epoch.
    pub opened_ms: i64,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// Its cause, by what users said, else by what was named.
    pub root: Service,
    /// Share of the services hit in either that were hit in both, in [0, 1].
    pub alike: f64,
}

/// The whole account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// What was odd first, in order.
    pub first_seen: Vec<Sign>,
    /// The likeliest cause.
    pub cause: Option<Cause>,
    /// Posterior probability that there is no fault at all.
    pub no_fault_probability: f64,
    /// What else it could be, likeliest first.
    pub alternatives: Vec<Alternative>,
    /// Who suffers from the likeliest cause.
    pub suffering: Vec<Service>,
    /// Who is in reach and not hit yet.
    pub next: Vec<Next>,
    /// What changed shortly before.
    pub changes: Vec<ChangeNote>,
    /// Past incidents like it.
    pub similar: Vec<Similar>,
    /// Whether the figures are exact.
    pub exact: bool,
}

impl Account {
    /// The account in plain sentences.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let mut text = Vec::new();
        if let Some(first) = self.first_seen.first() {
            let then: Vec<String> = (self.first_seen.iter().skip(1).take(LISTED))
                .map(|sign| match (sign.at_ms - first.at_ms) / 1000 {
                    0 => format!("{} at once", sign.service),
                    later => format!("{} {later} s later", sign.service),
                })
                .collect();
            let then = if then.is_empty() { String::new() } else { format!("; then {}", then.join(", ")) };
            let seen = if first.shown.is_empty() { weight_of(first.evidence) } else { first.shown.clone() };
            text.push(format!("First seen: {} at {} UTC: {seen}{then}.", first.service, time_of_day(first.at_ms)));
        }
        if let Some(cause) = &self.cause {
            text.push(why(cause));
        }
        let none = percent(self.no_fault_probability);
        if self.alternatives.is_empty() {
            text.push(format!(
                "No other service is a likely cause, and {none} is left for nothing being wrong at all."
            ));
        } else {
            let others: Vec<String> = self
                .alternatives
                .iter()
                .map(|other| format!("{} ({})", other.service, percent(other.probability)))
                .collect();
            text.push(format!(
                "It could also be {}; {none} is left for nothing being wrong at all.",
                others.join(", ")
            ));
            text.extend(self.alternatives.iter().take(2).map(|other| other.tell_apart.clone()));
        }
        if !self.changes.is_empty() {
            let changes: Vec<String> = (self.changes.iter().take(LISTED))
                .map(|change| format!("{} at {} UTC ({})", change.service, time_of_day(change.at_ms), change.text))
                .collect();
            text.push(format!("Changed shortly before: {}.", changes.join("; ")));
        }
        match self.suffering.as_slice() {
            [] => {}
            [one] => text.push(format!("{one} suffers from it.")),
            many => text.push(format!("{} suffer from it.", list(many))),
        }
        if !self.next.is_empty() {
            let next: Vec<String> = (self.next.iter().take(LISTED))
                .map(|next| match next.after_seconds {
                    Some(seconds) => {
                        format!(
                            "{} ({}, about {seconds:.0} s after the cause)",
                            next.service,
                            percent(next.probability)
                        )
                    }
                    None => format!("{} ({})", next.service, percent(next.probability)),
                })
                .collect();
            text.push(format!("Not hit yet but in reach: {}.", next.join(", ")));
        }
        if let Some(similar) = self.similar.first() {
            let more = match self.similar.len() {
                1 => String::new(),
                more => format!(", and {} more like it", more - 1),
            };
            text.push(format!(
                "Like incident {} of {}, caused by {}, which lasted {}{more}.",
                similar.id,
                date(similar.opened_ms),
                similar.root,
                duration(similar.seconds)
            ));
        }
        if !self.exact {
            text.push("The part of the graph concerned is too entangled for exact figures; these are close.".into());
        }
        text
    }
}

/// Why this cause, from its own evidence and that of its neighbours.
fn why(cause: &Cause) -> String {
    let mut text = format!("{} is the likeliest cause ({}): ", cause.service, percent(cause.probability));
    if crate::resources::is_host(&cause.service) {
        text.push_str(&format!(
            "it is the host of all that suffer; {} of the {} services on it that can be judged {} out of the ordinary.",
            cause.odd_callers,
            cause.callers,
            be(cause.callers, cause.calm_again)
        ));
        return text;
    }
    if let Some(worst_ms) = cause.worst_ms {
        text.push_str(&format!("at its worst, at {} UTC, ", time_of_day(worst_ms)));
    }
    text.push_str(&if cause.evidence.abs() < 0.05 {
        "nothing is measured of itself".to_owned()
    } else if cause.evidence > 0.0 && !cause.shown.is_empty() {
        format!("{}, {}", cause.shown, weight_of(cause.evidence))
    } else if cause.evidence > 0.0 {
        format!("it is out of the ordinary itself, {}", weight_of(cause.evidence))
    } else {
        format!("though what is measured of itself looks normal at this moment, {}", weight_of(cause.evidence))
    });
    let past = cause.calm_again;
    if past {
        text.push_str("; at this moment it looks normal again");
    }
    if cause.callers > 0 {
        text.push_str(&match cause.callers {
            1 if cause.odd_callers == 1 => format!("; the one that calls it {} out of the ordinary too", be(1, past)),
            1 => format!("; the one that calls it {} not out of the ordinary", be(1, past)),
            all => {
                let odd = cause.odd_callers;
                format!("; of the {all} that call it {odd} {} out of the ordinary too", be(odd, past))
            }
        });
    }
    text.push_str(&match cause.odd_callees.as_slice() {
        [] if cause.callees == 0 => "; it calls no other service.".to_owned(),
        [] => format!("; nothing {} wrong with the {} that it calls.", be(1, past), cause.callees),
        odd => format!(", although {}, which it calls, {} out of the ordinary too.", list(odd), be(odd.len(), past)),
    });
    text
}

/// The verb for so many, at this moment or before.
fn be(count: usize, past: bool) -> &'static str {
    match (count, past) {
        (1, false) => "is",
        (_, false) => "are",
        (1, true) => "was",
        (_, true) => "were",
    }
}

/// Evidence in words: a likelihood ratio.
fn weight_of(evidence: f64) -> String {
    let ratio = libm::exp(evidence.abs());
    let ratio = if ratio < 10.0 {
        format!("{ratio:.1}")
    } else if ratio < 100.0 {
        format!("{ratio:.0}")
    } else {
        format!("{:.0}", (ratio / 100.0).round() * 100.0)
    };
    if evidence >= 0.0 {
        format!("{ratio} times likelier in trouble than in normal operation")
    } else {
        format!("{ratio} times likelier in normal operation than in trouble")
    }
}

pub(crate) fn list(services: &[Service]) -> String {
    let names: Vec<String> = services.iter().take(LISTED).map(ToString::to_string).collect();
    let more = services.len().saturating_sub(LISTED);
    if more > 0 {
        return format!("{} and {more} more", names.join(", "));
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.join(", "),
    }
}

fn percent(probability: f64) -> String {
    if probability > 0.995 && probability < 1.0 {
        return "over 99 %".to_owned();
    }
    if probability < 0.005 {
        return "under 1 %".to_owned();
    }
    format!("{:.0} %", 100.0 * probability)
}

/// `HH:MM:SS` of a time since the epoch, UTC.
fn time_of_day(ms: i64) -> String {
    let seconds = ms.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `YYYY-MM-DD HH:MM UTC` (days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn date(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let time = time_of_day(ms);
    format!("{year}-{month:02}-{day:02} {} UTC", &time[..5])
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> Service {
        Service::new(None, name).unwrap()
    }

    #[test]
    fn times_shares_and_weights_read_well() {
        assert_eq!(time_of_day(86_400_000 + 3_723_999), "01:02:03");
        assert_eq!(date(1_767_225_600_000 + 3_600_000), "2026-01-01 01:00 UTC");
        assert_eq!(date(1_709_164_800_000), "2024-02-29 00:00 UTC");
        assert_eq!(
            (percent(0.999), percent(0.42), percent(1e-9)),
            ("over 99 %".into(), "42 %".into(), "under 1 %".into())
        );
        assert_eq!(weight_of(6.0), "400 times likelier in trouble than in normal operation");
        assert_eq!(weight_of(-1.0), "2.7 times likelier in normal operation than in trouble");
        assert_eq!(
            (duration(30.0), duration(600.0), duration(9000.0)),
            ("30 s".into(), "10 min".into(), "2.5 h".into())
        );
    }

    #[test]
    fn a_cause_that_is_calm_again_is_told_as_it_was() {
        let mut cause = Cause {
            service: service("db"),
            probability: 0.6,
            evidence: 6.0,
            shown: "its request latency as callers see it is 312 ms, usually 10 ms".into(),
            worst_ms: Some(3_605_000),
            calm_again: true,
            callers: 2,
            odd_callers: 2,
            callees: 1,
            odd_callees: Vec::new(),
        };
        assert_eq!(
            why(&cause),
            "db is the likeliest cause (60 %): at its worst, at 01:00:05 UTC, its request latency as callers see it is \
             312 ms, usually 10 ms, 400 times likelier in trouble than in normal operation; at this moment it looks normal \
             again; of the 2 that call it 2 were out of the ordinary too; nothing was wrong with the 1 that it calls."
        );
        (cause.worst_ms, cause.calm_again, cause.callers, cause.odd_callers) = (None, false, 1, 0);
        assert_eq!(
            why(&cause),
            "db is the likeliest cause (60 %): its request latency as callers see it is 312 ms, usually 10 ms, 400 times \
             likelier in trouble than in normal operation; the one that calls it is not out of the ordinary; nothing is \
             wrong with the 1 that it calls."
        );
    }

    #[test]
    fn an_account_reads_as_sentences() {
        let account = Account {
            first_seen: vec![
                Sign { service: service("db"), at_ms: 3_600_000, evidence: 7.0, shown: String::new() },
                Sign { service: service("web"), at_ms: 3_603_000, evidence: 3.0, shown: String::new() },
            ],
            cause: Some(Cause {
                service: service("db"),
                probability: 0.97,
                evidence: 8.0,
                shown: "45 % of the requests to it fail".into(),
                worst_ms: Some(3_605_000),
                calm_again: false,
                callers: 2,
                odd_callers: 1,
                callees: 0,
                odd_callees: Vec::new(),
            }),
            no_fault_probability: 0.001,
            next: vec![Next { service: service("shop"), probability: 0.6, after_seconds: Some(12.0) }],
            changes: vec![ChangeNote { service: service("db"), at_ms: 3_540_000, text: "image a:1 -> a:2".into() }],
            similar: vec![Similar { id: "1-a".into(), opened_ms: 0, seconds: 300.0, root: service("db"), alike: 1.0 }],
            exact: true,
            ..Account::default()
        };
        assert_eq!(
            account.sentences(),
            [
                "First seen: db at 01:00:00 UTC: 1100 times likelier in trouble than in normal operation; then web 3 s later.",
                "db is the likeliest cause (97 %): at its worst, at 01:00:05 UTC, 45 % of the requests to it fail, 3000 \
                 times likelier in trouble than in normal operation; of the 2 that call it 1 is out of the ordinary too; it \
                 calls no other service.",
                "No other service is a likely cause, and under 1 % is left for nothing being wrong at all.",
                "Changed shortly before: db at 00:59:00 UTC (image a:1 -> a:2).",
                "Not hit yet but in reach: shop (60 %, about 12 s after the cause).",
                "Like incident 1-a of 1970-01-01 00:00 UTC, caused by db, which lasted 5 min.",
            ]
        );
    }
}
