//! Durable outbound queue and remote-write sender.
