//! Every member keeps the statements of every seal, so that anyone can have it proved later that a certificate is sealed. Members that
//! sign a seal store them before; all others fetch them from the servers, which ask the members.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use vouch_core::chain::CommitteeChain;
use vouch_core::seal::SealTree;
use vouch_node_core::membership::Membership;

use super::MembershipContext;
use crate::client::seal::fetch_seal;
use crate::latest::Closed;
use crate::log::block_store::BlockStore;

/// How long a server may take to send one list.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pauses after attempts without success double from the first to the longest: the member that has a list may be down for long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// From this pause on, an attempt without success is reported. The servers learn of an epoch a moment later than its members.
const REPORTED_FROM: Duration = Duration::from_secs(20);

impl MembershipContext {
    /// Stores the statements of the seal that the members are signing. A seal of which nobody knows the statements proves nothing.
    pub(super) async fn keep_seal(&self, state: &Membership) -> Result<(), String> {
        let sealing = state.sealing().ok_or("no seal is being signed")?;
        let (epoch, statements) = (sealing.committee.record().epoch(), sealing.statements.clone());
        let blocks = self.log.blocks().ok_or("the log is not open")?;
        let storing = self.storage.host.spawn_blocking(move || {
            let seal = SealTree::new(statements.iter().copied()).ok_or("too many statements")?;
            blocks.keep_seal(epoch, &seal).map_err(|error| error.to_string())
        });
        storing.await.map_err(|error| error.to_string())?
    }

    /// Fetches the lists of seals that are missing here, one at a time. Never completes.
    pub(crate) async fn fetch_seals(self: Arc<Self>) {
        let mut chains = self.identity.committees.follow();
        let (mut missing, mut looked_below, mut pause) = (VecDeque::new(), 0, FIRST_PAUSE);
        loop {
            let chain = chains.see();
            let is_member = |chain: &CommitteeChain| self.identity.position(chain.current()).is_some();
            let mut wait = None;
            match (chain.filter(is_member), self.log.blocks()) {
                (Some(chain), Some(blocks)) => {
                    if let Err(why) = self.look(&chain, &blocks, &mut missing, &mut looked_below).await {
                        self.trouble(&format!("the lists of seals cannot be read: {why}"));
                    }
                    if let Some(epoch) = missing.pop_front() {
                        let Err(why) = self.fetch_seal(&chain, blocks, epoch).await else {
                            pause = FIRST_PAUSE;
                            continue;
                        };
                        if pause >= REPORTED_FROM {
                            let text = format!("the statements of the seal of epoch {epoch} are not here yet: {why}");
                            self.trouble(&text);
                        }
                        missing.push_back(epoch);
                        wait = Some(pause);
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
                // The log opens a moment after the committee is known.
                (Some(_), None) => wait = Some(FIRST_PAUSE),
                (None, _) => {}
            }
            let changed = match wait {
                Some(pause) => self.storage.host.timeout(pause, chains.changed()).await.unwrap_or(Ok(())),
                None => chains.changed().await,
            };
            if let Err(Closed) = changed {
                return std::future::pending().await;
            }
        }
    }

    /// Adds the sealed epochs whose lists are not here, each once.
    async fn look(
        &self,
        chain: &CommitteeChain,
        blocks: &Arc<BlockStore>,
        missing: &mut VecDeque<u64>,
        looked_below: &mut u64,
    ) -> Result<(), String> {
        let (from, blocks) = (*looked_below, blocks.clone());
        // A committee names the seal of two epochs before.
        let below = (chain.current().record().epoch() + 1).saturating_sub(2);
        let looking = self.storage.host.spawn_blocking(move || {
            let lacks = |epoch: u64| blocks.has_seal(epoch).map(|has| (!has).then_some(epoch));
            (from..below).filter_map(|epoch| lacks(epoch).transpose()).collect::<Result<Vec<_>, _>>()
        });
        let found = looking.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        missing.extend(found);
        *looked_below = below.max(from);
        Ok(())
    }

    async fn fetch_seal(&self, chain: &CommitteeChain, blocks: Arc<BlockStore>, epoch: u64) -> Result<(), String> {
        let mut failure = "this replica has no server".to_owned();
        for server in &self.servers {
            match fetch_seal(&self.storage.host, server, chain, epoch, PATIENCE).await {
                Ok(seal) => {
                    let storing = self.storage.host.spawn_blocking(move || blocks.keep_seal(epoch, &seal)).await;
                    return storing.map_err(|error| error.to_string())?.map_err(|error| error.to_string());
                }
                Err(error) => failure = error.to_string(),
            }
        }
        Err(failure)
    }
}
