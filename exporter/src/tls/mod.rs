//! TLS by OpenSSL: which libraries the processes of this node use, and where their functions are.
//!
//! A probe is set in a file, once, and is there in every process that maps it, now or later. So what has to
//! be found are libraries, not processes: a process that starts with a library that is known already is seen
//! from its first call on. Those of the node itself are known from the start ([`FOLDERS`]). One that nobody used before
//! (a new image, a wheel with its own copy) is found within some seconds, by [`libraries::Libraries::look`]; connections
//! that were made before that count as encrypted.
//!
//! What the probes see is the kernel side's: `ebpf/quoll-ebpf/src/tls.rs`.

pub mod libraries;

use std::fmt;
use std::fmt::Display;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::privileges;

/// Which libraries are looked into: `true` and `false`, or `auto`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsChoice {
    /// Those that cost little ([`quoll_openssl::Plan::is_quick`]), where the kernel has cheap probes for whoever may load
    /// programs, and where they do no harm.
    Auto,
    /// All, as long as there is any way to.
    True,
    /// None.
    #[default]
    False,
}

impl Serialize for TlsChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::True => serializer.serialize_bool(true),
            Self::False => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for TlsChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = TlsChoice;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("auto, true or false")
            }

            fn visit_bool<E: de::Error>(self, is_wished: bool) -> Result<TlsChoice, E> {
                Ok(if is_wished { TlsChoice::True } else { TlsChoice::False })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TlsChoice, E> {
                match text {
                    "auto" => Ok(TlsChoice::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// From here on probes can be set in programs by links of their own, which take no more than loading does
/// ([`crate::kernel::uprobes`]).
pub const LINKS_TO_PROGRAMS_FROM: (u32, u32, u32) = (6, 6, 0);
/// From here on a probe at a return makes a system call of its own (`uretprobe`; x86-64), which filters by seccomp did not
/// know and some ended the program for.
const RETURNS_BY_CALLS_FROM: (u32, u32, u32) = (6, 11, 0);
/// Filters let it pass (`seccomp: passthrough uretprobe systemcall without filtering`) from these on, each in its series.
const CALLS_PASS_FROM: [(u32, u32, u32); 3] = [(6, 12, 14), (6, 13, 3), (6, 14, 0)];

/// What `auto` has to know of a machine.
#[derive(Debug, Clone, Copy)]
struct Machine<'a> {
    is_x86: bool,
    /// Whether programs may have shadow stacks, to which a probe at a return is an attack before it is a call (`x86/shstk:
    /// Make return uprobe work with shadow stack`, Linux 6.11).
    has_shadow_stacks: bool,
    /// Of its kernel.
    release: &'a str,
}

/// Why `auto` leaves TLS alone on a machine.
fn objection(Machine { is_x86, has_shadow_stacks, release }: Machine<'_>) -> Option<&'static str> {
    let version = privileges::version(release)?;
    let passes = |from: &(u32, u32, u32)| version >= *from && (version.1 == from.1 || *from == CALLS_PASS_FROM[2]);
    if !is_x86 {
        Some("cheap probes are known of x86-64 only")
    } else if version < LINKS_TO_PROGRAMS_FROM {
        Some("it takes Linux 6.6")
    } else if version < RETURNS_BY_CALLS_FROM && has_shadow_stacks {
        Some("before Linux 6.11 probes can end programs that have a shadow stack, which this processor offers them")
    } else if version >= RETURNS_BY_CALLS_FROM && !CALLS_PASS_FROM.iter().any(passes) {
        Some("from Linux 6.11 to 6.12.13 and 6.13.2 probes can end programs that have a filter by seccomp")
    } else {
        None
    }
}

/// Why TLS is left alone on this kernel.
#[must_use]
pub fn objection_here(choice: TlsChoice) -> Option<&'static str> {
    let is_auto = choice == TlsChoice::Auto;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let machine =
        Machine { is_x86: cfg!(target_arch = "x86_64"), has_shadow_stacks: has_shadow_stacks(), release: &release };
    objection(machine).filter(|_| is_auto)
}

/// Whether the kernel offers programs shadow stacks.
fn has_shadow_stacks() -> bool {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut flags = processors.lines().filter(|line| line.starts_with("flags")).take(1);
    flags.any(|flags| flags.split_ascii_whitespace().any(|flag| flag == "user_shstk"))
}

/// Whether libraries are looked into on this kernel; says so where they are not and might.
#[must_use]
pub fn is_looked_into(choice: TlsChoice) -> bool {
    let objection = objection_here(choice);
    if let Some(objection) = &objection {
        say_not_seen(choice, objection);
    }
    choice != TlsChoice::False && objection.is_none()
}

/// Says, loudly if it was asked for, that nothing within TLS is seen.
pub fn say_not_seen(choice: TlsChoice, why: &dyn Display) {
    match choice {
        TlsChoice::Auto => tracing::info!("what is said within TLS is not seen: {why}"),
        TlsChoice::True | TlsChoice::False => tracing::warn!("what is said within TLS is not seen: {why}"),
    }
}

/// How many libraries there are by what is done about them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LibraryCounts {
    /// Watched at little cost.
    pub quick: usize,
    /// Watched where the kernel has to run an instruction by itself at each call.
    pub slow: usize,
    /// Left alone since they could only be watched like that.
    pub too_slow: usize,
    /// Those that cannot be.
    pub refused: usize,
}

/// Where the node's own libraries are, seen from its first process, or from here where that may not be looked at.
pub const FOLDERS: [&str; 5] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib"];
/// The root folder of each.
pub const ROOTS: [&str; 2] = ["/proc/1/root", "/"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_leaves_kernels_alone_where_probes_cost_much_or_do_harm() {
        let good = [
            "6.6.0",
            "6.8.0-31-generic",
            "6.10.14",
            "6.12.14",
            "6.12.38+deb13-amd64",
            "6.13.3",
            "6.14.0-rc5",
            "6.18.1",
            "7.0",
        ];
        let on = |release| objection(Machine { is_x86: true, has_shadow_stacks: false, release });
        for release in good {
            assert_eq!(on(release), None, "{release}");
        }
        for release in ["5.15.0", "6.1.0-18-amd64", "6.5.9"] {
            assert!(on(release).unwrap().contains("6.6"), "{release}");
        }
        for release in ["6.11.0-9-generic", "6.11.11", "6.12.0", "6.12.13", "6.13.0", "6.13.2-arch1-1"] {
            assert!(on(release).unwrap().contains("seccomp"), "{release}");
        }
        let other = |is_x86, release| objection(Machine { is_x86, has_shadow_stacks: true, release });
        assert!(other(false, "6.18.1").unwrap().contains("x86-64"));
        for release in ["6.6.0", "6.8.0-31-generic", "6.10.14"] {
            assert!(other(true, release).unwrap().contains("shadow stack"), "{release}");
        }
        for release in ["6.12.14", "6.18.1"] {
            assert_eq!(other(true, release), None, "{release}");
        }
    }

    #[test]
    fn a_choice_is_a_truth_or_auto() {
        for (text, choice) in [("auto", TlsChoice::Auto), ("true", TlsChoice::True), ("false", TlsChoice::False)] {
            assert_eq!(serde_saphyr::from_str::<TlsChoice>(text).unwrap(), choice);
            assert_eq!(serde_saphyr::from_str::<TlsChoice>(&serde_json::to_string(&choice).unwrap()).unwrap(), choice);
        }
        assert!(serde_saphyr::from_str::<TlsChoice>("always").unwrap_err().to_string().contains("auto, true or false"));
    }
}
