//! Starts the whole stack on loopback, breaks one service of it and judges the diagnosis.
//!
//! [`Stack`](stack::Stack) is microsim, exporter, Prometheus, scorer and Alertmanager as supervised
//! child processes, with a webhook receiver of our own at the end of the chain. It runs on the files
//! of `provisioning/`, in a copy in which only what [`config`] lists is changed.
//!
//! What a run judges comes from the far end: a fault is found when the notification that Alertmanager
//! delivered names it ([`verdict`]). Nothing here reads the scorer's mind to pass a test; its API is
//! asked only to tell when an incident opened, moved and closed.
//!
//! When something fails, the error names the process and its log file; the work directory stays.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod checkout;
pub mod clients;
pub mod config;
pub mod drive;
pub mod error;
pub mod narrator;
pub mod plan;
pub mod ports;
pub mod process;
pub mod report;
pub mod session;
pub mod stack;
pub mod statistics;
pub mod summary;
pub mod usage;
pub mod verdict;
pub mod webhook;

pub use error::Error;
