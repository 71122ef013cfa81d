//! The seal of the epoch that ended last: which statements it certified.

use std::collections::BTreeSet;
use std::sync::Arc;

use vouch_core::bls::VoteSignature;
use vouch_core::committee::{Committee, CommitteeRecord};
use vouch_core::link::NodeKey;
use vouch_core::membership::{CertifiedStatement, SignedNodeVote};
use vouch_core::seal::{MAX_SEALED, SealTree};
use vouch_core::statement::{Seal, Statement, StatementId};
use vouch_core::tally::Tally;

use crate::log::effect::refused;
use crate::log::state_machine::BlockContext;

/// The time from the closing of an epoch to its seal, in seconds. Votes for its statements are given until 60 s after the closing.
pub const SEAL_DELAY: u64 = 120;

/// The seal of an epoch, from its handoff on.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// The committee of the ended epoch.
    pub committee: Arc<Committee>,
    /// When it closed, seconds since 1970.
    pub closing: u64,
    /// The statements so far. Empty again once the seal is signed.
    pub statements: Arc<BTreeSet<StatementId>>,
    /// The members that know of no other.
    pub ready: BTreeSet<NodeKey>,
    /// The votes, once no statement is added any more.
    pub tally: Option<Tally<Seal>>,
    /// The identity of the signed seal.
    pub seal: Option<StatementId>,
}

impl Sealing {
    pub(super) fn new(committee: Arc<Committee>, closing: u64) -> Self {
        let statements = Arc::default();
        Self { committee, closing, statements, ready: BTreeSet::new(), tally: None, seal: None }
    }

    fn check_open(&self) -> Result<(), String> {
        let epoch = self.committee.record().epoch();
        match (&self.seal, &self.tally) {
            (Some(_), _) => Err(format!("epoch {epoch} is sealed")),
            (None, Some(_)) => Err(format!("the seal of epoch {epoch} takes no statements any more")),
            (None, None) => Ok(()),
        }
    }

    pub(super) fn add(&mut self, certified: &[CertifiedStatement], block: &BlockContext) -> Result<String, String> {
        self.check_open()?;
        let epoch = self.committee.record().epoch();
        if block.time < self.closing {
            return Err(format!("epoch {epoch} is open until {}", self.closing));
        }
        let mut added = 0;
        for statement in certified {
            let issued_at = statement.body.issued_at;
            if issued_at > self.closing {
                return Err(format!("issued_at: expected at most {}, got {issued_at}", self.closing));
            }
            let identity = Statement::new(self.committee.record(), statement.body).id();
            // Several members report the same certificates.
            if self.statements.contains(&identity) {
                continue;
            }
            statement.verify(&self.committee).map_err(refused)?;
            if self.statements.len() >= MAX_SEALED {
                return Err(format!("expected at most {MAX_SEALED} statements in a seal, got another"));
            }
            added += usize::from(Arc::make_mut(&mut self.statements).insert(identity));
        }
        Ok(format!("{added} statements added to the seal of epoch {epoch}, {} in all", self.statements.len()))
    }

    /// `sealing`: the committee that signs the seal.
    pub(super) fn ready(
        &mut self,
        sealing: &CommitteeRecord,
        signed: &SignedNodeVote,
        block: &BlockContext,
    ) -> Result<String, String> {
        self.check_open()?;
        let earliest = self.closing.saturating_add(SEAL_DELAY);
        if block.time < earliest {
            return Err(format!("time of the seal: expected at least {earliest}, got {}", block.time));
        }
        let member = signed.verify(sealing).map_err(refused)?;
        self.ready.insert(signed.node_key);
        if self.ready.len() >= usize::from(sealing.quorum()) {
            let tree = SealTree::new(self.statements.iter().copied()).ok_or("too many statements")?;
            self.tally = Some(Tally::new(sealing, tree.seal(self.committee.record())));
            return Ok(format!("{} is ready: the seal has {} statements", sealing.name(member), tree.count()));
        }
        Ok(format!("{} is ready to seal: {} of {}", sealing.name(member), self.ready.len(), sealing.quorum()))
    }

    pub(super) fn sign(
        &mut self,
        sealing: &Committee,
        node_key: &NodeKey,
        signature: VoteSignature,
    ) -> Result<String, String> {
        let record = sealing.record();
        let member = record.position(node_key).ok_or_else(|| format!("{node_key} is not a member"))?;
        let epoch = self.committee.record().epoch();
        if self.seal.is_some() {
            return Err(format!("epoch {epoch} is sealed"));
        }
        let tally = self.tally.as_mut().ok_or_else(|| format!("the seal of epoch {epoch} takes statements yet"))?;
        tally.add(sealing, member, signature).map_err(refused)?;
        let (count, name) = (tally.voters().count(), record.name(member));
        if !tally.is_complete() {
            return Ok(format!("{name} signs the seal of epoch {epoch}: {count} of {}", record.quorum()));
        }
        self.seal = Some(tally.statement().id());
        self.statements = Arc::default();
        self.ready.clear();
        self.tally = None;
        Ok(format!("{name} signs the seal: epoch {epoch} is sealed"))
    }
}
