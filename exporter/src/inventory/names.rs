//! Names made from cgroup paths: systemd units, containers, or the folder that somebody made.
//!
//! Forms seen, with their source:
//! - systemd: `/system.slice/NAME.service`, templates `NAME@INSTANCE.service`, user managers
//!   `/user.slice/user-1000.slice/user@1000.service/app.slice/NAME.service`, sessions `session-3.scope`
//!   (`systemd.slice(5)`, `systemd.special(7)`); other bytes of a name are escaped as `\xNN`
//!   (`systemd-escape(1)`). Of transient units, `run-u7.service`, `run-r1f2e.scope`, `run-p7-i9.scope` (`systemd-run(1)`)
//!   and terminals' `vte-spawn-UUID.scope` have made-up names, so they have none; applications of a desktop are
//!   `app-LAUNCHER-ID-RANDOM.scope` (systemd's `docs/DESKTOP_ENVIRONMENTS.md`).
//! - Docker: `/docker/ID` (cgroupfs driver), `docker-ID.scope` (systemd driver; moby
//!   `daemon/oci_linux.go`, `WithCgroups`); steps of its builds, `/docker/buildkit/RANDOM`.
//! - Kubernetes: `kubepods[.slice]/...pod<UID>[.slice]/` and then `ID` (cgroupfs), `cri-containerd-ID.scope`
//!   (containerd `internal/cri/server/podsandbox/helpers.go`, `getCgroupsPath`), `crio-ID[.scope]` (CRI-O
//!   `internal/config/cgmgr/{systemd,cgroupfs}_linux.go`), or `docker-ID.scope`; containerd without a driver of its own:
//!   `POD:cri-containerd:ID`. The UID of a static pod is a hash of 32 digits without dashes (kubelet `pkg/kubelet/config`).
//! - nerdctl: `nerdctl-ID.scope`, or `/NAMESPACE/ID` (cgroupfs driver).
//! - Podman: `/machine.slice/libpod-ID.scope`, with `/container` below it for the processes under cgroup
//!   version 2 (libpod `libpod/container_internal_linux.go`); pods `machine-libpod_pod_ID.slice`; `/libpod_parent/libpod-ID`,
//!   older ones with `/ctr`, by the cgroupfs driver. `libpod-conmon-ID.scope` and `conmon` hold the monitor, and
//!   `podman-pause-RANDOM.scope` what keeps the namespaces of a user's containers: none is the container's. A unit that
//!   runs one (Quadlet; `podman run --cgroups=split`) has `libpod-payload-ID` below it, and `runtime` for the monitor and
//!   the ports that are forwarded: all of it is the unit's.
//! - LXC: `/lxc.payload.NAME` and, for its monitor, `/lxc.monitor.NAME` (`lxc.container.conf(5)`); `/lxc/NAME`, and
//!   `/lxc/NAME/ns` and `/lxc.monitor/NAME` by Proxmox; `lxc.pivot` is LXC's own.
//! - systemd-nspawn: `/machine.slice/machine-NAME.scope/payload`, `systemd-nspawn@NAME.service`; libvirt's
//!   `machine-qemu-NUMBER-NAME.scope`.
//!
//! The innermost unit or container says it: a container in a container, or a unit in one, is its own. Folders below a unit
//! or a container are parts of it.

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
const GENERIC: [&str; 13] = [
    "init",
    "payload",
    "supervisor",
    "container",
    "ctr",
    "ns",
    "app",
    "kubepods",
    "machine",
    "docker",
    "lxc",
    "libpod_parent",
    "init.scope",
];
/// What container runtimes put before an identifier.
const RUNTIMES: [&str; 6] = ["docker-", "cri-containerd-", "containerd-", "crio-", "libpod-", "nerdctl-"];
/// What helpers of containers' runtimes are called.
const HELPERS: [&str; 6] =
    ["crio-conmon-", "libpod-conmon-", "lxc.monitor.", "lxc.pivot", "podman-pause-", "rootless-netns-"];
const ID_DIGITS: usize = 64;

/// What one component of a path says.
enum Component {
    /// A unit or a container: whatever is below is a part of it.
    Whole(PathName),
    /// Some folder.
    Folder(String),
    /// Whose it is, and nothing of what it is.
    Anonymous,
}

/// What the innermost component that means something to people says.
#[must_use]
pub fn of_path(path: &str) -> PathName {
    let mut folder = None;
    let mut rest = path;
    while let Some((above, text)) = rest.rsplit_once('/') {
        match component(text, above) {
            Some(Component::Whole(name)) => return name,
            Some(Component::Folder(name)) => folder = folder.or(Some(name)),
            Some(Component::Anonymous) => break,
            None => {}
        }
        rest = above;
    }
    folder.map_or(PathName::Nothing, PathName::Named)
}

/// `None` where the component above has to say it.
fn component(text: &str, above: &str) -> Option<Component> {
    if text.is_empty() || text.ends_with(".slice") || GENERIC.contains(&text) {
        return None;
    }
    let (stem, is_unit) = match text.strip_suffix(".service").or_else(|| text.strip_suffix(".scope")) {
        Some(stem) => (stem, true),
        None => (text, false),
    };
    // Whoever's session or manager it is, what runs in it has no name of its own. A pod itself: its containers are below
    // it, and its pause process is of no interest.
    let is_session = stem.starts_with("session-") || stem.starts_with("user@");
    let is_pod = stem.strip_prefix("pod").is_some_and(path_is_uuid);
    let above = above.rsplit('/').next().unwrap_or_default();
    let is_helper = HELPERS.iter().any(|helper| stem.starts_with(helper))
        || (stem == "conmon" && !is_unit)
        || above == "lxc.monitor";
    if is_pod || is_helper || (is_unit && (is_session || is_made_up(stem))) {
        return Some(Component::Anonymous);
    }
    if above == "buildkit" {
        return Some(Component::Folder(above.to_owned()));
    }
    // Its unit is above it; what is not a unit's has no such cgroup.
    if stem.starts_with("libpod-payload-") {
        return None;
    }
    let id = RUNTIMES.iter().find_map(|runtime| stem.strip_prefix(runtime)).unwrap_or(stem);
    let id = id.rsplit_once(':').map_or(id, |(_, id)| id);
    if id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(Component::Whole(PathName::Container(id.to_owned())));
    }
    let lxc = stem.strip_prefix("lxc.payload.");
    let is_whole = is_unit || lxc.is_some();
    let name = lxc.or_else(|| stem.strip_prefix("machine-")).unwrap_or(stem);
    let name = name.strip_prefix("systemd-nspawn@").unwrap_or(name);
    // All instances of a template are one service.
    let name = name.split_once('@').map_or(name, |(template, _)| template);
    let name = unescape(name);
    let name = if is_unit { without_number(&name).to_owned() } else { name };
    Some(if is_whole { Component::Whole(PathName::Named(name)) } else { Component::Folder(name) })
}

/// Whether a unit's name was made up for one run, by `systemd-run(1)` or a terminal.
fn is_made_up(stem: &str) -> bool {
    let is_all = |text: &str, of: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| of(&byte));
    let Some(run) = stem.strip_prefix("run-") else {
        return stem.starts_with("vte-spawn-") || stem.starts_with("tmux-spawn-");
    };
    let (kind, rest) = run.split_at_checked(1).unwrap_or_default();
    match kind {
        "u" => is_all(rest, u8::is_ascii_digit),
        "r" => rest.len() >= 8 && is_all(rest, u8::is_ascii_hexdigit),
        "p" => rest
            .split_once("-i")
            .is_some_and(|(process, inode)| is_all(process, u8::is_ascii_digit) && is_all(inode, u8::is_ascii_digit)),
        _ => false,
    }
}

/// A unit's name without the number that its starter counts: of a virtual machine, or of a desktop's application.
fn without_number(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((number, machine)) = name.strip_prefix("qemu-").and_then(|rest| rest.split_once('-')) {
        return if is_number(number) { machine } else { name };
    }
    match name.rsplit_once('-') {
        Some((application, number)) if name.starts_with("app-") && is_number(number) => application,
        _ => name,
    }
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
        let static_uid = "5e28efaf2b6fbd43e1d0ab2b5e5d5a0f";
        let other = ID.replace('3', "4");
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
            ("/user.slice/user-1000.slice/user@1000.service/app.slice/web@a.service".to_owned(), named("web")),
            ("/user.slice/user-1000.slice/user@1000.service/shop".to_owned(), named("shop")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-web-4711.scope".to_owned(),
                named("app-gnome-web"),
            ),
            ("/system.slice/run-u25.service".to_owned(), PathName::Nothing),
            ("/system.slice/run-r1f2e3d4c.scope".to_owned(), PathName::Nothing),
            ("/system.slice/run-u25.service/shop/cart".to_owned(), named("cart")),
            ("/user.slice/user-0.slice/session-3.scope/shop/cart".to_owned(), named("cart")),
            ("/system.slice/run-p812-i4711.scope".to_owned(), PathName::Nothing),
            ("/system.slice/runner.service".to_owned(), named("runner")),
            ("/system.slice/run-prod2.service".to_owned(), named("run-prod2")),
            // What a unit makes below itself is a part of it.
            ("/system.slice/php8.2-fpm.service/pool/www".to_owned(), named("php8.2-fpm")),
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
            (format!("/kubepods/burstable/pod{uid}/crio-{ID}"), container()),
            (format!("/kubepods/burstable/pod{uid}/crio-conmon-{ID}"), PathName::Nothing),
            (format!("/crio/crio-{ID}"), container()),
            // Static pods; a kubelet in a container; one in a folder of its own.
            (format!("/kubepods/burstable/pod{static_uid}/{ID}"), container()),
            (format!("/kubepods/besteffort/pod{static_uid}"), PathName::Nothing),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{static_uid}.slice/crio-{ID}.scope"
                ),
                container(),
            ),
            (format!("/docker/{other}/kubelet/kubepods/besteffort/pod{uid}/{ID}"), container()),
            (
                format!(
                    "/docker/{other}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{slice_uid}.slice/cri-containerd-{ID}.scope"
                ),
                container(),
            ),
            (format!("/docker/{other}/kubelet.slice/kubelet.service"), named("kubelet")),
            // A container in a container, and parts of one.
            (format!("/docker/{other}/docker/{ID}"), container()),
            (format!("/system.slice/docker-{other}.scope/docker/{ID}"), container()),
            (format!("/system.slice/docker-{ID}.scope/workers/1"), container()),
            (format!("/docker/{ID}/system.slice/nginx.service"), named("nginx")),
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
            (format!("/machine.slice/machine-libpod_pod_{ID}.slice/libpod-{ID}.scope/container"), container()),
            (format!("/libpod_parent/libpod-{ID}/ctr"), container()),
            (format!("/user.slice/libpod_parent/libpod-{ID}"), container()),
            ("/libpod_parent/conmon".to_owned(), PathName::Nothing),
            (format!("/system.slice/web.service/libpod-payload-{ID}"), named("web")),
            ("/system.slice/web.service/runtime".to_owned(), named("web")),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/app.slice/app-shop.slice/cart@8000.service/libpod-payload-{ID}"
                ),
                named("cart"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/user.slice/podman-pause-9a1b.scope".to_owned(),
                PathName::Nothing,
            ),
            (format!("/system.slice/nerdctl-{ID}.scope"), container()),
            (format!("/default/{ID}"), container()),
            (format!("/system.slice/containerd-{ID}.scope"), container()),
            (format!("/ecs/{uid}/{ID}"), container()),
            (format!("/ecstasks.slice/ecstasks-{slice_uid}.slice/docker-{ID}.scope"), container()),
            ("/docker/buildkit/x6k0c2n9q1v8z3m5b7d4f6h8j".to_owned(), named("buildkit")),
            (
                format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"),
                container(),
            ),
            ("/lxc.payload.mail/system.slice/postfix.service".to_owned(), named("postfix")),
            ("/lxc.payload.mail".to_owned(), named("mail")),
            ("/lxc.monitor.mail".to_owned(), PathName::Nothing),
            ("/lxc.payload.user-1000_mail/init.scope".to_owned(), named("user-1000_mail")),
            (format!("/lxc.payload.mail/system.slice/docker-{ID}.scope"), container()),
            ("/lxc/101/ns".to_owned(), named("101")),
            ("/lxc/101/ns/system.slice/postfix.service".to_owned(), named("postfix")),
            ("/lxc.monitor/101".to_owned(), PathName::Nothing),
            ("/lxc.pivot".to_owned(), PathName::Nothing),
            ("/machine.slice/machine-build.scope/payload".to_owned(), named("build")),
            ("/machine.slice/systemd-nspawn@build.service/payload".to_owned(), named("build")),
            ("/machine.slice/machine-my\\x2dbuild.scope/payload/system.slice/web.service".to_owned(), named("web")),
            ("/machine.slice/machine-qemu\\x2d3\\x2dmail.scope/libvirt/emulator".to_owned(), named("mail")),
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
