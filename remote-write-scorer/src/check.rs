//! `quoll-scorer check`: whether `serve` could start from a file, without starting anything, and what it would do.

use std::path::Path;

use anyhow::Context;

use crate::config::Config;
use crate::sharding::Role;

/// Checks a configuration file and those it names, and says what it means: a line for each thing that a user
/// would want to know before a start.
///
/// # Errors
/// The first thing that `serve` would refuse.
pub fn check(path: &Path) -> anyhow::Result<String> {
    let config = Config::load(path)?;
    config.check()?;
    let set = config.feature_set()?;
    for queue in [config.queue(), config.report_queue()].into_iter().flatten() {
        queue.check()?;
    }
    let web = match &config.web.config_file {
        Some(web) => quoll_web_config::check(web).with_context(|| web.display().to_string())?.to_string(),
        None => "plain HTTP, no password".to_owned(),
    };
    let directory = |path: &Option<std::path::PathBuf>, without: &str| {
        path.as_ref().map_or_else(|| without.to_owned(), |path| path.display().to_string())
    };
    let mut said = format!("{} is good\n", path.display());
    let mut tell = |name: &str, what: String| said.push_str(&format!("  {name:<10} {what}\n"));
    tell("role", config.role.to_string());
    tell("listens at", format!("{} ({web})", config.listen));
    tell("step", format!("{} s", config.step_ms as f64 / 1000.0));
    if config.role != Role::Root {
        tell("features", format!("{} ({})", set.features.len(), directory(&config.features_file, &config.preset)));
        tell("model", directory(&config.model_dir, "none: topology and causes, without scores"));
    }
    tell("state", config.data_dir.display().to_string());
    let nowhere = || "nowhere: results are in the console and the API alone".to_owned();
    tell("writes to", config.remote_write.url.clone().unwrap_or_else(nowhere));
    if let Some(root) = config.report_queue() {
        tell("reports to", root.url);
    }
    tell("console", directory(&config.console_dir, "none"));
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> anyhow::Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scorer.yaml");
        std::fs::write(&path, text).unwrap();
        check(&path)
    }

    #[test]
    fn what_serve_would_refuse_is_refused() {
        let error = |text: &str| checked(text).unwrap_err().to_string();
        assert!(error("remote_write: {url: '127.0.0.1:9090'}").contains("http://HOST:PORT"));
        let tls = "remote_write: {url: 'https://h/w', tls_config: {ca_file: /nowhere.pem}}";
        assert!(error(tls).contains("/nowhere.pem"));
        assert!(error("features_file: /nowhere.yaml").contains("/nowhere.yaml"));
        assert!(error("web: {config_file: /nowhere.yml}").contains("/nowhere.yml"));
    }

    #[test]
    fn what_a_file_means_is_told() {
        let said = checked("remote_write: {url: 'http://127.0.0.1:9090/api/v1/write'}\nstep: 500ms\n").unwrap();
        for part in ["127.0.0.1:9467", "0.5 s", "quoll", "http://127.0.0.1:9090/api/v1/write", "without scores"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
