//! Capabilities: which a collector needs, which are kept, and what to say when one is missing.
//!
//! Programs and maps are reached through descriptors that are held, so what loading them takes is given
//! up at once: effective, permitted, inheritable, ambient and bounding sets shrink to what the enabled
//! collectors keep, and no program that the exporter might start could gain any (`no_new_privs`). A thread's
//! capabilities are its own (`capabilities(7)`): every thread calls [`limit_thread`].

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::btf::{BtfError, KERNEL_BTF};
use crate::kernel::{KernelError, Settings};

/// Capabilities of one collector with one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// To start at all.
    pub to_start: CapabilitySet,
    /// For life; without them it sees less.
    pub to_run: CapabilitySet,
    /// What it sees less without those in `to_run`, or without those it can start without.
    pub otherwise: &'static str,
}

impl Needs {
    /// No capability at all.
    pub const NONE: Self = Self { to_start: CapabilitySet::empty(), to_run: CapabilitySet::empty(), otherwise: "" };

    /// What loading and attaching takes, kept no longer than that.
    #[must_use]
    pub const fn attaching() -> Self {
        Self { to_start: CapabilitySet::BPF.union(CapabilitySet::PERFMON), ..Self::NONE }
    }

    /// The same, and `to_run` for life.
    #[must_use]
    pub const fn and_for_life(self, to_run: CapabilitySet, otherwise: &'static str) -> Self {
        Self { to_run, otherwise, ..self }
    }
}

/// What following translated addresses takes ([`crate::nat`]).
pub const FOLLOW_NAT: Needs = Needs {
    to_start: CapabilitySet::NET_ADMIN,
    to_run: CapabilitySet::empty(),
    otherwise: "peers behind translated addresses are not named",
};

/// What looking into TLS takes on this kernel: libraries are looked for, and probed, for life.
#[must_use]
pub fn looking_into_tls() -> Needs {
    looking_into_tls_on(&rustix::system::uname().release().to_string_lossy())
}

fn looking_into_tls_on(release: &str) -> Needs {
    if version(release).is_some_and(|version| version < crate::tls::LINKS_TO_PROGRAMS_FROM) {
        Needs::attaching()
            .and_for_life(CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_PTRACE), "nothing within TLS is seen")
    } else {
        Needs::attaching().and_for_life(CapabilitySet::SYS_PTRACE, "only this user's processes are seen within TLS")
    }
}

const NAMES: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
];

/// Names joined by blanks, or `-` for none.
#[must_use]
pub fn names(set: CapabilitySet) -> String {
    let names: Vec<&str> = NAMES.iter().filter(|(one, _)| set.contains(*one)).map(|(_, name)| *name).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(" ") }
}

/// What this thread may use now.
#[must_use]
pub fn effective() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Gives up everything but `kept`, of what this thread has; gives what is left.
///
/// # Errors
/// Those of `capset(2)` and `prctl(2)`; giving up is always permitted, except by a security module.
pub fn limit_thread(kept: CapabilitySet) -> std::io::Result<CapabilitySet> {
    use rustix::thread;
    let permitted = capabilities(None)?.permitted;
    // Only with CAP_SETPCAP, and only of use to programs that are started later: best effort.
    if permitted.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            let _ = thread::remove_capability_from_bounding_set(capability);
        }
    }
    let _ = thread::clear_ambient_capability_set();
    thread::set_no_new_privs(true)?;
    let left = permitted & kept;
    set_capabilities(None, CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() })?;
    Ok(left)
}

/// Runs `work` with no capabilities in effect, which come back afterwards.
///
/// # Errors
/// Those of `capset(2)`.
pub fn without<T>(work: impl FnOnce() -> T) -> std::io::Result<T> {
    let before = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..before })?;
    let result = work();
    set_capabilities(None, before)?;
    Ok(result)
}

/// The oldest kernel that the programs run on: it has the ring buffer, CAP_BPF and map iterators
/// (`kernelnewbies.org/Linux_5.8`, `Linux_5.9`).
const OLDEST: (u32, u32, u32) = (5, 9, 0);
/// From here on maps count against the memory of the control group instead of RLIMIT_MEMLOCK.
const UNLIMITED_FROM: (u32, u32, u32) = (5, 11, 0);

/// Why the programs could not be loaded, in one line: the first cause that the user can do something about.
#[must_use]
pub fn explain(error: &KernelError) -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    explain_on(error, &release, effective())
}

fn explain_on(error: &KernelError, release: &str, effective: CapabilitySet) -> String {
    if version(release).is_some_and(|version| version < OLDEST) {
        return format!("this kernel is {release}, and {}.{} or newer is needed", OLDEST.0, OLDEST.1);
    }
    if let KernelError::Btf(BtfError::Read { source, .. }) = error
        && source.kind() == std::io::ErrorKind::NotFound
    {
        return format!("this kernel does not publish its types as {KERNEL_BTF} (CONFIG_DEBUG_INFO_BTF)");
    }
    let missing = Needs::attaching().to_start - effective;
    if !missing.is_empty() && !effective.contains(CapabilitySet::SYS_ADMIN) {
        return format!("missing: {}", names(missing));
    }
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// `5.10.70-8-amd64` is 5.10.70.
pub(crate) fn version(release: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit()).map(|digits| digits.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or_default()))
}

/// Raises RLIMIT_MEMLOCK as far as permitted where the kernel counts maps against it; gives a warning if
/// that is not enough.
#[must_use]
pub fn prepare_memlock(settings: &Settings) -> Option<String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let limit = || getrlimit(Resource::Memlock).current;
    if memlock_warning(&release, limit(), settings).is_some() {
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    }
    memlock_warning(&release, limit(), settings)
}

fn memlock_warning(release: &str, limit: Option<u64>, settings: &Settings) -> Option<String> {
    let needed = settings.kernel_bytes();
    let is_too_low = version(release)? < UNLIMITED_FROM && limit? < needed;
    is_too_low.then(|| {
        format!(
            "RLIMIT_MEMLOCK is {} KiB, and this kernel ({release}) counts about {} MiB of maps against it: \
             raise it (LimitMEMLOCK=infinity), or lower --max-connections",
            limit.unwrap_or_default() / 1024,
            needed >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn btf_error(kind: std::io::ErrorKind) -> KernelError {
        KernelError::Btf(BtfError::Read { path: KERNEL_BTF.to_owned(), source: kind.into() })
    }

    #[test]
    fn a_refusal_names_the_first_thing_that_is_missing() {
        let all = CapabilitySet::all();
        let missing = btf_error(std::io::ErrorKind::NotFound);
        let said = explain_on(&missing, "5.4.0-42-generic", all);
        assert_eq!(said, "this kernel is 5.4.0-42-generic, and 5.9 or newer is needed");
        assert!(explain_on(&missing, "6.1.0", all).contains("CONFIG_DEBUG_INFO_BTF"));
        let other = KernelError::Missing("tcp_state_raw");
        assert_eq!(explain_on(&other, "6.1.0", CapabilitySet::BPF), "missing: CAP_PERFMON");
        assert_eq!(explain_on(&other, "6.1.0", CapabilitySet::empty()), "missing: CAP_BPF CAP_PERFMON");
        assert!(explain_on(&other, "6.1.0", all).contains("tcp_state_raw"));
    }

    #[test]
    fn old_kernels_ask_for_more_to_look_into_tls() {
        let [old, new] = ["6.1.0-18-amd64", "6.6.0"].map(|release| looking_into_tls_on(release).to_run);
        assert_eq!((names(old).as_str(), names(new).as_str()), ("CAP_SYS_PTRACE CAP_SYS_ADMIN", "CAP_SYS_PTRACE"));
    }

    #[test]
    fn locked_memory_is_warned_of_where_it_is_counted_and_too_little() {
        let settings = Settings::default();
        let said = memlock_warning("5.10.0-8-amd64", Some(64 * 1024), &settings).unwrap();
        assert!(said.contains("64 KiB") && said.contains("LimitMEMLOCK"), "{said}");
        assert_eq!(memlock_warning("5.10.0-8-amd64", None, &settings), None);
        assert_eq!(memlock_warning("5.10.0-8-amd64", Some(1 << 40), &settings), None);
        assert_eq!(memlock_warning("6.1.0", Some(64 * 1024), &settings), None);
    }

    #[test]
    fn a_thread_keeps_what_it_is_told_to_and_no_more() {
        let left = std::thread::spawn(|| {
            let had = effective();
            let left = limit_thread(CapabilitySet::SYS_PTRACE).unwrap();
            assert_eq!(left, had & CapabilitySet::SYS_PTRACE);
            assert_eq!(effective(), left);
            limit_thread(CapabilitySet::all()).unwrap()
        });
        assert!(CapabilitySet::SYS_PTRACE.contains(left.join().unwrap()), "what was given up does not come back");
    }

    #[test]
    fn work_without_capabilities_gives_them_back() {
        let before = effective();
        assert_eq!(without(effective).unwrap(), CapabilitySet::empty());
        assert_eq!(effective(), before);
    }
}
