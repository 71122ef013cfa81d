//! A replica's vote keys: `vote.key`, which the genesis names, and `vote-<epoch>.key` for later epochs for which it made a new one. Which one an
//! epoch uses is not recorded: it is the one that the epoch's committee names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vouch_core::bls::{Possession, VoteKey, VoteSecretKey};

use super::{KeyError, Protection, Secret, VOTE_KEY, read_or_create, read_vote_key};
use crate::host::Host;

/// A vote key with its proof of possession, which costs as much as a vote.
#[derive(Debug)]
pub struct EpochVoteKey {
    /// The key.
    pub secret: Arc<VoteSecretKey>,
    /// The proof.
    pub possession: Possession,
}

impl EpochVoteKey {
    fn new(secret: VoteSecretKey) -> Arc<Self> {
        let possession = secret.prove_possession();
        Arc::new(Self { secret: Arc::new(secret), possession })
    }
}

/// The vote keys in a data folder, by the epoch for which they were made. 0 is `vote.key`.
pub struct VoteKeys {
    host: Host,
    folder: PathBuf,
    /// How new keys are written.
    protection: Protection,
    keys: Mutex<BTreeMap<u64, Arc<EpochVoteKey>>>,
}

impl fmt::Debug for VoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoteKeys").field("epochs", &self.keys().keys().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}

/// The name of the vote key that was made for an epoch.
pub fn vote_key_name(epoch: u64) -> String {
    if epoch == 0 { VOTE_KEY.to_owned() } else { format!("vote-{epoch}.key") }
}

/// The epoch in the name of a vote key; `None` for any other name.
pub(super) fn epoch_of(name: &OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let epoch = match name.strip_prefix("vote-") {
        Some(rest) => rest.strip_suffix(".key")?.parse().ok()?,
        None => 0,
    };
    (vote_key_name(epoch) == name).then_some(epoch)
}

impl VoteKeys {
    /// Reads the vote keys of a folder. Creates `vote.key` if there is none.
    pub(super) fn open_or_create(host: &Host, protection: Protection, folder: &Path) -> Result<Self, KeyError> {
        let disk = host.disk();
        let mut epochs: Vec<u64> = disk.list(folder)?.iter().filter_map(|name| epoch_of(name)).collect();
        if epochs.is_empty() {
            epochs.push(0);
        }
        let keys = Self { host: host.clone(), folder: folder.to_owned(), protection, keys: Mutex::default() };
        for epoch in epochs {
            keys.create(epoch)?;
        }
        Ok(keys)
    }

    fn keys(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<EpochVoteKey>>> {
        // Consistent after a panic elsewhere: every change is one call.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key with this public half; `None` if it is not here.
    pub fn find(&self, vote_key: &VoteKey) -> Option<Arc<EpochVoteKey>> {
        self.keys().values().find(|key| key.secret.vote_key() == *vote_key).cloned()
    }

    /// The key that was made last: what a replica shows that no committee names.
    pub fn newest(&self) -> Option<Arc<EpochVoteKey>> {
        self.keys().last_key_value().map(|(_, key)| key.clone())
    }

    /// The key that was made first and not erased yet.
    pub(super) fn oldest(&self) -> Option<Arc<EpochVoteKey>> {
        self.keys().first_key_value().map(|(_, key)| key.clone())
    }

    /// The key that was made for an epoch. Makes one if there is none; it is durable before it is returned, because a key that is offered to others
    /// must never be lost. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn create(&self, epoch: u64) -> Result<Arc<EpochVoteKey>, KeyError> {
        let mut keys = self.keys();
        if let Some(made) = keys.get(&epoch) {
            return Ok(made.clone());
        }
        let name = vote_key_name(epoch);
        let path = self.folder.join(&name);
        let bytes = read_or_create(&self.host, &self.protection, &self.folder, &name, || {
            let value = |cause| KeyError::Value { path: path.clone(), cause };
            let seed = Secret::new(self.host.random());
            Ok(Secret::new(VoteSecretKey::generate(&seed).map_err(value)?.to_bytes()))
        })?;
        let made = EpochVoteKey::new(read_vote_key(&path, &bytes)?);
        keys.insert(epoch, made.clone());
        Ok(made)
    }

    /// Erases the keys that were made for epochs before this one, durably, except those with these public halves. If none is left, makes one for
    /// this epoch. Blocks until the disk has answered.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn erase_before(&self, epoch: u64, in_use: &[VoteKey]) -> Result<(), KeyError> {
        let is_old = |(made, key): (&u64, &Arc<EpochVoteKey>)| {
            (*made < epoch && !in_use.contains(&key.secret.vote_key())).then_some(*made)
        };
        let old: Vec<u64> = self.keys().iter().filter_map(is_old).collect();
        if old.len() == self.keys().len() {
            self.create(epoch)?;
        }
        let disk = self.host.disk();
        for made in old {
            disk.remove(&self.folder.join(vote_key_name(made)))?;
            disk.sync_folder(&self.folder)?;
            self.keys().remove(&made);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::private_folder;
    use super::*;

    fn opened(folder: &Path) -> VoteKeys {
        VoteKeys::open_or_create(&Host::system(), Protection::default(), folder).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = Host::system().disk().list(folder).unwrap();
        let mut names: Vec<_> = names.into_iter().map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_key_for_an_epoch_is_made_once_and_found_again() {
        let folder = private_folder();
        let keys = opened(folder.path());
        let made = keys.create(3).unwrap();
        assert_eq!(keys.create(3).unwrap().secret.vote_key(), made.secret.vote_key());
        assert_eq!(names(folder.path()), ["vote-3.key", "vote.key"]);
        let mode = std::fs::metadata(folder.path().join("vote-3.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let again = opened(folder.path());
        assert!(again.find(&made.secret.vote_key()).is_some());
        assert_eq!(again.newest().unwrap().secret.vote_key(), made.secret.vote_key());
        assert_eq!(again.find(&vouch_fixture::vote_secret("another").vote_key()).map(drop), None);
    }

    #[test]
    fn other_names_are_no_vote_keys() {
        for name in ["vote-0.key", "vote-03.key", "vote-x.key", "vote-3.key.tmp", "node.key", "vote-"] {
            assert_eq!(epoch_of(OsStr::new(name)), None, "{name}");
        }
        assert_eq!(epoch_of(OsStr::new("vote.key")), Some(0));
        assert_eq!(epoch_of(OsStr::new("vote-12.key")), Some(12));
    }

    #[test]
    fn old_keys_are_erased_unless_a_later_committee_names_them() {
        let folder = private_folder();
        let keys = opened(folder.path());
        let kept = keys.create(1).unwrap().secret.vote_key();
        keys.create(2).unwrap();
        keys.create(4).unwrap();
        keys.erase_before(3, &[kept]).unwrap();
        assert_eq!(names(folder.path()), ["vote-1.key", "vote-4.key"]);
        // Never without any key: there would be none to join a server with. It is a new one, so the old ones are gone.
        keys.erase_before(9, &[]).unwrap();
        assert_eq!(names(folder.path()), ["vote-9.key"]);
        assert!(keys.find(&kept).is_none());
        assert_eq!(names(folder.path()), ["vote-9.key"]);
        assert!(opened(folder.path()).find(&kept).is_none());
    }
}
