//! Requests of clients: ops to be decided, proofs, and blocks. Members are asked in turn, because one may be silent or lie; what they send
//! is verified before it is passed on.

use std::sync::PoisonError;
use std::time::Duration;

use thiserror::Error;
use vouch_core::bundle::OpBundle;
use vouch_core::chain::CommitteeChain;
use vouch_core::log::{Block, Op, OpId, log_root_from_path};
use vouch_core::merkle::TreeHash;
use vouch_core::message::{Code, Message, Stream};
use vouch_core::verify::{CheckError, LogVerifyOptions, Verifier};
use vouch_node_core::server::log_requests::{ANSWER, DECIDE, REQUEST};

use super::{CertifiedHead, ServerLog};

/// Why there is no answer about the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{code}: {detail}")]
pub(in crate::server) struct LogFailure {
    /// The reason.
    pub(in crate::server) code: Code,
    /// The reason, for people.
    pub(in crate::server) detail: String,
}

/// A block with its path to the log root of a certified head.
#[derive(Debug, Clone)]
pub(in crate::server) struct ProvedBlock {
    pub(in crate::server) block: Box<Block>,
    pub(in crate::server) path: Vec<TreeHash>,
    pub(in crate::server) head: CertifiedHead,
}

impl LogFailure {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(super) fn nobody() -> Self {
        Self::new(Code::NotEnoughReplicas, "no member with a running log is connected")
    }

    fn late() -> Self {
        Self::new(
            Code::TimedOut,
            "the log did not decide in time: too few members reach each other, or they are overloaded",
        )
    }
}

impl ServerLog {
    /// Has an op decided, and proves it. The same op may be submitted again: it is decided once.
    ///
    /// # Errors
    /// The last member's refusal, or that the log does not decide.
    pub(in crate::server) async fn submit(&self, op: Op) -> Result<OpBundle, LogFailure> {
        let until = self.members.now() + REQUEST;
        let id = op.id(&self.chain()?.cluster());
        let mut last = LogFailure::nobody();
        for member in self.order() {
            let (stream, by) = (self.members.numbers().next(), (self.members.now() + DECIDE).min(until));
            let asked = self.ask(member, stream, &Message::SubmitOp { stream, op: op.clone() }, by).await;
            last = match asked {
                Ok(Message::OpDecided { height, .. }) => match self.head_from(height, by).await {
                    Some(head) => match self.prove_under(id, &head, until).await {
                        Ok(bundle) => return Ok(bundle),
                        Err(failure) => failure,
                    },
                    None => LogFailure::late(),
                },
                Ok(other) => unexpected(&other),
                Err(failure) => failure,
            };
            if self.members.now() >= until {
                break;
            }
        }
        Err(last)
    }

    /// Proves that an op is in the log up to the newest certified head.
    ///
    /// # Errors
    /// [`Code::NotFound`] if the members do not know it; or that they do not answer.
    pub(in crate::server) async fn prove(&self, op: OpId) -> Result<OpBundle, LogFailure> {
        let head = self.certified()?;
        self.prove_under(op, &head, self.members.now() + REQUEST).await
    }

    async fn prove_under(&self, op: OpId, head: &CertifiedHead, until: Duration) -> Result<OpBundle, LogFailure> {
        let chain = self.chain()?;
        let mut failure = LogFailure::nobody();
        for member in self.order() {
            let (stream, by) = (self.members.numbers().next(), (self.members.now() + ANSWER).min(until));
            let question = Message::AskOpProof { stream, op, head: head.claim.height };
            match self.ask(member, stream, &question, by).await {
                Ok(Message::OpProof { proof, .. }) => {
                    let bundle = OpBundle::new(*proof, head, &chain);
                    match self.check(op, bundle, &chain).await {
                        Ok(bundle) => return Ok(bundle),
                        Err(why) => {
                            failure = LogFailure::new(Code::DigestDiffers, format!("a proof of a member: {why}"))
                        }
                    }
                }
                Ok(other) => failure = unexpected(&other),
                Err(refused) => failure = refused,
            }
        }
        Err(failure)
    }

    async fn check(&self, op: OpId, bundle: OpBundle, chain: &CommitteeChain) -> Result<OpBundle, String> {
        let (verifier, host) = (self.verifier.clone(), self.members.host());
        let options = LogVerifyOptions { trust: chain.cluster().into(), wanted: Some(op), now: host.unix_seconds() };
        let checking = host.spawn_blocking(move || {
            let mut verifier = verifier.lock().unwrap_or_else(PoisonError::into_inner);
            let judgement = Verifier::judge_op(&mut verifier, bundle.to_json().as_bytes(), &options);
            judgement.proved().map(drop).map_err(CheckError::to_string)?;
            Ok(bundle)
        });
        checking.await.map_err(|error| error.to_string())?
    }

    /// The block of a height, under the newest certified head.
    ///
    /// # Errors
    /// [`Code::NotFound`] if no member keeps it or it is not certified; or that the members do not answer.
    pub(in crate::server) async fn block(&self, height: u64) -> Result<ProvedBlock, LogFailure> {
        let head = self.certified()?;
        if height == 0 || height > head.claim.height {
            let detail = format!("expected a height from 1 to {}, got {height}", head.claim.height);
            return Err(LogFailure::new(Code::NotFound, detail));
        }
        let mut failure = LogFailure::nobody();
        for member in self.order() {
            let (stream, by) = (self.members.numbers().next(), self.members.now() + ANSWER);
            let question = Message::AskBlock { stream, height, head: head.claim.height };
            match self.ask(member, stream, &question, by).await {
                Ok(Message::LogBlock { path, block, .. }) => {
                    let root = log_root_from_path(&block.digest(), height, head.claim.height, &path);
                    if block.header().height == height && root == Some(head.claim.log_root) {
                        return Ok(ProvedBlock { block, path, head });
                    }
                    failure = LogFailure::new(Code::DigestDiffers, "a member sent another block");
                }
                Ok(other) => failure = unexpected(&other),
                Err(refused) => failure = refused,
            }
        }
        Err(failure)
    }

    pub(super) fn chain(&self) -> Result<CommitteeChain, LogFailure> {
        self.members.chain().ok_or_else(|| LogFailure::new(Code::NoCommittee, "there is no committee yet"))
    }

    fn certified(&self) -> Result<CertifiedHead, LogFailure> {
        self.head().ok_or_else(|| LogFailure::new(Code::NotFound, "no head of the log is certified yet"))
    }

    /// Sends a member a request, and waits for its answer until `until`.
    pub(super) async fn ask(
        &self,
        member: u16,
        stream: Stream,
        question: &Message,
        until: Duration,
    ) -> Result<Message, LogFailure> {
        let mut replies = self.members.replies(stream, 1);
        if !self.members.try_send(member, question) {
            return Err(LogFailure::new(Code::NotEnoughReplicas, "a member disconnected or does not read"));
        }
        loop {
            match replies.next(until).await {
                Some(reply) if reply.member != member => {}
                Some(reply) => match reply.message {
                    Message::Failed(failed) => return Err(LogFailure::new(failed.code, failed.detail)),
                    message => return Ok(message),
                },
                None => return Err(LogFailure::late()),
            }
        }
    }
}

pub(super) fn unexpected(got: &Message) -> LogFailure {
    LogFailure::new(Code::Unexpected, format!("a member answered with {}", got.name()))
}
