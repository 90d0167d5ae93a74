//! How others talk to the agent.

use std::sync::mpsc::Sender;

use rustix::thread::CapabilitySet;
use tokio::sync::oneshot;

use crate::exposition::Page;

pub(super) enum Command {
    /// With native buckets, or without.
    Scrape(oneshot::Sender<Page>, bool),
    Reload,
}

/// A running agent. It stops, and the kernel-side programs with it, when the last handle is gone.
#[derive(Clone)]
pub struct AgentHandle {
    pub(super) commands: Sender<Command>,
    pub(super) kept: CapabilitySet,
}

/// The agent has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the agent's thread has stopped; its log says why")]
pub struct Stopped;

impl AgentHandle {
    /// The capabilities that the agent's thread kept.
    #[must_use]
    pub fn kept(&self) -> CapabilitySet {
        self.kept
    }

    /// Asks for the files of the configuration to be read again, changed or not.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn reload(&self) -> Result<(), Stopped> {
        self.commands.send(Command::Reload).map_err(|_| Stopped)
    }

    /// Asks for a page; it arrives through the receiver.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn scrape(&self) -> Result<oneshot::Receiver<Page>, Stopped> {
        self.ask(false)
    }

    /// The same with native buckets.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn scrape_native(&self) -> Result<oneshot::Receiver<Page>, Stopped> {
        self.ask(true)
    }

    fn ask(&self, native: bool) -> Result<oneshot::Receiver<Page>, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.commands.send(Command::Scrape(sender, native)).map_err(|_| Stopped)?;
        Ok(receiver)
    }
}
