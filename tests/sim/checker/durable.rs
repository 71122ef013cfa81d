//! What a node would still have after a loss of power.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use redb::ReadableDatabase;
use vouch::host::Host;
use vouch::host::disk::Disk;
use vouch::store::{self, Store};
use vouch_core::committee::CommitteeRecord;
use vouch_core::digest::{CommitteeDigest, Digest};
use vouch_core::limits::Limits;

use super::{Checker, FOLDER};
use crate::network::Node;
use crate::simulated::SimulatedDisk;

impl Checker {
    /// A replica's store after a loss of power, with only these blobs in files.
    pub(super) fn store_of(&self, node: Node, digests: &BTreeSet<Digest>) -> Store {
        let blobs = Path::new(FOLDER).join("blobs");
        let names: Vec<String> = digests.iter().map(Digest::to_hex).collect();
        let disk = self.known().disks[node].durable_part(|path| {
            let is_wanted = path.file_stem().is_some_and(|stem| names.iter().any(|name| stem == name.as_str()));
            is_wanted || !path.starts_with(&blobs) || path.file_name().is_some_and(|name| name == "store-id")
        });
        open(disk)
    }

    pub(super) fn has_saved(&self, server: Node, digest: Digest) -> bool {
        const CERTIFICATES: redb::TableDefinition<'_, &[u8; 32], &[u8]> = redb::TableDefinition::new("certificates");
        let path = Path::new(FOLDER).join("certificates.redb");
        let disk = self.known().disks[server].durable_part(|of| of == path);
        let has = || {
            let backend = disk.open_database(&path).ok()?;
            let database = redb::Builder::new().set_cache_size(1 << 20).create_with_backend(Backend(backend)).ok()?;
            let transaction = database.begin_read().ok()?;
            let table = transaction.open_table(CERTIFICATES).ok()?;
            table.get(&digest.0).ok()?.map(drop)
        };
        has().is_some()
    }
}

/// The founding that a replica accepted, by the bytes of its `founding` file. They are not verified, which takes pairings.
pub(super) fn accepted_founding(saved: &[u8]) -> Option<CommitteeDigest> {
    // magic, version, whether there is one, and the length of its genesis committee
    let rest = saved.strip_prefix(b"vouchfd\x01\x01")?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let genesis = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some(CommitteeRecord::decode(genesis, &Limits::default()).ok()?.digest())
}

#[derive(Debug)]
struct Backend(Box<dyn redb::StorageBackend>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// The store on a disk.
///
/// # Panics
/// The store does not open. It must open whatever was lost.
pub fn open(disk: SimulatedDisk) -> Store {
    let store = Store::open(&Host::on_disk(Arc::new(disk)), Path::new(FOLDER), &store::StoreConfig::default());
    store.expect("a store opens after a loss of power")
}

/// The whole blob, if it is held and undamaged.
pub(super) fn read(store: &Store, digest: Digest) -> Option<Vec<u8>> {
    let length = store.length_of(&digest).ok()??;
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let (from, most) = (bytes.len() as u64, 256 << 10);
        let wanted = u32::try_from((length - from).min(most)).ok()?;
        bytes.extend_from_slice(&store.read(&digest, from, wanted).ok()?.bytes);
    }
    Some(bytes)
}
