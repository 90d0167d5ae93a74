//! Names made from cgroup paths: systemd units, containers, or the folder that somebody made.
//!
//! Forms seen, with their source:
//! - systemd: `/system.slice/NAME.service`, templates `NAME@INSTANCE.service`, user managers
//!   `/user.slice/user-1000.slice/user@1000.service/app.slice/NAME.service`, sessions `session-3.scope`
//!   (`systemd.slice(5)`, `systemd.special(7)`); other bytes of a name are escaped as `\xNN`
//!   (`systemd-escape(1)`).
//! - Docker: `/docker/ID` (cgroupfs driver), `docker-ID.scope` (systemd driver; moby
//!   `daemon/oci_linux.go`, `withCgroups`).
//! - Kubernetes: `kubepods[.slice]/...pod<UID>[.slice]/` and then `ID` (cgroupfs), `cri-containerd-ID.scope`
//!   (containerd `internal/cri/server/podsandbox/helpers.go`, `getCgroupsPath`), `crio-ID.scope` (CRI-O
//!   `internal/config/cgmgr/systemd_linux.go`), or `docker-ID.scope`; containerd without a driver of its own:
//!   `POD:cri-containerd:ID`.
//! - Podman: `/machine.slice/libpod-ID.scope`, with `/container` below it for the processes under cgroup
//!   version 2 (libpod `libpod/container_internal_linux.go`); `libpod-conmon-ID.scope` holds the
//!   monitor, which is none of the container's.
//! - LXC: `/lxc.payload.NAME` and, for its monitor, `/lxc.monitor.NAME` (`lxc.container.conf(5)`).
//! - systemd-nspawn: `/machine.slice/machine-NAME.scope/payload`, `systemd-nspawn@NAME.service`.

/// What a path says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathName {
    /// Something that a name can be made of.
    Named(String),
    /// A container with this identifier of 64 hexadecimal digits.
    Container(String),
    /// Nothing: the root, slices, sessions. What runs there are plain processes.
    Nothing,
}

/// Components that only say how a thing was started.
const GENERIC: [&str; 10] =
    ["init", "payload", "supervisor", "container", "app", "kubepods", "machine", "docker", "lxc", "init.scope"];
/// What container runtimes put before an identifier.
const RUNTIMES: [&str; 5] = ["docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-"];
/// What helpers of a container's runtime are called.
const MONITORS: [&str; 4] = ["crio-conmon-", "libpod-conmon-", "lxc.monitor.", "libpod-payload-conmon"];
const ID_DIGITS: usize = 64;

/// What the last component that means something to people says.
#[must_use]
pub fn of_path(path: &str) -> PathName {
    path.rsplit('/').find_map(component).unwrap_or(PathName::Nothing)
}

/// `None` where the component above has to say it.
fn component(text: &str) -> Option<PathName> {
    if text.is_empty() || text.ends_with(".slice") || GENERIC.contains(&text) {
        return None;
    }
    // Whoever's session or manager it is, what runs in it has no name of its own.
    let is_session = text.starts_with("session-") && text.ends_with(".scope");
    let is_manager = text.starts_with("user@") && text.ends_with(".service");
    if is_session || is_manager || MONITORS.iter().any(|monitor| text.starts_with(monitor)) {
        return Some(PathName::Nothing);
    }
    let stem = text.strip_suffix(".service").or_else(|| text.strip_suffix(".scope")).unwrap_or(text);
    let id = RUNTIMES.iter().find_map(|runtime| stem.strip_prefix(runtime)).unwrap_or(stem);
    let id = id.rsplit_once(':').map_or(id, |(_, id)| id);
    if id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(PathName::Container(id.to_owned()));
    }
    // A pod itself: its containers are below it, and its pause process is of no interest.
    if stem.starts_with("pod") && path_is_uuid(&stem[3..]) {
        return Some(PathName::Nothing);
    }
    let stem = stem.strip_prefix("lxc.payload.").or_else(|| stem.strip_prefix("machine-")).unwrap_or(stem);
    let name = stem.strip_prefix("systemd-nspawn@").unwrap_or(stem);
    // All instances of a template are one service.
    let name = name.split_once('@').map_or(name, |(template, _)| template);
    Some(PathName::Named(unescape(name)))
}

fn path_is_uuid(text: &str) -> bool {
    text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'_')
}

/// Undoes `systemd-escape(1)`: `\x2d` is `-`.
fn unescape(text: &str) -> String {
    let mut parts = text.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            _ => {
                plain.push_str("\\x");
                plain.push_str(part);
            }
        }
    }
    plain
}

/// The workload of a pod by the pod's name: without the hash of its ReplicaSet, its random suffix or its
/// number in a StatefulSet. Random parts are of `bcdfghjklmnpqrstvwxz2456789` only (`k8s.io/apimachinery`,
/// `pkg/util/rand`).
#[must_use]
pub fn workload(pod: &str) -> &str {
    let is_random = |text: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    };
    let Some((rest, last)) = pod.rsplit_once('-') else { return pod };
    if is_random(last, 5..=5) {
        return match rest.rsplit_once('-') {
            Some((name, hash)) if is_random(hash, 6..=10) => name,
            // A CronJob's run is named by its minute.
            Some((name, minute)) if minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => rest,
        };
    }
    if last.bytes().all(|byte| byte.is_ascii_digit()) { rest } else { pod }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c1be04d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7";

    #[test]
    fn paths_of_real_machines_give_units_containers_or_nothing() {
        let named = |name: &str| PathName::Named(name.to_owned());
        let container = || PathName::Container(ID.to_owned());
        let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        let slice_uid = uid.replace('-', "_");
        for (path, expected) in [
            ("/".to_owned(), PathName::Nothing),
            ("/init.scope".to_owned(), PathName::Nothing),
            ("/system.slice".to_owned(), PathName::Nothing),
            ("/system.slice/nginx.service".to_owned(), named("nginx")),
            ("/system.slice/nginx.service/init.scope".to_owned(), named("nginx")),
            ("/system.slice/system-postgresql.slice/postgresql@15-main.service".to_owned(), named("postgresql")),
            ("/system.slice/my\\x2dapp.service".to_owned(), named("my-app")),
            ("/user.slice/user-0.slice/session-3.scope".to_owned(), PathName::Nothing),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope".to_owned(), PathName::Nothing),
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/web.service".to_owned(), named("web")),
            (format!("/docker/{ID}"), container()),
            (format!("/docker/{ID}/init"), container()),
            (format!("/system.slice/docker-{ID}.scope"), container()),
            (format!("/kubepods/burstable/pod{uid}/{ID}"), container()),
            (format!("/kubepods/besteffort/pod{uid}"), PathName::Nothing),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice_uid}.slice/cri-containerd-{ID}.scope"
                ),
                container(),
            ),
            (format!("/kubepods.slice/kubepods-pod{slice_uid}.slice/crio-{ID}.scope"), container()),
            (format!("/kubepods.slice/kubepods-pod{slice_uid}.slice/crio-{ID}.scope/container"), container()),
            (format!("/kubepods.slice/kubepods-pod{slice_uid}.slice/crio-conmon-{ID}.scope"), PathName::Nothing),
            (format!("/kubepods.slice/kubepods-pod{slice_uid}.slice/docker-{ID}.scope"), container()),
            (
                format!("/system.slice/containerd.service/kubepods-pod{slice_uid}.slice:cri-containerd:{ID}"),
                container(),
            ),
            (format!("/machine.slice/libpod-{ID}.scope"), container()),
            (format!("/machine.slice/libpod-{ID}.scope/container"), container()),
            (format!("/machine.slice/libpod-conmon-{ID}.scope"), PathName::Nothing),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
                container(),
            ),
            ("/lxc.payload.mail/system.slice/postfix.service".to_owned(), named("postfix")),
            ("/lxc.payload.mail".to_owned(), named("mail")),
            ("/lxc.monitor.mail".to_owned(), PathName::Nothing),
            ("/machine.slice/machine-build.scope/payload".to_owned(), named("build")),
            ("/machine.slice/systemd-nspawn@build.service/payload".to_owned(), named("build")),
            ("/shop/cart".to_owned(), named("cart")),
            ("/shop/cart/init".to_owned(), named("cart")),
        ] {
            assert_eq!(of_path(&path), expected, "{path}");
        }
    }

    #[test]
    fn pods_are_named_by_their_workload() {
        for (pod, name) in [
            ("cart-7d4b9c6f5d-x2x9z", "cart"),
            ("node-exporter-5kxqz", "node-exporter"),
            ("postgres-0", "postgres"),
            ("backup-28473960-b5tlp", "backup"),
            ("web", "web"),
            ("my-app", "my-app"),
        ] {
            assert_eq!(workload(pod), name, "{pod}");
        }
    }
}
