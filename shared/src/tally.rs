//! Votes on one statement, each verified, until a quorum signed; and the certificates of a batch.
//!
//! A plain sum of votes shows nothing of each: two bad signatures s₁ + d and s₂ − d fail alone and pass together. So votes are
//! verified one by one, or together with weights that they cannot be chosen for.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::bls::{self, AggregateSignature, BlsError, VoteSignature};
use crate::certificate::{Certificate, Signers};
use crate::committee::{Committee, CommitteeRecord};
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
    /// The vote was verified against another statement.
    #[error("vote of member {0}: expected one on this statement, got one on another")]
    AnotherStatement(u16),
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

/// What the votes of one tally are verified against. A clone may go to another thread: verifying takes a millisecond.
#[derive(Debug, Clone)]
pub struct Ballot(Arc<[u8]>);

/// A vote that [`Ballot::verify`] or [`Ballot::verify_all`] found valid; there is no other way to one.
#[derive(Debug, Clone)]
pub struct VerifiedVote {
    ballot: Ballot,
    member: u16,
    signature: VoteSignature,
}

impl Ballot {
    /// Verifies one member's vote.
    ///
    /// # Errors
    /// [`VoteError::NotAMember`], [`VoteError::Invalid`].
    pub fn verify(&self, committee: &Committee, member: u16, vote: VoteSignature) -> Result<VerifiedVote, VoteError> {
        let n = committee.record().n();
        if member >= n {
            return Err(VoteError::NotAMember { n, got: member });
        }
        committee.verify_vote(member, &self.0, &vote).map_err(|error| VoteError::Invalid { member, error })?;
        Ok(VerifiedVote { ballot: self.clone(), member, signature: vote })
    }

    /// Verifies the votes of several members, in their order: together, and one by one only where that fails.
    ///
    /// # Errors
    /// For each as [`verify`](Self::verify).
    pub fn verify_all(
        &self,
        committee: &Committee,
        votes: &[(u16, VoteSignature)],
    ) -> Vec<Result<VerifiedVote, VoteError>> {
        if votes.len() > 1 && committee.verify_votes(&self.0, votes).is_ok() {
            let verified = |(member, signature): &(_, _)| VerifiedVote {
                ballot: self.clone(),
                member: *member,
                signature: *signature,
            };
            return votes.iter().map(|vote| Ok(verified(vote))).collect();
        }
        votes.iter().map(|(member, vote)| self.verify(committee, *member, *vote)).collect()
    }
}

/// A batch of receipts and the votes on its statement.
#[derive(Debug)]
pub struct Tally {
    issued_at: u64,
    receipts: Vec<Receipt>,
    batch: Batch,
    statement: Statement,
    ballot: Ballot,
    votes: BTreeMap<u16, VoteSignature>,
}

impl Tally {
    /// No votes yet; `None` for an empty or an oversized batch.
    pub fn new(committee: &Committee, issued_at: u64, receipts: Vec<Receipt>) -> Option<Self> {
        let batch = Batch::new(&receipts)?;
        let body = Body::Stored { issued_at, count: batch.count(), root: batch.root() };
        let statement = Statement::new(committee.record(), body);
        let ballot = Ballot(statement.encode().into());
        Some(Self { issued_at, receipts, batch, statement, ballot, votes: BTreeMap::new() })
    }

    /// What is voted on.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// What votes are verified against, here or on another thread.
    pub fn ballot(&self) -> &Ballot {
        &self.ballot
    }

    /// Takes a member's vote if it is valid.
    ///
    /// # Errors
    /// See [`VoteError`]; the tally is as before.
    pub fn add(&mut self, committee: &Committee, member: u16, vote: VoteSignature) -> Result<(), VoteError> {
        self.is_first(member)?;
        self.count(self.ballot.verify(committee, member, vote)?)
    }

    /// Counts a vote that was verified.
    ///
    /// # Errors
    /// [`VoteError::Repeated`], [`VoteError::AnotherStatement`]; the tally is as before.
    pub fn count(&mut self, vote: VerifiedVote) -> Result<(), VoteError> {
        let VerifiedVote { ballot, member, signature } = vote;
        if ballot.0 != self.ballot.0 {
            return Err(VoteError::AnotherStatement(member));
        }
        self.is_first(member)?;
        self.votes.insert(member, signature);
        Ok(())
    }

    fn is_first(&self, member: u16) -> Result<(), VoteError> {
        if self.votes.contains_key(&member) { Err(VoteError::Repeated(member)) } else { Ok(()) }
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
        Ok(write(committee.record(), &self.batch, self.issued_at, &self.receipts, &signers, &signature))
    }
}

/// The certificates of a batch from its receipts and what its members signed, not verified: whoever has one of them verified
/// has all of them verified, for they share statement, signers and signature. `None` for a batch of a forbidden size.
pub fn certificates(
    committee: &CommitteeRecord,
    issued_at: u64,
    receipts: &[Receipt],
    signers: &Signers,
    signature: &AggregateSignature,
) -> Option<Vec<Certificate>> {
    Some(write(committee, &Batch::new(receipts)?, issued_at, receipts, signers, signature))
}

fn write(
    committee: &CommitteeRecord,
    batch: &Batch,
    issued_at: u64,
    receipts: &[Receipt],
    signers: &Signers,
    signature: &AggregateSignature,
) -> Vec<Certificate> {
    let (epoch, digest, count) = (committee.epoch(), committee.digest(), batch.count());
    let certificate = |(index, receipt): (u32, &Receipt)| Certificate {
        epoch,
        committee: digest,
        issued_at,
        count,
        index,
        receipt: *receipt,
        path: batch.path(index).unwrap_or_default(),
        signers: signers.clone(),
        signature: *signature,
    };
    (0..).zip(receipts).map(certificate).collect()
}
