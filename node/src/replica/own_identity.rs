//! The replica's keys, its name, and the committees of its cluster, while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use vouch_core::bls::{VoteKey, VoteSecretKey};
use vouch_core::chain::{ChainError, ChainUpdate, CommitteeChain, EpochLink};
use vouch_core::committee::{Committee, MemberName};
use vouch_core::digest::CommitteeDigest;
use vouch_core::link::NodeKey;

use crate::epoch_files::{self, EpochFileError};
use crate::host::Host;
use crate::host::blocking::BlockingWorkError;
use crate::keys::{EpochVoteKey, KeyError, ReplicaKeys};
use crate::latest::Latest;

/// Why the replica does not take in later epochs.
#[derive(Debug, Error)]
pub(super) enum ExtendError {
    /// The replica is in no cluster yet.
    #[error("this replica is in no cluster yet")]
    NoCluster,
    /// They are no chain with the committees of this replica.
    #[error(transparent)]
    Chain(Box<ChainError>),
    /// A committee that this replica knows has a second successor.
    #[error(
        "another committee of epoch {epoch}, signed by a quorum as well: expected {known}, got {shown}; this replica keeps the one that it \
         learned first, compare bundles of both with `vouch compare`"
    )]
    Fork { epoch: u64, known: CommitteeDigest, shown: CommitteeDigest },
    /// They cannot be made durable.
    #[error(transparent)]
    File(#[from] EpochFileError),
    /// The thread that verified or saved them failed.
    #[error(transparent)]
    Task(#[from] BlockingWorkError),
}

/// Why a vote key was not made or erased.
#[derive(Debug, Error)]
pub(super) enum VoteKeyError {
    /// The key, or the disk.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The thread that worked on the disk failed.
    #[error(transparent)]
    Task(#[from] BlockingWorkError),
}

/// The replica's keys, its name, and the committees of its cluster.
pub(super) struct OwnIdentity {
    host: Host,
    /// The data folder.
    folder: PathBuf,
    pub(super) keys: ReplicaKeys,
    pub(super) name: MemberName,
    /// The verified committees. Every link follows this value, because its server may have no committee yet.
    pub(super) committees: Latest<Option<CommitteeChain>>,
    /// Locked while later epochs are verified and made durable.
    extending: tokio::sync::Mutex<()>,
}

impl OwnIdentity {
    pub(super) fn new(
        (host, folder): (Host, &Path),
        keys: ReplicaKeys,
        name: MemberName,
        chain: Option<CommitteeChain>,
    ) -> Self {
        let (folder, committees, extending) = (folder.to_owned(), Latest::new(chain), tokio::sync::Mutex::new(()));
        Self { host, folder, keys, name, committees, extending }
    }

    pub(super) fn node_key(&self) -> NodeKey {
        self.keys.node.node_key()
    }

    /// The cluster's committees, once the replica is in one.
    pub(super) fn chain(&self) -> Option<CommitteeChain> {
        self.committees.get()
    }

    /// The current epoch; 0 before the founding.
    pub(super) fn epoch(&self) -> u64 {
        self.chain().map_or(0, |chain| chain.current().record().epoch())
    }

    /// The replica's index in a committee.
    pub(super) fn position(&self, committee: &Committee) -> Option<u16> {
        committee.record().position(&self.node_key())
    }

    /// The key by which an epoch's committee knows this replica. `None` if it is no member of it, or the key is not here any more.
    pub(super) fn vote_key(&self, epoch: u64) -> Option<Arc<VoteSecretKey>> {
        self.own_key(&self.chain()?, epoch).map(|key| key.secret.clone())
    }

    /// The key with this public half, if it is here.
    pub(super) fn vote_key_of(&self, vote_key: &VoteKey) -> Option<Arc<VoteSecretKey>> {
        self.keys.votes.find(vote_key).map(|key| key.secret.clone())
    }

    /// The key to join a server with: that of the current epoch, or for a replica that is no member, the newest.
    pub(super) fn joining_key(&self) -> Option<Arc<EpochVoteKey>> {
        let named = self.chain().and_then(|chain| self.own_key(&chain, chain.current().record().epoch()));
        named.or_else(|| self.keys.votes.newest())
    }

    fn own_key(&self, chain: &CommitteeChain, epoch: u64) -> Option<Arc<EpochVoteKey>> {
        self.keys.votes.find(&self.named_key(chain, epoch)?)
    }

    /// The vote key by which an epoch's committee names this replica.
    fn named_key(&self, chain: &CommitteeChain, epoch: u64) -> Option<VoteKey> {
        let record = chain.record(epoch)?;
        Some(record.member(record.position(&self.node_key())?)?.vote_key)
    }

    /// The key to offer for an epoch. It is durable once it is returned.
    pub(super) async fn create_vote_key(self: &Arc<Self>, epoch: u64) -> Result<Arc<VoteSecretKey>, VoteKeyError> {
        let identity = self.clone();
        let made = self.host.spawn_blocking(move || identity.keys.votes.create(epoch)).await??;
        Ok(made.secret.clone())
    }

    /// Erases the vote keys that only epochs before this one use.
    pub(super) async fn erase_vote_keys_before(self: &Arc<Self>, epoch: u64) -> Result<(), VoteKeyError> {
        let Some(chain) = self.chain() else { return Ok(()) };
        let last = chain.current().record().epoch();
        let in_use: Vec<_> = (epoch..=last).filter_map(|epoch| self.named_key(&chain, epoch)).collect();
        let identity = self.clone();
        let erasing = self.host.spawn_blocking(move || identity.keys.votes.erase_before(epoch, &in_use));
        Ok(erasing.await??)
    }

    /// Takes in later epochs: verifies them, makes them durable, and only then uses them. Returns whether the current epoch is another one.
    pub(super) async fn extend(&self, links: Vec<EpochLink>) -> Result<bool, ExtendError> {
        let _one_at_a_time = self.extending.lock().await;
        let chain = self.chain().ok_or(ExtendError::NoCluster)?;
        let saved = chain.current().record().epoch();
        let updating = self.host.spawn_blocking(move || chain.updated(links).map_err(Box::new));
        let update = updating.await?.map_err(ExtendError::Chain)?;
        let chain = match update {
            ChainUpdate::Known => return Ok(false),
            ChainUpdate::Fork { epoch, known, shown } => return Err(ExtendError::Fork { epoch, known, shown }),
            ChainUpdate::Extended(chain) => chain,
        };
        let (disk, folder, extended) = (self.host.shared_disk(), self.folder.clone(), chain.clone());
        self.host.spawn_blocking(move || epoch_files::save(&*disk, &folder, &extended, saved)).await??;
        self.committees.replace(Some(chain));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use vouch_fixture::{ISSUED, TestCommittee, TestEpochs, node_key};

    use super::*;
    use crate::keys::private_folder;

    /// A replica in a folder, and a cluster of it and another one, which goes on without it after epoch 1.
    fn world(folder: &Path) -> (Arc<OwnIdentity>, TestEpochs) {
        let host = Host::system();
        let keys = ReplicaKeys::open_or_create(&host, folder).unwrap();
        let own = keys.node.node_key();
        let copied = |key: &VoteSecretKey| VoteSecretKey::from_bytes(&key.to_bytes()).unwrap();
        let other = || (node_key(9), VoteSecretKey::generate(&[9; 32]).unwrap());
        let mut epochs = TestEpochs::founded(TestCommittee::of_keys([1; 16], [(own, copied(&keys.vote)), other()]));
        let second = keys.votes.create(1).unwrap();
        epochs.change(ISSUED, [(own, copied(&second.secret)), other()]);
        epochs.change(ISSUED, [(own, copied(&second.secret)), other()]);
        epochs.change(ISSUED, [other()]);
        let genesis = CommitteeChain::new(epochs.chain.first().clone());
        let name = MemberName::new("own").unwrap();
        (Arc::new(OwnIdentity::new((host, folder), keys, name, Some(genesis))), epochs)
    }

    #[tokio::test]
    async fn each_epoch_uses_the_key_that_its_committee_names() {
        let folder = private_folder();
        let (identity, epochs) = world(folder.path());
        let names = |identity: &OwnIdentity, epoch| identity.vote_key(epoch).map(|key| key.vote_key());
        assert_eq!(names(&identity, 0), Some(identity.keys.vote.vote_key()));
        assert_eq!(names(&identity, 1), None, "the epoch is not known yet");
        assert!(identity.extend(epochs.chain.links(3).collect()).await.unwrap());
        let second = identity.keys.votes.create(1).unwrap().secret.vote_key();
        assert_eq!([1, 2, 3].map(|epoch| names(&identity, epoch)), [Some(second), Some(second), None]);
        assert_eq!(identity.joining_key().unwrap().secret.vote_key(), second);
        // Epoch 2 still uses the key of epoch 1.
        identity.erase_vote_keys_before(2).await.unwrap();
        assert_eq!([0, 1, 2].map(|epoch| names(&identity, epoch)), [None, Some(second), Some(second)]);
        identity.erase_vote_keys_before(3).await.unwrap();
        assert_eq!(names(&identity, 2), None);
        let fresh = identity.joining_key().unwrap().secret.vote_key();
        assert_eq!(identity.create_vote_key(3).await.unwrap().vote_key(), fresh);
    }

    #[tokio::test]
    async fn epochs_are_durable_and_only_a_chain_is_followed() {
        let folder = private_folder();
        let (identity, mut epochs) = world(folder.path());
        assert!(identity.extend(epochs.chain.links(1).collect()).await.unwrap());
        assert!(!identity.extend(epochs.chain.links(1).collect()).await.unwrap(), "known");
        let load = || {
            let genesis = CommitteeChain::new(epochs.chain.first().clone());
            epoch_files::load(Host::system().disk(), folder.path(), Some(genesis)).unwrap().unwrap()
        };
        assert_eq!(load().current().record(), identity.chain().unwrap().current().record());
        // A gap, and a committee that nobody handed over to.
        let gap = identity.extend(epochs.chain.links_after(2).collect()).await.unwrap_err();
        let ExtendError::Chain(gap) = gap else { panic!("{gap}") };
        assert_eq!(*gap, ChainError::Epoch { expected: 2, got: 3 });
        let mut forged: Vec<_> = epochs.chain.links_after(1).collect();
        forged[0].handoff.signature = epochs.chain.links(1).next().unwrap().handoff.signature;
        let ExtendError::Chain(error) = identity.extend(forged).await.unwrap_err() else { panic!("it is no chain") };
        assert!(matches!(*error, ChainError::Handoff { .. }), "{error}");
        // A second successor of the genesis.
        let (committees, known) = (std::mem::take(&mut epochs.committees), epochs.chain.record(1).unwrap().digest());
        let mut fork = TestEpochs::founded(committees.into_iter().next().unwrap());
        fork.change(ISSUED, [(node_key(8), VoteSecretKey::generate(&[8; 32]).unwrap())]);
        let error = identity.extend(fork.chain.links(1).collect()).await.unwrap_err();
        assert!(matches!(error, ExtendError::Fork { epoch: 1, known: kept, .. } if kept == known), "{error}");
        // What only claims to be one is no fork.
        let mut claimed: Vec<_> = fork.chain.links(1).collect();
        claimed[0].handoff.signature.0[9] ^= 1;
        assert!(matches!(identity.extend(claimed).await.unwrap_err(), ExtendError::Chain(_)));
        assert_eq!((identity.epoch(), load().current().record().epoch()), (1, 1));
    }
}
