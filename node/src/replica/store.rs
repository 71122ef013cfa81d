//! A replica's blobs, plain files named by their digest, and the index that says which of them are *stored*.
//!
//! Bytes go to a file without a name, are hashed on the way, compared with the receipt and made durable, get their
//! name, and enter the index last. So the index names no blob that a loss of power could take away, and a name
//! without an entry is nothing but space in use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redb::{ReadableTable, TableDefinition};
use thiserror::Error;
use vouch_core::Limits;
use vouch_core::certificate::{Certificate, CertificateError};
use vouch_core::digest::{Digest, Hasher};
use vouch_core::message::Code;
use vouch_core::receipt::Receipt;

use crate::durable::{Database, DurableError};
use crate::host::files::{self, FileError, TempFile};

#[cfg(test)]
mod tests;

/// Digest → length, and the second since 1970 until which it must be kept; 0 when nobody was promised anything.
const BLOBS: TableDefinition<'_, [u8; 32], (u64, u64)> = TableDefinition::new("blobs");
/// Digest → `issued_at` and encoding of the newest certificate.
const CERTIFICATES: TableDefinition<'_, [u8; 32], (u64, &[u8])> = TableDefinition::new("certificates");

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why a blob or a certificate is not stored or not read. Cheap to clone.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// The bytes are not as many as the receipt says.
    #[error("length differs: expected {expected} bytes, got {got}")]
    LengthDiffers {
        /// The receipt's length.
        expected: u64,
        /// The bytes that came.
        got: u64,
    },
    /// The bytes are not those that the receipt names.
    #[error("digest differs: expected {expected}, got {got}")]
    DigestDiffers {
        /// The receipt's digest.
        expected: Digest,
        /// The digest of the bytes that came.
        got: Digest,
    },
    /// Not stored here.
    #[error("{digest} is not stored here")]
    NotFound {
        /// The blob asked for.
        digest: Digest,
    },
    /// A range that is not inside the blob.
    #[error("{digest}: expected a range inside {length} bytes, got {wanted} bytes from {offset}")]
    BeyondTheEnd {
        /// The blob asked for.
        digest: Digest,
        /// Its length.
        length: u64,
        /// Where the range starts.
        offset: u64,
        /// The bytes asked for.
        wanted: u32,
    },
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The index could not be written or read.
    #[error("index: {0}")]
    Index(#[from] DurableError),
    /// The index holds a certificate that does not decode.
    #[error("certificate of {digest}: {cause}")]
    Certificate {
        /// The blob that it is for.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        cause: Arc<CertificateError>,
    },
    /// A sync failed, now or before. It is not known what the disk holds, so nothing more is promised.
    #[error("storage failed and takes no more: {cause}")]
    Broken {
        /// The first failure.
        #[source]
        cause: FileError,
    },
}

impl StoreError {
    /// What to tell the other side.
    pub fn code(&self) -> Code {
        match self {
            Self::LengthDiffers { .. } => Code::LengthDiffers,
            Self::DigestDiffers { .. } => Code::DigestDiffers,
            Self::NotFound { .. } => Code::NotFound,
            Self::BeyondTheEnd { .. } => Code::Malformed,
            Self::File(FileError::NoSpace { .. })
            | Self::Index(DurableError::NoSpace { .. } | DurableError::File(FileError::NoSpace { .. })) => {
                Code::NoSpace
            }
            Self::File(_) | Self::Index(_) | Self::Certificate { .. } | Self::Broken { .. } => Code::Storage,
        }
    }
}

/// The blobs of one replica. A clone is another handle to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    blobs: PathBuf,
    partial: PathBuf,
    index: Database,
    /// The first failed sync of a file or folder; the index keeps its own.
    broken: OnceLock<FileError>,
}

impl Store {
    /// Opens the store in a folder that no other process uses, or creates it. What was not finished is removed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let (blobs, partial) = (folder.join("blobs"), folder.join("partial"));
        // the 256 folders are made here, so that a put never has to
        let mut folders = vec![partial.clone(), blobs.clone()];
        folders.extend((0..=u8::MAX).map(|first| blobs.join(format!("{first:02x}"))));
        files::create_all_durably(&folders, FOLDER_MODE)?;
        for name in files::list(&partial)? {
            files::remove(&partial.join(name))?;
        }
        let index = Database::open_with(&folder.join("index.redb"), |transaction| {
            transaction.open_table(BLOBS)?;
            transaction.open_table(CERTIFICATES)?;
            Ok(())
        })?;
        Ok(Self { inner: Arc::new(Inner { blobs, partial, index, broken: OnceLock::new() }) })
    }

    /// Starts taking in a blob.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn begin(&self) -> Result<Incoming, StoreError> {
        self.inner.check()?;
        let file = TempFile::create(&self.inner.partial, FILE_MODE)?;
        Ok(Incoming { inner: self.inner.clone(), file, hasher: Hasher::new() })
    }

    /// Enters a blob into the index. It is *stored* when this returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&self, blob: Complete) -> Result<(), StoreError> {
        self.inner.check()?;
        if self.length_of(&blob.digest)?.is_some() {
            return Ok(());
        }
        let commit = self.inner.index.commit(move |transaction| {
            let mut blobs = transaction.open_table(BLOBS)?;
            // another put of the same blob may have come first, with a promise made since
            if blobs.get(blob.digest.0)?.is_none() {
                blobs.insert(blob.digest.0, (blob.length, 0))?;
            }
            Ok(())
        });
        Ok(commit.await?)
    }

    /// The length of a blob, if it is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.entry(digest)?.map(|(length, _)| length))
    }

    /// The second since 1970 until which a blob must be kept, if it is stored; 0 when there is no such duty.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn keep_until(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.entry(digest)?.map(|(_, keep_until)| keep_until))
    }

    /// Part of a stored blob, as the disk gives it: whoever gets the whole blob compares its digest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::BeyondTheEnd`]; see [`StoreError`].
    pub fn read(&self, digest: &Digest, offset: u64, length: u32) -> Result<Bytes, StoreError> {
        let stored = self.length_of(digest)?.ok_or(StoreError::NotFound { digest: *digest })?;
        if offset.checked_add(length.into()).is_none_or(|end| end > stored) {
            return Err(StoreError::BeyondTheEnd { digest: *digest, length: stored, offset, wanted: length });
        }
        Ok(files::read_at(&self.inner.path_of(digest), offset, length)?)
    }

    /// Takes on the duty to keep every blob of a batch until its receipt expires, all in one commit. A duty taken on
    /// before is never shortened.
    ///
    /// Gives the indices of the receipts whose blob is not stored or has another length. When there are any, nothing
    /// is changed; when there are none, the duty is durable.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep(&self, receipts: &[Receipt]) -> Result<Vec<u16>, StoreError> {
        self.inner.check()?;
        let receipts = receipts.to_vec();
        let commit = self.inner.index.commit(move |transaction| {
            let mut blobs = transaction.open_table(BLOBS)?;
            let mut lacking = Vec::new();
            for (index, receipt) in (0..=u16::MAX).zip(&receipts) {
                let length = blobs.get(receipt.digest.0)?.map(|entry| entry.value().0);
                if length != Some(receipt.length) {
                    lacking.push(index);
                }
            }
            if !lacking.is_empty() {
                return Ok(lacking);
            }
            for receipt in &receipts {
                let old = blobs.get(receipt.digest.0)?.map_or(0, |entry| entry.value().1);
                if receipt.expires_at > old {
                    blobs.insert(receipt.digest.0, (receipt.length, receipt.expires_at))?;
                }
            }
            Ok(lacking)
        });
        Ok(commit.await?)
    }

    /// Keeps a certificate, unless one of the same blob is there that was issued no earlier.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn archive(&self, certificate: &Certificate) -> Result<(), StoreError> {
        self.inner.check()?;
        let digest = certificate.receipt.digest;
        let (issued_at, encoding) = (certificate.issued_at, certificate.encode());
        let commit = self.inner.index.commit(move |transaction| {
            let mut certificates = transaction.open_table(CERTIFICATES)?;
            let old = certificates.get(digest.0)?.map(|entry| entry.value().0);
            if old.is_none_or(|old| issued_at > old) {
                certificates.insert(digest.0, (issued_at, encoding.as_slice()))?;
            }
            Ok(())
        });
        Ok(commit.await?)
    }

    /// The newest certificate of a blob.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn certificate(&self, digest: &Digest) -> Result<Option<Certificate>, StoreError> {
        let encoding = self.inner.index.read(|transaction| {
            let certificates = transaction.open_table(CERTIFICATES)?;
            Ok(certificates.get(digest.0)?.map(|entry| entry.value().1.to_vec()))
        })?;
        let Some(encoding) = encoding else {
            return Ok(None);
        };
        let decoded = Certificate::decode(&encoding, &Limits::default());
        decoded.map(Some).map_err(|cause| StoreError::Certificate { digest: *digest, cause: Arc::new(cause) })
    }

    /// Whether storage failed so that nothing more will be stored or promised.
    pub fn is_broken(&self) -> bool {
        self.inner.broken.get().is_some() || self.inner.index.is_broken()
    }

    fn entry(&self, digest: &Digest) -> Result<Option<(u64, u64)>, StoreError> {
        let entry = self.inner.index.read(|transaction| {
            let blobs = transaction.open_table(BLOBS)?;
            Ok(blobs.get(digest.0)?.map(|entry| entry.value()))
        });
        Ok(entry?)
    }
}

impl Inner {
    fn path_of(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_hex();
        self.blobs.join(&name[..2]).join(name)
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            Some(cause) => Err(StoreError::Broken { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// For `map_err`: a failed sync is the last thing that this store believes.
    fn failed(&self, error: FileError) -> StoreError {
        if error.is_failed_sync() {
            StoreError::Broken { cause: self.broken.get_or_init(|| error).clone() }
        } else {
            error.into()
        }
    }
}

/// A blob on its way in. Dropping it removes what came.
#[derive(Debug)]
pub struct Incoming {
    inner: Arc<Inner>,
    file: TempFile,
    hasher: Hasher,
}

impl Incoming {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// The bytes taken so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Compares the bytes with the receipt and makes them durable under their name. [`Store::record`] comes next.
    ///
    /// # Errors
    /// [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`]; see [`StoreError`].
    pub fn finish(self, receipt: &Receipt) -> Result<Complete, StoreError> {
        let Self { inner, mut file, hasher } = self;
        inner.check()?;
        let (length, digest) = (hasher.length(), hasher.digest());
        if length != receipt.length {
            return Err(StoreError::LengthDiffers { expected: receipt.length, got: length });
        }
        if digest != receipt.digest {
            return Err(StoreError::DigestDiffers { expected: receipt.digest, got: digest });
        }
        file.sync().map_err(|error| inner.failed(error))?;
        // A file that has the name is replaced: these bytes were just compared, those may have decayed.
        file.persist(&inner.path_of(&digest)).map_err(|error| inner.failed(error))?;
        Ok(Complete { digest, length })
    }
}

/// A blob that is durable under its name and not in the index yet.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it is stored only when it was recorded"]
pub struct Complete {
    digest: Digest,
    length: u64,
}
