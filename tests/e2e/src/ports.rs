//! The ports of a stack, all on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// One port per process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// `quoll-exporter`.
    pub exporter: u16,
    /// `quoll-scorer`.
    pub scorer: u16,
    /// microsim's control API.
    pub microsim: u16,
    /// Prometheus.
    pub prometheus: u16,
    /// Alertmanager.
    pub alertmanager: u16,
    /// Our own receiver of Alertmanager's notifications.
    pub webhook: u16,
    /// Grafana, where it is installed.
    pub grafana: u16,
}

impl Ports {
    /// What users get who change nothing.
    pub const DEFAULT: Self = Self {
        exporter: 9466,
        scorer: 9467,
        microsim: 9470,
        prometheus: 9090,
        alertmanager: 9093,
        webhook: 9471,
        grafana: 3000,
    };

    /// The default ports, each moved by `offset`.
    ///
    /// # Errors
    /// [`Error::PortOffset`] when one leaves the range of ports.
    pub fn with_offset(offset: u16) -> Result<Self, Error> {
        let moved = |port: u16| port.checked_add(offset).ok_or(Error::PortOffset { port, offset });
        let d = Self::DEFAULT;
        Ok(Self {
            exporter: moved(d.exporter)?,
            scorer: moved(d.scorer)?,
            microsim: moved(d.microsim)?,
            prometheus: moved(d.prometheus)?,
            alertmanager: moved(d.alertmanager)?,
            webhook: moved(d.webhook)?,
            grafana: moved(d.grafana)?,
        })
    }

    /// Checks that nobody listens on a port that the stack is about to use. `grafana` is left out
    /// unless Grafana will be started.
    ///
    /// # Errors
    /// [`Error::PortTaken`] for the first that is taken.
    pub fn check_free(&self, with_grafana: bool) -> Result<(), Error> {
        let mut wanted = vec![
            (self.exporter, "exporter"),
            (self.scorer, "scorer"),
            (self.microsim, "microsim control"),
            (self.prometheus, "Prometheus"),
            (self.alertmanager, "Alertmanager"),
            (self.webhook, "webhook receiver"),
        ];
        if with_grafana {
            wanted.push((self.grafana, "Grafana"));
        }
        for (port, user) in wanted {
            // The standard library sets SO_REUSEADDR: connections in TIME_WAIT do not stand in the way.
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|_| Error::PortTaken { port, user })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = holder.local_addr().unwrap().port();
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let ports = Ports {
            exporter: free(),
            scorer: taken,
            microsim: free(),
            prometheus: free(),
            alertmanager: free(),
            webhook: free(),
            grafana: taken,
        };
        let message = ports.check_free(false).unwrap_err().to_string();
        assert!(message.contains(&taken.to_string()) && message.contains("scorer"), "{message}");
        assert!(message.contains("DEMO_PORT_OFFSET"), "{message}");
        drop(holder);
        ports.check_free(false).unwrap();
    }

    #[test]
    fn an_offset_moves_every_port_and_never_wraps() {
        assert_eq!(Ports::with_offset(0).unwrap(), Ports::DEFAULT);
        assert_eq!(Ports::with_offset(1000).unwrap().prometheus, 10090);
        assert!(matches!(Ports::with_offset(60000), Err(Error::PortOffset { .. })));
    }
}
