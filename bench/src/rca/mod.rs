//! Root causes of labelled incidents, by the live evidence and network and by simpler peers.

pub mod dataset;
pub mod peers;
pub mod plot;
pub mod ranking;
pub mod replay;
pub mod score;
