//! `quoll-scorer train`: reads a history, trains, writes a model directory, says how it went.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use quoll_features::{FeatureSet, PresetError};

use crate::checkpoint::Checkpoint;
use crate::error::TrainError;
use crate::options::{Progress, TrainOptions};
use crate::prometheus::{History, ReadError, Source, read};
use crate::recording::{self, RecordingError, Wanted};
use crate::train::{Summary, train_resumable};

/// Arguments of `quoll-scorer train`.
#[derive(Debug, Clone, Args)]
pub struct TrainArgs {
    /// Prometheus to read the history from
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    pub prometheus: String,
    /// Recording to read instead: a copy of a scorer's inbound log (`DATA_DIR/inbound`), or that log itself
    #[arg(long, value_name = "DIR", conflicts_with_all = ["prometheus", "range", "matchers"])]
    pub recording: Option<PathBuf>,
    /// With `--recording`: partition label of the scope to train on, such as cluster=a; may be repeated
    #[arg(long, value_name = "LABEL=VALUE", requires = "recording", value_parser = parse_partition)]
    pub partition: Vec<(String, String)>,
    /// How far back to read, such as 150s, 2h or 7d
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    pub range: Duration,
    /// Step of the images; must be the scorer's
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration)]
    pub step: Duration,
    /// Tenant (`X-Scope-OrgID`)
    #[arg(long)]
    pub tenant: Option<String>,
    /// Label matchers every series must meet, such as 'cluster="a"'
    #[arg(long = "match", value_name = "MATCHERS", default_value = "")]
    pub matchers: String,
    /// Feature presets, such as `quoll` or `istio, cadvisor`
    #[arg(long, default_value = "quoll", conflicts_with = "features")]
    pub preset: String,
    /// Feature set of your own, as YAML
    #[arg(long, value_name = "FILE")]
    pub features: Option<PathBuf>,
    /// Model directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Same seed, same history, same model
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Score budget: crossings of score 1 per service and day
    #[arg(long, value_name = "PER_DAY", default_value_t = 1.0)]
    pub score_budget: f64,
    /// Alert budget: crossings per service and day of the threshold that is rare enough to notify of
    #[arg(long, value_name = "PER_DAY", default_value_t = 0.1)]
    pub alert_budget: f64,
}

/// Why `quoll-scorer train` fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No such preset, or a feature set that is none.
    #[error(transparent)]
    Preset(#[from] PresetError),
    /// The history cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The recording cannot be used.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// Prometheus has nothing that the feature set selects.
    #[error(
        "Prometheus at {url} has no samples of the selected metrics in the last {seconds} s: does it scrape an exporter of \
         the preset, and does --match, if given, leave any?"
    )]
    Nothing {
        /// Where.
        url: String,
        /// How far back.
        seconds: u64,
    },
    /// The training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// A duration such as `150s`, `500ms`, `15m`, `2h` or `7d`.
///
/// # Errors
/// Text that says what was wrong.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` is no duration: a number and one of ms, s, m, h, d")),
    };
    let count: u64 =
        digits.parse().map_err(|_| format!("`{text}` is no duration: a number and one of ms, s, m, h, d"))?;
    match count.checked_mul(unit_ms) {
        Some(0) | None => Err(format!("`{text}` is out of range")),
        // Ten years: what comes after cannot be a history.
        Some(ms) if ms > 315_360_000_000 => Err(format!("`{text}` is longer than ten years")),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

/// A partition label and its value, such as `cluster=a`.
///
/// # Errors
/// Text that says what was wrong.
pub fn parse_partition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.trim_matches('"').to_owned())),
        _ => Err(format!("`{text}` is no label and value, such as cluster=a")),
    }
}

/// Runs the sub-command: progress on standard error, the summary on standard output.
///
/// # Errors
/// [`CommandError`].
pub fn run(args: &TrainArgs) -> Result<(), CommandError> {
    let set = match &args.features {
        Some(path) => FeatureSet::from_file(path)?,
        None => FeatureSet::preset(&args.preset)?,
    };
    let set = Arc::new(set);
    let started = Instant::now();
    let mut stage = Stage::new();
    let step_ms = args.step.as_millis() as i64;
    let history = match &args.recording {
        Some(directory) => {
            let wanted = Wanted { tenant: args.tenant.as_deref(), partition: &args.partition };
            recording::read(directory, &set, step_ms, &wanted)?
        }
        None => from_prometheus(args, &set, step_ms, &mut stage)?,
    };
    let reading = started.elapsed();
    let options = TrainOptions {
        seed: args.seed,
        score_budget_per_day: args.score_budget,
        alert_budget_per_day: args.alert_budget,
        ..TrainOptions::default()
    };
    let checkpoint = Checkpoint::of_model(&args.out);
    let started = Instant::now();
    let show = &mut |progress| match progress {
        Progress::Resumed { done, of } => stage.resume("training", done, of),
        Progress::Update { done, of, loss } => stage.show("training", done, of, &format!("updates, loss {loss:.4}")),
        Progress::Calibrated { done, of } => stage.show("calibrating", done, of, "services"),
    };
    let (features, hash) = (&set.features, set.hash());
    let model = train_resumable(&history.steps, features, &hash, &options, Some(&checkpoint), show)?;
    model.save(&args.out)?;
    checkpoint.remove();
    stage.finish();
    let summary = &model.summary;
    println!("history      {} steps, {} series, {} samples", history.steps.len(), history.series, history.samples);
    print_summary(summary, reading, started.elapsed());
    println!("model        {} ({})", args.out.display(), model.calibration.training_id);
    Ok(())
}

fn from_prometheus(
    args: &TrainArgs,
    set: &Arc<FeatureSet>,
    step_ms: i64,
    stage: &mut Stage,
) -> Result<History, CommandError> {
    let source = Source {
        url: args.prometheus.clone(),
        tenant: args.tenant.clone(),
        matchers: args.matchers.clone(),
        range_ms: args.range.as_millis() as i64,
    };
    let history = read(&source, set, step_ms, &mut |done, of| {
        stage.show("reading", done, of, "metrics");
    })?;
    if history.samples == 0 {
        return Err(CommandError::Nothing { url: source.url, seconds: args.range.as_secs() });
    }
    Ok(history)
}

fn print_summary(summary: &Summary, reading: Duration, training: Duration) {
    let state = if summary.provisional {
        "provisional: the score budget lies beyond the held-out samples, so 1.0 is an extrapolation"
    } else {
        "calibrated"
    };
    println!("services     {}", summary.services);
    println!("windows      {}", summary.windows);
    println!("parameters   {}", summary.parameters);
    println!("updates      {}", summary.updates);
    println!("loss         {:.4}", summary.loss);
    println!("seconds      {:.1} reading, {:.1} training", reading.as_secs_f64(), training.as_secs_f64());
    println!("scores       {state}");
}

/// A progress bar on a terminal; elsewhere a line per stage and quarter of it. Both tell how long it will take.
struct Stage {
    bar: Option<ProgressBar>,
    name: String,
    quarter: usize,
    began: Instant,
    /// What was done before this run.
    from: usize,
}

impl Stage {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix:>12} {bar:32} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, name: String::new(), quarter: 0, began: Instant::now(), from: 0 }
    }

    fn begin(&mut self, name: &str, from: usize) {
        (self.name, self.quarter, self.began, self.from) = (name.to_owned(), 0, Instant::now(), from);
    }

    fn resume(&mut self, name: &str, done: usize, of: usize) {
        self.begin(name, done);
        let line = format!("{name} goes on from its checkpoint at {done}/{of}");
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    fn show(&mut self, name: &str, done: usize, of: usize, what: &str) {
        if self.name != name {
            self.begin(name, 0);
        }
        let left = time_left(self.began.elapsed(), done.saturating_sub(self.from), of.saturating_sub(done));
        match &self.bar {
            Some(bar) => {
                bar.set_length(of as u64);
                bar.set_prefix(name.to_owned());
                bar.set_position(done as u64);
                bar.set_message(format!("{what}{left}"));
            }
            None => {
                let quarter = 4 * done / of.max(1);
                if quarter > self.quarter {
                    self.quarter = quarter;
                    eprintln!("{name} {done}/{of} {what}{left}");
                }
            }
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `, N s left` at the rate so far; empty where nothing is left or the rate is not known.
fn time_left(elapsed: Duration, done: usize, left: usize) -> String {
    if done == 0 || left == 0 {
        return String::new();
    }
    let seconds = elapsed.as_secs_f64() / done as f64 * left as f64;
    if seconds < 90.0 { format!(", {seconds:.0} s left") } else { format!(", {:.0} min left", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_at_the_rate_so_far() {
        assert_eq!(time_left(Duration::from_secs(10), 100, 300), ", 30 s left");
        assert_eq!(time_left(Duration::from_secs(60), 10, 30), ", 3 min left");
        assert_eq!(time_left(Duration::from_secs(60), 0, 30), "");
    }

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("150s"), Ok(Duration::from_secs(150)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "15", "0s", "-1s", "1y", "99999999999999999999s", "9999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
