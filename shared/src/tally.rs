//! Votes on one statement, verified one by one, until a quorum signed.
//!
//! One by one, because two bad signatures s₁ + d and s₂ − d fail alone and pass together.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::bls::{self, BlsError, VoteSignature};
use crate::certificate::{Certificate, Signers};
use crate::committee::Committee;
use crate::merkle::Batch;
use crate::receipt::Receipt;
use crate::statement::{Body, Statement};

/// Why a vote does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VoteError {
    /// The voter is beyond the committee.
    #[error("voter: expected a member below {n}, got {got}")]
    NotAMember {
        /// The committee's size.
        n: u16,
        /// The voter.
        got: u16,
    },
    /// The member voted already.
    #[error("vote of member {0}: expected one, got a second")]
    Repeated(u16),
    /// The signature is not the member's over this statement.
    #[error("vote of member {member}: {error}")]
    Invalid {
        /// The voter.
        member: u16,
        /// What is wrong.
        error: BlsError,
    },
}

/// Too few have voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("votes: expected {quorum}, got {votes}")]
pub struct BelowQuorum {
    /// Verified votes so far.
    pub votes: u16,
    /// Votes needed.
    pub quorum: u16,
}

/// A batch of receipts and the votes on its statement.
#[derive(Debug)]
pub struct Tally {
    receipts: Vec<Receipt>,
    batch: Batch,
    statement: Statement,
    signed: Vec<u8>,
    votes: BTreeMap<u16, VoteSignature>,
}

impl Tally {
    /// No votes yet; `None` for an empty or an oversized batch.
    pub fn new(committee: &Committee, issued_at: u64, receipts: Vec<Receipt>) -> Option<Self> {
        let batch = Batch::new(&receipts)?;
        let body = Body::Stored { issued_at, count: batch.count(), root: batch.root() };
        let statement = Statement::new(committee.record(), body);
        Some(Self { receipts, batch, statement, signed: statement.encode(), votes: BTreeMap::new() })
    }

    /// What is voted on.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Takes a member's vote if it is valid.
    ///
    /// # Errors
    /// See [`VoteError`]; the tally is as before.
    pub fn add(&mut self, committee: &Committee, member: u16, vote: VoteSignature) -> Result<(), VoteError> {
        let n = committee.record().n();
        if member >= n {
            return Err(VoteError::NotAMember { n, got: member });
        }
        if self.votes.contains_key(&member) {
            return Err(VoteError::Repeated(member));
        }
        committee.verify_vote(member, &self.signed, &vote).map_err(|error| VoteError::Invalid { member, error })?;
        self.votes.insert(member, vote);
        Ok(())
    }

    /// The members whose votes count so far.
    pub fn voters(&self) -> impl Iterator<Item = u16> {
        self.votes.keys().copied()
    }

    /// One certificate for each receipt, in the batch's order.
    ///
    /// # Errors
    /// [`BelowQuorum`].
    pub fn certificates(&self, committee: &Committee) -> Result<Vec<Certificate>, BelowQuorum> {
        let n = committee.record().n();
        let quorum = self.statement.body().kind().threshold(n);
        let votes = u16::try_from(self.votes.len()).unwrap_or(u16::MAX);
        let below = BelowQuorum { votes, quorum };
        if votes < quorum {
            return Err(below);
        }
        // neither fails: there is a vote, and each was verified against a member's key
        let signature = bls::aggregate(self.votes.values()).map_err(|_| below)?;
        let signers = Signers::new(n, self.voters()).ok_or(below)?;
        let Body::Stored { issued_at, count, .. } = *self.statement.body();
        let certificate = |(index, receipt): (u32, &Receipt)| Certificate {
            epoch: committee.record().epoch(),
            committee: committee.record().digest(),
            issued_at,
            count,
            index,
            receipt: *receipt,
            path: self.batch.path(index).unwrap_or_default(),
            signers: signers.clone(),
            signature,
        };
        Ok((0..).zip(&self.receipts).map(certificate).collect())
    }
}
