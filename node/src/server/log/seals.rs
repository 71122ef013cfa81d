//! The statements of a seal, from whichever member has them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use vouch_core::chain::CommitteeChain;
use vouch_core::message::{Code, Message};
use vouch_core::seal::SealTree;
use vouch_core::statement::StatementId;
use vouch_node_core::server::log_requests::{ANSWER, REQUEST};

use super::ServerLog;
use super::requests::{LogFailure, unexpected};

/// Maximum number of lists that are remembered: 1 MiB each.
const REMEMBERED: usize = 4;

/// The lists that were asked for last, by epoch. A seal never changes.
#[derive(Debug, Default)]
pub(super) struct SealLists(Mutex<BTreeMap<u64, Bytes>>);

impl SealLists {
    fn get(&self, epoch: u64) -> Option<Bytes> {
        // Recover from poisoning: each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&epoch).cloned()
    }

    fn keep(&self, epoch: u64, list: Bytes) {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.insert(epoch, list);
        if lists.len() > REMEMBERED {
            lists.pop_first();
        }
    }
}

impl ServerLog {
    /// The list of an epoch's seal, see [`SealTree::to_list`].
    ///
    /// # Errors
    /// [`Code::NotFound`] if no committee known here names the seal, or no connected member has its statements.
    pub(in crate::server) async fn seal_list(&self, epoch: u64) -> Result<Bytes, LogFailure> {
        let chain = self.chain()?;
        if chain.seal_of(epoch).is_none() {
            let named_by = epoch.saturating_add(2);
            let detail =
                format!("the committee of epoch {named_by}, which names the seal of epoch {epoch}, is not known");
            return Err(LogFailure::new(Code::NotFound, detail));
        }
        if let Some(list) = self.seals.get(epoch) {
            return Ok(list);
        }
        let until = self.members.now() + REQUEST;
        let mut failure = LogFailure::nobody();
        for member in self.order() {
            match self.seal_of_member(member, &chain, epoch, until).await {
                Ok(list) => {
                    self.seals.keep(epoch, list.clone());
                    return Ok(list);
                }
                Err(why) => failure = why,
            }
            if self.members.now() >= until {
                break;
            }
        }
        Err(failure)
    }

    async fn seal_of_member(
        &self,
        member: u16,
        chain: &CommitteeChain,
        epoch: u64,
        until: Duration,
    ) -> Result<Bytes, LogFailure> {
        let another = || LogFailure::new(Code::DigestDiffers, "a member sent other statements than those of the seal");
        let mut identities: Vec<StatementId> = Vec::new();
        loop {
            let (stream, by) = (self.members.numbers().next(), (self.members.now() + ANSWER).min(until));
            // Decoding bounds the count, and with it what is collected here.
            let from = u32::try_from(identities.len()).map_err(|_| another())?;
            let (count, part) = match self.ask(member, stream, &Message::AskSeal { stream, epoch, from }, by).await? {
                Message::SealPart { count, identities, .. } => (count as usize, identities),
                other => return Err(unexpected(&other)),
            };
            let is_last = identities.len() + part.len() == count;
            if identities.len() + part.len() > count || (part.is_empty() && !is_last) {
                return Err(another());
            }
            identities.extend(part);
            if is_last {
                break;
            }
        }
        let chain = Arc::new(chain.clone());
        let checking = self.members.host().spawn_blocking(move || {
            let seal = SealTree::new(identities).filter(|seal| seal.is_of(&chain, epoch));
            seal.map(|seal| Bytes::from(seal.to_list()))
        });
        checking.await.ok().flatten().ok_or_else(another)
    }
}
