//! A connection's calls, as the kernel side sees them.
//!
//! An input is calls in turn, the client's first: a byte of length, then so many bytes; lengths of 255 say
//! that the same end goes on. Promises, at both ends: no arithmetic overflows and no index is out of bounds; what is
//! counted was asked; and good requests that follow on a new connection are counted.

use quoll_ebpf_abi::RequestStats;
use quoll_ebpf_abi::protocols::http2::{FRAME_HEAD_BYTES, Http2Piece};
use quoll_ebpf_abi::protocols::{
    Call, Exchange, HEADER, Memory, PlainLoop, Protocol, Protocols, Slice, may_begin, recognise,
};

/// What is sent to user space: a piece, the head of its frame, and its bytes.
pub type Sent = (Http2Piece, [u8; FRAME_HEAD_BYTES], Vec<u8>);

fn keep(sent: &mut Vec<Sent>, piece: &Http2Piece, header: &[u8; HEADER], bytes: &[u8]) -> bool {
    let mut head = [0; FRAME_HEAD_BYTES];
    head.copy_from_slice(&header[..FRAME_HEAD_BYTES]);
    sent.push((*piece, head, bytes.to_vec()));
    true
}

/// An input of these calls.
pub fn join(calls: &[&[u8]]) -> Vec<u8> {
    calls.iter().flat_map(|call| [&[call.len() as u8][..], call].concat()).collect()
}

/// Goes through an input at both ends; gives what each sent.
pub fn read(protocol: Protocol, input: &[u8]) -> [Vec<Sent>; 2] {
    let all = Protocols::of(&Protocol::ALL);
    [false, true].map(|is_server| {
        let (mut sent, mut positions) = (Vec::new(), [0_u32; 2]);
        let mut exchange = Exchange::BLANK;
        exchange.take_up(protocol, is_server, false);
        let (mut rest, mut is_client, mut now_ns, mut bytes) = (input, true, 0, 0_u64);
        while let Some((length, after)) = rest.split_first() {
            let (call, after) = after.split_at((*length as usize).min(after.len()));
            rest = after;
            now_ns += 1_000_000;
            bytes += call.len() as u64;
            let mut head = [0; HEADER];
            let known = call.len().min(HEADER);
            head[..known].copy_from_slice(&call[..known]);
            let size = call.len() as u32;
            positions[usize::from(is_client)] += size;
            if recognise(all, &head, size, is_client).is_some() {
                assert!(may_begin(all, &head, size), "a beginning that would not have been looked at");
            }
            if size > 0 {
                let call = Call {
                    now_ns,
                    is_outgoing: is_client != is_server,
                    length: size,
                    head: &head,
                    bytes: Slice::new(call, |piece, header, bytes| keep(&mut sent, piece, header, bytes)),
                    is_decrypted: false,
                    answer_sequence: bytes as u32,
                    position: positions[usize::from(is_client)],
                    other_position: positions[usize::from(!is_client)],
                };
                let counted = exchange.call::<PlainLoop, _>(call, &mut Memory::default());
                assert!(counted.untimed.iter().all(|count| u64::from(*count) <= bytes));
            }
            if *length != u8::MAX {
                is_client = !is_client;
            }
        }
        exchange.end(now_ns, bytes as u32, RequestStats::observe_within);
        let timed: u64 = exchange.stats.cells().map(|cell| u64::from(cell.count)).sum();
        assert!(timed + u64::from(exchange.stats.without_cell) <= bytes, "more was counted than there were bytes");
        sent
    })
}
