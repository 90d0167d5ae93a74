//! Records of the inbound log.
//!
//! | kind | payload after the kind byte |
//! |---|---|
//! | 1 scope | id u32, tenant, number of labels u32, then name and value of each |
//! | 2 labels | scope u32, then any number of: 0, number, text (what the number stands for); 1, series, length of what follows, numbers of its names and values in turn |
//! | 3 samples | flags u8 (1: last of its request), scope u32, count u32, the values as bits u64, then per sample: its series less the one before it and one, its time in ms less the one before |
//!
//! Texts are a length and that many bytes of UTF-8. Numbers without a width are varints, as in protobuf; differences
//! are signed, in zigzag, and begin at series -1 and time 0. So a sample mostly takes ten bytes: senders repeat their
//! series in order, and scrape many at one time.

use std::sync::Arc;

use quoll_identity::Scope;
use quoll_prometheus_protocol::decode;
use quoll_prometheus_protocol::encode::put_varint;

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
const VALUE_BYTES: usize = 8;

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
    /// Labels of series.
    Labels {
        /// Number of their scope in this segment.
        scope: u32,
        /// Texts and series, each text before the first series that has it.
        descriptions: Vec<Description<'a>>,
    },
    /// Samples.
    Samples {
        /// The samples, of one scope.
        samples: Vec<Staged>,
        /// Whether they end their request: live, steps were closed here.
        complete: bool,
    },
}

/// A part of what tells the labels of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Description<'a> {
    /// From here on, the number stands for this text.
    Text {
        /// Number of the text in its scope and segment.
        number: u32,
        /// Text.
        text: &'a str,
    },
    /// The labels of a series.
    Series {
        /// Number of the series in its scope and segment.
        series: u32,
        /// Numbers of names and values in turn, as varints.
        packed: &'a [u8],
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
    put_varint(buffer, text.len() as u64);
    buffer.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_scope(buffer: &mut Vec<u8>, id: u32, scope: &Scope) {
    put(buffer, |buffer| {
        buffer.push(1);
        buffer.extend_from_slice(&id.to_le_bytes());
        put_text(buffer, &scope.tenant);
        put_varint(buffer, scope.partition.len() as u64);
        for (name, value) in scope.partition.iter() {
            put_text(buffer, name);
            put_text(buffer, value);
        }
    });
}

/// Appends a record of labels: what `tell` hands over.
pub(crate) fn put_labels(buffer: &mut Vec<u8>, scope: u32, tell: impl FnOnce(&mut dyn FnMut(Description<'_>))) {
    put(buffer, |buffer| {
        buffer.push(2);
        buffer.extend_from_slice(&scope.to_le_bytes());
        tell(&mut |description| match description {
            Description::Text { number, text } => {
                buffer.push(0);
                put_varint(buffer, u64::from(number));
                put_text(buffer, text);
            }
            Description::Series { series, packed } => {
                buffer.push(1);
                put_varint(buffer, u64::from(series));
                put_varint(buffer, packed.len() as u64);
                buffer.extend_from_slice(packed);
            }
        });
    });
}

/// Most samples of one record, so that no length overflows.
const MAX_SAMPLES: usize = 1 << 20;

/// Differences of either sign as numbers that are small where they are
/// (<https://protobuf.dev/programming-guides/encoding/#signed-ints>).
#[inline]
fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

#[inline]
fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Appends `samples` as records of one scope each; the last bears the mark if `complete`.
pub(crate) fn put_samples(buffer: &mut Vec<u8>, mut samples: &[Staged], complete: bool) {
    while let Some(first) = samples.first() {
        let run = samples.iter().take(MAX_SAMPLES).take_while(|sample| sample.scope == first.scope).count();
        let (now, later) = samples.split_at(run);
        samples = later;
        put(buffer, |buffer| {
            buffer.push(3);
            buffer.push(u8::from(complete && later.is_empty()));
            buffer.extend_from_slice(&first.scope.to_le_bytes());
            buffer.extend_from_slice(&u32::try_from(run).unwrap_or(0).to_le_bytes());
            buffer.reserve(run * (VALUE_BYTES + 2));
            for sample in now {
                buffer.extend_from_slice(&sample.value.to_bits().to_le_bytes());
            }
            let (mut series, mut time_ms) = (-1, 0);
            for sample in now {
                let ahead = zigzag(i64::from(sample.series) - series - 1);
                let later = zigzag(sample.timestamp_ms.wrapping_sub(time_ms));
                (series, time_ms) = (i64::from(sample.series), sample.timestamp_ms);
                if (ahead | later) < 0x80 {
                    buffer.extend_from_slice(&[ahead as u8, later as u8]);
                } else {
                    put_varint(buffer, ahead);
                    put_varint(buffer, later);
                }
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
            let count = reader.varint()?;
            let mut partition = Vec::new();
            for _ in 0..count {
                partition.push((Arc::from(reader.text()?), Arc::from(reader.text()?)));
            }
            Some(Entry::Scope { id, scope: Scope { tenant, partition: partition.into() } })
        }
        [2] => {
            let (scope, mut descriptions) = (reader.u32()?, Vec::new());
            while !reader.0.is_empty() {
                descriptions.push(match reader.array::<1>()? {
                    [0] => Description::Text { number: reader.number()?, text: reader.text()? },
                    [1] => Description::Series { series: reader.number()?, packed: reader.bytes()? },
                    _ => return None,
                });
            }
            Some(Entry::Labels { scope, descriptions })
        }
        [3] => samples(reader),
        _ => None,
    }
}

fn samples(mut reader: Reader<'_>) -> Option<Entry<'static>> {
    let [flags] = reader.array::<1>()?;
    let (scope, count) = (reader.u32()?, usize::try_from(reader.u32()?).ok()?);
    let (values, packed) = reader.0.split_at_checked(count.checked_mul(VALUE_BYTES)?)?;
    let mut differences = decode::v2::refs(packed);
    let mut samples = Vec::with_capacity(count);
    let (mut series, mut timestamp_ms) = (-1_i64, 0_i64);
    for value in values.as_chunks::<VALUE_BYTES>().0 {
        let mut difference = || Some(unzigzag(differences.next()?.ok()?));
        series = series.checked_add(difference()?)?.checked_add(1)?;
        timestamp_ms = timestamp_ms.wrapping_add(difference()?);
        let value = f64::from_bits(u64::from_le_bytes(*value));
        samples.push(Staged { scope, series: u32::try_from(series).ok()?, timestamp_ms, value });
    }
    differences.next().is_none().then_some(Entry::Samples { samples, complete: flags & 1 != 0 })
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

    fn varint(&mut self) -> Option<u64> {
        let mut numbers = decode::v2::refs(self.0);
        let number = numbers.next()?.ok()?;
        self.0 = numbers.rest();
        Some(number)
    }

    fn number(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (bytes, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}
