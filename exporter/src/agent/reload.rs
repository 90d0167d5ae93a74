//! Taking over changes of the configuration: all of it is good, or nothing changes.

use std::sync::Arc;

use super::Agent;
use crate::args::Args;
use crate::limits::Shown;
use crate::rules::{Stamp, stamp};
use crate::telling::whole;

impl Agent {
    /// Takes over what changed in the files of the configuration.
    pub(super) fn follow_files(&mut self) {
        if config_stamp(self.command_line.as_ref()) != self.config_seen {
            return self.reload();
        }
        let Some(file) = &mut self.rules_file else { return };
        match file.changed() {
            Ok(None) => {}
            Ok(Some(rules)) => {
                tracing::info!("{} changed and is in force", file.path().display());
                self.directory.set_rules(rules);
                self.edges.rename();
                self.is_reloaded = true;
            }
            Err(error) => {
                tracing::warn!("{}: {error}; the last good version stays in force", file.path().display());
                self.is_reloaded = false;
            }
        }
    }

    /// Reads all files again; all of them are good, or nothing changes.
    pub(super) fn reload(&mut self) {
        self.config_seen = config_stamp(self.command_line.as_ref());
        let read = || -> anyhow::Result<_> {
            let new = self.command_line.as_ref().map_or_else(|| Ok(self.config.clone()), Args::config)?;
            let rules = new.check()?;
            Ok((new, rules))
        };
        let (new, (rules_file, rules)) = match read() {
            Ok(read) => read,
            Err(error) => {
                let reason = whole(&error);
                tracing::warn!("the configuration cannot be used: {reason}; the last good one stays in force");
                self.is_reloaded = false;
                return;
            }
        };
        for name in self.config.for_next_start(&new) {
            tracing::warn!("the changed setting {name} comes into force at the next start");
        }
        self.rules_file = rules_file;
        self.directory.set_rules(rules);
        self.directory.configure(new.plain_processes, new.lifetimes().gone_after, new.show_self);
        self.edges.set_bounds(new.lifetimes(), new.limits.max_edges);
        self.edges.rename();
        self.limiter.set(&new.limits);
        self.shown = Arc::new(Shown::new(&new.limits));
        self.is_reloaded = true;
        // What only a restart brings into force stays as it was, so that it is said again while it differs.
        self.config = self.config.clone().until_next_start(new);
        tracing::info!("the configuration was read and is in force");
    }
}

pub(super) fn config_stamp(command_line: Option<&Args>) -> Stamp {
    stamp(command_line?.config.as_deref()?)
}
