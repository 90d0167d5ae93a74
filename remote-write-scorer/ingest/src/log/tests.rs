//! The log against a model: whatever is cut or damaged, a prefix of what was written comes back.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn scope() -> Scope {
    Scope { tenant: Arc::from("t"), partition: vec![(Arc::from("cluster"), Arc::from("eu"))].into() }
}

const LABELS: [Description<'static>; 3] = [
    Description::Text { number: 0, text: "__name__" },
    Description::Text { number: 300, text: "up" },
    Description::Series { series: 9, packed: &[0, 0xac, 2] },
];

fn sample(index: u32) -> Staged {
    let value = if index.is_multiple_of(7) { f64::from_bits(0x7ff0_0000_0000_0002) } else { f64::from(index) };
    Staged { scope: 3, series: index, timestamp_ms: 1_000_000 + i64::from(index) * 250, value }
}

/// All samples of a directory, by bits, and the bytes found damaged.
fn samples_of(directory: &Path, repair: bool) -> (Vec<(u32, i64, u64)>, u64) {
    let (mut found, mut damaged) = (Vec::new(), 0);
    for segment in list(directory).unwrap() {
        damaged += read(&segment, repair, |entry| {
            if let Entry::Samples { samples, .. } = entry {
                found.extend(samples.iter().map(|s| (s.series, s.timestamp_ms, s.value.to_bits())));
            }
        })
        .unwrap();
    }
    (found, damaged)
}

#[test]
fn what_is_written_is_read_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for start in [0, 100] {
        let mut log = InboundLog::open(directory.path(), LogConfig::default()).unwrap();
        log.scope(3, &scope());
        log.labels(3, |put| LABELS.into_iter().for_each(put));
        log.samples(&(start..start + 100).map(sample).collect::<Vec<_>>(), true);
        log.commit().unwrap();
    }
    let mut entries = Vec::new();
    for segment in list(directory.path()).unwrap() {
        read(&segment, false, |entry| entries.push(format!("{entry:?}"))).unwrap();
    }
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[0], format!("{:?}", Entry::Scope { id: 3, scope: scope() }));
    assert_eq!(entries[1], format!("{:?}", Entry::Labels { scope: 3, descriptions: LABELS.to_vec() }));
    let (found, damaged) = samples_of(directory.path(), false);
    let expected: Vec<_> = (0..200).map(sample).map(|s| (s.series, s.timestamp_ms, s.value.to_bits())).collect();
    assert_eq!((found, damaged), (expected, 0));
}

#[test]
fn any_series_and_times_come_back_and_another_scope_gets_a_record_of_its_own() {
    let mut buffer = Vec::new();
    let samples = [
        Staged { scope: 0, series: u32::MAX, timestamp_ms: i64::MIN, value: 1.0 },
        Staged { scope: 0, series: 0, timestamp_ms: i64::MAX, value: -0.0 },
        Staged { scope: 0, series: 1, timestamp_ms: 0, value: 1.0 },
        Staged { scope: 0, series: 1, timestamp_ms: i64::MAX, value: 2.0 },
        Staged { scope: 1, series: 1, timestamp_ms: i64::MAX, value: 3.0 },
    ];
    record::put_samples(&mut buffer, &samples, true);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("1.log");
    std::fs::write(&path, [&MAGIC[..], &buffer].concat()).unwrap();
    let segment = Segment { sequence: 1, path, bytes: 0, newest_ms: 0 };
    let (mut found, mut complete) = (Vec::new(), Vec::new());
    read(&segment, false, |entry| {
        if let Entry::Samples { samples, complete: last } = entry {
            found.extend(samples);
            complete.push(last);
        }
    })
    .unwrap();
    assert_eq!(found, samples);
    assert_eq!(complete, [false, true]);
}

#[test]
fn segments_older_than_the_retention_are_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_ms: 10_000, segment_bytes: 1, max_bytes: 1 << 30 };
    let mut log = InboundLog::open(directory.path(), config).unwrap();
    for index in 0..200 {
        log.rotate_if_full().unwrap();
        log.samples(&[sample(index)], true);
        log.commit().unwrap();
    }
    let (found, _) = samples_of(directory.path(), false);
    let newest = found.last().unwrap().1;
    assert!(found[0].1 >= newest - 10_500, "{} kept before {newest}", found[0].1);
    assert!(found[0].1 <= newest - 10_000);
    assert_eq!(log.overflowed(), 0);
}

#[test]
fn beyond_its_size_the_oldest_segments_go_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { retention_ms: i64::MAX, segment_bytes: 100, max_bytes: 1000 };
    let mut log = InboundLog::open(directory.path(), config).unwrap();
    for index in 0..200 {
        log.rotate_if_full().unwrap();
        log.samples(&[sample(index)], true);
        log.commit().unwrap();
    }
    assert!(log.bytes() <= 1200);
    assert!(log.overflowed() > 0);
    assert_eq!(samples_of(directory.path(), false).0.last().unwrap().0, 199);
}

proptest! {
    /// Wherever the file is cut or a byte is changed, what is read is a prefix of whole records, and after the
    /// repair nothing is damaged any more.
    #[test]
    fn a_damaged_segment_gives_a_prefix(
        counts in proptest::collection::vec(1_usize..9, 1..12),
        cut in any::<prop::sample::Index>(),
        flip in any::<Option<prop::sample::Index>>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut log = InboundLog::open(directory.path(), LogConfig::default()).unwrap();
        let mut written = Vec::new();
        for count in counts {
            let samples: Vec<_> = (0..count).map(|_| sample(u32::try_from(written.len()).unwrap())).collect();
            written.extend(samples.iter().map(|s| (s.series, s.timestamp_ms, s.value.to_bits())));
            log.samples(&samples, true);
            log.commit().unwrap();
        }
        let path = list(directory.path()).unwrap()[0].path.clone();
        let mut content = std::fs::read(&path).unwrap();
        if let Some(flip) = flip {
            let at = flip.index(content.len());
            content[at] ^= 0x20;
        }
        content.truncate(cut.index(content.len()) + 1);
        std::fs::write(&path, &content).unwrap();
        let (found, _) = samples_of(directory.path(), true);
        prop_assert_eq!(&found[..], &written[..found.len()]);
        prop_assert_eq!(samples_of(directory.path(), true).0, found);
    }
}

#[test]
fn after_a_full_disk_everything_is_described_anew_in_a_segment_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = InboundLog::open(directory.path(), LogConfig::default()).unwrap();
    let put = |log: &mut InboundLog, index| {
        log.scope(3, &scope());
        log.labels(3, |put| LABELS.into_iter().for_each(put));
        log.samples(&[sample(index)], true);
        log.commit()
    };
    put(&mut log, 1).unwrap();
    // Nothing can be written, and no segment begun.
    let before = log.sequence();
    log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    log.directory = directory.path().join("nowhere");
    assert_eq!(put(&mut log, 2).unwrap_err().action, "writing");
    assert_eq!(log.rotate_if_full().unwrap_err().action, "creating", "what was described there may be lost");
    // There is room again.
    log.directory = directory.path().to_owned();
    log.rotate_if_full().unwrap();
    assert_eq!(log.sequence(), before + 1);
    put(&mut log, 3).unwrap();
    log.rotate_if_full().unwrap();
    assert_eq!(log.sequence(), before + 1, "one new segment is enough");
    let (found, damaged) = samples_of(directory.path(), false);
    assert_eq!((found.iter().map(|(series, ..)| *series).collect::<Vec<_>>(), damaged), (vec![1, 3], 0));
}
