//! The log against a model, and against damage.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn entry(body: &[u8], samples: u32) -> Entry<'_> {
    Entry { newest_ms: 7, samples, body }
}

fn drain(log: &mut Log) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut body = Vec::new();
    while let Some(header) = log.read(&mut body, &mut Losses::default()).unwrap() {
        all.push(body.clone());
        assert!(log.leave(&header).unwrap());
    }
    all
}

/// What may happen to a log.
#[derive(Debug, Clone)]
enum Op {
    /// Append records with bodies of these sizes.
    Append(Vec<usize>),
    /// Read the oldest; it leaves.
    Leave,
    /// Read the oldest; it stays.
    Read,
    /// The process ends and starts again.
    Reopen,
    /// The process ends within a write: these many bytes of garbage or of a cut record are at the end.
    Torn(Vec<u8>),
    /// The head file is lost.
    LoseHead,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::collection::vec(0_usize..3000, 1..4).prop_map(Op::Append),
        4 => Just(Op::Leave),
        1 => Just(Op::Read),
        1 => Just(Op::Reopen),
        1 => proptest::collection::vec(any::<u8>(), 1..60).prop_map(Op::Torn),
        1 => Just(Op::LoseHead),
    ]
}

/// Records still there, oldest first, with how many of the first of the file have left already.
struct Model {
    waiting: VecDeque<Vec<u8>>,
}

fn last_file(dir: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| Segment::first_of(path).is_some())
        .collect();
    files.sort();
    files.pop().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_log_is_a_queue_that_survives_crashes(ops in proptest::collection::vec(op(), 1..60)) {
        const MAX_BYTES: u64 = 64 << 10;
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), MAX_BYTES).unwrap().0;
        let mut model = Model { waiting: VecDeque::new() };
        let mut counter = 0_u32;
        let mut body = Vec::new();
        for op in ops {
            match op {
                Op::Append(sizes) => {
                    let bodies: Vec<Vec<u8>> = sizes
                        .iter()
                        .map(|&size| {
                            counter += 1;
                            counter.to_le_bytes().iter().copied().cycle().take(size + 4).collect()
                        })
                        .collect();
                    let entries: Vec<Entry<'_>> = bodies.iter().map(|body| entry(body, 1)).collect();
                    let losses = log.append(&entries).unwrap();
                    for _ in 0..losses.overflow_samples {
                        model.waiting.pop_front();
                    }
                    model.waiting.extend(bodies);
                }
                Op::Leave | Op::Read => {
                    let mut losses = Losses::default();
                    let header = log.read(&mut body, &mut losses).unwrap();
                    prop_assert_eq!(losses, Losses::default());
                    prop_assert_eq!(header.map(|_| &body), model.waiting.front());
                    if let (Op::Leave, Some(header)) = (op, header) {
                        prop_assert!(log.leave(&header).unwrap());
                        model.waiting.pop_front();
                        prop_assert!(!log.leave(&header).unwrap(), "a record leaves once");
                    }
                }
                Op::Reopen => {
                    drop(log);
                    let (again, losses) = Log::open(dir.path(), MAX_BYTES).unwrap();
                    log = again;
                    prop_assert_eq!(losses, Losses::default());
                }
                Op::Torn(garbage) => {
                    drop(log);
                    use std::io::Write;
                    let mut file = std::fs::OpenOptions::new().append(true).open(last_file(dir.path())).unwrap();
                    file.write_all(&garbage).unwrap();
                    let (again, losses) = Log::open(dir.path(), MAX_BYTES).unwrap();
                    log = again;
                    prop_assert_eq!(losses.truncated_bytes, garbage.len() as u64);
                }
                Op::LoseHead => {
                    drop(log);
                    // With the head gone, records that left may come again; here none had, so it is only
                    // lost where nothing in the files has left.
                    let nothing_left = {
                        let (again, _) = Log::open(dir.path(), MAX_BYTES).unwrap();
                        again.segments.iter().all(|segment| segment.head == 0)
                    };
                    if nothing_left {
                        let _ = std::fs::remove_file(dir.path().join(HEAD));
                    }
                    log = Log::open(dir.path(), MAX_BYTES).unwrap().0;
                }
            }
            prop_assert!(log.bytes() <= MAX_BYTES);
            prop_assert_eq!(log.samples(), model.waiting.len() as u64);
            let on_disk: u64 = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|entry| entry.unwrap())
                .filter(|entry| Segment::first_of(&entry.path()).is_some())
                .map(|entry| entry.metadata().unwrap().len())
                .sum();
            prop_assert_eq!(on_disk, log.bytes());
        }
        prop_assert_eq!(drain(&mut log), model.waiting.into_iter().collect::<Vec<_>>());
    }
}

/// A file of three records, and what is left of it when `damage` is done to it and another record is appended.
fn after_damage(damage: impl FnOnce(&mut Vec<u8>)) -> (u64, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    for body in DAMAGED {
        log.append(&[entry(body, 1)]).unwrap();
    }
    drop(log);
    let path = last_file(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    damage(&mut bytes);
    std::fs::write(&path, &bytes).unwrap();
    let (mut log, losses) = Log::open(dir.path(), 1 << 20).unwrap();
    // It goes to a new file.
    log.append(&[entry(b"after", 1)]).unwrap();
    (losses.truncated_bytes, drain(&mut log))
}

const DAMAGED: [&[u8]; 3] = [b"first", b"", b"the third one"];

/// What is left where everything before this byte is sound.
fn left_before(at: usize) -> Vec<Vec<u8>> {
    let mut end = 0;
    let sound = DAMAGED.iter().take_while(|body| {
        end += record::HEADER + body.len();
        end <= at
    });
    sound.copied().chain([&b"after"[..]]).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_damaged_byte_wherever_it_is_costs_that_record_and_those_after_it_in_its_file_only() {
    let length = DAMAGED.iter().map(|body| record::HEADER + body.len()).sum();
    for at in 0..length {
        for flip in [0x01, 0x80, 0xff] {
            let (truncated, left) = after_damage(|bytes| bytes[at] ^= flip);
            assert!(truncated > 0, "{flip:#x} at {at}");
            assert_eq!(left, left_before(at), "{flip:#x} at {at}");
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_keeps_its_whole_records() {
    let length = DAMAGED.iter().map(|body| record::HEADER + body.len()).sum();
    for at in 0..=length {
        let (_, left) = after_damage(|bytes| bytes.truncate(at));
        assert_eq!(left, left_before(at), "cut at {at}");
    }
}

#[test]
fn a_lost_head_means_that_nothing_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    log.append(&[entry(b"a", 1), entry(b"b", 1)]).unwrap();
    let header = log.read(&mut Vec::new(), &mut Losses::default()).unwrap().unwrap();
    assert!(log.leave(&header).unwrap());
    drop(log);
    let sound = std::fs::read(dir.path().join(HEAD)).unwrap();
    let flipped = (0..sound.len()).map(|at| {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x01;
        damaged
    });
    let cut = (0..sound.len()).map(|at| sound[..at].to_vec());
    for damage in flipped.chain(cut).chain([b"garbage".to_vec(), vec![0; 12]]) {
        std::fs::write(dir.path().join(HEAD), &damage).unwrap();
        let log = Log::open(dir.path(), 1 << 20).unwrap().0;
        assert_eq!(log.samples(), 2, "{damage:?}");
    }
    std::fs::write(dir.path().join(HEAD), sound).unwrap();
    assert_eq!(Log::open(dir.path(), 1 << 20).unwrap().0.samples(), 1);
}

#[test]
fn sequence_numbers_never_go_back_so_that_new_records_are_not_taken_for_old_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    log.append(&[entry(b"a", 1), entry(b"b", 1)]).unwrap();
    assert_eq!(drain(&mut log).len(), 2);
    drop(log);
    // The data is gone, the head is there.
    std::fs::remove_file(last_file(dir.path())).unwrap();
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    log.append(&[entry(b"c", 1)]).unwrap();
    drop(log);
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    assert_eq!(drain(&mut log), [b"c"]);
}

#[test]
fn the_oldest_are_dropped_and_counted_when_the_bound_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 100 << 10).unwrap().0;
    let mut lost = 0;
    for n in 0..1000_u32 {
        let mut body = vec![0; 1000];
        body[..4].copy_from_slice(&n.to_le_bytes());
        lost += log.append(&[entry(&body, 3)]).unwrap().overflow_samples;
        assert!(log.bytes() <= 100 << 10);
    }
    let left = drain(&mut log);
    assert_eq!(lost + left.len() as u64 * 3, 3000);
    assert!(left.len() > 80, "{}", left.len());
    assert_eq!(left.last().unwrap()[..4], 999_u32.to_le_bytes());
}

#[test]
fn a_record_dropped_while_it_was_on_its_way_does_not_take_its_successor_along() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 16 << 10).unwrap().0;
    log.append(&[entry(&[1; 3000], 1)]).unwrap();
    let header = log.read(&mut Vec::new(), &mut Losses::default()).unwrap().unwrap();
    for n in 2..20 {
        log.append(&[entry(&[n; 3000], 1)]).unwrap();
    }
    let before = log.samples();
    assert!(!log.leave(&header).unwrap());
    assert_eq!(log.samples(), before);
}

#[test]
fn an_entry_larger_than_the_bound_is_refused_and_drops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 16 << 10).unwrap().0;
    log.append(&[entry(b"kept", 1)]).unwrap();
    assert!(matches!(log.append(&[entry(&[0; 20 << 10], 1)]), Err(QueueError::TooLarge { .. })));
    assert_eq!(drain(&mut log), [b"kept"]);
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), 1 << 20).unwrap();
    assert!(matches!(Log::open(dir.path(), 1 << 20), Err(QueueError::Locked { .. })));
    drop(log);
    assert!(Log::open(dir.path(), 1 << 20).is_ok());
}

#[test]
fn a_drained_log_gives_its_disk_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path(), 1 << 20).unwrap().0;
    for _ in 0..200 {
        log.append(&[entry(&[1; 3000], 1)]).unwrap();
    }
    drain(&mut log);
    assert!(log.bytes() < 64 << 10, "{}", log.bytes());
}
