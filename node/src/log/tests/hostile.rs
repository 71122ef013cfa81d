//! The write-ahead log with bytes that nobody wrote.

use super::super::wal_file::{MAX_RECORD, MAX_WAL, WalContent, WalError, WalFile};
use super::*;

const EIO: i32 = 5;

/// Three groups of four records.
fn written() -> (SimulatedDisk, Vec<u8>, Vec<Vec<u8>>) {
    let disk = empty();
    let records = [record(1, 30), record(2, 0), record(3, 100), record(4, 50)];
    let mut wal = WalFile::create(&host(&disk), &wal_path(), OWNER, 7, &[]).unwrap();
    wal.append(&records[..1]).unwrap();
    wal.append(&records[1..3]).unwrap();
    wal.append(&records[3..]).unwrap();
    let bytes = disk.bytes(&wal_path());
    assert_eq!(bytes.len(), wal.length());
    (disk, bytes, records.to_vec())
}

fn open(disk: &SimulatedDisk) -> Result<WalContent, WalError> {
    WalFile::open(&host(disk), &wal_path(), OWNER).map(|(_, content)| content)
}

fn opened_with(disk: &SimulatedDisk, bytes: &[u8]) -> Result<WalContent, WalError> {
    let disk = disk.copy();
    disk.overwrite(&wal_path(), bytes);
    let found = open(&disk);
    match &found {
        // what was returned once is there the next time
        Ok(content) => assert_eq!(open(&disk).unwrap(), WalContent { torn: None, ..content.clone() }),
        Err(_) => assert_eq!(disk.bytes(&wal_path()), bytes, "a file that cannot be used is unchanged"),
    }
    found
}

#[test]
fn records_are_read_back() {
    let (disk, bytes, records) = written();
    assert_eq!(opened_with(&disk, &bytes).unwrap(), WalContent { base: 7, records, torn: None });
}

/// No single changed byte loses a record without being noticed, wherever it is.
#[test]
fn every_single_byte_flip_is_found_or_harmless() {
    let (disk, bytes, records) = written();
    let (mut damaged, mut harmless) = (0, 0);
    for position in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[position] ^= change;
            match opened_with(&disk, &changed) {
                Ok(content) => {
                    assert_eq!((content.records, content.torn), (records.clone(), None), "{position}");
                    harmless += 1;
                }
                Err(WalError::Damaged { .. }) => damaged += 1,
                Err(WalError::UnknownVersion { .. }) => assert_eq!(position, 7),
                Err(error) => panic!("{position}: {error}"),
            }
        }
    }
    // the three seals
    assert_eq!(harmless, 3 * 48);
    assert_eq!(damaged, 3 * (bytes.len() - 48 - 1));
}

/// Truncation looks like a crash, except inside the header: only whole groups are left, and no part of one.
#[test]
fn every_truncation_leaves_whole_groups() {
    let (disk, bytes, records) = written();
    let mut left = Vec::new();
    for length in 0..bytes.len() {
        match opened_with(&disk, &bytes[..length]) {
            Ok(content) => {
                let count = content.records.len();
                assert!([0, 1, 3, 4].contains(&count), "{length}: {count} records");
                assert_eq!(content.records, records[..count]);
                let is_at_end = content.torn.is_none_or(|torn| torn.offset + torn.bytes == length as u64);
                assert!(is_at_end, "{length}: {:?}", content.torn);
                left.push(count);
            }
            Err(WalError::Damaged { offset: 0, .. }) => assert!(length < 128, "{length}"),
            Err(error) => panic!("{length}: {error}"),
        }
    }
    assert!(left.is_sorted());
    assert_eq!((left[0], left[left.len() - 1]), (0, 4));
}

#[test]
fn a_bad_group_is_torn_only_if_nothing_shows_that_it_was_durable() {
    let (disk, bytes, records) = written();
    // the last group: 20 bytes, 54 of records, check, seal
    let last = bytes.len() - (20 + 54 + 32);
    let mut torn = bytes[..bytes.len() - 16].to_vec();
    torn[last + 30] ^= 1;
    let found = opened_with(&disk, &torn).unwrap();
    assert_eq!(found.records, records[..3]);
    assert_eq!(found.torn.map(|torn| (torn.offset, torn.bytes)), Some((last as u64, 90)));
    // a whole page of zeros over all but the last seal
    let mut zeroed = bytes.clone();
    let end = zeroed.len() - 16;
    zeroed[128..end].fill(0);
    assert!(matches!(opened_with(&disk, &zeroed), Err(WalError::Damaged { offset: 128, .. })));
    // the group in the middle with its seal, before one that has none yet
    let mut zeroed = bytes[..bytes.len() - 16].to_vec();
    zeroed[128 + 86..last].fill(0);
    assert!(matches!(opened_with(&disk, &zeroed), Err(WalError::Damaged { offset: 214, .. })));
    // the last group lost its place
    let mut shifted = bytes.clone();
    shifted.insert(last, 0);
    assert!(matches!(opened_with(&disk, &shifted), Err(WalError::Damaged { offset, .. }) if offset == last as u64));
    // a group twice
    let twice = [&bytes[..], &bytes[last..]].concat();
    let found = opened_with(&disk, &twice);
    assert!(matches!(found, Err(WalError::Damaged { offset, .. }) if offset == bytes.len() as u64), "{found:?}");
}

/// What other members send is in the records: it cannot make a torn group look damaged, nor dropped bytes look like a group.
#[test]
fn a_record_cannot_imitate_a_group() {
    let (_, other, _) = written();
    let disk = empty();
    let mut wal = WalFile::create(&host(&disk), &wal_path(), OWNER, 7, &[]).unwrap();
    wal.append(&[record(9, 10)]).unwrap();
    wal.append(std::slice::from_ref(&other)).unwrap();
    let bytes = disk.bytes(&wal_path());
    // without its check and seal
    let found = opened_with(&disk, &bytes[..bytes.len() - 17]).unwrap();
    assert_eq!(found.records, [record(9, 10)]);
    assert!(found.torn.is_some());
    assert_eq!(opened_with(&disk, &bytes).unwrap().records, [record(9, 10), other]);
}

#[test]
fn missing_foreign_and_random_files_are_told_apart() {
    let (disk, bytes, _) = written();
    assert!(matches!(open(&empty()), Err(WalError::Missing { .. })));
    let other = LogOwner { node_key: NodeKey([9; 32]), ..OWNER };
    match WalFile::open(&host(&disk), &wal_path(), other).unwrap_err() {
        WalError::OtherOwner { expected, got, .. } => assert_eq!((*expected, *got), (other, OWNER)),
        error => panic!("{error}"),
    }
    for seed in 0..200 {
        let noise = record(seed, usize::from(seed) * 7);
        assert!(matches!(opened_with(&disk, &noise), Err(WalError::Damaged { offset: 0, .. })));
        // noise after the end is a torn tail
        let tail = [&bytes[..], &noise].concat();
        let found = opened_with(&disk, &tail).unwrap();
        assert_eq!((found.records.len(), found.torn.is_some()), (4, seed > 0));
    }
}

#[test]
fn records_and_files_are_bounded() {
    let disk = empty();
    let mut wal = WalFile::create(&host(&disk), &wal_path(), OWNER, 0, &[]).unwrap();
    let too_large = wal.append(&[vec![0; MAX_RECORD + 1]]);
    assert!(matches!(too_large, Err(WalError::RecordTooLarge { got }) if got == MAX_RECORD + 1), "{too_large:?}");
    wal.append(&[vec![1; MAX_RECORD]]).unwrap();
    let full = loop {
        let before = wal.length();
        match wal.append(&vec![vec![2; MAX_RECORD]; 8]) {
            Ok(()) => assert!(wal.length() <= MAX_WAL),
            Err(error) => {
                assert_eq!(wal.length(), before);
                break error;
            }
        }
    };
    assert!(matches!(full, WalError::Full { got, .. } if got > MAX_WAL), "{full}");
    // nothing was written, so smaller ones still fit
    wal.append(&[vec![3; 10]]).unwrap();
    assert_eq!(open(&disk).unwrap().records.last(), Some(&vec![3; 10]));
}

#[test]
fn a_failed_write_or_sync_refuses_all_later_ones() {
    for is_sync in [false, true] {
        let disk = empty();
        let mut wal = WalFile::create(&host(&disk), &wal_path(), OWNER, 0, &[]).unwrap();
        wal.append(&[record(1, 10)]).unwrap();
        if is_sync {
            disk.syncs_fail(EIO)
        } else {
            disk.writes_fail(EIO)
        }
        assert!(matches!(wal.append(&[record(2, 10)]), Err(WalError::File(_))));
        disk.syncs_fail(0);
        disk.writes_fail(0);
        assert!(matches!(wal.append(&[record(3, 10)]), Err(WalError::Broken { .. })));
        assert!(matches!(wal.reset(0, &[]), Err(WalError::Broken { .. })));
    }
}
