//! What the kernel side reports, and how it is read from bytes: whole records, told apart by what is in them or by
//! their size.

use quoll_ebpf_abi::{ConnectionRecord, ConnectionRequestsRecord, DatagramsRecord, RequestStats};

/// A connection as the kernel side reports it.
#[derive(Debug, Clone, Copy)]
pub struct Reported {
    /// The connection and its counters.
    pub record: ConnectionRecord,
    /// Its requests, if it carried any.
    pub requests: Option<RequestStats>,
}

/// What the ring has.
#[derive(Debug, Clone, Copy)]
pub enum Drained {
    /// A connection that ended, or of which a round of counts is over.
    Connection(Reported),
    /// A round of counts of datagrams.
    Datagrams(DatagramsRecord),
}

impl Drained {
    /// What a record of the ring says; they are told apart by their size.
    pub(super) fn read(item: &[u8]) -> Option<Self> {
        if let Ok(both) = bytemuck::try_pod_read_unaligned::<ConnectionRequestsRecord>(item) {
            Some(Self::Connection(Reported { record: both.record, requests: Some(both.requests) }))
        } else if let Ok(record) = bytemuck::try_pod_read_unaligned(item) {
            Some(Self::Connection(Reported { record, requests: None }))
        } else {
            bytemuck::try_pod_read_unaligned(item).ok().map(Self::Datagrams)
        }
    }
}

/// Hands over the whole records in `bytes`; gives how many bytes these are.
pub(super) fn take(bytes: &[u8], receive: &mut impl FnMut(Reported)) -> usize {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_at_checked(size_of::<ConnectionRecord>()) {
        let record: ConnectionRecord = bytemuck::pod_read_unaligned(head);
        let mut requests = None;
        let mut after = tail;
        if record.has_requests == 1 {
            let Some((stats, tail)) = tail.split_at_checked(size_of::<RequestStats>()) else { break };
            requests = Some(bytemuck::pod_read_unaligned(stats));
            after = tail;
        }
        receive(Reported { record, requests });
        rest = after;
    }
    bytes.len() - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_ring_differ_in_size() {
        let sizes =
            [size_of::<ConnectionRecord>(), size_of::<ConnectionRequestsRecord>(), size_of::<DatagramsRecord>()];
        assert!(sizes[0] != sizes[1] && sizes[0] != sizes[2] && sizes[1] != sizes[2], "{sizes:?}");
    }

    #[test]
    fn records_are_taken_whole_however_the_reads_cut_them() {
        let plain = ConnectionRecord { socket: 1, ..Default::default() };
        let record = ConnectionRecord { socket: 2, has_requests: 1, ..Default::default() };
        let both = ConnectionRequestsRecord { record, requests: RequestStats::default() };
        let bytes = [bytemuck::bytes_of(&plain), bytemuck::bytes_of(&both), bytemuck::bytes_of(&plain)].concat();
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            let mut receive = |reported: Reported| seen.push((reported.record.socket, reported.requests.is_some()));
            let taken = take(&bytes[..cut], &mut receive);
            assert_eq!(taken + take(&bytes[taken..], &mut receive), bytes.len());
            assert_eq!(seen, [(1, false), (2, true), (1, false)], "cut at {cut}");
        }
    }
}
