//! Votes on one statement of any kind, each verified, until as many members signed as the kind needs.
//!
//! A plain sum of votes shows nothing of each: two bad signatures s₁ + d and s₂ − d fail alone and pass together. So votes are
//! verified one by one, or together with weights that they cannot be chosen for.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use crate::bls::{self, BlsError, VoteSecretKey, VoteSignature};
use crate::certificate::{Certificate, Signers};
use crate::committee::{Committee, CommitteeRecord};
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

/// A statement that votes are verified against. A clone may go to another thread: verifying takes a millisecond.
#[derive(Debug, Clone)]
pub struct Ballot<B> {
    statement: Statement<B>,
    encoding: Arc<[u8]>,
}

/// A vote that a [`Ballot`] found valid; there is no other way to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifiedVote<B> {
    statement: Statement<B>,
    member: u16,
    signature: VoteSignature,
}

impl<B: Body> Ballot<B> {
    /// What votes on this statement are verified against.
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

    /// Verifies the votes of several members together, at the price of little more than one; `None` where not all are valid, or
    /// there are too few for it to be worth while.
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

    /// Verifies the votes of several members, in their order: together, and one by one only where that fails.
    ///
    /// # Errors
    /// For each as [`verify`](Self::verify).
    pub fn verify_all(
        &self,
        committee: &Committee,
        votes: &[(u16, VoteSignature)],
    ) -> Vec<Result<VerifiedVote<B>, VoteError>> {
        match self.verify_together(committee, votes) {
            Some(verified) => verified.into_iter().map(Ok).collect(),
            None => votes.iter().map(|(member, vote)| self.verify(committee, *member, *vote)).collect(),
        }
    }

    /// A member's own vote, signed here and so not verified; `None` where the key is not that member's. The caller makes durable
    /// what the statement promises before anybody hears of the vote.
    pub fn sign(&self, committee: &CommitteeRecord, member: u16, key: &VoteSecretKey) -> Option<VerifiedVote<B>> {
        let entry = committee.members().get(usize::from(member))?;
        (entry.vote_key == key.vote_key()).then(|| self.verified(member, key.sign(&self.encoding)))
    }

    fn verified(&self, member: u16, signature: VoteSignature) -> VerifiedVote<B> {
        VerifiedVote { statement: self.statement, member, signature }
    }
}

impl<B> VerifiedVote<B> {
    /// What was voted for.
    pub fn statement(&self) -> &Statement<B> {
        &self.statement
    }

    /// The voter's place in the committee that the statement names.
    pub fn member(&self) -> u16 {
        self.member
    }

    /// For simulations of many thousand votes, which do not verify them.
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
    /// No votes yet.
    pub fn new(committee: &CommitteeRecord, body: B) -> Self {
        let ballot = Ballot::new(Statement::new(committee, body));
        Self { n: committee.n(), ballot, votes: BTreeMap::new() }
    }

    /// What is voted on.
    pub fn statement(&self) -> &Statement<B> {
        &self.ballot.statement
    }

    /// What votes are verified against, here or on another thread.
    pub fn ballot(&self) -> &Ballot<B> {
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
    pub fn count(&mut self, vote: VerifiedVote<B>) -> Result<(), VoteError> {
        let VerifiedVote { statement, member, signature } = vote;
        if statement != self.ballot.statement {
            return Err(VoteError::AnotherStatement(member));
        }
        self.is_first(member)?;
        self.votes.insert(member, signature);
        Ok(())
    }

    /// Counts the votes that another tally of the same statement has; those of another statement count for nothing.
    pub fn merge(&mut self, other: &Self) {
        if other.ballot.statement == self.ballot.statement {
            self.votes.extend(&other.votes);
        }
    }

    fn is_first(&self, member: u16) -> Result<(), VoteError> {
        if self.votes.contains_key(&member) { Err(VoteError::Repeated(member)) } else { Ok(()) }
    }

    /// The members whose votes count so far.
    pub fn voters(&self) -> impl Iterator<Item = u16> {
        self.votes.keys().copied()
    }

    /// The votes, by member.
    pub fn votes(&self) -> &BTreeMap<u16, VoteSignature> {
        &self.votes
    }

    /// The vote of one member.
    pub fn vote_of(&self, member: u16) -> Option<VerifiedVote<B>> {
        self.votes.get(&member).map(|signature| self.ballot.verified(member, *signature))
    }

    /// Whether as many voted as the statement needs.
    pub fn is_complete(&self) -> bool {
        self.enough().is_ok()
    }

    fn enough(&self) -> Result<(), BelowQuorum> {
        let votes = u16::try_from(self.votes.len()).unwrap_or(u16::MAX);
        let quorum = self.statement().body().threshold(self.n);
        if votes < quorum { Err(BelowQuorum { votes, quorum }) } else { Ok(()) }
    }

    /// One certificate for each claim. The caller gives claims that the statement's body follows from: with any other, the
    /// certificate does not hold.
    ///
    /// # Errors
    /// [`BelowQuorum`].
    pub fn certificates(&self, claims: impl IntoIterator<Item = B::Claim>) -> Result<Vec<Certificate<B>>, BelowQuorum> {
        self.enough()?;
        // neither fails: there is a vote, and each was verified against a member's key
        let none = BelowQuorum { votes: 0, quorum: 1 };
        let signature = bls::aggregate(self.votes.values()).map_err(|_| none)?;
        let signers = Signers::new(self.n, self.voters()).ok_or(none)?;
        let (epoch, committee) = (self.statement().epoch(), self.statement().committee());
        let certificate = |claim| Certificate { epoch, committee, claim, signers: signers.clone(), signature };
        Ok(claims.into_iter().map(certificate).collect())
    }
}
