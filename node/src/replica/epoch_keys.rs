//! TEMPORARY until the chain-carrying change lands.
use super::context::{OwnIdentity, Storage};
use std::sync::Arc;
use vouch_core::bls::{VoteKey, VoteSecretKey};
use vouch_core::chain::EpochLink;

impl OwnIdentity {
    pub(super) fn vote_key(&self, epoch: u64) -> Option<Arc<VoteSecretKey>> {
        let chain = self.chain()?;
        let record = chain.record(epoch)?;
        let member = record.member(record.position(&self.node_key())?)?;
        self.vote_key_of(&member.vote_key)
    }
    pub(super) fn vote_key_of(&self, vote_key: &VoteKey) -> Option<Arc<VoteSecretKey>> {
        let own = VoteSecretKey::from_bytes(&self.keys.vote.to_bytes()).ok()?;
        (own.vote_key() == *vote_key).then(|| Arc::new(own))
    }
    pub(super) async fn create_vote_key(&self, _storage: &Storage, _epoch: u64) -> Result<Arc<VoteSecretKey>, String> {
        VoteSecretKey::from_bytes(&self.keys.vote.to_bytes()).map(Arc::new).map_err(|e| e.to_string())
    }
    pub(super) async fn erase_vote_keys_before(&self, _storage: &Storage, _epoch: u64) -> Result<(), String> {
        Ok(())
    }
    pub(super) async fn extend(&self, _storage: &Storage, links: Vec<EpochLink>) -> Result<(), String> {
        let chain = self.chain().ok_or("no chain")?.extended(links).map_err(|e| e.to_string())?;
        self.committees.replace(Some(chain));
        Ok(())
    }
}
