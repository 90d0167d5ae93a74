//! `cargo xtask bench rca --dataset DIR`: which service was the cause, on labelled incidents in PetShop's
//! directory form.
//!
//! Every incident starts from fresh state (normal operation and nothing else), goes through the live
//! evidence and network, and is read at the step at which "no fault" was least likely. Quiet windows are
//! pieces of normal operation, calibrated on the other half of it. Ties share their places. Nothing is
//! learned from labels.
//!
//! `quiet_false_alarm_rate` reads quiet windows in the same way, at their worst single step. What a user would be told
//! goes through the hysteresis of incidents as well, in quiet windows and in incidents alike: `quiet_opened_rate`,
//! `incident_opened_rate`, and, of those that opened, how often the true cause was named at that moment (`opened_top1`).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

#[path = "../rca/mod.rs"]
mod rca;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use quoll_bench::Report;
use rca::dataset::{Columns, Scenario, Table, load};
use rca::ranking::{brier, within};
use rca::replay::{Replay, Verdict, Without};
use rca::{peers, plot};

#[derive(Parser)]
struct Args {
    /// Directory in PetShop's form
    #[arg(long)]
    dataset: PathBuf,
    /// Also without aliases, dynamics, change prior and just-before, one at a time
    #[arg(long)]
    ablations: bool,
    /// One line per incident
    #[arg(long)]
    verbose: bool,
    /// Write a reliability plot (SVG) to this file
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// One judged window.
struct Judged {
    /// Place of the true cause, `None` for a quiet window.
    truth: Option<usize>,
    verdict: Verdict,
    /// The cause that was named when an incident opened, if one did.
    named: Option<usize>,
    traversal: Vec<f64>,
    pagerank: Vec<f64>,
    max_score: Vec<f64>,
}

/// The step at which "no fault" was least likely.
fn read(verdicts: Vec<Verdict>) -> Option<Verdict> {
    verdicts.into_iter().min_by(|a, b| a.no_fault.total_cmp(&b.no_fault))
}

fn part(table: &Table, from: usize, to: usize) -> Table {
    let columns = |c: &Columns| Columns {
        latency: c.latency[from..to].to_vec(),
        requests: c.requests[from..to].to_vec(),
        availability: c.availability[from..to].to_vec(),
    };
    Table {
        seconds: table.seconds[from..to].to_vec(),
        services: table.services.iter().map(|(name, c)| (name.clone(), columns(c))).collect(),
    }
}

fn judge(replay: &Replay, scenario: &Scenario, table: &Table, alerting: &str, root: Option<&str>) -> Result<Judged> {
    let place = |name: &str| replay.services.iter().position(|service| service == name);
    let verdicts = replay.window(table);
    let named = verdicts.iter().find_map(|verdict| verdict.named);
    let verdict = read(verdicts).context("an incident without steps")?;
    let mut scores = vec![0.0; replay.services.len()];
    for step in replay.scores(table).iter().skip(1) {
        for (worst, score) in scores.iter_mut().zip(step) {
            *worst = f64::max(*worst, *score);
        }
    }
    let calls: Vec<(usize, usize)> = scenario.calls.iter().filter_map(|(a, b)| Some((place(a)?, place(b)?))).collect();
    let alerting = place(alerting).context("the alerting service is not in the graph")?;
    let scene = peers::Scene { calls: &calls, scores: &scores, alerting };
    let truth = root.map(|root| place(root).with_context(|| format!("{root} is no service"))).transpose()?;
    Ok(Judged {
        truth,
        verdict,
        named,
        traversal: peers::traversal(&scene),
        pagerank: peers::pagerank(&scene),
        max_score: scores.clone(),
    })
}

/// All incidents and quiet windows of all scenarios.
struct Outcome {
    incidents: Vec<(String, String, Judged)>,
    quiet: Vec<Judged>,
}

fn run(scenarios: &[Scenario], without: Without, verbose: bool) -> Result<Outcome> {
    let mut outcome = Outcome { incidents: Vec::new(), quiet: Vec::new() };
    let pooled: Vec<Table> = scenarios.iter().filter_map(|scenario| scenario.history.clone()).collect();
    let window = scenarios.iter().flat_map(|s| &s.incidents).map(|i| i.table.seconds.len()).max().unwrap_or(5);
    for scenario in scenarios {
        let history = scenario.history.clone().map_or_else(|| pooled.clone(), |own| vec![own]);
        if !scenario.incidents.is_empty() {
            let replay = Replay::new(scenario, &history, window, without)?;
            for incident in &scenario.incidents {
                let judged = judge(&replay, scenario, &incident.table, &incident.alerting, Some(&incident.root))?;
                if verbose {
                    describe(&replay, &incident.name, &incident.root, &judged);
                }
                outcome.incidents.push((incident.name.clone(), incident.root.clone(), judged));
            }
        }
        let Some(own) = &scenario.history else { continue };
        let middle = own.seconds.len() / 2 / window * window;
        let halves = [part(own, 0, middle), part(own, middle, own.seconds.len())];
        for (quiet, learned) in [(&halves[0], &halves[1]), (&halves[1], &halves[0])] {
            let replay = Replay::new(scenario, std::slice::from_ref(learned), window, without)?;
            let alerting = &replay.services[0];
            for at in 0..quiet.seconds.len() / window {
                let table = part(quiet, at * window, (at + 1) * window);
                let judged = judge(&replay, scenario, &table, alerting, None)?;
                if verbose && judged.verdict.no_fault < 0.5 {
                    describe(&replay, &format!("{} quiet window {at}", scenario.name), "none", &judged);
                }
                outcome.quiet.push(judged);
            }
        }
    }
    Ok(outcome)
}

fn describe(replay: &Replay, name: &str, root: &str, judged: &Judged) {
    let verdict = &judged.verdict;
    let mut order: Vec<usize> = (0..replay.services.len()).collect();
    order.sort_by(|&a, &b| verdict.services[b].total_cmp(&verdict.services[a]).then(a.cmp(&b)));
    let right = judged.truth.map_or(0.0, |truth| within(&verdict.services, truth, 1));
    println!("{name}: {root}; no fault {:.3}; first {right:.2}", verdict.no_fault);
    for &service in order.iter().take(if right < 1.0 { 4 } else { 1 }) {
        println!("    {:.3} {}", verdict.services[service], replay.services[service]);
    }
    if right < 1.0 {
        let mut loud: Vec<usize> = (0..replay.services.len()).filter(|&s| verdict.evidence[s] > 0.5).collect();
        loud.sort_by(|&a, &b| verdict.evidence[b].total_cmp(&verdict.evidence[a]));
        let loud: Vec<String> =
            loud.iter().map(|&s| format!("{} {:+.1}", replay.services[s], verdict.evidence[s])).collect();
        println!("      evidence: {}", loud.join(", "));
    }
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values.into_iter().fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    if count > 0.0 { sum / count } else { f64::NAN }
}

impl Outcome {
    fn top(&self, k: usize, of: impl Fn(&Judged) -> &Vec<f64>) -> f64 {
        mean(self.incidents.iter().map(|(_, _, judged)| judged.truth.map_or(0.0, |truth| within(of(judged), truth, k))))
    }

    fn row(&self, report: &Report, name: &str, of: impl Fn(&Judged) -> &Vec<f64> + Copy) {
        let (one, three, five) = (self.top(1, of), self.top(3, of), self.top(5, of));
        report.note(&format!("{name:<24} {one:>7.3} {three:>7.3} {five:>7.3}"));
    }

    fn false_alarms(&self) -> f64 {
        mean(self.quiet.iter().map(|judged| f64::from(u8::from(judged.verdict.no_fault < 0.5))))
    }

    /// Shares of quiet windows and of incidents in which an incident opened, as it would for a user, and of the latter
    /// that in which the true cause was named then.
    fn opened(&self) -> [f64; 3] {
        let opened = |judged: &Judged| f64::from(u8::from(judged.named.is_some()));
        let found: Vec<&Judged> =
            self.incidents.iter().map(|(_, _, judged)| judged).filter(|judged| judged.named.is_some()).collect();
        [
            mean(self.quiet.iter().map(opened)),
            mean(self.incidents.iter().map(|(_, _, judged)| opened(judged))),
            mean(found.iter().map(|judged| f64::from(u8::from(judged.named == judged.truth)))),
        ]
    }

    fn brier(&self) -> f64 {
        let incidents = self.incidents.iter().map(|(_, _, judged)| judged);
        mean(incidents.chain(&self.quiet).map(|j| brier(j.verdict.no_fault, &j.verdict.services, j.truth)))
    }

    /// Top 1 of naming the most frequent cause among the other incidents (ties shared).
    fn majority(&self) -> f64 {
        let mut names: Vec<&String> = self.incidents.iter().map(|(_, root, _)| root).collect();
        names.sort_unstable();
        names.dedup();
        let roots: Vec<usize> =
            self.incidents.iter().filter_map(|(_, root, _)| names.binary_search(&root).ok()).collect();
        mean((0..roots.len()).map(|at| within(&peers::majority(&roots, at, names.len()), roots[at], 1)))
    }

    /// Mean over causes of the top 1 on the incidents of each: with nothing learned from labels, leaving
    /// out a cause changes no answer, only how much the frequent ones weigh.
    fn by_root(&self) -> f64 {
        let mut by_root: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
        for (_, root, judged) in &self.incidents {
            let hit = judged.truth.map_or(0.0, |truth| within(&judged.verdict.services, truth, 1));
            by_root.entry(root).or_default().push(hit);
        }
        mean(by_root.into_values().map(mean))
    }

    fn said(&self) -> Vec<(f64, bool)> {
        let all = self.incidents.iter().map(|(_, _, judged)| judged).chain(&self.quiet);
        let mut said = Vec::new();
        for judged in all {
            said.push((judged.verdict.no_fault, judged.truth.is_none()));
            let services = judged.verdict.services.iter().enumerate();
            said.extend(services.filter(|(_, p)| **p > 0.001).map(|(at, p)| (*p, judged.truth == Some(at))));
        }
        said
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scenarios = load(&args.dataset)?;
    let outcome = run(&scenarios, Without::default(), args.verbose)?;
    let mut report = Report::new("rca");
    report.note(&format!(
        "{} scenarios, {} incidents, {} quiet windows\n\n{:<24} {:>7} {:>7} {:>7}",
        scenarios.len(),
        outcome.incidents.len(),
        outcome.quiet.len(),
        "",
        "top 1",
        "top 3",
        "top 5"
    ));
    outcome.row(&report, "quoll", |judged| &judged.verdict.services);
    if args.ablations {
        let ablations = [
            ("without aliases", Without { aliases: true, ..Without::default() }),
            ("without dynamics", Without { dynamics: true, ..Without::default() }),
            ("without change prior", Without { change_prior: true, ..Without::default() }),
            ("without just-before", Without { just_before: true, ..Without::default() }),
        ];
        for (name, without) in ablations {
            run(&scenarios, without, false)?.row(&report, name, |judged| &judged.verdict.services);
        }
    }
    outcome.row(&report, "traversal", |judged| &judged.traversal);
    outcome.row(&report, "PageRank", |judged| &judged.pagerank);
    outcome.row(&report, "highest score", |judged| &judged.max_score);
    report.note("\nhow often what was said was true");
    for (count, said, is) in plot::bins(&outcome.said()) {
        report.note(&format!("  said {said:.3}   true {is:.3}   {count} times"));
    }
    report.note("");
    report.add("incidents", outcome.incidents.len() as f64);
    for k in [1, 3, 5] {
        report.add(&format!("top{k}"), outcome.top(k, |judged| &judged.verdict.services));
    }
    report.add("brier", outcome.brier());
    report.add("quiet_false_alarm_rate", outcome.false_alarms());
    let [quiet, found, right] = outcome.opened();
    report.add("quiet_opened_rate", quiet);
    report.add("incident_opened_rate", found);
    report.add("opened_top1", right);
    report.add("majority_root_top1", outcome.majority());
    report.add("leave_one_root_out_top1", outcome.by_root());
    report.add("traversal_top1", outcome.top(1, |judged| &judged.traversal));
    report.add("pagerank_top1", outcome.top(1, |judged| &judged.pagerank));
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::svg(&outcome.said()))?;
    }
    report.print();
    Ok(())
}
