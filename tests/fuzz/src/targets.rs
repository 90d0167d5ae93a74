//! The targets, each in a file of its own, with its seeds and what it promises.

pub mod features;
pub mod remote_write_v1;
pub mod remote_write_v2;
pub mod snappy;
pub mod web_config;
pub mod zstd;

mod receiving;
