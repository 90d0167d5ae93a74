//! The targets, each in a file of its own, with its seeds and what it promises.

pub mod dns;
pub mod features;
pub mod http1;
pub mod http2;
pub mod mysql;
pub mod openssl;
pub mod postgres;
pub mod redis;
pub mod remote_write_v1;
pub mod remote_write_v2;
pub mod snappy;
pub mod web_config;
pub mod zstd;

mod conversation;
mod receiving;
