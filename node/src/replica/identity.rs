//! A replica's identity: its keys, the founding that it accepted, and its committee. They must belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vouch_core::chain::CommitteeChain;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::founding::{Founding, RecordError, ReplicaRecord};
use vouch_core::message::MAX_MESSAGE;

use crate::committee_file::{self, CommitteeFileError};
use crate::epoch_files::{self, EpochFileError};
use crate::host::Host;
use crate::host::disk::Disk;
use crate::host::files::FileError;
use crate::keys::{self, KeyError, ReplicaKeys};
use crate::log::unused;

/// The file with the foundings that the replica accepted and refused. It is durable before an answer leaves the replica.
const FOUNDING: &str = "founding";
/// Room for a founding and a thousand entries.
const LIMIT: usize = MAX_MESSAGE + (1 << 20);
const MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why a replica's keys, founding and committee cannot be used.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The committee.
    #[error(transparent)]
    Committee(#[from] CommitteeFileError),
    /// The later committees.
    #[error(transparent)]
    Epochs(#[from] EpochFileError),
    /// The disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// The record of foundings.
    #[error("{}: {error}; restore the file from a copy, or begin anew with another data folder", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: RecordError,
    },
    /// The accepted founding is not the committee's.
    #[error(
        "{}: expected the founding {expected}, which this replica accepted, got the committee {got}; restore both files from one copy",
        .path.display()
    )]
    AnotherCommittee {
        /// The committee's file.
        path: PathBuf,
        /// The accepted founding.
        expected: String,
        /// The saved committee.
        got: String,
    },
    /// A key by which others know this replica is missing.
    #[error(
        "{} is missing, and this replica is a member of {cluster}, which knows it by that key. Restore the file from a copy. Without one \
         this member is lost: {}",
        .path.display(), way_out(*is_founded)
    )]
    KeyMissing {
        /// The key.
        path: PathBuf,
        /// The cluster or the founding.
        cluster: String,
        /// Whether the cluster is founded.
        is_founded: bool,
    },
    /// A key is not the one by which others know this replica.
    #[error(
        "{}: expected the key of a member of {cluster}, {expected}, got {got}. Restore the file from a copy. Without one this member is \
         lost: {}",
        .path.display(), way_out(*is_founded)
    )]
    AnotherKey {
        /// The key.
        path: PathBuf,
        /// The cluster or the founding.
        cluster: String,
        /// The keys that would match.
        expected: String,
        /// The public half of the key in the folder.
        got: String,
        /// Whether the cluster is founded.
        is_founded: bool,
    },
    /// A founded cluster cannot be left.
    #[error(
        "{} is a member of the founded cluster {cluster}, which cannot be left yet; start without --abandon-founding, or name another \
         folder with --data",
        .folder.display()
    )]
    Founded {
        /// The data folder.
        folder: PathBuf,
        /// The cluster.
        cluster: String,
    },
}

fn way_out(is_founded: bool) -> &'static str {
    match is_founded {
        true => "start a new replica with another --data",
        false => "the founding never completed, so start with --abandon-founding to make new keys",
    }
}

/// The identity in a data folder.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) keys: ReplicaKeys,
    pub(super) record: ReplicaRecord,
    /// The cluster's committees, once it is founded.
    pub(super) chain: Option<CommitteeChain>,
}

impl Identity {
    /// Reads the identity. Creates the keys if the replica has accepted no founding yet.
    ///
    /// A folder with a committee and no `founding` was written by a release that kept no acceptances. The replica is bound to that
    /// committee permanently, so it accepts it now, durably. That release had no log.
    pub(super) fn open(host: &Host, folder: &Path) -> Result<Self, IdentityError> {
        let committee = committee_file::load(host.disk(), folder)?.map(Arc::new);
        let mut record = load(host.disk(), folder, committee.clone())?;
        let accepted = record.as_ref().and_then(ReplicaRecord::accepted);
        if let (Some(committee), Some(accepted)) = (&committee, accepted)
            && committee.record().digest() != accepted.digest()
        {
            return Err(IdentityError::AnotherCommittee {
                path: committee_file::path(folder),
                expected: accepted.digest().to_string(),
                got: committee.record().digest().to_string(),
            });
        }
        let chain = epoch_files::load(host.disk(), folder, committee.clone().map(CommitteeChain::new))?;
        let bound = committee.as_ref().or(accepted.map(Founding::committee)).cloned();
        // It has a record, and accepted nothing: it follows a cluster that was founded without it.
        let follows = record.is_some() && accepted.is_none();
        let is_later = |chain: &&CommitteeChain| follows || chain.current().record().epoch() > 0;
        let keys = match (&bound, chain.as_ref().filter(is_later)) {
            (_, Some(chain)) => keys_of_a_later_epoch(host, folder, chain)?,
            (None, None) => ReplicaKeys::open_or_create(host, folder)?,
            (Some(bound), None) => keys_of_a_member(host, folder, bound.record(), committee.is_some())?,
        };
        let is_founder = |committee: &Committee| {
            let own = committee.record().position(&keys.node.node_key());
            own.and_then(|own| committee.record().member(own)).is_some_and(|own| own.vote_key == keys.vote.vote_key())
        };
        if let (Some(committee), None) = (&committee, accepted)
            && is_founder(committee)
        {
            let mut founding = Founding::new(committee.clone());
            founding.accept_as(&keys.node.node_key(), &keys.vote);
            let accepted = record.take().unwrap_or_default().with(founding);
            unused::mark(host.disk(), folder, &keys.node.node_key())?;
            save(host.disk(), folder, &accepted, None)?;
            record = Some(accepted);
        }
        let record = record.unwrap_or_default();
        // After a crash between the two files, all acceptances are there: the committee is founded.
        let complete = record.accepted().filter(|accepted| committee.is_none() && accepted.is_complete());
        let chain = match complete.map(|accepted| accepted.committee().clone()) {
            Some(completed) => {
                committee_file::save(host.disk(), folder, &completed)?;
                Some(CommitteeChain::new(completed))
            }
            None => chain,
        };
        Ok(Self { keys, record, chain })
    }
}

/// The keys of a data folder. Creates them if its replica has accepted no founding yet.
///
/// # Errors
/// A member's keys are missing, or the keys are not the member's.
pub fn keys_of(host: &Host, folder: &Path) -> Result<ReplicaKeys, IdentityError> {
    Ok(Identity::open(host, folder)?.keys)
}

fn load(
    disk: &dyn Disk,
    folder: &Path,
    committee: Option<Arc<Committee>>,
) -> Result<Option<ReplicaRecord>, IdentityError> {
    let path = folder.join(FOUNDING);
    match disk.read_all(&path, LIMIT) {
        Ok(bytes) => {
            let record = ReplicaRecord::decode(&bytes, committee.map(Founding::new).as_ref());
            record.map(Some).map_err(|error| IdentityError::Record { path, error })
        }
        Err(FileError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes the replica's promises durable, and then the committee, once it is founded.
pub(super) fn save(
    disk: &dyn Disk,
    folder: &Path,
    record: &ReplicaRecord,
    committee: Option<&Committee>,
) -> Result<(), CommitteeFileError> {
    disk.write_durably(&folder.join(FOUNDING), &record.encode(), MODE)?;
    committee.map_or(Ok(()), |committee| committee_file::save(disk, folder, committee))
}

/// Reads both keys, and checks that they are the keys of one member: signatures by other keys would not count.
fn keys_of_a_member(
    host: &Host,
    folder: &Path,
    bound: &CommitteeRecord,
    is_founded: bool,
) -> Result<ReplicaKeys, IdentityError> {
    let cluster = match is_founded {
        true => format!("cluster {}", bound.cluster()),
        false => format!("the founding {}", bound.digest()),
    };
    for name in [keys::NODE_KEY, keys::VOTE_KEY] {
        let path = folder.join(name);
        if !host.disk().exists(&path)? {
            return Err(IdentityError::KeyMissing { path, cluster, is_founded });
        }
    }
    let found = ReplicaKeys::open_or_create(host, folder)?;
    let (node_key, vote_key) = (found.node.node_key(), found.vote.vote_key());
    let another = |name: &str, expected: String, got: String| IdentityError::AnotherKey {
        path: folder.join(name),
        cluster: cluster.clone(),
        expected,
        got,
        is_founded,
    };
    match bound.members().iter().find(|member| member.node_key == node_key) {
        None => Err(another(keys::NODE_KEY, "one of its node keys".into(), node_key.to_string())),
        Some(member) if member.vote_key != vote_key => {
            Err(another(keys::VOTE_KEY, format!("vote key {}", member.vote_key), vote_key.to_string()))
        }
        Some(_) => Ok(found),
    }
}

/// Reads the keys of a replica whose cluster has changed its committee. If the current committee names it, its key for that committee must be
/// here. One that the current committee does not name is a standby.
fn keys_of_a_later_epoch(host: &Host, folder: &Path, chain: &CommitteeChain) -> Result<ReplicaKeys, IdentityError> {
    let (cluster, is_founded) = (format!("cluster {}", chain.cluster()), true);
    let path = folder.join(keys::NODE_KEY);
    if !host.disk().exists(&path)? {
        return Err(IdentityError::KeyMissing { path, cluster, is_founded });
    }
    let found = ReplicaKeys::open_or_create(host, folder)?;
    let node_key = found.node.node_key();
    let own_key = |epoch: u64| {
        let record = chain.record(epoch)?;
        Some(record.member(record.position(&node_key)?)?.vote_key)
    };
    let current = chain.current().record().epoch();
    let Some(expected) = own_key(current).filter(|expected| found.votes.find(expected).is_none()) else {
        return Ok(found);
    };
    // A member that was away keeps the key of an earlier epoch.
    let made = (0..=current).rev().take_while(|epoch| own_key(*epoch) == Some(expected)).last().unwrap_or(current);
    let path = folder.join(keys::vote_key_name(made));
    if !host.disk().exists(&path)? {
        return Err(IdentityError::KeyMissing { path, cluster, is_founded });
    }
    let got = found.votes.newest().map_or_else(|| "none".to_owned(), |key| key.secret.vote_key().to_string());
    Err(IdentityError::AnotherKey { path, cluster, expected: format!("vote key {expected}"), got, is_founded })
}

/// Abandons a founding that was never completed: moves keys and record aside, so that the next start creates new keys. Returns the
/// folder that they were moved to. The old keys stay bound to that founding.
///
/// # Errors
/// [`IdentityError::Founded`]; the disk.
pub(super) fn abandon(disk: &dyn Disk, folder: &Path) -> Result<Option<PathBuf>, IdentityError> {
    if let Some(committee) = committee_file::load(disk, folder)? {
        return Err(IdentityError::Founded { folder: folder.to_owned(), cluster: committee.cluster().to_string() });
    }
    let record = folder.join(FOUNDING);
    if !disk.exists(&record)? {
        return Ok(None);
    }
    let mut number = 1;
    let aside = loop {
        let aside = folder.join(format!("abandoned-{number}"));
        if !disk.exists(&aside.join(FOUNDING))? {
            break aside;
        }
        number += 1;
    };
    disk.create_folder_durably(&aside, FOLDER_MODE)?;
    // The wrapping key stays for the new keys, and goes with the old ones.
    keys::copy_protection(disk, folder, &aside)?;
    // Move the record last: after a crash it is still there, and the next call completes the move.
    for name in [keys::NODE_KEY, keys::VOTE_KEY, FOUNDING] {
        if disk.exists(&folder.join(name))? {
            disk.rename_durably(&folder.join(name), &aside.join(name))?;
        }
    }
    Ok(Some(aside))
}

/// A committee of the replica with these keys, and of those with these numbers.
#[cfg(test)]
pub(super) fn committee_with(keys: &ReplicaKeys, others: impl IntoIterator<Item = u8>) -> vouch_fixture::TestCommittee {
    use vouch_core::bls::VoteSecretKey;

    let own = (keys.node.node_key(), VoteSecretKey::from_bytes(&keys.vote.to_bytes()).unwrap());
    let other = |number| (vouch_fixture::node_key(number), VoteSecretKey::generate(&[number; 32]).unwrap());
    vouch_fixture::TestCommittee::of_keys([1; 16], others.into_iter().map(other).chain([own]))
}

#[cfg(test)]
mod tests {
    use vouch_core::bls::VoteSecretKey;
    use vouch_fixture::TestEpochs;

    use super::*;
    use crate::host::disk::SystemDisk;
    use crate::keys::private_folder;

    /// A founding of this replica and another one. The other replica has accepted it only `with_the_other`.
    fn founding(keys: &ReplicaKeys, with_the_other: bool) -> Founding {
        let fixture = committee_with(keys, [9]);
        let mut founding = Founding::new(fixture.committee.clone());
        for (member, vote) in fixture.committee.record().members().iter().zip(&fixture.votes) {
            if with_the_other || member.node_key == keys.node.node_key() {
                founding.accept_as(&member.node_key, vote);
            }
        }
        founding
    }

    #[test]
    fn a_folder_of_an_earlier_release_accepts_its_own_committee_and_stays_founded() {
        let folder = private_folder();
        let keys = Identity::open(&Host::system(), folder.path()).unwrap().keys;
        committee_file::save(&SystemDisk, folder.path(), founding(&keys, false).committee()).unwrap();
        for _ in 0..2 {
            let opened = Identity::open(&Host::system(), folder.path()).unwrap();
            let chain = opened.chain.unwrap();
            let accepted = opened.record.accepted().unwrap();
            assert_eq!(accepted.acceptances(), founding(&keys, false).acceptances());
            assert!(Arc::ptr_eq(accepted.committee(), chain.current()), "the proofs of possession are verified once");
        }
    }

    #[test]
    fn a_crash_between_the_two_files_of_a_founding_loses_nothing() {
        let folder = private_folder();
        let keys = Identity::open(&Host::system(), folder.path()).unwrap().keys;
        save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&keys, false)), None).unwrap();
        assert!(Identity::open(&Host::system(), folder.path()).unwrap().chain.is_none(), "one acceptance is missing");
        save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&keys, true)), None).unwrap();
        assert!(Identity::open(&Host::system(), folder.path()).unwrap().chain.is_some());
        assert!(committee_file::load(&SystemDisk, folder.path()).unwrap().is_some());
    }

    #[test]
    fn missing_or_wrong_keys_are_refused_and_the_error_says_what_to_do() {
        for is_founded in [true, false] {
            let folder = private_folder();
            let keys = Identity::open(&Host::system(), folder.path()).unwrap().keys;
            save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&keys, is_founded)), None)
                .unwrap();
            Identity::open(&Host::system(), folder.path()).unwrap();
            for name in [keys::NODE_KEY, keys::VOTE_KEY] {
                let path = folder.path().join(name);
                let old = std::fs::read(&path).unwrap();
                std::fs::remove_file(&path).unwrap();
                let error = Identity::open(&Host::system(), folder.path()).unwrap_err();
                assert!(matches!(&error, IdentityError::KeyMissing { path: got, .. } if *got == path), "{error}");
                let way_out = if is_founded { "another --data" } else { "--abandon-founding" };
                assert!(error.to_string().contains(way_out), "{error}");
                assert!(!path.exists(), "a new key would hide the loss");
                Host::system().disk().write_durably(&path, format!("{}\n", "07".repeat(32)).as_bytes(), MODE).unwrap();
                let error = Identity::open(&Host::system(), folder.path()).unwrap_err();
                assert!(matches!(&error, IdentityError::AnotherKey { path: got, .. } if *got == path), "{error}");
                assert!(error.to_string().contains(way_out), "{error}");
                Host::system().disk().write_durably(&path, &old, MODE).unwrap();
                Identity::open(&Host::system(), folder.path()).unwrap();
            }
        }
    }

    #[test]
    fn an_abandoned_founding_is_moved_aside_with_its_keys() {
        let folder = private_folder();
        let keys = Identity::open(&Host::system(), folder.path()).unwrap().keys;
        assert_eq!(abandon(&SystemDisk, folder.path()).unwrap(), None, "nothing was accepted");
        save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&keys, false)), None).unwrap();
        // a crash after the node key was moved
        std::fs::create_dir(folder.path().join("abandoned-1")).unwrap();
        std::fs::rename(folder.path().join("node.key"), folder.path().join("abandoned-1/node.key")).unwrap();
        let aside = abandon(&SystemDisk, folder.path()).unwrap().unwrap();
        let names = Host::system().disk().list(&aside).unwrap();
        assert_eq!(names, [FOUNDING, keys::NODE_KEY, keys::VOTE_KEY]);
        let anew = Identity::open(&Host::system(), folder.path()).unwrap();
        assert_ne!(anew.keys.node.node_key(), keys.node.node_key());
        assert!(anew.record.accepted().is_none());
        // a second founding goes into another folder
        save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&anew.keys, false)), None).unwrap();
        assert!(abandon(&SystemDisk, folder.path()).unwrap().unwrap().ends_with("abandoned-2"));
        // a founded cluster cannot be left
        let last = Identity::open(&Host::system(), folder.path()).unwrap().keys;
        committee_file::save(&SystemDisk, folder.path(), founding(&last, true).committee()).unwrap();
        assert!(matches!(abandon(&SystemDisk, folder.path()), Err(IdentityError::Founded { .. })));
    }

    #[test]
    fn a_record_that_is_damaged_or_of_another_committee_is_refused() {
        let folder = private_folder();
        let keys = Identity::open(&Host::system(), folder.path()).unwrap().keys;
        let mut bytes = ReplicaRecord::default().with(founding(&keys, false)).encode();
        let last = bytes.len() - 1;
        bytes[last - 20] ^= 1;
        Host::system().disk().write_durably(&folder.path().join(FOUNDING), &bytes, MODE).unwrap();
        assert!(matches!(Identity::open(&Host::system(), folder.path()), Err(IdentityError::Record { .. })));
        save(&SystemDisk, folder.path(), &ReplicaRecord::default().with(founding(&keys, false)), None).unwrap();
        let alone = committee_with(&keys, []).committee;
        committee_file::save(&SystemDisk, folder.path(), &alone).unwrap();
        assert!(matches!(Identity::open(&Host::system(), folder.path()), Err(IdentityError::AnotherCommittee { .. })));
    }

    /// A folder whose cluster has two later epochs: in the first, the replica has a new key, and in the second, it is a member or not.
    fn changed(folder: &Path, stays: bool) -> TestEpochs {
        let keys = Identity::open(&Host::system(), folder).unwrap().keys;
        let second = keys.votes.create(1).unwrap();
        let copied = || VoteSecretKey::from_bytes(&second.secret.to_bytes()).unwrap();
        let (own, other) = (keys.node.node_key(), || (vouch_fixture::node_key(9), vouch_fixture::vote_secret("other")));
        let mut epochs = TestEpochs::founded(committee_with(&keys, [9]));
        epochs.change(vouch_fixture::ISSUED, [(own, copied()), other()]);
        epochs.change(vouch_fixture::ISSUED, [other()].into_iter().chain(stays.then(|| (own, copied()))));
        committee_file::save(&SystemDisk, folder, epochs.chain.first()).unwrap();
        epoch_files::save(&SystemDisk, folder, &epochs.chain, 0).unwrap();
        epochs
    }

    #[test]
    fn a_member_of_the_current_committee_needs_its_key_and_no_earlier_one() {
        let folder = private_folder();
        let epochs = changed(folder.path(), true);
        let opened = || Identity::open(&Host::system(), folder.path());
        let chain = opened().unwrap().chain.unwrap();
        assert_eq!(chain.current().record(), epochs.chain.current().record());
        assert!(opened().unwrap().record.accepted().is_some(), "it accepted the genesis");
        std::fs::remove_file(folder.path().join("vote.key")).unwrap();
        opened().unwrap();
        assert!(!folder.path().join("vote.key").exists(), "the erased key is not made again");
        let path = folder.path().join("vote-1.key");
        let key = std::fs::read(&path).unwrap();
        Host::system().disk().write_durably(&path, format!("{}\n", "07".repeat(32)).as_bytes(), MODE).unwrap();
        assert!(matches!(opened().unwrap_err(), IdentityError::AnotherKey { path: got, .. } if got == path));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(opened().unwrap_err(), IdentityError::KeyMissing { path: got, .. } if got == path));
        std::fs::remove_file(folder.path().join("vote.key")).ok();
        Host::system().disk().write_durably(&path, &key, MODE).unwrap();
        opened().unwrap();
        let node = folder.path().join("node.key");
        std::fs::remove_file(&node).unwrap();
        assert!(matches!(opened().unwrap_err(), IdentityError::KeyMissing { path: got, .. } if got == node));
    }

    #[test]
    fn a_replica_that_left_or_never_was_a_member_is_a_standby() {
        let folder = private_folder();
        let epochs = changed(folder.path(), false);
        for name in ["vote.key", "vote-1.key"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let left = Identity::open(&Host::system(), folder.path()).unwrap();
        assert_eq!(left.chain.unwrap().current().record().epoch(), 2);
        // A replica that follows the cluster before a later committee names it.
        let follower = private_folder();
        Identity::open(&Host::system(), follower.path()).unwrap();
        save(&SystemDisk, follower.path(), &ReplicaRecord::default(), Some(epochs.chain.first())).unwrap();
        let opened = Identity::open(&Host::system(), follower.path()).unwrap();
        assert!(opened.record.accepted().is_none() && opened.chain.is_some());
        let stranger = private_folder();
        Identity::open(&Host::system(), stranger.path()).unwrap();
        committee_file::save(&SystemDisk, stranger.path(), epochs.chain.first()).unwrap();
        epoch_files::save(&SystemDisk, stranger.path(), &epochs.chain, 0).unwrap();
        let opened = Identity::open(&Host::system(), stranger.path()).unwrap();
        assert!(opened.record.accepted().is_none() && opened.chain.is_some());
    }
}
