//! TLS by OpenSSL: which libraries the processes of this node use, and where their functions are.
//!
//! A uprobe is set in a file, once, and is there in every process that maps it, now or later. So what has to
//! be found are libraries, not processes: a process that starts with a library that is known already is seen
//! from its first call on. A library that nobody used before (a new image, a wheel with its own copy) is found
//! within some seconds, by [`libraries::Libraries::look`]; TLS connections made before that are not seen.
//!
//! No probes are set yet: this says where they would go.

pub mod libraries;
pub mod symbols;
