//! Counts verified votes on one statement of any kind, until as many members have signed as the kind needs.
//!
//! A valid plain sum of votes does not prove that each vote is valid: two bad signatures s₁ + d and s₂ − d fail alone and pass
//! together. So votes are verified one by one, or together with weights that the voters cannot predict.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::bls::{self, BlsError, VoteSecretKey, VoteSignature};
use crate::bugs::{self, Bug};
use crate::certificate::{Certificate, Signers};
use crate::committee::{Committee, CommitteeRecord};
use crate::statement::{Body, Statement};

/// Why a vote does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VoteError {
    /// The voter's index is not below the committee's size.
    #[error("voter: expected a member below {n}, got {got}")]
    NotAMember {
        /// The committee's size.
        n: u16,
        /// The voter's index.
        got: u16,
    },
    /// The member voted already.
    #[error("vote of member {0}: expected one, got a second")]
    Repeated(u16),
    /// The signature is not the member's over this statement.
    #[error("vote of member {member}: {error}")]
    Invalid {
        /// The voter's index.
        member: u16,
        /// What is wrong with the signature.
        error: BlsError,
    },
    /// The vote was verified against another statement.
    #[error("vote of member {0}: expected one on this statement, got one on another")]
    AnotherStatement(u16),
}

/// Too few members have voted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("votes: expected {quorum}, got {votes}")]
pub struct BelowQuorum {
    /// Number of verified votes so far.
    pub votes: u16,
    /// Number of votes needed.
    pub quorum: u16,
}

/// A statement that votes are verified against. Clone it to verify on another thread: one verification takes a millisecond.
#[derive(Debug, Clone)]
pub struct Ballot<B> {
    statement: Statement<B>,
    encoding: Arc<[u8]>,
}

/// A valid vote. Only a [`Ballot`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedVote<B> {
    statement: Statement<B>,
    member: u16,
    signature: VoteSignature,
}

impl<B: Body> Ballot<B> {
    /// A ballot for this statement.
    pub fn new(statement: Statement<B>) -> Self {
        Self { statement, encoding: statement.encode().into() }
    }

    /// Verifies one member's vote.
    ///
    /// # Errors
    /// [`VoteError::NotAMember`], [`VoteError::Invalid`].
    pub fn verify(
        &self,
        committee: &Committee,
        member: u16,
        vote: VoteSignature,
    ) -> Result<VerifiedVote<B>, VoteError> {
        let n = committee.record().n();
        if member >= n {
            return Err(VoteError::NotAMember { n, got: member });
        }
        let verified = committee.verify_vote(member, &self.encoding, &vote);
        verified.map_err(|error| VoteError::Invalid { member, error })?;
        Ok(self.verified(member, vote))
    }

    /// Verifies the votes of several members together, at little more than the cost of one. `None` if a vote is not valid, or if
    /// there are fewer than two votes.
    pub fn verify_together(
        &self,
        committee: &Committee,
        votes: &[(u16, VoteSignature)],
    ) -> Option<Vec<VerifiedVote<B>>> {
        if votes.len() < 2 || committee.verify_votes(&self.encoding, votes).is_err() {
            return None;
        }
        Some(votes.iter().map(|(member, vote)| self.verified(*member, *vote)).collect())
    }

    /// Verifies the votes of several members: together, or one by one if that fails. The results are in the votes' order.
    ///
    /// # Errors
    /// Each vote's as in [`verify`](Self::verify).
    pub fn verify_all(
        &self,
        committee: &Committee,
        votes: &[(u16, VoteSignature)],
    ) -> Vec<Result<VerifiedVote<B>, VoteError>> {
        if bugs::has(Bug::UnverifiedVote) {
            return votes.iter().map(|(member, vote)| Ok(self.verified(*member, *vote))).collect();
        }
        match self.verify_together(committee, votes) {
            Some(verified) => verified.into_iter().map(Ok).collect(),
            None => votes.iter().map(|(member, vote)| self.verify(committee, *member, *vote)).collect(),
        }
    }

    /// Signs a member's own vote, which therefore needs no verification. `None` if the key is not that member's. The caller must
    /// make durable what the statement promises before it reveals the vote.
    pub fn sign(&self, committee: &CommitteeRecord, member: u16, key: &VoteSecretKey) -> Option<VerifiedVote<B>> {
        let entry = committee.members().get(usize::from(member))?;
        (entry.vote_key == key.vote_key()).then(|| self.verified(member, key.sign(&self.encoding)))
    }

    fn verified(&self, member: u16, signature: VoteSignature) -> VerifiedVote<B> {
        VerifiedVote { statement: self.statement, member, signature }
    }
}

impl<B> VerifiedVote<B> {
    /// The statement that was voted on.
    pub fn statement(&self) -> &Statement<B> {
        &self.statement
    }

    /// The voter's index in the committee that the statement names.
    pub fn member(&self) -> u16 {
        self.member
    }

    /// For simulations of many thousand votes, which skip verification.
    #[cfg(test)]
    pub(crate) fn unchecked(statement: Statement<B>, member: u16, signature: VoteSignature) -> Self {
        Self { statement, member, signature }
    }
}

/// A statement and the votes on it.
#[derive(Debug, Clone)]
pub struct Tally<B> {
    n: u16,
    ballot: Ballot<B>,
    votes: BTreeMap<u16, VoteSignature>,
}

impl<B: Body> Tally<B> {
    /// An empty tally of votes on this body.
    pub fn new(committee: &CommitteeRecord, body: B) -> Self {
        let ballot = Ballot::new(Statement::new(committee, body));
        Self { n: committee.n(), ballot, votes: BTreeMap::new() }
    }

    /// The statement that is voted on.
    pub fn statement(&self) -> &Statement<B> {
        &self.ballot.statement
    }

    /// The ballot that votes are verified against, here or on another thread.
    pub fn ballot(&self) -> &Ballot<B> {
        &self.ballot
    }

    /// Verifies and counts a member's vote.
    ///
    /// # Errors
    /// See [`VoteError`]; the tally is then unchanged.
    pub fn add(&mut self, committee: &Committee, member: u16, vote: VoteSignature) -> Result<(), VoteError> {
        self.is_first(member)?;
        self.count(self.ballot.verify(committee, member, vote)?)
    }

    /// Counts a verified vote.
    ///
    /// # Errors
    /// [`VoteError::Repeated`], [`VoteError::AnotherStatement`]; the tally is then unchanged.
    pub fn count(&mut self, vote: VerifiedVote<B>) -> Result<(), VoteError> {
        let VerifiedVote { statement, member, signature } = vote;
        if statement != self.ballot.statement {
            return Err(VoteError::AnotherStatement(member));
        }
        self.is_first(member)?;
        self.votes.insert(member, signature);
        Ok(())
    }

    /// Counts the votes of another tally of the same statement. Votes on another statement are ignored.
    pub fn merge(&mut self, other: &Self) {
        if other.ballot.statement == self.ballot.statement {
            self.votes.extend(&other.votes);
        }
    }

    fn is_first(&self, member: u16) -> Result<(), VoteError> {
        if self.votes.contains_key(&member) { Err(VoteError::Repeated(member)) } else { Ok(()) }
    }

    /// The members whose votes are counted so far.
    pub fn voters(&self) -> impl Iterator<Item = u16> {
        self.votes.keys().copied()
    }

    /// The votes, by member.
    pub fn votes(&self) -> &BTreeMap<u16, VoteSignature> {
        &self.votes
    }

    /// The counted vote of one member.
    pub fn vote_of(&self, member: u16) -> Option<VerifiedVote<B>> {
        self.votes.get(&member).map(|signature| self.ballot.verified(member, *signature))
    }

    /// Whether as many members have voted as the statement needs.
    pub fn is_complete(&self) -> bool {
        self.check_quorum().is_ok()
    }

    fn check_quorum(&self) -> Result<(), BelowQuorum> {
        let votes = u16::try_from(self.votes.len()).unwrap_or(u16::MAX);
        let quorum = self.statement().body().threshold(self.n);
        if votes < quorum { Err(BelowQuorum { votes, quorum }) } else { Ok(()) }
    }

    /// One certificate for each claim. The statement's body must follow from each claim: otherwise the certificate is invalid.
    ///
    /// # Errors
    /// [`BelowQuorum`].
    pub fn certificates(&self, claims: impl IntoIterator<Item = B::Claim>) -> Result<Vec<Certificate<B>>, BelowQuorum> {
        self.check_quorum()?;
        // Neither call fails: there is at least one vote, and each was verified against a member's key.
        let none = BelowQuorum { votes: 0, quorum: 1 };
        let signature = bls::aggregate(self.votes.values()).map_err(|_| none)?;
        let signers = Signers::new(self.n, self.voters()).ok_or(none)?;
        let (epoch, committee) = (self.statement().epoch(), self.statement().committee());
        let certificate = |claim| Certificate { epoch, committee, claim, signers: signers.clone(), signature };
        Ok(claims.into_iter().map(certificate).collect())
    }
}
