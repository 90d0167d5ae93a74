//! Copies of the provisioning files with exactly the changes that a run on one machine needs.
//!
//! What is changed, and nothing else:
//! - `prometheus/prometheus.yml`: the three global intervals; the addresses of exporter, scorer and
//!   Alertmanager, and in `external_labels` those of console and Grafana (all for the ports in use).
//! - `alertmanager/alertmanager.yml`: the webhook's URL.
//! - `scorer/scorer.yaml`: step, addresses and folders; at steps under [`BLIP_SECONDS`] / 3 the number of
//!   ticks before an incident opens, so that it stays above the length of a hiccup of the whole machine.
//! - `grafana/provisioning`: Prometheus' address and the folder of the dashboards.
//!
//! Files are parsed, changed at a path that must exist, and written again: a provisioning file that no
//! longer has such a path is an error here and not a silently different demo. Rules are copied as they are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Error;
use crate::ports::Ports;

/// A parsed YAML file and the changes made to it.
#[derive(Debug, Clone)]
pub struct Document {
    file: String,
    root: Value,
    changes: Vec<String>,
}

impl Document {
    /// Parses the text of `provisioning/<file>`.
    ///
    /// # Errors
    /// [`Error::Config`] if it is no YAML.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let root = serde_saphyr::from_str(text)
            .map_err(|error| Error::Config { file: file.to_owned(), problem: error.to_string() })?;
        Ok(Self { file: file.to_owned(), root, changes: Vec::new() })
    }

    /// Reads and parses `provisioning/<file>`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Config`].
    pub fn read(provisioning: &Path, file: &str) -> Result<Self, Error> {
        let path = provisioning.join(file);
        Self::parse(file, &std::fs::read_to_string(&path).map_err(Error::file(&path))?)
    }

    /// Sets what lies at `pointer` (RFC 6901). Setting what is there already is no change.
    ///
    /// # Errors
    /// [`Error::Config`] if nothing lies there.
    pub fn set(&mut self, pointer: &str, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        let Some(place) = self.root.pointer_mut(pointer) else {
            return Err(Error::Config {
                file: self.file.clone(),
                problem: format!("has no {pointer}, which the run sets"),
            });
        };
        if *place != value {
            self.changes.push(format!("{} {pointer}: {place} -> {value}", self.file));
            *place = value;
        }
        Ok(())
    }

    /// What lies at `pointer`.
    pub fn get(&self, pointer: &str) -> Option<&Value> {
        self.root.pointer(pointer)
    }

    /// Index of the element of the list at `pointer` whose `key` is `value`.
    ///
    /// # Errors
    /// [`Error::Config`] if there is none.
    pub fn index_of(&self, pointer: &str, key: &str, value: &str) -> Result<usize, Error> {
        let list = self.root.pointer(pointer).and_then(Value::as_array);
        let found = list.and_then(|list| list.iter().position(|element| element[key] == value));
        found.ok_or_else(|| Error::Config {
            file: self.file.clone(),
            problem: format!("has nothing with {key}: {value} in {pointer}"),
        })
    }

    /// The changed text. Written as JSON, which every YAML reader reads, each value unmistakable.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.root)
    }

    /// The changes, one readable line each.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }
}

/// `prometheus/prometheus.yml` for these ports, scraping and evaluating each `step_seconds`.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub fn prometheus(provisioning: &Path, ports: &Ports, step_seconds: u32) -> Result<Document, Error> {
    let mut document = Document::read(provisioning, "prometheus/prometheus.yml")?;
    let step = format!("{step_seconds}s");
    let local = |port: u16| format!("127.0.0.1:{port}");
    for key in ["scrape_interval", "scrape_timeout", "evaluation_interval"] {
        document.set(&format!("/global/{key}"), step.as_str())?;
    }
    let labels = "/global/external_labels";
    document.set(&format!("{labels}/quoll_console_url"), format!("http://{}", local(ports.scorer)))?;
    document.set(&format!("{labels}/quoll_grafana_url"), format!("http://{}", local(ports.grafana)))?;
    document.set("/alerting/alertmanagers/0/static_configs/0/targets/0", local(ports.alertmanager))?;
    for (job, port) in [("quoll-exporter", ports.exporter), ("quoll-scorer", ports.scorer)] {
        let index = document.index_of("/scrape_configs", "job_name", job)?;
        document.set(&format!("/scrape_configs/{index}/static_configs/0/targets/0"), local(port))?;
    }
    let index = document.index_of("/remote_write", "name", "quoll-scorer")?;
    document.set(&format!("/remote_write/{index}/url"), format!("http://{}/api/v1/write", local(ports.scorer)))?;
    Ok(document)
}

/// A machine of two cores on which something else starts is slow as a whole for two or three seconds.
/// An incident that opens has to outlast that, whatever the step is.
const BLIP_SECONDS: u32 = 6;

/// `scorer/scorer.yaml` for these ports and folders. `console` is left as it is where there is none.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub fn scorer(
    provisioning: &Path,
    ports: &Ports,
    step_seconds: u32,
    folder: &Path,
    console: Option<&Path>,
) -> Result<Document, Error> {
    let mut document = Document::read(provisioning, "scorer/scorer.yaml")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    document.set("/step", format!("{step_seconds}s"))?;
    document.set("/listen", format!("127.0.0.1:{}", ports.scorer))?;
    document.set("/remote_write/url", format!("http://127.0.0.1:{}/api/v1/write", ports.prometheus))?;
    document.set("/data_dir", text(&folder.join("scorer")))?;
    document.set("/model_dir", text(&folder.join("model")))?;
    if let Some(console) = console {
        document.set("/console_dir", text(console))?;
    }
    let usual = document.get("/incidents/open_ticks").and_then(Value::as_u64).unwrap_or(1);
    document.set("/incidents/open_ticks", usual.max(u64::from(BLIP_SECONDS.div_ceil(step_seconds.max(1)))))?;
    Ok(document)
}

/// `alertmanager/alertmanager.yml` notifying `webhook_url`.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub fn alertmanager(provisioning: &Path, webhook_url: &str) -> Result<Document, Error> {
    let mut document = Document::read(provisioning, "alertmanager/alertmanager.yml")?;
    let index = document.index_of("/receivers", "name", "quoll")?;
    document.set(&format!("/receivers/{index}/webhook_configs/0/url"), webhook_url)?;
    Ok(document)
}

/// Writes Grafana's provisioning below `target`, for these ports and `dashboards`.
///
/// # Errors
/// [`Error::File`], [`Error::Config`].
pub fn write_grafana(provisioning: &Path, target: &Path, ports: &Ports, dashboards: &Path) -> Result<(), Error> {
    let mut source = Document::read(provisioning, "grafana/provisioning/datasources/quoll.yaml")?;
    source.set("/datasources/0/url", format!("http://127.0.0.1:{}", ports.prometheus))?;
    write(&target.join("datasources/quoll.yaml"), &source.text())?;
    let mut provider = Document::read(provisioning, "grafana/provisioning/dashboards/quoll.yaml")?;
    provider.set("/providers/0/options/path", dashboards.to_string_lossy().into_owned())?;
    write(&target.join("dashboards/quoll.yaml"), &provider.text())
}

/// Copies the rule files as they are.
///
/// # Errors
/// [`Error::File`].
pub fn copy_rules(provisioning: &Path, target: &Path) -> Result<Vec<PathBuf>, Error> {
    let folder = provisioning.join("prometheus/rules");
    let mut copied = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(Error::file(&folder))? {
        let path = entry.map_err(Error::file(&folder))?.path();
        let Some(name) = path.file_name() else { continue };
        let copy = target.join("rules").join(name);
        write(&copy, &std::fs::read_to_string(&path).map_err(Error::file(&path))?)?;
        copied.push(copy);
    }
    Ok(copied)
}

/// Writes a file, making its folder.
///
/// # Errors
/// [`Error::File`].
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
    }
    std::fs::write(path, text).map_err(Error::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_places_can_be_set_and_only_differences_are_changes() {
        let mut document = Document::parse("x.yml", "global: {interval: 15s}\nlist: [{name: a, at: 1}]\n").unwrap();
        document.set("/global/interval", "15s").unwrap();
        assert!(document.changes().is_empty());
        document.set("/global/interval", "1s").unwrap();
        assert_eq!(document.changes(), [r#"x.yml /global/interval: "15s" -> "1s""#]);
        assert!(matches!(document.set("/global/other", "1s"), Err(Error::Config { .. })));
        assert_eq!(document.index_of("/list", "name", "a").unwrap(), 0);
        assert!(document.index_of("/list", "name", "b").unwrap_err().to_string().contains("name: b"));
    }

    #[test]
    fn with_the_default_ports_only_the_intervals_change() {
        let provisioning = crate::checkout::root().join("provisioning");
        let document = prometheus(&provisioning, &Ports::DEFAULT, 1).unwrap();
        assert_eq!(document.changes().len(), 3, "{:?}", document.changes());
        let webhook = format!("http://127.0.0.1:{}/alerts", Ports::DEFAULT.webhook);
        assert!(alertmanager(&provisioning, &webhook).unwrap().changes().is_empty());
    }
}
