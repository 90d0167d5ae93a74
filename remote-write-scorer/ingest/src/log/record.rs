//! Records of the inbound log.
//!
//! | kind | payload after the kind byte |
//! |---|---|
//! | 1 scope | id u32, tenant, number of labels u32, then name and value of each |
//! | 2 series | scope u32, series u32, label block (protobuf, as in a request) |
//! | 3 samples | flags u8 (1: last of its request), scope u32, count u32, base time i64 in ms, then per sample: series u32, time after the base i32 in ms, value as bits u64 |
//!
//! Texts are a length (u32) and that many bytes of UTF-8.

use std::sync::Arc;

use quoll_identity::Scope;

/// A sample that passed every check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Staged {
    /// Index of the scope.
    pub scope: u32,
    /// Handle in the scope's windows.
    pub series: u32,
    /// Event time in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Value, by its bits.
    pub value: f64,
}

/// Bytes of length and checksum before each payload.
pub(crate) const HEADER_BYTES: usize = 8;
const SAMPLE_BYTES: usize = 16;
const SAMPLES_HEADER_BYTES: usize = 18;

/// A record as read back.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry<'a> {
    /// A scope's labels.
    Scope {
        /// Number of the scope in this segment.
        id: u32,
        /// The scope.
        scope: Scope,
    },
    /// A series' labels.
    Series {
        /// Number of its scope in this segment.
        scope: u32,
        /// Number of the series in this scope and segment.
        series: u32,
        /// Labels as they stand in a request.
        block: &'a [u8],
    },
    /// Samples.
    Samples {
        /// The samples, of one scope.
        samples: Vec<Staged>,
        /// Whether they end their request: live, steps were closed here.
        complete: bool,
    },
}

/// Appends one record whose payload `fill` writes.
fn put(buffer: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER_BYTES]);
    fill(buffer);
    let payload = &buffer[start + HEADER_BYTES..];
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let checksum = crc32fast::hash(payload);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    buffer.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_scope(buffer: &mut Vec<u8>, id: u32, scope: &Scope) {
    put(buffer, |buffer| {
        buffer.push(1);
        buffer.extend_from_slice(&id.to_le_bytes());
        put_text(buffer, &scope.tenant);
        let labels = u32::try_from(scope.partition.len()).unwrap_or(u32::MAX);
        buffer.extend_from_slice(&labels.to_le_bytes());
        for (name, value) in scope.partition.iter() {
            put_text(buffer, name);
            put_text(buffer, value);
        }
    });
}

pub(crate) fn put_series(buffer: &mut Vec<u8>, scope: u32, series: u32, block: &[u8]) {
    put(buffer, |buffer| {
        buffer.push(2);
        buffer.extend_from_slice(&scope.to_le_bytes());
        buffer.extend_from_slice(&series.to_le_bytes());
        buffer.extend_from_slice(block);
    });
}

/// Most samples of one record, so that no length overflows.
const MAX_SAMPLES: usize = 1 << 20;

/// Appends `samples` as records of one scope each; the last bears the mark if `complete`.
pub(crate) fn put_samples(buffer: &mut Vec<u8>, mut samples: &[Staged], complete: bool) {
    while let Some(first) = samples.first() {
        let base = first.timestamp_ms;
        let fits = |sample: &Staged| {
            sample.scope == first.scope && i32::try_from(sample.timestamp_ms.wrapping_sub(base)).is_ok()
        };
        let run = samples.iter().take(MAX_SAMPLES).take_while(|sample| fits(sample)).count();
        let (now, later) = samples.split_at(run);
        samples = later;
        put(buffer, |buffer| {
            buffer.push(3);
            buffer.push(u8::from(complete && later.is_empty()));
            buffer.extend_from_slice(&first.scope.to_le_bytes());
            buffer.extend_from_slice(&u32::try_from(run).unwrap_or(0).to_le_bytes());
            buffer.extend_from_slice(&base.to_le_bytes());
            buffer.reserve(run * SAMPLE_BYTES);
            for sample in now {
                let offset = sample.timestamp_ms.wrapping_sub(base) as i32;
                let mut bytes = [0; SAMPLE_BYTES];
                bytes[..4].copy_from_slice(&sample.series.to_le_bytes());
                bytes[4..8].copy_from_slice(&offset.to_le_bytes());
                bytes[8..].copy_from_slice(&sample.value.to_bits().to_le_bytes());
                buffer.extend_from_slice(&bytes);
            }
        });
    }
}

/// Reads one record's payload; `None` where it is not one of this version's.
pub(crate) fn parse(payload: &[u8]) -> Option<Entry<'_>> {
    let mut reader = Reader(payload);
    match reader.array::<1>()? {
        [1] => {
            let id = reader.u32()?;
            let tenant = Arc::from(reader.text()?);
            let count = reader.u32()?;
            let mut partition = Vec::new();
            for _ in 0..count {
                partition.push((Arc::from(reader.text()?), Arc::from(reader.text()?)));
            }
            Some(Entry::Scope { id, scope: Scope { tenant, partition: partition.into() } })
        }
        [2] => {
            let (scope, series) = (reader.u32()?, reader.u32()?);
            Some(Entry::Series { scope, series, block: reader.0 })
        }
        [3] => samples(payload),
        _ => None,
    }
}

fn samples(payload: &[u8]) -> Option<Entry<'static>> {
    let mut reader = Reader(payload.get(1..)?);
    let [flags] = reader.array::<1>()?;
    let (scope, count) = (reader.u32()?, reader.u32()?);
    let base = i64::from_le_bytes(reader.array()?);
    if payload.len() != SAMPLES_HEADER_BYTES + usize::try_from(count).ok()?.checked_mul(SAMPLE_BYTES)? {
        return None;
    }
    let mut samples = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let series = reader.u32()?;
        let timestamp_ms = base.wrapping_add(i64::from(i32::from_le_bytes(reader.array()?)));
        let value = f64::from_bits(u64::from_le_bytes(reader.array()?));
        samples.push(Staged { scope, series, timestamp_ms, value });
    }
    Some(Entry::Samples { samples, complete: flags & 1 != 0 })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (text, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        std::str::from_utf8(text).ok()
    }
}
