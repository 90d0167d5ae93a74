//! The network namespaces of a run: one per process, and one that holds the bridge between them.
//!
//! The root namespace gets no interface, address or route. All of it goes through `ip` of
//! iproute2, in batches.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use thiserror::Error;

/// Why namespaces could not be made.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// `ip` could not be started.
    #[error("cannot run `ip` ({0}); install iproute2, or use --isolation none")]
    Missing(io::Error),
    /// `ip` refused.
    #[error("`ip {command}` failed: {message}")]
    Refused {
        /// Its arguments.
        command: String,
        /// What it said.
        message: String,
    },
}

/// The namespace file of `namespace`.
pub fn path(namespace: &str) -> PathBuf {
    PathBuf::from("/run/netns").join(namespace)
}

/// The namespace of the bridge.
pub fn bridge(name: &str) -> String {
    // Services' names have no dot, so this is nobody else's.
    format!("{name}.bridge")
}

/// The namespace of `member`.
pub fn namespace(name: &str, member: &str) -> String {
    format!("{name}.{member}")
}

/// Makes the bridge's namespace and each member's, with their addresses in one /24.
///
/// # Errors
/// [`NetworkError`]: no `ip`, or no permission. What was made until then stays; [`remove`] it.
pub fn create(name: &str, members: &[(String, Ipv4Addr)]) -> Result<(), NetworkError> {
    let bridge = bridge(name);
    let mut add = format!("netns add {bridge}\n");
    let mut plug = "link add br0 type bridge\nlink set br0 addrgenmode none\nlink set br0 up\n".to_owned();
    for (index, (member, _)) in members.iter().enumerate() {
        let namespace = namespace(name, member);
        add += &format!("netns add {namespace}\n");
        plug += &format!("link add port{index} type veth peer name eth0 netns {namespace}\n");
        plug += &format!("link set port{index} addrgenmode none master br0\nlink set port{index} up\n");
    }
    batch(&[], &add)?;
    batch(&["-n", &bridge], &plug)?;
    for (member, address) in members {
        let up = format!(
            "link set lo up\nlink set eth0 addrgenmode none\naddress add {address}/24 dev eth0\nlink set eth0 up\n"
        );
        batch(&["-n", &namespace(name, member)], &up)?;
    }
    Ok(())
}

/// Removes namespaces; those that are not there are no error. Gives those that stayed.
pub fn remove(namespaces: &[String]) -> Vec<String> {
    let stays =
        |namespace: &&String| path(namespace).exists() && batch(&[], &format!("netns delete {namespace}\n")).is_err();
    namespaces.iter().filter(stays).cloned().collect()
}

fn batch(arguments: &[&str], commands: &str) -> Result<(), NetworkError> {
    let mut child = Command::new("ip")
        .args(arguments)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(NetworkError::Missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        // When `ip` ends early, its exit status and message say why.
        drop(stdin.write_all(commands.as_bytes()));
    }
    let output = child.wait_with_output().map_err(NetworkError::Missing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Refused {
        command: [arguments, &["-batch", "-"]].concat().join(" "),
        message: String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
    })
}
