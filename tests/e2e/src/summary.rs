//! What a run used, read just before it ends.

use crate::Error;
use crate::stack::Stack;

/// Figures of one run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Series that the exporter gives in one scrape.
    pub exporter_series: Option<f64>,
    /// Mean duration of the exporter's scrapes during the run, in seconds.
    pub scrape_seconds: Option<f64>,
    /// Longest scrape during the run, in seconds.
    pub scrape_seconds_max: Option<f64>,
    /// Seconds that the stack has been up.
    pub seconds: f64,
    /// Process name, CPU seconds, peak resident bytes.
    pub processes: Vec<(&'static str, f64, u64)>,
}

impl Summary {
    /// Reads the figures of a running stack.
    ///
    /// # Errors
    /// Prometheus does not answer.
    pub fn read(stack: &mut Stack) -> Result<Self, Error> {
        let seconds = stack.ready_at().elapsed().as_secs_f64();
        let range = format!("[{}s]", (seconds.ceil()).max(60.0));
        let job = r#"{job="quoll-exporter"}"#;
        let value = |expression: String| stack.prometheus.value(&expression);
        let exporter_series = value(format!("scrape_samples_scraped{job}"))?;
        let scrape_seconds = value(format!("avg_over_time(scrape_duration_seconds{job}{range})"))?;
        let scrape_seconds_max = value(format!("max_over_time(scrape_duration_seconds{job}{range})"))?;
        // microsim's own process only supervises the shop's: its figures would mislead.
        let product = stack.supervisor().processes().filter(|process| process.name() != "microsim");
        let processes = product.map(|process| {
            let usage = process.usage();
            (process.name(), usage.cpu_seconds, usage.peak_rss_bytes)
        });
        let processes = processes.collect();
        Ok(Self { exporter_series, scrape_seconds, scrape_seconds_max, seconds, processes })
    }

    /// Readable lines.
    pub fn lines(&self) -> Vec<String> {
        let number = |value: Option<f64>, unit: f64| value.map_or("?".to_owned(), |v| format!("{:.1}", v * unit));
        let mut lines = vec![format!(
            "the exporter gives {} series; a scrape takes {} ms (at most {} ms)",
            self.exporter_series.map_or("?".to_owned(), |v| format!("{v:.0}")),
            number(self.scrape_seconds, 1e3),
            number(self.scrape_seconds_max, 1e3)
        )];
        for (name, cpu, rss) in &self.processes {
            #[allow(clippy::cast_precision_loss, reason = "bytes of memory, shown in MiB")]
            let mebibytes = *rss as f64 / f64::from(1 << 20);
            let share = 100.0 * cpu / self.seconds.max(1.0);
            lines.push(format!("{name:<13} {cpu:7.2} CPU-seconds ({share:4.1} % of a core), peak {mebibytes:6.1} MiB"));
        }
        lines
    }
}
