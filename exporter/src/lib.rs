//! The exporter: what the kernel sees of the services on this node, as Prometheus metrics.
//!
//! ```text
//! source (ebpf | procfs) ──reports──► edges ──► collectors ──► exposition ──► server
//!                          directory ──names──┘  (rules, inventory)
//! ```
//!
//! - [`source`] tells what connections and listeners there are; [`kernel`] is the only place that talks
//!   to eBPF, and [`btf`] tells it where the kernel keeps things.
//! - [`directory`] names sockets, from [`rules`] (`services.yaml`) and the [`inventory`] of processes.
//! - [`nat`] sees through translated addresses before that.
//! - [`edges`] sums reports into totals; [`collectors`] write them, one folder each.
//! - [`agent`] owns all of that on one thread; [`server`] hands its pages out.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

pub mod agent;
pub mod args;
pub mod btf;
pub mod collectors;
pub mod config;
pub mod directory;
pub mod edges;
pub mod exposition;
pub mod histogram;
pub mod inventory;
pub mod kernel;
pub mod keys;
pub mod limits;
pub mod memory;
pub mod nat;
pub mod net;
pub mod privileges;
pub mod protobuf;
pub mod rules;
pub mod server;
pub mod service;
pub mod source;
pub mod telling;
pub mod tls;
