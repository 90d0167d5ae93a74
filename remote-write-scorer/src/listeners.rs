//! Which addresses are listened on, and what is served there.

use std::net::SocketAddr;
use std::path::PathBuf;

use quoll_api::Surface;
use quoll_web_config::ServeLimits;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Addresses of their own for some routes; what has one is not served at the main address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenersConfig {
    /// Remote write.
    pub write: Option<SocketAddr>,
    /// `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// Calls that change state.
    pub admin: Option<SocketAddr>,
}

/// Who may connect, and how much they may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSettings {
    /// TLS and users, in the format of Prometheus' `--web.config.file`.
    pub config_file: Option<PathBuf>,
    /// Bounds of each listener.
    pub limits: ServeLimits,
}

impl Config {
    /// The addresses to listen on, and what is served there.
    #[must_use]
    pub fn surfaces(&self) -> Vec<(SocketAddr, Surface)> {
        let ListenersConfig { write, metrics, admin } = self.listeners;
        let main = Surface { write: write.is_none(), metrics: metrics.is_none(), admin: admin.is_none(), read: true };
        let mut surfaces = vec![(self.listen, main)];
        let mut add = |address: Option<SocketAddr>, part: fn(&mut Surface)| {
            let Some(address) = address else { return };
            let known = surfaces.iter_mut().find(|(known, _)| *known == address && address.port() != 0);
            match known {
                Some((_, surface)) => part(surface),
                None => {
                    let mut surface = Surface::NONE;
                    part(&mut surface);
                    surfaces.push((address, surface));
                }
            }
        };
        add(write, |surface| surface.write = true);
        add(metrics, |surface| surface.metrics = true);
        add(admin, |surface| surface.admin = true);
        surfaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_with_an_address_of_their_own_leave_the_main_one() {
        let mut config = Config::default();
        assert_eq!(config.surfaces(), [(config.listen, Surface::ALL)]);
        let own = SocketAddr::from(([127, 0, 0, 1], 9500));
        config.listeners = ListenersConfig { write: Some(own), metrics: Some(own), admin: Some(config.listen) };
        let main = Surface { admin: true, read: true, ..Surface::NONE };
        let other = Surface { write: true, metrics: true, ..Surface::NONE };
        assert_eq!(config.surfaces(), [(config.listen, main), (own, other)]);
    }
}
