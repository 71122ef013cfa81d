//! A replica's blobs, and the index that says which of them are *stored*.
//!
//! A blob of at most 64 KiB lies in the index itself. Bytes of a larger one go to a file without a name, its outboard
//! to another; both are made durable, get their names, the folder is made durable, and the index is last. So the index
//! names no blob that a loss of power could take away, and a file without an entry is nothing but space in use. With
//! its entry, a blob's duty is recorded: until when it must be kept.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vouch_core::Limits;
use vouch_core::certificate::Certificate;
use vouch_core::digest::Digest;
use vouch_core::receipt::Receipt;
use vouch_core::statement::{Statement, StatementId, Stored};

use crate::bugs::{self, Bug};
use crate::durable::Replaced;
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;
use crate::host::objects::Objects;

mod adopting;
mod anchor;
mod blobs;
mod claims;
mod collecting;
mod confirming;
mod error;
mod incoming;
mod index;
mod journal;
mod lists;
mod offered;
mod part;
mod partials;
mod reading;
mod settling;
mod space;
#[cfg(test)]
mod tests;
mod verified;

pub use collecting::{Collected, GRACE};
pub(crate) use collecting::{blocking, check_grace};
pub use confirming::Confirmed;
pub use error::StoreError;
pub use incoming::{Complete, Incoming};
pub use index::Entry;
pub use journal::{Journalled, Promise};
pub use offered::{Finished, Offered};
pub use partials::{Cut, PartialConfig};
pub use reading::Slice;
pub use settling::SETTLING;

use anchor::Anchor;
use blobs::{BlobStore, FileBlobs, RemoteBlobs};
use claims::Claims;
use incoming::{Guard, compare};
use index::{Index, New};
use journal::JournalEntry;
use partials::{Key, Partials};
use space::Room;
use verified::Verified;

/// The index's name in the folder.
pub(crate) const INDEX: &str = "index.redb";

/// The most bytes of a blob that lies in the index.
pub const MAX_SMALL: u64 = 64 << 10;

/// Where the blobs are that do not lie in the index.
#[derive(Debug, Clone, Default)]
pub enum Place {
    /// In files beside the index.
    #[default]
    Beside,
    /// In files in another folder, which is nobody else's.
    Folder(PathBuf),
    /// In a store elsewhere, under a prefix that is nobody else's.
    Elsewhere(Objects),
}

/// Where a store keeps what, and how much it may hold.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the large blobs are: the same at every start.
    pub place: Place,
    /// The most bytes of blobs, held and coming in; outboards and index come on top. `None`: as the disk allows.
    pub quota: Option<u64>,
    /// Bytes of the disk that no blob may take, so that the index can always be written. `None`: 64 MiB, or 1/16 of
    /// the file system when that is less.
    pub reserve: Option<u64>,
    /// How what came of puts that were cut off is kept.
    pub partials: PartialConfig,
}

/// Whether a folder holds a store.
pub fn is_in(disk: &dyn Disk, folder: &Path) -> bool {
    matches!(disk.exists(&folder.join(INDEX)), Ok(true))
}

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Blobs stored.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that lie in the index.
    pub small: u64,
    /// Those of them that lie in files.
    pub large: u64,
    /// Blobs that were stored, must still be kept, and are to be fetched again.
    pub damaged: u64,
    /// Blobs of which a part came before their put was cut off, and that nobody puts now.
    pub partials: u64,
    /// The bytes kept of them, which count as held.
    pub partial_bytes: u64,
    /// The most bytes, if there is a limit.
    pub quota: Option<u64>,
    /// Bytes free on the disk, the reserve among them.
    pub free: u64,
}

/// A blob that is to be fetched again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub length: u64,
    /// The second since 1970 until which it must be kept.
    pub keep_until: u64,
}

/// The blobs of one replica. A clone is another handle to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Host,
    disk: Arc<dyn Disk>,
    partial: PathBuf,
    blobs: BlobStore,
    index: Index,
    replaced: Option<Replaced>,
    claims: Claims,
    partials: Arc<Partials>,
    room: Arc<Room>,
    anchor: Anchor,
    verified: Verified,
    /// The first failed sync of a file or folder; the index keeps its own.
    broken: OnceLock<FileError>,
}

impl Store {
    /// Opens the store in a folder that no other process uses, or creates it. What was not finished is removed, but
    /// for what is durable of large blobs that were offered.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(host: &Host, folder: &Path, config: &Config) -> Result<Self, StoreError> {
        let disk = host.shared_disk();
        let files = match &config.place {
            Place::Beside | Place::Elsewhere(_) => folder,
            Place::Folder(files) => files,
        };
        let (partial, in_files) = (files.join("partial"), files.join("blobs"));
        let make = || {
            disk.create_folders(std::slice::from_ref(&partial), blobs::FOLDER_MODE)?;
            Ok::<_, FileError>(match &config.place {
                Place::Beside | Place::Folder(_) => {
                    BlobStore::Files(FileBlobs::create(disk.clone(), in_files.clone())?)
                }
                Place::Elsewhere(objects) => BlobStore::Remote(RemoteBlobs::new(objects.clone())),
            })
        };
        // an index names blobs that are in folders made before it: where these are missing, none are made in their place
        let (blobs, (index, replaced)) = if disk.exists(&folder.join(INDEX))? {
            let (index, replaced) = Index::open(host, &folder.join(INDEX))?;
            if !matches!(config.place, Place::Elsewhere(_)) {
                anchor::check_folder(&*disk, &in_files, &index)?;
            }
            (make()?, (index, replaced))
        } else {
            (make()?, Index::open(host, &folder.join(INDEX))?)
        };
        let anchor = Anchor::settle(host, &blobs, &index)?;
        let room = Arc::new(Room::new(disk.clone(), files.to_owned(), config)?);
        let partials = Partials::open(host.clone(), partial.clone(), config.partials, &index, &room)?;
        let (claims, partials, broken) = (Claims::default(), Arc::new(partials), OnceLock::new());
        let verified = Verified::new(host.clone());
        let host = host.clone();
        let inner =
            Inner { host, disk, partial, blobs, index, replaced, claims, partials, room, anchor, verified, broken };
        inner.drop_surplus_partials()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What was damaged when it was opened, if anything was: it holds nothing until repair fetches it.
    pub fn replaced(&self) -> Option<&Replaced> {
        self.inner.replaced.as_ref()
    }

    /// Starts taking in a blob; with what was announced, there is room for all of it when this returns.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn begin(&self, offer: Option<&Receipt>) -> Result<Incoming, StoreError> {
        Incoming::begin(self.inner.clone(), offer)
    }

    /// Starts taking in a blob that was offered, or goes on with what is there of it; there is room for the rest when
    /// this returns. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub fn go_on(&self, offer: &Receipt, cut: &Cut) -> Result<Offered, StoreError> {
        Offered::begin(&self.inner, offer, cut)
    }

    /// Enters what came of an offer as [`record`](Self::record) does, or prolongs the duty where it was there.
    ///
    /// # Errors
    /// [`StoreError::NotHeld`] when it was there and is not any more; see [`StoreError`].
    pub async fn enter(&self, blob: Finished) -> Result<(), StoreError> {
        match blob {
            Finished::New(complete) => self.record(complete).await,
            Finished::Held(receipt) => match self.keep(&[receipt]).await?.is_empty() {
                true => Ok(()),
                false => Err(StoreError::NotHeld { digest: receipt.digest }),
            },
        }
    }

    /// Enters a blob into the index, with the duty to keep it until its receipt expires. It is *stored* when this
    /// returns. A duty taken on before is never shortened.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn record(&self, blob: Complete) -> Result<(), StoreError> {
        self.inner.check()?;
        let Complete { receipt, bytes, version, guard } = blob;
        let Receipt { digest, length, expires_at, .. } = receipt;
        let stored_at = self.inner.host.unix_seconds();
        let new = New { digest, length, keep_until: expires_at, stored_at, bytes };
        self.inner.index.record(new, guard).await?;
        match version {
            // its files are looked at before it is voted for
            Some(version) => self.inner.verified.note_read(digest, *version),
            None => self.inner.verified.note_fresh(&receipt),
        }
        let key = Key { digest, length };
        if self.inner.partials.is_idle(key) {
            // it came in another way
            let inner = self.inner.clone();
            collecting::blocking(&self.inner.host, move || inner.drop_partial(key)).await?;
        }
        Ok(())
    }

    /// Compares a blob of at most [`MAX_SMALL`] bytes with its receipt and stores it, with its duty, in one commit.
    ///
    /// # Errors
    /// [`StoreError::NotSmall`], [`StoreError::LengthDiffers`], [`StoreError::DigestDiffers`],
    /// [`StoreError::NoSpace`], [`StoreError::Quota`]; see [`StoreError`].
    pub async fn put_small(&self, receipt: &Receipt, bytes: Bytes) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.check()?;
        let length = bytes.len() as u64;
        if length > MAX_SMALL {
            return Err(StoreError::NotSmall { limit: MAX_SMALL, got: length });
        }
        compare(length, Digest::of(&bytes), receipt)?;
        let mut room = inner.room.none();
        // what is there takes no more room
        if self.length_of(&receipt.digest)?.is_none() {
            room = match room.grow(length, length, || inner.held()) {
                Ok(()) => room,
                Err(error) if inner.partials.idle().0 == 0 => return Err(error),
                Err(_) => {
                    let maker = inner.clone();
                    collecting::blocking(&inner.host, move || maker.make_room(&mut room, length, length).map(|()| room))
                        .await?
                }
            };
        }
        let guard = Guard { _claim: None, _room: room, _owner: None };
        self.record(Complete { receipt: *receipt, bytes: Some(bytes), version: None, guard }).await
    }

    /// Stores a blob whose files are there though the index does not name them: it was lost, and a certificate with this receipt tells
    /// that they must be kept. `false` when they are not there, or not right.
    ///
    /// # Errors
    /// [`StoreError::Quota`]; see [`StoreError`].
    pub async fn adopt(&self, receipt: &Receipt) -> Result<bool, StoreError> {
        let (inner, receipt) = (self.inner.clone(), *receipt);
        match collecting::blocking(&self.inner.host, move || adopting::adopt(&inner, &receipt)).await? {
            Some(complete) => self.record(complete).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The length of a blob, if it is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn length_of(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.entry(digest)?.map(|entry| entry.length))
    }

    /// The second since 1970 until which a blob must be kept, if it is stored.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn keep_until(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(self.inner.index.entry(digest)?.map(|entry| entry.keep_until))
    }

    /// A part of a stored blob, verified, with its proof. It starts at a multiple of 16 KiB and is a multiple of that
    /// long or ends with the blob. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::BeyondTheEnd`], [`StoreError::Misaligned`], [`StoreError::Damaged`];
    /// see [`StoreError`].
    pub fn read(&self, digest: &Digest, offset: u64, length: u32) -> Result<Slice, StoreError> {
        self.inner.read(digest, offset, length)
    }

    /// Whether the bytes of every blob of a batch are there now and right, as each vote requires. They are read again,
    /// outboard included, unless they came with the put of the receipt, or were read within 24 hours of running time and
    /// the files are the same. Those of small blobs are always read, out of what the index has in memory where it has them there.
    /// What is wrong is held no more.
    ///
    /// # Errors
    /// [`StoreError::Displaced`]; see [`StoreError`]. Then nothing is known of any of them.
    pub async fn confirm(&self, receipts: &[Receipt]) -> Result<Confirmed, StoreError> {
        confirming::confirm(&self.inner, receipts).await
    }

    /// Bytes read to confirm blobs, since the store was opened.
    pub fn bytes_confirmed(&self) -> u64 {
        self.inner.verified.bytes_read()
    }

    /// Takes on the duty to keep every blob of a batch until its receipt expires, all in one commit; without one when
    /// every duty is recorded that far already. A duty taken on before is never shortened.
    ///
    /// Gives the indices of the receipts whose blob is not stored or has another length. When there are any, nothing
    /// is changed; when there are none, the duty is durable.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn keep(&self, receipts: &[Receipt]) -> Result<Vec<u16>, StoreError> {
        self.inner.check()?;
        Ok(self.inner.index.keep(receipts, None).await?)
    }

    /// Takes on the duties that a statement promises, as [`keep`](Self::keep) does, and enters it in the journal of what this replica
    /// signs, in the same commit. Only then is it signed.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn promise(&self, receipts: &[Receipt], statement: Statement<Stored>) -> Result<Promise, StoreError> {
        self.inner.check()?;
        let entry = (!bugs::has(Bug::VoteWithoutJournal)).then(|| JournalEntry::of(&statement));
        let lacking = self.inner.index.keep(receipts, entry).await?;
        Ok(if lacking.is_empty() { Promise::Journalled(Journalled::new(statement)) } else { Promise::Lacking(lacking) })
    }

    /// The statements of a kind that this replica signed, or may have signed, for a height or a time. Those of kind 1 go ten minutes
    /// after the newest. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn signed(&self, kind: u16, ordinal: u64) -> Result<Vec<StatementId>, StoreError> {
        Ok(self.inner.index.signed(kind, ordinal)?)
    }

    /// Keeps certificates of blobs that are stored, or damaged, all in one commit; none in place of one of the same
    /// blob that was issued no earlier.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn archive(&self, certificates: Vec<Certificate>) -> Result<(), StoreError> {
        self.inner.check()?;
        Ok(self.inner.index.archive(certificates, 0).await?)
    }

    /// The newest certificate of a blob.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn certificate(&self, digest: &Digest) -> Result<Option<Certificate>, StoreError> {
        let Some(encoding) = self.inner.index.certificate(digest)? else {
            return Ok(None);
        };
        let decoded = Certificate::decode(&encoding, &Limits::default());
        decoded.map(Some).map_err(|cause| StoreError::Certificate { digest: *digest, cause: Arc::new(cause) })
    }

    /// The stored blobs after one, in order of their digests, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn blobs_from(&self, after: Option<Digest>, limit: usize) -> Result<Vec<(Digest, Entry)>, StoreError> {
        Ok(self.inner.index.entries_after(after, limit)?)
    }

    /// The damaged blobs after one, in order of their digests, at most `limit`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn damaged_from(&self, after: Option<Digest>, limit: usize) -> Result<Vec<Damaged>, StoreError> {
        let rows = self.inner.index.damaged_after(after, limit)?;
        Ok(rows.into_iter().map(|(digest, length, keep_until)| Damaged { digest, length, keep_until }).collect())
    }

    /// Verifies every byte of a blob, and its outboard, in constant memory. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`]; see [`StoreError`].
    pub fn scrub_one(&self, digest: &Digest) -> Result<(), StoreError> {
        self.inner.scrub(digest)
    }

    /// Takes a damaged blob out of what is stored; its duty and its certificate stay, and [`Store::record`] of the
    /// same blob brings it back.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn mark_damaged(&self, digest: &Digest) -> Result<(), StoreError> {
        collecting::mark_damaged(&self.inner, digest).await
    }

    /// Removes at once every blob whose duty ended `grace` seconds before `now` or earlier, its certificate with it, and every
    /// file that belongs to no blob. One that is prolonged before stays. So goes what came of puts that were cut off long ago.
    ///
    /// # Errors
    /// [`StoreError::ShortGrace`]; see [`StoreError`].
    #[cfg(test)]
    pub(super) async fn collect(&self, now: u64, grace: u64) -> Result<Collected, StoreError> {
        collecting::collect(&self.inner, Some(now), now, grace, true).await
    }

    /// Removes what has expired by a clock that has settled: one that said so for all of the last `window` of running time.
    /// `wall` is what the wall clock says, `ran` how long the replica has run since the last call. Files that belong to no blob are
    /// removed only if `sweeps`: those of an index that was lost may be [adopted](Self::adopt) yet.
    ///
    /// # Errors
    /// [`StoreError::ShortGrace`]; see [`StoreError`].
    pub async fn collect_settled(
        &self,
        wall: u64,
        ran: Duration,
        window: Duration,
        grace: u64,
        sweeps: bool,
    ) -> Result<Collected, StoreError> {
        self.inner.check()?;
        let mut settling = self.inner.index.settling()?;
        let judged = settling.note(settling.running() + ran.as_secs(), wall, window);
        // durable before anything is deleted: the count goes on after a restart
        self.inner.index.set_settling(&settling).await?;
        collecting::collect(&self.inner, judged, wall, grace, sweeps).await
    }

    /// What the store holds, and what the disk has left.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let totals = self.inner.index.totals()?;
        let (small, large) = (totals.small, totals.large);
        let (partials, partial_bytes) = self.inner.partials.idle();
        Ok(Usage {
            blobs: small.0 + large.0,
            bytes: small.1 + large.1,
            small: small.0,
            large: large.0,
            damaged: totals.damaged.0,
            partials,
            partial_bytes,
            quota: self.inner.room.quota,
            free: self.inner.room.free()?,
        })
    }

    /// Whether storage failed so that nothing more will be stored or promised.
    pub fn is_broken(&self) -> bool {
        self.failure().is_some()
    }

    /// Why nothing more will be stored or promised, if storage failed so.
    pub fn failure(&self) -> Option<String> {
        let broken = self.inner.broken.get().map(ToString::to_string).or_else(|| self.inner.index.0.failure());
        broken.or_else(|| self.inner.anchor.check(&self.inner.index).err().map(|error| error.to_string()))
    }
}

impl Inner {
    /// Bytes of all that is stored.
    fn held(&self) -> Result<u64, StoreError> {
        let totals = self.index.totals()?;
        Ok(totals.small.1.saturating_add(totals.large.1))
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.broken.get() {
            Some(cause) => Err(StoreError::Broken { cause: cause.clone() }),
            None => self.anchor.check(&self.index),
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
