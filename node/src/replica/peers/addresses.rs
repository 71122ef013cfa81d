//! Where peers accept connections: what they announced in signed frames, kept in the data folder. So members find each other although no
//! server runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vouch_core::link::NodeKey;
use vouch_core::peer_frame::MemberAddress;

use crate::host::disk::Disk;
use crate::host::files::FileError;

const FILE: &str = "peers.json";
const VERSION: u32 = 1;
/// Maximum size of the file: 1000 members with the longest addresses have a third of it.
const MAX_SIZE: usize = 1 << 20;
/// Only the owner may read and write.
const MODE: u32 = 0o600;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressFile {
    version: u32,
    /// By node key.
    addresses: BTreeMap<String, String>,
}

/// The addresses of peers.
#[derive(Debug)]
pub(in crate::replica) struct AddressBook {
    of: BTreeMap<NodeKey, MemberAddress>,
    path: PathBuf,
    is_saved: bool,
}

impl AddressBook {
    /// Reads the file in a data folder. What cannot be read is learned again from the peers; the second value says what it was.
    pub(in crate::replica) fn open(disk: &dyn Disk, folder: &Path) -> (Self, Option<String>) {
        let path = folder.join(FILE);
        let (of, trouble) = match disk.read_all(&path, MAX_SIZE) {
            Ok(bytes) => match parse(&bytes) {
                Ok(of) => (of, None),
                Err(why) => (BTreeMap::new(), Some(why)),
            },
            Err(FileError::NotFound { .. }) => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(error.to_string())),
        };
        let trouble = trouble.map(|why| format!("the addresses of other members in {}: {why}", path.display()));
        (Self { of, path, is_saved: true }, trouble)
    }

    /// A peer announced its address. `None`: it accepts no connections.
    pub(super) fn set(&mut self, peer: NodeKey, address: Option<MemberAddress>) {
        if self.of.get(&peer) != address.as_ref() {
            self.is_saved = false;
            match address {
                Some(address) => drop(self.of.insert(peer, address)),
                None => drop(self.of.remove(&peer)),
            }
        }
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, members: &[NodeKey]) {
        let members: BTreeSet<_> = members.iter().collect();
        let before = self.of.len();
        self.of.retain(|peer, _| members.contains(peer));
        self.is_saved &= before == self.of.len();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NodeKey, &MemberAddress)> {
        self.of.iter()
    }

    /// The file and its new bytes, if something changed since the last call.
    pub(super) fn take_unsaved(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        if std::mem::replace(&mut self.is_saved, true) {
            return None;
        }
        let addresses = self.of.iter().map(|(peer, address)| (peer.to_string(), address.to_string())).collect();
        // Maps of strings always encode.
        let bytes = serde_json::to_vec_pretty(&AddressFile { version: VERSION, addresses }).ok()?;
        Some((self.path.clone(), bytes))
    }

    /// The bytes that were taken last are not in the file.
    pub(super) fn not_saved(&mut self) {
        self.is_saved = false;
    }
}

/// Writes the file, durably.
pub(super) fn save(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    disk.write_durably(path, bytes, MODE)
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<NodeKey, MemberAddress>, String> {
    let AddressFile { version, addresses } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("version: expected {VERSION}, got {version}"));
    }
    let entry = |(peer, address): (String, String)| {
        Ok((peer.parse().map_err(|error| format!("{error}"))?, address.parse().map_err(|error| format!("{error}"))?))
    };
    addresses.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    fn address(text: &str) -> MemberAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_kept_and_nothing_is_written_while_nothing_changes() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let (mut book, trouble) = AddressBook::open(host.disk(), folder.path());
        assert!(trouble.is_none() && book.take_unsaved().is_none());
        let (one, two) = (NodeKey([1; 32]), NodeKey([2; 32]));
        book.set(one, Some(address("a:1")));
        book.set(two, Some(address("[::1]:2")));
        let (path, bytes) = book.take_unsaved().unwrap();
        save(host.disk(), &path, &bytes).unwrap();
        book.set(one, Some(address("a:1")));
        book.retain(&[one, two]);
        assert!(book.take_unsaved().is_none());

        let (mut book, trouble) = AddressBook::open(host.disk(), folder.path());
        let kept: Vec<_> = book.iter().map(|(peer, address)| (*peer, address.clone())).collect();
        assert_eq!((kept, trouble), (vec![(one, address("a:1")), (two, address("[::1]:2"))], None));
        book.set(one, None);
        assert!(book.take_unsaved().is_some());
        book.retain(&[one]);
        assert!(book.take_unsaved().is_some() && book.iter().next().is_none());
    }

    #[test]
    fn a_file_that_cannot_be_used_is_reported_and_replaced() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let key = NodeKey([1; 32]);
        let bad = [
            "".to_owned(),
            "{}".to_owned(),
            r#"{"version":2,"addresses":{}}"#.to_owned(),
            r#"{"version":1,"addresses":{},"more":1}"#.to_owned(),
            r#"{"version":1,"addresses":{"no key":"a:1"}}"#.to_owned(),
            format!(r#"{{"version":1,"addresses":{{"{key}":"a/b:1"}}}}"#),
            " ".repeat(MAX_SIZE + 1),
        ];
        for text in bad {
            let path = folder.path().join(FILE);
            std::fs::write(&path, &text).unwrap();
            let (mut book, trouble) = AddressBook::open(host.disk(), folder.path());
            assert!(trouble.is_some_and(|trouble| trouble.contains(FILE)), "{:.80}", text);
            book.set(key, Some(address("a:1")));
            let (path, bytes) = book.take_unsaved().unwrap();
            save(host.disk(), &path, &bytes).unwrap();
            assert!(AddressBook::open(host.disk(), folder.path()).1.is_none());
        }
    }
}
