//! A shop of small services with faults on command.

fn main() {}
