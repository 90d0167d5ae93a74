//! What is out of the ordinary about a service, in a few words with numbers: what its users would notice.

use quoll_detect::{Basis, ServiceScore};
use quoll_features::{EdgeStep, FeatureSet, FeatureSpec, Presence, Role};

/// Names and units of the features that scores are made of, in the order of the set; traffic has no name.
#[derive(Debug, Clone, Default)]
pub(crate) struct FeatureNames(Vec<(String, String)>);

impl FeatureNames {
    pub(crate) fn of(set: &FeatureSet) -> Self {
        let name = |feature: &FeatureSpec| match feature.role {
            Role::Symptom => readable(&feature.name, &feature.unit),
            Role::Traffic => String::new(),
        };
        Self(set.features.iter().map(|feature| (name(feature), feature.unit.to_string())).collect())
    }
}

/// What all callers of one service saw in a step.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    requests: f64,
    errors: f64,
    connects: f64,
    failures: f64,
}

impl Calls {
    pub(crate) fn add(&mut self, step: &EdgeStep) {
        let number = |value: f64| if value.is_finite() { value.max(0.0) } else { 0.0 };
        self.requests += number(step.requests_per_second);
        self.errors += number(step.errors_per_second);
        self.connects += number(step.connects_per_second);
        self.failures += number(step.connect_failures_per_second);
    }
}

/// The plainest thing there is to say: that it is gone, that calls fail, else the feature that stands out most. Empty
/// where nothing of this is known.
pub(crate) fn shown(
    presence: Option<Presence>,
    calls: Calls,
    facts: (f64, f64),
    score: Option<&ServiceScore>,
    names: &FeatureNames,
) -> String {
    if presence == Some(Presence::Vanished) {
        return "it is gone while its callers still try".to_owned();
    }
    let (errors, connects) = facts;
    if connects > 0.0 && connects >= errors && calls.failures > 0.0 {
        return format!("{} of the connects to it fail", share(calls.failures, calls.connects));
    }
    if errors > 0.0 && calls.errors > 0.0 {
        return format!("{} of the requests to it fail", share(calls.errors, calls.requests));
    }
    let parts = score.map_or(&[][..], |score| &score.features);
    // Of what is a symptom; that callers call more or less is none.
    let symptom = |feature: usize| names.0.get(feature).is_some_and(|(name, _)| !name.is_empty());
    let told = parts.iter().filter(|part| part.value.is_finite() && symptom(part.feature));
    let most = told.max_by(|a, b| a.score.total_cmp(&b.score));
    let Some((part, (name, unit))) = most.and_then(|part| Some((part, names.0.get(part.feature)?))) else {
        return String::new();
    };
    let value = amount(part.value, unit);
    if part.expected.is_finite() {
        format!("{name} is {value}, {}", expectation(&amount(part.expected, unit), part.basis))
    } else {
        format!("{name} is {value}")
    }
}

/// An amount that was expected, and why.
fn expectation(amount: &str, basis: Basis) -> String {
    match basis {
        Basis::LastSteps => format!("where {amount} would follow from what went before"),
        Basis::NormalPattern => format!("where {amount} would be normal after what went before"),
        Basis::UsualLevel => format!("usually {amount}"),
        Basis::HourOfDay => format!("usually {amount} at this hour"),
        Basis::OtherFeatures => format!("where {amount} would go with its other metrics"),
    }
}

fn share(part: f64, whole: f64) -> String {
    let percent = if whole > 0.0 { (100.0 * part / whole).min(100.0) } else { 100.0 };
    if percent < 1.0 { "under 1 %".to_owned() } else { format!("{percent:.0} %") }
}

/// `caller_request_latency_seconds` as `its request latency as callers see it`.
fn readable(name: &str, unit: &str) -> String {
    let plain = name.strip_suffix(unit).unwrap_or(name).trim_end_matches('_');
    let (plain, seen) = match plain.strip_prefix("caller_") {
        Some(plain) => (plain, " as callers see it"),
        None => (plain, ""),
    };
    format!("its {}{seen}", plain.replace('_', " "))
}

/// A value with its unit, at a size that reads well.
fn amount(value: f64, unit: &str) -> String {
    match unit {
        "seconds" if value.abs() < 1.0 => format!("{} ms", number(1000.0 * value)),
        "seconds" => format!("{} s", number(value)),
        "ratio" => format!("{} %", number(100.0 * value)),
        "bytes" => format!("{} MiB", number(value / f64::from(1 << 20))),
        other => format!("{} {other}", number(value)),
    }
}

/// Three significant digits at most, and none after the point from ten on.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 10.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 1.0 {
        format!("{value:.1}")
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else {
        "under 0.01".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use quoll_detect::FeatureScore;
    use quoll_identity::Service;

    use super::*;

    fn names() -> FeatureNames {
        FeatureNames::of(&FeatureSet::preset("quoll").unwrap())
    }

    #[test]
    fn names_and_amounts_read_well() {
        assert_eq!(readable("caller_request_latency_seconds", "seconds"), "its request latency as callers see it");
        assert_eq!(readable("cpu_cores", "cores"), "its cpu");
        assert_eq!((amount(0.3124, "seconds"), amount(2.0, "seconds")), ("312 ms".to_owned(), "2.0 s".to_owned()));
        assert_eq!((amount(0.4, "ratio"), amount(1e8, "bytes")), ("40 %".to_owned(), "95 MiB".to_owned()));
        assert_eq!(amount(0.25, "cores"), "0.25 cores");
    }

    #[test]
    fn what_is_plainest_is_said_first() {
        let calls = Calls { requests: 20.0, errors: 9.0, connects: 4.0, failures: 2.0 };
        let say = |presence, facts, score: Option<&ServiceScore>| shown(presence, calls, facts, score, &names());
        assert_eq!(say(Some(Presence::Vanished), (0.0, 0.0), None), "it is gone while its callers still try");
        assert_eq!(say(None, (3.0, 5.0), None), "50 % of the connects to it fail");
        assert_eq!(say(None, (3.0, 0.0), None), "45 % of the requests to it fail");
        assert_eq!(say(None, (0.0, 0.0), None), "");
        let at = |name: &str| {
            let set = FeatureSet::preset("quoll").unwrap();
            set.features.iter().position(|feature| *feature.name == *name).unwrap()
        };
        let part = |name, score, value| FeatureScore {
            feature: at(name),
            score,
            value,
            expected: 0.01,
            basis: Basis::UsualLevel,
        };
        let mut score = ServiceScore {
            service: Service::new(None, "a").unwrap(),
            score: 2.0,
            tail_probability: 1e-6,
            anomaly_probability: 1.0,
            provisional: false,
            coverage: 1.0,
            calibration_samples: 1,
            features: vec![part("cpu_cores", 0.5, 0.1), part("caller_request_latency_seconds", 4.0, 0.25)],
        };
        let text = say(None, (0.0, 0.0), Some(&score));
        assert_eq!(text, "its request latency as callers see it is 250 ms, usually 10 ms");
        for (basis, why) in [
            (Basis::HourOfDay, "usually 10 ms at this hour"),
            (Basis::LastSteps, "where 10 ms would follow from what went before"),
            (Basis::NormalPattern, "where 10 ms would be normal after what went before"),
            (Basis::OtherFeatures, "where 10 ms would go with its other metrics"),
        ] {
            score.features[1].basis = basis;
            let text = say(None, (0.0, 0.0), Some(&score));
            assert_eq!(text, format!("its request latency as callers see it is 250 ms, {why}"));
        }
        score.features[1].expected = f64::NAN;
        let text = say(None, (0.0, 0.0), Some(&score));
        assert_eq!(text, "its request latency as callers see it is 250 ms");
    }
}
