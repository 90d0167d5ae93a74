//! A remote-write receiver that records.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use prost::Message;
use quoll_prometheus_protocol::{snappy, v1};

use crate::http::serve;

/// Samples that a recording receiver got, by labels and timestamp: value bits.
pub type Recorded = BTreeMap<(String, i64), u64>;

/// A remote-write 1.0 receiver that takes everything, and remembers it.
///
/// # Panics
/// (In its thread) on a body that prost does not read, or on one sample with two values.
pub fn recorder() -> (u16, Arc<Mutex<Recorded>>) {
    let recorded = Arc::new(Mutex::new(Recorded::new()));
    let to = Arc::clone(&recorded);
    let port = serve(move |_, body| {
        let mut buffer = Vec::new();
        let body = snappy::decompress(body, &mut buffer, 1 << 26).unwrap();
        let mut recorded = to.lock().unwrap();
        for series in v1::WriteRequest::decode(body).unwrap().timeseries {
            let labels: Vec<String> = series.labels.iter().map(|l| format!("{}={:?}", l.name, l.value)).collect();
            for sample in series.samples {
                let before = recorded.insert((labels.join(","), sample.timestamp), sample.value.to_bits());
                assert!(before.is_none_or(|bits| bits == sample.value.to_bits()), "two values of {labels:?}");
            }
        }
        (204, String::new())
    });
    (port, recorded)
}

/// A remote-write 1.0 receiver that takes everything and only counts the bytes.
///
/// # Panics
/// Where no port is free.
pub fn counter() -> (u16, Arc<AtomicUsize>) {
    let bytes = Arc::new(AtomicUsize::new(0));
    let to = Arc::clone(&bytes);
    let port = serve(move |_, body| {
        to.fetch_add(body.len(), Ordering::Relaxed);
        (204, String::new())
    });
    (port, bytes)
}
