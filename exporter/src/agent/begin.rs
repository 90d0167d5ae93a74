//! What an agent does once, when it starts: it opens a source, and gives up what it needs no more.

use std::io;

use rustix::thread::CapabilitySet;

use super::SourceChoice;
use crate::collectors::Collector;
use crate::kernel::Settings;
use crate::nat::Translations;
use crate::privileges;
use crate::source::{Source, ebpf::EbpfSource, procfs::ProcfsSource};

/// Follows address translations, or says why not.
pub(super) fn follow_translations() -> Translations {
    Translations::follow().unwrap_or_else(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            tracing::info!("without CAP_NET_ADMIN peers behind translated addresses (NAT, ClusterIP) are not named");
        } else {
            tracing::info!("address translations cannot be followed: {error}");
        }
        Translations::none()
    })
}

/// Leaves this thread with what the collectors keep. Gives what that is.
pub(super) fn give_up_capabilities(
    source: &dyn Source,
    collectors: &[Box<dyn Collector>],
) -> io::Result<CapabilitySet> {
    let needs = collectors.iter().filter_map(|collector| collector.needs(source.kind()));
    let mut kept = needs.fold(source.library_needs(), |all, needs| all | needs.to_run);
    if !privileges::without(|| source.can_be_read())? {
        // Before 5.19 `kernel.unprivileged_bpf_disabled` forbids look-ups on held descriptors too.
        kept |= CapabilitySet::BPF;
    }
    let kept = privileges::limit_thread(kept)?;
    tracing::info!("capabilities kept: {}", privileges::names(kept));
    Ok(kept)
}

pub(super) fn open_source(choice: SourceChoice, settings: Settings) -> anyhow::Result<Box<dyn Source>> {
    if choice != SourceChoice::Procfs {
        if let Some(warning) = privileges::prepare_memlock(&settings) {
            tracing::warn!("{warning}");
        }
        match EbpfSource::start(settings) {
            Ok(source) => return Ok(Box::new(source)),
            Err(error) => {
                tracing::debug!("eBPF: {error}");
                let cause = privileges::explain(&error);
                anyhow::ensure!(choice == SourceChoice::Auto, "eBPF cannot be used ({cause})");
                tracing::warn!(
                    "eBPF cannot be used ({cause}); falling back to --source procfs, which sees no bytes, requests, \
                     failures, round-trip times or queue limits, and misses connections shorter than a scrape interval"
                );
            }
        }
    }
    Ok(Box::new(ProcfsSource::default()))
}
