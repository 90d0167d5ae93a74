//! Programs that count for themselves, and the services that they and their clients are.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Child;

use super::{Page, loopback, wait_until};

/// Where a witness is, if it is installed; Debian keeps PostgreSQL's server out of the PATH.
pub fn witness(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin")).chain(std::env::split_paths(&path));
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is missing, scripts/setup installs it");
    }
    found
}

/// A program that ends when this is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_port(address: Ipv4Addr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

pub fn wait_for(address: SocketAddr) {
    wait_until(&format!("somebody listens at {address}"), || TcpStream::connect(address).is_ok());
}

/// The server has an address of its own; clients come from the loopback's usual one, and some from another.
pub fn services(test: u8) -> String {
    format!(
        "services:\n  - {{name: db, match: [{{address: {}}}]}}\n  - {{name: probe, match: [{{address: {}}}]}}\n  \
         - {{name: load, match: [{{address: 127.0.0.1}}]}}\n",
        loopback(test, 2),
        loopback(test, 1)
    )
}

/// Not timed, at either end, for whatever reason.
pub fn untimed(page: &Page, protocol: &str) -> f64 {
    let of = |reason| format!("exporter_requests_untimed_total{{protocol=\"{protocol}\",reason=\"{reason}\"}}");
    ["pipelined", "unrecognised", "no_room"].into_iter().map(|reason| page.get(&of(reason))).sum()
}
