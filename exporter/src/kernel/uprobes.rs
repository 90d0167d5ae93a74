//! Probes in the functions of OpenSSL.
//!
//! Where the kernel has them (Linux 6.6), all functions of a library are probed by two links of the kind
//! `BPF_LINK_TYPE_UPROBE_MULTI`, one for entries and one for returns. The kernel asks for no capability there beyond
//! those for loading the programs, and for CAP_SYS_PTRACE to go by `/proc/PID/root`. Probes by `perf_event_open(2)`, which is
//! how older kernels have them, take CAP_SYS_ADMIN (`perf_uprobe_event_init`, `kernel/events/core.c`).
//!
//! aya loads programs for the older kind only, so those for the newer one are relocated by its parser and loaded here.
//!
//! A link holds the file's inode: what was attached stays in programs that run although the file was replaced.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use aya_obj::Object;
use aya_obj::btf::BtfFeatures;
use quoll_openssl::LibraryError;
use rustix::thread::CapabilitySet;

use super::bpf::{self, Command};
use super::load::OBJECT;
use super::settings::Settings;
use crate::tls::TlsChoice;

const ENTER: &str = "tls_enter";
const LEAVE: &str = "tls_leave";

const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;
/// A kernel that has no types has no links to many functions either.
const NO_TYPES: BtfFeatures = BtfFeatures::new(false, false, false, false, false, false, false, false);
/// The verifier's words, if it refuses.
const LOG_BYTES: usize = 16 << 20;
/// As many of them, the last ones, as are written down.
const LOG_LINES: usize = 20;

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`, `include/uapi/linux/bpf.h`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
    types: u32,
    function_bytes: u32,
    functions: u64,
    function_count: u32,
    reserved: u32,
}

/// The part for `BPF_BTF_LOAD`.
#[repr(C)]
struct TypesLoad {
    types: u64,
    log: u64,
    bytes: u32,
    log_bytes: u32,
    log_level: u32,
    reserved: u32,
}

/// The part for `BPF_LINK_CREATE` with its member `uprobe_multi`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    probe_flags: u32,
    process: u32,
    reserved: u32,
}

/// Why a library is not probed, or none can be.
#[derive(Debug, thiserror::Error)]
pub enum UprobeError {
    /// TLS is not looked into.
    #[error("TLS is not looked into")]
    Off,
    /// The object's programs could not be read.
    #[error("the BPF object: {0}")]
    Object(String),
    /// A program was refused.
    #[error("{program} is refused: {source}")]
    Load {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The same, by aya.
    #[error("{program}: {source}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// What the kernel or aya said.
        source: Box<ProgramError>,
    },
    /// It is no library of OpenSSL's.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Only libraries that cost little are wished for.
    #[error("probes in it would cost too much")]
    TooSlow,
    /// It was refused.
    #[error("probes are refused: {0}")]
    Link(#[from] io::Error),
}

/// The loaded programs.
#[derive(Debug)]
pub struct Programs {
    loaded: Loaded,
    choice: TlsChoice,
    looks_inside: bool,
}

#[derive(Debug)]
enum Loaded {
    /// For links to many functions: at entries, and at returns.
    Multi([OwnedFd; 2]),
    /// For perf events; aya has them.
    Perf,
}

/// The probes in one library; [`Programs::detach`] takes them away.
#[derive(Debug)]
pub struct Library {
    links: Links,
    /// Whether they cost little.
    pub is_quick: bool,
}

#[derive(Debug)]
enum Links {
    /// For entries and returns. They go with their descriptors.
    Multi([OwnedFd; 2]),
    /// aya's names of its links.
    Perf(Vec<(&'static str, UProbeLinkId)>),
}

impl Programs {
    /// Loads the programs, those for older kernels only if all libraries are wished for.
    ///
    /// # Errors
    /// Where no kind is accepted, those of the last one.
    pub fn load(ebpf: &mut Ebpf, settings: &Settings) -> Result<Self, UprobeError> {
        let loaded = Self::load_any(ebpf, settings)?;
        Ok(Self { loaded, choice: settings.tls, looks_inside: !settings.tls_exported_only })
    }

    fn load_any(ebpf: &mut Ebpf, settings: &Settings) -> Result<Loaded, UprobeError> {
        if !settings.tls_by_perf {
            match load_multi(ebpf) {
                Ok(programs) => return Ok(Loaded::Multi(programs)),
                Err(refused) if settings.tls == TlsChoice::Auto => return Err(refused),
                Err(refused) => tracing::debug!("no links to many functions: {refused}"),
            }
        }
        for name in [ENTER, LEAVE] {
            uprobe(ebpf, name)?
                .load()
                .map_err(|source| UprobeError::Program { program: name, source: Box::new(source) })?;
        }
        Ok(Loaded::Perf)
    }

    /// Capabilities that it takes to probe a library.
    #[must_use]
    pub fn needs(&self) -> CapabilitySet {
        match self.loaded {
            Loaded::Multi(_) => CapabilitySet::SYS_PTRACE,
            Loaded::Perf => CapabilitySet::SYS_PTRACE.union(CapabilitySet::SYS_ADMIN),
        }
    }

    /// Probes a library.
    ///
    /// # Errors
    /// [`UprobeError`]; then nothing is probed.
    pub fn attach(&self, ebpf: &mut Ebpf, path: &Path) -> Result<Library, UprobeError> {
        let plan = quoll_openssl::plan(&quoll_openssl::read(path)?, self.looks_inside)?;
        if self.choice == TlsChoice::Auto && !plan.is_quick {
            return Err(UprobeError::TooSlow);
        }
        let is_quick = plan.is_quick;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) =
            plan.places.iter().map(|place| (place.offset, u64::from(place.kind))).unzip();
        // Returns first: no call is begun whose end would be missed.
        if let Loaded::Multi([enter, leave]) = &self.loaded {
            let leave = link(leave.as_fd(), path, &offsets, &cookies, BPF_F_UPROBE_MULTI_RETURN)?;
            let enter = link(enter.as_fd(), path, &offsets, &cookies, 0)?;
            return Ok(Library { links: Links::Multi([enter, leave]), is_quick });
        }
        let mut links = Vec::new();
        for name in [LEAVE, ENTER] {
            for (offset, cookie) in offsets.iter().zip(&cookies) {
                let point = UProbeAttachPoint {
                    location: UProbeAttachLocation::AbsoluteOffset(*offset),
                    cookie: (name == ENTER).then_some(*cookie),
                };
                let link = uprobe(ebpf, name)?.attach(point, path, UProbeScope::AllProcesses);
                match link {
                    Ok(link) => links.push((name, link)),
                    Err(source) => {
                        self.detach(ebpf, Library { links: Links::Perf(links), is_quick });
                        return Err(UprobeError::Program { program: name, source: Box::new(source) });
                    }
                }
            }
        }
        Ok(Library { links: Links::Perf(links), is_quick })
    }

    /// Takes the probes away.
    pub fn detach(&self, ebpf: &mut Ebpf, library: Library) {
        let links = match library.links {
            Links::Multi(links) => return drop(links),
            Links::Perf(links) => links,
        };
        for (name, link) in links {
            if let Ok(program) = uprobe(ebpf, name)
                && let Err(error) = program.detach(link)
            {
                tracing::warn!("a probe stays: {error}");
            }
        }
    }
}

fn uprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, UprobeError> {
    let program = ebpf.program_mut(name).ok_or_else(|| UprobeError::Object(format!("it has no {name}")))?;
    <&mut UProbe>::try_from(program).map_err(|source| UprobeError::Program { program: name, source: Box::new(source) })
}

/// Loads both programs for the newer kind, with the maps of those that are loaded already.
fn load_multi(ebpf: &Ebpf) -> Result<[OwnedFd; 2], UprobeError> {
    let wrong = |error: &dyn std::fmt::Display| UprobeError::Object(error.to_string());
    let mut object = Object::parse(OBJECT).map_err(|error| wrong(&error))?;
    object.programs.retain(|name, _| name == ENTER || name == LEAVE);
    // Callbacks, as `bpf_loop` has them, need types.
    let types =
        object.fixup_and_sanitize_btf(aya::features().btf().unwrap_or(&NO_TYPES)).map_err(|error| wrong(&error))?;
    let types = load_types(&types.ok_or_else(|| wrong(&"it has no types"))?.to_bytes())?;
    let maps = std::mem::take(&mut object.maps);
    let descriptors: HashMap<&str, RawFd> =
        ebpf.maps().filter_map(|(name, map)| Some((name, descriptor(map)?))).collect();
    let known = maps.iter().filter_map(|(name, map)| Some((name.as_str(), *descriptors.get(name.as_str())?, map)));
    let sections = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(known, &sections).map_err(|error| wrong(&error))?;
    object.relocate_calls(&sections).map_err(|error| wrong(&error))?;
    let programs = [load_program(&object, types.as_fd(), ENTER)?, load_program(&object, types.as_fd(), LEAVE)?];
    // A kernel that knows these links refuses a directory as no file, and any other says that it is not valid.
    match link(programs[0].as_fd(), Path::new("/"), &[1], &[0], 0) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(programs),
        Err(error) => Err(error.into()),
        Ok(_) => Err(UprobeError::Object("a directory was probed".to_owned())),
    }
}

/// The maps that our programs have are of these kinds.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::PerCpuArray(data) | Map::RingBuf(data) => {
            Some(data.fd().as_fd().as_raw_fd())
        }
        _ => None,
    }
}

fn load_types(bytes: &[u8]) -> Result<OwnedFd, UprobeError> {
    let attributes = TypesLoad {
        types: bytes.as_ptr() as u64,
        log: 0,
        bytes: bytes.len() as u32,
        log_bytes: 0,
        log_level: 0,
        reserved: 0,
    };
    bpf::call(Command::LoadTypes, &attributes).map_err(|source| UprobeError::Load { program: "BTF", source })
}

fn load_program(object: &Object, types: BorrowedFd<'_>, name: &'static str) -> Result<OwnedFd, UprobeError> {
    let missing = || UprobeError::Object(format!("it has no {name}"));
    let program = object.programs.get(name).ok_or_else(missing)?;
    let function = object.functions.get(&program.function_key()).ok_or_else(missing)?;
    let mut named = [0; 16];
    named[..name.len()].copy_from_slice(name.as_bytes());
    let functions = function.func_info.func_info_bytes();
    let mut attributes = ProgramLoad {
        program_type: BPF_PROG_TYPE_KPROBE,
        instruction_count: function.instructions.len() as u32,
        instructions: function.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        log_level: 0,
        log_bytes: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: named,
        interface: 0,
        expected_attach_type: BPF_TRACE_UPROBE_MULTI,
        types: types.as_raw_fd() as u32,
        function_bytes: function.func_info_rec_size as u32,
        functions: functions.as_ptr() as u64,
        function_count: function.func_info.func_info.len() as u32,
        reserved: 0,
    };
    let result = bpf::call(Command::LoadProgram, &attributes);
    if result.is_err() && tracing::enabled!(tracing::Level::DEBUG) {
        let mut log = vec![0_u8; LOG_BYTES];
        attributes.log_level = 1;
        attributes.log_bytes = LOG_BYTES as u32;
        attributes.log = log.as_mut_ptr() as u64;
        let _ = bpf::call(Command::LoadProgram, &attributes);
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.trim_end_matches('\0').lines().rev().take(LOG_LINES).collect();
        tracing::debug!("{name} is refused: {}", lines.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    result.map_err(|source| UprobeError::Load { program: name, source })
}

fn link(
    program: BorrowedFd<'_>,
    path: &Path,
    offsets: &[u64],
    cookies: &[u64],
    probe_flags: u32,
) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = LinkCreate {
        program: program.as_raw_fd() as u32,
        target: 0,
        attach_type: BPF_TRACE_UPROBE_MULTI,
        flags: 0,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        reference_counters: 0,
        cookies: cookies.as_ptr() as u64,
        count: offsets.len().min(cookies.len()) as u32,
        probe_flags,
        process: 0,
        reserved: 0,
    };
    bpf::call(Command::CreateLink, &attributes)
}
