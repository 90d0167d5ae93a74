//! What a leaf tells its root, and how the root puts it together.
//!
//! A **leaf** holds the windows of the services whose series it is sent, and scores them. For each closed step
//! it writes a **report** ([`report`]): its services with presence, hosts, changes and scores, the edges into
//! them with their figures, and how many samples the report has. A report travels as ordinary samples of one
//! time, by remote write. The **root** takes the reports of all leaves ([`Assembly`]) and gives the steps and
//! scores that one process would have had.
//!
//! # Guarantees
//! - Numbers travel as they are, so the assembled step equals that of one process to the bit, as long as every
//!   service's series, and those of all edges into it, come to one leaf.
//! - Event time only: the same samples in the same order give the same steps, live or replayed.
//! - A report counts as a whole or not at all.
//! - Of services whose leaf has not reported, the root says that it does not know them
//!   ([`quoll_features::Presence::Unknown`]); it never takes silence for health.
//!
//! # Failure behaviour
//! Whatever is not part of a report is refused and counted ([`AssemblyStats`]); no input makes it panic or grow
//! without bound.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp))]

mod assembly;
mod config;
mod merge;
mod part;
pub mod report;
mod snapshot;
mod statement;
mod stats;
pub mod wire;

pub use assembly::Assembly;
pub use config::{LeavesConfig, LeavesError, check_name};
pub use merge::{Assembled, ModelState, Told};
pub use report::{Report, report};
pub use snapshot::{RestoreError, StoredAssembly};
pub use stats::{AssemblyStats, LeafStatus};
