//! An incident in plain sentences, with the numbers behind them.

use quoll_identity::Service;

use crate::diagnosis::BlastRadius;
use crate::scene::Scene;
use crate::track::Track;

/// Names listed in one sentence, at most.
const LISTED: usize = 4;

/// What the sentences are about.
pub(crate) struct Facts<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) track: &'a Track,
    pub(crate) no_fault: f64,
    /// Causes, likeliest first.
    pub(crate) roots: &'a [(Service, f64)],
    pub(crate) symptoms: &'a [Service],
    pub(crate) blast: &'a [BlastRadius],
    /// Evidence above which a service counts as anomalous.
    pub(crate) anomalous_above: f64,
    pub(crate) exact: bool,
}

/// First seen, why this cause, what else, who suffers, who is next.
pub(crate) fn explain(facts: &Facts<'_>) -> Vec<String> {
    let Facts { scene, track, .. } = facts;
    let mut sentences = vec![format!(
        "{} was anomalous first, at {} UTC, with evidence {:+.1} (natural logarithm of the odds against normal).",
        track.first,
        time_of_day(track.first_ms),
        track.first_evidence
    )];
    if let Some((root, probability)) = facts.roots.first() {
        sentences.push(why(facts, root, *probability));
        let others: Vec<String> = (facts.roots.iter().skip(1).filter(|(_, p)| *p >= 0.005).take(LISTED))
            .map(|(service, p)| format!("{service} {}", percent(*p)))
            .collect();
        let none = percent(facts.no_fault);
        sentences.push(if others.is_empty() {
            format!("No other service is a likely cause; that there is no fault at all has {none}.")
        } else {
            format!("It could also be {}; that there is no fault at all has {none}.", others.join(", "))
        });
        if !facts.symptoms.is_empty() {
            sentences.push(format!("{} suffer from it.", list(facts.symptoms)));
        }
        if let Some(blast) = facts.blast.iter().find(|blast| blast.root == *root) {
            let next: Vec<String> = (blast.hits.iter())
                .filter(|(service, p)| {
                    let evidence = scene.find(service).map_or(0.0, |s| scene.evidence[s]);
                    *p >= 0.2 && evidence <= facts.anomalous_above
                })
                .take(LISTED)
                .map(|(service, p)| format!("{service} ({})", percent(*p)))
                .collect();
            if !next.is_empty() {
                sentences.push(format!("Not hit yet but in reach: {}.", next.join(", ")));
            }
        }
    }
    if !facts.exact {
        sentences.push(
            "The part of the graph concerned is too entangled for exact figures; weak edges were left out.".into(),
        );
    }
    sentences
}

/// Why `root`, from its own evidence and that of its neighbours.
fn why(facts: &Facts<'_>, root: &Service, probability: f64) -> String {
    let scene = facts.scene;
    let Some(at) = scene.find(root) else {
        return format!("{root} is the likeliest cause ({}).", percent(probability));
    };
    let own = scene.evidence[at];
    let mut text = format!("{root} is the likeliest cause ({}): ", percent(probability));
    text.push_str(&if own > facts.anomalous_above {
        format!("it is anomalous itself (evidence {own:+.1})")
    } else if own.abs() < 0.05 {
        "there is no evidence about itself".to_owned()
    } else {
        format!("its own evidence is {own:+.1}")
    });
    let callers: Vec<f64> = scene.callers[at].iter().map(|&(s, _)| scene.evidence[s]).collect();
    if !callers.is_empty() {
        let hit = callers.iter().filter(|e| **e > facts.anomalous_above).count();
        text.push_str(&format!(", {hit} of its {} callers too", callers.len()));
    }
    let callees: Vec<&Service> = (scene.callees[at].iter())
        .filter(|(s, _)| scene.evidence[*s] > facts.anomalous_above)
        .map(|(s, _)| &scene.services[*s])
        .collect();
    if scene.callees[at].is_empty() {
        text.push_str(", and it calls no other service.");
    } else if callees.is_empty() {
        text.push_str(", and nothing that it calls is anomalous.");
    } else {
        let names: Vec<Service> = callees.into_iter().cloned().collect();
        text.push_str(&format!(", although {} that it calls is anomalous too.", list(&names)));
    }
    text
}

fn list(services: &[Service]) -> String {
    let names: Vec<String> = services.iter().take(LISTED).map(ToString::to_string).collect();
    let more = services.len().saturating_sub(LISTED);
    if more > 0 { format!("{} and {more} more", names.join(", ")) } else { names.join(", ") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_shares_read_well() {
        assert_eq!(time_of_day(86_400_000 + 3_723_999), "01:02:03");
        assert_eq!(
            (percent(0.999), percent(0.42), percent(1e-9)),
            ("over 99 %".into(), "42 %".into(), "under 1 %".into())
        );
    }
}
