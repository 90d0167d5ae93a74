//! `services.yaml` for the exporter: which cgroup and address is which service.

use std::fs;
use std::io;
use std::path::Path;

use super::plan::Plan;

/// Writes the file, whole or not at all.
///
/// # Errors
/// The file system's.
pub fn write(path: &Path, plan: &Plan, with_cgroups: bool) -> io::Result<()> {
    let mut yaml = "# Written by quoll-microsim; the services of this run.\nservices:\n".to_owned();
    for member in &plan.members {
        // Names are lower-case letters, digits and dashes: nothing to quote.
        yaml += &format!("  - name: {}\n    namespace: shop\n    match:\n", member.name);
        if with_cgroups {
            yaml += &format!("      - cgroup: /{}/{}\n", plan.name, member.name);
        }
        yaml += &format!("      - address: {}\n", member.address);
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    fs::write(&fresh, yaml).and_then(|()| fs::rename(&fresh, path))
}
