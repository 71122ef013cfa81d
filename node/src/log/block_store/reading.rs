//! Reading decided blocks, which are checked against their digests.

use std::ops::RangeInclusive;

use redb::ReadableTable;
use vouch_core::log::{Block, BlockDigest, BlockHeader};

use super::{BODIES, BlockStore, BlockStoreError, CERTIFICATES, DIGESTS, EFFECTS, HEADERS, NewBlock};

/// Maximum number of blocks in one read.
pub const MAX_READ_BLOCKS: u64 = 64;
/// Maximum size in bytes of what one read returns, but for its first block.
pub const MAX_READ_BYTES: usize = 4 << 20;
/// Maximum number of headers or digests in one read.
pub const MAX_READ_HEADERS: u64 = 4096;

/// The heights that the store has something of. A range is empty if it has nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHeights {
    /// Those with header and digest.
    pub headers: RangeInclusive<u64>,
    /// Those with everything else, too.
    pub blocks: RangeInclusive<u64>,
}

impl BlockStore {
    /// The heights that the store has something of: blocks go after [`KEPT_BLOCKS`](super::KEPT_BLOCKS) more.
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn heights(&self) -> Result<StoredHeights, BlockStoreError> {
        let last = self.height();
        let (header, block) = self.database.read(|transaction| {
            let header = transaction.open_table(HEADERS)?.first()?.map(|(height, _)| height.value());
            let block = transaction.open_table(BODIES)?.first()?.map(|(height, _)| height.value());
            Ok((header, block))
        })?;
        let to_last = |first: Option<u64>| first.unwrap_or(last + 1)..=last;
        Ok(StoredHeights { headers: to_last(header), blocks: to_last(block) })
    }

    /// The digests of the blocks from a height on, in order, at most `count` and [`MAX_READ_HEADERS`].
    ///
    /// # Errors
    /// See [`BlockStoreError`].
    pub fn digests(&self, from: u64, count: u64) -> Result<Vec<BlockDigest>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_HEADERS));
        Ok(self.database.read(|transaction| {
            let digests = transaction.open_table(DIGESTS)?;
            digests.range(from..to)?.map(|row| Ok(BlockDigest(*row?.1.value()))).collect()
        })?)
    }

    /// The headers of the blocks from a height on, in order, at most `count` and [`MAX_READ_HEADERS`].
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn headers(&self, from: u64, count: u64) -> Result<Vec<BlockHeader>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_HEADERS));
        let rows: Vec<(u64, Vec<u8>, Option<[u8; 32]>)> = self.database.read(|transaction| {
            let (headers, digests) = (transaction.open_table(HEADERS)?, transaction.open_table(DIGESTS)?);
            let rows = headers.range(from..to)?.map(|row| {
                let (height, header) = row?;
                let digest = digests.get(height.value())?.map(|digest| *digest.value());
                Ok((height.value(), header.value().to_vec(), digest))
            });
            rows.collect::<Result<_, redb::Error>>()
        })?;
        rows.into_iter().map(|(height, header, digest)| self.header_of(height, &header, digest)).collect()
    }

    /// The kept blocks from a height on, consecutive, at most `count`, [`MAX_READ_BLOCKS`] and, but for the first, [`MAX_READ_BYTES`].
    /// Empty if that height is not decided here yet, or its body is no longer kept.
    ///
    /// # Errors
    /// [`BlockStoreError::Damaged`]; see [`BlockStoreError`].
    pub fn blocks(&self, from: u64, count: u64) -> Result<Vec<NewBlock>, BlockStoreError> {
        let to = from.saturating_add(count.min(MAX_READ_BLOCKS));
        let mut rows = Vec::new();
        self.database.read(|transaction| {
            let (headers, digests) = (transaction.open_table(HEADERS)?, transaction.open_table(DIGESTS)?);
            let (effects, certificates) = (transaction.open_table(EFFECTS)?, transaction.open_table(CERTIFICATES)?);
            let bodies = transaction.open_table(BODIES)?;
            let mut size = 0;
            for (expected, row) in (from..to).zip(bodies.range(from..to)?) {
                let (height, body) = row?;
                if height.value() != expected {
                    break;
                }
                let bytes = |row: Option<redb::AccessGuard<'_, &'static [u8]>>| row.map(|row| row.value().to_vec());
                let found = StoredBlock {
                    height: expected,
                    digest: digests.get(expected)?.map(|digest| *digest.value()),
                    header: bytes(headers.get(expected)?).unwrap_or_default(),
                    body: body.value().to_vec(),
                    effects: bytes(effects.get(expected)?).unwrap_or_default(),
                    certificate: bytes(certificates.get(expected)?).unwrap_or_default(),
                };
                size += found.body.len() + found.effects.len() + found.certificate.len();
                if size > MAX_READ_BYTES && !rows.is_empty() {
                    break;
                }
                rows.push(found);
            }
            Ok(())
        })?;
        rows.into_iter().map(|row| self.block_of(row)).collect()
    }

    fn header_of(&self, height: u64, bytes: &[u8], digest: Option<[u8; 32]>) -> Result<BlockHeader, BlockStoreError> {
        let header =
            BlockHeader::decode(bytes).map_err(|error| self.damaged("header", height, &"a block header", &error))?;
        let (expected, got) = (digest.map(BlockDigest), header.digest());
        if expected != Some(got) || header.height != height {
            let expected = expected.map_or_else(|| "a digest".to_owned(), |digest| digest.to_string());
            return Err(self.damaged("header", height, &expected, &got));
        }
        Ok(header)
    }

    fn block_of(&self, row: StoredBlock) -> Result<NewBlock, BlockStoreError> {
        let StoredBlock { height, digest, mut header, body, effects, certificate } = row;
        self.header_of(height, &header, digest)?;
        header.extend_from_slice(&body);
        let block =
            Block::decode(&header).map_err(|error| self.damaged("block", height, &"the ops of its header", &error))?;
        let effects = self.check("effects", height, &effects)?.to_vec();
        let certificate = self.check("certificate", height, &certificate)?.to_vec();
        Ok(NewBlock { block, effects, certificate })
    }
}

/// The rows of one height.
struct StoredBlock {
    height: u64,
    digest: Option<[u8; 32]>,
    header: Vec<u8>,
    body: Vec<u8>,
    effects: Vec<u8>,
    certificate: Vec<u8>,
}
