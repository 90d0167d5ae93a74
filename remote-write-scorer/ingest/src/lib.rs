//! Remote-write decoding into windows, and the inbound log.
