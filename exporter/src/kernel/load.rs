//! Loads and attaches the programs, with less of what was wished where this kernel refuses it.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::maps::Map;
use aya::programs::{BtfTracePoint, Iter, ProgramFd, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use quoll_ebpf_abi::protocols::{Protocol, Protocols};

use super::bpf::Taker;
use super::map_iterator::MapIterator;
use super::misses::Misses;
use super::ring::Ring;
use super::uprobes::Programs;
use super::{Kernel, KernelError, Settings, offsets, targets};
use crate::btf::Btf;
use crate::memory;
use crate::tls;

/// The programs, as built.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/quoll.bpf.o"));

/// Threads that are in a call of a TLS library at once, and those that were last.
const TLS_CALLS: u32 = 8_192;

/// The form of the program at system calls that is tried last.
const SYSCALL_EXIT_RAW: &str = "syscall_exit_raw";

/// Loads with `settings`, or with fewer protocols, and warns then.
///
/// # Errors
/// What the last attempt says.
pub fn load(settings: Settings) -> Result<Kernel, KernelError> {
    let mut result = load_once(settings);
    for (protocols, warning) in fallbacks(settings.protocols) {
        match result {
            Err(KernelError::Program { program: SYSCALL_EXIT_RAW, source }) => {
                tracing::debug!("{source}");
                tracing::warn!("{warning}");
                result = load_once(Settings { protocols, ..settings });
            }
            other => return other,
        }
    }
    result
}

fn load_once(settings: Settings) -> Result<Kernel, KernelError> {
    // A new loader reads all of the kernel's types by itself, some 25 MB. Nothing here needs them,
    // so they go before anything else comes.
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    memory::give_back();
    let btf = Btf::of_running_kernel()?;
    let offsets = offsets::find(&btf)?;
    let types = targets::list(&btf)?;
    drop(btf);
    let looks_into_tls = settings.protocols.bits != 0 && tls::is_looked_into(settings.tls);
    let tls_global = u32::from(looks_into_tls);
    let mut ebpf = loader
        .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
        .map_max_entries("CONNECTIONS", settings.connections)
        .override_global("PROTOCOLS", bytemuck::bytes_of(&settings.protocols), true)
        .override_global("LOOKS_INTO_TLS", &tls_global, true)
        .map_max_entries("TLS_CALLS", if looks_into_tls { TLS_CALLS } else { 1 })
        .map_max_entries("TLS_SOCKETS", if looks_into_tls { settings.exchanges } else { 1 })
        .map_max_entries("EXCHANGES", settings.exchanges)
        .map_max_entries("LISTENERS", settings.listeners)
        .map_max_entries("DATAGRAM_QUERIES", settings.datagrams)
        .map_max_entries("DATAGRAM_FLOWS", settings.pairs())
        .map_max_entries("ENDED", settings.ring_bytes)
        .map_max_entries("BLOCKS", settings.block_bytes())
        .load(OBJECT)?;

    let typed = (!settings.raw_only).then_some(&types);
    let unseen = attach_tracepoint(&mut ebpf, typed, "tcp_state_btf", "tcp_state_raw", "inet_sock_set_state")?;
    if settings.protocols.bits != 0 {
        attach_tracepoint(&mut ebpf, typed, "syscall_exit_btf", SYSCALL_EXIT_RAW, "sys_exit")?;
    }
    let tls = looks_into_tls.then(|| Programs::load(&mut ebpf, &settings));
    let tls = tls.and_then(|loaded| loaded.inspect_err(|error| tls::say_not_seen(settings.tls, error)).ok());
    let connections = attach_map_iterator(&mut ebpf, &types, "live_connections", "CONNECTIONS")?;
    let listeners = attach_map_iterator(&mut ebpf, &types, "live_listeners", "LISTENERS")?;
    // After the hooks, so that nothing is missed in between; what both see is kept once.
    take_up_open_sockets(&mut ebpf, &types)?;

    drop(types);
    drop(loader);
    memory::give_back();

    let ended = open_ring(&mut ebpf, "ENDED")?;
    let blocks = open_ring(&mut ebpf, "BLOCKS")?;
    let lost = take_map(&mut ebpf, "LOST")?;
    let look_at_all = take_map(&mut ebpf, "LOOK_AT_ALL")?;
    let skipped = take_map(&mut ebpf, "SKIPPED")?;
    let taken_flows = taker(&ebpf, "DATAGRAM_FLOWS")?;
    let flows = take_map(&mut ebpf, "DATAGRAM_FLOWS")?;
    let queries = take_map(&mut ebpf, "DATAGRAM_QUERIES")?;
    Ok(Kernel {
        ended,
        blocks,
        look_at_all,
        unseen,
        lost,
        skipped,
        flows,
        taken_flows,
        queries,
        ebpf,
        tls,
        connections,
        listeners,
        buffer: Vec::new(),
    })
}

/// What is looked at where the kernel refuses the program for what was wished, one after the other, and the line that
/// says so.
fn fallbacks(wished: Protocols) -> [(Protocols, &'static str); 3] {
    let simple = Protocols::of(&[Protocol::Http1, Protocol::Dns]);
    let without_http2 = Protocols { bits: wished.bits & !Protocol::Http2.bit(), ..wished };
    let without_loops = Protocols { bits: wished.bits & simple.bits, follows: 0, ..wished };
    [
        (without_http2, "this kernel does not let HTTP/2 be seen"),
        (without_loops, "this kernel (before 5.17?) lets only HTTP/1 and DNS over UDP be seen, no databases"),
        (Protocols::default(), "this kernel lets no requests be seen"),
    ]
}

/// Attaches the tp_btf form if there are `types` for it, else the raw_tracepoint form.
fn attach_tracepoint(
    ebpf: &mut Ebpf,
    types: Option<&aya::Btf>,
    preferred: &'static str,
    fallback: &'static str,
    tracepoint: &str,
) -> Result<Misses, KernelError> {
    let misses = |program: &ProgramFd| Misses::of(program.as_fd().as_raw_fd());
    if let Some(types) = types {
        let program = ebpf.program_mut(preferred).ok_or(KernelError::Missing(preferred))?;
        let result = <&mut BtfTracePoint>::try_from(program).and_then(|program| {
            program.load(tracepoint, types).and_then(|()| program.attach()).and_then(|_| program.fd().map(misses))
        });
        match result {
            Ok(misses) => return Ok(misses),
            Err(refused) => tracing::debug!("{preferred} is refused, trying {fallback}: {refused}"),
        }
    }
    let program = ebpf.program_mut(fallback).ok_or(KernelError::Missing(fallback))?;
    <&mut RawTracePoint>::try_from(program)
        .and_then(|program| {
            program.load().and_then(|()| program.attach(tracepoint)).and_then(|_| program.fd().map(misses))
        })
        .inspect_err(|refused| tracing::debug!("{fallback} is refused: {refused}"))
        .map_err(|source| KernelError::Program { program: fallback, source: Box::new(source) })
}

/// Loads an iterator program.
fn load_iterator<'a>(
    ebpf: &'a mut Ebpf,
    types: &aya::Btf,
    name: &'static str,
    target: &str,
) -> Result<&'a mut Iter, KernelError> {
    let failed = |source| KernelError::Program { program: name, source: Box::new(source) };
    let program = ebpf.program_mut(name).ok_or(KernelError::Missing(name))?;
    let program = <&mut Iter>::try_from(program).map_err(failed)?;
    program.load(target, types).map_err(failed)?;
    Ok(program)
}

/// Loads an iterator program and attaches it to a map.
fn attach_map_iterator(
    ebpf: &mut Ebpf,
    types: &aya::Btf,
    name: &'static str,
    map: &'static str,
) -> Result<MapIterator, KernelError> {
    load_iterator(ebpf, types, name, "bpf_map_elem")?;
    let program = ebpf.program(name).ok_or(KernelError::Missing(name))?;
    let descriptor = program.fd().map_err(|source| KernelError::Program { program: name, source: Box::new(source) })?;
    let Some(Map::HashMap(data)) = ebpf.map(map) else { return Err(KernelError::Missing(map)) };
    MapIterator::attach(descriptor.as_fd(), data.fd().as_fd())
        .map_err(|source| KernelError::Iterator { program: name, source })
}

/// Runs the task-file iterator; it writes nothing, but fills the maps.
fn take_up_open_sockets(ebpf: &mut Ebpf, types: &aya::Btf) -> Result<(), KernelError> {
    const NAME: &str = "open_sockets";
    let failed = |source| KernelError::Program { program: NAME, source: Box::new(source) };
    let program = load_iterator(ebpf, types, NAME, "task_file")?;
    let iterator = |source| KernelError::Iterator { program: NAME, source };
    // Twice: at whose ports somebody listens is known after the first time.
    for _ in 0..2 {
        let id = program.attach().map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let mut file = link.into_file().map_err(|error| iterator(io::Error::other(error)))?;
        io::copy(&mut file, &mut io::sink()).map_err(iterator)?;
    }
    Ok(())
}

/// Opens a ring of the object.
fn open_ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, KernelError> {
    let map = ebpf.map(name).ok_or(KernelError::Missing(name))?;
    let error = |reason: &dyn std::fmt::Display| KernelError::Map { map: name, reason: reason.to_string() };
    let Map::RingBuf(data) = map else { return Err(error(&"is no ring")) };
    // The loader may have made it larger, as pages are.
    let bytes = data.info().map_err(|cause| error(&cause))?.max_entries();
    Ring::open(data.fd(), bytes).map_err(|cause| error(&cause))
}

/// What takes elements out of a hash map of the object.
fn taker<const KEY: usize, const VALUE: usize>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<Taker<KEY, VALUE>, KernelError> {
    let Some(Map::HashMap(data)) = ebpf.map(name) else { return Err(KernelError::Missing(name)) };
    Taker::of(data).map_err(|error| KernelError::Map { map: name, reason: error.to_string() })
}

/// Takes a map out of the object and gives it its type.
fn take_map<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Missing(name))?;
    T::try_from(map).map_err(|error| KernelError::Map { map: name, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_refuses_is_asked_for_less_and_less_of_what_was_wished() {
        let wished = Protocols::of(&[Protocol::Http1, Protocol::Http2, Protocol::Redis]);
        let asked = fallbacks(wished).map(|(protocols, _)| protocols);
        let without_loops = Protocols { follows: 0, ..Protocols::of(&[Protocol::Http1]) };
        let expected = [Protocols::of(&[Protocol::Http1, Protocol::Redis]), without_loops, Protocols::default()];
        assert_eq!(asked, expected);
        assert!(fallbacks(wished).iter().all(|(_, warning)| warning.lines().count() == 1));
    }
}
