//! The bytes of the write-ahead log.

use std::path::Path;

use super::{LogOwner, MAX_RECORD, WalError};

const MAGIC: &[u8; 7] = b"vouchlw";
const VERSION: u8 = 1;
const SALT: usize = 32;
/// Size of a mark, a seal and a check in bytes.
const CHECK: usize = 16;
/// Size of the header without its check in bytes.
const FIELDS: usize = 8 + LogOwner::SIZE + 8 + SALT;
const HEADER: usize = FIELDS + CHECK;
/// Size of a group without its records in bytes: mark, size, check, seal.
pub(super) const GROUP_OVERHEAD: usize = CHECK + 4 + CHECK + CHECK;

/// What a file has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalContent {
    /// The height of the last decided block when the file was made.
    pub base: u64,
    /// The records, in order.
    pub records: Vec<Vec<u8>>,
    /// The last group, if a crash cut it off: it was never acknowledged, and was dropped.
    pub torn: Option<TornTail>,
}

/// The bytes of an append that did not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TornTail {
    /// Where they began.
    pub offset: u64,
    /// Their number.
    pub bytes: u64,
}

/// The values that only a group of this file has.
#[derive(Debug)]
pub(super) struct Keys {
    check: [u8; 32],
    /// Begins a group.
    mark: [u8; CHECK],
    /// Ends a group that is durable.
    pub(super) seal: [u8; CHECK],
}

impl Keys {
    fn of(header: &[u8]) -> Self {
        let mut all = [0; 32 + 2 * CHECK];
        blake3::Hasher::new_derive_key("vouch log wal v1").update(header).finalize_xof().fill(&mut all);
        let (mut check, mut mark, mut seal) = ([0; 32], [0; CHECK], [0; CHECK]);
        check.copy_from_slice(&all[..32]);
        mark.copy_from_slice(&all[32..32 + CHECK]);
        seal.copy_from_slice(&all[32 + CHECK..]);
        Self { check, mark, seal }
    }

    fn check_of(&self, number: u64, sized: &[u8]) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new_keyed(&self.check);
        hasher.update(&number.to_le_bytes()).update(sized);
        let mut check = [0; CHECK];
        hasher.finalize_xof().fill(&mut check);
        check
    }

    /// Appends a group without its seal.
    pub(super) fn write_group(&self, number: u64, records: &[Vec<u8>], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.mark);
        let sized = out.len();
        // The lengths cannot saturate: the caller bounds the file.
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        out.extend_from_slice(&length(records.iter().map(|record| 4 + record.len()).sum()));
        for record in records {
            out.extend_from_slice(&length(record.len()));
            out.extend_from_slice(record);
        }
        let check = self.check_of(number, &out[sized..]);
        out.extend_from_slice(&check);
    }

    /// The records' bytes of the group that these bytes begin with, if it is whole.
    fn group<'a>(&self, number: u64, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let sized = bytes.strip_prefix(&self.mark)?;
        let size = usize::try_from(u32::from_le_bytes(*sized.first_chunk()?)).ok()?;
        let end = size.checked_add(4)?;
        let (covered, check) = (sized.get(..end)?, sized.get(end..end.checked_add(CHECK)?)?);
        (self.check_of(number, covered) == check).then_some(&covered[4..])
    }
}

/// The header of a new file, and its keys.
pub(super) fn header(owner: LogOwner, base: u64, salt: [u8; SALT]) -> (Vec<u8>, Keys) {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(MAGIC);
    header.push(VERSION);
    header.extend_from_slice(&owner.to_bytes());
    header.extend_from_slice(&base.to_le_bytes());
    header.extend_from_slice(&salt);
    header.extend_from_slice(&header_check(&header));
    let keys = Keys::of(&header[..FIELDS]);
    (header, keys)
}

fn header_check(fields: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    blake3::Hasher::new_derive_key("vouch log wal header v1").update(fields).finalize_xof().fill(&mut check);
    check
}

/// Reads a file.
pub(super) fn read(path: &Path, owner: LogOwner, bytes: &[u8]) -> Result<WalContent, WalError> {
    let damaged =
        |offset: usize, expected| WalError::Damaged { path: path.to_owned(), offset: offset as u64, expected };
    // A file gets its name after its sync: a crash leaves no part of a header.
    let bad_header = || damaged(0, "a header with its check");
    let fields = bytes.get(..FIELDS).filter(|fields| fields.starts_with(MAGIC)).ok_or_else(bad_header)?;
    if fields[7] != VERSION {
        return Err(WalError::UnknownVersion { path: path.to_owned(), expected: VERSION, got: fields[7] });
    }
    let found = bytes.get(FIELDS..HEADER).is_some_and(|check| check == header_check(fields));
    let (Some(of), Some(base), true) = (fields[8..].first_chunk(), fields[8 + LogOwner::SIZE..].first_chunk(), found)
    else {
        return Err(bad_header());
    };
    let of = LogOwner::from_bytes(of);
    if of != owner {
        return Err(WalError::OtherOwner { path: path.to_owned(), expected: Box::new(owner), got: Box::new(of) });
    }

    let keys = Keys::of(fields);
    let mut content = WalContent { base: u64::from_le_bytes(*base), records: Vec::new(), torn: None };
    let mut offset = HEADER;
    for number in 0.. {
        // The last seal may be cut off.
        let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else { break };
        let Some(mut records) = keys.group(number, rest) else {
            // Whatever has been sealed or followed by another group was durable.
            let is_followed = |value: &[u8; CHECK]| rest[1..].windows(CHECK).any(|window| window == value);
            if is_followed(&keys.mark) || is_followed(&keys.seal) {
                return Err(damaged(offset, "a whole group"));
            }
            content.torn = Some(TornTail { offset: offset as u64, bytes: rest.len() as u64 });
            break;
        };
        let size = records.len();
        while !records.is_empty() {
            let record = read_record(&mut records).ok_or_else(|| damaged(offset, "records of their lengths"))?;
            content.records.push(record);
        }
        offset += size + GROUP_OVERHEAD;
    }
    Ok(content)
}

fn read_record(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= MAX_RECORD)?;
    let (record, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(record.to_vec())
}
