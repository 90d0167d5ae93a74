//! Remote write against its specifications and real peers.
